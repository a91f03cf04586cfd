"""Extraction of features into their store, against the bare forward of the three backbones.

    python benchmarks/feature_extraction.py
    python benchmarks/feature_extraction.py --images 64 --rounds 1   # a look

Speed: images per second of `extract_features` (reading, three forwards, storing, checksum) as a
share of the forwards alone on pictures in memory, the two in turn, median of the rounds.
Memory: the largest RssAnon (pages of its own, not of mapped files) while a small net extracts N
and 8 N images; what one more image adds, beside what it holds. Writes results/feature_extraction.json.
"""

import argparse
import json
import os
import platform
import re
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch

from dfxlib.models.networks import BaseModel, DeepFeatureXNet
from dfxlib.system.files import BATCH_VARIABLE, write_text_atomic
from dfxlib.training.features import extract_features

SHARE = 0.90  # of the bare forward's images per second, to reach
GROWTH = 0.05  # of the bytes of an image's pixels and features, to stay under
BATCH = 64


def net_of(backbone: str, image_size: int) -> DeepFeatureXNet:
    torch.manual_seed(0)
    models = [BaseModel(backbone, weights="none", image_size=image_size) for _ in range(3)]
    return DeepFeatureXNet(models).to(memory_format=torch.channels_last)


def pictures(folder: Path, images: int, image_size: int) -> np.ndarray:  # memory-mapped, as a study's are
    path = folder / f"pixels-{images}-{image_size}.npy"
    shape = (images, image_size, image_size, 3)
    store = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    random = np.random.default_rng(0)
    for start in range(0, images, BATCH):
        store[start : start + BATCH] = random.integers(0, 256, store[start : start + BATCH].shape, dtype=np.uint8)
    store.flush()
    return np.load(path, mmap_mode="r")


def measure_speed(args: argparse.Namespace, folder: Path) -> dict:
    net, pixels = net_of(args.backbone, args.image_size), pictures(folder, args.images, args.image_size)
    resident = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2)
    rows, bare, ours = np.arange(args.images), [], []
    net.features(resident[:BATCH])  # the first call is slower
    for number in range(args.rounds):
        started = time.perf_counter()
        for batch in resident.split(BATCH):
            net.features(batch)
        bare.append(args.images / (time.perf_counter() - started))
        started = time.perf_counter()
        extract_features(net, pixels, rows, cache_root=folder, key=["speed", number], batch_size=BATCH)
        ours.append(args.images / (time.perf_counter() - started))
    share = float(np.median(np.array(ours) / np.array(bare)))
    return {"bare_images_per_second": np.median(bare), "images_per_second": np.median(ours), "share": share}


def measure_memory(args: argparse.Namespace, folder: Path) -> dict:
    size, few = 32, args.memory_images
    net, peaks = net_of("resnet18", size), {}
    for images in (few, few, 8 * few):  # the first call warms the allocator up
        pixels = pictures(folder, images, size)
        with PeakRssAnon() as peak:
            key = ["memory", images, len(peaks)]
            extract_features(net, pixels, np.arange(images), cache_root=folder, key=key, batch_size=BATCH)
        peaks[images] = peak.bytes
    held = size * size * 3 + 3 * 512 * 4  # bytes: pixels and features
    growth = (peaks[8 * few] - peaks[few]) / (7 * few)
    return {"rss_anon_mb": {str(n): b / 2**20 for n, b in peaks.items()}, "growth_bytes_an_image": growth,
            "growth_share_of_image": growth / held}  # fmt: skip


class PeakRssAnon:
    """The largest RssAnon of this process within the block."""

    def __enter__(self) -> "PeakRssAnon":
        self.bytes, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            status = Path("/proc/self/status").read_text()
            self.bytes = max(self.bytes, 1024 * int(re.search(r"RssAnon:\s+(\d+) kB", status).group(1)))
            if self._ended.wait(0.01):
                return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="densenet121")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-images", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "feature_extraction.json")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    os.environ[BATCH_VARIABLE] = "1"  # no progress bars
    with tempfile.TemporaryDirectory() as folder:
        found = measure_speed(args, Path(folder)) | measure_memory(args, Path(folder))
    settings = {name: value for name, value in vars(args).items() if name != "out"}
    machine = {"torch": str(torch.__version__), "python": platform.python_version(), "machine": platform.machine()}
    write_text_atomic(args.out, json.dumps(settings | machine | found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    reached = {"speed": found["share"] >= SHARE, "memory": found["growth_share_of_image"] <= GROWTH}
    print(f"share of at least {SHARE}: {reached['speed']}; memory does not grow: {reached['memory']}")
    raise SystemExit(0 if all(reached.values()) else 1)


if __name__ == "__main__":
    main()
