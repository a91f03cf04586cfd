"""From photographs to reconstructions: weights, seeded noise, batches in double precision."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from dfxdemo import diffusion_like, gan_like
from dfxdemo.scenes import PHOTO_SIZE

WEIGHTS = Path(__file__).parent / "weights"


def build(architecture: str) -> torch.nn.Module:
    """The untrained network of an architecture."""
    if architecture in gan_like.SETTINGS:
        return gan_like.GanLike(**gan_like.SETTINGS[architecture])
    return diffusion_like.DiffusionLike(**diffusion_like.SETTINGS[architecture])


@cache
def load(architecture: str) -> torch.nn.Module:
    """The trained network, in double precision.

    Rounding to grey levels and JPEG turn differences of 1e-7 into whole grey levels now and then;
    at 1e-16 that practically never happens, so that machines agree.
    """
    network = build(architecture)
    network.load_state_dict({k: v.float() for k, v in load_file(WEIGHTS / f"{architecture}.safetensors").items()})
    return network.double().eval().requires_grad_(False)


def weights_digest() -> str:
    """One hash of all weights."""
    digest = hashlib.sha256()
    for path in sorted(WEIGHTS.glob("*.safetensors")):
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def reconstruct(
    architecture: str,
    photos: list[np.ndarray],  # B times [76, 76, 3] uint8
    levels: list[float],  # B noise levels
    streams: list[np.random.Generator],  # B, one a photograph
) -> list[np.ndarray]:  # B times [76, 76, 3] uint8
    """Reconstructions of photographs by one architecture."""
    network = load(architecture)
    images = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).double() / 127.5 - 1
    grain = np.stack(
        [level * rng.normal(size=(3, PHOTO_SIZE, PHOTO_SIZE))
         for level, rng in zip(levels, streams, strict=True)]
    )  # fmt: skip
    extra = {}
    if isinstance(network, diffusion_like.DiffusionLike):
        shape = network.noise_shape(PHOTO_SIZE)
        extra["start"] = torch.tensor([rng.uniform() for rng in streams], dtype=torch.float64)
        extra["noise"] = torch.from_numpy(np.stack([rng.normal(size=shape) for rng in streams], axis=1))
    output = network(images, torch.from_numpy(grain), **extra)
    levels_out = ((output + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return list(levels_out.permute(0, 2, 3, 1).contiguous().numpy())
