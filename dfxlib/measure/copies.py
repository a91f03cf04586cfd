"""Copies of pictures: which images of another data set training has seen, and how large groups of copies are."""

from pathlib import Path

import numpy as np
import pandas as pd

from dfxlib.data.decode import PIXEL_LIMIT
from dfxlib.data.duplicates import copy_sets, stack_thumbnails
from dfxlib.data.sidecar import read_facts
from dfxlib.names import TRAINED_SPLITS
from dfxlib.system.shown import shown

#: Share of a nature's images above which one group is told.
LARGE = 0.05


def read_thumbnails(
    manifest: pd.DataFrame,
    root: Path,
    *,
    pixel_limit: int = PIXEL_LIMIT,  # of the manifest
    workers: int | None = None,
    sidecar: Path | None = None,
) -> np.ndarray:  # [N, THUMBNAIL, THUMBNAIL] uint8, row i of the manifest; black where nothing could be read
    """The small grey pictures of a manifest's files, which a sidecar of their build holds already.

    Raises ValueError where a usable file is missing or is no longer the manifest's.
    """
    facts = read_facts(manifest, root, pixel_limit=pixel_limit, workers=workers, sidecar=sidecar)
    usable = (manifest["problem"] == "").to_numpy()
    other = manifest["path"][usable & (facts["sha256"].to_numpy() != manifest["sha256"].to_numpy())]
    if len(other):
        raise ValueError(
            f"{len(other)} files under {root} are missing or changed since the manifest was made, "
            f"first {shown(other.iloc[0])}; prepare the data set again"
        )
    return stack_thumbnails(facts["thumbnail"])


def load_thumbnails(path: Path) -> np.ndarray:  # [N, THUMBNAIL, THUMBNAIL] uint8, row i of the manifest
    """The file that notebook 00 writes beside a manifest. Raises FileNotFoundError where an older one wrote none."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; run 00_prepare_dataset again, which writes it beside the manifest")
    return np.load(path)


def seen_in_training(
    manifest: pd.DataFrame,
    own: pd.DataFrame,
    *,
    thumbnails: np.ndarray,  # [N, THUMBNAIL, THUMBNAIL] uint8, row i of `manifest`
    own_thumbnails: np.ndarray,  # [M, THUMBNAIL, THUMBNAIL] uint8, row i of `own`
) -> pd.Series:  # [N]: "equal pixels", "near copy" or ""
    """Which rows of another manifest show a picture that a training part of a study (manifest `own`) holds.

    A chain of near copies counts, as it does where a manifest is grouped.
    """
    trained = own["split"].isin(TRAINED_SPLITS).to_numpy()
    equal = manifest["pixel_sha256"].isin(set(own["pixel_sha256"][trained]))
    sets = copy_sets(np.concatenate([thumbnails, own_thumbnails[trained]]))
    here, there = np.split(sets, [len(manifest)])
    near = (here >= 0) & np.isin(here, there)
    return pd.Series(np.select([equal, near], ["equal pixels", "near copy"], ""), index=manifest.index)


def largest_groups(manifest: pd.DataFrame, *, count: int = 10) -> pd.DataFrame:
    """Groups of several images, the largest first; columns group, images, nature, share, first (two paths).

    `share` is the largest part of a nature's images that the group holds, `nature` that nature.
    """
    usable = manifest[manifest["problem"] == ""]
    several = usable[usable["group"].duplicated(keep=False)]
    held = several.groupby(["group", "nature"]).size().rename("own").reset_index()
    held["share"] = held["own"] / held["nature"].map(usable["nature"].value_counts()).astype(float)
    held["images"] = held.groupby("group")["own"].transform("sum")
    order = held.sort_values(["images", "share", "group", "nature"], ascending=[False, False, True, True])
    table = order.drop_duplicates("group").head(count).reset_index(drop=True)
    paths = several[several["group"].isin(table["group"])].groupby("group")["path"]
    table["first"] = table["group"].map(paths.agg(lambda group: " | ".join(group[:2])))
    return table[["group", "images", "nature", "share", "first"]]


def large_groups(manifest: pd.DataFrame) -> list[str]:
    """A sentence for every group that holds over LARGE of a nature: all of it lies in one split."""
    table = largest_groups(manifest, count=len(manifest))
    return [
        f"One group holds {row.share:.1%} of {row.nature}, all of it in one split ({row.images} images, first "
        f"{shown(row.first)}). Copies, a scene or a person belong together; else correct group_pattern, or set "
        "near_duplicates to false."
        for row in table[table["share"] > LARGE].itertuples()
    ]
