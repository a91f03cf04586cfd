"""Perturbations: pure functions that do what their names say, with OpenCV as the oracle."""

import json
from pathlib import Path

import cv2
import numpy as np
import PIL
import pytest
from PIL import Image, features
from samples import noise

from dfxlib.data.decode import ImageFile, inspect_file
from dfxlib.data.perturb import CONDITIONS, describe, jpeg, keep, require_conditions, sizes_after
from dfxlib.data.squares import to_square
from dfxlib.names import RESIZE_MODES


def test_raw_keeps_the_picture() -> None:
    image = noise(0)
    assert keep(image).tobytes() == CONDITIONS["raw"](image).tobytes() == image.tobytes()


#: Sizes of a 33 x 21 picture after the conditions that change it.
RESIZED = {"scale_50": (16, 10), "scale_200": (66, 42), "crop_80": (26, 17), "delivery": (16, 10)}


@pytest.mark.parametrize("condition", sorted(CONDITIONS))
def test_a_condition_is_pure_keeps_the_mode_and_says_its_size(condition: str) -> None:
    image = noise(0, width=33, height=21)
    version = CONDITIONS[condition](image)
    assert (version.size, version.mode) == (RESIZED.get(condition, (33, 21)), "RGB")
    assert image.tobytes() == noise(0, width=33, height=21).tobytes()
    assert CONDITIONS[condition](image.copy()).tobytes() == version.tobytes()


@pytest.mark.parametrize("condition", [*RESIZED, "raw", "mirror", "noise_s2", "web", "hard", "thumb"])
def test_how_large_a_picture_will_be_is_known_to_the_pixel(condition: str) -> None:
    sizes = np.array([[127, 127], [82, 130], [1, 3], [1001, 333], [768, 769], [129, 128]])
    made = [CONDITIONS[condition](Image.new("RGB", tuple(size))).size for size in sizes.tolist()]
    assert sizes_after(condition, sizes).tolist() == [list(size) for size in made]


