"""Splits that never leak: hashes of (split_seed, group) decide, so that a group stays together.

Shares are those of the paper (40% base, 40% complete, 20% test) in expectation. Adding images
outside existing groups moves none of the others between base, complete and test; balanced
subsets and validation quotas take the lowest hashes and may change at the margin.
"""

import hashlib

import numpy as np
import pandas as pd

from dfxlib.names import CLASSES, SPLITS, TRAINED_ON, TRAINED_SPLITS, require_name

BASE_SHARE = 0.4  # share of the groups that train and validate base models

COMPLETE_SHARE = 0.4  # share of the groups that train, select and calibrate the complete model

VALID_SHARE = 0.2  # share of a part that validates it

#: What a data set may declare of an image: a part of ours, a part that hashes divide further, or nothing.
DECLARED: tuple[str, ...] = ("", "train", "valid", "base", "complete", *SPLITS)

_DISPUTED = "disputed"  # declared as one part here and as another there

_TESTED = ("test", "unseen", "excluded")


def unit_hash(keys: pd.Series, *, split_seed: int, purpose: str) -> np.ndarray:  # [N] in [0, 1)
    """A fixed uniform number for each key; other purposes and seeds give independent numbers."""
    prefix = f"{split_seed}\0{purpose}\0"
    digests = (hashlib.sha256((prefix + str(key)).encode()).digest() for key in keys.tolist())
    return np.array([int.from_bytes(digest[:8], "big") / 2**64 for digest in digests])


def assign_splits(
    manifest: pd.DataFrame,  # needs path, nature, architecture, group, problem; declared_split where used
    *,
    split_seed: int = 0,
    unseen: tuple[str, ...] = (),  # architectures kept out of all training
    use_declared: bool = False,  # let declared_split decide where it says something
) -> pd.Series:  # split of every row
    """Splits of protocol.md; raises ValueError for an unseen name that the data lack.

    Rows with a problem and natures outside the three classes are `excluded`. An unseen row
    whose group has members in training or validation is `excluded` too: the content, not only
    the architecture, must be new (a departure from the plain rule that matters only where one
    group spans architectures, such as one scene seen by several generators).

    Of a declared split, `base` and `complete` take their validation from themselves, `train` is
    divided into these two, `valid` validates and calibrates. A group follows what any of its
    members declares; where members disagree, only what is declared `test` stays, as `test`.
    """
    require_architectures(unseen, manifest["architecture"])
    usable = _usable(manifest).to_numpy()
    is_unseen = manifest["architecture"].isin(unseen).to_numpy()
    group, names = pd.factorize(manifest["group"])  # numbers: a million texts are slow to look up
    kinds = ("part", "base_valid", "complete_valid", "calibrate")
    hashes = {kind: unit_hash(pd.Series(names), split_seed=split_seed, purpose=kind)[group] for kind in kinds}
    declared = _group_declarations(manifest, group, usable) if use_declared else np.full(len(group), "", dtype=object)
    label = _label_rows(hashes["part"], declared)
    split = np.select([label == "base", label == "complete"], ["base_train", "complete_train"], label).astype(object)
    split[(label == "base") & (hashes["base_valid"] < VALID_SHARE)] = "base_valid"

    in_complete = usable & ~is_unseen & (label == "complete")
    natures, order = manifest["nature"][in_complete], hashes["complete_valid"][in_complete]
    in_validation = in_complete & np.isin(group, _validation_groups(group[in_complete], natures, order))
    half = np.where(hashes["calibrate"] < 0.5, "complete_select", "complete_calibrate")
    split[in_validation] = half[in_validation]

    trained_groups = group[usable & ~is_unseen & ~np.isin(label, _TESTED)]
    split[is_unseen] = "unseen"
    split[is_unseen & np.isin(group, trained_groups)] = "excluded"
    split[~usable | (declared == "excluded")] = "excluded"
    return pd.Series(split, index=manifest.index).astype(str)


