"""From logits to scores (one row an image and condition), and from scores to metrics."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dfxlib.measure import stats
from dfxlib.measure.band import UNSURE_ERROR, frozen_band
from dfxlib.measure.intervals import area_interval, interval
from dfxlib.names import CLASSES
from dfxlib.system.files import require_format, write_atomic

SHORT = {"dm_generated": "dm", "gan_generated": "gan", "real": "real"}

LOGITS = [f"logit_{short}" for short in SHORT.values()]

PROBABILITIES = [f"p_{short}" for short in SHORT.values()]

_IDENTITY = ["sha256", "path", "nature", "architecture", "group", "split"]

SCORE_COLUMNS = [*_IDENTITY, "condition", "backbone", "variant", "seed", *LOGITS, *PROBABILITIES, "p_fake"]

#: Format of a score table's file: its columns and what they mean. It stands in the metadata of the Parquet schema.
FORMAT = 1

_FORMAT_KEY = b"dfxlib_scores_format"

#: Verdicts: argmax of the three (the only one beside published numbers), and frozen thresholds on p_fake.
VERDICTS = ("argmax", "threshold", "false_alarm_5")

_FOLDS = 5  # of groups, by which the band's scores are cross-fitted


def class_index(natures: pd.Series) -> np.ndarray:  # [N] int: position in CLASSES
    """Natures as positions in CLASSES; raises ValueError where one is none of them."""
    return natures.map({nature: index for index, nature in enumerate(CLASSES)}).to_numpy(dtype=np.int64)


def score_table(
    rows: pd.DataFrame,  # manifest rows
    logits: np.ndarray,  # [N, 3] in the order of CLASSES
    *,
    temperature: float,
    backbone: str,
    variant: str = "deepfeaturex",
    seed: int = 0,
    condition: str = "raw",
) -> pd.DataFrame:  # columns as in SCORE_COLUMNS
    """One row an image; probabilities are calibrated by `temperature`, logits are not."""
    scores = rows[_IDENTITY].reset_index(drop=True)
    scores = scores.assign(condition=condition, backbone=backbone, variant=variant, seed=seed)
    scores[LOGITS] = np.asarray(logits, dtype=np.float32)
    return with_probabilities(scores, temperature=temperature)[SCORE_COLUMNS]


def with_probabilities(scores: pd.DataFrame, *, temperature: float) -> pd.DataFrame:
    """A table with its calibrated probabilities, from the logits as they are stored: so logits alone need be kept."""
    logits = scores[LOGITS].to_numpy(dtype=np.float64)
    scores = scores.assign(**dict(zip(PROBABILITIES, stats.probabilities(logits, temperature=temperature).T)))
    return scores.assign(p_fake=1 - scores["p_real"])  # as `calibrate` has it, to the last bit


def write_scores(scores: pd.DataFrame, path: Path, **options: Any) -> None:  # of pyarrow.parquet.write_table
    """Write a table of scores as Parquet, with the number of its format."""
    table = pa.Table.from_pandas(scores, preserve_index=False)
    table = table.replace_schema_metadata(table.schema.metadata | {_FORMAT_KEY: str(FORMAT)})
    write_atomic(path, lambda partial: pq.write_table(table, partial, **options))


def read_scores(path: Path) -> pd.DataFrame:
    """Read a table of scores; raises FileNotFoundError, and ValueError for a damaged file or another format."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"scores {path} are missing; run the notebook that writes them first")
    anew = "run the notebook that writes it again"
    try:
        stated = int((pq.read_schema(path).metadata or {}).get(_FORMAT_KEY, 0))
    except ValueError as error:  # pyarrow's are ValueErrors, too
        raise ValueError(f"score table {path} is damaged ({error}); {anew}") from error
    require_format(stated, FORMAT, what=f"score table {path}", anew=anew)
    return pd.read_parquet(path)


def calibrate(logits: np.ndarray, rows: pd.DataFrame) -> dict:
    """Temperature, thresholds and the band of "unsure" from complete_calibrate; frozen from here on.

    `unsure_low` and `unsure_high` bound p_fake so that at most `unsure_error` of the real images
    are called fake and of the fakes real, for images like these and each as `unsure_promise` says:
    on average over calibrations, or with a probability. Raises ValueError where a side is absent.
    """
    is_fake = (rows["nature"] != "real").to_numpy()
    if is_fake.all() or not is_fake.any():
        absent = "real" if is_fake.any() else "generated"
        raise ValueError(f"complete_calibrate holds no {absent} image; add images to the data set")
    temperature = stats.fit_temperature(logits, class_index(rows["nature"]))
    p_fake = _fake_scores(logits, temperature)
    low, high, promise = frozen_band(held_out_fake_scores(logits, rows), is_fake, rows["group"].to_numpy())
    return {
        "temperature": temperature,
        "threshold": stats.best_threshold(p_fake, is_fake),
        "false_alarm_5": stats.false_alarm_threshold(p_fake, is_fake, rate=0.05),
        "unsure_low": max(low, 0.0),  # no probability lies below
        "unsure_high": min(high, float(np.nextafter(1, 2))),  # nor reaches this
        "unsure_error": UNSURE_ERROR,
        "unsure_promise": promise,
    }


