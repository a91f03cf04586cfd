"""Splits: no group on two sides, the paper's shares, exact tasks, and nothing that depends on order."""

import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import rows

from dfxlib.data import splits
from dfxlib.names import CLASSES, SPLITS

TRAINING = ["base_train", "base_valid", "complete_train", "complete_select", "complete_calibrate"]
BIG = 9000

tables = st.builds(rows, st.integers(3, 150), architectures=st.integers(1, 4), per_group=st.integers(1, 7))
seeds = st.integers(0, 5)


@pytest.fixture(scope="module")
def big() -> pd.DataFrame:
    table = rows(BIG)
    return table.assign(split=splits.assign_splits(table))


def part(split: pd.Series) -> pd.Series:
    return split.str.split("_").str[0]


@given(tables, seeds)
def test_a_group_is_never_in_two_splits(table: pd.DataFrame, seed: int) -> None:
    split = splits.assign_splits(table, split_seed=seed)
    assert split.groupby(table["group"]).nunique().max() == 1
    assert set(split) <= set(SPLITS)


@given(tables, seeds, st.integers(1, 200))
def test_images_of_new_groups_move_none_between_base_complete_and_test(
    table: pd.DataFrame, seed: int, extra: int
) -> None:
    new = rows(extra).assign(path=lambda t: "new/" + t["path"], group=lambda t: "new" + t["group"])
    before = splits.assign_splits(table, split_seed=seed)
    after = splits.assign_splits(pd.concat([new, table], ignore_index=True), split_seed=seed)[extra:]
    assert part(before).tolist() == part(after).tolist()
    is_base = before.str.startswith("base").to_numpy()
    assert before[is_base].tolist() == after[is_base].tolist()  # base_valid does not depend on others either


@given(tables, seeds, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(table: pd.DataFrame, seed: int, dice: random.Random) -> None:
    order = list(range(len(table)))
    dice.shuffle(order)
    mixed = splits.assign_splits(table.iloc[order].reset_index(drop=True), split_seed=seed)
    assert mixed.tolist() == splits.assign_splits(table, split_seed=seed).iloc[order].tolist()


@given(tables, seeds, st.sets(st.sampled_from([f"{n}_{a}" for n in CLASSES for a in range(4)])))
def test_unseen_images_share_no_group_with_any_training(table: pd.DataFrame, seed: int, wanted: set) -> None:
    unseen = tuple(sorted(wanted & set(table["architecture"])))
    split = splits.assign_splits(table, split_seed=seed, unseen=unseen)
    is_unseen = table["architecture"].isin(unseen)
    assert set(split[is_unseen]) <= {"unseen", "excluded"} and not (split[~is_unseen] == "unseen").any()
    trained = set(table["group"][split.isin(TRAINING)])
    assert not trained & set(table["group"][split == "unseen"])
    refused = table["group"][is_unseen & (split == "excluded")]
    assert set(refused) <= trained  # and nothing is excluded without that reason


def test_shares_are_those_of_the_paper(big: pd.DataFrame) -> None:
    shares = part(big["split"]).value_counts(normalize=True)
    tolerance = 4 * np.sqrt(0.24 / BIG)  # four standard deviations
    for name, share in {"base": 0.4, "complete": 0.4, "test": 0.2}.items():
        assert shares[name] == pytest.approx(share, abs=tolerance)
    valid = (big["split"] == "base_valid").sum() / big["split"].str.startswith("base").sum()
    assert valid == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / (0.4 * BIG)))


def test_every_class_validates_the_complete_model_with_a_fifth_of_the_smallest_class() -> None:
    table = rows(BIG)
    table = table[(table["nature"] != "gan_generated") | (np.arange(BIG) % 4 == 0)]  # unequal classes
    split = splits.assign_splits(table)
    complete = table["nature"][split.str.startswith("complete")].value_counts()
    valid = table["nature"][split.isin(["complete_select", "complete_calibrate"])].value_counts()
    assert set(valid) == {round(0.2 * complete.min())}


def test_larger_groups_exceed_the_quota_by_less_than_one_group() -> None:
    table = rows(3000, per_group=6)  # two images of each nature in a group
    split = splits.assign_splits(table)
    quota = round(0.2 * table["nature"][split.str.startswith("complete")].value_counts().min())
    valid = table["nature"][split.isin(["complete_select", "complete_calibrate"])].value_counts()
    assert ((valid >= quota) & (valid < quota + 2)).all()


def test_the_validation_part_is_halved_by_group(big: pd.DataFrame) -> None:
    sizes = big["split"].value_counts()
    both = sizes["complete_select"] + sizes["complete_calibrate"]
    assert sizes["complete_select"] / both == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(both))


def test_splits_are_fixed_numbers_that_no_release_may_change() -> None:
    expected = ["complete_train", "test", "base_train", "test", "base_train", "base_train"]
    hashes = splits.unit_hash(pd.Series(["a", "b"]), split_seed=0, purpose="part")
    np.testing.assert_allclose(hashes, [0.483831771909, 0.530637056555], atol=1e-12)
    assert splits.assign_splits(rows(6)).tolist() == expected


