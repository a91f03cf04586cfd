"""Splits that never leak: hashes of (split_seed, group) decide, so that a group stays together.

Shares are those of the paper (40% base, 40% complete, 20% test) in expectation. Adding images
outside existing groups moves none of the others between base, complete and test; balanced
subsets and validation quotas take the lowest hashes and may change at the margin.
"""

import hashlib

import numpy as np
import pandas as pd

from dfxlib.names import CLASSES, require_name

BASE_SHARE = 0.4  # share of the groups that train and validate base models
COMPLETE_SHARE = 0.4  # share of the groups that train, select and calibrate the complete model
VALID_SHARE = 0.2  # share of a part that validates it


def unit_hash(keys: pd.Series, *, split_seed: int, purpose: str) -> np.ndarray:  # [N] in [0, 1)
    """A fixed uniform number for each key; other purposes and seeds give independent numbers."""
    prefix = f"{split_seed}\0{purpose}\0"
    digests = (hashlib.sha256((prefix + str(key)).encode()).digest() for key in keys)
    return np.array([int.from_bytes(digest[:8], "big") / 2**64 for digest in digests])


def assign_splits(
    manifest: pd.DataFrame,  # needs path, nature, architecture, group, problem
    *,
    split_seed: int = 0,
    unseen: tuple[str, ...] = (),  # architectures kept out of all training
) -> pd.Series:  # split of every row
    """Splits of protocol.md; raises ValueError for an unseen name that the data lack.

    Rows with a problem and natures outside the three classes are `excluded`. An unseen row
    whose group has members in training or validation is `excluded` too: the content, not only
    the architecture, must be new (a departure from the plain rule that matters only where one
    group spans architectures, such as one scene seen by several generators).
    """
    require_architectures(unseen, manifest["architecture"])
    part = unit_hash(manifest["group"], split_seed=split_seed, purpose="part")
    valid = unit_hash(manifest["group"], split_seed=split_seed, purpose="base_valid")
    split = pd.Series("test", index=manifest.index, dtype=object)
    split[part < BASE_SHARE + COMPLETE_SHARE] = "complete_train"
    split[part < BASE_SHARE] = "base_train"
    split[(part < BASE_SHARE) & (valid < VALID_SHARE)] = "base_valid"

    usable = (manifest["problem"] == "") & manifest["nature"].isin(CLASSES)
    is_unseen = manifest["architecture"].isin(unseen)
    in_complete = usable & ~is_unseen & (split == "complete_train")
    chosen = _validation_groups(manifest[in_complete], split_seed=split_seed)
    in_validation = in_complete & manifest["group"].isin(chosen)
    half = unit_hash(manifest["group"], split_seed=split_seed, purpose="calibrate")
    split[in_validation] = np.where(half[in_validation] < 0.5, "complete_select", "complete_calibrate")

    trained_groups = set(manifest["group"][usable & ~is_unseen & (split != "test")])
    split[is_unseen] = "unseen"
    split[is_unseen & manifest["group"].isin(trained_groups)] = "excluded"
    split[~usable] = "excluded"
    return split.astype(str)


def require_architectures(unseen: tuple[str, ...], architectures: pd.Series) -> None:
    """Raise ValueError for a name that no image has."""
    missing = sorted(set(unseen) - set(architectures))
    if missing:
        known = ", ".join(sorted(set(architectures) - {""}))
        raise ValueError(f"unseen architecture {missing[0]!r} is not in the data; known: {known}")


def base_task(
    manifest: pd.DataFrame,
    nature: str,  # main class
    *,
    split: str,  # base_train or base_valid
    main_share: float = 0.9,
    split_seed: int = 0,
) -> pd.DataFrame:  # rows of the task, with the column is_main
    """One base model's unbalanced binary task (paper, section 3.1) with an exact main share.

    All images of the main class in the split, and as many others as the share leaves room for,
    drawn over their architectures in proportion. Raises ValueError when either side is empty.
    """
    require_name(nature, CLASSES, what="nature")
    if not 0 < main_share < 1:
        raise ValueError(f"main_share is {main_share}; expected a share between 0 and 1")
    rows = manifest[manifest["split"] == split]
    main, others = rows[rows["nature"] == nature], rows[rows["nature"] != nature]
    # Where the others do not suffice, the main class shrinks: the share is the definition.
    n_main = min(len(main), int(len(others) * main_share / (1 - main_share)))
    n_others = round(n_main * (1 - main_share) / main_share)
    if n_main == 0 or n_others == 0:
        raise ValueError(
            f"base model {nature}: split {split} holds {len(main)} images of it and {len(others)} others, "
            f"too few for main_share {main_share}; add images or lower main_share"
        )
    kept = [
        take_in_proportion(main, n_main, split_seed=split_seed).assign(is_main=1),
        take_in_proportion(others, n_others, split_seed=split_seed).assign(is_main=0),
    ]
    return pd.concat(kept).sort_index()


def take_in_proportion(rows: pd.DataFrame, count: int, *, split_seed: int) -> pd.DataFrame:
    """`count` rows, shared among architectures by size (largest remainders), lowest hashes first."""
    sizes = rows["architecture"].value_counts().sort_index()
    shares = sizes / sizes.sum() * count
    quota = np.floor(shares).astype(int)
    remainders = (shares - quota).sort_values(ascending=False, kind="stable")
    quota[remainders.index[: count - quota.sum()]] += 1
    return _lowest(rows, "architecture", quota.to_dict(), split_seed=split_seed)


def balanced(rows: pd.DataFrame, *, split_seed: int = 0, binary: bool = False) -> pd.DataFrame:
    """Rows cut to the smallest class: three-way, or fakes against reals (paper, testing)."""
    label = rows["nature"].where(rows["nature"] == "real", "fake") if binary else rows["nature"]
    sizes = label.value_counts()
    quota = dict.fromkeys(sizes.index, int(sizes.min()) if len(sizes) else 0)
    return _lowest(rows.assign(_label=label), "_label", quota, split_seed=split_seed).drop(columns="_label")


def _lowest(rows: pd.DataFrame, key: str, quota: dict[str, int], *, split_seed: int) -> pd.DataFrame:
    hashes = unit_hash(rows["path"], split_seed=split_seed, purpose="subset")
    order = rows.assign(_hash=hashes).sort_values("_hash")
    rank = order.groupby(key).cumcount()
    return order[rank < order[key].map(quota)].drop(columns="_hash").sort_index()


def _validation_groups(rows: pd.DataFrame, *, split_seed: int) -> set[str]:
    """Groups that validate the complete model: from every class 20% of the smallest class.

    Groups enter in the order of their hashes while any of their classes is below the quota, so
    that single images meet it exactly and larger groups exceed it by less than one group.
    """
    sizes = rows["nature"].value_counts()
    if len(sizes) == 0:
        return set()
    quota = round(VALID_SHARE * sizes.min())
    counts = rows.groupby(["group", "nature"]).size().unstack(fill_value=0)
    order = np.argsort(unit_hash(counts.index.to_series(), split_seed=split_seed, purpose="complete_valid"))
    taken = dict.fromkeys(counts.columns, 0)
    chosen = set()
    for group, row in counts.iloc[order].iterrows():
        if any(row[nature] and taken[nature] < quota for nature in counts.columns):
            chosen.add(group)
            for nature in counts.columns:
                taken[nature] += row[nature]
    return chosen
