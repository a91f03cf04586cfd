"""Methods side by side: differences are paired, both kinds of luck count, and five seeds decide."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, t, ttest_1samp
from sklearn.metrics import balanced_accuracy_score

from dfxlib.measure import compare as c
from dfxlib.measure import scores as measured
from dfxlib.measure import stats
from dfxlib.measure.intervals import interval
from dfxlib.measure.scores import LOGITS, PROBABILITIES, write_scores
from dfxlib.measure.stats import Resamples
from dfxlib.names import CLASSES


def scores(right: float, *, seed: int, images: int = 300, variant: str = "m", spread: int = 0) -> pd.DataFrame:
    """Test scores of a method that is right on about this share of the images, two of a group."""
    random = np.random.default_rng([seed, spread])
    nature = np.repeat(CLASSES, images // 3)
    truth = np.repeat(range(3), images // 3)
    said = np.where(random.random(images) < right, truth, (truth + random.integers(1, 3, images)) % 3)
    table = pd.DataFrame({"path": [f"{number:04d}.png" for number in range(images)], "nature": nature})
    table["group"], table["split"] = [f"g{number // 2}" for number in range(images)], "test"
    table[PROBABILITIES] = np.eye(3)[said] * 0.8 + 0.1
    table[LOGITS] = np.log(table[PROBABILITIES].to_numpy())
    return table.assign(variant=variant, seed=seed, p_fake=table["p_dm"] + table["p_gan"])


def is_right(table: pd.DataFrame) -> np.ndarray:  # [N] bool
    truth, said = c.sides_of(table)
    return said == truth


def balanced_accuracy(table: pd.DataFrame) -> float:
    return balanced_accuracy_score(table["nature"], np.array(CLASSES)[table[LOGITS].to_numpy().argmax(1)])


def methods(ours: float, theirs: float, *, seeds: int) -> dict[str, list[pd.DataFrame]]:
    own = [scores(ours, seed=seed) for seed in range(seeds)]
    return {c.OURS: own, "other": [scores(theirs, seed=seed, spread=1) for seed in range(seeds)]}


def test_values_are_means_over_seeds_and_spread_is_that_of_the_seeds() -> None:
    own = methods(0.7, 0.6, seeds=5)
    table, differences = c.compare(own, resamples=200)
    expected = np.array([[balanced_accuracy(one) for one in tables] for tables in own.values()])
    assert table["value"].tolist() == pytest.approx(expected.mean(axis=1).tolist(), abs=1e-6)
    assert table["seed_sd"].tolist() == pytest.approx(expected.std(axis=1, ddof=1).tolist(), abs=1e-6)
    assert differences["value"].item() == pytest.approx((expected[0] - expected[1]).mean(), abs=1e-6)
    by_student = ttest_1samp(expected[0] - expected[1], 0).confidence_interval(0.95)
    assert differences[["seed_low", "seed_high"]].iloc[0].tolist() == pytest.approx(list(by_student), abs=1e-6)


def test_with_one_seed_the_image_interval_is_that_of_the_paired_bootstrap_and_the_other_is_undefined() -> None:
    own = methods(0.7, 0.6, seeds=1)
    row = c.compare(own, resamples=300)[1].iloc[0]
    draws = stats.resample_clusters(own[c.OURS][0]["group"].to_numpy(), resamples=300)
    six = np.concatenate([measured.recalls(tables[0], draws) for tables in own.values()])
    nature = own[c.OURS][0]["nature"].to_numpy()
    clusters = np.tile(stats.clusters_of([nature == n for n in CLASSES], draws), 2)
    expected = interval(six, clusters=clusters, weights=np.repeat([1 / 3, -1 / 3], 3))
    assert tuple(row[["value", "low", "high"]]) == pytest.approx(expected)
    assert row[["seed_sd", "seed_low", "seed_high", "p", "both_low", "both_high", "p_holm"]].isna().all()


def test_a_paired_difference_has_a_narrower_interval_than_the_two_apart() -> None:
    tables = {c.OURS: [scores(0.7, seed=0, images=600)], "other": [scores(0.6, seed=0, images=600)]}  # the same luck
    table, differences = c.compare(tables | {"itself": [*tables[c.OURS]]}, resamples=400)
    row, itself = (differences.iloc[number] for number in (0, 1))
    assert row["low"] < row["value"] < row["high"]
    assert row["high"] - row["low"] < (table["high"] - table["low"])[:2].sum() / 2
    assert itself["value"] == 0 and itself["high"] == -itself["low"] < (row["high"] - row["low"]) / 8


def test_the_image_interval_resamples_groups_of_the_mean_over_seeds() -> None:
    """By brute force: draw groups, take each image's mean over seeds, average within natures."""
    own = methods(0.7, 0.6, seeds=3)
    row = c.compare(own, resamples=2000)[1].iloc[0]
    ours, theirs = (np.mean([is_right(table) for table in tables], axis=0) for tables in own.values())
    nature, group = own[c.OURS][0]["nature"].to_numpy(), np.repeat(range(150), 2)
    random, drawn = np.random.default_rng(5), []
    for _ in range(2000):
        weight = np.bincount(random.integers(0, 150, 150), minlength=150)[group]
        drawn.append(np.mean([np.average((ours - theirs)[nature == n], weights=weight[nature == n]) for n in CLASSES]))
    assert row[["low", "high"]].tolist() == pytest.approx(np.percentile(drawn, [2.5, 97.5]).tolist(), abs=0.006)


