"""The field's own numbers: against scikit-learn at prevalence one half, own reals, means, and a paper's table."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score, roc_curve
from test_scores import CALIBRATION, FEW, scores

from dfxlib.measure import stats
from dfxlib.measure.field import (
    MEANS,
    POOLED,
    at_frozen_thresholds,
    by_condition,
    field_latex,
    field_table,
    field_wide,
    half_metrics,
)
from dfxlib.measure.intervals import area_interval, interval


def sourced(count: int = 300, **options: int) -> pd.DataFrame:
    return scores(count, **options).assign(source="")


def pair(table: pd.DataFrame, generator: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, score and weight of one generator's images and all reals, so that both sides weigh the same."""
    shown = table[(table["architecture"] == generator) | (table["nature"] == "real")]
    fake = (shown["nature"] != "real").to_numpy()
    return fake, shown["p_fake"].to_numpy(), np.where(fake, 1 / fake.sum(), 1 / (~fake).sum())


def test_a_generator_has_the_accuracy_precision_and_equal_error_rate_of_scikit_learn() -> None:
    table = sourced()
    row = field_table(table, method="ours", resamples=FEW).set_index("architecture").loc["dm_generated_1"]
    fake, score, weight = pair(table, "dm_generated_1")
    assert row["acc"] == pytest.approx(balanced_accuracy_score(fake, score > 0.5), abs=1e-6)
    assert row["fake_acc"] == pytest.approx((score[fake] > 0.5).mean(), abs=1e-6)
    assert row["ap"] == pytest.approx(average_precision_score(fake, score, sample_weight=weight), abs=1e-6)
    assert row["auc"] == pytest.approx(roc_auc_score(fake, score), abs=1e-6)
    alarms, hits, _ = roc_curve(fake, score, drop_intermediate=False)
    grid = np.linspace(0, 1, 200_001)
    crossing = grid[np.argmin(np.abs(grid + np.interp(grid, alarms, hits) - 1))]
    assert row["eer"] == pytest.approx(crossing, abs=1e-4)
    assert (row["images"], row["real_images"], row["reals"]) == (33, 100, "shared")


def test_ties_are_one_step_and_one_half_is_called_real() -> None:
    score, fakes = np.array([0.5, 0.5, 0.5, 0.9]), np.array([True, False, False, True])
    draws = stats.resample_clusters(np.arange(4), resamples=2)
    found = {name: values[0] for name, values in half_metrics(score, fakes, ~fakes, draws).items()}
    weight = np.where(fakes, 0.5, 0.5)
    assert found["ap"] == pytest.approx(average_precision_score(fakes, score, sample_weight=weight))
    assert (found["fake_acc"], found["real_acc"]) == (0.5, 1.0)


def test_a_side_that_is_absent_defines_nothing() -> None:
    draws = stats.resample_clusters(np.arange(4), resamples=2)
    nobody, everybody = np.zeros(4, dtype=bool), np.ones(4, dtype=bool)
    found = half_metrics(np.arange(4) / 4, everybody, nobody, draws)
    assert np.isnan([found["ap"], found["eer"], found["real_acc"]]).all() and found["fake_acc"][0] == 0.25


def test_a_generator_stands_against_the_reals_of_its_own_source() -> None:
    table = sourced()
    table.loc[(table["architecture"] == "gan_generated_0") | (table["architecture"] == "real_2"), "source"] = "set_a"
    found = field_table(table, method="ours", resamples=FEW).set_index("architecture")
    own = found.loc["gan_generated_0"]
    assert (own["reals"], own["real_images"]) == ("own", (table["architecture"] == "real_2").sum())
    real = table[table["architecture"] == "real_2"]
    assert own["real_acc"] == pytest.approx((real["p_fake"] <= 0.5).mean(), abs=1e-6)
    assert found.loc["gan_generated_1", "reals"] == "shared"


def test_means_count_every_generator_once_and_name_their_part() -> None:
    table = sourced()
    table.loc[table["architecture"] == "gan_generated_2", "split"] = "unseen"
    found = field_table(table, method="ours", resamples=FEW).set_index("architecture")
    single = found.loc[[name for name in found.index if name not in MEANS.values()]]
    for split, name in MEANS.items():
        members = single[single["split"].eq(split) | (split == "")]
        for metric in ("acc", "fake_acc", "ap", "eer"):
            assert found.loc[name, metric] == pytest.approx(members[metric].mean(), abs=1e-6)
        assert found.loc[name, "images"] == len(members)
    assert (found["acc_low"] <= found["acc"]).all() and (found["eer"] <= found["eer_high"]).all()


def test_intervals_are_those_of_every_other_table() -> None:
    table = sourced(per_group=2)
    row = field_table(table, method="ours", resamples=FEW).set_index("architecture").loc["gan_generated_1"]
    draws = stats.resample_clusters(table["group"].to_numpy(), resamples=FEW)
    fakes = (table["architecture"] == "gan_generated_1").to_numpy()
    reals = (table["nature"] == "real").to_numpy()
    values, sizes = (
        half_metrics(table["p_fake"].to_numpy(), fakes, reals, draws),
        stats.clusters_of([fakes, reals], draws),
    )
    both = np.stack([values["fake_acc"], values["real_acc"]])
    assert row[["acc", "acc_low", "acc_high"]].tolist() == list(interval(both, clusters=sizes))
    assert row[["ap", "ap_low", "ap_high"]].tolist() == list(area_interval(values["ap"], clusters=sizes.min()))


