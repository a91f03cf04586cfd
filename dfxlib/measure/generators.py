"""Scores by architecture: what each generator and each real source gives, and their averages."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from dfxlib.measure import stats
from dfxlib.measure.intervals import area_interval, interval
from dfxlib.measure.scores import SHORT, named, said_natures, says_fake, summarise
from dfxlib.names import CLASSES, NATURES, TRAINED_SPLITS

#: Metrics of fakes ranked against real images; those of real sources are recalls alone.
RANKED = ("auc", "ap", *(f"recall_fa{percent}" for percent in stats.FALSE_ALARMS))

#: What tells one generator, or one source of real images, from another.
GENERATOR = ["nature", "architecture"]


class Architecture(NamedTuple):
    """One generator or real source, measured on every resample."""

    nature: str
    name: str
    split: str
    here: np.ndarray  # [N] bool: its images
    values: dict[str, np.ndarray]  # metric -> [R + 1]


def by_architecture(scores: pd.DataFrame, calibration: dict, *, resamples: int = 2000) -> pd.DataFrame:
    """One row an architecture: what share is recognised, and how its fakes rank against the reals.

    `recall` is the three-way one, `binary_recall` counts any fake verdict for a fake; `auc`, `ap`
    and `recall_faX` as in `stats.ranking`, beside the prevalence that `ap` depends on. The real
    test images are shared: the same resamples of them stand against every generator, seen or
    not. `undefined` says what the data cannot define, and why.
    """
    draws = stats.resample_clusters(scores["group"].to_numpy(), resamples=resamples)
    said, reals = said_natures(scores), shared_reals(scores)
    (real_clusters,) = stats.clusters_of([reals], draws)
    table = []
    for nature, name, split, here, values in _measured(scores, calibration, draws):
        (clusters,) = stats.clusters_of([here], draws)
        row = {"nature": nature, "architecture": name, "split": split, "images": int(here.sum()), "clusters": clusters}
        for metric, drawn in values.items():
            row |= named(metric, _interval(metric, drawn, clusters, real_clusters))
        if nature != "real":
            row["prevalence"] = here.sum() / (here | reals).sum()
        row |= {f"said_{short}": float((said[here] == n).mean()) for n, short in SHORT.items()}
        table.append(row | {"undefined": _why_undefined(nature, real_clusters)})
    return pd.DataFrame(table).sort_values(["nature", "split", "architecture"], ignore_index=True)


def averages(scores: pd.DataFrame, calibration: dict, *, resamples: int = 2000) -> pd.DataFrame:
    """Means over architectures, each counted once: a row a nature, split and metric, with interval.

    So an architecture of few images weighs as much as the others, and widens the interval: `fewest_clusters`
    is the number of clusters of the smallest.

    The nature `generated` stands for all fakes. Its `balanced_accuracy` is the mean of their
    binary recall and of that of the sources of the shared real images, at argmax. Average precision
    has no mean: it depends on the prevalence, which is another one for every architecture.
    """
    draws = stats.resample_clusters(scores["group"].to_numpy(), resamples=resamples)
    found, reals, rows = _measured(scores, calibration, draws), shared_reals(scores), []
    (real_clusters,) = stats.clusters_of([reals], draws)
    sources = [entry for entry in found if (entry.here & reals).any()]
    for nature in (*NATURES, "generated"):
        for split in sorted({entry.split for entry in found}):
            members = [name for name in NATURES if name != "real"] if nature == "generated" else [nature]
            own = [entry for entry in found if entry.split == split and entry.nature in members]
            if not own:
                continue
            clusters = stats.clusters_of([entry.here for entry in own], draws)
            images = int(np.any([entry.here for entry in own], axis=0).sum())
            counts = {"architectures": len(own), "images": images, "fewest_clusters": int(clusters.min())}
            means = {}
            for metric in own[0].values:
                if metric == "ap":
                    continue
                drawn = np.stack([entry.values[metric] for entry in own])
                means[metric] = _interval(metric, drawn, clusters, real_clusters)
            if nature == "generated" and sources:
                sides = [*own, *sources]
                means["balanced_accuracy"] = interval(
                    np.stack([entry.values["binary_recall"] for entry in sides]),
                    clusters=stats.clusters_of([entry.here for entry in sides], draws),
                    weights=np.repeat([0.5 / len(own), 0.5 / len(sources)], [len(own), len(sources)]),
                )
            for metric, values in means.items():
                rows.append({"nature": nature, "split": split, "metric": metric, **named("value", values), **counts})
    return pd.DataFrame(rows)


def seen_against_unseen(means: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Mean three-way recall over architectures by method, nature and split; `means` are those of `averages`."""
    tables = [table.assign(method=name) for name, table in means.items()]
    recall = pd.concat(tables, ignore_index=True).query("metric == 'recall' and nature in @CLASSES")
    return recall.drop(columns="metric").rename(columns=lambda name: name.replace("value", "recall"))


