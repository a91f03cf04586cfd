"""Simulated cameras: lens, pixel integration, Bayer mosaic, noise, demosaicing, tone curve.

Each camera is a set of keyword arguments of `photograph`. Its traces are those of a real chain:
the periodic correlation that demosaicing leaves, noise coloured by it, its curve, its sharpening.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.ndimage import correlate, gaussian_filter, gaussian_filter1d

from dfxdemo.scenes import OVERSAMPLING

CAMERAS = {
    "camera_a_bilinear": {
        "lens": 2.3, "pattern": "RGGB", "demosaic": "bilinear", "gains": (0.55, 1.0, 0.65),
        "noise": 1.2, "gamma": 2.2, "contrast": 0.0, "sharpening": 0.40,
    },
    "camera_b_gradient": {
        "lens": 2.5, "pattern": "GBRG", "demosaic": "gradient", "gains": (0.60, 1.0, 0.55),
        "noise": 1.1, "gamma": 2.0, "contrast": 0.15, "sharpening": 0.0,
    },
    "camera_c_directional": {
        "lens": 2.7, "pattern": "BGGR", "demosaic": "directional", "gains": (0.50, 1.0, 0.60),
        "noise": 1.0, "gamma": 2.3, "contrast": 0.15, "sharpening": 0.15,
    },
    "camera_d_colour_difference": {
        "lens": 2.4, "pattern": "GRBG", "demosaic": "colour_difference",
        "gains": (0.58, 1.0, 0.62), "noise": 0.8, "gamma": 2.1, "contrast": 0.2,
        "sharpening": 0.1,
    },
}  # fmt: skip

# Bilinear interpolation of a quincunx (green) and of a square lattice (red, blue).
GREEN_BILINEAR = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4

COLOUR_BILINEAR = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4


def photograph(
    scene: np.ndarray,  # [4 H, 4 W, 3] linear light
    rng: np.random.Generator,
    *,
    lens: float,  # standard deviation of the lens blur, in canvas pixels
    pattern: str,  # the Bayer cell, row by row
    demosaic: str,
    gains: tuple[float, float, float],  # sensitivity of R, G, B, undone by white balance
    noise: float,  # factor on the noise of all photographs
    gamma: float,
    contrast: float,  # share of an S-shaped curve
    sharpening: float,
) -> tuple[np.ndarray, float]:  # [H, W, 3] uint8, and the noise level in 0.4..2
    """One photograph and its noise level (1: shot noise of about 2 grey levels at mid grey)."""
    level = noise * float(np.exp(rng.uniform(np.log(0.5), np.log(1.8))))
    exposure = float(np.exp(rng.normal(0.0, 0.2)))
    height, width = (side // OVERSAMPLING for side in scene.shape[:2])
    down, across = (_lens_and_pixels(side, lens) for side in scene.shape[:2])
    pixels = exposure * np.einsum("yv,vuc,xu->yxc", down, scene, across, optimize=True)  # [H, W, 3]
    masks = bayer_masks(pattern, height, width)  # [3, H, W]
    raw = sum(pixels[..., c] * gains[c] * masks[c] for c in range(3))  # [H, W]
    variance = level**2 * (2.5e-4 * raw + 2.5e-6)  # Poisson as its Gaussian limit, and read noise
    raw = np.clip(raw + np.sqrt(variance) * rng.normal(size=raw.shape), 0, 1.2)
    balanced = sum(raw * masks[c] / gains[c] for c in range(3))
    colours = np.clip(DEMOSAIC[demosaic](balanced, masks), 0, 1)  # [H, W, 3]
    curve = colours ** (1 / gamma)
    curve = curve + contrast * (curve * curve * (3 - 2 * curve) - curve)
    blurred = gaussian_filter(curve, (0.8, 0.8, 0), mode="mirror", truncate=3.0)
    developed = curve + 2 * sharpening * (curve - blurred)
    return np.clip(np.rint(developed * 255), 0, 255).astype(np.uint8), level


@cache
def _lens_and_pixels(side: int, lens: float) -> np.ndarray:  # [side / OVERSAMPLING, side]
    """What each pixel gathers from a line of canvas pixels: the lens blurs, and a pixel is the mean of what it covers.

    As one matrix, three times as fast as blurring the whole canvas.
    """
    blur = gaussian_filter1d(np.eye(side), lens, axis=0, mode="nearest", truncate=3.0)
    return blur.reshape(side // OVERSAMPLING, OVERSAMPLING, side).mean(axis=1)


def bayer_masks(pattern: str, height: int, width: int) -> np.ndarray:  # [3, H, W] float, 0 or 1
    """Which pixel sees which colour."""
    masks = np.zeros((3, height, width))
    for place, letter in enumerate(pattern):
        masks["RGB".index(letter), place // 2 :: 2, place % 2 :: 2] = 1
    return masks


def demosaic_bilinear(
    mosaic: np.ndarray,  # [H, W]
    masks: np.ndarray,  # [3, H, W]
) -> np.ndarray:  # [H, W, 3]
    """Every channel from its own samples. Mirrored borders keep the parity of the mosaic."""
    kernels = (COLOUR_BILINEAR, GREEN_BILINEAR, COLOUR_BILINEAR)
    channels = [correlate(mosaic * masks[c], kernels[c], mode="mirror") for c in range(3)]
    return np.stack(channels, axis=-1)


def demosaic_gradient(mosaic: np.ndarray, masks: np.ndarray) -> np.ndarray:  # [H, W, 3]
    """Bilinear, corrected by the mosaic's own gradient (Malvar, He and Cutler, ICASSP 2004)."""
    plain = demosaic_bilinear(mosaic, masks)
    gains = {1: 0.5, 0: 0.625, 2: 0.625}  # share of the gradient, by the channel estimated
    # at each pixel: its own sample minus the mean of the four nearest samples of its own colour
    cross = np.zeros((5, 5))
    cross[[0, 4, 2, 2], [2, 2, 0, 4]] = -0.25
    cross[2, 2] = 1
    gradient = correlate(mosaic, cross, mode="mirror")
    for channel, share in gains.items():
        plain[..., channel] += share * gradient * (1 - masks[channel])
    return plain


