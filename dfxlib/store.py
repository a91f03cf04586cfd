"""Arrays that are computed once, stored, verified and shared by the jobs of a study."""

import fcntl
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from dfxlib.files import vouched_sha256, write_vouched


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
        if not vouched_sha256(path):
            write_vouched(path, fill)
    return np.load(path, mmap_mode="r")
