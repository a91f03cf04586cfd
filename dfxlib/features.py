"""Features once: the three frozen backbones run over an image a single time.

Frozen and without augmentation, the features of an image are constant. They are stored, and
every head of the published grid trains from the same store. With augmentation, K augmented
copies of each image are stored, among which a head's training draws.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from dfxlib.augment import AUGMENTATIONS
from dfxlib.files import require_space
from dfxlib.models import CPU, DeepFeatureXNet
from dfxlib.names import require_name
from dfxlib.parallel import one_ahead, progress
from dfxlib.store import stored_array
from dfxlib.train import memory_advice, to_input


def extract_features(
    model: DeepFeatureXNet,
    pixels: np.ndarray,  # [N, S, S, 3] uint8
    rows: np.ndarray,  # [n] positions in `pixels`
    *,
    cache_root: Path,
    key: list,  # what else the features depend on: manifest, base models, transform, perturbation, device
    augment: str = "none",  # name of an augmentation
    copies: int = 1,  # of each image, each augmented by itself
    seed: int = 0,  # of the augmentation
    batch_size: int = 64,  # images
    device: torch.device = CPU,
) -> np.ndarray:  # [copies, n, 3, D] float32, memory-mapped
    """Features of `rows`, computed at the first call and opened from their store at later ones.

    Copy k is what a training on pictures with this seed would see in epoch k; `augment.stored_copy`
    draws among the copies. Raises ValueError for copies that would all be the same.
    """
    read = AUGMENTATIONS[require_name(augment, tuple(AUGMENTATIONS), what="augment")]
    if copies < 1 or (copies > 1 and augment == "none"):
        raise ValueError(f"copies is {copies} with augment {augment!r}; expected 1, or more with an augmentation")

    def load(batch: tuple[int, int]) -> torch.Tensor:
        copy, start = batch
        return to_input(read(pixels, rows[start : start + batch_size], seed=seed, epoch=copy), device)

    batches = [(copy, start) for copy in range(copies) for start in range(0, len(rows), batch_size)]
    shape = (copies, len(rows), len(model.base_models), model.base_models[0].classifier.in_features)
    model.to(device)
    with memory_advice("features", batch_size):
        return stored_array(
            cache_root,
            "features",
            [key, rows.tolist(), augment, copies, seed],
            lambda path: _fill(path, shape, model, load, batches),
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
    shape: tuple[int, ...],
    model: DeepFeatureXNet,
    load: Callable[[tuple[int, int]], torch.Tensor],
    batches: list[tuple[int, int]],
) -> None:
    require_space(path.parent, 4 * int(np.prod(shape)))
    store = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
    images, written = store.reshape(-1, *shape[2:]), 0
    for inputs in progress(one_ahead(load, batches), label="features", total=len(batches)):
        images[written : written + len(inputs)] = model.features(inputs).float().cpu().numpy()
        written += len(inputs)
    store.flush()
