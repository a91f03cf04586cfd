"""The weakest generators first, and what the date of release does."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from test_scores import FEW, scores

from dfxlib.measure.field import field_table
from dfxlib.measure.scores import LOGITS
from dfxlib.measure.worst import by_window, with_release, worst_first

MONTHS = {"dm_generated_0": "2021-05", "dm_generated_1": "2022-08", "gan_generated_0": "2017-10"}


@pytest.fixture()
def table() -> pd.DataFrame:
    return scores(300, skill=1.0).assign(source="")


def test_the_weakest_are_those_that_are_called_fake_least_often(table: pd.DataFrame) -> None:
    found = field_table(table, method="ours", resamples=FEW)
    *weakest, spread, real = worst_first(found)
    made = table[table["nature"] != "real"]
    fakes = (made["p_fake"] > 0.5).groupby([made["nature"], made["architecture"]]).mean().sort_values(kind="stable")
    assert len(weakest) == 3
    for told, ((_, name), rate) in zip(weakest, fakes.items()):
        images = (table["architecture"] == name).sum()
        assert told.startswith(
            f"Weakest: {name} (trained on here), of whose {images} images {rate:.1%} are called fake ("
        )
    assert spread.startswith(
        f"From the best of {len(fakes)} generators, {fakes.index[-1][1]} with {fakes.iloc[-1]:.1%},"
    )
    assert spread.endswith(f"to the worst lie {100 * (fakes.iloc[-1] - fakes.iloc[0]):.1f} points.")
    price = (table.loc[table["nature"] == "real", "p_fake"] > 0.5).mean()
    assert real.startswith(f"Of the real images {price:.1%} are called fake (")
    unseen = found.assign(split=found["split"].replace("test", "unseen"))
    assert "(never trained on here)" in worst_first(unseen)[0]


def test_a_detector_of_two_classes_is_told_as_the_studys_own_model_is(table: pd.DataFrame) -> None:
    binary = table.assign(**dict.fromkeys(LOGITS, np.nan))
    one, two = (worst_first(field_table(each, method="m", resamples=FEW)) for each in (table, binary))
    assert one == two


def test_over_seeds_the_mean_counts_and_their_range_stands_beside_it(table: pd.DataFrame) -> None:
    seeds = [
        field_table(scores(300, skill=1.0, seed=seed).assign(source=""), method="m", resamples=FEW) for seed in (0, 1)
    ]
    together = pd.concat([found.assign(backbone="b", seed=seed) for seed, found in enumerate(seeds)])
    each = together[together["nature"] != "generated"].groupby("architecture")["fake_acc"]
    name = each.mean().idxmin()
    mean, low, high = (getattr(each, what)()[name] for what in ("mean", "min", "max"))
    first = worst_first(together)[0]
    assert (
        first.startswith(f"Weakest: {name} ")
        and f"{mean:.1%} are called fake ({low:.1%} to {high:.1%} over 2 seeds)" in first
    )
    same = pd.concat([seeds[0].assign(backbone="b", seed=seed) for seed in (0, 1)])
    assert worst_first(same) == worst_first(seeds[0]), "a detector that stands beside every seed"


def test_a_generator_of_a_few_images_is_not_called_the_weakest(table: pd.DataFrame) -> None:
    found = field_table(table, method="m", resamples=FEW)
    few = found["architecture"] == "gan_generated_0"
    *_, told, _ = worst_first(
        found.assign(images=found["images"].mask(few, 9), fake_acc=found["fake_acc"].mask(few, 0))
    )
    assert told == "Not ranked, of fewer than 10 images: gan_generated_0."
    assert len(worst_first(found[few | (found["nature"] == "generated")].assign(images=1))) == 2, "if all are as few"


def test_only_generators_with_a_month_have_a_place_in_time(table: pd.DataFrame) -> None:
    found = field_table(table, method="m", resamples=FEW)
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
