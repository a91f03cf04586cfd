"""The look of all figures: one colour for a nature everywhere (Okabe and Ito, 2008), short labels."""

import matplotlib
import pandas as pd
import seaborn as sns

from dfxlib.names import CLASS_LABELS, SPLITS

#: The study's model, and what stands beside black where no nature and no model is meant.
MODEL_COLOUR, SECOND_COLOUR = "#D55E00", "#56B4E9"

METHOD_COLOURS = ["#000000", "#CC79A7", "#999999", "#56B4E9", "#D55E00"]

# Splits have colours that no nature has: greys for base, purples for complete, reds for what is tested.
SPLIT_COLOURS = dict(
    zip(SPLITS, ["#555555", "#999999", "#6A51A3", "#9E9AC8", "#CBC9E2", "#A50F15", "#FB6A4A", "#E8E8E8"], strict=True)
)

pd.set_option("display.max_colwidth", None)  # what a variant changes is read to its end

matplotlib.rcdefaults()  # a matplotlibrc of the user, say with text.usetex, must not change or end a study
sns.set_theme(style="ticks", context="notebook", font_scale=0.85)


def label_of(name: str) -> str:
    """A nature as figures call it; any other name as it is."""
    return CLASS_LABELS.get(name, name.replace("_", " "))
