"""guidance.csv: the reference's split is read whatever its paths look like, and written as it reads it."""

from pathlib import Path

import pandas as pd
import pytest
from samples import plant_tree

from dfxlib.__main__ import main
from dfxlib.data.guidance import write_guidance
from dfxlib.data.layouts import list_images
from dfxlib.data.manifest import build_manifest, write_manifest

HERE = "gan_generated/AttGAN/1.png"


@pytest.fixture()
def tree(tmp_path: Path) -> Path:
    for path in (HERE, "dm_generated/Glide/2.png", "real/CelebA/3.png"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    return tmp_path


def declared(
    root: Path, text: str, *, layout: str = "deepfeaturex", encoding: str = "utf-8"
) -> dict[str, tuple[str, str]]:
    (root / "guidance.csv").write_text(text, encoding=encoding)
    rows = list_images(root, layout=layout)
    return {path: (split, problem) for path, split, problem in rows[["path", "declared_split", "problem"]].to_numpy()}


@pytest.mark.parametrize("layout", ["deepfeaturex", "folders"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize(
    "path",
    [
        HERE,
        f"/{HERE}",
        f"/home/somebody/datasets/{HERE}",
        f"datasets/{HERE}",
        f"../datasets/{HERE}",
        r"C:\data\gan_generated\AttGAN\1.png",
        r"gan_generated\AttGAN\1.png",
    ],
)
def test_a_path_of_any_kind_finds_its_image(tree: Path, path: str, layout: str, encoding: str) -> None:
    found = declared(tree, f"label,image_path,model\n1,{path},AttGAN\n", layout=layout, encoding=encoding)
    assert found[HERE] == ("complete", "") and found["real/CelebA/3.png"] == ("", "")
    assert len(found) == 3  # guidance.csv is no image, and no problem


def test_labels_are_base_complete_and_test(tree: Path) -> None:
    lines = f"0,{HERE},a\n1,dm_generated/Glide/2.png,b\n2,real/CelebA/3.png,c\n"
    found = declared(tree, f"label,image_path,model\n{lines}")
    assert {path: split for path, (split, _) in found.items()} == {
        HERE: "base",
        "dm_generated/Glide/2.png": "complete",
        "real/CelebA/3.png": "test",
    }


def test_an_image_that_is_named_but_absent_is_a_problem(tree: Path) -> None:
    found = declared(tree, f"label,image_path,model\n0,{HERE},a\n0,/mnt/x/gone.png,a\n0,..\\other.png,a\n")
    assert found["mnt/x/gone.png"] == found["other.png"] == ("", "named in guidance.csv, but not among the images")


def test_an_image_with_two_labels_is_a_problem(tree: Path) -> None:
    found = declared(tree, f"label,image_path,model\n0,{HERE},a\n2,/x/{HERE},a\n")
    assert found[HERE][1] == "named more than once in guidance.csv, with different labels"


@pytest.mark.parametrize(
    "text, message",
    [
        ("label,path\n0,a\n", "lacks the columns image_path; it has label, path"),
        (f"label,image_path\n3,{HERE}\n", r"label '3' is unknown; expected 0 \(base\), 1 \(complete\) or 2 \(test\)"),
        ("label,image_path\n0,x.png\n", "names none of the images, first x.png; check it"),
        ("label,image_path\n", "names none of the images, first no path at all"),
        ("", "is no CSV in UTF-8"),
    ],
)
def test_a_wrong_guidance_is_one_sentence(tree: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        declared(tree, text)
    assert "\n" not in str(caught.value)


def test_a_manifest_written_as_guidance_is_read_as_the_same_parts(tmp_path: Path) -> None:
    root = plant_tree(tmp_path / "data", images=30)
    manifest = build_manifest(root, unseen=("gan_1",), workers=1)
    count = write_guidance(manifest, root / "guidance.csv")
    table = pd.read_csv(root / "guidance.csv")
    assert list(table.columns) == ["label", "image_path", "model"] and len(table) == count
    assert set(table["model"]) == set(manifest["architecture"]) - {"gan_1"}
    rows = list_images(root, layout="folders")
    part = manifest["split"].str.split("_").str[0].replace({"unseen": "", "excluded": ""})
    assert rows["declared_split"].tolist() == part.tolist() and set(part) == {"base", "complete", "test", ""}
    assert set(rows["problem"]) == {""}


def test_the_command_line_writes_guidance(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = plant_tree(tmp_path / "data", images=10)
    write_manifest(build_manifest(root, workers=1), tmp_path / "manifest.csv")
    assert main(["guidance", str(tmp_path / "manifest.csv"), str(tmp_path / "guidance.csv")]) == 0
    assert "60 of 60 images" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "guidance.csv")) == 60
    assert main(["guidance", str(tmp_path / "gone.csv"), str(tmp_path / "guidance.csv")]) == 2
    assert "manifest" in capsys.readouterr().err


def test_guidance_never_takes_the_place_of_its_manifest(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    manifest = tmp_path / "manifest.csv"
    write_manifest(build_manifest(plant_tree(tmp_path / "data", images=2), workers=1), manifest)
    before = manifest.read_bytes()
    for place in (tmp_path, tmp_path / "new" / "guidance.csv"):
        assert main(["guidance", str(manifest), str(place)]) == 2
        assert f"out {place} must be a file in a folder that exists" in capsys.readouterr().err
    assert main(["guidance", str(manifest), str(manifest)]) == 2
    assert "manifest.csv is what is read, and would be lost; name another file" in capsys.readouterr().err
    assert manifest.read_bytes() == before


def test_a_manifest_without_a_part_is_refused(tmp_path: Path) -> None:
    manifest = pd.DataFrame({"path": ["a"], "architecture": ["b"], "split": ["unseen"]})
    with pytest.raises(ValueError, match="holds no image in base, complete or test"):
        write_guidance(manifest, tmp_path / "guidance.csv")
    assert not (tmp_path / "guidance.csv").exists()
