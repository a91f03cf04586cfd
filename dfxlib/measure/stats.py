"""Statistics: arrays in, numbers out. Intervals by a bootstrap of clusters, calibration, thresholds."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import binomtest, t

LEVEL = 0.95  # confidence of every interval

FALSE_ALARMS = (1, 5)  # percent of the negatives, at which recall is reported


class Resamples(NamedTuple):
    """How often each cluster is drawn, the same draws for every metric that is computed from them."""

    cluster: np.ndarray  # [N] index of each image's cluster
    counts: np.ndarray  # [R, C] times that cluster C appears in resample R; row 0: the data themselves


def resample_clusters(groups: np.ndarray, *, resamples: int = 2000, seed: int = 0) -> Resamples:
    """Draw clusters (duplicates, pairs, scenes) with replacement; row 0 holds the data as they are."""
    names, cluster = np.unique(np.asarray(groups), return_inverse=True)
    random, counts = np.random.default_rng(seed), np.ones((resamples + 1, len(names)), dtype=np.float32)
    for row in counts[1:]:
        row[:] = np.bincount(random.integers(len(names), size=len(names)), minlength=len(names))
    return Resamples(cluster, np.asfortranarray(counts))  # the resamples of one cluster lie side by side


def rate(hit: np.ndarray, among: np.ndarray, draws: Resamples) -> np.ndarray:  # [R + 1]
    """Share of `hit` [N] among the images marked in `among` [N], for the data and every resample.

    Numbers instead of hits give their mean.
    """
    clusters = draws.counts.shape[1]
    hits = np.bincount(draws.cluster, weights=hit * among, minlength=clusters)  # [C]
    total = np.bincount(draws.cluster, weights=among, minlength=clusters)  # [C]
    present = total > 0  # few of the clusters, where the marked images are one architecture
    counts = draws.counts if present.all() else draws.counts.T[present].T  # [R + 1, clusters present]
    # float32 counts images exactly and in half the time; their quotient needs float64
    both = np.stack([hits, total], axis=1)[present].astype(np.float32)  # [clusters present, 2]
    hits, total = (counts @ both).T.astype(np.float64)  # [R + 1] each
    return np.divide(hits, total, out=np.full(len(total), np.nan), where=total > 0)


def auc(score: np.ndarray, positive: np.ndarray, among: np.ndarray, draws: Resamples) -> np.ndarray:  # [R + 1]
    """Area under the ROC curve among the marked images, ties counted half (Mann-Whitney)."""
    (metrics,) = ranking(score, [positive & among], ~positive & among, draws)
    return metrics["auc"]


def ranking(
    score: np.ndarray,  # [N]
    parts: list[np.ndarray],  # masks [N] of positives, such as the images of each generator
    negatives: np.ndarray,  # [N] bool, the same for every part
    draws: Resamples,
) -> list[dict[str, np.ndarray]]:  # of each part: metric -> [R + 1]
    """How well positives are ranked above shared negatives: `auc`, `ap` and `recall_fa1`, `recall_fa5`.

    `auc` counts ties half. `ap` is the average precision at the prevalence that the part and the
    negatives have together. `recall_faX` is the recall at the smallest threshold with at most X%
    false alarms, chosen anew on the negatives of each resample; fewer than 100 / X clusters of
    negatives cannot show X%, and it is undefined. Chosen on the same n negatives, the threshold flatters:
    on others it gives some (floor(n X%) + 1) / (n + 1) false alarms, which for 1% is 2.0% at n = 100 and
    1.3% at n = 300, and its 95% interval covers the recall at a true 1% in about 90% (200 clusters,
    2,000 simulations). The negatives are summed once for all parts.
    """
    order = _ascending(score, negatives)
    parts = [_ascending(score, part) for part in parts]
    longest = max(map(len, (order, *parts)))
    blocks = np.array_split(draws.counts, max(1, len(draws.counts) * (longest + 1) // 1_000_000))  # of resamples
    found: list[list[dict[str, np.ndarray]]] = [[] for _ in parts]  # of each part, the metrics of every block
    for block in blocks:
        below = _cumulative(block, draws.cluster[order])
        for part, values in zip(parts, found):
            values.append(_ranking_of_part(score[part], score[order], below, block, draws.cluster[part]))
    clusters = len(np.unique(draws.cluster[order]))
    undefined = [f"recall_fa{percent}" for percent in FALSE_ALARMS if clusters * percent < 100]
    whole = []
    for values in found:
        metrics = {name: np.concatenate([block[name] for block in values]) for name in values[0]}
        for name in undefined:
            metrics[name][:] = np.nan
        whole.append(metrics)
    return whole


def _ascending(score: np.ndarray, mask: np.ndarray) -> np.ndarray:  # positions of the marked images, by score
    return np.flatnonzero(mask)[np.argsort(score[mask], kind="stable")]


def _cumulative(counts: np.ndarray, cluster: np.ndarray) -> np.ndarray:  # [R, C], [n] -> [R, n + 1]
    """Weight of the images before each position, and of all at the end."""
    sums = np.zeros((len(counts), len(cluster) + 1))
    np.cumsum(counts[:, cluster], axis=1, out=sums[:, 1:])
    return sums


def _ranking_of_part(
    score: np.ndarray,  # [n] of the positives, ascending
    negative_score: np.ndarray,  # [m], ascending
    below: np.ndarray,  # [R, m + 1] cumulative weight of the negatives
    counts: np.ndarray,  # [R, C]
    cluster: np.ndarray,  # [n]
) -> dict[str, np.ndarray]:  # metric -> [R]
    weights, own = counts[:, cluster], _cumulative(counts, cluster)
    positives, all_negatives = own[:, -1], below[:, -1]
    alarms = all_negatives[:, None] - below[:, np.searchsorted(negative_score, score)]  # at this score or above
    ties = below[:, np.searchsorted(negative_score, score, side="right")] - all_negatives[:, None] + alarms
    hits = positives[:, None] - own[:, np.searchsorted(score, score)]
    precision = np.divide(hits, hits + alarms, out=np.zeros_like(hits), where=hits > 0)
    won = np.einsum("rn,rn->r", weights, all_negatives[:, None] - alarms + ties / 2)
    sums = {"auc": won / np.maximum(all_negatives, 1), "ap": np.einsum("rn,rn->r", weights, precision)}
    for percent in FALSE_ALARMS:
        # At its own score a positive is found when no more negatives than allowed lie as high.
        found = alarms <= percent / 100 * all_negatives[:, None] + 1e-9
        sums[f"recall_fa{percent}"] = np.einsum("rn,rn->r", weights, found)
    defined = (positives > 0) & (all_negatives > 0)
    empty = np.full(len(positives), np.nan)
    return {name: np.divide(total, positives, out=empty.copy(), where=defined) for name, total in sums.items()}


def interval(
    values: np.ndarray,  # [K, R + 1] each from 0 to 1, or [R + 1]
    *,
    clusters: np.ndarray | int,  # [K] behind each; behind an area or an F1 score, those of its smallest class
    weights: np.ndarray | None = None,  # [K] of a sum or, with both signs, a difference; the mean without
) -> tuple[float, float, float]:  # estimate, low, high
    """A rate, an area or a weighted sum of several, with its 95% interval; NaN where one of them is undefined.

    The interval of Wilson (1927) for as many independent images as would vary like the resamples
    (the effective size of complex surveys: Korn and Graubard, 1998), with Student's quantile for
    the number of clusters; of a sum with Satterthwaite's. What all images of a part hit, however few, shows
    no spread among the resamples; so each part's variance is that of its rate with four more images, 3.5
    at the mean rate of the parts and half a hit and half a miss, after Agresti and Coull (1998).

    Measured coverage of the nominal 95% (1,000 or more simulations). Clusters of four images, rate 0.6: 94% with 5
    clusters, 95% with 10, 96% with 20, 95% with 200; rate 0.95: 94% with 200. A single rate of 0.98 of 200
    images: 93%, where steps of one image are coarse. Balanced accuracy of 0.95, classes of 67: 96%; with a class
    of 20 beside two of 200: 96%, where percentiles of the same resamples cover 79%. An area of 0.98, 100 images
    a side: 94%; 10 against 300: 90%. A paired difference of 0.06: 94% with 200 clusters, 87% with 20.
    """
    values, clusters = np.atleast_2d(values), np.atleast_1d(clusters)
    weights = np.full(len(values), 1 / len(values)) if weights is None else np.asarray(weights)
    estimates = values[:, 0]  # [K]
    if not np.isfinite(estimates).all():
        return (np.nan, np.nan, np.nan)
    # How the parts vary over the resamples, each by itself and together.
    moves = np.nan_to_num(values[:, 1:] - estimates[:, None])  # [K, R]
    moves -= moves.mean(axis=1, keepdims=True)
    spread = np.sqrt((moves**2).mean(axis=1)).clip(min=1e-9)  # [K]
    known = (spread > 1e-9) & (estimates > 0) & (estimates < 1) & (clusters > 1)  # [K]
    correlation = moves @ moves.T / moves.shape[1] / np.outer(spread, spread)  # [K, K]
    np.fill_diagonal(correlation, 1)
    # Effective sizes, rates with four more images, and with them the standard error of each part of the sum.
    size = np.where(known, estimates * (1 - estimates) / spread**2, clusters)  # [K]
    pulled = (size * estimates + 3.5 * estimates.mean() + 0.25) / (size + 4)  # [K]
    parts = weights * np.sqrt(pulled * (1 - pulled) / size)  # [K]
    freedom = (parts**2).sum() ** 2 / (parts**4 / np.maximum(clusters - 1, 1)).sum()
    if not known.any():  # nothing is known of how parts without spread vary together: the smallest speaks for all
        correlation[:] = 1
        freedom = max(1, clusters.min() - 1)
    # Wilson's interval of the sum, on the scale on which it lies in 0 to 1; a difference of rates lies in -1 to 1.
    bottom, width = weights.clip(max=0).sum(), np.abs(weights).sum()
    place = (weights @ estimates - bottom) / width
    center = (weights @ pulled - bottom) / width
    variance = max(0, parts @ correlation @ parts) / width**2
    square = t.ppf((1 + LEVEL) / 2, freedom) ** 2 * variance / (center * (1 - center))  # over the size of the whole
    ends = place + square / 2 + np.array([-1, 1]) * np.sqrt(square * (place * (1 - place) + square / 4))
    low, high = bottom + width * (ends / (1 + square)).clip(0, 1)
    return _rounded(weights @ estimates), _rounded(low), _rounded(high)


def _rounded(value: float) -> float:
    """Without the last bits of sums, and without the sign of a zero."""
    return float(round(value, 8) + 0.0)


def loss_interval(values: np.ndarray) -> tuple[float, float, float]:  # estimate, low, high
    """A mean loss [R + 1], which may exceed 1, with the middle 95% of its resamples; NaN where they show no spread."""
    loss, drawn = float(values[0]), values[1:][np.isfinite(values[1:])]
    if len(drawn) == 0:
        return loss, np.nan, np.nan
    low, high = np.percentile(drawn, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    if low == high:
        return loss, np.nan, np.nan
    return loss, float(low), float(high)


def clusters_of(masks: list[np.ndarray], draws: Resamples) -> np.ndarray:  # [K] of the images that each mask marks
    """Number of clusters that hold an image of each mask."""
    return np.array([len(np.unique(draws.cluster[mask])) for mask in masks])


def rate_interval(hit: np.ndarray, among: np.ndarray, draws: Resamples) -> tuple[float, float, float]:
    """Share of `hit` among the marked images with its interval."""
    return interval(rate(hit, among, draws), clusters=clusters_of([among], draws))


def mcnemar(ours_right: np.ndarray, theirs_right: np.ndarray) -> float:  # p value
    """Exact McNemar test on the images [N] that only one of the two models gets right.

    It takes images as independent, which duplicates and scenes are not: a description beside the
    paired bootstrap, never the decision. 1 where the models never differ.
    """
    only_ours, only_theirs = np.sum(ours_right & ~theirs_right), np.sum(theirs_right & ~ours_right)
    if only_ours + only_theirs == 0:
        return 1.0
    return float(binomtest(only_ours, only_ours + only_theirs).pvalue)


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
    """Softmax of the logits divided by the temperature (Guo et al., ICML 2017)."""
    return softmax(logits / temperature, axis=1)


def best_threshold(score: np.ndarray, positive: np.ndarray) -> float:
    """Threshold on `score` of largest balanced accuracy; positive means score >= threshold."""
    candidates, hits, alarms = _roc(score, positive)
    return float(candidates[np.argmax(hits - alarms)])


def false_alarm_threshold(score: np.ndarray, positive: np.ndarray, *, rate: float = 0.05) -> float:
    """Smallest threshold at which at most `rate` of the negatives raise an alarm."""
    candidates, _, alarms = _roc(score, positive)
    return float(candidates[alarms <= rate].min())


def reliability(
    confidence: np.ndarray,  # [N] probability of what was said
    right: np.ndarray,  # [N] bool
    *,
    bins: int = 15,  # of equal width (Guo et al., ICML 2017)
) -> np.ndarray:  # [3, filled bins]: mean confidence, share that was right, images
    """The reliability curve: a calibrated model is right as often as it is confident."""
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)
    images = np.bincount(place, minlength=bins)
    said = np.bincount(place, weights=confidence, minlength=bins)
    was = np.bincount(place, weights=right, minlength=bins)
    filled = images > 0
    return np.stack([said[filled] / images[filled], was[filled] / images[filled], images[filled]])


def calibration_error(confidence: np.ndarray, right: np.ndarray, *, bins: int = 15) -> float:
    """Expected calibration error (ECE): mean distance of the reliability curve from the diagonal."""
    said, was, images = reliability(confidence, right, bins=bins)
    return float(np.average(np.abs(said - was), weights=images)) if len(images) else np.nan


def _roc(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidates between neighbouring scores, with hit rate and false alarm rate at each."""
    values = np.unique(score)
    middles = (values[1:] + values[:-1]) / 2
    candidates = np.concatenate([values[:1], middles, [np.nextafter(values[-1], np.inf)]])
    hits, alarms = (_share_from(side, candidates) for side in (score[positive], score[~positive]))
    return candidates, hits, alarms


def _share_from(score: np.ndarray, cuts: np.ndarray) -> np.ndarray:  # share of the scores at each cut or above
    reached = len(score) - np.searchsorted(np.sort(score), cuts)
    return reached / max(1, len(score))  # counts before shares: 6 of 600 are not above 1%