def demosaic_directional(mosaic: np.ndarray, masks: np.ndarray) -> np.ndarray:  # [H, W, 3]
    """Green along the direction of least change (Hamilton and Adams, 1997), colours after it."""
    line = np.array([[-0.25, 0.5, 0.5, 0.5, -0.25]])
    steps = np.array([[-1, 0, 2, 0, -1]])
    green_step = np.array([[0, 1, 0, -1, 0]])
    across, down = (correlate(mosaic, k, mode="mirror") for k in (line, line.T))
    change_across, change_down = (
        np.abs(correlate(mosaic, second, mode="mirror")) + np.abs(correlate(mosaic, first, mode="mirror"))
        for second, first in ((steps, green_step), (steps.T, green_step.T))
    )
    guess = np.where(change_across < change_down, across, down)
    guess = np.where(change_across == change_down, (across + down) / 2, guess)
    green = np.where(masks[1] > 0, mosaic, guess)
    return _colours_after_green(mosaic, masks, green)


def demosaic_colour_difference(mosaic: np.ndarray, masks: np.ndarray) -> np.ndarray:  # [H, W, 3]
    """Green bilinear, red and blue through their smooth difference from green."""
    green = correlate(mosaic * masks[1], GREEN_BILINEAR, mode="mirror")
    return _colours_after_green(mosaic, masks, green)


def _colours_after_green(mosaic: np.ndarray, masks: np.ndarray, green: np.ndarray) -> np.ndarray:  # [H, W, 3]
    channels = [green + correlate((mosaic - green) * masks[c], COLOUR_BILINEAR, mode="mirror") for c in (0, 2)]
    return np.stack([channels[0], green, channels[1]], axis=-1)


DEMOSAIC = {
    "bilinear": demosaic_bilinear,
    "gradient": demosaic_gradient,
    "directional": demosaic_directional,
    "colour_difference": demosaic_colour_difference,
}
