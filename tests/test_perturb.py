"""Perturbations: pure functions that do what their names say."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import noise

from dfxlib.decode import ImageFile, inspect_file
from dfxlib.perturb import CONDITIONS, describe, jpeg, keep, require_conditions


def test_raw_keeps_the_picture() -> None:
    image = noise(0)
    assert keep(image).tobytes() == CONDITIONS["raw"](image).tobytes() == image.tobytes()


@pytest.mark.parametrize("condition", sorted(CONDITIONS))
def test_a_condition_keeps_size_and_mode_and_leaves_its_argument_alone(condition: str) -> None:
    image = noise(0, width=33, height=21)
    version = CONDITIONS[condition](image)
    assert (version.size, version.mode) == ((33, 21), "RGB")
    assert image.tobytes() == noise(0, width=33, height=21).tobytes()


@pytest.mark.parametrize("quality, subsampling", [(90, "4:4:4"), (50, "4:4:4"), (90, "4:2:0"), (30, "4:2:0")])
def test_a_jpeg_condition_is_pillows_file_decoded(tmp_path: Path, quality: int, subsampling: str) -> None:
    noise(0).save(tmp_path / "a.jpg", quality=quality, subsampling=subsampling)
    version = CONDITIONS[f"jpeg{subsampling.replace(':', '')}_q{quality}"](noise(0))
    assert version.tobytes() == Image.open(tmp_path / "a.jpg").convert("RGB").tobytes()
    facts = inspect_file(ImageFile(tmp_path / "a.jpg"))
    assert (facts["jpeg_quality"], facts["jpeg_subsampling"]) == (quality, subsampling)


def test_the_published_qualities_and_ours_are_there_in_both_subsamplings() -> None:
    wanted = {f"jpeg444_q{q}" for q in (90, 80, 70, 60, 50)} | {f"jpeg420_q{q}" for q in (95, 90, 75, 50, 30)}
    assert wanted <= set(CONDITIONS)


def test_lower_quality_changes_the_picture_more() -> None:
    image = noise(0, width=8, height=8).resize((64, 64))
    pixels = np.asarray(image, dtype=float)
    errors = [np.abs(np.asarray(jpeg(image, quality=q, subsampling="4:4:4")) - pixels).mean() for q in (95, 75, 50, 30)]
    assert errors == sorted(errors) and errors[0] > 0


def test_chroma_subsampling_is_a_perturbation_of_its_own() -> None:
    full, half = (jpeg(noise(0), quality=90, subsampling=name) for name in ("4:4:4", "4:2:0"))
    assert np.abs(np.asarray(full, dtype=int) - np.asarray(half)).mean() > 5


def test_a_condition_describes_itself_for_the_record() -> None:
    assert describe("raw") == {"condition": "raw", "function": "keep"}
    expected = {"condition": "jpeg420_q75", "function": "jpeg", "quality": 75, "subsampling": "4:2:0"}
    assert describe("jpeg420_q75") == expected


def test_an_unknown_condition_is_refused_with_the_known_ones() -> None:
    assert require_conditions(["raw", "jpeg444_q90"]) == ["raw", "jpeg444_q90"]
    with pytest.raises(ValueError, match="condition 'jpeg_q90' is unknown; expected among raw, jpeg444_q95, "):
        require_conditions(["raw", "jpeg_q90"])
