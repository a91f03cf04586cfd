"""Building a manifest against a bare pool that computes the same hashes, again when nothing changed, and unchecked.

    python benchmarks/manifest_build.py [IMAGES]

The bare pool decodes every file and computes the three hashes, no more: no rules, no facts, no
groups, no splits, no table. JPEG files alone are built once with and once without the check that all data of a file
arrived. All start their processes anew, in turn, three times; the best counts.
"""

from __future__ import annotations

import io
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from dfxlib.data import decode
from dfxlib.names import CLASSES
from dfxlib.system.files import sha256_bytes
from dfxlib.system.parallel import usable_cores

SIDE = 256  # pixels


def plant(root: Path, images: int, suffixes: tuple[str, ...] = (".png", ".jpg")) -> None:
    """Smooth pictures with some noise, each format as often as the next, in three natures and nine architectures."""
    rng = np.random.default_rng(0)
    for number in range(images):
        nature = CLASSES[number % 3]
        folder = root / nature / f"{nature}_{number // 3 % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((SIDE, SIDE))
        noise = rng.integers(0, 16, (SIDE, SIDE, 3), dtype=np.uint8)
        picture = Image.fromarray(np.asarray(coarse) // 2 + noise)
        picture.save(folder / f"{number:06d}{suffixes[number % len(suffixes)]}")


def hashes(path: str) -> tuple[str, str, str]:
    data = Path(path).read_bytes()
    image = Image.open(io.BytesIO(data)).convert("RGB")
    pixels = sha256_bytes(repr(image.size).encode() + image.tobytes())
    return sha256_bytes(data), pixels, decode.perceptual_hash(image.convert("L"))


def bare_pool(root: Path, workers: int) -> int:
    paths = [str(path) for path in sorted(root.rglob("*.*"))]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return len(list(pool.imap(hashes, paths, chunksize=32)))


def unchecked(file: decode.ImageFile, *, pixel_limit: int) -> dict:
    """`inspect_file` that believes Pillow; the worker that calls it does nothing else."""
    decode.require_whole = lambda data, image: None
    return decode.inspect_file(file, pixel_limit=pixel_limit)


def seconds_of(kind: str, root: Path, cache: Path) -> float:
    """One measurement in a process of its own, so that each starts its workers anew."""
    command = [sys.executable, __file__, kind, str(root), str(cache)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def measure(kind: str, root: Path, cache: Path) -> None:
    from dfxlib.data import sidecar
    from dfxlib.data.manifest import build_manifest

    if kind == "unchecked":
        sidecar.inspect_file = unchecked
    started = time.perf_counter()
    if kind == "pool":
        bare_pool(root, usable_cores())
    else:
        build_manifest(root, sidecar=cache)
    print(time.perf_counter() - started)


def main() -> int:
    if len(sys.argv) == 4:
        measure(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
        return 0
    from measure import report  # brings torch, which no worker needs

    images = int(sys.argv[1]) if sys.argv[1:] else 6000
    pool, build, again, checked, believed = [], [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        root, jpegs, cache = Path(folder) / "images", Path(folder) / "jpegs", Path(folder) / "cache"
        plant(root, images)
        plant(jpegs, images, (".jpg",))
        for _ in range(3):
            shutil.rmtree(cache, ignore_errors=True)
            pool.append(seconds_of("pool", root, cache))
            build.append(seconds_of("build", root, cache))
            again.append(seconds_of("again", root, cache))
            for kind, seconds in {"build": checked, "unchecked": believed}.items():
                shutil.rmtree(cache)
                seconds.append(seconds_of(kind, jpegs, cache))
    figures = {
        "speed of the build, share of the bare pool": (min(pool) / min(build), ">=", 0.9),
        "unchanged tree: times faster than the build": (min(build) / min(again), ">=", 20.0),
        "JPEG with the check that all arrived, times without": (min(checked) / min(believed), "<=", 1.25),
    }
    seconds = {"pool": pool, "build": build, "again": again, "jpeg checked": checked, "jpeg unchecked": believed}
    details = {name: [round(value, 3) for value in values] for name, values in seconds.items()}
    print(details)
    return 0 if report("manifest_build", figures, images=images, side=SIDE, seconds=details) else 1


if __name__ == "__main__":
    sys.exit(main())
