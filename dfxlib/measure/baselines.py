"""What can be told without any deep model: metadata, file bytes, content, scalars, a radial spectrum, co-occurrences.

Each function turns one image (or one manifest) into features, and `fit_baseline` fits the same
logistic regression on any of them, alone or side by side. A deep model that does not beat the best
linear reading has learned nothing that it does not know (protocol.md, experiment 4).
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from PIL import Image
from scipy.fft import dctn
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from dfxlib.data.residual import high_pass
from dfxlib.measure.scores import score_table
from dfxlib.names import FITTED_SPLITS, SCORED_SPLITS
from dfxlib.system.parallel import map_processes

SPECTRUM_BINS = 32

# JFIF, without the offset of 128, which would only move the mean
YCBCR = np.array([[0.299, 0.587, 0.114],
                  [-0.168736, -0.331264, 0.5],
                  [0.5, -0.418688, -0.081312]])  # fmt: skip

REGULARISATION = (0.003, 0.03, 0.3, 3.0, 30.0)  # C of the logistic regression, small = strong

_WIDE = 400  # features from which on steps of Newton's cost more than those of lbfgs

CATEGORIES = 100  # values of one column of metadata that are told apart, such as sizes

SCALAR_NAMES = ("mean_red", "mean_green", "mean_blue", "laplacian_energy", "wavelet_hh_noise", "blockiness")

THUMBNAIL_SIDE = 8  # pixels

TRUNCATION = 2  # grey levels; residuals beyond it count as it, as in the rich models


def radial_spectrum(
    pixels: np.ndarray,  # [H, W, 3] uint8
) -> np.ndarray:  # [96] float64: 32 bins of Y, then of Cb, then of Cr
    """Log energy of Y, Cb and Cr in 32 radial bins of the DCT of the whole image.

    Frequencies are relative to each side, so images of any size share the bins. The mean of the
    image (the DC coefficient) is left out: it is content. Raises ValueError under 32 pixels a
    side, where bins would be empty. Source: protocol.md, experiment 4; the idea is that of Frank
    et al., ICML 2020.
    """
    _require_rgb(pixels, least=SPECTRUM_BINS)
    channels = pixels.astype(np.float64) @ YCBCR.T  # [H, W, 3], not rounded as Pillow's would be
    energy = dctn(channels, axes=(0, 1), norm="ortho") ** 2  # [H, W, 3]
    height, width = pixels.shape[:2]
    radius = np.hypot(*np.ogrid[: 1 : height * 1j, : 1 : width * 1j]) / np.sqrt(2)  # [H, W] in 0..1
    bins = np.minimum((radius * SPECTRUM_BINS).astype(int), SPECTRUM_BINS - 1)  # [H, W]
    bins[0, 0] = SPECTRUM_BINS  # the mean goes to a bin of its own, cut below
    counts = np.bincount(bins.ravel(), minlength=SPECTRUM_BINS + 1)  # [33]
    sums = [
        np.bincount(bins.ravel(), weights=energy[..., channel].ravel(), minlength=SPECTRUM_BINS + 1)
        for channel in range(3)
    ]
    # 1e-2 is well below the energy that rounding to grey levels leaves (1/12); log stays finite
    return np.concatenate([np.log(total[:-1] / counts[:-1] + 1e-2) for total in sums])


def scalar_features(
    pixels: np.ndarray,  # [H, W, 3] uint8
) -> np.ndarray:  # [6] float64, in the order of SCALAR_NAMES
    """Four crude quantities that a fair data set must not give away.

    Mean colour (R, G, B in grey levels), log energy of the luma's 4-neighbour Laplacian, log of
    the noise level by the median of the Haar wavelet's diagonal band (Donoho), and 8 x 8 blockiness
    (log ratio of steps across block borders to steps elsewhere).
    """
    _require_rgb(pixels, least=16)
    luma = pixels.astype(np.float64) @ YCBCR[0]  # [H, W]
    centre = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * centre
    noise, _ = _diagonal_band(luma)
    sharpness = np.log(np.mean(laplacian**2) + 1e-2)
    return np.array([*pixels.reshape(-1, 3).mean(axis=0), sharpness, np.log(noise + 0.1), _blockiness(luma)])


def thumbnail_features(
    pixels: np.ndarray,  # [H, W, 3] uint8
) -> np.ndarray:  # [192] float64: grey levels of 8 x 8 pixels, R, G and B of each
    """The picture at a size where no trace is left: what can be told from it is content and colour."""
    _require_rgb(pixels, least=THUMBNAIL_SIDE)
    small = Image.fromarray(pixels).resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64).ravel()


def noise_shape(
    pixels: np.ndarray,  # [H, W, 3] uint8
) -> np.ndarray:  # [1] float64
    """Log ratio of two measures of the diagonal Haar band of luma: the level by its median, and the root mean square.

    It is 0 for Gaussian noise, and below 0 where few coefficients hold most of the energy, as of a camera's.
    """
    _require_rgb(pixels, least=16)
    level, spread = _diagonal_band(pixels.astype(np.float64) @ YCBCR[0])
    return np.array([np.log((level + 0.1) / (spread + 0.1))])


def _diagonal_band(luma: np.ndarray) -> tuple[float, float]:  # [H, W] -> noise level, root mean square; grey levels
    even = luma[: luma.shape[0] // 2 * 2, : luma.shape[1] // 2 * 2]
    diagonal = (even[::2, ::2] - even[1::2, ::2] - even[::2, 1::2] + even[1::2, 1::2]) / 2
    return float(np.median(np.abs(diagonal)) / 0.6745), float(np.sqrt(np.mean(diagonal**2)))


def co_occurrences(
    pixels: np.ndarray,  # [H, W, 3] uint8
) -> np.ndarray:  # [117] float64: 39 shares of Y, then of Cb, then of Cr
    """How often three neighbours in a row or column of the high-pass residual have which values.

    The residual of each channel is rounded to grey levels and truncated to -2..2. Triples that
    mirroring or a change of sign turn into each other count as one, which leaves 39 of 125; rows
    and columns are counted together. In the manner of SPAM (Pevny, Bas and Fridrich, IEEE TIFS
    2010) and of the rich models (Fridrich and Kodovsky, IEEE TIFS 2012; for colour Goljan,
    Fridrich and Cogranne, WIFS 2014). Raises ValueError under 16 pixels a side.
    """
    _require_rgb(pixels, least=16)
    shares = []
    for plane in np.moveaxis(pixels.astype(np.float64) @ YCBCR.T, 2, 0):
        # Residuals of grey pictures lie exactly between two levels; the last bit of a sum must not choose.
        level = np.rint(np.round(high_pass(plane), 6)).clip(-TRUNCATION, TRUNCATION).astype(np.int16) + TRUNCATION
        rows = 25 * level[:, :-2] + 5 * level[:, 1:-1] + level[:, 2:]
        columns = 25 * level[:-2] + 5 * level[1:-1] + level[2:]
        counts = np.bincount(rows.ravel(), minlength=125) + np.bincount(columns.ravel(), minlength=125)
        shares.append(np.bincount(_SAME_TRIPLE, weights=counts) / counts.sum())
    return np.concatenate(shares)


def _same_triples() -> np.ndarray:  # [125] int: which of 39 sets each triple of five values is in
    triples = np.indices((5, 5, 5)).reshape(3, -1)
    turned = [triples, triples[::-1], 4 - triples, 4 - triples[::-1]]
    codes = [np.ravel_multi_index(tuple(turn), (5, 5, 5)) for turn in turned]
    return np.unique(np.min(codes, axis=0), return_inverse=True)[1]


_SAME_TRIPLE = _same_triples()


def metadata_features(
    manifest: pd.DataFrame,  # N rows with format, mode, width, height, jpeg_quality
) -> pd.DataFrame:  # [N, 7] categories as str, numbers as float with NaN where there is none
    """What is known of an image without looking at a pixel; input of `fit_baseline`.

    Categories stay text here: the fitted pipeline one-hot encodes them, so that train and test
    agree and a size or format that training never saw is one of the rare ones. The exact size
    is a category too, because sizes name sources (CelebA 178 x 218, GDWCT 216 x 216).
    """
    numbers = manifest[["width", "height", "jpeg_quality"]].apply(pd.to_numeric, errors="coerce")
    return pd.DataFrame(
        {
            "format": manifest["format"].astype(str),
            "mode": manifest["mode"].astype(str),
            "size": manifest["width"].astype(str) + "x" + manifest["height"].astype(str),
            "width": numbers["width"].astype(float),
            "height": numbers["height"].astype(float),
            "aspect": numbers["width"].astype(float) / numbers["height"].astype(float),
            "jpeg_quality": numbers["jpeg_quality"].astype(float),
        },
        index=manifest.index,
    )


def byte_features(
    manifest: pd.DataFrame,  # N rows with bytes, width, height
) -> pd.DataFrame:  # [N, 4]
    """The size of the file alone: log2 bytes and log2 bits a pixel, and their squares.

    With the squares a linear model can tell a class that lies between two others.
    """
    size = np.log2(manifest["bytes"].clip(lower=1))
    density = size + 3 - np.log2(manifest["width"] * manifest["height"])
    return pd.DataFrame({"bytes": size, "bits": density, "bytes_squared": size**2, "bits_squared": density**2})


def shortcut_features(
    manifest: pd.DataFrame,  # N rows
    **measured: pd.DataFrame,  # of pixels, by name; some may cover a part of the rows
) -> dict[str, pd.DataFrame]:
    """All that a data set may give away without a trace, each by itself and all together where all are known."""
    features = {"metadata": metadata_features(manifest), "bytes": byte_features(manifest), **measured}
    if manifest["content"].ne("unknown").any():  # else the data set does not say what its pictures show
        features["content"] = manifest[["content"]]
    return features | {"all shortcuts": pd.concat(features.values(), axis=1, join="inner")}


def fit_baseline(
    features: pd.DataFrame,  # [N, k], numbers and categories
    natures: np.ndarray,  # [N] str
    *,
    groups: np.ndarray,  # [N] scene, pair or duplicate cluster
    seed: int = 0,
    folds: int = 3,
) -> Pipeline:
    """Standardise, then logistic regression with balanced classes; C by inner cross-validation.

    The inner folds keep groups whole. Returns the pipeline refitted on all rows; its `classes_`
    and the columns of `predict_proba` are the sorted natures. Ties between values of C go to the
    stronger regularisation. Raises ValueError where a nature has fewer groups than folds.
    """
    natures = np.asarray(natures).astype(str)
    _require_groups(natures, groups, folds=folds)
    search = GridSearchCV(
        make_pipeline(_columns(), _classifier(features.shape[1])),
        {"logisticregression__C": list(REGULARISATION)},
        scoring="balanced_accuracy",
        cv=StratifiedGroupKFold(folds, shuffle=True, random_state=seed),
    )
    with warnings.catch_warnings():
        # A fit that starts at its optimum, as of metadata that never vary, finds no step that improves it.
        warnings.filterwarnings("ignore", message="Line search of Newton solver", category=ConvergenceWarning)
        return search.fit(features, natures, groups=groups).best_estimator_


def _classifier(width: int) -> LogisticRegression:  # features
    """One softmax for all natures, to its optimum: a few Newton steps, where lbfgs takes hundreds of its own.

    A step of Newton's grows with the cube of the features, though.
    """
    if width > _WIDE:
        return LogisticRegression(class_weight="balanced", max_iter=2000)
    return LogisticRegression(class_weight="balanced", solver="newton-cholesky")


def _columns() -> ColumnTransformer:
    """Any table as standardised numbers; of many categories the rarest count as one."""
    numbers = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
    )
    categories = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=CATEGORIES, sparse_output=False)
    return ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector(dtype_include="number")),
            ("categories", categories, make_column_selector(dtype_exclude="number")),
        ]
    )


def _blockiness(luma: np.ndarray) -> float:
    """Log ratio of the mean step across borders of 8 x 8 blocks to the mean step inside blocks."""
    across, inside = [], []
    for steps in (np.abs(np.diff(luma, axis=1)), np.abs(np.diff(luma, axis=0)).T):
        border = np.arange(steps.shape[1]) % 8 == 7  # step k lies between columns k and k + 1
        across.append(steps[:, border].mean())
        inside.append(steps[:, ~border].mean())
    return float(np.log((np.mean(across) + 0.1) / (np.mean(inside) + 0.1)))


def _require_groups(natures: np.ndarray, groups: np.ndarray, *, folds: int) -> None:
    if len(groups) != len(natures):
        raise ValueError(f"{len(groups)} groups for {len(natures)} natures; give one for each row")
    for nature in np.unique(natures):
        found = len(np.unique(groups[natures == nature]))
        if found < folds:
            raise ValueError(f"nature {nature}: {found} groups for {folds} folds; add images or lower folds")


def _require_rgb(pixels: np.ndarray, *, least: int) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}, expected uint8 [H, W, 3]; decode as RGB")
    if min(pixels.shape[:2]) < least:
        raise ValueError(
            f"image of {pixels.shape[1]} x {pixels.shape[0]} pixels, expected at least {least} "
            "a side; leave it out of this baseline"
        )


def baseline_scores(
    features: pd.DataFrame,  # [N, k], rows as in `rows`
    rows: pd.DataFrame,  # manifest rows
    *,
    variant: str,
    seed: int = 0,
) -> pd.DataFrame:  # scores of the rows in SCORED_SPLITS
    """A non-deep baseline, fitted on base_train and complete_train alone, so that complete_select can choose."""
    fitted_on = rows["split"].isin(FITTED_SPLITS).to_numpy()
    scored = rows["split"].isin(SCORED_SPLITS).to_numpy()
    train = rows[fitted_on]
    natures, groups = train["nature"].to_numpy(), train["group"].to_numpy()
    baseline = fit_baseline(features[fitted_on], natures, groups=groups, seed=seed)
    logits = baseline.predict_log_proba(features[scored])
    return score_table(rows[scored], logits, temperature=1.0, backbone="none", variant=variant, seed=seed)


def score_baselines(
    tables: dict[str, pd.DataFrame],  # features by name of the baseline; the index names rows of `rows`
    rows: pd.DataFrame,  # manifest rows
    *,
    workers: int | None = None,  # processes; None: one per usable core
) -> dict[str, pd.DataFrame]:
    """`baseline_scores` of every table, side by side: each fit is one of many small steps, which use one core."""
    tasks = [(table, rows.loc[table.index], name) for name, table in tables.items()]
    return dict(zip(tables, map_processes(_scores_of, tasks, workers=workers, chunk=1), strict=True))


def _scores_of(task: tuple[pd.DataFrame, pd.DataFrame, str]) -> pd.DataFrame:
    with threadpool_limits(1):  # side by side, threads of their own would wait for each other
        return baseline_scores(task[0], task[1], variant=task[2])
