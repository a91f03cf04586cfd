"""Statistics: against scikit-learn and scipy, and against planted values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax
from scipy.stats import binomtest
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
    assert np.isnan(stats.rate_interval(everything(4), nobody, draws)).all()


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


@pytest.mark.statistics
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
