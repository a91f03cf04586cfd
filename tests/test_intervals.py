"""Intervals: against scipy and statsmodels, by formulas put together by hand, and by simulated coverage."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, t
from statsmodels.stats.proportion import proportion_confint

from dfxlib.measure import stats
from dfxlib.measure.intervals import area_interval, interval, loss_interval


def everything(count: int) -> np.ndarray:
    return np.ones(count, dtype=bool)


def exact(hits: float, images: float) -> np.ndarray:  # low, high
    return np.array(proportion_confint(hits, images, alpha=0.05, method="beta"))


#: Directions in which four resamples of three parts move, each part apart from the others.
APART = np.array([[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])


def planted(rates: list[float], sizes: list[float], moves: np.ndarray = APART) -> np.ndarray:  # [K, 5]
    """Rates with resamples that vary as those of so many independent images would."""
    rate, size = np.array(rates)[:, None], np.array(sizes)[:, None]
    return np.hstack([rate, rate + moves[: len(rates)] * np.sqrt(rate * (1 - rate) / size)])


# Rates


@pytest.mark.parametrize("share", [0.05, 0.4, 0.9])
def test_a_rate_of_independent_images_has_clopper_and_pearsons_interval(share: float) -> None:
    draws = stats.resample_clusters(np.arange(2000), resamples=4000)
    hit = np.arange(2000) < 2000 * share
    expected = binomtest(int(hit.sum()), 2000).proportion_ci(0.95, "exact")
    assert stats.rate_interval(hit, everything(2000), draws) == pytest.approx((share, *expected), abs=0.001)


@pytest.mark.parametrize("hits, images", [(1, 2), (1, 40), (14, 16), (52, 57), (199, 200)])
def test_resamples_that_vary_as_independent_images_do_give_scipys_exact_interval(hits: int, images: int) -> None:
    found = interval(planted([hits / images], [images]), clusters=images)
    assert found == pytest.approx((hits / images, *binomtest(hits, images).proportion_ci(0.95)), abs=1e-7)


@pytest.mark.parametrize("rate, size, clusters", [(0.6, 31.5, 5), (0.05, 250.0, 20), (0.97, 64.2, 40)])
def test_few_clusters_shrink_the_effective_size_after_korn_and_graubard(rate: float, size: float, clusters: int):
    shrunk = size * (t.ppf(0.975, size - 1) / t.ppf(0.975, clusters - 1)) ** 2
    found = interval(planted([rate], [size]), clusters=clusters)
    assert found[1:] == pytest.approx(exact(rate * shrunk, shrunk), abs=1e-7)


def test_more_clusters_than_effective_images_enlarge_nothing() -> None:
    assert interval(planted([0.3], [12.5]), clusters=40)[1:] == pytest.approx(exact(0.3 * 12.5, 12.5), abs=1e-7)


@pytest.mark.parametrize("count", [1, 2, 10, 64])
def test_all_or_none_of_n_have_the_exact_limit_of_n(count: int) -> None:
    draws, low = stats.resample_clusters(np.arange(count), resamples=20), 0.025 ** (1 / count)
    assert stats.rate_interval(everything(count), everything(count), draws) == pytest.approx((1, low, 1))
    assert stats.rate_interval(~everything(count), everything(count), draws) == pytest.approx((0, 0, 1 - low))


def test_what_all_images_of_eight_clusters_hit_is_known_from_eight() -> None:
    draws = stats.resample_clusters(np.arange(64) // 8, resamples=20)
    assert stats.rate_interval(everything(64), everything(64), draws)[1] == pytest.approx(0.025 ** (1 / 8))


def test_one_cluster_knows_next_to_nothing() -> None:
    draws = stats.resample_clusters(np.zeros(60), resamples=20)
    value, low, high = stats.rate_interval(np.arange(60) < 40, everything(60), draws)
    assert value == pytest.approx(2 / 3) and low < 0.01 and high > 0.99


def test_duplicated_images_widen_the_interval() -> None:
    hit = np.repeat(np.random.default_rng(0).random(40) < 0.6, 5)  # 40 scenes, five copies each
    naive = stats.rate_interval(hit, everything(200), stats.resample_clusters(np.arange(200)))
    honest = stats.rate_interval(hit, everything(200), stats.resample_clusters(np.arange(200) // 5))
    assert naive[0] == honest[0]
    assert (honest[2] - honest[1]) / (naive[2] - naive[1]) == pytest.approx(np.sqrt(5), rel=0.15)


def test_what_the_data_cannot_define_is_nan() -> None:
    assert np.isnan(interval(np.array([np.nan, 0.5, 0.6]), clusters=3)).all()
    assert np.isnan(interval(np.array([[0.5, 0.4, 0.6], [np.nan] * 3]), clusters=np.array([3, 0]))).all()


# Means and differences


def test_a_mean_with_a_part_of_one_image_is_as_unsure_as_that_part_and_no_more() -> None:
    """The issue's example: 0 of 1, 36 of 36, 52 of 57 and 14 of 16, whose mean is 0.697; the limits by hand."""
    counts = [(0, 1), (36, 36), (52, 57), (14, 16)]
    which = np.repeat(range(4), [images for _, images in counts])
    hit = np.concatenate([np.arange(images) < hits for hits, images in counts])
    draws = stats.resample_clusters(np.arange(110), resamples=4000)
    rates = np.stack([stats.rate(hit, which == part, draws) for part in range(4)])
    rate, (low, high) = np.array([0, 1, 52 / 57, 14 / 16]), np.array([exact(*count) for count in counts]).T
    expected = rate.mean() - np.hypot.reduce(rate - low) / 4, rate.mean() + np.hypot.reduce(high - rate) / 4
    assert np.round(expected, 3).tolist() == [0.623, 0.943]
    found = interval(rates, clusters=np.array([1, 36, 57, 16]))
    assert found == pytest.approx((rate.mean(), *expected), abs=0.01)


