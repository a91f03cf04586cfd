"""The audit: what a data set gives away before anybody looks for generation traces.

Everything takes the manifest (and features of it) and returns a table; `plots.data` draws them.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from dfxlib.data.declared import contradiction, read_declared
from dfxlib.data.decode import image_files
from dfxlib.data.duplicates import copy_sets
from dfxlib.data.splits import unit_hash
from dfxlib.measure import stats
from dfxlib.measure.baselines import fit_baseline
from dfxlib.measure.intervals import interval
from dfxlib.names import FITTED_SPLITS, TRAINED_SPLITS
from dfxlib.system.parallel import map_processes
from dfxlib.system.shown import shown

#: What each shortcut classifier knows, as a sentence names it.
SHORTCUTS = {
    "metadata": "only format, mode, size and JPEG quality",
    "bytes": "only the size of the file",
    "processing": "only the marks of JPEG blocks and resampling",
    "scalars": "only mean colour, sharpness, noise and blockiness",
    "thumbnail": "only 8 x 8 pixels of colour",
    "content": "only whether it shows a face, an object or a scene",
    "all shortcuts": "all of these together",
}


def check_inventory(
    manifest: pd.DataFrame,
    expected: pd.DataFrame,  # images, and any of nature, architecture, source, declared_split
) -> pd.DataFrame:  # the rows of `expected` with the columns expected, found, difference
    """Usable images against the numbers that a data set is said to hold.

    An empty field stands for all values. Names are compared by their letters and digits alone
    (`DALL-E 2` is `dalle2`).
    """
    keys = [name for name in ("nature", "architecture", "source", "declared_split") if name in expected]
    usable = manifest.loc[manifest["problem"] == "", keys]
    # Few rows remain, whatever the number of images.
    counts = usable.groupby(keys).size().reset_index(name="images")
    found = []
    for row in expected[keys].itertuples(index=False):
        named = [counts[key].map(_plain_name) == _plain_name(value) for key, value in zip(keys, row) if value]
        found.append(int(counts["images"][np.logical_and.reduce(named)].sum() if named else len(usable)))
    table = expected.rename(columns={"images": "expected"})[[*keys, "expected"]]
    return table.assign(found=found, difference=np.array(found, dtype=int) - table["expected"].to_numpy())


def describe_files(manifest: pd.DataFrame) -> pd.DataFrame:  # one row a nature and split
    """Format, mode, size, JPEG quality and bytes: commonest values with their shares, and medians."""
    usable = manifest[manifest["problem"] == ""]
    size = usable["width"].astype(str) + " x " + usable["height"].astype(str)
    usable = usable.assign(size=size, bits=8 * usable["bytes"] / (usable["width"] * usable["height"]))
    return usable.groupby(["nature", "split"], as_index=False).agg(
        images=("path", "size"),
        format=("format", _commonest),
        mode=("mode", _commonest),
        size=("size", _commonest),
        sizes=("size", "nunique"),
        jpeg_quality=("jpeg_quality", "median"),
        subsampling=("jpeg_subsampling", _commonest),
        median_bytes=("bytes", "median"),
        bits_per_pixel=("bits", "median"),
    )


def declarations(
    manifest: pd.DataFrame, data_root: Path, *, workers: int | None = None
) -> pd.DataFrame:  # columns path, nature, architecture, declares, contradiction
    """What files declare about themselves (`data.declared`), and which of it contradicts their label.

    One row a usable image that declares anything; contradictions first.
    """
    usable = manifest[manifest["problem"] == ""]
    said = list(map_processes(read_declared, image_files(usable, data_root), workers=workers, label="declarations"))
    table = usable[["path", "nature", "architecture"]].assign(declares=said)
    table = table[table["declares"] != ""]
    against = [contradiction(nature, text) for nature, text in zip(table["nature"], table["declares"])]
    table = table.assign(contradiction=np.array(against, dtype=object))
    return table.sort_values("contradiction", key=lambda facts: facts == "", kind="stable", ignore_index=True)


def declared_finding(declared: pd.DataFrame, *, images: int) -> str:  # of `declarations`; usable images
    """How many files declare anything, and the first that contradicts its label, as a sentence."""
    against = declared[declared["contradiction"] != ""]
    told = f"{len(declared)} of {images} images declare something of themselves; {len(against)} contradict their label"
    if against.empty:
        return f"{told}."
    first = against.iloc[0]
    return f"{told}, first {shown(first['path'])}, labelled {first['nature']}: {first['contradiction']}."


def equal_pictures(manifest: pd.DataFrame) -> pd.DataFrame:  # columns as in _clusters
    """Images whose decoded pixels are equal, whatever their files look like."""
    decoded = manifest[manifest["pixel_sha256"] != ""]  # with a problem or not: two natures are one
    repeated = decoded[decoded.duplicated("pixel_sha256", keep=False)]
    return _clusters(repeated, pd.factorize(repeated["pixel_sha256"])[0])


def near_duplicates(
    manifest: pd.DataFrame,
    thumbnails: np.ndarray,  # [N, THUMBNAIL, THUMBNAIL] uint8, row i of the manifest
) -> pd.DataFrame:  # columns as in _clusters
    """Sets of near copies (see `data.duplicates`) whose pixels are not all equal.

    They share a group, unless near_duplicates was false when the manifest was built.
    """
    known = manifest.assign(cluster=copy_sets(thumbnails))
    known = known[known["cluster"] >= 0]
    several = known.groupby("cluster")["pixel_sha256"].transform("nunique") > 1
    return _clusters(known[several], known["cluster"][several].to_numpy())


def count_clusters(clusters: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """One row a kind of duplicates: sets, images, and sets that span what must be apart."""
    rows = []
    for kind, table in clusters.items():
        sets = table.assign(part=_part(table["split"])).groupby("cluster")
        spread = (sets[["architecture", "nature", "part"]].nunique() > 1).sum()  # sets that span several
        spans = dict(zip(("across_architectures", "across_natures", "trained_and_tested"), spread))
        rows.append({"kind": kind, "sets": len(sets), "images": len(table)} | spans)
    return pd.DataFrame(rows)


def sample_images(
    manifest: pd.DataFrame,
    *,
    per_architecture: int,
    least: int,  # pixels a side
) -> pd.DataFrame:  # rows of the manifest
    """A fixed sample of each architecture's images that take part in the study, lowest hashes first."""
    usable = manifest[(manifest["split"] != "excluded") & (manifest[["width", "height"]].min(axis=1) >= least)]
    hashes = unit_hash(usable["path"], split_seed=0, purpose="audit")
    rank = usable.assign(_hash=hashes).groupby(["nature", "architecture"])["_hash"].rank(method="first")
    return usable[rank <= per_architecture]