def test_a_large_picture_that_was_read_is_encoded_without_pillows_limit(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # of 179 million, above which Pillow raises
    assert CONDITIONS["jpeg420_q75"](noise(0, width=64, height=64)).size == (64, 64)
    assert CONDITIONS["webp_q75"](noise(0, width=40, height=40)).size == (40, 40) and not recwarn.list


@pytest.mark.parametrize("mode", RESIZE_MODES)
@pytest.mark.parametrize("condition", sorted(CONDITIONS))
def test_a_picture_smaller_than_the_models_input_survives(condition: str, mode: str) -> None:
    for size in ((32, 32), (3, 1)):
        version = CONDITIONS[condition](noise(0, width=size[0], height=size[1]))
        assert to_square(version, image_size=64, resize_mode=mode).shape == (64, 64, 3)


@pytest.mark.parametrize("quality, subsampling", [(90, "4:4:4"), (50, "4:4:4"), (90, "4:2:0"), (30, "4:2:0")])
def test_a_jpeg_condition_is_pillows_file_decoded(tmp_path: Path, quality: int, subsampling: str) -> None:
    noise(0).save(tmp_path / "a.jpg", quality=quality, subsampling=subsampling)
    version = CONDITIONS[f"jpeg{subsampling.replace(':', '')}_q{quality}"](noise(0))
    assert version.tobytes() == Image.open(tmp_path / "a.jpg").convert("RGB").tobytes()
    facts = inspect_file(ImageFile(tmp_path / "a.jpg"))
    assert (facts["jpeg_quality"], facts["jpeg_subsampling"]) == (quality, subsampling)


def test_the_references_attacks_and_ours_are_there() -> None:
    others = {"blur_k3", "blur_k7", "blur_k15", "scale_50", "scale_200", "mirror", "rotate_45", "rotate_135"}
    others |= {"webp_q90", "webp_q75", "webp_q50", "noise_s4", "crop_80", "delivery"}
    wanted = others | {f"jpeg444_q{q}" for q in (90, 80, 70, 60, 50)} | {f"jpeg420_q{q}" for q in (95, 90, 75, 50, 30)}
    assert wanted <= set(CONDITIONS)


def test_lower_quality_changes_the_picture_more() -> None:
    image = noise(0, width=8, height=8).resize((64, 64))
    pixels = np.asarray(image, dtype=float)
    errors = [np.abs(np.asarray(jpeg(image, quality=q, subsampling="4:4:4")) - pixels).mean() for q in (95, 75, 50, 30)]
    assert errors == sorted(errors) and errors[0] > 0


def test_chroma_subsampling_is_a_perturbation_of_its_own() -> None:
    full, half = (jpeg(noise(0), quality=90, subsampling=name) for name in ("4:4:4", "4:2:0"))
    assert np.abs(np.asarray(full, dtype=int) - np.asarray(half)).mean() > 5


def difference(condition: str, image: Image.Image, expected: np.ndarray) -> np.ndarray:  # grey levels
    return np.abs(np.asarray(CONDITIONS[condition](image), dtype=int) - expected.astype(int))


@pytest.mark.parametrize("kernel", [3, 7, 15])
@pytest.mark.parametrize("size", [(64, 48), (33, 21), (16, 16)])
def test_blur_is_opencvs_with_the_references_sigma(kernel: int, size: tuple[int, int]) -> None:
    image = noise(0, width=size[0], height=size[1])
    expected = cv2.GaussianBlur(np.asarray(image), (kernel, kernel), cv2.BORDER_DEFAULT)  # as the reference calls it
    assert difference(f"blur_k{kernel}", image, expected).max() <= 1


@pytest.mark.parametrize("percent", [50, 200])
@pytest.mark.parametrize("size", [(64, 48), (33, 21), (35, 7), (219, 178), (32, 32)])
def test_scaling_is_opencvs_area_at_the_references_truncated_size(percent: int, size: tuple[int, int]) -> None:
    image = noise(0, width=size[0], height=size[1])
    new = tuple(int(side * percent / 100) for side in size)  # as the reference computes it: 219 becomes 109
    expected = cv2.resize(np.asarray(image), new, interpolation=cv2.INTER_AREA)
    assert CONDITIONS[f"scale_{percent}"](image).size == new
    assert difference(f"scale_{percent}", image, expected).max() <= (1 if percent < 100 else 0)


def test_mirroring_is_opencvs_flip_of_both_axes() -> None:
    assert difference("mirror", noise(0), cv2.flip(np.asarray(noise(0)), -1)).max() == 0


@pytest.mark.parametrize("degrees", [45, 135])
@pytest.mark.parametrize("size", [(64, 48), (63, 41)])
def test_rotation_is_the_references_call_on_the_same_canvas(degrees: int, size: tuple[int, int]) -> None:
    width, height = size
    image = noise(0, width=8, height=6).resize(size, Image.Resampling.BICUBIC)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    expected = cv2.warpAffine(np.asarray(image), matrix, size)
    found = difference(f"rotate_{degrees}", image, expected)
    inside = cv2.warpAffine(np.full((height, width), 255, dtype=np.uint8), matrix, size) == 255
    assert found[inside].max() <= 1 and inside.mean() > 0.5
    corners = np.asarray(CONDITIONS[f"rotate_{degrees}"](image))[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 0).all()


def test_rotation_around_the_middle_of_the_picture_would_be_another() -> None:
    """The check above must be able to see half a pixel."""
    image = noise(0, width=8, height=6).resize((64, 48), Image.Resampling.BICUBIC)
    middle = image.rotate(45, Image.Resampling.BILINEAR)
    assert (difference("rotate_45", image, np.asarray(middle)) > 1).mean() > 0.5


def test_noise_has_its_spread_depends_on_the_picture_alone_and_differs_between_pictures() -> None:
    grey, other = (Image.new("RGB", (200, 200), (level,) * 3) for level in (128, 129))
    added = np.asarray(CONDITIONS["noise_s4"](grey), dtype=int) - 128
    assert added.std() == pytest.approx(4, rel=0.02) and abs(added.mean()) < 0.05
    assert (added != np.asarray(CONDITIONS["noise_s4"](other), dtype=int) - 129).mean() > 0.5


def test_webp_is_pillows_file_decoded(tmp_path: Path) -> None:
    noise(0).save(tmp_path / "a.webp", quality=75)
    assert CONDITIONS["webp_q75"](noise(0)).tobytes() == Image.open(tmp_path / "a.webp").convert("RGB").tobytes()


def test_cropping_keeps_the_pixels_of_the_centre() -> None:
    image = noise(0, width=50, height=40)
    np.testing.assert_array_equal(np.asarray(CONDITIONS["crop_80"](image)), np.asarray(image)[4:36, 5:45])


def test_delivery_is_its_steps_one_after_the_other() -> None:
    image = noise(0, width=64, height=64)
    by_hand = jpeg(CONDITIONS["scale_50"](image), quality=55, subsampling="4:2:0")
    by_hand = jpeg(CONDITIONS["webp_q75"](by_hand), quality=80, subsampling="4:2:0")
    assert CONDITIONS["delivery"](image).tobytes() == by_hand.tobytes()


#: The long side that arrives of a picture of 1000 x 500 pixels, and the encoding on the way.
TIERS = {"web": (768, 60), "hard": (512, 40), "thumb": (128, 75)}


@pytest.mark.parametrize("tier", TIERS)
def test_a_tier_is_a_size_and_an_encoding(tier: str) -> None:
    side, quality = TIERS[tier]
    image = noise(0, width=1000, height=500)
    small = image.resize((side, side // 2), Image.Resampling.LANCZOS)
    assert CONDITIONS[tier](image).tobytes() == jpeg(small, quality=quality, subsampling="4:2:0").tobytes()
    sizes = np.array([[1000, 500], [300, 600], [60, 90]])
    shares = [min(1, side / longest) for longest in (1000, 600, 90)]
    assert sizes_after(tier, sizes).tolist() == np.rint(sizes * np.array(shares)[:, None]).tolist(), "never enlarged"


def test_avif_is_pillows_file_decoded_and_the_same_every_time(tmp_path: Path) -> None:
    image = noise(0, width=64, height=48)
    image.save(tmp_path / "a.avif", quality=60, subsampling="4:2:0", max_threads=1)
    assert CONDITIONS["avif"](image).tobytes() == Image.open(tmp_path / "a.avif").convert("RGB").tobytes()
    assert describe("avif")["subsampling"] == "4:2:0" and "libavif" in describe("avif")["encoder"]


def test_a_condition_describes_itself_for_the_record() -> None:
    assert describe("raw") == {"condition": "raw", "function": "keep"}
    encoder = f"libjpeg-turbo {features.version('libjpeg_turbo')}, Pillow {PIL.__version__}"
    expected = {"condition": "jpeg420_q75", "function": "jpeg", "quality": 75, "subsampling": "4:2:0"}
    assert describe("jpeg420_q75") == expected | {"encoder": encoder}
    assert describe("blur_k7").items() >= {"kernel": 7, "sigma": 4.0}.items() and "border" in describe("blur_k7")
    assert [step["condition"] for step in describe("delivery")["steps"]][:2] == ["scale_50", "jpeg420_q55"]
    assert all(json.dumps(describe(name)) for name in CONDITIONS)


def test_an_unknown_condition_is_refused_with_the_known_ones() -> None:
    assert require_conditions(["raw", "jpeg444_q90"]) == ["raw", "jpeg444_q90"]
    with pytest.raises(ValueError, match="condition 'jpeg_q90' is unknown; expected one of raw, jpeg444_q95, "):
        require_conditions(["raw", "jpeg_q90"])