@pytest.mark.parametrize(
    "ours, theirs, seeds, expected",
    [
        (0.9, 0.5, 5, "better"),
        (0.5, 0.9, 5, "worse"),
        (0.9, 0.5, 4, "not decided: fewer than five seeds"),
    ],
)
def test_a_decision_takes_five_seeds(ours: float, theirs: float, seeds: int, expected: str) -> None:
    assert c.compare(methods(ours, theirs, seeds=seeds), resamples=200)[1]["decision"].item() == expected


def test_equal_methods_are_not_decided_and_the_sentence_has_the_adjusted_p_value() -> None:
    row = c.compare(methods(0.7, 0.7, seeds=5), resamples=200)[1].iloc[0]
    assert row["p"] > 0.05 and row["decision"] == f"not decided: p {row['p']:.3f} by Holm"


BY_SEED = np.array([0.12, 0.3, 0.05, 0.21, 0.16])


def test_the_test_of_both_is_students_where_one_kind_of_luck_is_all() -> None:
    by_seeds = c.test_of_both(np.full(3, BY_SEED.mean()), BY_SEED, groups=12)
    student = ttest_1samp(BY_SEED, 0)
    assert by_seeds == pytest.approx((student.pvalue, *student.confidence_interval(0.95)))
    images = np.linspace(-0.1, 0.3, 12)  # a difference of every group, and one that all seeds share
    spread = images.std(ddof=1) / np.sqrt(12)
    found = c.test_of_both(0.1 + np.array([0, spread, -spread]), np.full(5, 0.1), groups=12)
    student = ttest_1samp(images, 0)
    assert found == pytest.approx((student.pvalue, *student.confidence_interval(0.95)))


def test_the_margins_of_images_and_seeds_add_in_squares_and_p_is_where_their_interval_ends_at_0() -> None:
    drawn = BY_SEED.mean() + np.array([0, 0.07, -0.07])
    p_value, low, high = c.test_of_both(drawn, BY_SEED, groups=12)
    for level, half in ((0.05, (high - low) / 2), (p_value, BY_SEED.mean())):
        seeds = t.ppf(1 - level / 2, 4) * BY_SEED.std(ddof=1) / np.sqrt(5)
        assert half == pytest.approx(np.hypot(0.07 * t.ppf(1 - level / 2, 11), seeds))


@pytest.mark.parametrize("kind", ["images", "seeds"])
def test_either_kind_of_luck_alone_keeps_a_difference_undecided(kind: str) -> None:
    large, small = np.array([-0.2, 0.4, 0.1, 0.3, -0.1]), np.array([0.09, 0.11, 0.10, 0.11, 0.09])
    by_seed, moves = (large, 0.001) if kind == "seeds" else (small, 0.1)
    p_value, low, high = c.test_of_both(0.1 + np.array([0, moves, -moves]), by_seed, groups=50)
    assert p_value > 0.05 and low < 0 < high
    assert c.test_of_both(0.1 + np.array([0, 0.001, -0.001]), small, groups=50)[0] < 0.001


