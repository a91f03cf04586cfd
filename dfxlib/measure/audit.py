"""The audit: what a data set gives away before anybody looks for generation traces.

Everything takes the manifest (and features of it) and returns a table; `plots.data` draws them.
"""

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dfxlib.data.splits import unit_hash
from dfxlib.measure import stats
from dfxlib.measure.baselines import fit_baseline
from dfxlib.measure.intervals import interval
from dfxlib.names import TRAINED_SPLITS

#: Bits of the 64 in which the perceptual hashes of two near duplicates may differ.
NEAR = 4

#: What each shortcut classifier knows, as a sentence names it.
SHORTCUTS = {
    "metadata": "format, mode, size and JPEG quality",
    "bytes": "the size of the file",
    "processing": "the marks of JPEG blocks and resampling",
    "scalars": "mean colour, sharpness, noise and blockiness",
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


def equal_pictures(manifest: pd.DataFrame) -> pd.DataFrame:  # columns as in _clusters
    """Images whose decoded pixels are equal, whatever their files look like."""
    decoded = manifest[manifest["pixel_sha256"] != ""]  # with a problem or not: two natures are one
    repeated = decoded[decoded.duplicated("pixel_sha256", keep=False)]
    return _clusters(repeated, pd.factorize(repeated["pixel_sha256"])[0])


def near_duplicates(
    manifest: pd.DataFrame,
    *,
    distance: int = NEAR,  # bits of the perceptual hash
) -> pd.DataFrame:  # columns as in _clusters
    """Clusters of images whose perceptual hashes nearly agree although their groups differ.

    Single linkage: a chain of near duplicates is one cluster. Images of one group (copies,
    pairs, scenes) are known to belong together and make no cluster by themselves. What is found
    is a hint to look at, not a proof: plain pictures share a hash by chance.
    """
    usable = manifest[manifest["problem"] == ""]
    hashes, row_hash = np.unique(parse_hashes(usable["phash"]), return_inverse=True)
    first, second = close_pairs(hashes, distance=distance)
    links = coo_array((np.ones(len(first)), (first, second)), shape=(len(hashes), len(hashes)))
    cluster = connected_components(links, directed=False)[1][row_hash]
    group = pd.factorize(usable["group"])[0]
    groups = pd.DataFrame({"cluster": cluster, "group": group}).drop_duplicates()["cluster"].value_counts()
    several = np.isin(cluster, groups.index[groups > 1])
    return _clusters(usable[several], cluster[several])


def parse_hashes(phashes: pd.Series) -> np.ndarray:  # [N] of 16 hexadecimal digits -> [N] uint64
    """Perceptual hashes of a manifest as numbers of 64 bits."""
    return np.frombuffer(bytes.fromhex("".join(phashes)), dtype=">u8").astype(np.uint64)


def close_pairs(
    hashes: np.ndarray,  # [N] uint64, all different
    *,
    distance: int,  # bits
) -> tuple[np.ndarray, np.ndarray]:  # positions of the first and of the second of each pair
    """All pairs that differ in at most `distance` bits, without comparing all pairs.

    Of distance + 1 bands of bits at least one agrees in such a pair (multi-index hashing, Norouzi
    and others, CVPR 2012), so only neighbours in the order of some band are compared.
    """
    pairs = [np.empty((2, 0), dtype=np.int64)]
    for band in range(distance + 1):
        # every (distance + 1)-th bit: neighbouring bits are neighbouring frequencies and depend on each other
        mask = np.uint64(sum(1 << bit for bit in range(band, 64, distance + 1)))
        key = hashes & mask
        order = np.argsort(key, kind="stable")
        key = key[order]
        live, step = np.arange(len(order)), 0  # places whose next `step` neighbours all agree in the band
        while len(live):
            step += 1
            live = live[live + step < len(order)]
            live = live[key[live] == key[live + step]]
            first, second = order[live], order[live + step]
            near = np.bitwise_count(hashes[first] ^ hashes[second]) <= distance
            pairs.append(np.sort([first[near], second[near]], axis=0))
    first, second = np.unique(np.concatenate(pairs, axis=1), axis=1)
    return first, second


def count_clusters(clusters: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """One row a kind of duplicates: sets, images, and sets that span what must be apart."""
    rows = []
    for kind, table in clusters.items():
        sets = table.assign(part=_part(table["split"])).groupby("cluster")
        spread = (sets[["architecture", "nature", "part"]].nunique() > 1).sum()  # sets that span several
        row = {
            "kind": kind,
            "sets": len(sets),
            "images": len(table),
            "across_architectures": spread["architecture"],
            "across_natures": spread["nature"],
            "trained_and_tested": spread["part"],
        }
        rows.append(row)
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
    """A shortcut classifier of its own for real against fake: fitted on trained splits, read on test."""
    side = np.where(rows["nature"] == "real", "real", "fake")
    trained, tested = rows["split"].isin(TRAINED_SPLITS).to_numpy(), (rows["split"] == "test").to_numpy()
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
        effect = "separates real from fake" if low > 0.5 else "tells real from fake no better than chance"
        found = f"balanced accuracy {value:.1%} ({low:.1%} to {high:.1%})"
        sentence = f"Knowing only {SHORTCUTS[method]} {effect}: {found}."
        rows.append({"method": method, "value": value, "low": low, "high": high, "sentence": sentence})
    return pd.DataFrame(rows)


def _clusters(rows: pd.DataFrame, cluster: np.ndarray) -> pd.DataFrame:
    """Rows with their cluster, numbered from the worst: trained and tested on, several natures, many images.

    `distance` counts the bits in which a hash differs from that of the cluster's first image.
    """
    columns = ["nature", "architecture", "split", "group", "path", "container", "row", "phash"]
    table = rows[columns].assign(cluster=cluster, part=_part(rows["split"])).sort_values(["cluster", "path"])
    sets = table.groupby("cluster")
    worst = (sets[["part", "nature"]].nunique() > 1).assign(images=sets.size(), path=sets["path"].first())
    worst = worst.sort_values(["part", "nature", "images", "path"], ascending=[False, False, False, True])
    table["cluster"] = table["cluster"].map({old: new for new, old in enumerate(worst.index)})
    table = table.sort_values(["cluster", "path"], ignore_index=True)
    first = table.groupby("cluster")["phash"].transform("first")
    table["distance"] = np.bitwise_count(parse_hashes(table["phash"]) ^ parse_hashes(first))
    return table[["cluster", "distance", *columns[:-1]]]


def _part(split: pd.Series) -> pd.Series:
    parts = dict.fromkeys(TRAINED_SPLITS, "trained") | {"test": "tested", "unseen": "tested"}
    return split.map(parts)  # excluded: neither, and not counted


def _commonest(values: pd.Series) -> str:
    counts = values.value_counts()
    return f"{counts.index[0]} ({counts.iloc[0] / len(values):.0%})" if counts.index[0] else ""


def _plain_name(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
