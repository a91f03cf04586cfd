"""The field's own numbers: each generator against its own reals, in the form of ForenSynths and GenImage.

Accuracy at p_fake above one half (Wang et al., CVPR 2020), average precision and equal error rate, all where half of
the images are fakes, so that generators of unequal numbers of images can be averaged: mAcc and mAP.
"""

import numpy as np
import pandas as pd

from dfxlib.measure import stats
from dfxlib.measure.generators import generator_names, shared_reals
from dfxlib.measure.intervals import area_interval, interval
from dfxlib.measure.scores import VERDICTS, named, says_fake

#: Means over generators, by the part whose generators they are of.
MEANS = {"test": "mean of seen", "unseen": "mean of unseen", "": "mean of all"}

#: The row of all conditions together.
POOLED = "all versions"

_BLOCK = 1_000_000  # numbers of one array, of several resamples


def field_table(
    scores: pd.DataFrame,  # of one method, with the manifest's `source`
    *,
    method: str,
    resamples: int = 2000,
) -> pd.DataFrame:
    """One row a generator, then their means: `acc` at p_fake above 0.5, `auc`, `ap` and `eer`, with 95% intervals.

    A generator's own reals are those of its source, as GenImage pairs them; where it has none, all real test images
    stand against it (`reals`: own or shared). `acc` is the mean of `fake_acc` and `real_acc`. Every metric is at
    prevalence one half, whatever the numbers of images. Without real images nothing is defined.
    """
    draws = stats.resample_clusters(scores["group"].to_numpy(), resamples=resamples)
    generators = scores.loc[scores["nature"] != "real", ["nature", "architecture", "split"]].drop_duplicates()
    rows, found = [], []
    for generator in generators.sort_values(["split", "nature", "architecture"]).itertuples(index=False):
        fakes = (scores[["nature", "architecture", "split"]] == list(generator)).all(axis=1).to_numpy()
        reals, whose = _reals_of(scores, fakes)
        metrics = half_metrics(scores["p_fake"].to_numpy(), fakes, reals, draws)
        sizes = stats.clusters_of([fakes, reals], draws)
        found.append((generator.split, metrics, sizes))
        facts = {"method": method, **generator._asdict(), "images": int(fakes.sum()), "reals": whose}
        rows.append(facts | {"real_images": int(reals.sum())} | _joined([metrics], [sizes]))
    for split, name in MEANS.items():
        own = [(metrics, sizes) for part, metrics, sizes in found if part == split or not split]
        if own:
            facts = {"method": method, "nature": "generated", "architecture": name, "split": split}
            rows.append(facts | {"reals": "", "images": len(own)} | _joined(*map(list, zip(*own))))
    return pd.DataFrame(rows)


def _reals_of(scores: pd.DataFrame, fakes: np.ndarray) -> tuple[np.ndarray, str]:
    """A generator's own real images [N] bool, or all of the test part."""
    shared, sources = shared_reals(scores), set(scores.loc[fakes, "source"]) - {""}
    own = shared & scores["source"].isin(sources).to_numpy()
    return (own, "own") if own.any() else (shared, "shared")


