"""Harmonising: a new tree in which files tell nothing of the class; the source is never touched."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from samples import noise

from dfxlib.__main__ import main
from dfxlib.data.harmonise import Recipe, harmonise
from dfxlib.data.layouts import list_images
from dfxlib.data.manifest import build_manifest, read_manifest, write_manifest
from dfxlib.measure.audit import shortcut_table
from dfxlib.measure.baselines import byte_features, metadata_features
from dfxlib.names import CLASSES
from dfxlib.system.files import sha256_file

PNG, JPEG = Recipe(), Recipe(format="jpeg", quality=75, subsampling="4:2:0")


def plant(root: Path, *, images: int = 12, reals: str = "jpg") -> Path:
    """Reals of 40 x 56 pixels with a resolution and a colour profile, fakes PNG of 48 x 48: shortcuts all over."""
    for place, nature in enumerate(CLASSES):
        for number in range(images):
            folder = root / nature / f"{nature[:2]} {number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            width, height = (40, 56) if nature == "real" else (48, 48)
            image = noise(1000 * place + number, width=width, height=height)
            extra = {"dpi": (300, 300), "icc_profile": b"profile"} if nature == "real" else {}
            image.save(folder / f"i{number:03d}.{reals if nature == 'real' else 'png'}", **extra)
    return root


def manifest_of(root: Path, path: Path, **options: object) -> Path:
    write_manifest(build_manifest(root, workers=1, **options), path)
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:  # manifest, root; read only
    folder = tmp_path_factory.mktemp("source")
    root = plant(folder / "images")
    return manifest_of(root, folder / "manifest.csv"), root


def content(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): sha256_file(path) for path in files}


def test_a_shortcut_goes_to_chance(tmp_path: Path) -> None:
    root = plant(tmp_path / "images", images=120, reals="tif")  # equal pixels, unequal files
    path = manifest_of(root, tmp_path / "manifest.csv")
    harmonise(path, root, tmp_path / "new", recipe=JPEG._replace(crop=40), workers=1)
    found = {}
    for name, (tree, layout) in {"before": (root, "folders"), "after": (tmp_path / "new", "csv")}.items():
        manifest = build_manifest(tree, layout=layout, workers=1)
        used = manifest[manifest["split"] != "excluded"]
        features = {"metadata": metadata_features(used), "bytes": byte_features(used)}
        found[name] = shortcut_table(features, manifest, resamples=500).set_index("method")
    assert (found["before"]["value"] > 0.99).all() and (found["before"]["low"] > 0.8).all()
    assert (found["after"]["low"] <= 0.5).all()
    assert found["after"].loc["metadata", "value"] == 0.5  # files are alike to the letter
    assert all("is not shown to tell" in sentence for sentence in found["after"]["sentence"])


def test_pixels_are_kept_by_png_and_headers_are_not(source: tuple, tmp_path: Path) -> None:
    manifest, root = source
    before = content(root)
    table = harmonise(manifest, root, tmp_path / "new", recipe=PNG, workers=1)
    assert content(root) == before and len(table) == 36
    for row in table.itertuples():
        with Image.open(tmp_path / "new" / row.path) as new, Image.open(root / row.made_from) as old:
            np.testing.assert_array_equal(np.asarray(new), np.asarray(old.convert("RGB")))
            assert new.format == "PNG" and new.info == {}


def test_crop_and_resize_give_one_size_and_keep_the_grid_of_blocks(source: tuple, tmp_path: Path) -> None:
    manifest, root = source
    cropped = harmonise(manifest, root, tmp_path / "crop", recipe=PNG._replace(crop=32), workers=1)
    for row in cropped.itertuples():
        old = np.asarray(Image.open(root / row.made_from).convert("RGB"))
        # 40 x 56: the centre begins at (4, 12), the grid of blocks at (0, 8); 48 x 48: at (8, 8)
        top, left = (8, 0) if row.nature == "real" else (8, 8)
        expected = old[top : top + 32, left : left + 32]
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "crop" / row.path)), expected)
    resized = harmonise(manifest, root, tmp_path / "resize", recipe=JPEG._replace(resize=24), workers=1)
    with Image.open(tmp_path / "resize" / resized["path"].iloc[-1]) as image:
        assert (image.format, image.size) == ("JPEG", (24, 24))


def test_the_new_table_carries_groups_splits_and_origin(source: tuple, tmp_path: Path) -> None:
    manifest, root = source
    harmonise(manifest, root, tmp_path / "new", recipe=PNG, workers=1)
    table = pd.read_csv(tmp_path / "new" / "images.csv", keep_default_na=False)
    origin = pd.read_csv(manifest, keep_default_na=False).set_index("path").loc[table["made_from"]]
    for new, old in {"nature": "nature", "architecture": "architecture", "pair": "group",
                     "declared_split": "split", "made_from_sha256": "sha256"}.items():  # fmt: skip
        assert table[new].tolist() == origin[old].tolist()
    listed = list_images(tmp_path / "new", layout="csv").set_index("path").loc[table["path"]]
    assert (listed["problem"] == "").all()
    for column in ("nature", "architecture", "pair", "declared_split"):
        assert listed[column].tolist() == table[column].tolist()
    folders = list_images(tmp_path / "new", layout="folders")
    assert sorted(folders["path"][folders["problem"] == ""]) == sorted(table["path"])
    record = json.loads((tmp_path / "new" / "harmonised.json").read_text())
    assert record["finished"] is True and record["source"]["manifest"] == sha256_file(manifest)
    assert record["recipe"]["format"] == "png" and set(record["versions"]) == {"dfxlib", "pillow"}


def test_names_that_collide_are_told_apart(tmp_path: Path) -> None:
    root = plant(tmp_path / "images", images=4)
    folder = root / "real" / "re 0"
    noise(7).save(folder / "A.png")
    noise(8).save(folder / "a.bmp")
    (folder / "deep").mkdir()
    noise(9).save(folder / "deep" / "a.png")
    table = harmonise(manifest_of(root, tmp_path / "m.csv"), root, tmp_path / "new", recipe=PNG, workers=1)
    assert table["path"].str.lower().is_unique
    three = table[table["made_from"].str.contains(r"/(?:A|a)\.")]
    assert len(three) == 3 and three["path"].str.fullmatch(r"real/re 0/[Aa]-[0-9a-f]{12}\.png").all()


def test_names_as_long_as_a_file_system_takes_are_kept_or_cut_to_fit(tmp_path: Path) -> None:
    root = plant(tmp_path / "images", images=4)
    alone, twin = "a" * 246 + ".png", "ü" * 125
    noise(5).save(root / "real" / "re 0" / alone)
    noise(6).save(root / "real" / "re 0" / f"{twin}.png")
    noise(7).save(root / "real" / "re 0" / f"{twin}.bmp")
    table = harmonise(manifest_of(root, tmp_path / "m.csv"), root, tmp_path / "new", recipe=PNG, workers=1)
    names = [Path(path).name for path in table["path"]]
    assert alone in names and all(len(name.encode()) <= 255 for name in names)
    cut = [name for name in names if name.startswith("ü")]
    assert len(set(cut)) == 2 and all(name[:-17] == "ü" * 115 for name in cut)
    assert set(table["path"]) <= set(content(tmp_path / "new"))


def test_an_architecture_of_any_length_is_a_folder(tmp_path: Path) -> None:
    root = plant(tmp_path / "images", images=4)
    manifest, digest = manifest_of(root, tmp_path / "m.csv"), tmp_path / "long.csv"
    table, _ = read_manifest(manifest)
    write_manifest(table.assign(architecture=table["architecture"] + "g" * 300), digest)
    found = harmonise(digest, root, tmp_path / "new", recipe=PNG, workers=1)
    assert (found["architecture"].str.len() > 300).all() and set(found["path"]) <= set(content(tmp_path / "new"))


def test_a_picture_that_no_jpeg_holds_is_named_before_anything_is_written(tmp_path: Path) -> None:
    root = plant(tmp_path / "images", images=4)
    Image.new("L", (70_000, 8)).save(root / "real" / "re 0" / "long.png")
    recipe = PNG._replace(format="jpeg", quality=90, subsampling="4:4:4")
    with pytest.raises(ValueError, match=r"JPEG has at most 65500 pixels a side, real/re 0/long\.png more; choose png"):
        harmonise(manifest_of(root, tmp_path / "m.csv"), root, tmp_path / "new", recipe=recipe, workers=1)
    assert not (tmp_path / "new").exists()


def test_a_backslash_in_a_name_does_not_become_a_folder(tmp_path: Path) -> None:
    """In a table's path it is read as Windows writes a slash."""
    root = plant(tmp_path / "images", images=4)
    noise(5).save(root / "real" / "re 0" / "a\\b.png")
    harmonise(manifest_of(root, tmp_path / "m.csv"), root, tmp_path / "new", recipe=PNG, workers=1)
    listed = list_images(tmp_path / "new", layout="csv")
    assert "real/re 0/a_b.png" in set(listed["path"]) and all(
        (tmp_path / "new" / path).is_file() for path in listed["path"]
    )


