"""How unlike its training data a picture is: what an exported model remembers of them, and the comparison."""

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dfxlib.names import CLASSES
from dfxlib.system.files import write_atomic

if TYPE_CHECKING:  # what judges pictures needs none of it, and starts sooner
    import pandas as pd

#: Share of held-out images of the same kind whose features are nearer than the limit.
QUANTILE = 0.99

_RANK = 64  # directions of the covariance that are kept: 0.9 MB for the widest backbone

_IMAGES = 5000  # at most, behind mean and covariance

_LARGEST = 2**26  # bytes of all parts together; ours take 6 MB at most

_LEAST = 1e-9  # variance; features that never varied

_SPREADS = ("limit", "variances", "other_variance")


def describe_training(
    features: np.ndarray,  # [n, 3, D] of training images
    held_out: np.ndarray,  # [m, 3, D] of images of the same kind that trained nothing
    rows: "pd.DataFrame",  # manifest rows of the training images
    spectra: np.ndarray,  # [3, 32 * 32] from `class_spectra`
) -> dict[str, np.ndarray]:
    """What is kept of the training data to compare pictures with: 5 MB at most for every backbone with one crop.

    The covariance of 3 D features (6,624 for densenet161) is kept as its largest directions and
    one variance for all others (probabilistic PCA: Tipping and Bishop, 1999). The limit of the
    distance comes from held-out images, since training images lie nearer to their own mean.
    """
    from sklearn.decomposition import PCA  # not at the top: what reads a model needs none of it

    flat = np.asarray(features[:_IMAGES], dtype=np.float32).reshape(min(len(features), _IMAGES), -1)
    rank = max(1, min(_RANK, len(flat) // 4, flat.shape[1] // 2))
    fitted = PCA(n_components=rank, svd_solver="randomized", random_state=0).fit(flat)
    sides = rows[["width", "height"]].to_numpy()
    known = {
        "mean": fitted.mean_.astype(np.float32),  # [3 D]
        "directions": fitted.components_.astype(np.float16),  # [rank, 3 D]
        "variances": np.maximum(fitted.explained_variance_, _LEAST).astype(np.float32),  # [rank]
        "other_variance": np.float32(max(fitted.noise_variance_, _LEAST)),
        "limit": np.float32(1),
        "spectra": spectra.astype(np.float32),  # [3, 32 * 32] in the order of CLASSES
        "formats": np.array(sorted(rows["format"].unique()), dtype=np.str_),
        # Pixels: what all but 1% of the pictures have at least, so that a few small ones do not count; the largest.
        "sides": np.array([np.quantile(sides.min(axis=1), 1 - QUANTILE, method="lower"), sides.max()]),
    }
    return known | {"limit": np.float32(np.quantile(distances(held_out, known), QUANTILE))}


def class_spectra(
    rows: "pd.DataFrame",  # manifest rows of training images
    data_root: Path,
    *,
    per_nature: int = 200,  # images
    workers: int | None = None,
) -> np.ndarray:  # [3, 32 * 32]
    """Mean spectrum of the noise residual of each nature, in the order of CLASSES."""
    from dfxlib.data.residual import residual_spectrum
    from dfxlib.data.squares import map_pixels

    sample = rows.groupby("nature").head(per_nature)
    spectra = map_pixels({residual_spectrum: sample}, data_root=data_root, workers=workers)[residual_spectrum]
    return np.stack([spectra[(sample["nature"] == nature).to_numpy()].mean(axis=0) for nature in CLASSES])


def save_reference(path: Path, known: dict[str, np.ndarray]) -> Path:
    """Write what `describe_training` found as reference.npz."""
    return write_atomic(path, lambda partial: np.savez_compressed(partial, allow_pickle=False, **known))


def load_reference(path: Path) -> dict[str, np.ndarray]:
    """What `save_reference` wrote, by name.

    Raises ValueError for a file that states more than it holds, before memory is taken for that, for parts that do
    not fit each other, and for numbers that would make a distance undefined: to those nothing is unlike.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _LARGEST:
                raise ValueError(f"more than {_LARGEST} bytes")
            known = {entry.filename.removesuffix(".npy"): _read_array(archive, entry) for entry in archive.infolist()}
        width = known["mean"].size
        fits = known["directions"].shape == (len(known["variances"]), width) and known["mean"].shape == (width,)
        fits &= known["limit"].size == known["other_variance"].size == 1
        if not fits or known["spectra"].shape[0] != len(CLASSES) or known["sides"].shape != (2,):
            raise ValueError("parts that do not fit each other")
        numbers = [part for name, part in known.items() if name != "formats"]
        if known["formats"].dtype.kind != "U" or any(part.dtype.kind not in "fiu" for part in numbers):
            raise ValueError("parts of another kind")
        if not all(np.isfinite(part).all() for part in numbers) or min(known[name].min() for name in _SPREADS) <= 0:
            raise ValueError("numbers that are not finite, or spreads that are not above 0")
    except (ValueError, KeyError, IndexError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError(f"{path} is no reference of a model ({error}); export the run again") from error
    return known


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """An array whose header states as many bytes as follow it: numpy would take memory by the header alone."""
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read(file)
        if kind.hasobject or int(np.prod(shape, dtype=object)) * kind.itemsize > entry.file_size:
            raise ValueError(f"{entry.filename} states more than it holds")
    with archive.open(entry) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def distances(features: np.ndarray, known: dict[str, np.ndarray]) -> np.ndarray:  # [B, 3, D] -> [B]
    """Mahalanobis distance from the training images, in units of the limit: above 1 is unlike them."""
    centred = np.asarray(features, dtype=np.float64).reshape(len(features), -1) - known["mean"]
    directions = known["directions"].astype(np.float64)
    along = centred @ directions.T  # [B, rank]
    # Of what is left over, and not as a difference of squares: directions are rounded, and that would feel it.
    across = ((centred - along @ directions) ** 2).sum(axis=1)
    squared = (along**2 / known["variances"]).sum(axis=1) + across / known["other_variance"]
    return np.sqrt(squared) / known["limit"]


def least_side(known: dict[str, np.ndarray], image_size: int) -> int:
    """Pixels; a picture with a smaller side is filled up or enlarged to be model input, as few were that trained."""
    return min(image_size, int(known["sides"][0]))


def unlike_training(
    known: dict[str, np.ndarray], *, image_size: int, width: int, height: int, distance: float
) -> list[str]:  # in words; empty: like the training data in both
    """In what a picture is so unlike the training data that no verdict can rest on it: size [pixels] and features.

    `image_size` is the side of the model's input, `distance` comes from `distances`.
    """
    found = []
    if min(width, height) < least_side(known, image_size):
        found.append(f"{width} x {height} pixels, smaller than the model's input of {image_size}")
    if not distance <= 1:  # nor is a distance known that is no number
        found.append(f"features {distance:.2f} times as far from training as {QUANTILE:.0%} of held-out images")
    return found


def remarks(known: dict[str, np.ndarray], *, image_size: int, kind: str, width: int, height: int) -> list[str]:
    """What training did not have, and a verdict may bear, in words: a format (`kind`; "": unknown), a size [pixels].

    `image_size` is the side of the model's input where the picture was judged at half size as well; else 0.
    """
    smallest, largest = known["sides"]
    found = []
    if kind and kind not in known["formats"]:
        found.append(f"{kind}, training had {' and '.join(known['formats'])}")
    if min(width, height) < smallest or max(width, height) > largest:
        span = str(smallest) if smallest == largest else f"{smallest} to {largest}"
        found.append(f"{width} x {height} pixels, training had sides of {span}")
    if min(width, height) // 2 < min(image_size, smallest):
        found.append(f"half the size is less than the model's input of {image_size}")
    return found
