"""What most notebooks open first: the study's manifest, and its pictures as a model takes them."""

import numpy as np
import pandas as pd

from dfxlib.data.manifest import read_manifest
from dfxlib.data.squares import pixel_store
from dfxlib.study.runs import run_folder
from dfxlib.system.files import project_path


def open_manifest(run_root: str) -> tuple[pd.DataFrame, str]:  # rows, sha256
    """The manifest that notebook 00 wrote for the study under `run_root`, and its hash."""
    return read_manifest(run_folder(run_root, "manifest") / "manifest.csv")


def open_squares(
    manifest: pd.DataFrame,
    manifest_hash: str,
    settings: dict,  # of the model that will see them: image_size and resize_mode count
    *,
    data_root: str,
    cache_root: str,
    workers: int,
) -> np.ndarray:  # [N, image_size, image_size, 3] uint8, memory-mapped; row i is manifest row i
    """Every usable image of a manifest as one model takes it; relative paths count from the project's folder."""
    return pixel_store(
        manifest,
        manifest_hash=manifest_hash,
        data_root=project_path(data_root),
        cache_root=project_path(cache_root),
        image_size=settings["image_size"],
        resize_mode=settings["resize_mode"],
        workers=workers,
    )