def test_parts_that_vary_together_widen_a_mean_and_those_that_vary_apart_do_not() -> None:
    rates, sizes, low = [0.7, 0.8], [50, 80], []
    for moves in (APART[[0, 0]], APART, APART[[0, 0]] * [[1], [-1]]):
        low.append(interval(planted(rates, sizes, moves), clusters=np.array(sizes))[1])
    far = np.array([rate - exact(rate * size, size)[0] for rate, size in zip(rates, sizes)])
    expected = [far.sum() / 2, np.hypot(*far) / 2, abs(far[0] - far[1]) / 2]
    assert 0.75 - np.array(low) == pytest.approx(expected, abs=1e-7)


def test_a_paired_difference_is_newcombes_with_exact_limits() -> None:
    """Both right on 60 images, ours alone on 20, theirs alone on 8, neither on 12; phi is the 2 x 2 table's."""
    ours, theirs = (np.repeat(side, [60, 20, 8, 12]) for side in ([1, 1, 0, 0], [1, 0, 1, 0]))
    draws = stats.resample_clusters(np.arange(100), resamples=20_000)
    rates = np.stack([stats.rate(side, everything(100), draws) for side in (ours, theirs)])
    value, low, high = interval(rates, clusters=np.array([100, 100]), weights=np.array([1, -1]))
    phi = np.corrcoef(ours, theirs)[0, 1]
    (l1, u1), (l2, u2) = exact(80, 100), exact(68, 100)
    below = np.sqrt((0.80 - l1) ** 2 - 2 * phi * (0.80 - l1) * (u2 - 0.68) + (u2 - 0.68) ** 2)
    above = np.sqrt((u1 - 0.80) ** 2 - 2 * phi * (u1 - 0.80) * (0.68 - l2) + (0.68 - l2) ** 2)
    assert (value, low, high) == pytest.approx((0.12, 0.12 - below, 0.12 + above), abs=0.004)


def test_what_differs_nowhere_differs_by_next_to_nothing() -> None:
    """Like Newcombe's: the limits of a rate lie unequally far from it, and no data show that two models are one."""
    draws = stats.resample_clusters(np.arange(50), resamples=50)
    rates = np.stack([stats.rate(np.arange(50) < hits, everything(50), draws) for hits in (30, 30)])
    value, low, high = interval(rates, clusters=np.array([50, 50]), weights=np.array([1, -1]))
    (below, above) = np.abs(exact(30, 50) - 0.6)
    assert value == 0 and high == -low == pytest.approx(abs(below - above), abs=0.005)


