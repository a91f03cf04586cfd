"""The band of "unsure": two cuts on the fake score, and what they promise of its mistakes."""

import numpy as np
from scipy.optimize import brentq
from scipy.special import bdtr, rel_entr  # to import scipy.stats takes two seconds

from dfxlib.measure.stats import best_threshold

#: Share of the real images called fake, and of the fakes called real, that a band promises for images like those of
#: complete_calibrate.
UNSURE_ERROR = 0.05

#: Share of calibrations whose band keeps the stronger promise.
CONFIDENCE = 0.9

#: The stronger promise is given up where it decides less than this share of the images.
LEAST_DECIDED = 0.2

ON_AVERAGE, MOSTLY = "on average over calibrations", f"with probability {CONFIDENCE:g} over calibrations"

#: What a band may promise, in words, and the confidence that `abstain_band` takes for it.
PROMISES = {ON_AVERAGE: None, MOSTLY: CONFIDENCE}


def frozen_band(
    score: np.ndarray,  # [N]
    positive: np.ndarray,  # [N] bool
    groups: np.ndarray,  # [N] duplicates, pairs, scenes
) -> tuple[float, float, str]:  # low, high, and which of PROMISES they keep
    """The band that a model travels with: the stronger promise where the calibration images can give it.

    It takes log(1 - CONFIDENCE) / log(1 - UNSURE_ERROR) clusters of each class: with 45 of them and not one mistake a
    risk above 5% is refuted with probability 0.9. Where fewer than LEAST_DECIDED of these images would be decided, a
    promise that decides more is worth more. Choosing by the same images breaks neither: the stronger band contains the
    other one, and so keeps the promise on average as well. Each risk has its probability for itself; both are bounded
    at once with probability 0.8 at least.
    """
    clusters = min(len(np.unique(groups[side])) for side in (positive, ~positive))
    if clusters >= np.log(1 - CONFIDENCE) / np.log(1 - UNSURE_ERROR):
        low, high = abstain_band(score, positive, groups, error=UNSURE_ERROR, confidence=CONFIDENCE)
        if ((score < low) | (score >= high)).mean() >= LEAST_DECIDED:
            return low, high, MOSTLY
    return *abstain_band(score, positive, groups, error=UNSURE_ERROR, confidence=None), ON_AVERAGE


def abstain_band(
    score: np.ndarray,  # [N]
    positive: np.ndarray,  # [N] bool
    groups: np.ndarray,  # [N] duplicates, pairs, scenes
    *,
    error: float,
    confidence: float | None,  # share of calibrations in which each risk is at most `error`; None: it is on average
) -> tuple[float, float]:  # low, high
    """Negative below `low`, positive from `high` on, undecided between them.

    For each side by itself: of the negatives of a new cluster an expected share of at most `error` is called positive,
    and of its positives at most `error` negative, whatever the prevalence. That share is a number which differs from
    one set of calibration images to the next. On average over such sets: conformal risk control (Angelopoulos et al.,
    ICLR 2024); with fewer than 1 / error - 1 clusters a side is never decided. In a share `confidence` of them:
    risk-controlling prediction sets (Bates et al., J. ACM 68, 2021) with the bound of Hoeffding and Bentkus, which
    holds for clusters of several images too; it takes log(1 - confidence) / log(1 - error) clusters. Both hold for
    clusters that are exchangeable with these; no unseen generator is. Where both sides leave no band, `low` equals
    `high`.
    """
    high = _risk_cut(score[~positive], groups[~positive], error, confidence)
    low = -_risk_cut(-score[positive], groups[positive], error, confidence)
    if high <= low:  # any cut between them keeps both promises
        cut = float(np.clip(best_threshold(score, positive), high, low))
        return cut, cut
    return float(np.nextafter(low, np.inf)), float(high)


def _risk_cut(score: np.ndarray, groups: np.ndarray, error: float, confidence: float | None) -> float:
    """Smallest cut that no more than the allowed share of a cluster reaches."""
    _, cluster = np.unique(groups, return_inverse=True)
    sizes = np.bincount(cluster)
    allowed = allowed_mistakes(len(sizes), error=error, confidence=confidence)
    if allowed < 0:
        return np.inf
    order = np.argsort(-score)
    too_many = np.cumsum(1 / sizes[cluster[order]]) > allowed + 1e-9
    return float(np.nextafter(score[order][np.argmax(too_many)], np.inf))


def allowed_mistakes(clusters: int, *, error: float, confidence: float | None) -> float:
    """Clusters' worth of mistakes among these with which the promise of `abstain_band` holds; negative: not even none.

    With a `confidence`, the most that refute a risk above `error` by the bound of Hoeffding (in its relative entropy)
    or by that of Bentkus, whichever allows more: together they are one test (Bates et al., 2021, section 3.1).
    """
    if confidence is None:
        return error * (clusters + 1) - 1
    doubt = 1 - confidence
    if clusters * np.log1p(-error) > np.log(doubt):
        return -1

    def excess(rate: float) -> float:
        return float(clusters * (rel_entr(rate, error) + rel_entr(1 - rate, 1 - error)) + np.log(doubt))

    hoeffding = clusters * brentq(excess, 0, error)
    # The most whose probability is smaller; bdtr is the binomial distribution.
    bentkus = np.searchsorted(bdtr(np.arange(clusters + 1), clusters, error), doubt / np.e) - 1
    return float(max(hoeffding, bentkus))


def promise(calibration: dict) -> str:
    """What the frozen band promises for images like those of complete_calibrate, as a part of a sentence."""
    if "unsure_low" not in calibration:
        return "nothing, since it has none"
    error, how = calibration["unsure_error"], calibration["unsure_promise"]
    return f"{error:.0%} of real images called fake and {error:.0%} of fakes called real at most, each {how}"
