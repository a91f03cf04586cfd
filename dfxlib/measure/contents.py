"""Inside each kind of content: what a method knows beside that portraits are often generated, say.

Where contents are spread unevenly over the natures, content alone tells natures apart, and overall numbers flatter
whatever sees it. Inside one content it tells nothing.
"""

import numpy as np
import pandas as pd

from dfxlib.measure import stats
from dfxlib.measure.compare import require_same_images, sides_of
from dfxlib.measure.intervals import interval
from dfxlib.measure.scores import named
from dfxlib.names import CLASSES

#: The row that means the contents.
MEAN = "mean over contents"


def known_contents(
    images: pd.DataFrame,  # with columns nature and content
) -> list[str]:
    """Contents of which every nature has an image; of others nothing can be said."""
    known = images[(images["content"] != "unknown") & images["nature"].isin(CLASSES)]
    natures = known.groupby("content")["nature"].nunique()
    return sorted(natures.index[natures == len(CLASSES)])


def inside_contents(
    methods: dict[str, list[pd.DataFrame]],  # by name, one test table a seed; the first is compared with the others
    content: pd.Series,  # of every image, by its path
    *,
    resamples: int = 2000,
) -> pd.DataFrame:  # method, content, value, low, high, minus, minus_low, minus_high, images, fewest_clusters
    """Three-way balanced accuracy inside each content and the mean of these, mean over seeds, intervals over images.

    `minus` is what the first method has more, on the images that both scored. Contents without an image of every
    nature are left out; with fewer than two left there is nothing to compare, and the table is empty.
    """
    ours, *_ = methods.values()
    first = ours[0].assign(content=ours[0]["path"].map(content))
    contents = known_contents(first)
    if len(contents) < 2:
        return pd.DataFrame()
    rows = []
    for name, tables in methods.items():
        require_same_images(tables)
        theirs = [_tagged(table, content) for table in tables]
        mine = [_tagged(table[table["path"].isin(set(tables[0]["path"]))], content) for table in ours]
        draws = stats.resample_clusters(theirs[0]["group"].to_numpy(), resamples=resamples)
        found, own = _recalls(theirs, contents, draws), _recalls(mine, contents, draws)
        clusters = stats.clusters_of(_masks(theirs[0], contents), draws)
        for place, label in enumerate([*contents, MEAN]):
            part = slice(None) if label == MEAN else slice(3 * place, 3 * place + 3)
            size = int(theirs[0]["content"].isin(contents if label == MEAN else [label]).sum())
            values = interval(found[part], clusters=clusters[part])
            row = {"method": name, "content": label} | dict(zip(("value", "low", "high"), values))
            if tables is not ours:
                row |= named("minus", _difference(own[part], found[part], clusters[part]))
            rows.append(row | {"images": size, "fewest_clusters": int(clusters[part].min())})
    return pd.DataFrame(rows)


def _tagged(table: pd.DataFrame, content: pd.Series) -> pd.DataFrame:
    return table.assign(content=table["path"].map(content)).sort_values("path", ignore_index=True)


def _masks(table: pd.DataFrame, contents: list[str]) -> list[np.ndarray]:
    """Where the images of each content and nature are, contents first."""
    nature, content = table["nature"].to_numpy(), table["content"].to_numpy()
    return [(content == c) & (nature == n) for c in contents for n in CLASSES]


def _recalls(
    tables: list[pd.DataFrame], contents: list[str], draws: stats.Resamples
) -> np.ndarray:  # [3 contents, R + 1]
    """Recall of each nature inside each content, mean over seeds."""
    of_seeds = []
    for table in tables:
        truth, said = sides_of(table)
        right = said == truth
        of_seeds.append(np.stack([stats.rate(right, mask, draws) for mask in _masks(table, contents)]))
    return np.mean(of_seeds, axis=0)


def _difference(own: np.ndarray, other: np.ndarray, clusters: np.ndarray) -> tuple[float, float, float]:
    weights = np.repeat([1, -1], len(own)) / len(own)
    return interval(np.concatenate([own, other]), clusters=np.tile(clusters, 2), weights=weights)
