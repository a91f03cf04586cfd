"""What notebooks open first: the study's manifest, and pictures as the model at hand takes them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torchvision.models import resnet18

from dfxlib.data.manifest import build_manifest, write_manifest
from dfxlib.data.squares import pixel_store
from dfxlib.models import frozen, zoo
from dfxlib.study.inputs import large_images, open_manifest, open_squares, untouched_features


def test_the_manifest_of_a_study_is_opened_with_its_hash(tree: Path, tmp_path: Path) -> None:
    digest = write_manifest(build_manifest(tree, workers=1), tmp_path / "manifest" / "manifest.csv")
    manifest, found = open_manifest(str(tmp_path))
    assert found == digest and len(manifest) == 72


def test_a_study_without_a_manifest_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"manifest\.csv is missing"):
        open_manifest(str(tmp_path))


def test_squares_are_those_that_the_models_settings_ask_for(
    tree: Path, study_manifest: tuple[pd.DataFrame, str], tmp_path: Path
) -> None:
    manifest, digest = study_manifest
    where = {"data_root": str(tree), "cache_root": str(tmp_path), "workers": 1}
    settings = {"image_size": 16, "resize_mode": "nearest", "backbone": "any"}
    squares = open_squares(manifest, digest, settings, **where)
    paths = {"data_root": tree, "cache_root": tmp_path / "other", "workers": 1}
    expected = pixel_store(manifest, manifest_hash=digest, image_size=16, resize_mode="nearest", **paths)
    np.testing.assert_array_equal(squares, expected)


@pytest.mark.parametrize("mode", ["resize", "nearest"])
@pytest.mark.parametrize("looks", [{"front_end": "residual"}, {"front_end": "rgb", "augment": "jpeg_blur"}])
def test_small_pictures_are_not_enlarged_before_what_would_see_it(
    mode: str, looks: dict, tree: Path, study_manifest: tuple[pd.DataFrame, str], tmp_path: Path
) -> None:
    where = {"data_root": str(tree), "cache_root": str(tmp_path), "workers": 1}
    own = int(study_manifest[0][["width", "height"]].min(axis=1).median())
    settings = {"image_size": 2 * own, "resize_mode": mode} | looks
    message = f"enlarges pictures of {own} px before .*; choose resize_mode crop, image_size {own} and stem enlarged"
    with pytest.raises(ValueError, match=f"resize_mode {mode} {message}"):
        open_squares(*study_manifest, settings, **where)
    for fits in ({"resize_mode": "crop"}, {"image_size": own}, {"front_end": "rgb", "augment": "none"}):
        side = (settings | fits)["image_size"]
        assert open_squares(*study_manifest, settings | fits, **where).shape[1:] == (side, side, 3)


@pytest.mark.skipif(not frozen.is_at_hand(), reason="the extra `pretrained` is not installed")
def test_untouched_features_are_read_from_pictures_once(
    tree: Path, study_manifest: tuple[pd.DataFrame, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, digest = study_manifest
    rows = large_images(manifest).head(5)
    where = {"data_root": str(tree), "cache_root": str(tmp_path), "workers": 1}
    features = untouched_features(rows, digest, **where)
    squares = pixel_store(
        manifest,
        manifest_hash=digest,
        data_root=tree,
        cache_root=tmp_path,
        image_size=32,
        resize_mode="crop",
        workers=1,
    )
    np.testing.assert_allclose(features, frozen.features_of(squares[rows.index]), rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(frozen, "features_of", lambda *_, **__: pytest.fail("they are stored"))
    np.testing.assert_array_equal(untouched_features(rows, digest, **where), features)


def test_features_of_a_further_network_follow_the_file_of_its_weights(
    tree: Path, study_manifest: tuple[pd.DataFrame, str], tmp_path: Path
) -> None:
    manifest, digest = study_manifest
    rows, path = large_images(manifest).head(3), tmp_path / "resnet18.pth"
    where = {"data_root": str(tree), "cache_root": str(tmp_path), "workers": 1}
    found = []
    for seed in (0, 1):  # the same name, another content
        torch.manual_seed(seed)
        torch.save(resnet18().state_dict(), path)
        frozen._network.cache_clear()  # a kernel opens a network once
        found.append(np.array(untouched_features(rows, digest, network="resnet18", weights=str(path), **where)))
    assert found[0].shape == (3, 512) and not np.allclose(*found)


@pytest.mark.skipif(not frozen.is_at_hand(), reason="the extra `pretrained` is not installed")
def test_one_small_picture_does_not_make_all_of_them_small(
    tree: Path, study_manifest: tuple[pd.DataFrame, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, digest = study_manifest
    rows = large_images(manifest).head(30).assign(width=48, height=48)
    rows.iloc[0, rows.columns.get_loc("width")] = 32
    sides = []
    monkeypatch.setattr(
        frozen, "features_of", lambda batch, **_: sides.append(batch.shape[1:3]) or np.zeros((len(batch), 1280))
    )
    where = {"data_root": str(tree), "cache_root": str(tmp_path), "workers": 1}
    untouched_features(rows, digest, **where)
    assert set(sides) == {(48, 48)}
    monkeypatch.setattr(zoo, "smallest_image_size", lambda name: 64)  # of a network that takes one side alone
    untouched_features(rows, digest, **where)
    assert sides[-1] == (64, 64)
