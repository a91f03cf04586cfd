"""Statistics: arrays in, numbers out. Intervals by a bootstrap of clusters, calibration, thresholds."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import beta, binomtest

LEVEL = 0.95  # confidence of every interval


class Resamples(NamedTuple):
    """How often each cluster is drawn, the same draws for every metric that is computed from them."""

    cluster: np.ndarray  # [N] index of each image's cluster
    counts: np.ndarray  # [R, C] times that cluster C appears in resample R; row 0: the data themselves


def resample_clusters(groups: np.ndarray, *, resamples: int = 2000, seed: int = 0) -> Resamples:
    """Draw clusters (duplicates, pairs, scenes) with replacement; row 0 holds the data as they are."""
    names, cluster = np.unique(np.asarray(groups), return_inverse=True)
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    counts = np.vstack([np.ones((1, len(names)), dtype=np.int64), drawn]).astype(np.float32)
    return Resamples(cluster, counts)


def rate(hit: np.ndarray, among: np.ndarray, draws: Resamples) -> np.ndarray:  # [R + 1]
    """Share of `hit` [N] among the images marked in `among` [N], for the data and every resample."""
    clusters = draws.counts.shape[1]
    hits = draws.counts @ np.bincount(draws.cluster, weights=hit & among, minlength=clusters).astype(np.float32)
    total = draws.counts @ np.bincount(draws.cluster, weights=among, minlength=clusters).astype(np.float32)
    return np.divide(hits, total, out=np.full(len(total), np.nan), where=total > 0)


def auc(score: np.ndarray, positive: np.ndarray, among: np.ndarray, draws: Resamples) -> np.ndarray:  # [R + 1]
    """Area under the ROC curve among the marked images, ties counted half (Mann-Whitney)."""
    order = np.flatnonzero(among)[np.argsort(score[among], kind="stable")]
    if len(order) == 0:
        return np.full(len(draws.counts), np.nan)
    starts = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])  # first image of each tie
    cluster, is_positive = draws.cluster[order], positive[order]
    areas = []
    for block in np.array_split(draws.counts, max(1, len(draws.counts) * len(order) // 20_000_000)):
        weights = block[:, cluster].astype(np.float64)
        positives = np.add.reduceat(weights * is_positive, starts, axis=1)
        negatives = np.add.reduceat(weights * ~is_positive, starts, axis=1)
        below = np.cumsum(negatives, axis=1) - negatives
        pairs = positives.sum(axis=1) * negatives.sum(axis=1)
        won = (positives * (below + negatives / 2)).sum(axis=1)
        areas.append(np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0))
    return np.concatenate(areas)


def interval(values: np.ndarray, *, clusters: int = 0) -> tuple[float, float, float]:  # estimate, low, high
    """Estimate (row 0 of the resamples) and its percentile interval; NaN where it is undefined.

    `clusters` is the number of clusters behind a rate; behind a mean of rates or an area, that of
    its smallest class. Where all or none hit, the bootstrap knows no spread, and the exact
    binomial bound over the clusters stands in (Clopper and Pearson, 1934): 64 of 64 is "at least
    0.94", not "exactly 1". For means and areas this bound is on the wide side.
    """
    estimate, tail = float(values[0]), (1 - LEVEL) / 2
    if not np.isfinite(estimate):
        return (np.nan, np.nan, np.nan)
    drawn = values[1:][np.isfinite(values[1:])]
    low, high = np.percentile(drawn, [100 * tail, 100 * (1 - tail)]) if len(drawn) else (np.nan, np.nan)
    if clusters and estimate == 1:
        low = beta.ppf(tail, clusters, 1)
    if clusters and estimate == 0:
        high = beta.ppf(1 - tail, 1, clusters)
    return estimate, float(low), float(high)


def smallest_class(cluster: np.ndarray, label: np.ndarray) -> int:
    """Clusters of the label that has fewest: what stands behind a metric that needs all labels."""
    return min((len(np.unique(cluster[label == value])) for value in np.unique(label)), default=0)


def rate_interval(hit: np.ndarray, among: np.ndarray, draws: Resamples) -> tuple[float, float, float]:
    """Share of `hit` among the marked images with its interval, exact where all or none hit."""
    return interval(rate(hit, among, draws), clusters=len(np.unique(draws.cluster[among])))


def mcnemar(ours_right: np.ndarray, theirs_right: np.ndarray) -> float:  # p value
    """Exact McNemar test on the images [N] that only one of the two models gets right.

    It takes images as independent, which duplicates and scenes are not: a description beside the
    paired bootstrap, never the decision. 1 where the models never differ.
    """
    only_ours, only_theirs = np.sum(ours_right & ~theirs_right), np.sum(theirs_right & ~ours_right)
    return float(binomtest(only_ours, only_ours + only_theirs).pvalue) if only_ours + only_theirs else 1.0


def holm(p_values: np.ndarray) -> np.ndarray:  # [M] -> [M] adjusted, in the order given
    """Holm's adjustment: comparing each with 0.05 keeps the family's error at 5% (Holm, 1979)."""
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values)
    steps = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)).clip(max=1)
    return steps[np.argsort(order)]


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:  # [N, K], [N] -> T > 0
    """Temperature of least log loss (Guo et al., ICML 2017); probabilities are softmax(logits / T)."""

    def log_loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -scaled[np.arange(len(labels)), labels].mean()

    return float(np.exp(minimize_scalar(log_loss, bounds=(-4, 4), method="bounded").x))


def probabilities(logits: np.ndarray, *, temperature: float) -> np.ndarray:  # [N, K] -> [N, K]
    return softmax(logits / temperature, axis=1)


def best_threshold(score: np.ndarray, positive: np.ndarray) -> float:
    """Threshold on `score` of largest balanced accuracy; positive means score >= threshold."""
    candidates, hits, alarms = _roc(score, positive)
    return float(candidates[np.argmax(hits - alarms)])


def false_alarm_threshold(score: np.ndarray, positive: np.ndarray, *, rate: float = 0.05) -> float:
    """Smallest threshold at which at most `rate` of the negatives raise an alarm."""
    candidates, _, alarms = _roc(score, positive)
    return float(candidates[alarms <= rate].min())


def _roc(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidates between neighbouring scores, with hit rate and false alarm rate at each."""
    values = np.unique(score)
    middles = (values[1:] + values[:-1]) / 2
    candidates = np.r_[values[0], middles, np.nextafter(values[-1], np.inf)]
    hits = 1 - np.searchsorted(np.sort(score[positive]), candidates) / max(1, positive.sum())
    alarms = 1 - np.searchsorted(np.sort(score[~positive]), candidates) / max(1, (~positive).sum())
    return candidates, hits, alarms