def _label_rows(share: np.ndarray, declared: np.ndarray) -> np.ndarray:  # [N] text
    """`base` and `complete`, which are divided further, or the name of a split.

    `share` [N] is the hash of a row's group, `declared` [N] what that group declares.
    """
    hashed = np.select([share < BASE_SHARE, share < BASE_SHARE + COMPLETE_SHARE], ["base", "complete"], "test")
    train = np.where(share < BASE_SHARE / (BASE_SHARE + COMPLETE_SHARE), "base", "complete")
    valid = np.select([share < 0.5, share < 0.75], ["base_valid", "complete_select"], "complete_calibrate")
    kinds: dict[str, np.ndarray | str] = {"": hashed, "train": train, "valid": valid, _DISPUTED: "excluded"}
    return np.select([declared == kind for kind in kinds], list(kinds.values()), declared)


def _group_declarations(manifest: pd.DataFrame, group: np.ndarray, usable: np.ndarray) -> np.ndarray:  # [N] text
    """What the group of each row declares, "" where nothing.

    Where its members disagree, rows that declare `test` keep it and the others are disputed.
    """
    require_declared(manifest)
    own = manifest["declared_split"].to_numpy(dtype=object)
    said = pd.DataFrame({"group": group, "declared": own})[usable & (own != "")].drop_duplicates()
    of_group = np.full(group.max() + 1, "", dtype=object)
    of_group[said["group"]] = said["declared"]
    declared = of_group[group]
    disputed = np.isin(group, said["group"][said["group"].duplicated()])
    declared[disputed] = np.where(own[disputed] == "test", "test", _DISPUTED)
    return declared


def require_declared(rows: pd.DataFrame) -> None:  # of a manifest, or of a listing before anything was decoded
    """Raise ValueError where declared splits can decide nothing: their names are unknown, or no usable row has one."""
    if unknown := sorted(set(rows["declared_split"]) - set(DECLARED)):
        known = ", ".join(name for name in DECLARED if name)
        raise ValueError(f"declared split {unknown[0]!r} is unknown; expected one of {known}")
    if (rows.loc[_usable(rows), "declared_split"] == "").all():
        raise ValueError("use_declared is set, but the data set declares no split; set it to false")


def _usable(rows: pd.DataFrame) -> pd.Series:  # bool
    """Rows that enter the three-way task: of its natures and without a problem."""
    return (rows["problem"] == "") & rows["nature"].isin(CLASSES)


def require_architectures(unseen: tuple[str, ...], architectures: pd.Series) -> None:
    """Raise ValueError for a name that no image has."""
    if missing := sorted(set(unseen) - set(architectures)):
        known = ", ".join(sorted(set(architectures) - {""}))
        raise ValueError(f"unseen architecture {missing[0]!r} is not in the data; known: {known}")


def held_out(
    rows: pd.DataFrame,  # architecture, nature, family, released
    *,
    unseen: tuple[str, ...] = (),  # architectures
    unseen_families: tuple[str, ...] = (),
    unseen_after: str = "",  # YEAR-MONTH; generators of later months
) -> tuple[str, ...]:
    """Architectures that a study keeps out of all training: by name, by family, by the month of their release.

    Raises ValueError for a name or family that the data lack, and for a generator that might be of a later month:
    where its own is not known, it must be held out by name.
    """
    require_architectures(unseen, rows["architecture"])
    known = sorted(set(rows["family"]) - {""})
    if strange := [family for family in unseen_families if family not in known]:
        raise ValueError(f"unseen family {strange[0]!r} is not in the data; known: {', '.join(known) or 'none'}")
    fakes = rows[rows["nature"].isin({*CLASSES} - {"real"})]  # others train nothing, whatever their month
    later = set(fakes.loc[fakes["released"] > unseen_after, "architecture"]) if unseen_after else set()
    related = set(rows.loc[rows["family"].isin(unseen_families), "architecture"])
    undated = sorted(set(fakes.loc[fakes["released"] == "", "architecture"]) - {*unseen, *related})
    if unseen_after and undated:
        raise ValueError(
            f"unseen_after is {unseen_after}, but no month of release is known of {len(undated)} generators "
            f"({', '.join(undated[:5])}); name them in unseen, or give their months"
        )
    return (*unseen, *sorted((related | later) - set(unseen)))