def test_another_split_seed_draws_other_splits(big: pd.DataFrame) -> None:
    other = splits.assign_splits(big, split_seed=1)
    same = (part(other) == part(big["split"])).mean()
    assert same == pytest.approx(0.4**2 + 0.4**2 + 0.2**2, abs=0.03)  # as two independent draws agree


def test_damaged_rows_and_other_natures_are_excluded() -> None:
    table = rows(30)
    table.loc[0, "problem"], table.loc[1, "nature"], table.loc[2, "nature"] = (
        "empty file",
        "fake_unknown",
        "other_generated",
    )
    split = splits.assign_splits(table)
    assert split[:3].tolist() == ["excluded"] * 3 and "excluded" not in set(split[3:])


def test_a_damaged_row_does_not_keep_its_group_from_being_unseen() -> None:
    table = rows(60).assign(group="one")
    table.loc[table["architecture"] != "real_0", "problem"] = "empty file"
    split = splits.assign_splits(table, unseen=("real_0",))
    assert set(split[table["architecture"] == "real_0"]) == {"unseen"}


def test_an_unseen_name_that_the_data_lack_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"unseen architecture 'dalle9' is not in the data; known: dm_generated_0, .*real_2"
    ):
        splits.assign_splits(rows(30), unseen=("dalle9",))


@given(st.integers(100, 400), st.sampled_from([0.5, 0.7, 0.8, 0.87, 0.9, 0.96]), st.sampled_from(CLASSES), seeds)
def test_the_main_share_is_exact_within_rounding(count: int, share: float, nature: str, seed: int) -> None:
    table = rows(count).assign(split="base_train")
    task = splits.base_task(table, nature, split="base_train", main_share=share, split_seed=seed)
    main, others = (task["is_main"] == 1).sum(), (task["is_main"] == 0).sum()
    assert abs(others - main * (1 - share) / share) <= 0.5 + 1e-9
    assert (task["nature"] == nature).tolist() == (task["is_main"] == 1).tolist()


def test_all_images_of_the_main_class_enter_where_the_others_suffice(big: pd.DataFrame) -> None:
    task = splits.base_task(big, "real", split="base_train")
    assert (task["is_main"] == 1).sum() == ((big["split"] == "base_train") & (big["nature"] == "real")).sum()
    assert set(task["split"]) == {"base_train"}


def test_the_main_class_shrinks_where_the_others_do_not_suffice() -> None:
    table = rows(300).assign(split="base_train")
    table = pd.concat([table[table["nature"] == "real"], table[table["nature"] != "real"][:5]])
    task = splits.base_task(table, "real", split="base_train", main_share=0.9)
    assert (task["is_main"].sum(), (1 - task["is_main"]).sum()) == (45, 5)


def test_validation_has_the_same_main_share_as_training(big: pd.DataFrame) -> None:
    for split in ("base_train", "base_valid"):
        assert splits.base_task(big, "dm_generated", split=split)["is_main"].mean() == pytest.approx(0.9, abs=0.005)


def test_others_are_drawn_over_their_architectures_in_proportion(big: pd.DataFrame) -> None:
    unequal = big[(big["architecture"] != "real_0") | (np.arange(BIG) % 3 == 0)]
    task = splits.base_task(unequal, "dm_generated", split="base_train", main_share=0.8)
    others = unequal[(unequal["split"] == "base_train") & (unequal["nature"] != "dm_generated")]
    drawn = task["architecture"][task["is_main"] == 0].value_counts()
    exact = others["architecture"].value_counts() / len(others) * drawn.sum()
    assert (drawn - exact).abs().max() < 1


def test_what_rounding_leaves_goes_to_the_largest_remainders() -> None:
    table = rows(10).assign(architecture=["a", "b", "b", *"ccccccc"])
    drawn = splits.take_in_proportion(table, 4, split_seed=0)["architecture"].value_counts()
    assert drawn.to_dict() == {"c": 3, "b": 1}  # of 0.4, 0.8 and 2.8


def test_a_larger_task_contains_the_smaller_one() -> None:
    table = rows(300)
    few = splits.take_in_proportion(table, 20, split_seed=0)
    many = splits.take_in_proportion(table, 90, split_seed=0)
    assert set(few["path"]) <= set(many["path"]) and len(few) == 20 and len(many) == 90


@pytest.mark.parametrize("share", [0, 1, -0.1, 90])
def test_a_share_outside_zero_and_one_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=f"main_share is {share}; expected a share between 0 and 1"):
        splits.base_task(rows(30), "real", split="test", main_share=share)


def test_a_task_without_others_says_how_many_there_are() -> None:
    table = rows(30)
    with pytest.raises(ValueError, match=r"base model real: split test holds 10 images of it and 0 others, too few"):
        splits.base_task(table[table["nature"] == "real"], "real", split="test")


