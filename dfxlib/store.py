"""Arrays that are computed once, stored, verified and shared by the jobs of a study."""

import fcntl
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dfxlib.files import sha256_file, write_atomic, write_text_atomic


def stored_array(
    cache_root: Path,
    kind: str,  # first part of the file's name
    key: list,  # all that the array depends on, JSON-serialisable
    fill: Callable[[Path], object],  # writes the .npy file
) -> np.ndarray:  # memory-mapped, read-only
    """The array stored under `key`; computed by `fill` where it is missing or damaged.

    A lock makes jobs that start together compute it once. The checksum is written after the
    array, so that an array without one counts as unfinished.
    """
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    path = Path(cache_root) / f"{kind}-{digest[:16]}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_whole(path):
            write_atomic(path, fill)
            write_text_atomic(_checksum(path), f"{sha256_file(path)}  {path.name}\n")
    return np.load(path, mmap_mode="r")


def _is_whole(path: Path) -> bool:
    stated = _checksum(path)
    return path.is_file() and stated.is_file() and stated.read_text().split()[:1] == [sha256_file(path)]


def _checksum(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
