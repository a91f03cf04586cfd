"""Stated confidence: against scikit-learn, before and after temperature, and the promise of the band."""

import numpy as np
import pandas as pd
import pytest
from samples import rows
from sklearn.metrics import brier_score_loss, log_loss
from test_scores import FEW, scores

from dfxlib.measure import scores as e
from dfxlib.measure.band import MOSTLY, ON_AVERAGE
from dfxlib.measure.confidence import proper_scores, reliability_table, trade_table, unsure_table
from dfxlib.measure.cuts import never_said
from dfxlib.names import CLASSES

CALIBRATION = {"temperature": 2.0, "unsure_low": 0.3, "unsure_high": 0.8, "unsure_error": 0.05}
CALIBRATION |= {"unsure_promise": ON_AVERAGE}


def measured(table: pd.DataFrame, *keys: str) -> pd.Series:
    found = proper_scores(table, CALIBRATION, resamples=FEW)
    return found.set_index(["split", "task", "temperature", "metric"]).loc[keys]


@pytest.mark.parametrize("temperature, t", [("before", 1.0), ("after", 2.0)])
def test_proper_scores_are_scikit_learns(temperature: str, t: float) -> None:
    table = scores(150)
    p = e.stats.probabilities(table[e.LOGITS].to_numpy(dtype=float), temperature=t)
    truth, is_fake = e.class_index(table["nature"]), (table["nature"] != "real").to_numpy()
    three, two = ("test", "three-way", temperature), ("test", "fake or real", temperature)
    assert measured(table, *three, "log loss")["value"] == pytest.approx(log_loss(truth, p), rel=1e-5)
    expected = np.mean(np.sum((p - np.eye(3)[truth]) ** 2, axis=1))
    assert measured(table, *three, "Brier score")["value"] == pytest.approx(expected, rel=1e-5)
    assert measured(table, *two, "log loss")["value"] == pytest.approx(log_loss(is_fake, 1 - p[:, 2]), rel=1e-5)
    expected = brier_score_loss(is_fake, 1 - p[:, 2])
    assert measured(table, *two, "Brier score")["value"] == pytest.approx(expected, rel=1e-5)


def test_a_temperature_that_was_planted_mends_boastful_scores() -> None:
    table = rows(3000)
    p = np.random.default_rng(0).dirichlet(np.ones(3), size=3000)
    drawn = (np.random.default_rng(1).random((3000, 1)) > p.cumsum(axis=1)).sum(axis=1)
    table["nature"] = np.array(CLASSES)[drawn]
    boastful = e.score_table(table, 2 * np.log(p), temperature=1.0, backbone="r")
    for metric in ("log loss", "Brier score", "ECE"):
        before, after = (measured(boastful, "test", "three-way", when, metric)["value"] for when in ("before", "after"))
        assert after < before
    curve = reliability_table(boastful, CALIBRATION).set_index("temperature")
    gaps = (curve["confidence"] - curve["accuracy"]).where(curve["images"] > 100).abs().groupby(level=0).max()
    assert gaps["after"] < 0.08 < gaps["before"]
    assert curve["images"].groupby(level=0).sum().tolist() == [3000, 3000]


def test_fakes_of_unknown_nature_enter_the_binary_reading_alone() -> None:
    table = scores(90).assign(split="unseen", nature="fake_unknown")
    assert np.isnan(measured(table, "unseen", "three-way", "after", "log loss")["value"])
    assert np.isfinite(measured(table, "unseen", "fake or real", "after", "log loss")["value"])
    assert np.isnan(measured(table, "unseen", "three-way", "after", "ECE")["value"])
    assert reliability_table(table, CALIBRATION).empty


def band_of(table: pd.DataFrame, calibration: dict = CALIBRATION, **options: object) -> pd.DataFrame:
    unlike = options.pop("unlike", np.zeros(len(table)))
    return unsure_table(table, calibration, unlike, resamples=FEW, **options)


def test_the_band_counts_what_is_decided_and_what_is_wrong() -> None:
    table = rows(6).assign(split=["test"] * 5 + ["unseen"])
    scored = e.score_table(table, np.zeros((6, 3)), temperature=1.0, backbone="r")
    scored["p_fake"] = [0.9, 0.1, 0.8, 0.5, 0.3, 0.29]  # dm, gan, real, dm, gan, real
    found = band_of(scored, unlike=np.array([1, 0, 0, 1, 0, np.nan])).set_index(["split", "metric"])
    assert found.loc[("test", "decided"), "value"] == pytest.approx(3 / 5)  # 0.5 and 0.3 are unsure
    assert found.loc[("test", "real called fake"), ["value", "images"]].tolist() == [1, 1]
    assert found.loc[("test", "fake called real"), ["value", "images"]].tolist() == [0.25, 4]
    assert found.loc[("test", "fake called real"), ["promised", "promise"]].tolist() == [0.05, ON_AVERAGE]
    counted = ["value", "images", "prevalence"]
    assert found.loc[("test", "wrong among called fake"), counted].tolist() == [0.5, 2, 0.8]
    assert found.loc[("test", "wrong among called fake at one half"), counted].tolist() == [0.8, 2, 0.5]
    assert found.loc[("test", "wrong among called real"), counted].tolist() == [1, 1, 0.8]
    assert found.loc[("test", "unlike the training data"), ["value", "images"]].tolist() == [0.4, 5]
    assert found.loc[("unseen", "decided"), "value"] == 1
    undefined = found.loc["unseen"].drop("decided")  # no fake there, and nobody knows what is unlike
    assert undefined["value"].drop("real called fake").isna().all() and undefined.loc["real called fake", "value"] == 0


