"""What most notebooks open first: the study's manifest, and its pictures as a model takes them."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from dfxlib.data.decode import DECODER
from dfxlib.data.manifest import read_manifest
from dfxlib.data.squares import perturbed_squares, pixel_store
from dfxlib.measure.processing import SMALLEST
from dfxlib.models import backbones, frozen, networks, zoo
from dfxlib.names import TRAINED_SPLITS
from dfxlib.study.runs import run_folder
from dfxlib.system.files import new_array, project_path, sha256_file, source_hash, stored_array


def open_manifest(run_root: str) -> tuple[pd.DataFrame, str]:  # rows, sha256
    """The manifest that notebook 00 wrote for the study under `run_root`, and its hash."""
    return read_manifest(run_folder(run_root, "manifest") / "manifest.csv")


def open_squares(
    manifest: pd.DataFrame,
    manifest_hash: str,
    settings: dict,  # of the model that will see them: image_size, resize_mode, front_end and augment count
    *,
    data_root: str,
    cache_root: str,
    workers: int,
) -> np.ndarray:  # [N, image_size, image_size, 3] uint8, memory-mapped; row i is manifest row i
    """Every usable image of a manifest as one model takes it; relative paths count from the project's folder.

    Raises ValueError where most pictures would be enlarged before a high-pass or a JPEG, which would see that.
    """
    side, mode = int(manifest[["width", "height"]].min(axis=1).median()), settings["resize_mode"]
    looks = {str(settings.get(key)) for key in ("front_end", "augment")} & {"residual", "jpeg_blur"}
    if looks and mode != "crop" and side < settings["image_size"]:
        raise ValueError(
            f"resize_mode {mode} enlarges pictures of {side} px before {' and '.join(sorted(looks))}, which would look "
            f"at that; choose resize_mode crop, image_size {side} and stem enlarged"
        )
    how: dict = {"image_size": settings["image_size"], "resize_mode": mode, "workers": workers}
    how |= {"data_root": project_path(data_root), "cache_root": project_path(cache_root)}
    return pixel_store(manifest, manifest_hash=manifest_hash, **how)


def large_images(manifest: pd.DataFrame) -> pd.DataFrame:
    """Rows that train or are tested and are large enough for the readings of traces."""
    usable = manifest[manifest["split"].isin([*TRAINED_SPLITS, "test", "unseen"])]
    return usable[usable[["width", "height"]].min(axis=1) >= SMALLEST]


def untouched_features(
    rows: pd.DataFrame,  # of `large_images`
    manifest_hash: str,
    *,
    data_root: str,
    cache_root: str,
    workers: int,
    network: str = frozen.NETWORK,
    weights: str = "imagenet",
) -> np.ndarray:  # [N, width of the network] float32, memory-mapped
    """Features of the centre of every picture, by a network that nobody fine-tuned; computed once.

    The side of the centre is the same for all pictures: what 19 of 20 have at least, at most `frozen.SIDE`, and what
    the network takes. Smaller ones are filled up by mirroring.
    """
    side = min(frozen.SIDE, int(rows[["width", "height"]].min(axis=1).quantile(0.05)))
    side = max(side, zoo.smallest_image_size(network))

    def fill(path: Path) -> None:
        squares = perturbed_squares(
            rows, ["raw"], data_root=project_path(data_root), image_size=side, resize_mode="crop", workers=workers
        )
        store, start = new_array(path, dtype=np.float32, shape=(len(rows), zoo.find_backbone(network).width)), 0
        for batch in squares:
            store[start : start + len(batch)] = frozen.features_of(batch[:, 0], network=network, weights=weights)
            start += len(batch)
        store.flush()

    made_by = [DECODER, source_hash(sys.modules[__name__], frozen, backbones, networks)]
    file = zoo.weights_file(network, weights)
    key = [manifest_hash, rows.index.tolist(), side, network, file and sha256_file(file), *made_by]
    return stored_array(project_path(cache_root), "untouched", key, fill)