def half_metrics(
    score: np.ndarray,  # [N]
    fakes: np.ndarray,  # [N] bool
    reals: np.ndarray,  # [N] bool
    draws: stats.Resamples,
) -> dict[str, np.ndarray]:  # metric -> [R + 1]
    """Accuracies at a score above 0.5, AUC, average precision and equal error rate where both sides weigh the same.

    Ties are one step of the curve, as in scikit-learn's average precision; the equal error rate is
    where the lines between the steps cross. NaN where a side is absent.
    """
    order = np.flatnonzero(fakes | reals)
    order = order[np.argsort(-score[order], kind="stable")]
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True)) if len(order) else order  # of each score
    curves: dict[str, list[np.ndarray]] = {"auc": [], "ap": [], "eer": []}
    for counts in np.array_split(draws.counts, 1 + len(draws.counts) * len(order) // _BLOCK):
        hits, alarms = (_shares(counts[:, draws.cluster[order]] * side[order])[:, last] for side in (fakes, reals))
        steps = np.diff(hits, axis=1, prepend=0)
        precision = np.divide(hits, hits + alarms, out=np.zeros_like(hits), where=hits > 0)
        curves["auc"].append((np.diff(alarms, axis=1, prepend=0) * (hits - steps / 2)).sum(axis=1))
        curves["ap"].append((steps * precision).sum(axis=1))
        curves["eer"].append(_equal_errors(hits, alarms))
    called = score > 0.5
    found = {name: np.concatenate(parts) for name, parts in curves.items()}
    return {"fake_acc": stats.rate(called, fakes, draws), "real_acc": stats.rate(~called, reals, draws)} | found


def _shares(weights: np.ndarray) -> np.ndarray:  # [R, n] -> [R, n] of all weight, up to each place
    sums = np.cumsum(weights, axis=1, dtype=np.float64)
    total = sums[:, -1:] if sums.shape[1] else sums
    return np.divide(sums, total, out=np.full_like(sums, np.nan), where=total > 0)


def _equal_errors(hits: np.ndarray, alarms: np.ndarray) -> np.ndarray:  # [R, k] each, rising to 1 -> [R]
    """Where the share of reals called fake meets that of fakes called real."""
    zeros = np.zeros((len(hits), 1))
    hits, alarms = np.hstack([zeros, hits]), np.hstack([zeros, alarms])
    gap = alarms + hits - 1  # from -1 to 1
    after = np.argmax(gap >= 0, axis=1)[:, None]
    if not after.any():
        return np.full(len(hits), np.nan)
    (low, high), (start, end) = ([np.take_along_axis(a, after - k, axis=1) for k in (1, 0)] for a in (gap, alarms))
    return (start + (end - start) * low / (low - high))[:, 0]


def _joined(metrics: list[dict[str, np.ndarray]], sizes: list[np.ndarray]) -> dict:
    """Columns of one generator, or of the mean over several, each with its interval; sizes are of fakes and reals."""
    sides = [values[name] for values in metrics for name in ("fake_acc", "real_acc")]
    row = named("acc", interval(np.stack(sides), clusters=np.concatenate(sizes)))
    for place, name in enumerate(("fake_acc", "real_acc")):
        row |= named(name, interval(np.stack([values[name] for values in metrics]), clusters=np.array(sizes)[:, place]))
    for name in ("auc", "ap", "eer"):
        areas = np.stack([values[name] for values in metrics])
        row |= named(name, area_interval(areas, clusters=np.array(sizes).min(axis=1)))
    return row


def by_condition(methods: dict[str, pd.DataFrame], conditions: list[str], *, resamples: int = 2000) -> pd.DataFrame:
    """The field's numbers of all fakes against all reals of the test part: a row a method and condition, then all.

    The last row of a method is one ranking over raw and treated images together, as challenges score: a detector whose
    scores drift with the treatment loses there, however well it ranks within each condition. It takes scores under
    every condition, so that all methods are ranked over the same. Versions of an image are one group.
    """
    rows = []
    for method, scores in methods.items():
        scores = scores[(scores["split"] == "test") & scores["condition"].isin(conditions)]
        own = [name for name in conditions if name in set(scores["condition"])]
        for name in (*own, POOLED) if len(own) > 1 and own == conditions else own:
            part = scores if name == POOLED else scores[scores["condition"] == name]
            fakes = (part["nature"] != "real").to_numpy()
            draws = stats.resample_clusters(part["group"].to_numpy(), resamples=resamples)
            sizes = stats.clusters_of([fakes, ~fakes], draws)
            row = {"method": method, "condition": name, "images": len(part)}
            rows.append(row | _joined([half_metrics(part["p_fake"].to_numpy(), fakes, ~fakes, draws)], [sizes]))
    return pd.DataFrame(rows)


def at_frozen_thresholds(scores: pd.DataFrame, calibration: dict, *, resamples: int = 2000) -> pd.DataFrame:
    """What the thresholds that were frozen on images as they came give under each condition: a row a condition and one.

    `false_alarm_5` promised 5% false alarms on raw real images; `real_recall` says what is left of that.
    """
    rows = []
    for condition, part in scores.groupby("condition", sort=False):
        fakes = (part["nature"] != "real").to_numpy()
        draws = stats.resample_clusters(part["group"].to_numpy(), resamples=resamples)
        for verdict in VERDICTS[1:]:
            called = says_fake(part, verdict, calibration)
            row = {"condition": condition, "threshold": verdict, "p_fake": calibration[verdict]}
            row |= named("fake_recall", stats.rate_interval(called, fakes, draws))
            rows.append(row | named("real_recall", stats.rate_interval(~called, ~fakes, draws)))
    return pd.DataFrame(rows)


def field_wide(table: pd.DataFrame, *, metric: str = "acc") -> pd.DataFrame:  # rows methods, columns generators
    """A metric in percent, to a tenth, as the field prints it: a column a generator, the means at the end.

    A mean over fewer generators than another method has is left out, since it does not compare with the other's.
    """
    most = table.groupby("architecture")["images"].transform("max")  # of a mean: generators
    fewer = (table["nature"] == "generated") & (table["images"] < most)
    table = table.assign(name=generator_names(table), value=table[metric].mask(fewer))
    wide = table.pivot_table(index="method", columns="name", values="value", sort=False, dropna=False)
    means = [name for name in MEANS.values() if name in wide]
    return (100 * wide).round(1)[[*(name for name in wide if name not in means), *means]].rename_axis(columns=None)


def field_latex(table: pd.DataFrame) -> str:
    """The table of a paper: Acc / AP in percent, a row a method, a column a generator; it takes booktabs."""
    acc, ap = (field_wide(table, metric=name) for name in ("acc", "ap"))
    cells = acc.map(_printed) + " / " + ap.map(_printed)
    lines = [["method", *map(_escaped, cells.columns)]]
    lines += [[_escaped(name), *row] for name, row in zip(cells.index, cells.to_numpy())]
    head, *body = (" & ".join(line) + r" \\" for line in lines)
    opening = rf"\begin{{tabular}}{{l{'r' * len(cells.columns)}}}"
    return "\n".join([opening, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", ""])


def _printed(percent: float) -> str:
    return "--" if np.isnan(percent) else f"{percent:.1f}"


def _escaped(text: str) -> str:
    signs = {"\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\~{}"} | {sign: f"\\{sign}" for sign in "{}_&%$#"}
    return "".join(signs.get(sign, sign) for sign in text)
