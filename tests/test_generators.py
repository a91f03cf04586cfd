"""Scores by architecture: against scikit-learn, seen beside unseen, and what the data cannot define."""

import numpy as np
import pandas as pd
import pytest
from samples import rows
from sklearn.metrics import average_precision_score, recall_score, roc_auc_score
from test_scores import CALIBRATION, FEW, said, scores

from dfxlib.measure.generators import (
    averages,
    by_architecture,
    by_training,
    further_rows,
    seen_against_unseen,
    shared_reals,
)
from dfxlib.names import CLASSES


def test_a_generator_is_measured_against_all_reals() -> None:
    table = scores(300)
    result = by_architecture(table, CALIBRATION, resamples=FEW).set_index("architecture")
    own = table["architecture"] == "gan_generated_1"
    shown = own | (table["nature"] == "real")
    expected = roc_auc_score(own[shown], table["p_fake"][shown])
    assert result.loc["gan_generated_1", "auc"] == pytest.approx(expected)
    assert result.loc["gan_generated_1", "recall"] == pytest.approx((said(table)[own] == "gan_generated").mean())
    assert result.loc["gan_generated_1", "binary_recall"] == pytest.approx((said(table)[own] != "real").mean())
    assert result.loc["real_0", "recall_at_threshold"] == pytest.approx(
        (table["p_fake"][table["architecture"] == "real_0"] < 0.4).mean()
    )
    assert np.isnan(result.loc["real_0", "auc"]) and result["images"].sum() == 300
    np.testing.assert_allclose(result[["said_dm", "said_gan", "said_real"]].sum(axis=1), 1)


def test_seen_and_unseen_generators_stand_against_the_same_real_images() -> None:
    table = scores(300)
    table.loc[table["architecture"].isin(["gan_generated_2", "real_2"]), "split"] = "unseen"
    result = by_architecture(table, CALIBRATION, resamples=FEW).set_index("architecture")
    reals = (table["nature"] == "real") & (table["split"] == "test")
    for name in ("gan_generated_1", "gan_generated_2"):
        own = table["architecture"] == name
        expected = roc_auc_score(own[own | reals], table["p_fake"][own | reals])
        assert result.loc[name, "auc"] == pytest.approx(expected)


def test_folders_of_one_name_under_two_natures_stay_apart() -> None:
    table = scores(120).assign(architecture="celeba")
    result = by_architecture(table, CALIBRATION, resamples=FEW)
    assert result["nature"].tolist() == list(CLASSES) and result["images"].tolist() == [40, 40, 40]
    recalls = recall_score(table["nature"], said(table), average=None, labels=CLASSES)
    np.testing.assert_allclose(result["recall"], recalls, rtol=1e-6)
    seen = seen_against_unseen({"ours": averages(table, CALIBRATION, resamples=FEW)})
    np.testing.assert_allclose(seen["recall"], recalls, rtol=1e-6)


def test_seen_and_unseen_count_each_architecture_once() -> None:
    table = scores(300)
    table.loc[table["architecture"] == "gan_generated_2", "split"] = "unseen"
    keep = (table["architecture"] != "gan_generated_0") | (table.index % 4 == 0)  # architectures of unequal size
    table = table[keep].reset_index(drop=True)
    result = seen_against_unseen({"ours": averages(table, CALIBRATION, resamples=FEW)}).set_index(["nature", "split"])
    hit = said(table) == table["nature"]
    means = hit.groupby(table["architecture"]).mean()
    assert result.loc[("gan_generated", "test"), "recall"] == pytest.approx(
        means[["gan_generated_0", "gan_generated_1"]].mean()
    )
    assert result.loc[("gan_generated", "unseen"), "recall"] == pytest.approx(means["gan_generated_2"])
    assert result.loc[("gan_generated", "test"), "architectures"] == 2
    assert result["images"].sum() == len(table)


