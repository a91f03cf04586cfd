"""Marks of processing in pixels: clean pictures show none, known JPEG and known resizing do, wherever the grid lies."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from dfxlib.measure.processing import MARKS, SMALLEST, processing_marks

SIDE = 128


def photograph(seed: int, side: int = SIDE) -> Image.Image:
    """Smooth content with some grain: what a camera might see, free of blocks and interpolation."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).filter(ImageFilter.GaussianBlur(6))
    stretched = (np.asarray(coarse).astype(float) - 128) * 6 + 128
    return Image.fromarray(np.clip(stretched + rng.normal(0, 2, stretched.shape), 0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=quality)
    return Image.open(stored).convert("RGB")


def measure(images: list[Image.Image]) -> dict[str, np.ndarray]:
    return dict(zip(MARKS, np.array([processing_marks(np.asarray(image)) for image in images]).T))


@pytest.fixture(scope="module")
def clean() -> dict[str, np.ndarray]:
    return measure([photograph(seed) for seed in range(8)])


def test_clean_pictures_show_no_grid_of_their_own(clean: dict) -> None:
    for name in ("quantisation", "block_grid"):
        assert abs(clean[name].mean()) < 0.05


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_every_decoded_jpeg_is_told_from_every_clean_picture_by_quantisation(clean: dict, quality: int) -> None:
    stored = measure([jpeg(photograph(seed), quality) for seed in range(8)])
    assert stored["quantisation"].min() > clean["quantisation"].max() + 0.1


def test_blocks_show_on_the_grid_on_which_they_lie(clean: dict) -> None:
    larger = [jpeg(photograph(seed, SIDE + 8), 50) for seed in range(8)]
    own = measure([image.crop((0, 0, SIDE, SIDE)) for image in larger])
    cut = measure([image.crop((3, 5, SIDE + 3, SIDE + 5)) for image in larger])
    assert own["block_grid"].min() > clean["block_grid"].max()
    assert cut["shifted_grid"].min() > clean["shifted_grid"].max()
    assert abs(cut["block_grid"].mean()) < 0.1 < own["block_grid"].mean()


def test_a_crop_by_whole_blocks_keeps_the_grid_whatever_the_size_was() -> None:
    wide = jpeg(photograph(0, 256), 75)
    for size in ((150, 150), (203, 177), (256, 130)):
        found = measure([wide.crop((0, 0, *size))])
        assert found["quantisation"][0] > 0.1, size


@pytest.mark.parametrize("scale, period", [(1.25, 5), (1.5, 3), (2, 2), (4, 4)])
def test_an_enlargement_shows_with_its_period(clean: dict, scale: float, period: float) -> None:
    side = round(SIDE * scale)
    enlarged = [photograph(seed).resize((side, side), Image.Resampling.BICUBIC) for seed in range(8)]
    found = measure(enlarged)
    assert found["resampling"].min() > clean["resampling"].max()
    np.testing.assert_allclose(found["resampling_period"], period, rtol=0.06)


def test_blocks_are_not_taken_for_an_enlargement(clean: dict) -> None:
    blocks = measure([jpeg(photograph(seed), 50) for seed in range(8)])
    assert np.median(blocks["resampling"]) < clean["resampling"].max() + 0.5


@pytest.mark.parametrize("size", [(32, 32), (33, 700), (1000, 600), (47, 40)])
def test_pictures_of_any_size_and_flat_ones_have_finite_marks(size: tuple[int, int]) -> None:
    for pixels in (np.full((*size, 3), 7, np.uint8), np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)):
        assert np.isfinite(processing_marks(pixels)).all() and len(processing_marks(pixels)) == len(MARKS)


def test_a_picture_under_four_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match=rf"image of 40 x 31 pixels; .* at least {SMALLEST} a side"):
        processing_marks(np.zeros((31, 40, 3), np.uint8))
