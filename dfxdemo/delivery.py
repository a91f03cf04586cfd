"""The common way from a generator or a camera to the file: the same lottery for every nature.

Without it the traces of cameras and generators are so clean that a linear spectrum separates them
perfectly, which is neither realistic nor worth studying.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

SIZE = 64  # pixels a side of every file

SAME_SCALE = 0.25  # share of images that are cropped only

SCALES = (0.90, 1.12)

NOISE = (0.3, 3.0)  # standard deviation in grey levels

QUALITIES = (80, 98)


def deliver(
    pixels: np.ndarray,  # [H, W, 3] uint8, H and W at least SIZE / SCALES[0] + 2
    rng: np.random.Generator,
) -> np.ndarray:  # [64, 64, 3] uint8
    """Slight rescale, crop at any offset, sensor-like noise, JPEG; decoded again."""
    scale = 1.0 if rng.uniform() < SAME_SCALE else rng.uniform(*SCALES)
    quality = int(rng.integers(QUALITIES[0], QUALITIES[1] + 1))
    subsampling = int(rng.choice((0, 2)))  # 4:4:4 or 4:2:0
    sigma = rng.uniform(*NOISE)
    sides = [round(side * scale) for side in pixels.shape[1::-1]]
    image = Image.fromarray(pixels)
    if scale != 1.0:
        image = image.resize(sides, Image.Resampling.BICUBIC)
    left, top = (int(rng.integers(1, side - SIZE)) for side in sides)
    cropped = np.asarray(image)[top : top + SIZE, left : left + SIZE].astype(np.float64)
    noisy = np.clip(np.rint(cropped + sigma * rng.normal(size=cropped.shape)), 0, 255)
    stored = io.BytesIO()
    Image.fromarray(noisy.astype(np.uint8)).save(stored, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(stored).convert("RGB"))