def test_all_versions_are_one_ranking_and_versions_of_a_picture_one_group() -> None:
    raw = sourced(120)
    drifted = raw.assign(condition="web", p_fake=raw["p_fake"] / 10)
    table = pd.concat([raw, drifted], ignore_index=True)
    every = {"ours": table, "theirs": raw}
    methods = by_condition(every, ["raw", "web"], resamples=FEW)
    assert methods.loc[methods["method"] == "theirs", "condition"].tolist() == ["raw"], "all versions take all of them"
    found = methods[methods["method"] == "ours"].set_index("condition")
    assert list(found.index) == ["raw", "web", POOLED] and found["images"].tolist() == [120, 120, 240]
    assert found.loc["raw", "auc"] == pytest.approx(found.loc["web", "auc"], abs=1e-6)
    assert found.loc[POOLED, "auc"] == pytest.approx(roc_auc_score(table["nature"] != "real", table["p_fake"]))
    assert found.loc[POOLED, "auc"] < found.loc["raw", "auc"], "a drift that no condition shows by itself"
    twice = by_condition({"a": pd.concat([raw, raw.assign(condition="web")])}, ["raw", "web"], resamples=FEW)
    ends = twice.set_index("condition")[["auc_low", "auc_high"]]
    assert ends.loc[POOLED].tolist() == pytest.approx(ends.loc["raw"].tolist(), abs=1e-6), "no new evidence"


def test_one_condition_alone_has_no_ranking_over_several() -> None:
    table = scores(120, skill=1.0).assign(condition="raw")
    assert list(by_condition({"a": table}, ["raw"], resamples=FEW)["condition"]) == ["raw"]


def test_conditions_that_the_study_does_not_have_and_other_parts_do_not_count() -> None:
    table = scores(120, skill=1.0)
    other = pd.concat([table, table.assign(condition="avif"), table.assign(split="unseen")], ignore_index=True)
    one, two = (by_condition({"a": each}, ["raw"], resamples=FEW) for each in (table, other))
    pd.testing.assert_frame_equal(one, two)


def test_one_name_in_two_natures_is_two_generators() -> None:
    table = sourced()
    table["architecture"] = table["architecture"].replace("gan_generated_0", "dm_generated_0")
    wide = field_wide(field_table(table, method="a", resamples=FEW))
    assert {"dm_generated_0 (dm_generated)", "dm_generated_0 (gan_generated)", "dm_generated_1"} < set(wide)


def test_a_mean_over_fewer_generators_stands_beside_no_other() -> None:
    whole = field_table(sourced(seed=0), method="a", resamples=FEW)
    fewer = sourced(seed=1)
    fewer = field_table(fewer[fewer["architecture"] != "gan_generated_0"], method="b", resamples=FEW)
    wide = field_wide(pd.concat([whole, fewer]))
    assert np.isnan(wide.loc["b", "mean of all"]) and wide.loc["b", "dm_generated_1"] > 0
    assert wide.loc["a", "mean of all"] == round(100 * whole.set_index("architecture").loc["mean of all", "acc"], 1)


def test_frozen_thresholds_are_those_of_raw_images_under_every_condition() -> None:
    raw = sourced(120)
    table = pd.concat([raw, raw.assign(condition="web", p_fake=raw["p_fake"] / 2)], ignore_index=True)
    found = at_frozen_thresholds(table, CALIBRATION, resamples=FEW).set_index(["condition", "threshold"])
    assert found["p_fake"].tolist() == [CALIBRATION["threshold"], CALIBRATION["false_alarm_5"]] * 2
    fake = raw["nature"] != "real"
    expected = (raw["p_fake"][fake] / 2 >= CALIBRATION["threshold"]).mean()
    assert found.loc[("web", "threshold"), "fake_recall"] == pytest.approx(expected, abs=1e-6)
    assert found.loc[("raw", "false_alarm_5"), "real_recall"] == pytest.approx(
        (raw["p_fake"][~fake] < CALIBRATION["false_alarm_5"]).mean(), abs=1e-6
    )


def test_the_papers_table_has_a_row_a_method_and_means_at_the_end() -> None:
    methods = {name: field_table(sourced(seed=seed), method=name, resamples=FEW) for seed, name in enumerate("ab")}
    table = pd.concat(methods.values())
    table.loc[table["architecture"] == "dm_generated_0", ["acc", "ap"]] = np.nan
    wide = field_wide(table)
    assert list(wide.index) == ["a", "b"] and list(wide)[-2:] == ["mean of seen", "mean of all"]
    head, first, _ = field_latex(table).split("\\midrule")[0], *field_latex(table).split("\n")[4:6]
    assert "dm\\_generated\\_0 & dm\\_generated\\_1" in head and "-- / --" in first
    accuracy = 100 * methods["a"].set_index("architecture").loc["dm_generated_1", "acc"]
    assert f" & {accuracy:.1f} / " in first
