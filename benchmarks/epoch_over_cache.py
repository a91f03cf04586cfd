"""An epoch over the pixel cache against the model alone: resnet18, 64 px, batches of 32.

    python benchmarks/epoch_over_cache.py [IMAGES]

The model alone takes the same steps over a batch that lies ready in memory. Both train with the
loop of the study (`training.fit`), in turn, three times; the best counts. The cache is memory-mapped
and was written before, as in every epoch of a study but the first.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from measure import report
from torch import nn
from torch.nn import functional as F

from dfxlib.models.networks import BaseModel
from dfxlib.system.files import stored_array
from dfxlib.system.parallel import usable_cores
from dfxlib.training.fit import Examples, fit, to_input

SIDE, BATCH = 64, 32


def new_model() -> nn.Module:
    torch.manual_seed(0)
    return BaseModel("resnet18", weights="none", image_size=SIDE).to(memory_format=torch.channels_last)


def alone(batches: int, images: np.ndarray, labels: np.ndarray) -> float:
    """Seconds of as many steps over one batch that is a tensor already."""
    model = new_model().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=1e-3, fused=True)
    inputs, targets = to_input(images, torch.device("cpu")), torch.tensor(labels)
    started = time.perf_counter()
    for _ in range(batches):
        loss = F.cross_entropy(model(inputs).float(), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return time.perf_counter() - started


def over_cache(pixels: np.ndarray, labels: np.ndarray, folder: Path) -> float:
    """Seconds of one epoch of the study's loop, without its validation and checkpoint."""
    rows = np.arange(len(pixels))
    train, valid = Examples(pixels, rows, labels), Examples(pixels, rows[:BATCH], labels[:BATCH])
    fitted = fit(new_model(), train, valid, state_folder=folder, settings={}, epochs=1, batch_size=BATCH)
    return len(pixels) / fitted.history["images_per_second"].item()


def main() -> int:
    images = int(sys.argv[1]) if sys.argv[1:] else 3200
    torch.set_num_threads(usable_cores())
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.arange(images) % 2
    model_alone, epoch = [], []
    with tempfile.TemporaryDirectory() as folder:
        cache = stored_array(Path(folder), "pixels", ["benchmark"], lambda path: np.save(path, pixels))
        alone(3, pixels[:BATCH], labels[:BATCH])  # the first steps choose their kernels
        for turn in range(3):
            model_alone.append(alone(images // BATCH, pixels[:BATCH], labels[:BATCH]))
            epoch.append(over_cache(cache, labels, Path(folder) / f"states{turn}"))
    figures = {"an epoch over the cache, share of the model alone": (min(epoch) / min(model_alone), "<=", 1.1)}
    details = {"alone": [round(value, 3) for value in model_alone], "epoch": [round(value, 3) for value in epoch]}
    print(details)
    return 0 if report("epoch_over_cache", figures, images=images, threads=usable_cores(), seconds=details) else 1


if __name__ == "__main__":
    sys.exit(main())
