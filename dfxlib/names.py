"""The field's names as this study uses them: natures, classes and splits."""

#: Classes of the three-way task. The order is that of the reference's checkpoints.
CLASSES: tuple[str, ...] = ("dm_generated", "gan_generated", "real")

#: Every value of a manifest's `nature`. The last two enter binary evaluation only.
NATURES: tuple[str, ...] = (*CLASSES, "other_generated", "fake_unknown")

#: Every value of a manifest's `split`.
SPLITS: tuple[str, ...] = (
    "base_train",
    "base_valid",
    "complete_train",
    "complete_select",
    "complete_calibrate",
    "test",
    "unseen",
    "excluded",
)

RESIZE_MODES: tuple[str, ...] = ("resize", "crop", "nearest")

#: What reads the three feature vectors: the paper's 1-D CNN, one linear layer, the CNN on features in another order.
HEADS: tuple[str, ...] = ("conv", "linear", "permuted")

#: What a backbone learns: one nature against the rest, or the three at once (a baseline).
TASKS: tuple[str, ...] = ("base", "threeway")

#: Images that a three-way baseline learns from: the complete part, or all that the three-block model sees.
TRAINED_ON: tuple[str, ...] = ("complete", "base+complete")


def require_name(value: str, allowed: tuple[str, ...], *, what: str) -> str:
    """`value` if it is one of `allowed`, else a ValueError that lists them."""
    if value not in allowed:
        raise ValueError(f"{what} {value!r} is unknown; expected one of {', '.join(allowed)}")
    return value