def _fake_scores(logits: np.ndarray, temperature: float) -> np.ndarray:  # [N, 3] -> [N]
    return 1 - stats.probabilities(logits, temperature=temperature)[:, CLASSES.index("real")]


def held_out_fake_scores(logits: np.ndarray, rows: pd.DataFrame) -> np.ndarray:  # [N, 3], manifest rows -> [N] p_fake
    """Fake scores of the calibration images, each at the temperature that other groups give (cross-fitting).

    A band must meet images that its temperature has not seen, as it will. Folds are drawn over sorted groups.
    """
    groups, labels = np.unique(rows["group"].to_numpy(), return_inverse=True)[1], class_index(rows["nature"])
    fold = np.random.default_rng(0).permutation(groups.max() + 1)[groups] % _FOLDS
    p_fake = np.empty(len(rows))
    for number in np.unique(fold):
        own = fold == number
        others = own if own.all() else ~own  # a single group promises nothing, whatever its temperature
        p_fake[own] = _fake_scores(logits[own], stats.fit_temperature(logits[others], labels[others]))
    return p_fake


def said_natures(scores: pd.DataFrame) -> np.ndarray:  # [N] str, argmax of the three
    """The three-way verdict of each image: the class with the largest logit."""
    return np.array(CLASSES)[scores[LOGITS].to_numpy().argmax(1)]


def recalls(scores: pd.DataFrame, draws: stats.Resamples) -> np.ndarray:  # [3, R + 1]
    """Three-way recall of each class at argmax, for the data and every resample; balanced accuracy is their mean."""
    said, nature = said_natures(scores), scores["nature"].to_numpy()
    return np.stack([stats.rate(said == n, nature == n, draws) for n in CLASSES])


def says_fake(scores: pd.DataFrame, verdict: str, calibration: dict) -> np.ndarray:  # [N] bool
    """The binary verdict of each image: by argmax, or by p_fake against a threshold of the calibration."""
    if verdict == "argmax":
        return said_natures(scores) != "real"
    return scores["p_fake"].to_numpy() >= calibration[verdict]


def summarise(scores: pd.DataFrame, calibration: dict, *, resamples: int = 2000) -> pd.DataFrame:
    """The main table: every metric with its 95% interval and the number of images and clusters.

    Intervals resample groups. A metric that the data cannot define (a class is absent) is NaN.
    """
    draws = stats.resample_clusters(scores["group"].to_numpy(), resamples=resamples)
    nature = scores["nature"].to_numpy()
    said = said_natures(scores)
    everything, is_fake = np.ones(len(scores), dtype=bool), nature != "real"
    known = np.isin(nature, CLASSES)  # fakes of another or of an unknown kind have a binary verdict only
    three = stats.clusters_of([nature == n for n in CLASSES], draws)
    two = stats.clusters_of([is_fake, ~is_fake], draws)
    intervals = {
        ("three-way", "balanced accuracy"): interval(recalls(scores, draws), clusters=three),
        ("three-way", "macro F1"): area_interval(_macro_f1(said, nature, known, draws), clusters=three.min()),
    }
    for n in CLASSES:
        intervals[("three-way", f"{n} recall")] = stats.rate_interval(said == n, nature == n, draws)
    for verdict in VERDICTS:
        fake = says_fake(scores, verdict, calibration)
        both = np.stack([stats.rate(fake, is_fake, draws), stats.rate(~fake, ~is_fake, draws)])
        intervals[(verdict, "balanced accuracy")] = interval(both, clusters=two)
        intervals[(verdict, "fake recall")] = interval(both[0], clusters=two[0])
        intervals[(verdict, "real recall")] = interval(both[1], clusters=two[1])
    areas = stats.auc(scores["p_fake"].to_numpy(), is_fake, everything, draws)
    intervals[("fake score", "AUC")] = area_interval(areas, clusters=two.min())
    table = pd.DataFrame(intervals, index=["value", "low", "high"]).T
    table.index.names = ["verdict", "metric"]
    return table.reset_index().assign(images=len(scores), clusters=draws.counts.shape[1])


def three_way_rows(summary: pd.DataFrame, *, method: str) -> pd.DataFrame:
    """The one row of a summary by which methods are compared: three-way balanced accuracy."""
    row = summary[(summary["verdict"] == "three-way") & (summary["metric"] == "balanced accuracy")]
    return row.drop(columns=["verdict", "metric"]).assign(method=method)[["method", *summary.columns[2:]]]