def test_damaged_images_are_left_out_and_counted(tmp_path: Path) -> None:
    root = plant(tmp_path / "images", images=4)
    (root / "real" / "re 0" / "torn.png").write_bytes(b"")
    table = harmonise(manifest_of(root, tmp_path / "m.csv"), root, tmp_path / "new", recipe=PNG, workers=1)
    record = json.loads((tmp_path / "new" / "harmonised.json").read_text())
    assert len(table) == 12 and record["source"]["left_out"] == 1


def test_a_stopped_harmonisation_continues_and_ends_equal(
    source: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dfxlib.data import harmonise as module

    manifest, root = source
    whole = harmonise(manifest, root, tmp_path / "whole", recipe=JPEG, workers=1)
    real, written = module._write_image, []

    def stops(item: tuple, **options: object) -> None:
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(item[1])
        real(item, **options)

    monkeypatch.setattr(module, "_write_image", stops)
    with pytest.raises(KeyboardInterrupt):
        harmonise(manifest, root, tmp_path / "new", recipe=JPEG, workers=1)
    assert json.loads((tmp_path / "new" / "harmonised.json").read_text())["finished"] is False
    assert not (tmp_path / "new" / "images.csv").exists()
    torn = tmp_path / "new" / Path(written[0]).parent / ".x.1.partial.jpg"
    torn.write_bytes(b"half")
    times = {name: os.stat(tmp_path / "new" / name).st_mtime_ns for name in written}
    monkeypatch.setattr(module, "_write_image", real)
    harmonise(manifest, root, tmp_path / "new", recipe=JPEG, workers=1)
    assert content(tmp_path / "new") == content(tmp_path / "whole") and len(whole) == 36
    assert {name: os.stat(tmp_path / "new" / name).st_mtime_ns for name in written} == times


def test_the_same_call_again_changes_nothing_and_another_recipe_is_refused(source: tuple, tmp_path: Path) -> None:
    manifest, root = source
    harmonise(manifest, root, tmp_path / "new", recipe=JPEG, workers=1)
    before = content(tmp_path / "new")
    harmonise(manifest, root, tmp_path / "new", recipe=JPEG, workers=1)
    assert content(tmp_path / "new") == before
    with pytest.raises(ValueError, match=r"holds a harmonisation with another recipe .*; give a new folder"):
        harmonise(manifest, root, tmp_path / "new", recipe=JPEG._replace(quality=80), workers=1)


def test_a_source_that_changed_stops_with_its_name(tmp_path: Path) -> None:
    root = plant(tmp_path / "images", images=4)
    manifest = manifest_of(root, tmp_path / "m.csv")
    noise(77).save(root / "dm_generated" / "dm 0" / "i000.png")
    with pytest.raises(ValueError, match=r"i000\.png changed since the manifest was made"):
        harmonise(manifest, root, tmp_path / "new", recipe=PNG, workers=1)


def test_a_source_that_is_missing_is_told_before_anything_is_written(source: tuple, tmp_path: Path) -> None:
    manifest, _ = source
    with pytest.raises(
        ValueError, match=rf"data root .*/nowhere is missing; give the folder that {manifest} describes"
    ):
        harmonise(manifest, tmp_path / "nowhere", tmp_path / "new", recipe=PNG, workers=1)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("place", ["images", "images/new", "images/real/new"])
def test_the_new_tree_may_not_lie_in_the_source(source: tuple, place: str) -> None:
    manifest, root = source
    with pytest.raises(ValueError, match=r"lies in .*images, which is only read; name a place outside it"):
        harmonise(manifest, root, root.parent / place, recipe=PNG, workers=1)


def test_a_folder_with_other_files_is_refused(source: tuple, tmp_path: Path) -> None:
    manifest, root = source
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"is not empty and holds no harmonised\.json; give an empty or a new folder"):
        harmonise(manifest, root, tmp_path, recipe=PNG, workers=1)
    with pytest.raises(ValueError, match="is not empty"):
        harmonise(manifest, root, root.parent, recipe=PNG, workers=1)


