"""Statistics: arrays in, numbers out. Resamples of clusters and what they give, tests, calibration, thresholds."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import bdtr, log_softmax, softmax

from dfxlib.measure.intervals import interval

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
    # scipy.special: to import scipy.stats takes two seconds
    return min(1.0, 2 * float(bdtr(min(only_ours, only_theirs), only_ours + only_theirs, 0.5)))


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
