"""The weakest generators first, and what the date of release does."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from test_scores import CALIBRATION, FEW, scores

from dfxlib.measure.generators import by_architecture
from dfxlib.measure.scores import LOGITS
from dfxlib.measure.worst import CALLED, by_window, of_detector, with_release, worst_first

MONTHS = {"dm_generated_0": "2021-05", "dm_generated_1": "2022-08", "gan_generated_0": "2017-10"}


@pytest.fixture()
def table() -> pd.DataFrame:
    return scores(300, skill=1.0)


def test_the_weakest_are_those_that_are_called_fake_least_often(table: pd.DataFrame) -> None:
    found = by_architecture(table, CALIBRATION, resamples=FEW)
    fakes = found[found["nature"] != "real"].sort_values("binary_recall")
    *weakest, spread, real = worst_first(found)
    assert len(weakest) == 3
    for told, (_, row) in zip(weakest, fakes.iterrows()):
        assert told.startswith(f"Weakest: {row['architecture']} (trained on here), of whose {row['images']} images ")
        assert f"{row['binary_recall']:.1%}" in told
    distance = 100 * (fakes["binary_recall"].max() - fakes["binary_recall"].min())
    assert spread.startswith(f"From the best of {len(fakes)} generators, {fakes['architecture'].iloc[-1]} with ")
    assert spread.endswith(f"to the worst lie {distance:.1f} points.")
    reals = found[found["nature"] == "real"]["binary_recall"]
    assert f"{1 - reals.min():.1%} are called fake" in real
    unseen = found.assign(split="unseen")
    assert "(never trained on here)" in worst_first(unseen)[0]


def test_of_a_detector_of_others_fake_is_what_has_p_fake_above_one_half(table: pd.DataFrame) -> None:
    theirs = table.assign(**dict.fromkeys(LOGITS, np.nan))  # it need not tell three natures apart
    theirs.loc[theirs.index[::3], "p_fake"] = 0.5  # which is not above
    found = of_detector(theirs, resamples=FEW)
    assert list(found) == list(CALLED)
    for row in found.itertuples():
        own = theirs[(theirs["nature"] == row.nature) & (theirs["architecture"] == row.architecture)]
        fake = (own["p_fake"] > 0.5).mean()
        assert row.binary_recall == pytest.approx(1 - fake if row.nature == "real" else fake)
        assert row.binary_recall_low <= row.binary_recall <= row.binary_recall_high and row.images == len(own)
    assert len(worst_first(found)) == 5, "it is told as the study's own model is"


def test_only_generators_with_a_month_have_a_place_in_time(table: pd.DataFrame) -> None:
    found = by_architecture(table, CALIBRATION, resamples=FEW)
    rows = table.assign(released=table["architecture"].map(MONTHS).fillna(""))
    dated = with_release(found, rows)
    assert list(zip(dated["architecture"], dated["released"])) == sorted(MONTHS.items(), key=lambda item: item[1])


def test_a_window_is_four_generators_in_order_and_the_next_one_is_the_first_unseen(table: pd.DataFrame) -> None:
    number = np.arange(len(table)) // 3 % 9
    fakes = (table["nature"] != "real").to_numpy()
    table["architecture"] = np.where(fakes, [f"g{n}" for n in number], table["architecture"])
    table.loc[fakes, "nature"] = "dm_generated"
    released = pd.Series(np.where(fakes, [f"202{n}-01" for n in number], ""))
    table.loc[fakes & (number >= 4), "split"] = "unseen"
    windows = by_window(table, released, resamples=FEW)
    assert windows["kind"].tolist() == ["trained", "next", "later"]
    assert windows["generators"].tolist() == ["g0, g1, g2, g3", "g4, g5, g6, g7", "g8"]
    assert windows[["from", "to"]].iloc[1].tolist() == ["2024-01", "2027-01"]
    shown = ~fakes | ((number >= 4) & (number < 8))
    assert windows["auc"][1] == pytest.approx(roc_auc_score(fakes[shown], table["p_fake"][shown]))
    table.loc[fakes & (number == 5), "split"] = "test"
    windows = by_window(table, released, resamples=FEW)
    assert windows["kind"].tolist() == ["trained", "held out", "trained", "next"], "g4 is older than g5, which trains"
    assert windows["generators"].tolist() == ["g0, g1, g2, g3", "g4", "g5", "g6, g7, g8"]
