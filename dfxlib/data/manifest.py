"""The manifest: one row an image, its label, its group, its split and what its file is like."""

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from dfxlib.data.decode import PIXEL_LIMIT, file_sha256, image_files
from dfxlib.data.duplicates import copy_sets, join_sets, stack_thumbnails
from dfxlib.data.layouts import list_images
from dfxlib.data.sidecar import read_facts
from dfxlib.data.splits import assign_splits, held_out, require_declared
from dfxlib.names import CLASSES
from dfxlib.system.files import checksum_path, require_format, require_place, vouched_sha256, write_vouched
from dfxlib.system.parallel import map_processes
from dfxlib.system.shown import shown

#: Format of a manifest: its columns and what they mean. It is a comment in the file of the checksum, since the hash of
#: the manifest itself names the data in every result.
FORMAT = 1

_NOTE = "manifest format "

#: Columns of a manifest file, in order.
COLUMNS = (
    ["path", "nature", "architecture", "source", "group", "split", "declared_split", "content"]
    + ["sha256", "pixel_sha256", "phash", "format", "mode", "width", "height"]
    + ["jpeg_quality", "jpeg_subsampling", "bytes", "container", "row", "problem", "conversion"]
)

#: Columns that follow where the data set knows them of any image: in other files they do not stand.
PUBLIC_COLUMNS = ["family", "released"]

_NUMBERS = {"width": pa.int64(), "height": pa.int64(), "bytes": pa.int64(), "jpeg_quality": pa.float64()}


def build_manifest(
    root: Path,
    *,
    layout: str = "folders",
    columns: dict[str, str] | None = None,  # of a table: manifest column -> the table's header
    group_pattern: str = "",  # regular expression; images with the same match share a group
    near_duplicates: bool = True,  # near copies share a group
    split_seed: int = 0,
    unseen: tuple[str, ...] = (),  # architectures kept out of all training
    unseen_families: tuple[str, ...] = (),  # and whole families
    unseen_after: str = "",  # and generators of later months
    use_declared: bool = False,  # splits follow what the data set declares
    pixel_limit: int = PIXEL_LIMIT,  # pixels; a larger picture is a problem
    required: tuple[str, ...] = CLASSES,  # natures without which there is nothing to train
    workers: int | None = None,
    sidecar: Path | None = None,  # folder of what earlier builds read; None: read every file
) -> pd.DataFrame:
    """Read every image under `root` once and split the result; columns COLUMNS and PUBLIC_COLUMNS.

    Damaged files are rows with a problem. Files that a sidecar knows unchanged are not read
    again. Raises ValueError when the root, the layout or the names are wrong, when a required
    nature has no usable image, or when the sidecar would lie under the root.
    """
    root = Path(root)
    if sidecar is not None:
        require_place(sidecar, what=f"cache_root {sidecar}", apart=[root])
    rows = _escape_names(list_images(root, layout=layout, columns=columns))
    # Before hours of decoding, as what follows.
    unseen = held_out(rows, unseen=tuple(unseen), unseen_families=unseen_families, unseen_after=unseen_after)
    if use_declared:
        require_declared(rows)
    names = name_groups(rows, group_pattern=group_pattern)
    _require_natures(rows, required, root)
    _require_trained(rows[~rows["architecture"].isin(unseen)], required)
    facts = read_facts(rows, root, pixel_limit=pixel_limit, workers=workers, sidecar=sidecar)
    manifest = pd.concat([rows.drop(columns="problem"), facts], axis=1)
    manifest["problem"] = rows["problem"].where(rows["problem"] != "", facts["problem"])
    manifest.loc[contradicted(manifest), "problem"] = "its pixels stand under another nature as well"
    _require_natures(manifest, required, root)
    near = copy_sets(stack_thumbnails(manifest["thumbnail"])) if near_duplicates else np.full(len(manifest), -1)
    manifest["near"] = np.where(near >= 0, near.astype(str), "")
    manifest["group"] = merge_groups(names, manifest)
    manifest["split"] = assign_splits(manifest, split_seed=split_seed, unseen=unseen, use_declared=use_declared)
    _require_trained(manifest[~manifest["split"].isin(["unseen", "excluded"])], required)
    return manifest[[*COLUMNS, *PUBLIC_COLUMNS]]


def name_groups(rows: pd.DataFrame, *, group_pattern: str = "") -> pd.Series:
    """Name of each row's group: what `group_pattern` matches in the path, or the path itself."""
    names = rows["path"]
    if not group_pattern:
        return names
    try:
        matches = names.map(re.compile(group_pattern).search)
    except re.error as error:
        raise ValueError(f"group_pattern {group_pattern!r} is no regular expression: {error}") from error
    # An empty match (of `x*`, say) would put all images into one group, and so into one split.
    matched = matches.map(lambda match: match is not None and match.group(0) != "").astype(bool)
    unmatched = names[~matched & (rows["problem"] == "")]
    if len(unmatched):
        raise ValueError(
            f"group_pattern {group_pattern!r} does not match {len(unmatched)} paths, "
            f"first {shown(unmatched.iloc[0])}; correct it, or leave it empty"
        )
    return names.mask(matched, matches[matched].map(lambda match: match.group(0)))


