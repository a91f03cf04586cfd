"""How long the names of a million files take, against a bare walk over the same folders.

    python benchmarks/list_names.py [FILES]

The files are empty: a listing reads names only. The bare walk is os.scandir and the question whether an entry is a
folder, no more: no labels, no order, no table. Each measurement is a process of its own, in turn, twice; the best
counts. Two listings are measured: that of a manifest, and that of `dfx detect`. A listing is one thread that waits for
no disk here, since each walk follows another, so its processor time is counted: other work on the machine adds none.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dfxlib.names import CLASSES

A_FOLDER = 1000  # files


def plant(root: Path, files: int) -> None:
    """ROOT/nature/architecture/000000.png, A_FOLDER files in each folder of an architecture."""
    for first in range(0, files, A_FOLDER):
        number = first // A_FOLDER
        folder = root / CLASSES[number % 3] / f"generator_{number:04d}"
        folder.mkdir(parents=True)
        for name in range(first, min(first + A_FOLDER, files)):
            os.close(os.open(folder / f"{name:07d}.png", os.O_CREAT))


def bare_walk(root: Path) -> int:  # files
    pending, files = [os.fspath(root)], 0
    while pending:
        with os.scandir(pending.pop()) as handle:
            for entry in handle:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    files += 1
    return files


def manifest_listing(root: Path) -> int:
    from dfxlib.data.layouts import list_images

    return len(list_images(root, layout="folders"))


def detect_listing(root: Path) -> int:
    from dfxlib.detect.find import find_images

    return len(find_images([str(root)])[0])


LISTINGS = {"walk": bare_walk, "manifest": manifest_listing, "detect": detect_listing}


def seconds_of(kind: str, root: Path, files: int) -> float:
    """One measurement in a process of its own; it must have found every file."""
    command = [sys.executable, __file__, kind, str(root), str(files)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def measure(kind: str, root: Path, files: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plant(Path(folder), 1)
        LISTINGS[kind](Path(folder))  # imports and first calls
    started = time.process_time()
    found = LISTINGS[kind](root)
    seconds = time.process_time() - started
    if found != files:
        raise ValueError(f"the listing {kind} found {found} of {files} files")
    print(seconds)


def main() -> int:
    if len(sys.argv) == 4:
        measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
        return 0
    from measure import report  # brings torch, which no listing of a manifest needs

    files = int(sys.argv[1]) if sys.argv[1:] else 1_000_000
    seconds: dict[str, list[float]] = {kind: [] for kind in LISTINGS}
    load = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        plant(Path(folder), files)
        for _ in range(2):
            for kind in LISTINGS:
                seconds[kind].append(round(seconds_of(kind, Path(folder), files), 3))
                print(kind, seconds[kind][-1], flush=True)
    best = {kind: min(values) for kind, values in seconds.items()}
    figures = {
        "processor seconds to list the names for a manifest": (best["manifest"], "<=", 20.0),
        "listing for a manifest, times the bare walk": (best["manifest"] / best["walk"], "<=", 10.0),
        # A Path of its own for each file takes most of it.
        "listing for detect, times that for a manifest": (best["detect"] / best["manifest"], "<=", 4.0),
    }
    return 0 if report("list_names", figures, files=files, seconds=seconds, load_before=load) else 1


if __name__ == "__main__":
    sys.exit(main())
