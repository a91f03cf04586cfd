"""The high-pass residual and the spectrum in which upsampling shows."""

import numpy as np
import pytest

from dfxlib.data.residual import BLOCK, HIGH_PASS, residual_spectrum


def noise(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_kernel_removes_a_constant_and_a_parabola() -> None:
    x = np.arange(5.0)
    assert HIGH_PASS.sum() == pytest.approx(0)
    assert (HIGH_PASS * (x**2)[:, None]).sum() == pytest.approx(0)
    assert (HIGH_PASS * (x**2)[None, :]).sum() == pytest.approx(0)


def test_a_flat_picture_has_no_residual() -> None:
    assert residual_spectrum(np.full((64, 48, 3), 90, dtype=np.uint8)) == pytest.approx(0)


def test_pictures_of_any_size_give_spectra_of_one_size_and_level() -> None:
    small, large = residual_spectrum(noise(32, 32)), residual_spectrum(noise(256, 130))
    assert small.shape == large.shape == (BLOCK * BLOCK,)
    assert small.mean() == pytest.approx(large.mean(), rel=0.3)
    assert residual_spectrum(noise(8, 200)).shape == (BLOCK * BLOCK,)


def test_a_grid_of_every_fourth_pixel_stands_out_at_a_quarter_of_the_sampling_rate() -> None:
    picture = noise(128, 128) // 16 + 100
    gridded = picture.copy()
    gridded[::4, ::4] += 24
    ratio = (residual_spectrum(gridded) / residual_spectrum(picture)).reshape(BLOCK, BLOCK)
    middle, quarter = BLOCK // 2, BLOCK // 4
    assert ratio[middle + quarter, middle + quarter] > 10
    assert np.median(ratio) == pytest.approx(1, abs=0.2)