def base_scores(task: pd.DataFrame, logits: np.ndarray) -> pd.DataFrame:  # [N, 2] logits
    """Validation scores of one base model: p_main is the probability of its main class."""
    table = task[["sha256", "path", "nature", "architecture", "group", "is_main"]].reset_index(drop=True)
    return table.assign(p_main=stats.probabilities(logits.astype(np.float64), temperature=1.0)[:, 1])


def summarise_base(scores: pd.DataFrame, *, resamples: int = 2000) -> dict:
    """AUC of a base model with its 95% interval, and the images on each side."""
    draws = stats.resample_clusters(scores["group"].to_numpy(), resamples=resamples)
    is_main = scores["is_main"].to_numpy() == 1
    areas = stats.auc(scores["p_main"].to_numpy(), is_main, np.ones(len(scores), dtype=bool), draws)
    sizes = {"main_images": int(is_main.sum()), "other_images": int((~is_main).sum())}
    clusters = stats.clusters_of([is_main, ~is_main], draws).min()
    return named("valid_auc", area_interval(areas, clusters=clusters)) | sizes


def robustness_table(scores: dict[str, pd.DataFrame], calibration: dict, *, resamples: int = 2000) -> pd.DataFrame:
    """One row a condition and metric, with interval; `scores` by condition, the raw one among them.

    Real recall is the same three-way and binary: a real image is called real or it is not.
    """
    wanted = {
        ("three-way", "balanced accuracy"): "three-way balanced accuracy",
        ("three-way", "dm_generated recall"): "diffusion recall",
        ("three-way", "gan_generated recall"): "GAN recall",
        ("argmax", "balanced accuracy"): "binary balanced accuracy",
        ("argmax", "real recall"): "real recall",
        ("argmax", "fake recall"): "fake recall",
        ("fake score", "AUC"): "AUC",
    }
    rows, raw = [], scores["raw"]
    for condition, table in scores.items():
        summary = summarise(table, calibration, resamples=resamples).set_index(["verdict", "metric"])
        found = {name: tuple(summary.loc[key, ["value", "low", "high"]]) for key, name in wanted.items()}
        if table is raw:  # against themselves it is 0 by definition, which needs no interval
            found["flip rate"] = (0.0, 0.0, 0.0)
        else:
            found["flip rate"] = flip_rate(raw, table, resamples=resamples)
        rows += [(condition, metric, *values, len(table)) for metric, values in found.items()]
    return pd.DataFrame(rows, columns=["condition", "metric", "value", "low", "high", "images"])


def verdict_shares(scores: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """What each nature's images are taken for under each condition (argmax); one row a nature and condition."""
    rows = []
    for condition, table in scores.items():
        counts = confusion(table)
        shares = counts.div(counts.sum(axis=1), axis=0)
        for nature, row in shares.iterrows():
            said = {f"said_{short}": row[name] for name, short in SHORT.items()}
            rows.append({"nature": nature, "condition": condition, **said})
    return pd.DataFrame(rows).sort_values("nature", key=class_index, kind="stable", ignore_index=True)


def confusion(scores: pd.DataFrame) -> pd.DataFrame:  # rows: nature, columns: verdict; counts
    """How often the images of each nature get each three-way verdict."""
    scores = scores[scores["nature"].isin(CLASSES)]
    said = pd.Categorical(said_natures(scores), CLASSES)
    table = pd.crosstab(pd.Categorical(scores["nature"], CLASSES), said, dropna=False)
    return table.rename_axis(index="nature", columns="verdict")


def flip_rate(clean: pd.DataFrame, perturbed: pd.DataFrame, *, resamples: int = 2000) -> tuple[float, float, float]:
    """Share of images whose three-way verdict changes under a perturbation, with its interval."""
    if list(clean["path"]) != list(perturbed["path"]):
        raise ValueError("flip rate needs the same images in the same order under both conditions")
    before, after = said_natures(clean), said_natures(perturbed)
    draws = stats.resample_clusters(clean["group"].to_numpy(), resamples=resamples)
    return stats.rate_interval(before != after, np.ones(len(clean), dtype=bool), draws)


def _macro_f1(said: np.ndarray, nature: np.ndarray, known: np.ndarray, draws: stats.Resamples) -> np.ndarray:
    scores = []
    for n in CLASSES:
        hit = stats.rate((said == n) & (nature == n), known, draws)  # [R + 1]
        own = stats.rate(nature == n, known, draws)
        called = stats.rate(said == n, known, draws)
        # Of a nature without an image precision would be 0 or undefined, as false verdicts happen to fall.
        scores.append(np.divide(2 * hit, own + called, out=np.full_like(hit, np.nan), where=own > 0))
    return np.mean(scores, axis=0)


def named(metric: str, values: tuple[float, float, float]) -> dict:
    """Columns of a metric and its interval: METRIC, METRIC_low, METRIC_high."""
    return dict(zip((metric, f"{metric}_low", f"{metric}_high"), values))
