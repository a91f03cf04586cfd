"""The fixed high-pass residual, and the spectrum in which generators leave their grids."""

import numpy as np
from scipy.ndimage import convolve

# Second-order high-pass kernel of the rich models (Fridrich and Kodovsky, IEEE TIFS 2012),
# in units of a pixel value: it removes content that is locally a parabola.
HIGH_PASS = (
    np.array([[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]) / 12
)

BLOCK = 32  # pixels, side of the blocks whose spectra are averaged


def high_pass(plane: np.ndarray) -> np.ndarray:  # [H, W] float64, both ways
    """What the high-pass leaves of one channel, in its units: noise, traces and fine texture."""
    return convolve(plane, HIGH_PASS, mode="mirror")


def luma_residual(pixels: np.ndarray) -> np.ndarray:  # [H, W, 3] uint8 -> [H, W] float64
    """The high-pass residual of the luma, in grey levels."""
    return high_pass(pixels.astype(np.float64) @ [0.299, 0.587, 0.114])


def residual_spectrum(pixels: np.ndarray) -> np.ndarray:  # [H, W, 3] uint8 -> [32 * 32] float
    """Power spectrum of the luma's residual, zero frequency in the middle.

    The mean over blocks of 32 x 32 pixels under a Hann window (Welch, 1967), so that pictures of
    any size compare. Averaged over the images of one architecture, peaks at fixed frequencies
    show the grid of its upsampling (Zhang, Karaman and Chang, WIFS 2019).
    """
    residual = luma_residual(pixels)
    missing = [(0, max(0, BLOCK - side)) for side in residual.shape]
    residual = np.pad(residual, missing)
    down, across = (side // BLOCK for side in residual.shape)
    blocks = residual[: down * BLOCK, : across * BLOCK].reshape(down, BLOCK, across, BLOCK).swapaxes(1, 2)
    window = np.outer(np.hanning(BLOCK), np.hanning(BLOCK))
    power = np.abs(np.fft.fft2(blocks * window)) ** 2 / (window**2).sum()
    return np.fft.fftshift(power.mean(axis=(0, 1))).ravel()
