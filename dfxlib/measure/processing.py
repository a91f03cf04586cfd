"""Marks of an earlier JPEG or an earlier resize inside the pixels, which no header shows."""

import numpy as np
from scipy.fft import dctn
from scipy.ndimage import median_filter

BLOCK = 8  # pixels, side of a JPEG block

LARGEST = 512  # pixels a side that are read of a picture: enough for either mark

SMALLEST = 32  # pixels a side: four blocks, below which neither mark can be told

#: What `processing_marks` measures, in its order.
MARKS = ("quantisation", "block_grid", "shifted_grid", "resampling", "resampling_period")

#: Periods from which resampling is told, in cycles a pixel; slower ones are content.
_SLOWEST = 0.1


def processing_marks(pixels: np.ndarray) -> np.ndarray:  # [H, W, 3] uint8 -> [5] float64, see MARKS
    """What JPEG blocks and interpolation have left in the luma.

    - `quantisation`: log ratio of the share of block DCT coefficients that are almost 0 on the
      file's own 8 x 8 grid to that on a grid between; above 0 where a decoded JPEG was stored
      losslessly (after Fan and de Queiroz, IEEE Transactions on Image Processing 2003).
    - `block_grid`: log ratio of the steps across the borders of the file's own grid to the median.
    - `shifted_grid`: the same for the strongest other grid; a JPEG that was cropped (after Li, Yuan
      and Yu, Signal Processing 2009). Being a maximum, it lies a little above 0 for every picture.
    - `resampling`: log height of the strongest peak in the spectrum of the derivatives' strength,
      which interpolation makes periodic (Gallagher, CRV 2005), in units of the median nearby.
      `resampling_period` is its period in pixels. Reductions in size leave hardly any.

    Raises ValueError under 32 pixels a side.
    """
    if min(pixels.shape[:2]) < SMALLEST:
        height, width = pixels.shape[:2]
        raise ValueError(f"image of {width} x {height} pixels; marks need at least {SMALLEST} a side; leave it out")
    luma = _corner(pixels).astype(np.float64) @ [0.299, 0.587, 0.114]  # [S, S]
    profiles = np.stack([_step_profile(luma), _step_profile(luma.T)])  # [2, 8]
    own, other = profiles[:, BLOCK - 1].mean(), profiles[:, : BLOCK - 1].max(axis=1).mean()
    second, third = (_peaks(luma, order) + _peaks(luma.T, order) for order in (2, 3))
    peaks = np.maximum(second, third) / 2  # [S / 2 + 1]
    frequency = np.arange(len(peaks)) / luma.shape[0]
    peaks[frequency < _SLOWEST] = 0
    # Blocks raise all multiples of 1/8 and the bins beside them: what stands out there must exceed the odd ones.
    eighth = np.rint(frequency * BLOCK)
    beside = np.abs(frequency * BLOCK - eighth) * luma.shape[0] < BLOCK * 1.5
    peaks[beside] /= max(1.0, np.mean([peaks[beside & (eighth == odd)].max() for odd in (1, 3)]))
    best = int(np.argmax(peaks))
    between = slice(BLOCK // 2, -BLOCK // 2)  # blocks that begin in the middle of the file's own
    zeros = np.log(_zero_share(luma) / _zero_share(luma[between, between]))
    return np.array([zeros, own, other, np.log(peaks[best]), 1 / frequency[best]])


def _corner(pixels: np.ndarray) -> np.ndarray:  # [H, W, 3] -> [S, S, 3]
    """A central square on the file's own block grid, its side a multiple of two blocks."""
    side = min(*pixels.shape[:2], LARGEST) // (2 * BLOCK) * 2 * BLOCK
    top, left = ((extent - side) // 2 // BLOCK * BLOCK for extent in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def _zero_share(luma: np.ndarray) -> float:  # [S, S]
    """Share of the 8 x 8 DCT coefficients that round to 0, with 1% added so that it has a log."""
    count = luma.shape[0] // BLOCK
    blocks = luma.reshape(count, BLOCK, count, BLOCK)
    return np.mean(np.abs(dctn(blocks, axes=(1, 3), norm="ortho")) < 0.5) + 0.01


def _step_profile(luma: np.ndarray) -> np.ndarray:  # [S, S] -> [8]
    """Log strength of the steps between columns k and k + 1 modulo 8, against the median of the eight.

    A step is what is left of a difference when its neighbours' mean is taken off: content
    changes smoothly, borders of blocks do not.
    """
    steps = np.diff(luma, axis=1)  # [S, S - 1]
    steps = np.abs(steps[:, 1:-1] - (steps[:, :-2] + steps[:, 2:]) / 2).mean(axis=0)  # step k is entry k - 1
    phase = np.arange(1, len(steps) + 1) % BLOCK
    means = np.bincount(phase, weights=steps) / np.bincount(phase)  # [8]
    return np.log((means + 0.1) / (np.median(means) + 0.1))


def _peaks(luma: np.ndarray, order: int) -> np.ndarray:  # [S, S] -> [S / 2 + 1]
    """Spectrum, along a row, of the mean strength of a derivative, in units of its median nearby.

    The second derivative is blind to a doubling whose samples lie symmetrically, the third is not.
    """
    strength = np.abs(np.diff(luma, n=order, axis=1)).mean(axis=0)
    strength = np.log(np.pad(strength, (0, order), mode="reflect") + 0.1)  # [S]
    swing = (strength - strength.mean()) * np.hanning(len(strength))
    power = np.abs(np.fft.rfft(swing)) ** 2 + 1e-9  # a flat picture has no peak
    # Content fills the low frequencies more than the high ones; a peak spans three bins of either.
    return power / median_filter(power, size=max(9, len(strength) // 8), mode="mirror")