def test_mistakes_among_what_is_called_so_follow_from_the_risks_and_the_prevalence() -> None:
    """By Bayes' rule: at the prevalence of the images that were scored, and at one half."""
    table = scores(3000)
    found = band_of(table).set_index("metric")
    fake, real = table["p_fake"] >= 0.8, table["p_fake"] < 0.3
    is_fake = table["nature"] != "real"
    for said, called, wrong in (("fake", fake, ~is_fake), ("real", real, is_fake)):
        risk, hits = called[wrong].mean(), called[~wrong].mean()
        for how, share in {"": wrong.mean(), " at one half": 0.5}.items():
            expected = share * risk / (share * risk + (1 - share) * hits)
            row = found.loc[f"wrong among called {said}{how}"]
            assert row["value"] == pytest.approx(expected, abs=1e-6)
            assert 0 < row["value_low"] < expected < row["value_high"] < 1
            assert row["images"] == called.sum() and np.isnan(row["promised"])


def test_the_band_is_measured_under_every_condition() -> None:
    clean = scores(300)
    treated = clean.assign(condition="delivery", p_fake=np.sqrt(clean["p_fake"]))
    caught = np.r_[np.zeros(300), np.ones(300)]
    both = band_of(pd.concat([clean, treated]), by="condition", unlike=caught).set_index(["condition", "metric"])
    for name, table in {"raw": clean, "delivery": treated}.items():
        alone = band_of(table).set_index("metric")["value"].drop("unlike the training data")
        pd.testing.assert_series_equal(both.loc[name, "value"].drop("unlike the training data"), alone)
        assert both.loc[(name, "unlike the training data"), "value"] == (name == "delivery")


def test_a_model_without_a_band_decides_nothing_that_could_be_counted() -> None:
    values = band_of(scores(30), {"temperature": 1.0}).set_index("metric")["value"]
    assert values.drop("unlike the training data").isna().all()


@pytest.mark.parametrize("groups, never", [(18, "fake"), (19, "")])
def test_errors_of_a_verdict_that_is_never_said_are_no_promise_kept(groups: int, never: str) -> None:
    """5% cannot be promised from 18 groups of real images, and no photograph called fake would then prove nothing."""
    table = rows(300)
    table["split"] = "test"
    few = pd.concat([table[table["nature"] != "real"], table[table["nature"] == "real"][:groups]])
    frozen = e.calibrate(np.random.default_rng(0).normal(size=(len(few), 3)), few)
    assert never_said(frozen) == never
    scored = e.score_table(table, np.eye(3)[e.class_index(table["nature"])], temperature=1.0, backbone="r")
    found = band_of(scored, frozen).set_index("metric")
    assert np.isfinite(found.loc[["decided", "fake called real"], "value"]).all()
    assert np.isnan(found.loc["real called fake", "value"]) == bool(never)
    assert np.isnan(found.loc["wrong among called fake", "value"]) or not never
    assert set(found["never said"]) == {never}


def test_the_bands_promise_holds_on_data_like_those_of_calibration() -> None:
    table = rows(9000)
    logits = np.random.default_rng(0).normal(size=(9000, 3)) + 2 * np.eye(3)[e.class_index(table["nature"])]
    frozen = e.calibrate(logits[:3000], table[:3000])
    assert 0 < frozen["unsure_low"] < frozen["unsure_high"] < 1 and frozen["unsure_promise"] == MOSTLY
    tested = e.score_table(table[3000:], logits[3000:], temperature=frozen["temperature"], backbone="r")
    found = band_of(tested, frozen).set_index("metric")
    for metric in ("real called fake", "fake called real"):
        assert 0.02 < found.loc[metric, "value"] < 0.05 and found.loc[metric, "promise"] == MOSTLY
    assert 0.2 < found.loc["decided", "value"] < 1


def test_the_trade_has_every_promise_and_the_band_that_was_frozen() -> None:
    table = rows(1200)
    logits = np.random.default_rng(0).normal(size=(1200, 3)) + 2 * np.eye(3)[e.class_index(table["nature"])]
    frozen = e.calibrate(logits[:300], table[:300])
    tested = e.score_table(table[300:], logits[300:], temperature=frozen["temperature"], backbone="r")
    trade = trade_table(logits[:300], table[:300], tested, frozen, resamples=FEW)
    own, same = trade[trade["frozen"]].set_index("metric"), band_of(tested, frozen).set_index("metric")
    for metric in ("decided", "real called fake", "fake called real"):
        assert own.loc[metric, "value"] == same.loc[metric, "value"] and own.loc[metric, "promised"] == 0.05
    assert set(own["promise"]) == {frozen["unsure_promise"]}
    decided = trade[trade["metric"] == "decided"].pivot(index="promised", columns="promise", values="value")
    assert (decided[MOSTLY] <= decided[ON_AVERAGE]).all() and decided[ON_AVERAGE].is_monotonic_increasing
    never = trade[(trade["promised"] == 0.01) & (trade["promise"] == MOSTLY)].set_index("metric")["value"]
    assert never["decided"] == 0 and never.drop("decided").isna().all(), "100 groups cannot promise 1%"