def merge_groups(names: pd.Series, manifest: pd.DataFrame) -> pd.Series:
    """`names` with groups merged (the smallest name stays) that share pixels, a pair or a set of near copies.

    A duplicate then never stands in two splits, nor does a fake part from the picture that it
    was made from. Damaged files have no pixels and link to nobody.
    """
    # A graph: its nodes are the names in order, then every picture, pair and set; a row links its name to its own.
    by_name, ordered = pd.factorize(names, sort=True)
    pairs, nodes = [], len(ordered)
    for link in (manifest["pixel_sha256"], manifest["pair"], manifest["near"]):
        linked = (link != "").to_numpy()
        codes, found = pd.factorize(link[linked])
        pairs.append(np.stack([by_name[linked], nodes + codes]))
        nodes += len(found)
    component = join_sets(np.arange(nodes), np.concatenate(pairs, axis=1))  # [nodes]
    smallest = pd.Series(by_name).groupby(component[by_name]).transform("min")
    return pd.Series(ordered[smallest], index=names.index)


def contradicted(manifest: pd.DataFrame) -> pd.Series:  # bool
    """Rows whose pixels have two natures: nobody can learn from both labels, and one is wrong.

    An unknown generator's picture may stand under a known one; it contradicts `real` only.
    """
    found = manifest[(manifest["problem"] == "") & (manifest["pixel_sha256"] != "")]
    nature, pixels = found["nature"], found["pixel_sha256"]
    natures = nature.where(nature != "fake_unknown").groupby(pixels).transform("nunique")
    is_unknown = (nature == "fake_unknown").groupby(pixels).transform("any")
    is_real = (nature == "real").groupby(pixels).transform("any")
    return ((natures > 1) | (is_unknown & is_real)).reindex(manifest.index, fill_value=False)


def merged_groups(manifest: pd.DataFrame) -> pd.DataFrame:  # columns group, images, paths
    """Sets of files with equal pixels; each was merged into one group."""
    usable = manifest[manifest["pixel_sha256"] != ""]
    sizes = usable.groupby("pixel_sha256")["path"].transform("size")
    clusters = usable[sizes > 1].groupby("pixel_sha256")
    return clusters.agg(group=("group", "first"), images=("path", "size"), paths=("path", " | ".join))


def disputed_groups(manifest: pd.DataFrame) -> pd.DataFrame:  # columns group, declared, images, paths
    """Groups whose images the data set declares as different splits, such as a test image among training."""
    said = manifest[(manifest["problem"] == "") & (manifest["declared_split"] != "")]
    pairs = said[["group", "declared_split"]].drop_duplicates()
    disputed = pairs["group"][pairs["group"].duplicated()]
    groups = said[said["group"].isin(disputed)].groupby("group")
    declared = groups["declared_split"].agg(lambda names: " | ".join(sorted(set(names)))).rename("declared")
    return pd.concat([declared, groups["path"].agg(images="size", paths=" | ".join)], axis=1).reset_index()


def problem_kinds(manifest: pd.DataFrame, *, examples: int = 3) -> pd.DataFrame:  # columns kind, images, first
    """Problems by kind, the most frequent first, with the first paths of each."""
    damaged = manifest[manifest["problem"] != ""]
    kinds = damaged.assign(kind=damaged["problem"].str.split(": ").str[0]).groupby("kind")["path"]
    table = kinds.agg(images="size", first=lambda paths: " | ".join(paths[:examples])).reset_index()
    return table.sort_values(["images", "kind"], ascending=[False, True], ignore_index=True)


def require_no_problem(manifest: pd.DataFrame) -> None:
    """Raise ValueError, naming kinds and first files, where any row has a problem."""
    kinds = problem_kinds(manifest, examples=1)
    if len(kinds):
        named = "; ".join(f"{row.images} x {row.kind} ({shown(row.first)})" for row in kinds.itertuples())
        raise ValueError(f"{kinds['images'].sum()} files have a problem: {named}; mend or drop them, or be less strict")


