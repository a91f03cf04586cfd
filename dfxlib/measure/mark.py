"""The mark that a deep model has to pass: the linear reading of traces that is best on complete_select.

It knows scores only and fits nothing: published results name their mark without scikit-learn.
"""

from collections.abc import Iterable

import pandas as pd

from dfxlib.measure.scores import summarise, three_way_rows

#: Linear readings of traces, by the tables of numbers that each joins. The best of them on complete_select is the mark
#: that a deep model has to pass. ImageNet features are of a network that nobody fine-tuned, where it is installed.
READINGS = {
    "co-occurrences": ("co-occurrences",),
    "spectrum": ("spectrum",),
    "spectrum+scalars": ("spectrum", "scalars", "noise shape"),
    "spectrum+scalars+co-occurrences": ("spectrum", "scalars", "noise shape", "co-occurrences"),
    "ImageNet features": ("ImageNet features",),
}

#: How names of readings end that are features of an untouched network; a study may name further ones.
FEATURES = " features"


def readings_among(names: Iterable[str]) -> list[str]:
    """Which names are linear readings: those of READINGS in their order, then features of further networks."""
    known = set(names)
    further = sorted(name for name in known - set(READINGS) if name.endswith(FEATURES))
    return [*(name for name in READINGS if name in known), *further]


def linear_readings(measured: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables of READINGS whose parts were all measured, on the images that have all parts."""
    known = {name: parts for name, parts in READINGS.items() if set(parts) <= set(measured)}
    return {name: pd.concat([measured[part] for part in parts], axis=1, join="inner") for name, parts in known.items()}


def three_way_accuracy(tables: dict[str, pd.DataFrame], *, resamples: int = 2000) -> pd.DataFrame:
    """One row a baseline: three-way balanced accuracy of its scores at argmax, with its interval."""
    unread = {"threshold": 0.5, "false_alarm_5": 0.95}  # of the summary, only the row without thresholds is kept
    summaries = {name: summarise(table, unread, resamples=resamples) for name, table in tables.items()}
    return pd.concat([three_way_rows(found, method=name) for name, found in summaries.items()], ignore_index=True)


def mark_candidates(scores: pd.DataFrame, *, resamples: int = 2000) -> pd.DataFrame:  # method, value, low, high
    """Linear readings, the best on complete_select first: that one is the mark to pass.

    They are compared by three-way balanced accuracy on the images of that part that all of them scored; of equal
    ones the earlier in `readings_among` comes first. The test part has no say. Raises ValueError where none was scored.
    """
    select = scores[scores["split"] == "complete_select"]
    names = readings_among(select["variant"])
    if not names:
        raise ValueError("no linear reading has scores of complete_select; run 00_prepare_dataset again")
    select = select[select["variant"].isin(names)]
    common = select[select.groupby("path")["variant"].transform("nunique") == len(names)]
    found = three_way_accuracy({name: common[common["variant"] == name] for name in names}, resamples=resamples)
    return found.sort_values("value", ascending=False, kind="stable", ignore_index=True)