def test_hashes_are_uniform_and_purposes_independent() -> None:
    keys = pd.Series(range(4000))
    one, two = (splits.unit_hash(keys, split_seed=0, purpose=purpose) for purpose in ("part", "other"))
    assert one.min() >= 0 and one.max() < 1 and one.mean() == pytest.approx(0.5, abs=0.02)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.06


def declared(count: int, *names: str, per_group: int = 1) -> pd.DataFrame:
    """Rows whose groups declare `names` in turn."""
    table = rows(count, per_group=per_group)
    return table.assign(declared_split=np.array(names)[np.arange(count) // per_group % len(names)])


def test_a_declared_split_decides_only_where_it_is_asked_to() -> None:
    table = declared(300, "test")
    assert splits.assign_splits(table).tolist() == splits.assign_splits(rows(300)).tolist()
    assert set(splits.assign_splits(table, use_declared=True)) == {"test"}


@given(seeds, st.integers(1, 4))
def test_each_declared_part_stays_within_itself(seed: int, per_group: int) -> None:
    names = ("train", "valid", "test", "base", "complete", "complete_select", "excluded")
    table = declared(2100, *names, per_group=per_group)
    split = splits.assign_splits(table, split_seed=seed, use_declared=True)
    found = {name: set(split[table["declared_split"] == name]) for name in names}
    assert found == {
        "train": set(TRAINING),
        "valid": {"base_valid", "complete_select", "complete_calibrate"},
        "test": {"test"},
        "base": {"base_train", "base_valid"},
        "complete": {"complete_train", "complete_select", "complete_calibrate"},
        "complete_select": {"complete_select"},
        "excluded": {"excluded"},
    }
    assert split.groupby(table["group"]).nunique().max() == 1


def test_a_declared_training_part_is_halved_between_base_and_complete() -> None:
    split = part(splits.assign_splits(declared(BIG, "train"), use_declared=True))
    assert (split == "base").mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(BIG))


def test_what_declares_nothing_is_drawn_as_ever_unless_its_group_declares() -> None:
    table = declared(600, "", "test", per_group=2)
    split = splits.assign_splits(table, use_declared=True)
    silent = table["declared_split"] == ""
    assert part(split[silent]).tolist() == part(splits.assign_splits(table)[silent]).tolist()
    half = table.assign(declared_split=table["declared_split"].where(np.arange(600) % 2 == 0, ""))
    assert (splits.assign_splits(half, use_declared=True)[~silent] == "test").all()


def test_seventeen_duplicates_across_declared_splits_train_nothing() -> None:
    table = declared(300, "train", "test", per_group=10)
    pairs = list(zip(range(0, 170, 20), range(10, 180, 20))) + list(zip(range(1, 160, 20), range(11, 170, 20)))
    for training, test in pairs:
        table.loc[[training, test], "group"] = f"twins{training}"
    assert len(pairs) == 17
    split = splits.assign_splits(table, use_declared=True)
    assert (split[[training for training, _ in pairs]] == "excluded").all()
    assert (split[[test for _, test in pairs]] == "test").all()
    others = ~table["group"].str.startswith("twins")
    assert "excluded" not in set(split[others])
    kept = table[split != "excluded"]
    assert kept.groupby("group")["declared_split"].nunique().max() == 1


def test_an_unseen_architecture_is_unseen_whatever_it_declares() -> None:
    table = declared(300, "train", "test")
    split = splits.assign_splits(table, unseen=("real_0",), use_declared=True)
    assert set(split[table["architecture"] == "real_0"]) == {"unseen"}


@pytest.mark.parametrize(
    "name, message",
    [
        ("training", "declared split 'training' is unknown; expected one of train, valid, base, complete, base_train"),
        ("", "use_declared is set, but the data set declares no split; set it to false"),
    ],
)
def test_a_declaration_that_cannot_be_used_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        splits.assign_splits(declared(30, name), use_declared=True)


@pytest.mark.parametrize(
    "train_on, parts",
    [("complete", {"complete_train"}), ("base+complete", {"base_train", "complete_train"})],
)
def test_a_three_way_baseline_learns_from_the_part_it_is_told(train_on: str, parts: set) -> None:
    table = rows(900)
    table["split"] = splits.assign_splits(table)
    task = splits.three_way_task(table, train_on=train_on)
    assert set(task["train"]["split"]) == parts and set(task["valid"]["split"]) == {"complete_select"}
    assert task["train"].index.equals(table.index[table["split"].isin(parts)])
    for part in task.values():
        assert (np.array(CLASSES)[part["label"]] == part["nature"]).all()


def test_a_three_way_baseline_of_unknown_images_is_refused() -> None:
    with pytest.raises(ValueError, match=r"train_on 'all' is unknown; expected one of complete, base\+complete"):
        splits.three_way_task(rows(9), train_on="all")
