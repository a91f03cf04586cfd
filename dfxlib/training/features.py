"""Features once: the three frozen backbones run over an image a single time.

Frozen and without augmentation, the features of an image are constant. They are stored, and
every head of the published grid trains from the same store. With augmentation, K augmented
copies of each image are stored, among which a head's training draws.
"""

import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from dfxlib.data import perturb, residual, squares
from dfxlib.data.decode import DECODER
from dfxlib.models import backbones, networks, zoo
from dfxlib.models.networks import CPU, DeepFeatureXNet
from dfxlib.names import require_name
from dfxlib.system.files import new_array, source_hash, stored_array
from dfxlib.system.parallel import one_ahead, progress
from dfxlib.training import augment as augmentation
from dfxlib.training.augment import AUGMENTATIONS, plain
from dfxlib.training.fit import memory_advice, to_input

# What all stored features depend on besides what callers name: the decoder, the code from a picture to its features,
# and the packages that hold the networks and compute them.
_MADE_BY = [DECODER, source_hash(sys.modules[__name__], squares, residual, zoo, backbones, networks, plain, to_input)]

_MADE_BY += [torch.__version__, *(f"{name} {version(name)}" for name in ("torchvision", "timm") if find_spec(name))]

_AUGMENTED_BY, _PERTURBED_BY = source_hash(augmentation, perturb), source_hash(perturb)


def features_key(settings: dict, *, manifest_hash: str, device: torch.device) -> list:
    """What stored features depend on besides rows and code: images, base models, their input, the device."""
    return [manifest_hash, settings["base_models"], settings["image_size"], settings["resize_mode"], str(device)]


def extract_features(
    model: DeepFeatureXNet,
    pixels: np.ndarray,  # [N, S, S, 3] uint8
    rows: np.ndarray,  # [n] positions in `pixels`
    *,
    cache_root: Path,
    key: list,  # what the features depend on besides code and the following: manifest, base models, transform, device
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

    def load(batch: tuple[int, int]) -> tuple[int, int, torch.Tensor]:
        copy, start = batch
        return copy, start, to_input(read(pixels, rows[start : start + batch_size], seed=seed, epoch=copy), device)

    batches = [(copy, start) for copy in range(copies) for start in range(0, len(rows), batch_size)]
    inputs = progress(one_ahead(load, batches), label="features", total=len(batches))
    with memory_advice("features", batch_size):
        key = [key, rows.tolist(), augment, copies, seed, _MADE_BY, _AUGMENTED_BY if augment != "none" else ""]
        return _stored(model.to(device), inputs, shape=(copies, len(rows)), cache_root=cache_root, key=key)


def perturbed_features(
    model: DeepFeatureXNet,
    batches: Iterable[np.ndarray],  # [B, conditions, S, S, 3] uint8, from squares.perturbed_squares; read when missing
    *,
    conditions: int,
    images: int,
    cache_root: Path,
    key: list,  # what the features depend on besides code: manifest, rows, base models, transform, conditions, device
    device: torch.device = CPU,
) -> np.ndarray:  # [conditions, images, 3, D] float32, memory-mapped
    """Features of the same images under every condition, stored like those of `extract_features`."""

    def inputs() -> Iterator[tuple[int, int, torch.Tensor]]:
        start = 0
        for batch in batches:
            for condition in range(conditions):
                yield condition, start, to_input(batch[:, condition], device)
            start += len(batch)

    key = [key, _MADE_BY, _PERTURBED_BY]
    return _stored(model.to(device), inputs(), shape=(conditions, images), cache_root=cache_root, key=key)


def _stored(
    model: DeepFeatureXNet,
    inputs: Iterable[tuple[int, int, torch.Tensor]],  # where a batch belongs (index, first image), and the batch
    *,
    shape: tuple[int, int],
    cache_root: Path,
    key: list,
) -> np.ndarray:  # [*shape, 3, D]
    base_models = model.each_base_model()
    whole = (*shape, len(base_models), base_models[0].crops * base_models[0].classifier.in_features)

    def fill(path: Path) -> None:
        store = new_array(path, dtype=np.float32, shape=whole)
        for index, start, batch in inputs:
            store[index, start : start + len(batch)] = model.features(batch).float().cpu().numpy()
        store.flush()

    return stored_array(cache_root, "features", key, fill)
