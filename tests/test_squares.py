"""Pictures as model input: squares by stated rules, stored once, paired under perturbations."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from samples import noise, plant_tree

from dfxlib.data import squares as module
from dfxlib.data.decode import ImageProblem, image_files, read_image
from dfxlib.data.manifest import build_manifest
from dfxlib.data.perturb import CONDITIONS
from dfxlib.data.squares import map_pixels, perturbed_squares, pixel_store, read_squares, to_square


def store(manifest: pd.DataFrame, root: Path, cache: Path, **options: object) -> np.ndarray:
    transform = {"image_size": 24, "resize_mode": "crop"} | options
    return pixel_store(manifest, manifest_hash="h", data_root=root, cache_root=cache, workers=1, **transform)


@pytest.fixture()
def own(tmp_path: Path) -> tuple[pd.DataFrame, Path]:
    root = plant_tree(tmp_path / "images", architectures=1, images=2)
    return build_manifest(root, workers=1), root


@pytest.mark.parametrize("mode", ["resize", "crop", "nearest"])
@pytest.mark.parametrize("width, height", [(32, 32), (50, 20), (7, 90), (1, 1)])
def test_every_picture_becomes_a_square_of_bytes(mode: str, width: int, height: int) -> None:
    square = to_square(noise(0, width=width, height=height), image_size=24, resize_mode=mode)
    assert square.shape == (24, 24, 3) and square.dtype == np.uint8


@pytest.mark.parametrize("mode", ["resize", "crop", "nearest"])
def test_a_picture_of_the_right_size_stays_as_it_is(mode: str) -> None:
    np.testing.assert_array_equal(to_square(noise(0), image_size=32, resize_mode=mode), np.asarray(noise(0)))


def test_resize_is_bilinear_with_antialiasing_and_ignores_the_aspect() -> None:
    image = noise(0, width=60, height=40)
    expected = np.asarray(image.resize((24, 24), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(to_square(image, image_size=24), expected)
    fine = Image.fromarray(np.indices((64, 64)).sum(0).astype(np.uint8) % 2 * 255).convert("RGB")
    assert np.ptp(to_square(fine, image_size=16).astype(int)[2:-2, 2:-2]) < 60  # a fine checkerboard turns grey


def test_crop_takes_the_centre_without_scaling() -> None:
    image = noise(0, width=40, height=30)
    np.testing.assert_array_equal(to_square(image, image_size=24, resize_mode="crop"), np.asarray(image)[3:27, 8:32])


def test_crop_mirrors_what_a_smaller_picture_lacks() -> None:
    pixels = np.asarray(noise(0, width=8, height=8))
    square = to_square(Image.fromarray(pixels), image_size=12, resize_mode="crop")
    np.testing.assert_array_equal(square[2:10, 2:10], pixels)
    np.testing.assert_array_equal(square[2:10, :2], pixels[:, 1::-1])
    np.testing.assert_array_equal(square[2:10, 10:], pixels[:, :-3:-1])


def test_nearest_invents_no_value() -> None:
    image = noise(0, width=8, height=8)
    square = to_square(image, image_size=32, resize_mode="nearest")
    np.testing.assert_array_equal(square, np.asarray(image).repeat(4, axis=0).repeat(4, axis=1))


def test_an_unknown_mode_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="resize_mode 'stretch' is unknown; expected one of resize, crop, nearest"):
        to_square(noise(0), resize_mode="stretch")


def test_row_i_of_the_store_is_row_i_of_the_manifest(study_manifest: tuple, tree: Path, tmp_path: Path) -> None:
    manifest, _ = study_manifest
    pixels = store(manifest, tree, tmp_path, image_size=32)
    assert pixels.shape == (72, 32, 32, 3)
    for position in (0, 30, 71):
        np.testing.assert_array_equal(pixels[position], np.asarray(Image.open(tree / manifest["path"][position])))


def test_damaged_rows_stay_black(own: tuple, tmp_path: Path) -> None:
    _, root = own
    (root / "real" / "real_0" / "000.png").write_bytes(b"words")
    manifest = build_manifest(root, workers=1)
    pixels = store(manifest, root, tmp_path)
    damaged = (manifest["problem"] != "").to_numpy()
    assert damaged.sum() == 1 and not pixels[damaged].any() and pixels[~damaged].any(axis=(1, 2, 3)).all()


def test_a_store_among_the_images_is_refused_before_one_is_read(own: tuple) -> None:
    manifest, root = own
    (root / manifest["path"].iloc[0]).unlink()
    with pytest.raises(ValueError, match=f"cache_root {root}/cache lies in {root}, which is only read"):
        store(manifest, root, root / "cache")
    assert not (root / "cache").exists()


def test_a_second_opening_reads_no_image(own: tuple, tmp_path: Path) -> None:
    manifest, root = own
    before = np.array(store(manifest, root, tmp_path))
    for path in root.rglob("*.png"):
        path.unlink()
    np.testing.assert_array_equal(store(manifest, root, tmp_path), before)


def test_other_transforms_are_other_stores(own: tuple, tmp_path: Path) -> None:
    manifest, root = own
    cropped, resized = (store(manifest, root, tmp_path, resize_mode=mode) for mode in ("crop", "resize"))
    assert (cropped != resized).any() and len(list(tmp_path.glob("pixels-*.npy"))) == 2


@pytest.mark.parametrize(
    "edit, message", [("change", "changed since the manifest was made"), ("remove", "cannot be read")]
)
def test_a_file_that_is_no_longer_the_manifests_is_named(own: tuple, tmp_path: Path, edit: str, message: str) -> None:
    manifest, root = own
    path = root / "real" / "real_0" / "001.png"
    noise(99).save(path) if edit == "change" else path.unlink()
    with pytest.raises(ImageProblem, match=rf"real/real_0/001\.png {message}"):
        store(manifest, root, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.npy"))


def test_conditions_are_paired_and_in_the_manifests_order(own: tuple) -> None:
    manifest, root = own
    names = ["raw", "jpeg420_q50"]
    batches = list(perturbed_squares(manifest, names, data_root=root, image_size=24, batch_size=4, workers=1))
    assert [batch.shape for batch in batches] == [(4, 2, 24, 24, 3), (2, 2, 24, 24, 3)]
    together = np.concatenate(batches)
    for position, path in enumerate(manifest["path"]):
        raw = Image.open(root / path)
        np.testing.assert_array_equal(together[position, 0], to_square(raw, image_size=24))
        np.testing.assert_array_equal(together[position, 1], to_square(CONDITIONS["jpeg420_q50"](raw), image_size=24))


def test_a_condition_comes_before_the_square(own: tuple) -> None:
    manifest, root = own
    row = manifest.iloc[0]
    (file,) = image_files(manifest.head(1), root)
    squares = read_squares(file, conditions=["jpeg444_q50"], image_size=16, resize_mode="resize")
    after = CONDITIONS["jpeg444_q50"](Image.fromarray(to_square(Image.open(root / row["path"]), image_size=16)))
    assert (squares[0] != np.asarray(after)).any()


def test_an_unknown_condition_is_refused_before_a_file_is_read(own: tuple) -> None:
    manifest, _ = own
    with pytest.raises(ValueError, match="condition 'blur' is unknown"):
        next(perturbed_squares(manifest, ["blur"], data_root=Path("/nowhere")))


def mean_and_size(pixels: np.ndarray) -> np.ndarray:
    return np.array([pixels.mean(), *pixels.shape[:2]])


def brightest(pixels: np.ndarray) -> np.ndarray:
    return np.array([pixels.max()])


def test_functions_of_other_rows_read_a_picture_once(own: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, root = own
    read = []
    monkeypatch.setattr(module, "read_image", lambda file: read.append(file.path.name) or read_image(file))
    some = manifest.iloc[[4, 1]]
    values = map_pixels({mean_and_size: manifest, brightest: some}, data_root=root, workers=1)
    assert sorted(read) == sorted(Path(path).name for path in manifest["path"])
    assert len(values[mean_and_size]) == 6 and len(values[brightest]) == 2
    expected = [np.asarray(Image.open(root / path)).max() for path in some["path"]]
    assert values[brightest][:, 0].tolist() == expected, "in the order of its own rows"


def test_a_function_of_raw_pixels_sees_the_pictures_own_size(own: tuple) -> None:
    manifest, root = own
    values = map_pixels({mean_and_size: manifest}, data_root=root, workers=1)[mean_and_size]
    assert values.shape == (6, 3) and (values[:, 1:] == 32).all()
    assert values[3, 0] == pytest.approx(np.asarray(Image.open(root / manifest["path"][3])).mean())
