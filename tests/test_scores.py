"""Scores and metrics: against scikit-learn, paired, and calibrated on their own part."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from samples import rows
from scipy.special import softmax
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, recall_score, roc_auc_score

from dfxlib.measure import scores as e
from dfxlib.names import CLASSES

CALIBRATION = {"temperature": 1.0, "threshold": 0.4, "false_alarm_5": 0.7}
FEW = 50  # resamples


def logits_for(table: pd.DataFrame, *, skill: float = 1.0, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(len(table), 3))
    return noise + skill * np.eye(3)[e.class_index(table["nature"])]


def scores(count: int = 120, *, seed: int = 0, skill: float = 1.0, **options: int) -> pd.DataFrame:
    table = rows(count, **options)
    return e.score_table(table, logits_for(table, skill=skill, seed=seed), temperature=1.0, backbone="resnet18")


def value(summary: pd.DataFrame, verdict: str, metric: str) -> float:
    return summary.set_index(["verdict", "metric"]).loc[(verdict, metric), "value"]


def said(table: pd.DataFrame) -> np.ndarray:
    return np.array(CLASSES)[table[e.LOGITS].to_numpy().argmax(1)]


def test_no_score_lies_above_one_however_sure_the_model() -> None:
    """The band that never says fake begins at the next number above 1."""
    logits = np.random.default_rng(0).normal(scale=60, size=(20_000, 3))
    table = pd.concat([rows(120)] * 167, ignore_index=True).iloc[:20_000]
    p_fake = e.score_table(table, logits, temperature=1.0, backbone="resnet18")["p_fake"]
    assert p_fake.between(0, 1).all() and (p_fake == 1).any()


def test_a_score_is_one_row_an_image_with_the_contracts_columns() -> None:
    table = rows(9)
    logits = logits_for(table)
    result = e.score_table(table, logits, temperature=2.0, backbone="resnet18", seed=3, condition="jpeg444_q90")
    assert list(result.columns) == e.SCORE_COLUMNS and result["path"].tolist() == table["path"].tolist()
    np.testing.assert_allclose(result[e.PROBABILITIES], softmax(logits / 2, axis=1))
    np.testing.assert_allclose(result[e.LOGITS], logits.astype(np.float32))
    np.testing.assert_allclose(result["p_fake"], 1 - result["p_real"])
    assert (result[["condition", "variant", "seed"]] == ["jpeg444_q90", "deepfeaturex", 3]).all(axis=None)


def test_scores_survive_the_disk(tmp_path: Path) -> None:
    table = scores()
    e.write_scores(table, tmp_path / "deep" / "scores.parquet")
    pd.testing.assert_frame_equal(e.read_scores(tmp_path / "deep" / "scores.parquet"), table)
    with pytest.raises(FileNotFoundError, match=r"scores .*/none\.parquet are missing; run the notebook"):
        e.read_scores(tmp_path / "none.parquet")


def test_a_score_table_says_its_format(tmp_path: Path) -> None:
    table, path = scores(), tmp_path / "scores.parquet"
    e.write_scores(table, path)
    assert pq.read_schema(path).metadata[b"dfxlib_scores_format"] == b"1"
    pd.testing.assert_frame_equal(pd.read_parquet(path), table)
    table.to_parquet(path, index=False)
    with pytest.raises(ValueError, match="has format 0; this dfxlib reads format 1; run the notebook that writes it"):
        e.read_scores(path)


@pytest.mark.parametrize(
    "stated, message",
    [
        ("2", r"score table .*/s\.parquet has format 2; this dfxlib reads format 1; update dfxlib$"),
        ("-1", "has format -1; this dfxlib reads format 1; run the notebook that writes it again$"),
        ("new", "is damaged .*; run the notebook that writes it again$"),
    ],
)
def test_a_score_table_of_another_format_is_refused(tmp_path: Path, stated: str, message: str) -> None:
    table = pa.Table.from_pandas(scores()).replace_schema_metadata({"dfxlib_scores_format": stated})
    pq.write_table(table, tmp_path / "s.parquet")
    with pytest.raises(ValueError, match=message):
        e.read_scores(tmp_path / "s.parquet")


def test_a_damaged_score_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.parquet").write_bytes(b"words")
    with pytest.raises(ValueError, match=r"score table .*/s\.parquet is damaged .*; run the notebook that writes it"):
        e.read_scores(tmp_path / "s.parquet")


def test_the_summary_agrees_with_scikit_learn() -> None:
    table = scores(300)
    summary = e.summarise(table, CALIBRATION, resamples=FEW)
    natures, verdicts, is_fake = table["nature"], said(table), (table["nature"] != "real").to_numpy()
    assert value(summary, "three-way", "balanced accuracy") == pytest.approx(balanced_accuracy_score(natures, verdicts))
    assert value(summary, "three-way", "macro F1") == pytest.approx(f1_score(natures, verdicts, average="macro"))
    for nature, recall in zip(CLASSES, recall_score(natures, verdicts, average=None, labels=CLASSES)):
        assert value(summary, "three-way", f"{nature} recall") == pytest.approx(recall)
    assert value(summary, "fake score", "AUC") == pytest.approx(roc_auc_score(is_fake, table["p_fake"]))
    for verdict, fake in [
        ("argmax", verdicts != "real"), ("threshold", table["p_fake"] >= 0.4), ("false_alarm_5", table["p_fake"] >= 0.7)
    ]:  # fmt: skip
        assert value(summary, verdict, "balanced accuracy") == pytest.approx(balanced_accuracy_score(is_fake, fake))
        assert value(summary, verdict, "fake recall") == pytest.approx(recall_score(is_fake, fake))
        assert value(summary, verdict, "real recall") == pytest.approx(recall_score(~is_fake, ~np.asarray(fake)))


def test_every_value_lies_in_its_interval_and_counts_stand_beside_it() -> None:
    summary = e.summarise(scores(120, per_group=3), CALIBRATION, resamples=200)
    assert ((summary["low"] <= summary["value"]) & (summary["value"] <= summary["high"])).all()
    assert set(summary["images"]) == {120} and set(summary["clusters"]) == {40}


def test_metrics_of_an_absent_class_are_nan_and_the_others_stay() -> None:
    table = scores()
    summary = e.summarise(table[table["nature"] != "real"].reset_index(drop=True), CALIBRATION, resamples=FEW)
    assert np.isnan(value(summary, "fake score", "AUC")) and np.isnan(value(summary, "three-way", "real recall"))
    assert 0 < value(summary, "argmax", "fake recall") < 1


def test_macro_f1_is_nan_where_a_nature_has_no_image_whatever_was_said() -> None:
    table = scores(300, skill=0.5)
    part = table[table["nature"] != "gan_generated"].reset_index(drop=True)
    assert (said(part) == "gan_generated").any(), "which would count as a score of 0"
    row = e.summarise(part, CALIBRATION, resamples=FEW).set_index(["verdict", "metric"]).loc[("three-way", "macro F1")]
    assert row[["value", "low", "high"]].isna().all()


def test_a_perfect_score_on_few_images_keeps_a_wide_interval() -> None:
    summary = e.summarise(scores(12, skill=99), CALIBRATION, resamples=FEW)
    argmax = summary[(summary["verdict"].isin(["three-way", "argmax"])) | (summary["metric"] == "AUC")]
    assert (argmax["value"] == 1).all() and (argmax["low"] < 0.7).all()


def test_the_confusion_matrix_is_scikit_learns_in_the_order_of_the_classes() -> None:
    table = scores(90)
    matrix = e.confusion(table)
    assert list(matrix.index) == list(matrix.columns) == list(CLASSES)
    np.testing.assert_array_equal(matrix, confusion_matrix(table["nature"], said(table), labels=CLASSES))
    reals = e.confusion(table[table["nature"] == "real"])
    assert reals.shape == (3, 3) and reals.loc["dm_generated"].sum() == 0


def test_calibration_recovers_temperature_and_keeps_false_alarms_low() -> None:
    table = rows(3000)
    logits = logits_for(table, skill=2.0)  # noise of variance one: honest at temperature 1 / 2
    found = e.calibrate(logits, table)
    assert found["temperature"] == pytest.approx(0.5, rel=0.1)
    p_fake = 1 - softmax(logits / found["temperature"], axis=1)[:, 2]
    alarms = (p_fake[(table["nature"] == "real").to_numpy()] >= found["false_alarm_5"]).mean()
    assert 0.04 < alarms <= 0.05


def test_calibration_without_a_class_is_refused_in_a_sentence() -> None:
    table = rows(30)
    fakes = table[table["nature"] != "real"]
    with pytest.raises(ValueError, match="complete_calibrate holds no real image; add images"):
        e.calibrate(logits_for(fakes), fakes)


def test_frozen_thresholds_decide_and_the_argmax_needs_none() -> None:
    table = scores(60)
    assert (e.says_fake(table, "threshold", CALIBRATION) == (table["p_fake"] >= 0.4)).all()
    assert (e.says_fake(table, "argmax", {}) == (said(table) != "real")).all()


def test_equal_scores_flip_nothing_and_opposite_ones_everything() -> None:
    table = scores(60)
    opposite = table.assign(**{name: -table[name] for name in e.LOGITS})
    assert e.flip_rate(table, table, resamples=FEW)[0] == 0
    assert e.flip_rate(table, opposite, resamples=FEW)[0] == 1
    changed = table.copy()
    changed.loc[:14, e.LOGITS] = -changed.loc[:14, e.LOGITS]
    assert e.flip_rate(table, changed, resamples=FEW)[0] == pytest.approx(15 / 60)


def test_flips_of_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="needs the same images in the same order"):
        e.flip_rate(scores(60), scores(60).iloc[::-1], resamples=FEW)


def test_robustness_has_a_row_for_every_condition_and_metric() -> None:
    table = scores(90)
    result = e.robustness_table({"raw": table, "jpeg444_q50": scores(90, seed=4)}, CALIBRATION, resamples=FEW)
    wide = result.pivot(index="condition", columns="metric", values="value")
    assert wide.shape == (2, 8) and wide.loc["raw", "flip rate"] == 0 < wide.loc["jpeg444_q50", "flip rate"]
    raw = result[(result["condition"] == "raw") & (result["metric"] == "flip rate")]
    assert raw[["low", "high"]].to_numpy().tolist() == [[0, 0]], "zero by definition has no interval"
    assert wide.loc["raw", "three-way balanced accuracy"] == pytest.approx(
        balanced_accuracy_score(table["nature"], said(table))
    )


def test_shares_of_verdicts_sum_to_one_for_every_nature_and_condition() -> None:
    result = e.verdict_shares({"raw": scores(60), "jpeg444_q50": scores(60, seed=1)})
    assert result["nature"].tolist() == [n for n in CLASSES for _ in range(2)]
    np.testing.assert_allclose(result[["said_dm", "said_gan", "said_real"]].sum(axis=1), 1)


def test_a_base_model_is_measured_by_its_auc() -> None:
    task = rows(60).assign(is_main=lambda t: (t["nature"] == "real").astype(int))
    logits = np.random.default_rng(0).normal(size=(60, 2)) + np.c_[np.zeros(60), task["is_main"]]
    table = e.base_scores(task, logits)
    summary = e.summarise_base(table, resamples=FEW)
    assert summary["valid_auc"] == pytest.approx(roc_auc_score(task["is_main"], logits[:, 1] - logits[:, 0]))
    assert (summary["main_images"], summary["other_images"]) == (20, 40)
    np.testing.assert_allclose(table["p_main"], softmax(logits, axis=1)[:, 1])


def test_the_comparison_row_of_a_method_is_its_balanced_accuracy() -> None:
    summary = e.summarise(scores(60), CALIBRATION, resamples=FEW)
    row = e.three_way_rows(summary, method="ours")
    assert row["method"].tolist() == ["ours"] and row["value"].iloc[0] == value(
        summary, "three-way", "balanced accuracy"
    )


def test_fakes_of_unknown_nature_count_in_the_binary_verdicts_only() -> None:
    table = scores(120)
    mixed = table.assign(nature=np.where(table.index % 6 == 1, "fake_unknown", table["nature"]))
    both = (mixed["nature"] != "real").to_numpy()
    summary = e.summarise(mixed, CALIBRATION, resamples=FEW)
    known = mixed[mixed["nature"].isin(CLASSES)]
    assert value(summary, "three-way", "macro F1") == pytest.approx(
        f1_score(known["nature"], said(known), average="macro")
    )
    assert value(summary, "argmax", "fake recall") == pytest.approx((said(mixed) != "real")[both].mean())
