"""Tables for readers: words for columns, an estimate beside its interval, digits that mean something.

What is saved keeps every column and digit.
"""

import numpy as np
import pandas as pd

from dfxlib.measure.compare import is_ours
from dfxlib.system.shown import shown

#: What readers are told instead of a column's name; others lose their underscores.
WORDS = {
    "seed_sd": "standard deviation over seeds",
    "seed": "interval over seeds",
    "both": "interval over images and seeds",
    "p_holm": "p after Holm",
    "fewest_clusters": "groups of the rarest nature",
    "clusters": "groups",
    "valid_auc": "validation AUC",
    "main_images": "images of its own nature",
    "other_images": "other images",
    "binary_recall": "called fake or real rightly",
    "said_dm": "called diffusion",
    "said_gan": "called GAN",
    "said_real": "called real",
    "split": "part",
}

_PROBABILITIES = ("p", "p_holm", "mcnemar_p", "mcnemar_p_holm")


def for_readers(
    table: pd.DataFrame,
    *,
    value: str = "value",  # what the column of this name holds, in words
) -> pd.DataFrame:  # of text
    """A table in words: X, X_low and X_high become one column, and what is undefined in every row is left out."""
    table = table[[name for name in table if not (table[name].isna() | table[name].eq("")).all()]]
    told: dict[str, list[str]] = {}
    for name in table:
        base, ends = _ends(str(name))
        if str(name) == ends[1] or (str(name) == ends[0] and base in table):
            continue
        title = value if base == "value" else WORDS.get(base, base.replace("_", " "))
        if str(name) == ends[0]:  # of an estimate that stands elsewhere in the row
            told[title] = [_interval(*pair) for pair in zip(table[ends[0]], table[ends[1]])]
        elif set(ends) <= set(table):
            each = zip(table[name], table[ends[0]], table[ends[1]])
            told[f"{title} (95% interval)"] = [_with_interval(*row) for row in each]
        else:
            told[title] = [_text(cell, exact=name in _PROBABILITIES) for cell in table[name]]
    return pd.DataFrame(told)


def by_value(table: pd.DataFrame) -> pd.DataFrame:
    """Rows from the largest value to the smallest, undefined ones last."""
    return table.sort_values("value", ascending=False, kind="stable", ignore_index=True)


def reader_markdown(table: pd.DataFrame, *, marked: str = "") -> str:
    """A table of text as Markdown; rows of the model are bold where `marked` names the column of methods."""
    rows = [[str(name) for name in table], ["---" for _ in table]]
    for row in table.to_dict("records"):
        bold = "**" if marked and is_ours(row[marked]) else ""
        rows.append([f"{bold}{cell}{bold}" if cell else "" for cell in row.values()])
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows)


def _ends(name: str) -> tuple[str, tuple[str, str]]:
    """The estimate that a column belongs to, and the columns of its interval."""
    if name in ("value", "low", "high"):
        return "value", ("low", "high")
    base = name.removesuffix("_low").removesuffix("_high")
    return base, (f"{base}_low", f"{base}_high")


def _with_interval(value: float, low: float, high: float) -> str:
    return "undefined" if pd.isna(value) else f"{value:.3f} ({_interval(low, high)})"


def _interval(low: float, high: float) -> str:
    return "undefined" if pd.isna(low) else f"{low:.3f} to {high:.3f}"


def _text(cell: object, *, exact: bool) -> str:
    if isinstance(cell, float | np.floating):
        if pd.isna(cell):
            return "undefined"
        if float(cell).is_integer() and abs(cell) >= 2:  # a count in a column with gaps
            return f"{cell:.0f}"
        return f"{cell:.2g}" if exact or 0 < abs(cell) < 0.0005 else f"{cell:.3f}"
    return shown(str(cell))
