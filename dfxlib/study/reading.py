"""Tables for readers: words for columns, an estimate beside its interval, digits that mean something.

What is saved keeps every column and digit.
"""

from collections.abc import Iterable

import pandas as pd

from dfxlib.measure.compare import OURS
from dfxlib.measure.field import field_wide
from dfxlib.system.shown import shown

#: What readers are told instead of a column's name; others lose their underscores.
WORDS = {
    "seed_sd": "standard deviation over seeds",
    "p_holm": "p after Holm",
    "fewest_clusters": "groups of the rarest nature",
    "clusters": "groups",
    "valid_auc": "validation AUC",
    "auc": "AUC",
    "acc": "accuracy",
    "ap": "average precision",
    "eer": "equal error rate",
    "main_images": "images of its own nature",
    "other_images": "other images",
    "binary_recall": "called fake or real rightly",
    "said_dm": "called diffusion",
    "said_gan": "called GAN",
    "said_real": "called real",
    "split": "part",
}

#: Intervals of an estimate that stands in a column of another name.
_INTERVALS = {"seed": "interval over seeds", "both": "interval over images and seeds"}

#: Values that readers know by other words, as figures do.
_CELLS = {"dm_generated": "diffusion", "gan_generated": "GAN"}

#: What the band of "unsure" did, in words: one metric after the other.
_RISKS = {
    "decided at the frozen band": ["decided"],
    "of all real called fake": ["real called fake"],
    "of all fakes called real": ["fake called real"],
    "real among those called fake, as here and at half": [
        "wrong among called fake",
        "wrong among called fake at one half",
    ],
    "fakes among those called real, as here and at half": [
        "wrong among called real",
        "wrong among called real at one half",
    ],
}

_PROBABILITIES = ("p", "p_holm", "mcnemar_p", "mcnemar_p_holm")


def for_readers(
    table: pd.DataFrame,
    *,
    value: str = "value",  # what the column of this name holds, in words
) -> pd.DataFrame:  # of text
    """A table in words: X, X_low and X_high become one column, and what is undefined in every row is left out."""
    table = table[[name for name in table if _says_something(str(name), table[name])]]
    told: dict[str, list[str]] = {}
    for name in map(str, table):
        base, ends = _ends(name)
        if name == ends[1] or (name == ends[0] and base in table and base not in _INTERVALS):
            continue
        title = value if base == "value" else WORDS.get(base, base.replace("_", " "))
        if name == ends[0]:
            told[_INTERVALS[base]] = [_interval(*pair) for pair in zip(table[ends[0]], table[ends[1]])]
        elif set(ends) <= set(table) and base not in _INTERVALS:
            each = zip(table[name], table[ends[0]], table[ends[1]])
            told[f"{title} (95% interval)"] = [_with_interval(*row) for row in each]
        else:
            cells = table[name].str.replace("_", " ") if name == "setting" else table[name]
            told[title] = _texts(cells, exact=name in _PROBABILITIES)
    return pd.DataFrame(told)


def _says_something(name: str, column: pd.Series) -> bool:
    """A backbone is said where there are several, a number of seeds where it is not 1, a value where it is defined."""
    if (column.isna() | column.eq("")).all():
        return False
    return not (name == "backbone" and column.nunique() == 1) and not (name == "seeds" and column.eq(1).all())


def unsure_in_words(table: pd.DataFrame, *, by: str = "split") -> pd.DataFrame:
    """What the band of "unsure" promised and gave, a line a part or condition; from `confidence.unsure_table`."""
    rows = []
    for (seed, place), part in table.groupby(["seed", by], sort=False):
        risk = part.set_index("metric")
        row = {"images": f"{place} ({risk.loc['decided', 'images']}), seed {seed}"}
        for title, metrics in _RISKS.items():
            if found := [_share(risk.loc[metric]) for metric in metrics if metric in risk.index]:
                row[title] = "; ".join(found)
        promise = f"{risk['promised'].max():.0%} {risk.loc['real called fake', 'promise']}"
        rows.append(row | {"promised of either": promise if str(place).split()[0] in ("test", "raw") else "nothing"})
    return pd.DataFrame(rows)


def small_words(conditions: Iterable[str]) -> dict:  # of DataFrame.replace
    """Conditions that leave pictures smaller than the model's input, marked as small where a reader meets them."""
    return {"condition": {name: f"{name} (small)" for name in conditions}}


def field_in_words(table: pd.DataFrame) -> pd.DataFrame:
    """The field's own numbers in percent, a line a generator and method, means last; from `field.field_table`."""
    wide = {WORDS[metric]: field_wide(table, metric=metric).T.stack() for metric in ("acc", "ap", "eer")}
    return pd.DataFrame(wide).rename_axis(["generator", "method"]).reset_index()


def _share(row: pd.Series) -> str:
    return "undefined" if pd.isna(row["value"]) else "{value:.1%} ({value_low:.1%} to {value_high:.1%})".format(**row)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """A table for the eye: three digits after the point, and the word "undefined" where the data define nothing.

    Of smaller numbers, such as a learning rate of 0.0001, two digits stay. Names are `shown`.
    """
    small = table.select_dtypes("float").abs().lt(0.0005) & table.select_dtypes("float").abs().gt(1e-9)
    told = table.round(3).astype(object).where(table.notna(), "undefined")
    for name in small.columns[small.any()]:
        told.loc[small[name], name] = table.loc[small[name], name].map(lambda value: float(f"{value:.1e}"))
    return told.map(lambda value: shown(value) if isinstance(value, str) else value)


def by_value(table: pd.DataFrame) -> pd.DataFrame:
    """Rows from the largest value to the smallest, undefined ones last."""
    return table.sort_values("value", ascending=False, kind="stable", ignore_index=True)


def is_ours(method: object) -> bool:
    """Whether a name in a table of methods is the model that the study is about, of any backbone."""
    return str(method).startswith(OURS)


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


def _texts(column: pd.Series, *, exact: bool) -> list[str]:
    """Numbers of a column with as many digits as its most precise needs, at most three; empty where there is none."""
    if not pd.api.types.is_float_dtype(column):
        return [_CELLS.get(text, shown(text)) for text in column.fillna("").astype(str)]
    if exact:
        return ["" if pd.isna(cell) else f"{cell:.2g}" for cell in column]
    known = column.dropna()
    digits = next((digits for digits in range(3) if (known.round(digits) == known).all()), 3)
    return ["" if pd.isna(cell) else f"{cell:.{digits}f}" for cell in column]