def test_a_model_that_always_says_one_class_may_still_say_another_in_a_few_of_hundred() -> None:
    nature = np.repeat(range(3), 100)
    draws = stats.resample_clusters(np.arange(300), resamples=20)
    rates = np.stack([stats.rate(everything(300) * (part == 2), nature == part, draws) for part in range(3)])
    other = 1 - 0.025 ** (1 / 100)  # 3.6%: the most of others that 100 alike leave room for
    expected = (1 / 3, 1 / 3 - other / 3, 1 / 3 + np.sqrt(2) * other / 3)
    assert interval(rates, clusters=np.array([100, 100, 100])) == pytest.approx(expected)


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12)), min_size=1, max_size=4), st.booleans())
def test_an_interval_holds_its_estimate_and_stays_in_range(parts: list, difference: bool) -> None:
    sizes = [size for size, _ in parts]
    which, hit = np.repeat(np.arange(len(parts)), sizes), np.concatenate([np.arange(n) < hits for n, hits in parts])
    draws = stats.resample_clusters(np.arange(len(which)), resamples=20)
    rates = np.stack([stats.rate(hit, which == number, draws) for number in range(len(parts))])
    weights = np.where(np.arange(len(parts)) % 2, -1, 1) / len(parts) if difference else None
    value, low, high = interval(rates, clusters=np.array(sizes), weights=weights)
    bottom, top = (weights.clip(max=0).sum(), weights.clip(min=0).sum()) if difference else (0, 1)
    assert bottom <= low <= value + 1e-12 and value - 1e-12 <= high <= top


# Areas and losses


@pytest.mark.parametrize("clusters", [8, 100])
def test_an_area_has_wilsons_interval_with_students_quantile(clusters: int) -> None:
    """At the size at which scipy's normal quantile and as many images say the same."""
    square, images = t.ppf(0.975, clusters - 1) ** 2 / t.ppf(0.975, 1e9) ** 2, 400
    wilson = binomtest(360, images).proportion_ci(0.95, "wilson")
    found = area_interval(planted([0.9], [images * square]), clusters=clusters)
    assert found == pytest.approx((0.9, *wilson), abs=1e-7)


def test_a_mean_of_areas_is_joined_from_its_parts_too() -> None:
    areas, clusters = planted([0.9, 0.7], [60, 200]), np.array([40, 90])
    (value, low, high), parts = area_interval(areas, clusters=clusters), list(map(area_interval_of, areas, clusters))
    below, above = (np.hypot.reduce([part[end] - part[0] for part in parts]) / 2 for end in (1, 2))
    assert (value, low, high) == pytest.approx((0.8, 0.8 - below, 0.8 + above), abs=1e-7)


def area_interval_of(area: np.ndarray, clusters: int) -> tuple[float, float, float]:
    return area_interval(area, clusters=clusters)


def test_an_area_of_one_positive_is_not_made_sure_by_many_negatives() -> None:
    positive, score = np.arange(300) == 0, np.r_[250, np.arange(1, 300)].astype(float)
    area = stats.auc(score, positive, everything(300), stats.resample_clusters(np.arange(300), resamples=200))
    value, low, high = area_interval(area, clusters=1)
    assert value == pytest.approx(250 / 299, abs=0.01) and low < 0.01 and high > 0.99


def test_perfect_separation_of_few_is_not_certainty() -> None:
    positive = np.arange(60) < 4
    draws = stats.resample_clusters(np.arange(60))
    area = stats.auc(positive.astype(float), positive, everything(60), draws)
    clusters = stats.clusters_of([positive, ~positive], draws)
    assert clusters.tolist() == [4, 56]
    assert area_interval(area, clusters=clusters.min()) == pytest.approx((1, 4 / (4 + t.ppf(0.975, 3) ** 2), 1))


def test_a_loss_has_the_middle_95_percent_and_without_spread_no_interval() -> None:
    values = np.r_[0.7, np.linspace(0, 1, 1001), np.nan]
    assert loss_interval(values) == pytest.approx((0.7, 0.025, 0.975))
    value, low, high = loss_interval(np.full(9, 2.5))
    assert value == 2.5 and np.isnan([low, high]).all()


