"""Statistics: against scikit-learn and scipy, against planted values, and by simulated coverage."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax
from scipy.stats import binomtest, t
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, roc_auc_score

from dfxlib.measure import stats


def everything(count: int) -> np.ndarray:
    return np.ones(count, dtype=bool)


def scored(count: int, *, seed: int = 0, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positive = np.arange(count) % 3 == 0
    score = rng.normal(size=count) + positive
    return (score.round() if ties else score), positive


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=60))
def test_auc_with_ties_is_scikit_learns(pairs: list) -> None:
    score, positive = (np.array(column) for column in zip(*pairs))
    value = stats.auc(
        score.astype(float), positive, everything(len(score)), stats.resample_clusters(positive, resamples=1)
    )[0]
    if positive.all() or not positive.any():
        assert np.isnan(value)
    else:
        assert value == pytest.approx(roc_auc_score(positive, score), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_every_resample_is_the_metric_of_the_repeated_images(ties: bool) -> None:
    score, positive = scored(60, ties=ties)
    groups = np.arange(60) // 4
    draws = stats.resample_clusters(groups, resamples=20)
    areas, hits = stats.auc(score, positive, everything(60), draws), stats.rate(score > 0, positive, draws)
    for row, counts in enumerate(draws.counts):
        times = counts[draws.cluster].astype(int)
        again_score, again_positive = np.repeat(score, times), np.repeat(positive, times)
        if 0 < again_positive.sum() < len(again_positive):
            assert areas[row] == pytest.approx(roc_auc_score(again_positive, again_score))
            assert hits[row] == pytest.approx((again_score[again_positive] > 0).mean(), abs=1e-6)


def test_row_zero_is_the_data_and_other_rows_draw_as_many_clusters() -> None:
    draws = stats.resample_clusters(np.array(list("aabbbc")), resamples=50)
    assert draws.counts.shape == (51, 3) and (draws.counts[0] == 1).all()
    assert (draws.counts.sum(axis=1) == 3).all() and draws.cluster.tolist() == [0, 0, 1, 1, 1, 2]


def test_the_same_seed_draws_the_same_resamples() -> None:
    groups = np.arange(20)
    one, same, other = (stats.resample_clusters(groups, resamples=9, seed=s).counts for s in (0, 0, 1))
    assert (one == same).all() and (one != other).any()


def test_auc_among_some_images_ignores_the_others() -> None:
    score, positive = scored(50)
    among = np.arange(50) < 30
    draws = stats.resample_clusters(np.arange(50), resamples=1)
    assert stats.auc(score, positive, among, draws)[0] == pytest.approx(roc_auc_score(positive[:30], score[:30]))


def test_auc_in_blocks_is_auc_at_once() -> None:
    score, positive = scored(20_000, ties=True)
    many = stats.resample_clusters(np.arange(20_000) // 1000, resamples=200)  # 4 million weights: several blocks
    few = stats.Resamples(many.cluster, many.counts[-3:])
    at_once = stats.auc(score, positive, everything(20_000), few)
    np.testing.assert_allclose(stats.auc(score, positive, everything(20_000), many)[-3:], at_once, rtol=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_ranking_of_every_part_and_resample_is_scikit_learns(ties: bool) -> None:
    score, positive = scored(900, ties=ties)
    parts = [positive & (np.arange(900) % 2 == rest) for rest in (0, 1)]
    draws = stats.resample_clusters(np.arange(900) // 3, resamples=5)
    for part, found in zip(parts, stats.ranking(score, parts, ~positive, draws)):
        for row, counts in enumerate(draws.counts):
            times = np.where(part | ~positive, counts[draws.cluster], 0).astype(int)
            again, label = np.repeat(score, times), np.repeat(positive, times)
            assert found["auc"][row] == pytest.approx(roc_auc_score(label, again))
            assert found["ap"][row] == pytest.approx(average_precision_score(label, again))
            for percent in (1, 5):
                threshold = stats.false_alarm_threshold(again, label, rate=percent / 100)
                assert found[f"recall_fa{percent}"][row] == pytest.approx((again[label] >= threshold).mean())


def test_recall_at_one_percent_false_alarms_needs_a_hundred_clusters_of_negatives() -> None:
    score, positive = scored(400)
    for scenes, defined in ((99, False), (100, True)):
        groups = np.where(positive, 1000, np.arange(400) % scenes)
        draws = stats.resample_clusters(groups, resamples=3)
        (found,) = stats.ranking(score, [positive], ~positive, draws)
        assert np.isfinite(found["recall_fa1"][0]) == defined and np.isfinite(found["recall_fa5"][0])
    nobody = np.zeros(400, dtype=bool)
    for part, negatives in ((nobody, ~positive), (positive, nobody)):
        (found,) = stats.ranking(score, [part], negatives, draws)
        assert all(np.isnan(values).all() for values in found.values())


def test_a_share_is_the_quotient_of_counts_to_the_last_digit() -> None:
    draws = stats.resample_clusters(np.arange(297) // 3, resamples=5)
    assert stats.rate(np.arange(297) < 204, everything(297), draws)[0] == 204 / 297


def test_what_the_data_cannot_define_is_nan() -> None:
    draws = stats.resample_clusters(np.arange(4), resamples=5)
    nobody = np.zeros(4, dtype=bool)
    assert np.isnan(stats.rate(everything(4), nobody, draws)).all()
    assert np.isnan(stats.auc(np.arange(4.0), nobody, nobody, draws)).all()
    assert np.isnan(stats.interval(np.array([np.nan, 0.5, 0.6]), clusters=3)).all()
    assert np.isnan(stats.interval(np.array([[0.5, 0.4, 0.6], [np.nan] * 3]), clusters=np.array([3, 0]))).all()
    assert np.isnan(stats.rate_interval(everything(4), nobody, draws)).all()


def test_a_loss_has_the_middle_95_percent_and_without_spread_no_interval() -> None:
    values = np.r_[0.7, np.linspace(0, 1, 1001), np.nan]
    assert stats.loss_interval(values) == pytest.approx((0.7, 0.025, 0.975))
    value, low, high = stats.loss_interval(np.full(9, 2.5))
    assert value == 2.5 and np.isnan([low, high]).all()


@pytest.mark.parametrize("share", [0.05, 0.4, 0.9])
def test_a_rate_of_independent_images_has_wilsons_interval(share: float) -> None:
    draws = stats.resample_clusters(np.arange(2000), resamples=4000)
    hit = np.arange(2000) < 2000 * share
    wilson = binomtest(int(hit.sum()), 2000).proportion_ci(0.95, "wilson")
    assert stats.rate_interval(hit, everything(2000), draws) == pytest.approx((share, *wilson), abs=0.001)


@pytest.mark.parametrize("count", [2, 10, 64])
def test_all_or_none_of_n_is_at_least_n_over_n_plus_students_quantile_squared(count: int) -> None:
    draws, square = stats.resample_clusters(np.arange(count), resamples=20), t.ppf(0.975, count - 1) ** 2
    low = count / (count + square)
    assert stats.rate_interval(everything(count), everything(count), draws) == pytest.approx((1, low, 1))
    assert stats.rate_interval(~everything(count), everything(count), draws) == pytest.approx((0, 0, 1 - low))


def test_one_cluster_knows_next_to_nothing() -> None:
    draws = stats.resample_clusters(np.zeros(60), resamples=20)
    value, low, high = stats.rate_interval(np.arange(60) < 40, everything(60), draws)
    assert value == pytest.approx(2 / 3) and low < 0.01 and high > 0.99


def test_an_area_of_one_positive_is_not_made_sure_by_many_negatives() -> None:
    positive, score = np.arange(300) == 0, np.r_[250, np.arange(1, 300)].astype(float)
    area = stats.auc(score, positive, everything(300), stats.resample_clusters(np.arange(300), resamples=200))
    value, low, high = stats.interval(area, clusters=1)
    assert value == pytest.approx(250 / 299, abs=0.01) and low < 0.01 and high > 0.99


def test_the_bound_counts_clusters_and_not_images() -> None:
    draws = stats.resample_clusters(np.arange(64) // 8, resamples=20)
    low = stats.rate_interval(everything(64), everything(64), draws)[1]
    assert low == pytest.approx(8 / (8 + t.ppf(0.975, 7) ** 2))


def test_perfect_separation_of_few_is_not_certainty() -> None:
    positive = np.arange(60) < 4
    draws = stats.resample_clusters(np.arange(60))
    area = stats.auc(positive.astype(float), positive, everything(60), draws)
    clusters = stats.clusters_of([positive, ~positive], draws)
    assert clusters.tolist() == [4, 56]
    assert stats.interval(area, clusters=clusters.min()) == pytest.approx((1, 4 / (4 + t.ppf(0.975, 3) ** 2), 1))


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12)), min_size=1, max_size=4), st.booleans())
def test_an_interval_holds_its_estimate_and_stays_in_range(parts: list, difference: bool) -> None:
    sizes = [size for size, _ in parts]
    which, hit = np.repeat(np.arange(len(parts)), sizes), np.concatenate([np.arange(n) < hits for n, hits in parts])
    draws = stats.resample_clusters(np.arange(len(which)), resamples=20)
    rates = np.stack([stats.rate(hit, which == number, draws) for number in range(len(parts))])
    weights = np.where(np.arange(len(parts)) % 2, -1, 1) / len(parts) if difference else None
    value, low, high = stats.interval(rates, clusters=np.array(sizes), weights=weights)
    bottom, top = (weights.clip(max=0).sum(), weights.clip(min=0).sum()) if difference else (0, 1)
    assert bottom <= low <= value + 1e-12 and value - 1e-12 <= high <= top


def test_what_differs_nowhere_differs_by_nothing() -> None:
    draws = stats.resample_clusters(np.arange(50), resamples=50)
    rates = np.stack([stats.rate(np.arange(50) < hits, everything(50), draws) for hits in (30, 30)])
    assert stats.interval(rates, clusters=np.array([50, 50]), weights=np.array([1, -1])) == pytest.approx((0, 0, 0))


def test_duplicated_images_widen_the_interval() -> None:
    hit = np.repeat(np.random.default_rng(0).random(40) < 0.6, 5)  # 40 scenes, five copies each
    naive = stats.rate_interval(hit, everything(200), stats.resample_clusters(np.arange(200)))
    honest = stats.rate_interval(hit, everything(200), stats.resample_clusters(np.arange(200) // 5))
    assert naive[0] == honest[0]
    assert (honest[2] - honest[1]) / (naive[2] - naive[1]) == pytest.approx(np.sqrt(5), rel=0.15)


SIMULATIONS = 2000
MARGIN = 0.015


def scenes(random: np.random.Generator, clusters: int, *, size: int = 4) -> np.ndarray:  # [clusters, size] bool
    """Images that a model gets right: each scene has its own difficulty; the mean is 0.6."""
    return random.random((clusters, size)) < random.beta(6, 4, size=clusters)[:, None]


def coverage(clusters: int, measure: Callable, truth: float) -> float:
    """How often the interval holds the truth; fifty simulations share their resamples, to save time."""
    random, groups, covered = np.random.default_rng(clusters), np.arange(4 * clusters) // 4, 0
    for simulation in range(SIMULATIONS):
        if simulation % 50 == 0:
            draws = stats.resample_clusters(groups, seed=simulation)
        _, low, high = measure(random, clusters, draws)
        covered += low <= truth <= high
    return covered / SIMULATIONS


def a_rate(random: np.random.Generator, clusters: int, draws: stats.Resamples) -> tuple[float, float, float]:
    return stats.rate_interval(scenes(random, clusters).ravel(), everything(4 * clusters), draws)


def a_balanced_accuracy(random: np.random.Generator, clusters: int, draws: stats.Resamples) -> tuple:
    """Pairs of a real and a generated image of one scene, some of them twice."""
    hit, real = scenes(random, clusters).ravel(), np.arange(4 * clusters) % 2 == 0
    both = np.stack([stats.rate(hit, among, draws) for among in (real, ~real)])
    return stats.interval(both, clusters=np.array([clusters, clusters]))


def a_paired_difference(random: np.random.Generator, clusters: int, draws: stats.Resamples) -> tuple:
    """Theirs fails on a tenth of what ours gets right."""
    ours = scenes(random, clusters).ravel()
    theirs = ours & (random.random(len(ours)) < 0.9)
    values = np.stack([stats.rate(hit, everything(len(ours)), draws) for hit in (ours, theirs)])
    return stats.interval(values, clusters=np.array([clusters, clusters]), weights=np.array([1, -1]))


@pytest.mark.statistics
@pytest.mark.parametrize("measure, truth", [(a_rate, 0.6), (a_balanced_accuracy, 0.6), (a_paired_difference, 0.06)])
def test_intervals_of_200_clusters_cover_the_truth_in_95_percent(measure: Callable, truth: float) -> None:
    assert coverage(200, measure, truth) == pytest.approx(0.95, abs=MARGIN)


@pytest.mark.statistics
@pytest.mark.parametrize("clusters, documented", [(5, 0.94), (20, 0.96)])
def test_intervals_of_few_clusters_cover_as_documented(clusters: int, documented: float) -> None:
    assert coverage(clusters, a_rate, 0.6) == pytest.approx(documented, abs=MARGIN)


@pytest.mark.statistics
@pytest.mark.parametrize(
    "sizes, recalls, documented",
    [
        ((67, 67, 66), (0.95, 0.95, 0.95), 0.96),  # near the end of the scale
        ((200, 200, 20), (0.95, 0.95, 0.95), 0.96),  # the smallest class may show no spread at all
        ((30, 30, 30, 1), (0.9, 0.9, 0.9, 0.3), 1.0),  # an architecture of one image
        ((10,) * 20, (0.95,) * 20, 0.97),  # many small architectures
    ],
)
def test_intervals_of_means_over_unequal_classes_cover_as_documented(sizes: tuple, recalls: tuple, documented: float):
    random, which, covered = np.random.default_rng(0), np.repeat(np.arange(len(sizes)), sizes), 0
    for simulation in range(SIMULATIONS):
        if simulation % 50 == 0:
            draws = stats.resample_clusters(np.arange(len(which)), resamples=500, seed=simulation)
        hit = random.random(len(which)) < np.array(recalls)[which]
        rates = np.stack([stats.rate(hit, which == number, draws) for number in range(len(sizes))])
        _, low, high = stats.interval(rates, clusters=np.array(sizes))
        covered += low <= np.mean(recalls) <= high
    assert covered / SIMULATIONS == pytest.approx(documented, abs=MARGIN)


@pytest.mark.parametrize("planted", [0.5, 1.0, 3.0])
def test_the_temperature_recovers_a_planted_one(planted: float) -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(20_000, 3)) * 2
    labels = (log_softmax(honest, axis=1) + rng.gumbel(size=honest.shape)).argmax(1)  # drawn by their probabilities
    assert stats.fit_temperature(honest * planted, labels) == pytest.approx(planted, rel=0.04)


def test_no_other_temperature_has_a_smaller_log_loss() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(200, 3)) * 5
    labels = (logits + 4 * rng.normal(size=logits.shape)).argmax(1)

    def log_loss(temperature: float) -> float:
        return -log_softmax(logits / temperature, axis=1)[np.arange(200), labels].mean()

    best = stats.fit_temperature(logits, labels)
    assert log_loss(best) <= min(log_loss(best * factor) for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2))


def test_probabilities_sum_to_one_and_soften_with_temperature() -> None:
    logits = np.array([[4.0, 0.0, -4.0]])
    sharp, soft = (stats.probabilities(logits, temperature=t) for t in (1.0, 4.0))
    assert sharp.sum() == pytest.approx(1) and soft.sum() == pytest.approx(1) and soft.max() < sharp.max()


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40))
def test_no_threshold_has_a_larger_balanced_accuracy(pairs: list) -> None:
    score, positive = (np.array(column) for column in zip(*pairs))
    if positive.all() or not positive.any():
        return

    def balanced(threshold: float) -> float:
        said = score >= threshold
        return (said[positive].mean() + (~said[~positive]).mean()) / 2

    best = stats.best_threshold(score.astype(float), positive)
    assert balanced(best) == pytest.approx(max(balanced(t) for t in np.arange(-0.5, 7.5, 0.5)))


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.05, 0.5])
def test_the_alarm_threshold_is_the_smallest_that_keeps_the_rate(rate: float) -> None:
    score, positive = scored(400)
    threshold = stats.false_alarm_threshold(score, positive, rate=rate)
    alarms = score[~positive]
    assert (alarms >= threshold).mean() <= rate
    next_alarm = alarms[alarms < threshold].max()  # one image further down, it would be too many
    assert (alarms >= next_alarm).mean() > rate


def test_a_threshold_separates_what_can_be_separated() -> None:
    score, positive = np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True])
    assert 0.2 < stats.best_threshold(score, positive) <= 0.8
    assert 0.2 < stats.false_alarm_threshold(score, positive, rate=0.0) <= 0.8


@pytest.mark.statistics
def test_mcnemar_is_the_binomial_test_of_the_images_that_one_model_alone_gets_right() -> None:
    ours, theirs = np.array([1] * 9 + [0] * 2 + [1] * 30 + [0] * 7), np.array([0] * 9 + [1] * 2 + [1] * 30 + [0] * 7)
    assert stats.mcnemar(ours == 1, theirs == 1) == pytest.approx(binomtest(9, 11, 0.5).pvalue)
    assert stats.mcnemar(theirs == 1, ours == 1) == stats.mcnemar(ours == 1, theirs == 1)
    assert stats.mcnemar(ours == 1, ours == 1) == 1 == stats.mcnemar(everything(0), everything(0))


def test_mcnemar_cries_wolf_in_at_most_five_percent() -> None:
    rng, wolves = np.random.default_rng(0), 0
    for _ in range(2000):  # two models of equal skill that agree on most images
        easy = rng.random(300) < 0.7
        ours, theirs = easy | (rng.random(300) < 0.5), easy | (rng.random(300) < 0.5)
        wolves += stats.mcnemar(ours, theirs) <= 0.05
    assert 0.01 < wolves / 2000 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


def test_holm_on_its_textbook_example() -> None:
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.7, 0.9]) == pytest.approx([1, 1]) and len(stats.holm([])) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_stepping_down_by_hand_rejects(p_values: list) -> None:
    rejected, order = set(), sorted(range(len(p_values)), key=p_values.__getitem__)
    for step, index in enumerate(order):
        if p_values[index] * (len(p_values) - step) > 0.05:
            break
        rejected.add(index)
    assert {i for i, p in enumerate(stats.holm(p_values)) if p <= 0.05} == rejected


def test_the_reliability_curve_is_scikit_learns() -> None:
    random = np.random.default_rng(0)
    confidence = np.r_[random.random(500), 0, 1, 1 / 3]
    right = random.random(503) < confidence
    said, was, images = stats.reliability(confidence, right, bins=12)
    observed, predicted = calibration_curve(right, confidence, n_bins=12)
    np.testing.assert_allclose((said, was), (predicted, observed))
    assert images.sum() == 503
    assert stats.calibration_error(confidence, right, bins=12) == pytest.approx(
        np.sum(images * np.abs(predicted - observed)) / 503
    )


def test_calibration_errors_of_honest_and_of_boastful_scores() -> None:
    random = np.random.default_rng(0)
    confidence = random.random(50_000)
    assert stats.calibration_error(confidence, random.random(50_000) < confidence) < 0.01
    assert stats.calibration_error(np.ones(100), np.arange(100) < 70) == pytest.approx(0.3)
    assert np.isnan(stats.calibration_error(np.empty(0), np.empty(0, dtype=bool)))
