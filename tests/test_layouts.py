"""Layouts: rows from the names of folders, nothing lost in silence, strangers refused."""

from pathlib import Path

import pytest
from samples import noise

from dfxlib.layouts import LAYOUTS, list_folders
from dfxlib.names import NATURES


def put(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        noise(0).save(root / path) if path.endswith(".png") else (root / path).write_text("text")
    return root


def test_labels_come_from_the_names_of_folders(tmp_path: Path) -> None:
    rows = list_folders(put(tmp_path, "real/ffhq/b.png", "real/ffhq/a.png", "dm_generated/glide/c.png"))
    assert rows[["path", "nature", "architecture"]].to_numpy().tolist() == [
        ["dm_generated/glide/c.png", "dm_generated", "glide"],
        ["real/ffhq/a.png", "real", "ffhq"],
        ["real/ffhq/b.png", "real", "ffhq"],
    ]
    assert list(rows.columns) == ["path", "nature", "architecture", "source", "problem"]


def test_folders_below_an_architecture_belong_to_it(tmp_path: Path) -> None:
    rows = list_folders(put(tmp_path, "gan_generated/biggan/val/cat/a.png"))
    assert rows["architecture"].tolist() == ["biggan"] and rows["path"].tolist() == [
        "gan_generated/biggan/val/cat/a.png"
    ]


def test_every_nature_of_the_contract_is_accepted(tmp_path: Path) -> None:
    rows = list_folders(put(tmp_path, *[f"{nature}/x/a.png" for nature in NATURES]))
    assert set(rows["nature"]) == set(NATURES)


def test_clutter_of_operating_systems_and_notebooks_is_no_data(tmp_path: Path) -> None:
    clutter = [".DS_Store", ".ipynb_checkpoints/real/a.png", "__MACOSX/real/a.png", "real/ffhq/Thumbs.db"]
    clutter += ["real/ffhq/.a.png", "real/.hidden/a.png", "real/__MACOSX/b.png", "demo.json"]
    rows = list_folders(put(tmp_path, "real/ffhq/a.png", *clutter))
    assert rows["path"].tolist() == ["real/ffhq/a.png"]


def test_files_that_are_no_images_are_rows_with_a_problem(tmp_path: Path) -> None:
    rows = list_folders(put(tmp_path, "real/ffhq/a.png", "real/ffhq/list.csv", "real/stray.png")).set_index("path")
    assert rows.loc["real/ffhq/list.csv", "problem"] == "suffix '.csv' is no image's"
    assert rows.loc["real/stray.png", "problem"] == "outside an architecture's folder"
    assert rows.loc["real/ffhq/a.png", "problem"] == ""


def test_suffixes_in_capitals_are_images(tmp_path: Path) -> None:
    assert list_folders(put(tmp_path, "real/ffhq/A.JPG"))["problem"].tolist() == [""]


def test_images_behind_linked_folders_are_read_once(tmp_path: Path) -> None:
    disk = put(tmp_path / "disk", "progan/deep/a.png", "progan/b.png")
    root = tmp_path / "root"
    (root / "gan_generated").mkdir(parents=True)
    (root / "gan_generated" / "progan").symlink_to(disk / "progan")
    (disk / "progan" / "deep" / "back").symlink_to(disk / "progan")  # leads back: no endless walk
    paths = list_folders(root)["path"].tolist()
    assert paths == ["gan_generated/progan/b.png", "gan_generated/progan/deep/a.png"]


def test_a_missing_root_is_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^data root .*/nowhere is missing; check data_root$"):
        list_folders(tmp_path / "nowhere")


@pytest.mark.parametrize("paths", [[], ["real/ffhq/notes.txt"], ["real/stray.png"], ["notes.txt"]])
def test_a_root_without_an_image_says_what_was_expected(tmp_path: Path, paths: list[str]) -> None:
    with pytest.raises(ValueError, match="holds no image; expected ROOT/nature/architecture/image"):
        list_folders(put(tmp_path, *paths))


def test_a_stray_folder_is_named_beside_the_natures(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"folder 'fake' is not a nature; .*one of dm_generated, gan_generated, real"):
        list_folders(put(tmp_path, "real/ffhq/a.png", "fake/x/a.png"))


def test_the_table_of_layouts_knows_folders() -> None:
    assert LAYOUTS["folders"] is list_folders
