"""What people's folders hold, through the public entry: every kind ends as a row that says what it is.

Each image below is one kind of input that other loaders drop, crash on or train on unawares.
"""

import io
import os
import shutil
import struct
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from samples import noise, plant_tree

from dfxlib.__main__ import main
from dfxlib.data.manifest import read_manifest
from dfxlib.names import CLASSES

FOLDER = "real/real_0"


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or noise(len(kind) + 500, width=60, height=50)).save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0\0\0\0IDAT"


def half(kind: str) -> bytes:
    data = encoded(kind)
    return data[: len(data) // 2]


def turned(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(kind, exif=exif)


def deep() -> Image.Image:
    return Image.fromarray(np.random.default_rng(7).integers(0, 65536, (9, 8), dtype=np.uint16))


def moving(kind: str) -> bytes:
    return encoded(kind, noise(40), save_all=True, append_images=[noise(41), noise(42)])


#: Name of the file -> bytes, and what the manifest must say of it: the problem, or "" and the conversion.
KINDS: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "half.jpg": (lambda: half("JPEG"), "truncated or damaged: .+", ""),
    "half.png": (lambda: half("PNG"), "truncated or damaged: .+", ""),
    "half.webp": (lambda: half("WEBP"), "truncated or damaged: .+", ""),
    "empty.png": (lambda: b"", "empty file", ""),
    "text.png": (lambda: b"these are words\n" * 50, "not an image", ""),
    "archive.jpg": (lambda: b"PK\x03\x04" + bytes(500), "not an image", ""),
    "png.jpg": (lambda: encoded("PNG"), "wrong extension: PNG named .jpg", ""),
    "jpeg.png": (lambda: encoded("JPEG"), "wrong extension: JPEG named .png", ""),
    "header.png": (lambda: png_header(20_000, 20_000), "too large: 20000 x 20000 pixels, .+", ""),
    "moving.gif": (lambda: moving("GIF"), "animated: 3 frames", ""),
    "moving.webp": (lambda: moving("WEBP"), "animated: 3 frames", ""),
    "moving.png": (lambda: moving("PNG"), "animated: 3 frames", ""),
    "float.tif": (lambda: encoded("TIFF", Image.fromarray(np.ones((4, 4), "f4"))), "unsupported mode: F", ""),
    "sixteen.png": (lambda: encoded("PNG", deep()), "", "16 bit: high byte; grey"),
    "sixteen.tif": (lambda: encoded("TIFF", deep()), "", "16 bit: high byte; grey"),
    "cmyk.jpg": (lambda: encoded("JPEG", noise(1001).convert("CMYK")), "", "cmyk"),
    "palette.png": (lambda: encoded("PNG", noise(1002).convert("P")), "", "palette"),
    "seen-through.png": (
        lambda: encoded("PNG", noise(1003).convert("P"), transparency=3),
        "",
        "palette; alpha dropped",
    ),
    "la.png": (lambda: encoded("PNG", noise(1004).convert("LA")), "", "grey; alpha dropped"),
    "rgba.png": (lambda: encoded("PNG", noise(1005).convert("RGBA")), "", "alpha dropped"),
    "key.png": (lambda: encoded("PNG", noise(1011), transparency=(1, 2, 3)), "", "alpha dropped"),
    "bits.png": (lambda: encoded("PNG", noise(1006).convert("1")), "", "grey"),
    "still.gif": (lambda: encoded("GIF", noise(1007)), "", "palette"),
    "turned.jpg": (lambda: turned("JPEG", 6), "", "exif orientation 6"),
    "webp.jpg": (lambda: turned("WEBP", 1), "wrong extension: WEBP named .jpg", ""),
    "dot.png": (lambda: encoded("PNG", noise(1008, width=1, height=1)), "", ""),
    "CAPITALS.PNG": (lambda: encoded("PNG", noise(1009)), "", ""),
    "plain.tif": (lambda: encoded("TIFF", noise(1012)), "", ""),
    "plain.bmp": (lambda: encoded("BMP", noise(1013)), "", ""),
    "v1.2.final.png": (lambda: encoded("PNG", noise(1014)), "", ""),
    "grün 日本 und mehr.png": (lambda: encoded("PNG", noise(1015)), "", ""),
    "two\nlines.png": (lambda: encoded("PNG", noise(1016)), "", ""),
    'comma, and "quote".png': (lambda: encoded("PNG", noise(1017)), "", ""),
    "trailing.jpg": (lambda: encoded("JPEG", noise(1018)) + b"words after the end", "", ""),
}


def call(*arguments: object) -> int:
    return main(["manifest", *map(str, arguments), "--workers", "1"])


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """A tree with every kind, and its manifest as the command line writes it, by path."""
    base = tmp_path_factory.mktemp("bad")
    root = plant_tree(base / "images", architectures=1, images=3)
    for name, (data, _, _) in KINDS.items():
        (root / FOLDER / name).write_bytes(data())
    for hidden in (".hidden/a.png", "__MACOSX/a.png", ".ipynb_checkpoints/a.png", ".a.png", "Thumbs.db"):
        (root / FOLDER / hidden).parent.mkdir(exist_ok=True)
        noise(2000).save(root / FOLDER / hidden, "PNG")
    (root / FOLDER / "carriage\rreturn.png").write_bytes(encoded("PNG", noise(1019)))
    (root / FOLDER / "folder.png").mkdir()
    os.mkfifo(root / FOLDER / "pipe.png")  # opening it would wait for ever
    (root / FOLDER / "nowhere.png").symlink_to("gone.png")
    (root / FOLDER / "loop").symlink_to(root / FOLDER)
    (root / "real" / "lonely").mkdir()
    noise(3000).save(root / "real" / "lonely" / "only.png")
    assert call(root, "--out", base / "m.csv", "--cache-root", base / "cache") == 0
    table, _ = read_manifest(base / "m.csv")
    return root, table.set_index("path")


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_a_row_with_its_problem_or_its_rule(bad: tuple, name: str) -> None:
    _, problem, conversion = KINDS[name]
    row = bad[1].loc[f"{FOLDER}/{name}"]
    assert pd.Series([row["problem"]]).str.fullmatch(problem or "").item(), row["problem"]
    if not problem:
        assert row["conversion"] == conversion
        assert row["split"] != "excluded" and len(row["pixel_sha256"]) == 64
    else:
        assert row["split"] == "excluded"


def test_every_row_keeps_size_and_hash_of_what_could_be_read(bad: tuple) -> None:
    root, table = bad
    for name in KINDS:
        row = table.loc[f"{FOLDER}/{name}"]
        assert row["bytes"] == (root / FOLDER / name).stat().st_size and len(row["sha256"]) == 64


def test_a_picture_turned_by_exif_is_described_as_it_is_stored(bad: tuple) -> None:
    assert bad[1].loc[f"{FOLDER}/turned.jpg", ["width", "height"]].tolist() == [60, 50]


@pytest.mark.parametrize(
    "name, problem",
    [
        ("carriage\\rreturn.png", "carriage return in the name"),
        ("nowhere.png", "unreadable: No such file|symbolic link leads nowhere"),
        ("pipe.png", "unreadable: not a regular file|neither a file nor a folder"),
    ],
)
def test_what_cannot_be_read_is_a_row_too(bad: tuple, name: str, problem: str) -> None:
    row = bad[1].loc[f"{FOLDER}/{name}"]
    assert pd.Series([row["problem"]]).str.match(problem).item(), row["problem"]
    assert row["split"] == "excluded" and row["sha256"] == ""


def test_hidden_files_and_what_systems_leave_behind_are_no_rows(bad: tuple) -> None:
    paths = "\n".join(bad[1].index)
    assert "hidden" not in paths and "MACOSX" not in paths and "checkpoints" not in paths and "Thumbs" not in paths


def test_a_link_that_leads_back_ends_and_repeats_no_image(bad: tuple) -> None:
    usable = bad[1][bad[1]["problem"] == ""]
    assert usable["sha256"].is_unique and len(usable[usable["architecture"] == "real_0"]) >= 3


def test_a_class_with_one_image_has_its_row(bad: tuple) -> None:
    assert bad[1].loc["real/lonely/only.png", "problem"] == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every file")
def test_a_file_without_permission_is_a_problem(tmp_path: Path) -> None:
    root = plant_tree(tmp_path / "images", architectures=1, images=2)
    (root / FOLDER / "000.png").chmod(0)
    assert call(root, "--out", tmp_path / "m.csv", "--cache-root", tmp_path / "c") == 0
    table = read_manifest(tmp_path / "m.csv")[0].set_index("path")
    assert table.loc[f"{FOLDER}/000.png", "problem"] == "unreadable: Permission denied"


def test_problems_are_listed_by_kind_with_the_first_files(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = plant_tree(tmp_path / "images", architectures=1, images=4)
    for number, data in enumerate([b"", b"", half("JPEG")]):
        (root / FOLDER / f"x{number}.jpg").write_bytes(data)
    assert call(root, "--out", tmp_path / "m.csv", "--cache-root", tmp_path / "c") == 0
    said = capsys.readouterr().out
    assert "3 files have a problem" in said
    assert f"empty file       2 {FOLDER}/x0.jpg | {FOLDER}/x1.jpg" in said


def test_strict_ends_with_an_error_and_still_writes_what_it_found(tmp_path: Path) -> None:
    root = plant_tree(tmp_path / "images", architectures=1, images=2)
    options = ["--strict", "--out", tmp_path / "m.csv", "--cache-root", tmp_path / "c"]
    assert call(root, *options) == 0
    (root / FOLDER / "text.png").write_text("words")
    assert call(root, *options) == 1
    assert (read_manifest(tmp_path / "m.csv")[0]["problem"] != "").sum() == 1


def test_one_picture_under_two_labels_is_one_group_and_is_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = plant_tree(tmp_path / "images", architectures=1, images=3)
    twin = root / "gan_generated" / "gan_0" / "twin.png"
    twin.write_bytes((root / FOLDER / "000.png").read_bytes())
    assert call(root, "--out", tmp_path / "m.csv", "--cache-root", tmp_path / "c") == 0
    assert f"1 sets of equal pictures, first gan_generated/gan_0/twin.png | {FOLDER}/000.png" in capsys.readouterr().out
    table = read_manifest(tmp_path / "m.csv")[0].set_index("path")
    assert table.loc["gan_generated/gan_0/twin.png", "group"] == table.loc[f"{FOLDER}/000.png", "group"]


def test_names_cannot_speak_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Escape codes, a change of direction and ends of lines in names of files and folders."""
    signs = "\x1b]0;title\x07\u202e\x9b2J"
    root = tmp_path / "root"
    for nature in CLASSES:
        (root / nature / f"x{signs}").mkdir(parents=True)
        noise(CLASSES.index(nature)).save(root / nature / f"x{signs}" / f"a{signs}.png")
    shutil.copy(root / "real" / f"x{signs}" / f"a{signs}.png", root / "real" / f"x{signs}" / f"copy{signs}\n.png")
    (root / "real" / f"x{signs}" / f"words{signs}.png").write_text("no picture")
    (root / f"out{signs}.png").touch()
    call = ["manifest", str(root), "--workers", "1", "--cache-root", str(tmp_path / "cache")]
    assert main([*call, "--out", str(tmp_path / "m.csv")]) == 0
    (root / f"new{signs}.png").touch()
    assert main([*call, "--verify", str(tmp_path / "m.csv")]) == 1
    assert main([*call, "--out", str(tmp_path / "n.csv"), "--group-pattern", "nothing"]) == 2
    said = "".join(capsys.readouterr())
    assert [sign for sign in said if unicodedata.category(sign) in ("Cc", "Cf") and sign != "\n"] == []
    escaped = r"\x1b]0;title\x07\u202e\x9b2J"
    for name in (f"x{escaped}", f"copy{escaped}\\n.png", f"words{escaped}.png", f"out{escaped}.png", f"new{escaped}"):
        assert name in said
    assert signs in (tmp_path / "m.csv").read_text(), "the manifest keeps the names"


def test_verify_names_what_is_missing_changed_or_new(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = plant_tree(tmp_path / "images", architectures=1, images=3)
    assert call(root, "--out", tmp_path / "m.csv", "--cache-root", tmp_path / "c") == 0
    assert call(root, "--verify", tmp_path / "m.csv") == 0
    (root / FOLDER / "000.png").unlink()
    noise(77).save(root / FOLDER / "001.png")
    noise(78).save(root / FOLDER / "more.png")
    capsys.readouterr()
    assert call(root, "--verify", tmp_path / "m.csv") == 1
    words = [line.split() for line in capsys.readouterr().out.splitlines()]
    named = [[f"{FOLDER}/000.png", "missing"], [f"{FOLDER}/001.png", "changed"], [f"{FOLDER}/more.png", "new"]]
    assert words[1:4] == named and words[4] == ["1", "missing,", "1", "changed,", "1", "new"]


@pytest.mark.parametrize("task", ["--out", "--verify"])
def test_input_that_cannot_be_used_is_one_sentence(tmp_path: Path, task: str, capsys: pytest.CaptureFixture) -> None:
    root = plant_tree(tmp_path / "images", architectures=1, images=2)
    assert call(root, "--out", tmp_path / "m.csv", "--cache-root", tmp_path / "c") == 0
    (tmp_path / "m.csv").write_text((tmp_path / "m.csv").read_text().replace("png", "jpg", 1))
    capsys.readouterr()
    gone = root if task == "--verify" else tmp_path / "nowhere"
    assert call(gone, task, tmp_path / "m.csv", "--cache-root", tmp_path / "c") == 2
    error = capsys.readouterr().err
    sentence = "it was edited; prepare it again" if task == "--verify" else "is missing; check data_root"
    assert error.startswith("dfx manifest: ") and error.endswith(f"{sentence}\n") and error.count("\n") == 1


def test_a_place_that_cannot_be_written_is_told_before_an_image_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    root = plant_tree(tmp_path / "images", architectures=1, images=1)
    for out in (tmp_path, tmp_path / "absent" / "m.csv"):
        assert call(root, "--out", out, "--cache-root", tmp_path / "c") == 2
        assert f"--out {out} must be a file in a folder that exists" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_a_call_inside_a_data_set_writes_nothing_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    root = plant_tree(tmp_path / "images", architectures=1, images=1)
    before = sorted(root.rglob("*"))
    monkeypatch.chdir(root)
    assert call(".", "--out", tmp_path / "m.csv") == 2
    told = capsys.readouterr().err
    assert f"cache_root {root / 'data' / 'cache'} lies in ., which is only read; name a place outside it" in told
    assert call(".", "--out", "m.csv", "--cache-root", tmp_path / "c") == 2
    assert "--out m.csv lies in ., which is only read" in capsys.readouterr().err
    assert sorted(root.rglob("*")) == before and not (tmp_path / "m.csv").exists() and not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--use-declared"], "use_declared is set, but the data set declares no split; set it to false"),
        (["--cache-root", "words/cache"], "cannot write cache_root {tmp_path}/words/cache: Not a directory"),
    ],
)
def test_what_names_and_places_tell_is_told_before_an_image_is_read(
    tmp_path: Path, options: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    root = plant_tree(tmp_path / "images", architectures=1, images=2)
    (tmp_path / "words").write_text("no folder")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dfxlib.data.manifest.read_facts", lambda *_, **__: pytest.fail("an image is read"))
    assert call(root, "--out", tmp_path / "m.csv", *options) == 2
    assert sentence.format(tmp_path=tmp_path) in capsys.readouterr().err


def test_images_that_declare_no_split_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = table_root(tmp_path, "")
    (root / "images.csv").write_text(listed(root).replace(",train", ",", 1))
    options = ["--layout", "csv", "--use-declared", "--out", tmp_path / "m.csv", "--cache-root", tmp_path / "c"]
    assert call(root, *options) == 0
    assert "1 images declare no split and were split by hash" in capsys.readouterr().out


def test_a_data_set_without_a_class_gets_its_manifest(tmp_path: Path) -> None:
    root = plant_tree(tmp_path / "images", architectures=1, images=2)
    for path in (root / "gan_generated").rglob("*.png"):
        path.unlink()
    assert call(root, "--out", tmp_path / "m.csv", "--cache-root", tmp_path / "c") == 0
    assert set(read_manifest(tmp_path / "m.csv")[0]["nature"]) >= {"dm_generated", "real"}


def table_root(folder: Path, table: str | bytes, *, images: int = 3) -> Path:
    """A tree of images with a table beside it."""
    root = plant_tree(folder / "images", architectures=1, images=images)
    (root / "images.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    return root


def listed(root: Path, *, ends: str = "\n", slash: str = "/", header: str = "path,label,split") -> str:
    """A table of every image: path, label, and the first image of each class as test."""
    paths = sorted(path.relative_to(root) for path in root.rglob("*.png"))
    lines = [f"{slash.join(p.parts)},{p.parts[0]},{'test' if p.stem == '000' else 'train'}" for p in paths]
    return ends.join([header, *lines, ""])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("/", "\\").encode(),
        lambda text: text.replace("path,label", "image,class").encode(),
    ],
    ids=["byte order mark", "Windows line ends", "Windows paths", "another project's header"],
)
def test_tables_of_other_systems_and_projects_are_read(tmp_path: Path, change: Callable[[str], bytes]) -> None:
    root = table_root(tmp_path, "")
    (root / "images.csv").write_bytes(change(listed(root)))
    options = ["--layout", "csv", "--use-declared", "--out", tmp_path / "m.csv", "--cache-root", tmp_path / "c"]
    assert call(root, *options) == 0
    table, _ = read_manifest(tmp_path / "m.csv")
    assert len(table) == 9 and (table["problem"] == "").all()
    assert set(table.loc[table["path"].str.endswith("000.png"), "split"]) == {"test"}
    assert "test" not in set(table.loc[~table["path"].str.endswith("000.png"), "split"])


@pytest.mark.parametrize(
    "table, sentence",
    [
        ("label,split\nreal,train\n", "path"),
        ("path,split\nreal/real_0/000.png,train\n", "label"),
        ("path,label\n../elsewhere.png,real\n", "../elsewhere.png"),
        ("path,label\nreal/../../elsewhere.png,real\n", "elsewhere.png"),
    ],
)
def test_a_table_that_lacks_a_column_or_leaves_the_root_is_refused(
    tmp_path: Path, table: str, sentence: str, capsys: pytest.CaptureFixture
) -> None:
    root = table_root(tmp_path, table)
    assert call(root, "--layout", "csv", "--out", tmp_path / "m.csv", "--cache-root", tmp_path / "c") == 2
    error = capsys.readouterr().err
    assert sentence in error and "images.csv" in error and error.count("\n") == 1
    assert not (tmp_path / "m.csv").exists()


def test_seventeen_duplicates_across_declared_splits_are_said_and_train_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    root = tmp_path / "cifake"
    for number, (split, label) in enumerate((s, c) for s in ("train", "test") for c in ("REAL", "FAKE")):
        (root / split / label).mkdir(parents=True)
        for image in range(20):
            noise(100 * number + image).save(root / split / label / f"{image}.png")
    for image in range(17):
        (root / "test" / "REAL" / f"again{image}.png").write_bytes(
            (root / "train" / "REAL" / f"{image}.png").read_bytes()
        )
    options = ["--layout", "cifake", "--use-declared", "--out", tmp_path / "m.csv", "--cache-root", tmp_path / "c"]
    assert call(root, *options) == 0
    assert "17 groups span declared splits, first test | train" in capsys.readouterr().out
    table, _ = read_manifest(tmp_path / "m.csv")
    again = table["path"].str.contains("again")
    assert (table.loc[again, "split"] == "test").all()
    assert (table["split"] == "excluded").sum() == 17
    assert set(table.loc[table["path"].str.startswith("train/REAL"), "split"]) >= {"excluded"}


def test_what_a_folder_cannot_say_is_a_row_with_a_problem(tmp_path: Path) -> None:
    root = plant_tree(tmp_path / "images", architectures=1, images=2)
    (root / "real" / "empty").mkdir()
    (root / FOLDER / "loop").symlink_to(root / "real")
    noise(50).save(root / FOLDER / "same.png")
    noise(51).save(root / FOLDER / "SAME.png")
    noise(52).save(root / FOLDER / "plain.png")
    os.rename(root / FOLDER / "plain.png", os.fsencode(root / FOLDER) + b"/b\xe9te.png")
    assert call(root, "--out", tmp_path / "m.csv", "--cache-root", tmp_path / "c") == 0
    table, _ = read_manifest(tmp_path / "m.csv")
    found = "\n".join(table.loc[table["problem"] != "", "path"] + ": " + table.loc[table["problem"] != "", "problem"])
    assert "real/empty: folder holds no image" in found
    assert f"{FOLDER}/loop: symbolic link leads back to" in found
    assert f"{FOLDER}/same.png: name differs from 'SAME.png' by case only" in found
    assert "te.png: " in found and (table["problem"] != "").sum() == 5
    assert (table.loc[table["problem"] != "", "split"] == "excluded").all()