# Simulations

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
    return interval(both, clusters=np.array([clusters, clusters]))


def a_paired_difference(random: np.random.Generator, clusters: int, draws: stats.Resamples) -> tuple:
    """Theirs fails on a tenth of what ours gets right."""
    ours = scenes(random, clusters).ravel()
    theirs = ours & (random.random(len(ours)) < 0.9)
    values = np.stack([stats.rate(hit, everything(len(ours)), draws) for hit in (ours, theirs)])
    return interval(values, clusters=np.array([clusters, clusters]), weights=np.array([1, -1]))


@pytest.mark.statistics
@pytest.mark.parametrize(
    "measure, truth, documented",
    [(a_rate, 0.6, 0.95), (a_balanced_accuracy, 0.6, 0.95), (a_paired_difference, 0.06, 0.94)],
)
def test_intervals_of_200_clusters_cover_the_truth_as_documented(measure: Callable, truth: float, documented: float):
    assert coverage(200, measure, truth) == pytest.approx(documented, abs=MARGIN)


@pytest.mark.statistics
@pytest.mark.parametrize("clusters, documented", [(5, 0.94), (20, 0.96)])
def test_intervals_of_few_clusters_cover_as_documented(clusters: int, documented: float) -> None:
    assert coverage(clusters, a_rate, 0.6) == pytest.approx(documented, abs=MARGIN)


@pytest.mark.statistics
@pytest.mark.parametrize(
    "sizes, recalls, documented",
    [
        ((67, 67, 66), (0.95, 0.95, 0.95), 0.97),  # near the end of the scale
        ((200, 200, 20), (0.95, 0.95, 0.95), 0.97),  # the smallest class may show no spread at all
        ((3, 100, 100), (0.7, 0.9, 0.9), 0.995),
        ((1, 100, 100), (0.95, 0.95, 0.95), 0.995),
        ((30, 30, 30, 1), (0.9, 0.9, 0.9, 0.3), 1.0),  # an architecture of one image
        ((10,) * 20, (0.95,) * 20, 0.92),  # many small architectures, most of them all right
    ],
)
def test_intervals_of_means_over_unequal_classes_cover_as_documented(sizes: tuple, recalls: tuple, documented: float):
    random, which, covered = np.random.default_rng(0), np.repeat(np.arange(len(sizes)), sizes), 0
    for simulation in range(SIMULATIONS):
        if simulation % 50 == 0:
            draws = stats.resample_clusters(np.arange(len(which)), resamples=500, seed=simulation)
        hit = random.random(len(which)) < np.array(recalls)[which]
        rates = np.stack([stats.rate(hit, which == number, draws) for number in range(len(sizes))])
        _, low, high = interval(rates, clusters=np.array(sizes))
        covered += low <= np.mean(recalls) <= high
    assert covered / SIMULATIONS == pytest.approx(documented, abs=MARGIN)


@pytest.mark.statistics
@pytest.mark.parametrize(
    "clusters, spread, beta, documented",
    [
        (10, 1.0, (6, 4), 0.94),
        (20, 1.5, (6, 4), 0.91),
        (50, 1.5, (6, 4), 0.92),
        (20, 1.5, (0.9, 0.1), 0.86),  # a correlation of a half inside clusters
    ],
)
def test_intervals_of_clusters_of_lognormal_sizes_cover_as_documented(
    clusters: int, spread: float, beta: tuple[float, float], documented: float
):
    """A few large clusters weigh as much as all others, and their number says nothing of that."""
    random, covered = np.random.default_rng(0), 0
    for simulation in range(SIMULATIONS):
        if simulation % 10 == 0:
            sizes = np.maximum(1, random.lognormal(1.5, spread, clusters).round()).astype(int)
            groups = np.repeat(np.arange(clusters), sizes)
            draws = stats.resample_clusters(groups, resamples=500, seed=simulation)
        hit = random.random(len(groups)) < random.beta(*beta, size=clusters)[groups]
        _, low, high = stats.rate_interval(hit, everything(len(groups)), draws)
        covered += low <= beta[0] / sum(beta) <= high
    assert covered / SIMULATIONS == pytest.approx(documented, abs=0.02)
