"""The band of "unsure": the bounds behind it by brute force, and by simulation that both promises are kept."""

import numpy as np
import pandas as pd
import pytest
from samples import rows
from scipy.stats import binom

from dfxlib.measure import band as b
from dfxlib.measure import scores as e
from dfxlib.measure.stats import probabilities

BOTH = [pytest.param(None, id="average"), pytest.param(0.9, id="probability")]


def judged(random: np.random.Generator, clusters: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, labels and groups: clusters of one to four images, each cluster with a shift of its own."""
    groups = np.repeat(np.arange(clusters), random.integers(1, 5, size=clusters))
    positive = random.random(len(groups)) < 0.5
    return random.normal(size=clusters)[groups] + random.normal(size=len(groups)) + 2 * positive, positive, groups


def share_by_cluster(wrong: np.ndarray, groups: np.ndarray) -> float:
    """Mean over clusters of the share of their images that are wrong."""
    return float(np.mean([wrong[groups == group].mean() for group in np.unique(groups)]))


def refuted(mistakes: float, clusters: int, error: float) -> float:
    """p value of Hoeffding and Bentkus for a risk of `error`, as Bates et al. (2021) write it down."""
    rate = mistakes / clusters
    entropy = np.log(((1 - rate) / (1 - error)) ** (1 - rate) * (rate / error) ** rate)
    return min(np.exp(-clusters * entropy), np.e * binom.cdf(np.ceil(mistakes - 1e-9), clusters, error))


@pytest.mark.parametrize("clusters", [45, 60, 100, 333, 2000])
def test_the_allowed_mistakes_are_the_most_that_refute_a_larger_risk(clusters: int) -> None:
    found = b.allowed_mistakes(clusters, error=0.05, confidence=0.9)
    assert refuted(found, clusters, 0.05) <= 0.1 + 1e-9 < refuted(found + 0.01, clusters, 0.05)


def test_the_bound_costs_little_where_clusters_are_single_images() -> None:
    """There Clopper and Pearson's bound is exact; this one holds for shares of clusters as well."""
    for clusters in (100, 300, 1000):
        exact = max(k for k in range(clusters) if binom.cdf(k, clusters, 0.05) <= 0.1)
        assert 0.9 * exact - 1 <= int(b.allowed_mistakes(clusters, error=0.05, confidence=0.9)) <= exact


@pytest.mark.parametrize(("confidence", "enough"), [(None, 19), (0.9, 45)])
def test_clusters_that_a_promise_takes(confidence: float | None, enough: int) -> None:
    allowed = [b.allowed_mistakes(n, error=0.05, confidence=confidence) for n in (enough - 1, enough)]
    assert allowed[0] < 0 <= allowed[1] + 1e-12


def test_the_stronger_promise_allows_less_so_that_it_keeps_the_other_too() -> None:
    for clusters in [*range(45, 300), 1000, 10_000, 100_000]:
        stronger, other = (b.allowed_mistakes(clusters, error=0.05, confidence=c) for c in (0.9, None))
        assert stronger < other


@pytest.mark.parametrize("confidence", BOTH)
def test_no_narrower_band_would_keep_the_promise(confidence: float | None) -> None:
    score, positive, groups = judged(np.random.default_rng(3), 60)
    low, high = b.abstain_band(score, positive, groups, error=0.1, confidence=confidence)

    def kept(wrong: np.ndarray, side: np.ndarray) -> bool:
        clusters = len(np.unique(groups[side]))
        mistakes = clusters * share_by_cluster(wrong[side], groups[side])
        if confidence is None:  # the new cluster is one more, and may be wrong altogether
            return (mistakes + 1) / (clusters + 1) <= 0.1
        return refuted(mistakes, clusters, 0.1) <= 0.1

    assert kept(score >= high, ~positive) and kept(score < low, positive)
    assert not kept(score >= score[~positive & (score < high)].max(), ~positive)
    assert not kept(score <= score[positive & (score >= low)].min(), positive)


@pytest.mark.parametrize(("confidence", "each"), [(None, 18), (0.9, 44)])
def test_too_few_clusters_promise_nothing_and_decide_nothing(confidence: float | None, each: int) -> None:
    for groups in (np.arange(2 * each), np.arange(10 * each) // 5):  # copies of a scene are no further scenes
        score, positive = groups + 0.5, groups % 2 == 0
        low, high = b.abstain_band(score, positive, groups, error=0.05, confidence=confidence)
        assert not (score < low).any() and not (score + 1e9 >= high).any()


@pytest.mark.parametrize("confidence", BOTH)
def test_what_separates_leaves_no_band(confidence: float | None) -> None:
    positive, score = np.arange(200) % 2 == 0, np.where(np.arange(200) % 2 == 0, 2.0, 1.0) + np.arange(200) / 1000
    low, high = b.abstain_band(score, positive, np.arange(200), error=0.05, confidence=confidence)
    assert low == high and 1.19 < low <= 2


@pytest.mark.parametrize(
    ("each", "skill", "expected"),
    [(45, 4, b.MOSTLY), (44, 4, b.ON_AVERAGE), (300, 4, b.MOSTLY), (300, 0.3, b.ON_AVERAGE)],
    ids=["45 groups", "44 groups", "many", "many, and hardly any decided"],
)
def test_the_stronger_promise_is_given_where_it_can_be_and_decides_enough(
    each: int, skill: float, expected: str
) -> None:
    positive = np.arange(2 * each) % 2 == 0
    score = np.random.default_rng(0).normal(size=2 * each) + skill * positive
    low, high, promise = b.frozen_band(score, positive, np.arange(2 * each))
    assert promise == expected
    assert (low, high) == b.abstain_band(
        score, positive, np.arange(2 * each), error=0.05, confidence=b.PROMISES[expected]
    )


def test_scores_behind_the_band_come_from_temperatures_that_never_saw_their_group() -> None:
    """Whatever happens to one group, the others of its fold keep their scores, and so does no other fold."""
    table = rows(300, per_group=3)
    logits = np.random.default_rng(0).normal(size=(300, 3)) + np.eye(3)[e.class_index(table["nature"])]
    before, own = e.held_out_fake_scores(logits, table), (table["group"] == table["group"][0]).to_numpy()
    changed = e.held_out_fake_scores(np.where(own[:, None], -40 * logits, logits), table)
    same = ~own & (changed == before)
    assert own.sum() == 3 and same.sum() == 300 / 5 - 3
    assert e.held_out_fake_scores(logits, table.assign(group="one")) == pytest.approx(
        1 - probabilities(logits, temperature=e.calibrate(logits, table)["temperature"])[:, 2]
    )


def test_a_calibration_says_in_words_what_its_band_promises() -> None:
    said = {"unsure_low": 0.2, "unsure_high": 0.7, "unsure_error": 0.05, "unsure_promise": b.MOSTLY}
    assert b.promise(said) == (
        "5% of real images called fake and 5% of fakes called real at most, each with probability 0.9 over calibrations"
    )
    assert b.promise({"temperature": 1.0}) == "nothing, since it has none"


@pytest.mark.statistics
@pytest.mark.parametrize("error", [0.05, 0.2])
@pytest.mark.parametrize("confidence", BOTH)
def test_the_band_keeps_both_risks_in_new_clusters(confidence: float | None, error: float) -> None:
    """Of clusters of one to four images, by the risk that each band truly has: in many others, drawn alike."""
    random, alarms, misses = np.random.default_rng(0), [], []
    score, positive, groups = judged(random, 20_000)
    sizes = [np.bincount(groups[side], minlength=20_000)[groups] for side in (~positive, positive)]
    for _ in range(500):
        low, high = b.abstain_band(*judged(random, 150), error=error, confidence=confidence)
        assert low <= high
        alarms.append(np.average((score >= high)[~positive], weights=1 / sizes[0][~positive]))
        misses.append(np.average((score < low)[positive], weights=1 / sizes[1][positive]))
    for risks in (alarms, misses):
        if confidence is None:
            assert error / 2 < np.mean(risks) <= error + 0.005
            assert np.mean(np.array(risks) > error) > 0.25, "an average promises no single band"
        else:
            assert np.mean(np.array(risks) > error) <= 0.1 + 2 * np.sqrt(0.1 * 0.9 / 500)


def drawn(random: np.random.Generator, groups: int, spread: float) -> tuple[np.ndarray, pd.DataFrame]:
    """Overconfident logits [3 G, 3] and rows: each group a scene with one image of each nature, alike in difficulty."""
    table = rows(3 * groups, per_group=3)
    easy = np.repeat(random.normal(size=groups), 3)[:, None]
    logits = random.normal(scale=spread, size=(3 * groups, 3)) + (2 + easy) * np.eye(3)[e.class_index(table["nature"])]
    return 3 * logits, table


@pytest.mark.statistics
@pytest.mark.parametrize(("groups", "spread"), [(30, 1.0), (60, 0.7), (200, 1.0)])
def test_a_calibration_keeps_what_it_says_with_a_temperature_of_its_own(groups: int, spread: float) -> None:
    """Temperature and band from the same few images, cross-fitted; the risks of each calibration in 30,000 others."""
    random, promises, alarms, misses = np.random.default_rng(0), [], [], []
    others, table = drawn(random, 10_000, spread)
    is_fake = (table["nature"] != "real").to_numpy()
    for _ in range(200):
        frozen = e.calibrate(*drawn(random, groups, spread))
        p_fake = 1 - probabilities(others, temperature=frozen["temperature"])[:, 2]
        promises.append(frozen["unsure_promise"] == b.MOSTLY)
        alarms.append((p_fake >= frozen["unsure_high"])[~is_fake].mean())
        misses.append((p_fake < frozen["unsure_low"])[is_fake].mean())
    stronger = np.array(promises)
    assert stronger.any() == (groups >= 45)
    for risks in np.array([alarms, misses]):
        assert np.mean(risks) <= 0.05 + 0.003
        broken = np.mean(stronger & (risks > 0.05))
        assert broken <= 0.1 + 2 * np.sqrt(0.1 * 0.9 / 200)
