"""Statistics: against scikit-learn and scipy, against planted values, and by simulated coverage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from dfxlib import stats


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
    many = stats.resample_clusters(np.arange(20_000) // 1000, resamples=2000)  # 40 million weights: two blocks
    few = stats.Resamples(many.cluster, many.counts[-3:])
    at_once = stats.auc(score, positive, everything(20_000), few)
    np.testing.assert_array_equal(stats.auc(score, positive, everything(20_000), many)[-3:], at_once)


def test_what_the_data_cannot_define_is_nan() -> None:
    draws = stats.resample_clusters(np.arange(4), resamples=5)
    nobody = np.zeros(4, dtype=bool)
    assert np.isnan(stats.rate(everything(4), nobody, draws)).all()
    assert np.isnan(stats.auc(np.arange(4.0), nobody, nobody, draws)).all()
    assert np.isnan(stats.interval(np.array([np.nan, 0.5, 0.6]))).all()
    assert np.isnan(stats.rate_interval(everything(4), nobody, draws)).all()


def test_an_interval_is_the_estimate_and_the_middle_95_percent() -> None:
    values = np.r_[0.7, np.linspace(0, 1, 1001), np.nan]
    assert stats.interval(values) == pytest.approx((0.7, 0.025, 0.975))


@pytest.mark.parametrize("count", [1, 10, 64])
def test_all_or_none_has_the_exact_binomial_bound(count: int) -> None:
    draws = stats.resample_clusters(np.arange(count), resamples=20)
    exact = binomtest(count, count).proportion_ci(0.95, "exact")
    assert stats.rate_interval(everything(count), everything(count), draws) == pytest.approx((1, exact.low, 1))
    assert stats.rate_interval(~everything(count), everything(count), draws) == pytest.approx((0, 0, 1 - exact.low))


def test_the_bound_counts_clusters_and_not_images() -> None:
    draws = stats.resample_clusters(np.arange(64) // 8, resamples=20)
    low = stats.rate_interval(everything(64), everything(64), draws)[1]
    assert low == pytest.approx(binomtest(8, 8).proportion_ci(0.95, "exact").low)


def test_perfect_separation_of_few_is_not_certainty() -> None:
    positive = np.arange(60) < 4
    draws = stats.resample_clusters(np.arange(60))
    area = stats.auc(positive.astype(float), positive, everything(60), draws)
    clusters = stats.smallest_class(draws.cluster, positive)
    assert clusters == 4 and stats.interval(area)[1] == 1
    assert stats.interval(area, clusters=clusters) == pytest.approx((1, 0.025 ** (1 / 4), 1))


def test_duplicated_images_widen_the_interval() -> None:
    hit = np.repeat(np.random.default_rng(0).random(40) < 0.6, 5)  # 40 scenes, five copies each
    naive = stats.rate_interval(hit, everything(200), stats.resample_clusters(np.arange(200)))
    honest = stats.rate_interval(hit, everything(200), stats.resample_clusters(np.arange(200) // 5))
    assert naive[0] == honest[0]
    assert (honest[2] - honest[1]) / (naive[2] - naive[1]) == pytest.approx(np.sqrt(5), rel=0.15)


def test_the_interval_of_a_rate_covers_the_truth_about_as_often_as_it_says() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(300):
        scenes = rng.beta(6, 4, size=50)  # each scene has its own difficulty; the mean is 0.6
        hit = rng.random((50, 4)) < scenes[:, None]
        draws = stats.resample_clusters(np.arange(200) // 4, resamples=200, seed=int(rng.integers(1 << 30)))
        _, low, high = stats.rate_interval(hit.ravel(), everything(200), draws)
        covered += low <= 0.6 <= high
    assert 0.90 <= covered / 300 <= 0.98


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