def further_rows(manifest: pd.DataFrame, own: pd.DataFrame, seen: pd.Series) -> pd.DataFrame:
    """Rows of another manifest on which a study's models can be tested, whatever that manifest's splits say.

    Images that training has `seen` (see measure.copies) are left out. Fakes
    of an architecture that was trained on, by nature and name, and all real images become
    `test`, other fakes `unseen`. Raises ValueError where nothing remains.
    """
    rows = manifest[(manifest["problem"] == "") & (seen == "")]
    if rows.empty:
        raise ValueError(f"none of {len(manifest)} images is usable and new to the model; give another manifest_path")
    return by_training(rows.assign(split="test"), own)


def by_training(rows: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """Tested rows, or their scores, with every fake as `unseen` whose generator has no image in training.

    A data set's own splits may test generators that nobody held out by name. `own` is the study's manifest.
    """
    trained = own[own["split"].isin(TRAINED_SPLITS)]
    known = pd.MultiIndex.from_frame(rows[GENERATOR]).isin(pd.MultiIndex.from_frame(trained[GENERATOR]))
    return rows.assign(split=rows["split"].where(known | (rows["nature"] == "real"), "unseen"))


def generator_names(rows: pd.DataFrame) -> pd.Series:  # of manifest rows or of a table, on their index
    """Names of generators: the architecture, and its nature beside it where two share a name; "" of real images."""
    real = rows["nature"] == "real"
    shared = rows["nature"].mask(real).groupby(rows["architecture"]).transform("nunique") > 1
    return rows["architecture"].mask(shared, rows["architecture"] + " (" + rows["nature"] + ")").mask(real, "")


def by_source(scores: pd.DataFrame, sources: pd.Series, calibration: dict, *, resamples: int = 2000) -> pd.DataFrame:
    """`scores.summarise` of every source that brings its own reals and fakes, such as the reference's folder `io_gan`.

    `sources` has the manifest's source of each row of `scores`, in its order.
    """
    found = {}
    for source, part in scores.groupby(sources.to_numpy()):
        natures = set(part["nature"])
        if source and "real" in natures and len(natures) > 1:
            found[source] = summarise(part.reset_index(drop=True), calibration, resamples=resamples)
    if not found:
        return pd.DataFrame(columns=["source", "verdict", "metric", "value", "low", "high"])
    return pd.concat(found, names=["source"]).reset_index(level=0)


def shared_reals(scores: pd.DataFrame) -> np.ndarray:  # [N] bool
    """The real test images, against which every generator stands; all real ones where none is in test."""
    real = (scores["nature"] == "real").to_numpy()
    tested = real & (scores["split"] == "test").to_numpy()
    return tested if tested.any() else real


def _interval(metric: str, values: np.ndarray, clusters: np.ndarray, real_clusters: int) -> tuple[float, float, float]:
    """Of a recall, or of a ranking against the shared reals, which is no surer than the smaller side."""
    if metric in RANKED:
        return area_interval(values, clusters=np.minimum(clusters, real_clusters))
    return interval(values, clusters=clusters)


def _measured(scores: pd.DataFrame, calibration: dict, draws: stats.Resamples) -> list[Architecture]:
    nature, architecture = scores["nature"].to_numpy(), scores["architecture"].to_numpy()
    is_fake = nature != "real"
    right = {
        "recall": said_natures(scores) == nature,
        "binary_recall": says_fake(scores, "argmax", calibration) == is_fake,
        "recall_at_threshold": says_fake(scores, "threshold", calibration) == is_fake,
    }
    owners = list(scores[GENERATOR].drop_duplicates().itertuples(index=False, name=None))
    parts = [(nature == own) & (architecture == name) for own, name in owners]  # two natures may share a name
    fakes = [part for part, (own, _) in zip(parts, owners) if own != "real"]
    ranked = iter(stats.ranking(scores["p_fake"].to_numpy(), fakes, shared_reals(scores), draws))
    found = []
    for (own, name), here in zip(owners, parts):
        values = {metric: stats.rate(hit, here, draws) for metric, hit in right.items()}
        if own not in CLASSES:
            values["recall"] = np.full_like(values["recall"], np.nan)
        if own != "real":
            values |= next(ranked)
        found.append(Architecture(own, name, scores["split"].to_numpy()[here][0], here, values))
    return found


def _why_undefined(nature: str, real_clusters: int) -> str:
    if nature == "real":
        return "ranking: needs fakes"
    reasons = [] if nature in CLASSES else ["recall: no class of the three-way task"]
    if real_clusters == 0:
        return "; ".join([*reasons, "ranking: no real images"])
    for percent in stats.FALSE_ALARMS:
        if real_clusters * percent < 100:
            reasons.append(f"recall_fa{percent}: {real_clusters} clusters of real images, needs {100 // percent}")
    return "; ".join(reasons)
