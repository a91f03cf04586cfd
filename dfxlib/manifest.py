"""The manifest: one row an image, its label, its group, its split and what its file is like."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dfxlib.decode import inspect_file
from dfxlib.files import sha256_file, write_atomic, write_text_atomic
from dfxlib.layouts import list_images
from dfxlib.names import CLASSES
from dfxlib.parallel import map_processes
from dfxlib.splits import assign_splits, require_architectures

#: Columns of a manifest file, in order.
COLUMNS = (
    ["path", "nature", "architecture", "source", "group", "split", "declared_split", "content"]
    + ["sha256", "pixel_sha256", "phash", "format", "mode", "width", "height"]
    + ["jpeg_quality", "jpeg_subsampling", "bytes", "container", "row", "problem"]
)

_NUMBERS = {"width": "int64", "height": "int64", "bytes": "int64", "jpeg_quality": "float64"}


def build_manifest(
    root: Path,
    *,
    layout: str = "folders",
    group_pattern: str = "",  # regular expression; images with the same match share a group
    split_seed: int = 0,
    unseen: tuple[str, ...] = (),  # architectures kept out of all training
    workers: int | None = None,
) -> pd.DataFrame:
    """Read every image under `root` once and split the result; columns as in COLUMNS.

    Damaged files are rows with a problem. Raises ValueError when the root, the layout or the
    names are wrong, or when a class of the three-way task has no usable image.
    """
    rows = list_images(Path(root), layout=layout)
    require_architectures(tuple(unseen), rows["architecture"])  # before hours of decoding
    paths = [Path(root) / path for path in rows["path"]]
    facts = pd.DataFrame(map_processes(inspect_file, paths, workers=workers, label="reading images"))
    named_problem = rows["problem"]
    manifest = pd.concat([rows.drop(columns="problem"), facts], axis=1)
    manifest["problem"] = named_problem.where(named_problem != "", facts["problem"])
    _require_classes(manifest, root)
    manifest["group"] = group_images(manifest, group_pattern=group_pattern)
    manifest["split"] = assign_splits(manifest, split_seed=split_seed, unseen=unseen)
    trained = manifest[~manifest["split"].isin(["unseen", "excluded"])]
    for nature in CLASSES:
        if nature not in set(trained["nature"]):
            raise ValueError(f"unseen leaves no image of {nature} to train on; name fewer architectures")
    return manifest[COLUMNS]


def group_images(manifest: pd.DataFrame, *, group_pattern: str = "") -> pd.Series:
    """Group of each row: what `group_pattern` matches in the path, or the path itself.

    Images with equal pixels are merged into one group (the smallest name), whatever the
    pattern says, so that a duplicate never stands in two splits.
    """
    names = manifest["path"]
    if group_pattern:
        try:
            matches = names.map(re.compile(group_pattern).search)
        except re.error as error:
            raise ValueError(f"group_pattern {group_pattern!r} is no regular expression: {error}") from error
        # An empty match (of `x*`, say) would put all images into one group, and so into one split.
        unmatched = names[matches.map(lambda match: match is None or not match.group(0))]
        if len(unmatched):
            raise ValueError(
                f"group_pattern {group_pattern!r} does not match {len(unmatched)} paths, "
                f"first {unmatched.iloc[0]}; correct it, or leave it empty"
            )
        names = matches.map(lambda match: match.group(0))
    # Rows are linked by name and by pixels; damaged files have no pixels and link to nobody.
    pixels = manifest["pixel_sha256"].where(manifest["pixel_sha256"] != "", manifest["path"])
    by_name, by_pixels = pd.factorize(names)[0], pd.factorize(pixels)[0]
    n_names = by_name.max() + 1
    size = n_names + by_pixels.max() + 1
    links = coo_array((np.ones(len(names)), (by_name, n_names + by_pixels)), shape=(size, size))
    component = connected_components(links, directed=False)[1][by_name]
    return names.groupby(component).transform("min")


def merged_groups(manifest: pd.DataFrame) -> pd.DataFrame:  # columns group, images, paths
    """Sets of files with equal pixels; each was merged into one group."""
    usable = manifest[manifest["pixel_sha256"] != ""]
    sizes = usable.groupby("pixel_sha256")["path"].transform("size")
    clusters = usable[sizes > 1].groupby("pixel_sha256")
    return clusters.agg(group=("group", "first"), images=("path", "size"), paths=("path", " | ".join))


def write_manifest(manifest: pd.DataFrame, path: Path) -> str:  # sha256
    """Write the CSV and, beside it, the checksum that results repeat."""
    write_atomic(path, lambda partial: manifest.to_csv(partial, index=False, lineterminator="\n"))
    digest = sha256_file(path)
    write_text_atomic(Path(f"{path}.sha256"), f"{digest}  {path.name}\n")
    return digest


def read_manifest(path: Path) -> tuple[pd.DataFrame, str]:  # manifest, sha256
    """Read a manifest and its hash; refuses a missing file and one that was edited by hand."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"manifest {path} is missing; run 00_prepare_dataset first")
    digest, stated = sha256_file(path), Path(f"{path}.sha256")
    if not stated.is_file() or stated.read_text().split()[:1] != [digest]:
        raise ValueError(f"manifest {path} does not match {stated.name}: it was edited; prepare it again")
    manifest = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    if list(manifest.columns) != COLUMNS:
        missing = sorted(set(COLUMNS) - set(manifest.columns))
        raise ValueError(f"manifest {path} lacks the columns {', '.join(missing)}; prepare it again")
    for column, kind in _NUMBERS.items():
        manifest[column] = pd.to_numeric(manifest[column]).astype(kind)
    return manifest, digest


def count_images(manifest: pd.DataFrame) -> pd.DataFrame:  # nature, architecture x split
    """Number of images by architecture and split."""
    table = manifest.pivot_table(
        index=["nature", "architecture"], columns="split", values="path", aggfunc="size", fill_value=0
    )
    return table.assign(all=table.sum(axis=1))


def _require_classes(manifest: pd.DataFrame, root: Path) -> None:
    usable = manifest[manifest["problem"] == ""]
    absent = [nature for nature in CLASSES if nature not in set(usable["nature"])]
    if absent:
        raise ValueError(
            f"data root {root} holds no usable image of {', '.join(absent)}; "
            f"the three-way task needs {', '.join(CLASSES)}"
        )