def test_precision_and_recall_at_false_alarms_stand_beside_their_prevalence() -> None:
    table = scores(360)
    result = by_architecture(table, CALIBRATION, resamples=FEW).set_index("architecture")
    own, reals = (table["architecture"] == "dm_generated_0").to_numpy(), (table["nature"] == "real").to_numpy()
    shown = own | reals
    row = result.loc["dm_generated_0"]
    assert row["ap"] == pytest.approx(average_precision_score(own[shown], table["p_fake"][shown]))
    assert row["prevalence"] == pytest.approx(own[shown].mean())
    threshold = np.sort(table["p_fake"][reals])[-7]  # 6 of 120 reals lie above it
    assert row["recall_fa5"] == pytest.approx((table["p_fake"][own] > threshold).mean())


def test_what_an_architecture_cannot_define_is_undefined_and_says_why() -> None:
    table = scores(150)  # 50 real images
    table.loc[table["architecture"] == "gan_generated_2", "nature"] = "fake_unknown"
    result = by_architecture(table, CALIBRATION, resamples=FEW).set_index("architecture")
    known, unknown, real = (result.loc[name] for name in ("gan_generated_1", "gan_generated_2", "real_0"))
    assert np.isnan(known["recall_fa1"]) and np.isfinite(known["recall_fa5"])
    assert known["undefined"] == "recall_fa1: 50 clusters of real images, needs 100"
    assert np.isnan(unknown["recall"]) and 0 < unknown["binary_recall"] < 1 and 0 < unknown["auc"] < 1
    assert unknown["undefined"].startswith("recall: no class of the three-way task; ")
    assert np.isnan(real["auc"]) and real["undefined"] == "ranking: needs fakes"


def test_an_architecture_of_three_images_keeps_a_wide_interval() -> None:
    table = scores(300, skill=9)
    few = table.index.isin(table.index[table["architecture"] == "gan_generated_0"][3:])
    result = by_architecture(table[~few].reset_index(drop=True), CALIBRATION, resamples=FEW)
    row = result.set_index("architecture").loc["gan_generated_0"]
    assert row["images"] == 3 and row["recall"] == 1 and row["recall_low"] == pytest.approx(0.025 ** (1 / 3))


def test_one_image_is_sure_of_nothing_and_neither_is_a_mean_that_it_is_part_of() -> None:
    """Resampling the real images alone would make its AUC look sure."""
    table = scores(300)
    others = table.index.isin(table.index[table["architecture"] == "gan_generated_0"][1:])
    few = table[~others].reset_index(drop=True)
    row = by_architecture(few, CALIBRATION, resamples=FEW).set_index("architecture").loc["gan_generated_0"]
    assert row["clusters"] == 1 and 0 < row["auc"] < 1
    assert row["auc_low"] < 0.01 and row["auc_high"] > 0.99 and row["recall_high"] - row["recall_low"] >= 0.975
    means = (averages(rows, CALIBRATION, resamples=FEW).set_index(["nature", "metric"]) for rows in (few, table))
    unsure, sure = (mean.loc[("gan_generated", "recall")] for mean in means)
    assert (unsure["fewest_clusters"], sure["fewest_clusters"] > 10) == (1, True)
    widths = (unsure["value_high"] - unsure["value_low"], sure["value_high"] - sure["value_low"])
    assert 0.975 / 3 < widths[0] < 0.7 and widths[1] < 0.25, "one of three architectures, at its own limit"


@pytest.mark.parametrize("kind", ["real", "fake"])
def test_folders_of_one_class_only_leave_ranking_undefined(kind: str) -> None:
    table = scores(90)
    part = table[(table["nature"] == "real") == (kind == "real")].reset_index(drop=True)
    result = by_architecture(part, CALIBRATION, resamples=FEW)
    mean = averages(part, CALIBRATION, resamples=FEW)
    assert "auc" not in result or result["auc"].isna().all()
    assert result["binary_recall"].between(0, 1).all() and (result["undefined"] != "").all()
    assert "balanced_accuracy" not in set(mean["metric"])


