"""Copies across data sets: what training has seen is left out of a further test, and large groups are told."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from samples import noise, plant_tree, rows
from test_sidecar import Counter

from dfxlib.data import sidecar
from dfxlib.data.manifest import build_manifest
from dfxlib.measure.copies import large_groups, largest_groups, load_thumbnails, read_thumbnails, seen_in_training
from dfxlib.measure.generators import further_rows
from dfxlib.names import TRAINED_SPLITS


def test_a_manifests_thumbnails_come_from_the_sidecar_of_its_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = plant_tree(tmp_path / "images", architectures=1, images=4)
    manifest = build_manifest(root, workers=1, sidecar=tmp_path / "cache")
    counter = Counter(sidecar.inspect_file)
    monkeypatch.setattr(sidecar, "inspect_file", counter)
    kept = read_thumbnails(manifest, root, workers=1, sidecar=tmp_path / "cache")
    assert counter.read == [] and kept.shape == (12, 16, 16)
    np.testing.assert_array_equal(kept, read_thumbnails(manifest, root, workers=1))
    exact = [np.asarray(Image.open(root / path).convert("L").reduce(2)).astype(int) for path in manifest["path"]]
    assert np.abs(kept - exact).mean() < 20 < np.abs(kept - exact[::-1]).mean()


def test_a_file_that_is_no_longer_the_manifests_is_refused(tmp_path: Path) -> None:
    root = plant_tree(tmp_path / "images", architectures=1, images=4)
    (root / "real" / "real_0" / "words.png").write_bytes(b"words")
    manifest = build_manifest(root, workers=1)
    read_thumbnails(manifest, root, workers=1)
    noise(99).save(root / "real" / "real_0" / "001.png")
    (root / "real" / "real_0" / "002.png").unlink()
    expected = (
        r"2 files under .*images are missing or changed .*, first real/real_0/001\.png; prepare the data set again"
    )
    with pytest.raises(ValueError, match=expected):
        read_thumbnails(manifest, root, workers=1)


def test_a_study_of_before_is_told_how_to_get_its_thumbnails(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"thumbnails\.npy is missing; run 00_prepare_dataset again"):
        load_thumbnails(tmp_path / "thumbnails.npy")
    np.save(tmp_path / "thumbnails.npy", np.ones((2, 16, 16), dtype=np.uint8))
    assert load_thumbnails(tmp_path / "thumbnails.npy").sum() == 512


def test_encoded_and_mirrored_training_images_are_no_further_test(tmp_path: Path) -> None:
    study = plant_tree(tmp_path / "study", images=6)
    own = build_manifest(study, workers=1)
    trained = own["split"].isin(TRAINED_SPLITS)
    assert 0 < trained.sum() < len(own)
    for number, path in enumerate(own["path"]):
        target = tmp_path / "further" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        image = Image.open(study / path)
        if number % 3 == 0:
            shutil.copy(study / path, target)
        elif number % 3 == 1:
            image.save(target.with_suffix(".jpg"), quality=95)
        else:
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(target)
    new = tmp_path / "further" / "real" / "real_0" / "new.png"
    noise(1000).save(new)
    further = build_manifest(tmp_path / "further", workers=1)
    places = {"thumbnails": (further, tmp_path / "further"), "own_thumbnails": (own, study)}
    seen = seen_in_training(
        further, own, **{name: read_thumbnails(*place, workers=1) for name, place in places.items()}
    )
    stem = further["path"].str.rsplit(".", n=1).str[0]
    known = stem.isin(set(own["path"][trained].str.rsplit(".", n=1).str[0]))
    assert (seen != "").tolist() == known.tolist()
    equal = further["pixel_sha256"].isin(set(own["pixel_sha256"][trained]))
    assert (seen == "equal pixels").tolist() == equal.tolist() and 0 < equal.sum() < known.sum()
    assert further_rows(further, own, seen)["path"].tolist() == further["path"][~known].tolist()
    assert "real/real_0/new.png" in set(further_rows(further, own, seen)["path"])


def grouped(sizes: dict[str, int]) -> pd.DataFrame:
    """Manifest rows of three natures, of which the first `sizes` images of the nature `real` share a group."""
    table = rows(300)  # 100 of each nature
    table["group"] = table["path"]
    real = table.index[table["nature"] == "real"].tolist()
    for name, size in sizes.items():
        table.loc[real[:size], "group"] = name
        real = real[size:]
    return table


def test_the_largest_groups_come_first_with_their_share_of_a_nature() -> None:
    table = grouped({"b": 6, "a": 9, "pair": 2})
    table.loc[table.index[table["nature"] == "gan_generated"][0], "group"] = "pair"
    found = largest_groups(table)
    assert found["group"].tolist() == ["a", "b", "pair"] and found["images"].tolist() == [9, 6, 3]
    assert found["share"].tolist() == [0.09, 0.06, 0.02] and set(found["nature"]) == {"real"}
    assert found["first"][2].count(" | ") == 1 and largest_groups(table, count=1)["group"].tolist() == ["a"]
    told = large_groups(table)
    assert len(told) == 2 and told[0].startswith("One group holds 9.0% of real, all of it in one split (9 images, ")


def test_single_and_damaged_images_are_no_group_and_five_percent_is_no_warning() -> None:
    table = grouped({"b": 5, "torn": 20})
    table.loc[table["group"] == "torn", "problem"] = "empty file"
    table.loc[table["nature"] == "real", "problem"] = table["problem"]
    assert largest_groups(table)["group"].tolist() == ["b"]
    assert largest_groups(grouped({})).empty and large_groups(grouped({"b": 5})) == []