def verify_manifest(
    manifest: pd.DataFrame,
    root: Path,
    *,
    layout: str = "folders",
    columns: dict[str, str] | None = None,
    workers: int | None = None,
) -> pd.DataFrame:  # columns path, finding; sorted by path, empty where all is as it was
    """Compare the files under `root` with a manifest, by checksum: missing, changed or new."""
    listed = _escape_names(list_images(Path(root), layout=layout, columns=columns))
    digests = map_processes(file_sha256, image_files(manifest, root), workers=workers, label="verifying")
    found = pd.Series(list(digests), index=manifest.index, dtype=object)
    gone = found.isna() & (manifest["sha256"] != "")
    changed = found.notna() & (found != manifest["sha256"])
    findings = pd.Series(np.select([gone, changed], ["missing", "changed"], ""), index=manifest["path"])
    new = pd.Series("new", index=pd.Index(sorted(set(listed["path"]) - set(manifest["path"])), dtype=object))
    table = pd.concat([findings[findings != ""], new]).rename_axis("path").rename("finding").reset_index()
    return table.sort_values("path", ignore_index=True)


def write_manifest(manifest: pd.DataFrame, path: Path) -> str:  # sha256
    """Write the CSV and, beside it, the checksum that results repeat.

    Columns of PUBLIC_COLUMNS that are empty throughout stay out: what a data set does not know changes no hash.
    """
    known = [name for name in PUBLIC_COLUMNS if name in manifest and (manifest[name] != "").any()]
    manifest = manifest.drop(columns=[*(set(PUBLIC_COLUMNS) & set(manifest) - set(known))])
    return write_vouched(
        path, lambda partial: manifest.to_csv(partial, index=False, lineterminator="\n"), note=f"{_NOTE}{FORMAT}"
    )


def read_manifest(path: Path) -> tuple[pd.DataFrame, str]:  # manifest, sha256
    """Read a manifest and its hash; refuses a missing file, one that was edited by hand, and one of another format."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"manifest {path} is missing; run 00_prepare_dataset first")
    digest, stated = vouched_sha256(path), checksum_path(path)
    if not stated.is_file():
        raise FileNotFoundError(f"manifest {path} stands without {stated.name}; copy that too, or prepare it again")
    if not digest:
        raise ValueError(f"manifest {path} does not match {stated.name}: it was edited; prepare it again")
    numbers = re.findall(rf"^# {_NOTE}(\d+)$", stated.read_text(), re.M)
    require_format(int(numbers[0]) if numbers else 0, FORMAT, what=f"manifest {path}", anew="prepare it again")
    header = _require_header(path)
    # pyarrow takes half the memory that pandas takes for the same table.
    kinds = {name: _NUMBERS.get(name, pa.string()) for name in header}
    texts = pyarrow.csv.ConvertOptions(column_types=kinds, null_values=[""], strings_can_be_null=False)
    lines = pyarrow.csv.ParseOptions(newlines_in_values=True)
    manifest = pyarrow.csv.read_csv(path, parse_options=lines, convert_options=texts).to_pandas()
    return manifest.assign(**{name: "" for name in PUBLIC_COLUMNS if name not in header}), digest


def _require_header(path: Path) -> list[str]:
    with open(path, encoding="utf-8", newline="") as file:
        found = next(csv.reader(file), [])
    if found == [*COLUMNS, *(name for name in PUBLIC_COLUMNS if name in found)]:
        return found
    differs = []
    if missing := [name for name in COLUMNS if name not in found]:
        differs.append(f"lacks the columns {', '.join(missing)}")
    if unknown := [name for name in found if name not in [*COLUMNS, *PUBLIC_COLUMNS]]:
        differs.append(f"has the unknown columns {', '.join(unknown)}")
    told = " and ".join(differs) or "has its columns in another order"
    raise ValueError(
        f"manifest {path} is of another format: it {told}; prepare it again, or use the dfxlib that wrote it"
    )


def count_images(manifest: pd.DataFrame) -> pd.DataFrame:  # nature, architecture x split
    """Number of images by architecture and split."""
    table = manifest.groupby(["nature", "architecture", "split"]).size().unstack(fill_value=0)
    return table.assign(all=table.sum(axis=1))


def _escape_names(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with names that a CSV file can carry: a carriage return in a name is a problem."""
    path, bad = rows["path"].str.replace("\r", "\\r", regex=False), rows["path"].str.contains("\r", regex=False)
    return rows.assign(path=path, problem=rows["problem"].mask(bad, "carriage return in the name"))


def _require_trained(rows: pd.DataFrame, required: tuple[str, ...]) -> None:
    """Raise ValueError where the rows that are left for training lack a nature."""
    trained = set(rows.loc[rows["problem"] == "", "nature"])
    if missing := [nature for nature in required if nature not in trained]:
        raise ValueError(f"no image of {' and '.join(missing)} is left to train on; hold out fewer architectures")


def _require_natures(rows: pd.DataFrame, required: tuple[str, ...], root: Path) -> None:
    usable = set(rows.loc[rows["problem"] == "", "nature"])
    if absent := ", ".join(nature for nature in required if nature not in usable):
        needed = f"the three-way task needs {', '.join(CLASSES)}"
        raise ValueError(f"data root {root} holds no usable image of {absent}; {needed}")
