"""The field's names as this study uses them: natures, classes and splits; and what a training accepts."""

import math

#: Classes of the three-way task. The order is that of the reference's checkpoints.
CLASSES: tuple[str, ...] = ("dm_generated", "gan_generated", "real")

#: Every value of a manifest's `nature`. The last two enter binary evaluation only.
NATURES: tuple[str, ...] = (*CLASSES, "other_generated", "fake_unknown")

#: One colour for a nature everywhere (Okabe and Ito, 2008).
NATURE_COLOURS = {
    "dm_generated": "#0072B2",
    "gan_generated": "#E69F00",
    "real": "#009E73",
    "other_generated": "#CC79A7",
    "fake_unknown": "#999999",
}

#: The three classes as figures and pages call them.
CLASS_LABELS = {"dm_generated": "diffusion", "gan_generated": "GAN", "real": "real"}

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

#: Splits on which weights are fitted; the other trained splits stop, choose and calibrate.
FITTED_SPLITS = ("base_train", "complete_train")

#: Splits on which a model that tells the three natures apart is scored, whatever it was trained on.
SCORED_SPLITS = ("complete_select", "complete_calibrate", "test", "unseen")

RESIZE_MODES: tuple[str, ...] = ("resize", "crop", "nearest")

#: What reads the three feature vectors: the paper's 1-D CNN, one linear layer, the CNN on features in another order.
HEADS: tuple[str, ...] = ("conv", "linear", "permuted")

#: What a backbone learns: one nature against the rest, or the three at once (a baseline).
TASKS: tuple[str, ...] = ("base", "threeway")

#: What trainings compute with: bfloat16 where a GPU does it faster, or float32 everywhere.
PRECISIONS: tuple[str, ...] = ("auto", "fp32")

#: How training pictures are augmented; `training.augment` holds what each name does.
AUGMENTATIONS: tuple[str, ...] = ("none", "jpeg_blur", "dihedral")

#: Images that a three-way baseline learns from: the complete part, or all that the three-block model sees.
TRAINED_ON: tuple[str, ...] = ("complete", "base+complete")

#: Settings of a training that are whole numbers, with the least that each can be; patience 0: all epochs.
WHOLE_NUMBERS = {"epochs": 1, "batch_size": 2, "step_size": 1, "copies": 1, "patience": 0}

#: Settings that are numbers above 0, and those that can be 0 as well; clip_norm 0: any gradient.
NUMBERS_ABOVE_0 = ("learning_rate", "gamma")

NUMBERS_FROM_0 = ("weight_decay", "clip_norm")

TRAINING = (*WHOLE_NUMBERS, *NUMBERS_ABOVE_0, *NUMBERS_FROM_0)


def require_training(where: str, **settings: float) -> None:  # by the names in TRAINING
    """Raise ValueError for the first setting that no training can have."""
    for name, value in settings.items():
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        is_number = is_whole or (isinstance(value, float) and math.isfinite(value))
        if name in WHOLE_NUMBERS:
            least = WHOLE_NUMBERS[name]
            usable, expected = is_whole and value >= least, f"a whole number of at least {least}"
        elif name in NUMBERS_ABOVE_0:
            usable, expected = is_number and value > 0, "a number above 0"
        else:
            usable, expected = is_number and value >= 0, "a number from 0"
        if not usable:
            raise ValueError(f"{where}: {name} is {value!r}; expected {expected}")


def require_name(value: str, allowed: tuple[str, ...], *, what: str) -> str:
    """`value` if it is one of `allowed`, else a ValueError that lists them."""
    if value not in allowed:
        raise ValueError(f"{what} {value!r} is unknown; expected one of {', '.join(allowed)}")
    return value