def trained_relatives(tested: pd.DataFrame, own: pd.DataFrame) -> list[str]:
    """A sentence for every unseen architecture of whose family another one trains: it is less new than it looks.

    `tested` has the rows that a study is tested on, of its own manifest or of another; `own` is its own manifest.
    """
    told = []
    trained = own[own["split"].isin(TRAINED_SPLITS) & (own["family"] != "")]
    unseen = tested.loc[tested["split"] == "unseen", ["architecture", "family"]].drop_duplicates()
    for name, family in unseen.sort_values("architecture").itertuples(index=False, name=None):
        if relatives := sorted(set(trained.loc[trained["family"] == family, "architecture"]) - {name}):
            told.append(
                f"Unseen {name} has relatives that train: {', '.join(relatives)} (family {family}); "
                f"unseen_families: [{family}] holds out all of them."
            )
    return told


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
    main = take_in_proportion(main, n_main, split_seed=split_seed)
    others = take_in_proportion(others, n_others, split_seed=split_seed)
    return pd.concat([main.assign(is_main=1), others.assign(is_main=0)]).sort_index()


def three_way_task(
    manifest: pd.DataFrame,
    *,
    train_on: str = "complete",  # complete, or base+complete
) -> dict[str, pd.DataFrame]:  # train and valid, with the column label: position in CLASSES
    """The task of a three-way baseline: a backbone that learns all natures at once.

    The reference's baselines learn from the complete part, while its three-block model has learned from
    the base part as well; both are offered. What selects and calibrates is the same for all.
    """
    parts = {"complete": ["complete_train"], "base+complete": ["base_train", "complete_train"]}
    splits = parts[require_name(train_on, TRAINED_ON, what="train_on")]
    labels = manifest["nature"].map({nature: index for index, nature in enumerate(CLASSES)})
    rows = {"train": manifest["split"].isin(splits), "valid": manifest["split"] == "complete_select"}
    return {part: manifest[chosen].assign(label=labels[chosen].astype(int)) for part, chosen in rows.items()}


def take_in_proportion(rows: pd.DataFrame, count: int, *, split_seed: int) -> pd.DataFrame:
    """`count` rows, shared among architectures by size (largest remainders), lowest hashes first."""
    sizes = rows["architecture"].value_counts().sort_index()
    shares = sizes / sizes.sum() * count
    quota = np.floor(shares).astype(int)
    remainders = (shares - quota).sort_values(ascending=False, kind="stable")
    quota[remainders.index[: count - quota.sum()]] += 1
    hashes = unit_hash(rows["path"], split_seed=split_seed, purpose="subset")
    order = rows.assign(_hash=hashes).sort_values("_hash")
    rank = order.groupby("architecture").cumcount()
    return order[rank < order["architecture"].map(quota)].drop(columns="_hash").sort_index()


def _validation_groups(group: np.ndarray, nature: pd.Series, hashes: np.ndarray) -> np.ndarray:
    """Groups that validate the complete model: from every class 20% of the smallest class.

    Groups enter in the order of their hashes while any of their classes is below the quota, so
    that single images meet it exactly and larger groups exceed it by less than one group.
    All three arguments have one entry an image [N].
    """
    if len(group) == 0:
        return group
    quota = round(VALID_SHARE * nature.value_counts().min())
    numbers, first, group = np.unique(group, return_index=True, return_inverse=True)
    kind, natures = pd.factorize(nature)
    counts = np.zeros((len(numbers), len(natures)), dtype=np.int64)
    np.add.at(counts, (group, kind), 1)
    taken, chosen = np.zeros(len(natures), dtype=np.int64), []
    for number in np.argsort(hashes[first]):
        if (taken >= quota).all():
            break
        if counts[number][taken < quota].any():
            chosen.append(number)
            taken += counts[number]
    return numbers[chosen]