def real_or_fake(
    features: pd.DataFrame,  # [N, k]
    rows: pd.DataFrame,  # [N] manifest rows
    *,
    resamples: int = 2000,
) -> tuple[float, float, float]:  # balanced accuracy with its interval
    """A shortcut classifier of its own for real against fake: fitted on FITTED_SPLITS, read on test."""
    side = np.where(rows["nature"] == "real", "real", "fake")
    trained, tested = rows["split"].isin(FITTED_SPLITS).to_numpy(), (rows["split"] == "test").to_numpy()
    groups = rows["group"].to_numpy()
    said = fit_baseline(features[trained], side[trained], groups=groups[trained]).predict(features[tested])
    is_fake, says_fake = side[tested] == "fake", said == "fake"
    draws = stats.resample_clusters(groups[tested], resamples=resamples)
    sides = [(says_fake, is_fake), (~says_fake, ~is_fake)]
    both = np.stack([stats.rate(hit, among, draws) for hit, among in sides])
    return interval(both, clusters=stats.clusters_of([is_fake, ~is_fake], draws))


def shortcut_table(
    features: dict[str, pd.DataFrame],  # by method; the index names rows of the manifest
    manifest: pd.DataFrame,
    *,
    resamples: int = 2000,
) -> pd.DataFrame:  # columns method, value, low, high, sentence
    """Balanced accuracy of real against fake for every shortcut, and the sentence that it justifies."""
    rows = []
    for method, table in features.items():
        value, low, high = real_or_fake(table, manifest.loc[table.index], resamples=resamples)
        effect = "separates real from fake" if low > 0.5 else "is not shown to tell real from fake"
        sentence = f"Knowing {SHORTCUTS[method]} {effect}: balanced accuracy {value:.1%} ({low:.1%} to {high:.1%})."
        rows.append({"method": method, "value": value, "low": low, "high": high, "sentence": sentence})
    return pd.DataFrame(rows)


def _clusters(rows: pd.DataFrame, cluster: np.ndarray) -> pd.DataFrame:
    """Rows with their cluster, numbered from the worst: trained and tested on, several natures, many images."""
    columns = ["nature", "architecture", "split", "group", "path", "container", "row"]
    table = rows[columns].assign(cluster=cluster, part=_part(rows["split"])).sort_values(["cluster", "path"])
    sets = table.groupby("cluster")
    worst = (sets[["part", "nature"]].nunique() > 1).assign(images=sets.size(), path=sets["path"].first())
    worst = worst.sort_values(["part", "nature", "images", "path"], ascending=[False, False, False, True])
    table["cluster"] = table["cluster"].map({old: new for new, old in enumerate(worst.index)})
    return table.sort_values(["cluster", "path"], ignore_index=True)[["cluster", *columns]]


def _part(split: pd.Series) -> pd.Series:
    parts = dict.fromkeys(TRAINED_SPLITS, "trained") | {"test": "tested", "unseen": "tested"}
    return split.map(parts)  # excluded: neither, and not counted


def _commonest(values: pd.Series) -> str:
    counts = values.value_counts()
    return f"{counts.index[0]} ({counts.iloc[0] / len(values):.0%})" if counts.index[0] else ""


def _plain_name(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