def test_all_comparisons_of_a_study_are_one_family_and_undecidable_ones_do_not_count() -> None:
    rows = pd.DataFrame({"value": [0.1, -0.1, 0.1, 0.1, 0.1, np.nan], "p": [0.012, 0.02, 0.03, 0.0, 0.0, np.nan]})
    rows = rows.assign(seeds=[5, 5, 5, 4, 5, 5], fewest_clusters=[10, 10, 10, 10, 9, 0])
    table = c.decide(rows)
    assert table["p_holm"].tolist() == pytest.approx([0.036, 0.04, 0.04, *[np.nan] * 3], nan_ok=True)
    three = ["better", "worse", "better", "not decided: fewer than five seeds", FEW_GROUPS]
    assert table["decision"].tolist() == [*three, "undefined: a nature has no test image"]
    again = c.decide(pd.concat([table, rows.assign(value=0.0, p=0.5)]))
    assert again["decision"].iloc[0] == "not decided: p 0.072 by Holm", "six comparisons ask for more than three"


FEW_GROUPS = "not decided: fewer than ten groups of images of a class"


@pytest.mark.parametrize(("groups", "expected"), [(9, FEW_GROUPS), (10, "better")])
def test_few_groups_decide_nothing(groups: int, expected: str) -> None:
    own = methods(0.9, 0.3, seeds=5)
    own = {name: [t.assign(group=np.arange(len(t)) // 3 % groups) for t in tables] for name, tables in own.items()}
    assert c.compare(own, resamples=200)[1]["decision"].item() == expected


def test_the_smallest_class_decides_and_not_the_number_of_all_groups() -> None:
    own = methods(0.95, 0.2, seeds=5)
    for name, tables in own.items():
        few = [t[(t["nature"] != "real") | (t.groupby("nature").cumcount() < 3)].reset_index(drop=True) for t in tables]
        own[name] = [table.assign(group=np.arange(len(table))) for table in few]
    row = c.compare(own, resamples=200)[1].iloc[0]
    assert row["clusters"] > 100 and row["fewest_clusters"] == 3 and row["decision"] == FEW_GROUPS


def test_a_nature_without_images_is_said_without_numbers() -> None:
    own = methods(0.9, 0.3, seeds=5)
    own = {name: [t[t["nature"] != "real"].reset_index(drop=True) for t in tables] for name, tables in own.items()}
    row = c.compare(own, resamples=20)[1].iloc[0].to_dict()
    assert c.describe(row) == "undefined: a nature has no test image"


def test_a_single_group_knows_next_to_nothing() -> None:
    own = {name: [t.assign(group="one") for t in tables] for name, tables in methods(0.9, 0.3, seeds=5).items()}
    table, differences = c.compare(own, resamples=200)
    assert table["value"].notna().all() and (table["low"] < 0.1).all() and (table["high"] > 0.9).all()
    assert differences["decision"].item() == FEW_GROUPS


def test_other_numbers_of_seeds_are_no_pairs() -> None:
    own = methods(0.9, 0.5, seeds=5)
    with pytest.raises(ValueError, match="other has 4 seeds, DeepFeatureX Net has 5; run both with the same seeds"):
        c.compare(own | {"other": own["other"][:4]}, resamples=200)


def test_a_method_without_seeds_stands_against_every_seed() -> None:
    own = methods(0.9, 0.5, seeds=5) | {"spectrum": [scores(0.6, seed=9)]}
    table, differences = c.compare(own, resamples=200)
    assert table.set_index("method")["seeds"].to_dict() == {c.OURS: 5, "other": 5, "spectrum": 1}
    expected = np.mean([balanced_accuracy(one) for one in own[c.OURS]]) - balanced_accuracy(own["spectrum"][0])
    row = differences.set_index("method").loc["spectrum"]
    assert row["value"] == pytest.approx(expected, abs=1e-6) and row["seeds"] == 5


def test_mcnemar_describes_the_first_seed() -> None:
    own = methods(0.7, 0.6, seeds=2)
    ours, theirs = (is_right(tables[0]) for tables in own.values())
    only = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    assert c.compare(own, resamples=100)[1]["mcnemar_p"].item() == pytest.approx(binomtest(only[0], sum(only)).pvalue)


def test_an_absent_nature_leaves_everything_undefined_and_said() -> None:
    own = {name: [t[t["nature"] != "real"] for t in tables] for name, tables in methods(0.7, 0.6, seeds=5).items()}
    table, differences = c.compare(own, resamples=50)
    assert table["value"].isna().all()
    assert differences["decision"].item() == "undefined: a nature has no test image"


def test_an_ensemble_averages_calibrated_probabilities_image_by_image() -> None:
    members = [scores(0.6, seed=0, spread=number, variant=f"m{number}") for number in range(3)]
    joined = c.ensemble(members, name="three")
    expected = sum(member[PROBABILITIES].to_numpy() for member in members) / 3
    np.testing.assert_allclose(joined[PROBABILITIES].to_numpy(), expected)
    assert (joined[LOGITS].to_numpy().argmax(1) == expected.argmax(1)).all()
    assert set(joined["variant"]) == {"three"} and set(members[0]["variant"]) == {"m0"}
    assert balanced_accuracy(joined) > max(map(balanced_accuracy, members)), "independent errors average out"


def test_a_method_that_saw_a_sample_is_compared_on_the_sample() -> None:
    own = methods(0.7, 0.6, seeds=2)
    (ours, theirs), seen = own.values(), np.random.default_rng(0).random(len(own["other"][0])) < 0.5
    sampled = [theirs[0][seen].sample(frac=1, random_state=0)]  # in an order of its own
    table, differences = c.compare({"ours": ours, "sampled": sampled}, resamples=20)
    assert table["images"].tolist() == [len(seen), seen.sum()] and differences["images"].item() == seen.sum()
    mean = np.mean([balanced_accuracy(each[seen]) for each in ours])
    assert differences["value"].item() == pytest.approx(mean - balanced_accuracy(sampled[0]))


def test_seeds_of_one_method_on_other_images_and_methods_without_a_common_one_are_refused_by_name() -> None:
    own = methods(0.7, 0.6, seeds=2)
    mixed = {"m": [own["other"][0], own["other"][1].iloc[1:].assign(variant="linear")]}
    with pytest.raises(ValueError, match="seed 0 and linear, seed 1 were tested on other images; run both again"):
        c.compare(mixed, resamples=10)
    elsewhere = [own["other"][0].assign(variant="linear", path="x" + own["other"][0]["path"])]
    with pytest.raises(ValueError, match="m and linear share no test image; run both again"):
        c.compare({"m": next(iter(own.values())), "linear": elsewhere}, resamples=10)


def test_only_test_images_are_read_in_one_order(tmp_path: Path) -> None:
    table = scores(0.7, seed=0)
    unseen = scores(0.7, seed=0).assign(split="unseen")
    write_scores(pd.concat([unseen, table.sample(frac=1, random_state=0)]), tmp_path / "s.parquet")
    pd.testing.assert_frame_equal(c.read_test_scores(tmp_path / "s.parquet"), table)


def equal_methods(random: np.random.Generator, images: float, seeds: float) -> np.ndarray:  # [5, 5 seeds, 120] right
    """Five methods of one law: each has luck of its own with scenes (sd `images`) and with seeds (sd `seeds`).

    Besides there is what makes a scene easy for all, and what a seed makes of a single image.
    """
    easy, own = random.normal(0.6, 1, 60), random.normal(0, images, (5, 1, 60))
    by_seed = random.normal(0, seeds, (5, 5, 1)) + random.normal(0, 0.5, (5, 5, 120))
    return np.repeat(easy + own, 2, axis=2) + by_seed > 0


@pytest.mark.statistics
@pytest.mark.parametrize(
    "images, seeds, alone, family", [(1.0, 0.1, 0.03, 0.015), (0.7, 0.3, 0.033, 0.02), (0.1, 0.5, 0.042, 0.035)]
)
def test_equal_methods_are_decided_as_seldom_as_documented(images: float, seeds: float, alone: float, family: float):
    """Four comparisons with the first: how often one alone has p up to 0.05, and how often any is decided."""
    random, nature, below, decided = np.random.default_rng(0), np.arange(120) // 40, [], []
    for simulation in range(1000):
        if simulation % 50 == 0:
            draws = stats.resample_clusters(np.arange(120) // 2, resamples=400, seed=simulation)
        right, rows = equal_methods(random, images, seeds), []
        value = np.stack([right[:, :, nature == part].mean(axis=2) for part in range(3)]).mean(axis=0)  # [5, 5 seeds]
        mean = [np.mean([stats.rate(hit, nature == part, draws) for part in range(3)], axis=0) for hit in right.mean(1)]
        for other in range(1, 5):
            p_value, *_ = c.test_of_both(mean[0] - mean[other], value[0] - value[other], groups=20)
            rows.append({"value": (value[0] - value[other]).mean(), "p": p_value, "seeds": 5, "fewest_clusters": 20})
        table = c.decide(pd.DataFrame(rows))
        below += (table["p"] <= 0.05).tolist()
        decided.append(table["decision"].isin(["better", "worse"]).any())
    assert (np.mean(below), np.mean(decided)) == pytest.approx((alone, family), abs=0.012)


@pytest.mark.statistics
def test_student_intervals_over_five_seeds_cover_their_mean() -> None:
    random = np.random.default_rng(0)
    ends = np.array([c.seed_interval(random.normal(0.3, 0.1, 5)) for _ in range(4000)])
    assert np.mean((ends[:, 0] < 0.3) & (ends[:, 1] > 0.3)) == pytest.approx(0.95, abs=0.015)


def test_recalls_count_a_group_as_often_as_it_was_drawn() -> None:
    table = scores(0.7, seed=0, images=6)
    counts = np.array([[1, 1, 1], [2, 1, 0]], dtype=np.float32)
    drawn = c.recalls_by_seed([table], Resamples(np.repeat(range(3), 2), counts)).mean(axis=1)
    assert drawn[0, 0] == pytest.approx(balanced_accuracy(table)) and np.isnan(drawn[0, 1]), "a nature was not drawn"


VARIANTS = {
    "alone": {"task": "threeway"},
    "all": {"task": "threeway", "train_on": "base+complete"},
    "a": {"task": "threeway", "train_on": "base+complete", "base": {"epochs": 4}},
    "b": {"task": "threeway", "train_on": "base+complete", "seed_offset": 1000},
    "linear": {"complete": {"head": "linear", "without": "real"}},
    "share": {"main_share": 0.9},
}


def test_rivals_learn_three_ways_from_the_same_images_and_members_count_as_their_ensemble() -> None:
    assert c.rivals(VARIANTS, {"pair": ["a", "b"]}) == ["pair", "all"]
    assert c.rivals({"linear": VARIANTS["linear"], "alone": VARIANTS["alone"]}, {}) == []


@pytest.mark.parametrize(
    "decisions, opening",
    [
        (["better", "better"], "yes. Minus r0: "),
        (["better", "worse"], "no. "),
        (["better", "not decided: p 0.080 by Holm"], "not decided. "),
        ([], "not decided: no backbone alone and no ensemble of them was run"),
    ],
)
def test_the_answer_follows_from_the_decisions(decisions: list[str], opening: str) -> None:
    row = {"value": 0.1, "low": -0.05, "high": 0.2, "seed_low": 0.05, "seed_high": 0.2, "seeds": 5}
    table = pd.DataFrame([row | {"method": f"r{number}", "decision": one} for number, one in enumerate(decisions)])
    against = [f"r{number}" for number in range(len(decisions))]
    said = c.answer(table, against)
    assert said.startswith(opening)
    assert not decisions or "+0.100 (images -0.050 to +0.200; seeds +0.050 to +0.200), better" in said
