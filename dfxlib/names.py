"""The field's names as this study uses them: natures, classes and splits; and what a training accepts."""

import math

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

#: Splits from which a study learns anything at all.
TRAINED_SPLITS = ("base_train", "base_valid", "complete_train", "complete_select", "complete_calibrate")

#: Splits on which a model that tells the three natures apart is scored, whatever it was trained on.
SCORED_SPLITS = ("complete_select", "complete_calibrate", "test", "unseen")

RESIZE_MODES: tuple[str, ...] = ("resize", "crop", "nearest")

#: What reads the three feature vectors: the paper's 1-D CNN, one linear layer, the CNN on features in another order.
HEADS: tuple[str, ...] = ("conv", "linear", "permuted")

#: What a backbone learns: one nature against the rest, or the three at once (a baseline).
TASKS: tuple[str, ...] = ("base", "threeway")

#: How training pictures are augmented; `training.augment` holds what each name does.
AUGMENTATIONS: tuple[str, ...] = ("none", "jpeg_blur", "dihedral")

#: Images that a three-way baseline learns from: the complete part, or all that the three-block model sees.
TRAINED_ON: tuple[str, ...] = ("complete", "base+complete")

#: Smallest values of a training's settings; those with a whole one are whole numbers.
TRAINING = {
    "epochs": 1,
    "batch_size": 2,
    "step_size": 1,
    "patience": 0,
    "copies": 1,
    "weight_decay": 0.0,
    "clip_norm": 0.0,
}

TRAINING |= dict.fromkeys(("learning_rate", "gamma"), math.ulp(0.0))  # above 0


def require_training(where: str, **settings: float | None) -> None:
    """Raise ValueError for the first setting that no training can have; None leaves one out."""
    for name, value in settings.items():
        least, whole = TRAINING[name], isinstance(TRAINING[name], int)
        usable = isinstance(value, int if whole else int | float) and least <= value < math.inf
        if value is not None and (isinstance(value, bool) or not usable):
            expected = f"a whole number of at least {least}" if whole else f"a number {'above' if least else 'from'} 0"
            raise ValueError(f"{where}: {name} is {value!r}; expected {expected}")


def require_name(value: str, allowed: tuple[str, ...], *, what: str) -> str:
    """`value` if it is one of `allowed`, else a ValueError that lists them."""
    if value not in allowed:
        raise ValueError(f"{what} {value!r} is unknown; expected one of {', '.join(allowed)}")
    return value