def test_a_full_disk_is_told_before_the_first_image(
    source: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1000})())
    with pytest.raises(OSError, match=r"free and .* are needed; make room"):
        harmonise(*source, tmp_path / "new", recipe=PNG, workers=1)
    assert not list((tmp_path / "new").rglob("*.png"))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": "webp"}, "format 'webp' is unknown; expected png or jpeg"),
        ({"quality": 90}, "quality and subsampling belong to JPEG"),
        ({"format": "jpeg"}, "expected a quality from 1 to 100 and one of 4:4:4"),
        ({"format": "jpeg", "quality": 101, "subsampling": "4:4:4"}, "JPEG of quality 101"),
        ({"format": "jpeg", "quality": 90, "subsampling": "4:1:1"}, "subsampling '4:1:1'"),
        ({"resize": 32, "crop": 32}, "resize 32 and crop 32; expected one of them"),
        ({"crop": -1}, "resize 0 and crop -1"),
        ({"crop": 41}, r"crop 41: 12 images are smaller, first real/.*; choose at most 40"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_one_sentence(
    source: tuple, tmp_path: Path, change: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        harmonise(*source, tmp_path / "new", recipe=PNG._replace(**change), workers=1)
    assert "\n" not in str(caught.value) and not (tmp_path / "new").exists()


def test_the_command_line_writes_the_tree_and_refuses_with_one_line(
    source: tuple, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    manifest, root = map(str, source)
    call = ["harmonise", manifest, root, str(tmp_path / "new"), "--workers", "1"]
    assert main([*call, "--format", "jpeg", "--quality", "60", "--crop", "32"]) == 0
    assert "36 images in" in capsys.readouterr().out
    record = json.loads((tmp_path / "new" / "harmonised.json").read_text())
    assert record["recipe"] == {"format": "jpeg", "quality": 60, "subsampling": "4:4:4", "resize": 0, "crop": 32}
    assert main([*call, "--quality", "60"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dfx harmonise: quality and subsampling belong to JPEG") and error.count("\n") == 1