def test_averages_count_each_architecture_once() -> None:
    table = scores(300)
    table.loc[table["architecture"] == "gan_generated_2", "split"] = "unseen"
    by = by_architecture(table, CALIBRATION, resamples=FEW)
    mean = averages(table, CALIBRATION, resamples=FEW).set_index(["nature", "split", "metric"])
    seen = by[(by["nature"] != "real") & (by["split"] == "test")]
    for metric in ("recall", "binary_recall", "auc", "recall_fa5"):
        assert mean.loc[("generated", "test", metric), "value"] == pytest.approx(seen[metric].mean())
        own = by.set_index("architecture").loc["gan_generated_2", [metric, f"{metric}_low"]].tolist()
        assert mean.loc[("gan_generated", "unseen", metric), ["value", "value_low"]].tolist() == pytest.approx(own)
    sources = by[by["nature"] == "real"]["binary_recall"].mean()
    expected = (sources + by.set_index("architecture").loc["gan_generated_2", "binary_recall"]) / 2
    assert mean.loc[("generated", "unseen", "balanced_accuracy"), "value"] == pytest.approx(expected)
    assert mean.loc[("generated", "test", "recall"), "architectures"] == 5


def test_average_precision_has_no_mean_since_every_architecture_has_its_own_prevalence() -> None:
    assert "ap" not in set(averages(scores(300), CALIBRATION, resamples=FEW)["metric"])


def test_a_perfect_mean_claims_no_more_than_its_smallest_part_allows() -> None:
    """Three real images stand behind every area, and an architecture of three images counts as much as any other."""
    table = scores(900, skill=99)
    real = np.flatnonzero(table["nature"] == "real")
    few = np.flatnonzero(table["architecture"] == "gan_generated_2")
    kept = table.drop(index=[*real[3:], *few[3:]]).reset_index(drop=True)
    by = by_architecture(kept, CALIBRATION, resamples=FEW).set_index("architecture")
    mean = averages(kept, CALIBRATION, resamples=FEW).set_index(["nature", "metric"])
    area = mean.loc[("generated", "auc")]
    assert area["value"] == 1 and area["value_low"] <= by.loc["gan_generated_1", "auc_low"] < 0.4
    for metric, weight in (("recall", 1 / 3), ("balanced_accuracy", 0.5 / 5)):
        row = mean.loc[("gan_generated" if metric == "recall" else "generated", metric)]
        smallest_at_its_limit = 1 - weight * (1 - 0.025 ** (1 / 3))
        assert row["value"] == 1 and row["value_low"] <= smallest_at_its_limit


def test_the_shared_reals_are_those_of_the_test_part_where_there_are_any() -> None:
    table = scores(30)
    table.loc[:14, "split"] = "unseen"
    real = (table["nature"] == "real").to_numpy()
    assert shared_reals(table).tolist() == (real & (table["split"] == "test")).tolist()
    assert shared_reals(table.assign(split="unseen")).tolist() == real.tolist()


def test_fakes_of_unknown_nature_have_no_three_way_average() -> None:
    table = scores(90).assign(nature=lambda t: t["nature"].replace("gan_generated", "fake_unknown"))
    result = seen_against_unseen({"ours": averages(table, CALIBRATION, resamples=FEW)})
    assert sorted(result["nature"]) == ["dm_generated", "real"]


def test_a_generator_that_a_data_set_only_tests_was_never_seen() -> None:
    trained = rows(12).assign(split="base_train")
    tested = trained.assign(split=["unseen"] + ["test"] * 11)
    tested.loc[[7, 8], ["nature", "architecture"]] = [["dm_generated", "tested_only"], ["real", "tested_only"]]
    found = by_training(tested, pd.concat([trained, tested]))
    assert found["split"].tolist() == ["unseen" if i in (0, 7) else "test" for i in tested.index]


def test_another_manifest_is_tested_on_what_is_new_to_the_model() -> None:
    own = rows(12).assign(split=["base_train"] * 9 + ["test"] * 3)
    other, seen = own.assign(split="base_train"), pd.Series(["equal pixels", "near copy", "near copy", *[""] * 9])
    other.loc[4, "problem"] = "truncated"
    other.loc[7, "architecture"] = "a_new_gan"
    found = further_rows(other, own, seen)
    assert found.index.tolist() == [3, 5, 6, 7, 8, 9, 10, 11]
    assert found["split"].to_dict() == {i: "unseen" if i == 7 else "test" for i in found.index}
    with pytest.raises(ValueError, match="none of 9 images is usable and new to the model; give another manifest_path"):
        further_rows(own[:9], own, pd.Series("near copy", index=range(9)))
