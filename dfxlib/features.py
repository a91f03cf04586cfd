"""Features once: the three frozen backbones run over an image a single time.

Frozen and without augmentation, the features of an image are constant. They are stored, and
every head of the published grid trains from the same store.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from dfxlib.files import require_space
from dfxlib.models import CPU, DeepFeatureXNet
from dfxlib.parallel import progress
from dfxlib.store import stored_array
from dfxlib.train import to_input


def extract_features(
    model: DeepFeatureXNet,
    pixels: np.ndarray,  # [N, S, S, 3] uint8
    rows: np.ndarray,  # [n] positions in `pixels`
    *,
    cache_root: Path,
    key: list,  # all that the features depend on: manifest, base models, transform
    batch_size: int = 64,
    device: torch.device = CPU,
) -> np.ndarray:  # [n, 3, D] float32, memory-mapped
    """Features of `rows`, computed at the first call and opened from their store at later ones."""
    return stored_array(
        cache_root,
        "features",
        [key, rows.tolist()],
        lambda path: _fill(path, model, pixels, rows, batch_size, device),
    )


@torch.no_grad()
def perturbed_logits(
    model: DeepFeatureXNet,
    batches: Iterable[np.ndarray],  # [B, conditions, S, S, 3] uint8, from images.perturbed_squares
    *,
    device: torch.device = CPU,
) -> np.ndarray:  # [conditions, N, 3] float32
    """Logits of the same images under every condition."""
    model.to(device).eval()
    logits = []
    for batch in batches:
        per_condition = [model(to_input(batch[:, index], device)).float().cpu() for index in range(batch.shape[1])]
        logits.append(torch.stack(per_condition))
    return torch.cat(logits, dim=1).numpy()


def _fill(
    path: Path,
    model: DeepFeatureXNet,
    pixels: np.ndarray,
    rows: np.ndarray,
    batch_size: int,
    device: torch.device,
) -> None:
    model.to(device)
    store = None
    for start in progress(range(0, len(rows), batch_size), label="features"):
        chunk = rows[start : start + batch_size]
        features = model.features(to_input(pixels[chunk], device)).float().cpu().numpy()
        if store is None:
            shape = (len(rows), *features.shape[1:])
            require_space(path.parent, 4 * int(np.prod(shape)))
            store = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        store[start : start + len(chunk)] = features
    store.flush()
