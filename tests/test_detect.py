"""Verdicts from the command line and as a stream: calibrated, complete, and never stopped by one bad file."""

import csv
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tracemalloc
from base64 import b64encode
from collections import Counter
from datetime import date
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pipeline import ROOT, environment
from samples import noise, squares
from scipy.special import softmax
from trained import CALIBRATION

import dfxlib
from dfxlib.__main__ import main
from dfxlib.data.decode import ImageFile
from dfxlib.data.manifest import build_manifest, write_manifest
from dfxlib.data.perturb import jpeg
from dfxlib.data.squares import to_square
from dfxlib.data.wholeness import FORMATS
from dfxlib.detect import verdicts
from dfxlib.detect.command import exit_code
from dfxlib.detect.engines import Judge, open_judge
from dfxlib.detect.export import open_model
from dfxlib.detect.find import find_images
from dfxlib.detect.folder import FORMAT
from dfxlib.detect.page import PAGE_ROWS
from dfxlib.detect.results import count, save_rows, summary
from dfxlib.detect.verdicts import BETWEEN, COLUMNS, UNLIKE, describe, detect, verdict
from dfxlib.names import CLASSES, NATURE_COLOURS
from dfxlib.system.files import BATCH_VARIABLE, write_vouched
from dfxlib.training.fit import to_input

ENDINGS = {"half.jpg", "words.png", "empty.png", "moving.gif"}


@pytest.fixture(scope="module")
def model(exported: Path) -> Path:
    return exported


@pytest.fixture(scope="module")
def judge(model: Path) -> Judge:
    return open_judge(model, engine="onnx")


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    """Four images in two folders, and between them everything that is none."""
    root = tmp_path / "mixed"
    (root / "below").mkdir(parents=True)
    for number in range(4):
        noise(number).save(root / ("below" if number % 2 else ".") / f"{number}.png")
    noise(9).save(root / "half.jpg")
    (root / "half.jpg").write_bytes((root / "half.jpg").read_bytes()[:300])
    (root / "words.png").write_text("no picture")
    (root / "empty.png").touch()
    noise(8).save(root / "moving.gif", save_all=True, append_images=[noise(7)])
    (root / "notes.txt").write_text("not even named like one")
    (root / ".hidden").mkdir()
    noise(6).save(root / ".hidden" / "a.png")
    return root


def with_limit(judge: Judge, limit: float) -> Judge:
    """The same model, to which features are near (limit 1e9) or far (1e-9) from those of its training."""
    return judge._replace(reference=judge.reference | {"limit": np.float32(limit)})


def planted(root: Path, count: int) -> list[ImageFile]:
    root.mkdir()
    files = []
    for number in range(count):
        noise(number).save(root / f"{number:03d}.png")
        files.append(ImageFile(root / f"{number:03d}.png"))
    return files


def call(*arguments: object) -> int:
    return main(["detect", *map(str, arguments), "--workers", "1", "--device", "cpu"])


def table_of(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, dtype=str)


def test_scores_are_those_of_the_model_on_the_square_calibrated(model: Path, judge: Judge, tmp_path: Path) -> None:
    noise(1, width=50, height=40).save(tmp_path / "a.png")
    (row,) = detect(with_limit(judge, 1e9), [ImageFile(tmp_path / "a.png")], workers=1)
    picture = Image.open(tmp_path / "a.png")
    versions = [picture, jpeg(picture, quality=75, subsampling="4:2:0"), picture.resize((25, 20), Image.Resampling.BOX)]
    made = np.stack([to_square(image, image_size=32, resize_mode="crop") for image in versions])
    with torch.no_grad():
        p = softmax(
            open_model(model).model(to_input(made, torch.device("cpu"))).numpy() / CALIBRATION["temperature"], axis=1
        )
    assert [row[name] for name in ("p_dm", "p_gan", "p_real")] == pytest.approx(list(p[0]), abs=1e-5)
    p_fake = p[:, 0] + p[:, 1]
    assert row["p_fake"] == pytest.approx(p_fake[0], abs=1e-5)
    assert (row["p_fake_low"], row["p_fake_high"]) == pytest.approx((p_fake.min(), p_fake.max()), abs=1e-5)
    assert row["holds"] == ("yes" if len(set(p_fake >= CALIBRATION["threshold"])) == 1 else "no")
    assert row["likeliest"] == CLASSES[p[0].argmax()] and (row["width"], row["height"]) == (50, 40)
    assert "50 x 40 pixels, training had sides of 32" in row["remark"] and row["unlike"] == ""


@pytest.mark.parametrize(
    ("p_fake", "band", "expected"),
    [
        (0.25, {}, "fake"),
        (0.2499, {}, "real"),
        (0.4, {"unsure_low": 0.2, "unsure_high": 0.5}, "unsure"),
        (0.2, {"unsure_low": 0.2, "unsure_high": 0.5}, "unsure"),
        (0.5, {"unsure_low": 0.2, "unsure_high": 0.5}, "fake"),
        (0.19, {"unsure_low": 0.2, "unsure_high": 0.5}, "real"),
        (0.3, {"unsure_low": 0.3, "unsure_high": 0.3}, "fake"),
    ],
)
def test_the_verdict_is_that_of_the_frozen_threshold_or_of_the_band(p_fake: float, band: dict, expected: str) -> None:
    assert verdict(p_fake, CALIBRATION | band) == expected


@pytest.mark.parametrize("size", [(31, 40), (32, 40)])
@pytest.mark.parametrize("limit", [1e9, 1e-9])
def test_a_picture_unlike_the_training_data_is_unsure_with_the_reason_whatever_its_score(
    judge: Judge, tmp_path: Path, limit: float, size: tuple[int, int]
) -> None:
    noise(1, width=size[0], height=size[1]).save(tmp_path / "a.png")
    (row,) = detect(with_limit(judge, limit), [ImageFile(tmp_path / "a.png")], workers=1)
    reasons = [reason for reason in row["unlike"].split("; ") if reason]
    assert [reason.split(" ")[0] for reason in reasons] == ["31"] * (size[0] < 32) + ["features"] * (limit < 1)
    assert (row["verdict"] == "unsure") == bool(reasons) == (row["holds"] == "")
    assert row["p_fake_low"] <= row["p_fake"] <= row["p_fake_high"], "scores are told all the same"
    half = "half the size is less than the model's input of 32"
    assert row["remark"] == f"{size[0]} x 40 pixels, training had sides of 32; {half}"
    line = describe(row)
    assert line.endswith(f"; remark: {row['remark']}") and ("under delivery" in line) == (not reasons)
    assert (f"a.png: unsure, {UNLIKE} ({row['unlike']}); fake score " in line) == bool(reasons), (
        "the reason comes first"
    )
    assert row["reason"] == (UNLIKE if reasons else "")


def test_batch_1_and_batch_256_give_the_same_scores(judge: Judge, tmp_path: Path) -> None:
    files = planted(tmp_path / "many", 257)
    many = [*detect(judge, files, delivery=False, batch_size=256, workers=1)]
    one = [*detect(judge, files[::8], delivery=False, batch_size=1, workers=1)]
    assert [row["path"] for row in many] == [str(file.path) for file in files]
    for name in ("p_dm", "p_gan", "p_real", "p_fake"):
        ones, manies = (np.array([row[name] for row in rows]) for rows in (one, many[::8]))
        assert np.abs(ones - manies).max() < 1e-5
        assert ones.std() > 1e-2, "a model that says the same of all would prove nothing"


def test_processes_give_the_same_rows_in_the_same_order(judge: Judge, tmp_path: Path) -> None:
    files = planted(tmp_path / "many", 70)
    alone, spread = ([*detect(judge, files, workers=workers)] for workers in (1, 2))
    assert alone == spread


def test_a_stream_reads_no_further_ahead_than_it_must(judge: Judge, tmp_path: Path) -> None:
    files = [*planted(tmp_path / "few", 3), *[ImageFile(tmp_path / "gone.png")] * 10_000]
    rows = detect(judge, files, delivery=False, workers=1)
    assert next(rows)["verdict"] and next(rows)["verdict"]


def test_one_bad_file_is_a_row_and_never_the_end(model: Path, folder: Path, tmp_path: Path) -> None:
    assert call(model, folder, "--out", tmp_path / "scores.csv") == 0
    table = table_of(tmp_path / "scores.csv")
    assert tuple(table.columns) == COLUMNS
    names = table["path"].str.removeprefix(f"{folder}/")
    bad = table["problem"] != ""
    assert set(names[~bad]) == {"0.png", "2.png", "below/1.png", "below/3.png"}
    assert set(names[bad]) == ENDINGS | {"notes.txt"}
    assert set(table.loc[~bad, "verdict"]) <= {"fake", "real"} and (table.loc[bad, "verdict"] == "").all()
    told = dict(zip(names, table["problem"]))
    assert told["empty.png"] == "empty file" and told["words.png"] == "not an image"
    assert told["moving.gif"] == "animated: 2 frames" and told["notes.txt"] == "suffix '.txt' is no image's"
    sums = table.loc[~bad, ["p_dm", "p_gan", "p_real"]].astype(float).sum(axis=1)
    assert sums.to_numpy() == pytest.approx(1, abs=1e-5)


def test_a_picture_for_which_memory_does_not_suffice_is_a_row(
    judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(picture: Image.Image) -> Image.Image:
        if picture.width > 32:
            raise MemoryError("Unable to allocate 2.41 GiB")
        return picture

    monkeypatch.setattr(verdicts, "DELIVERY", (full,))
    for name, width in (("a.png", 40), ("b.png", 32)):
        noise(1, width=width, height=32).save(tmp_path / name)
    large, small = detect(judge, [ImageFile(tmp_path / name) for name in ("a.png", "b.png")], workers=1)
    assert large["problem"] == "too large: it takes more memory than there is" and small["verdict"]


def test_pictures_of_every_kind_get_a_verdict(judge: Judge, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"\xff.png")
    wide = Image.new("RGB", (70_000, 4))
    noise(1, width=1, height=1).save(tmp_path / "dot.png")
    noise(2).save(tmp_path / "webp.jpg", "WEBP")
    noise(3).save(odd)
    wide.save(tmp_path / "wide.png")
    files = [ImageFile(path) for path in (tmp_path / "dot.png", tmp_path / "webp.jpg", odd, tmp_path / "wide.png")]
    dot, webp, named, too_wide = detect(with_limit(judge, 1e9), files, workers=1)
    assert dot["verdict"] == "unsure" and "1 x 1 pixels, smaller than the model's input of 32" in dot["unlike"]
    half = "half the size is less than the model's input of 32"
    assert webp["format"] == "WEBP" and webp["remark"] == f"WEBP, training had PNG; {half}"
    assert webp["verdict"] != "unsure"
    assert named["verdict"] and named["path"].endswith("\\xff.png")
    assert too_wide["problem"].startswith("cannot be delivered: ")
    assert next(detect(judge, files[3:], delivery=False, workers=1))["verdict"]


def test_folders_patterns_files_and_tables_name_images(folder: Path, tmp_path: Path) -> None:
    def names(*paths: object, root: Path | None = None) -> list[str]:
        return [file.path.name for file in find_images([str(path) for path in paths], root=root)[0]]

    assert names(folder / "0.png", folder / "below") == ["0.png", "1.png", "3.png"]
    assert names(folder / "**" / "[0-9].png") == ["0.png", "2.png", "1.png", "3.png"]
    assert names(folder / "notes.txt") == ["notes.txt"], "what is named is judged, whatever its suffix"
    (folder / "list.csv").write_text("path,note\n2.png,x\nbelow/1.png,y\n")
    assert names(folder / "list.csv") == ["2.png", "1.png"]
    table = shutil.move(folder / "list.csv", tmp_path / "list.csv")
    assert find_images([table], root=folder)[0][1].path == folder / "below" / "1.png"
    noise(1).save((folder / "named.csv").mkdir() or folder / "named.csv" / "a.png")
    assert names(folder / "named.csv") == ["a.png"], "a folder is a folder, whatever its name"
    (folder / "[odd].png").touch()
    assert names(folder / "[odd].png") == ["[odd].png"]


def test_a_table_is_read_as_windows_writes_paths_and_a_backslash_in_a_name_is_kept(folder: Path) -> None:
    noise(5).save(folder / "odd\\name.png")
    (folder / "list.csv").write_text("path\nbelow\\1.png\nodd\\name.png\n")
    files, _ = find_images([str(folder / "list.csv")])
    assert [file.path for file in files] == [folder / "below" / "1.png", folder / "odd\\name.png"]


def test_what_a_folder_or_a_pattern_passes_over_is_told(folder: Path, capsys: pytest.CaptureFixture) -> None:
    noise(5).save((folder / "below" / "@eaDir").mkdir() or folder / "below" / "@eaDir" / "a.png")
    told = "passed over as clutter of systems and storage servers"
    files, _ = find_images([str(folder)])
    assert capsys.readouterr().out == f"{folder}: {told}: 1 @eadir, 1 hidden\n"
    assert not [file for file in files if "@eaDir" in file.path.parts]
    files, _ = find_images([f"{folder}/**/[1a].png"])
    assert [file.path.name for file in files] == ["1.png"]
    assert capsys.readouterr().out == f"{folder}: {told}: 1 @eadir, 1 hidden\n", "a folder counts once, as in a walk"
    for pattern in ("*/@eaDir/*.png", "**/@eaDir/*.png"):
        capsys.readouterr()
        files, _ = find_images([f"{folder}/{pattern}"])
        assert len(files) == 1 and "@eadir" not in capsys.readouterr().out, "a pattern may name it"


@pytest.mark.parametrize(
    "what, kind",
    [
        (np.zeros((8, 8, 3)), "ndarray"),
        ([np.zeros((8, 8, 3))], "ndarray"),
        (3, "int"),
        ([3], "int"),
        (b"\x89PNG", "bytes"),
    ],
)
def test_what_is_neither_a_path_nor_a_picture_is_told_in_one_sentence(model: Path, what: object, kind: str) -> None:
    with pytest.raises(TypeError, match=f"^{kind} is no picture; expected a path or a Pillow image"):
        dfxlib.load(model).detect(what)


def test_a_name_without_a_sign_is_missing(model: Path, capsys: pytest.CaptureFixture) -> None:
    assert call(model, "") == 2
    assert "(an empty name) is missing; expected an image, a folder" in capsys.readouterr().err


def test_a_table_counts_with_numbers_where_a_picture_has_none(model: Path, folder: Path) -> None:
    table = dfxlib.load(model).detect([str(folder / "words.png"), str(folder / "empty.png")], delivery=False)
    assert table["p_fake"].isna().all() and np.isnan(table[["p_fake_low", "width"]].to_numpy()).all()


def test_a_pattern_goes_round_no_link_and_says_so(tmp_path: Path) -> None:
    for name in ("a.png", "sub/b.png", "sub/deep/c.png", "sub/deep/notes.txt", "other/d.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "sub" / "up").symlink_to("..")
    loops = {str(tmp_path / "loop"), str(tmp_path / "sub" / "up")}

    def names(pattern: str) -> tuple[list[str], set[str]]:
        files, problems = find_images([f"{tmp_path}/{pattern}"])
        return [file.path.relative_to(tmp_path).as_posix() for file in files], set(problems)

    assert names("**/*.png") == (["a.png", "sub/b.png", "sub/deep/c.png"], loops)
    assert names("**/*.p[!x]g")[0] == names("**/?.png")[0] == ["a.png", "sub/b.png", "sub/deep/c.png"]
    assert names("**/sub/**/*.png")[0] == ["sub/b.png", "sub/deep/c.png"]
    assert names("s*/**/*.png") == (["sub/b.png", "sub/deep/c.png"], {str(tmp_path / "sub" / "up")})
    text = str(tmp_path / "sub" / "deep" / "notes.txt")
    assert names("**/deep") == (["sub/deep/c.png"], loops | {text}), "a folder is named with all below it"
    assert names("**")[0] == ["a.png", "other/d.jpg", "sub/b.png", "sub/deep/c.png"]
    assert str(tmp_path / "empty") in names("**")[1]


def test_a_folder_without_an_image_among_others_that_a_pattern_names_is_a_row(tmp_path: Path) -> None:
    (tmp_path / "a1").mkdir()
    noise(0).save((tmp_path / "a2").mkdir() or tmp_path / "a2" / "x.png")
    files, problems = find_images([f"{tmp_path}/a*"])
    assert [file.path.name for file in files] == ["x.png"] and problems == {f"{tmp_path}/a1": "folder holds no image"}
    with pytest.raises(ValueError, match="a1 holds no image; expected files such as"):
        find_images([f"{tmp_path}/[a]1"])


@pytest.mark.parametrize("sign, escape", [("\x1b[31m", r"\x1b[31m"), ("\u202e", r"\u202e"), ("\n", r"\n")])
def test_a_name_cannot_speak_to_the_terminal(
    model: Path, tmp_path: Path, sign: str, escape: str, capsys: pytest.CaptureFixture
) -> None:
    noise(0).save(tmp_path / f"a{sign}b.png")
    (tmp_path / f"empty{sign}b.png").touch()
    assert call(model, tmp_path) == 0
    first, second, summary = capsys.readouterr().out.removesuffix("\n").split("\n")
    assert f"a{escape}b.png: " in first and f"empty{escape}b.png: empty file" in second
    assert not any(sign in line for line in (first, second, summary))
    assert call(model, tmp_path, "--out", tmp_path.parent / "s.csv", "--html", tmp_path.parent / "p.html") == 0
    assert f"a{sign}b.png" in "".join(table_of(tmp_path.parent / "s.csv")["path"]), "a table keeps the name"
    page = (tmp_path.parent / "p.html").read_text()
    assert f"a{escape}b.png" in page and sign not in page.replace("\n", "", page.count("\n") * (sign == "\n"))


def test_a_manifest_proves_that_files_are_still_the_same(tree: Path, judge: Judge, tmp_path: Path) -> None:
    root = shutil.copytree(tree, tmp_path / "tree")
    manifest = build_manifest(root, workers=1)
    write_manifest(manifest, tmp_path / "manifest.csv")
    noise(999).save(root / manifest["path"][1])
    files, _ = find_images([str(tmp_path / "manifest.csv")], root=root)
    first, second, *_ = detect(judge, files, workers=1, delivery=False)
    assert len(files) == len(manifest) and first["verdict"]
    assert "changed since the manifest was made" in second["problem"]


def test_lines_on_the_screen_say_what_the_table_says(model: Path, folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert call(model, folder / "0.png", folder / "empty.png") == 0
    first, second, last = capsys.readouterr().out.splitlines()
    number = r"[01]\.\d\d"
    assert re.fullmatch(
        rf".*0\.png: (fake|real); fake score {number} \(diffusion {number}, GAN {number}, real {number}\); "
        rf"(holds|does not hold) under delivery \({number} to {number}\).*",
        first,
    )
    assert second.endswith("empty.png: empty file")
    assert re.fullmatch(r"2 images: 1 (fake|real), 1 with a problem", last)


def test_the_page_needs_nothing_else_and_escapes_names(model: Path, folder: Path, tmp_path: Path) -> None:
    noise(5).save(folder / "<b>&.png")
    assert call(model, folder, "--html", tmp_path / "page.html", "--out", tmp_path / "scores.csv") == 0
    page = (tmp_path / "page.html").read_text()
    assert "<b>" + f"{folder}/&lt;b&gt;&amp;.png</b>" in page and "<b>&" not in page
    assert page.count('src="data:image/jpeg;base64,') == 5 and not re.search(r'(src|href)="(?!data:)', page)
    assert "empty file" in page and "no proof" in page
    assert f"<p>{model.name}: timm:test_resnet, trained on manifest 000000000000; {date.today()}</p>" in page
    assert len(table_of(tmp_path / "scores.csv")) == 10 and page.count("<li ") == 10


def test_a_long_page_ends_with_a_count(tmp_path: Path) -> None:
    row = dict.fromkeys(COLUMNS, "") | {"path": "a.png", "problem": "empty file", "thumbnail": b""}
    save_rows([row] * (PAGE_ROWS + 3), page=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<li ") == PAGE_ROWS and "10003 images: 10003 with a problem; 3 more are not shown here" in page


def test_a_run_that_dies_leaves_the_earlier_table(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("earlier\n")

    def rows():
        yield dict.fromkeys(COLUMNS, "") | {"path": "a.png", "problem": "empty file", "thumbnail": b""}
        raise KeyboardInterrupt

    with pytest.raises(
        KeyboardInterrupt, match=r"interrupted after 1 image: 1 with a problem; see .*scores\.partial\.csv"
    ):
        save_rows(rows(), table=tmp_path / "scores.csv", page=tmp_path / "page.html")
    assert {path.name for path in tmp_path.iterdir()} == {"scores.csv", "scores.partial.csv"}
    assert (tmp_path / "scores.csv").read_text() == "earlier\n"
    assert list(table_of(tmp_path / "scores.partial.csv")["path"]) == ["a.png"]


def start(*arguments: object) -> subprocess.Popen:
    """`python -m dfxlib detect` in the background, without progress bars and with lines as they come."""
    variables = environment(ROOT) | {"PYTHONUNBUFFERED": "1", BATCH_VARIABLE: "1"}
    command = [sys.executable, "-m", "dfxlib", "detect", *map(str, arguments), "--workers", "1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=variables, **pipes)


def test_a_terminated_detection_says_what_it_kept(model: Path, tmp_path: Path) -> None:
    planted(tmp_path / "many", 600)
    with start(model, tmp_path / "many", "--out", tmp_path / "scores.csv", "--batch-size", 1) as process:
        while not any(path.stat().st_size for path in tmp_path.glob(".scores.*")):  # the first rows are written
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        process.terminate()
        told = process.communicate(timeout=60)[1].splitlines()[-1]
    assert process.returncode == 143
    kept = table_of(tmp_path / "scores.partial.csv")
    assert re.search(rf"stopped by SIGTERM after {len(kept)} images: .*; see .*/scores\.partial\.csv$", told)
    assert {path.name for path in tmp_path.iterdir()} == {"many", "scores.partial.csv"}


def test_a_reader_that_has_enough_ends_it_quietly(model: Path, tmp_path: Path) -> None:
    files = planted(tmp_path / "many", 600)
    with start(model, files[0].path.parent) as process:
        assert "000.png: " in process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_without_any_verdict_the_exit_code_says_so(model: Path, folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert call(model, folder / "words.png") == 1
    assert capsys.readouterr().out.endswith("\n1 image: 1 with a problem\n")
    (folder / "only").mkdir()
    (folder / "notes.txt").rename(folder / "only" / "notes.txt")
    (folder / "empty.png").rename(folder / "only" / "empty.png")
    assert call(model, folder / "only") == 1
    assert capsys.readouterr().out.endswith("\n1 image: 1 with a problem, 1 other file\n")
    (folder / "only" / "nothing").mkdir()
    assert call(model, folder / "only") == 1
    assert capsys.readouterr().out.endswith("\n1 image: 1 with a problem, 2 other files\n")


def test_scores_that_are_not_finite_are_a_problem_and_never_a_verdict(judge: Judge, tmp_path: Path) -> None:
    noise(0).save(tmp_path / "a.png")
    broken = judge._replace(score=lambda squares: tuple(np.nan * part for part in judge.score(squares)))
    (row,) = detect(broken, [ImageFile(tmp_path / "a.png")], workers=1)
    assert row["problem"] == "the model's scores are not finite" and row["verdict"] == row["holds"] == ""
    broken = judge._replace(score=lambda squares: (judge.score(squares)[0], judge.score(squares)[1] * [-3, 7, 5]))
    (row,) = detect(broken, [ImageFile(tmp_path / "a.png")], workers=1)
    assert row["problem"] == "the model's scores are no probabilities" and row["verdict"] == ""


def test_an_option_says_which_picture_is_too_large(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    noise(0, width=40, height=30).save(tmp_path / "a.png")
    assert call(model, tmp_path / "a.png", "--pixel-limit", 1199) == 1
    assert "a.png: too large: 40 x 30 pixels, above pixel_limit 1199" in capsys.readouterr().out
    assert call(model, tmp_path / "a.png", "--pixel-limit", 1200) == 0
    for wrong in (0, -5, "many"):
        with pytest.raises(SystemExit):
            call(model, tmp_path / "a.png", "--pixel-limit", wrong)
        assert f"'{wrong}'; expected a whole number of at least 1" in capsys.readouterr().err


def test_a_file_that_is_gone_is_told_without_the_cure_of_a_data_set(judge: Judge, tmp_path: Path) -> None:
    (row,) = detect(judge, [ImageFile(tmp_path / "gone.png")], workers=1)
    assert row["problem"] == "cannot be read (No such file or directory)"


@pytest.mark.skipif("HEIF" in FORMATS, reason="the extra heic is there")
def test_a_format_of_an_extra_is_told_with_its_cure(judge: Judge, tmp_path: Path) -> None:
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (row,) = detect(judge, [ImageFile(tmp_path / "phone.heic")], workers=1)
    cure = "it is read with the extra heic (pip install 'dfxlib[heic]')"
    assert row["problem"] == f"unsupported format: HEIC; {cure}"


def test_a_camera_raw_file_gets_no_verdict_by_its_thumbnail(judge: Judge, tmp_path: Path) -> None:
    noise(0).save(tmp_path / "camera.dng", "TIFF")
    (row,) = detect(judge, [ImageFile(tmp_path / "camera.dng")], workers=1)
    assert row["problem"] == "unsupported format: camera raw"


class TestMistakes:
    def told(self, capsys: pytest.CaptureFixture, *arguments: object) -> str:
        assert call(*arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    def test_a_path_that_is_missing(self, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        sentence = "nowhere.png is missing; expected an image, a folder, a pattern or a CSV with paths"
        assert sentence in self.told(capsys, model, tmp_path / "nowhere.png")

    def test_a_folder_without_images(self, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        (tmp_path / "notes.txt").touch()
        assert "holds no image; expected files such as .apng, .avif, " in self.told(capsys, model, tmp_path)

    def test_a_table_without_paths(self, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
        (tmp_path / "list.csv").write_text("file\na.png\n")
        assert "lacks the columns path; it has file" in self.told(capsys, model, tmp_path / "list.csv")
        (tmp_path / "list.csv").write_text("path\n")
        assert "lists no image; expected one row an image" in self.told(capsys, model, tmp_path / "list.csv")
        (tmp_path / "list.csv").write_text('path,note\na.png,x\n"",y\n')
        assert "row 2 has no path; complete or remove it" in self.told(capsys, model, tmp_path / "list.csv")

    @pytest.mark.parametrize("row", ["1.0", "x", "-1", "", "1" + "0" * 5000, "\u0661", "\x1b[2J"])
    def test_a_table_whose_row_of_a_container_is_no_number(
        self, model: Path, tmp_path: Path, row: str, capsys: pytest.CaptureFixture
    ) -> None:
        table = tmp_path / "list.csv"
        table.write_text(f"path,container,row\n0.png,,\na/0,a.parquet,{row}\n")
        told = self.told(capsys, model, table)
        assert f"table {table}: image 2 ('a/0') has the row {row[:20]!r}; expected 0, 1 and so on" in told
        assert "\x1b" not in told

    def test_a_model_that_is_missing_damaged_or_of_an_older_format(
        self, model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
    ) -> None:
        assert "nowhere is missing; expected a folder that" in self.told(capsys, tmp_path / "nowhere", folder)
        copy = shutil.copytree(model, tmp_path / "copy")
        data = bytearray((copy / "model.safetensors").read_bytes())
        data[-5] ^= 1
        (copy / "model.safetensors").write_bytes(data)
        assert "is damaged: model.safetensors does not match its checksum" in self.told(capsys, copy, folder)
        older = (copy / "model.json").read_text().replace(f'"format": {FORMAT}', '"format": 0')
        write_vouched(copy / "model.json", lambda path: path.write_text(older))
        assert f"has format 0; this dfxlib reads format {FORMAT}; export the run again" in self.told(
            capsys, copy, folder
        )

    def test_batches_of_nothing(self, model: Path, folder: Path, capsys: pytest.CaptureFixture) -> None:
        assert "batch_size is 0; expected at least 1" in self.told(capsys, model, folder, "--batch-size", 0)

    @pytest.mark.parametrize("count", [-1, 0])
    def test_no_processes(self, judge: Judge, folder: Path, count: int) -> None:
        with pytest.raises(ValueError, match=f"workers is {count}; expected at least 1"):
            next(detect(judge, [ImageFile(folder / "0.png")], workers=count))

    def test_one_file_for_table_and_page(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
    ) -> None:
        monkeypatch.chdir(tmp_path)
        sentence = "--out and --html are both one.html; give each a file of its own"
        told = self.told(capsys, tmp_path / "no model", folder, "--out", "one.html", "--html", tmp_path / "one.html")
        assert sentence in told and not [*tmp_path.glob("*.html")]

    @pytest.mark.parametrize("place", ["list.csv", "0.png"])
    def test_results_never_take_the_place_of_what_is_read(
        self, model: Path, folder: Path, tmp_path: Path, place: str, capsys: pytest.CaptureFixture
    ) -> None:
        shutil.copy(folder / "0.png", tmp_path / "0.png")
        (tmp_path / "list.csv").write_text("path\n0.png\n")
        before = (tmp_path / place).read_bytes()
        (tmp_path / "link").symlink_to(tmp_path / place)
        for option in ("--out", "--html"):
            for written in (tmp_path / place, tmp_path / "link"):
                told = self.told(capsys, model, tmp_path / "list.csv", option, written)
                assert f"{written} is among what is read, and would be lost" in told
        assert (tmp_path / place).read_bytes() == before

    def test_results_never_lie_in_a_folder_that_is_read(
        self, model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
    ) -> None:
        copy = shutil.copytree(model, tmp_path / "copy")
        before = sorted([*folder.rglob("*"), *copy.iterdir()])
        for option in ("--out", "--html"):
            for place, read in {folder / "below" / "s.csv": folder, copy / "model.safetensors": copy}.items():
                told = self.told(capsys, copy, folder, option, place)
                assert f"{option} {place} lies in {read}, which is only read; name a place outside it" in told
        assert sorted([*folder.rglob("*"), *copy.iterdir()]) == before

    @pytest.mark.parametrize("place", ["below", "0.png/scores.csv", "nowhere/scores.csv"])
    def test_a_place_that_cannot_be_written_is_told_first(
        self, model: Path, folder: Path, place: str, capsys: pytest.CaptureFixture
    ) -> None:
        for option in ("--out", "--html"):
            told = self.told(capsys, model, folder, option, folder / place)
            assert f"{place} must be a file in a folder that exists" in told


def test_it_works_from_any_folder_without_data_and_without_the_study(model: Path, tmp_path: Path) -> None:
    """As on a colleague's machine: the exported folder, a picture, and nothing else at hand."""
    copy = shutil.copytree(model, tmp_path / "model")
    noise(0).save(tmp_path / "a.png")
    command = [sys.executable, "-m", "dfxlib", "detect", "model", "a.png", "--out", "scores.csv"]
    result = subprocess.run(command, cwd=tmp_path, env=environment(ROOT), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(r"1 image: 1 .*; see scores\.csv\n", result.stdout)
    with open(tmp_path / "scores.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["path"] == "a.png" and 0 <= float(row["p_fake"]) <= 1 and copy.is_dir()


def test_closed_streams_end_nothing(model: Path, tmp_path: Path) -> None:
    """As under some schedulers: what would be drawn there is left out, and an error is printed with the rest."""
    planted(tmp_path / "many", 40)
    detect = f"{sys.executable} -m dfxlib detect {model} many --no-delivery --device cpu --workers 2"
    options = {"cwd": tmp_path, "env": environment(ROOT), "stdout": subprocess.PIPE, "text": True, "check": False}
    seen = subprocess.run(["sh", "-c", f"{detect} 2>&-"], **options)
    assert seen.returncode == 0 and len(seen.stdout.splitlines()) == 41, seen.stdout
    unseen = subprocess.run(["sh", "-c", f"{detect} --out scores.csv <&- >&- 2>&-"], **options)
    assert unseen.returncode == 0 and len(table_of(tmp_path / "scores.csv")) == 40
    wrong = subprocess.run(["sh", "-c", f"{detect} 2>&-".replace("many", "nowhere")], **options)
    assert wrong.returncode == 2 and wrong.stdout.startswith("dfx detect: nowhere is missing")


def test_the_commands_of_the_documentation_work(
    trained_run: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = re.search(r"## Detect images\n.*?```sh\n(.*?)```", (ROOT / "docs" / "detection.md").read_text(), re.S)[1]
    places = {"runs/demo/complete/efficientnet_lite0/seed0": str(trained_run), "PHOTOS": str(folder)}
    monkeypatch.chdir(tmp_path)
    for line in block.splitlines():
        program, *arguments = shlex.split(line)
        assert program == ".venv/bin/dfx"
        assert main([places.get(argument, argument) for argument in arguments]) == 0
    assert len(table_of(tmp_path / "scores.csv")) == 9 and (tmp_path / "page.html").is_file()


def test_nothing_is_told_to_anybody_and_nothing_written_at_home(model: Path, folder: Path, tmp_path: Path) -> None:
    """onnxruntime's telemetry would leave the number of this machine there, and what it could not send."""
    (tmp_path / "home").mkdir()
    own = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home" / "cache")}
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    command = [sys.executable, "-m", "dfxlib", "detect", str(model), str(folder), "--engine", "onnx"]
    subprocess.run(command, cwd=tmp_path, env=environment | own, check=True, capture_output=True, timeout=300)
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == []


def test_squares_are_stacked_in_the_order_of_the_files(judge: Judge, tmp_path: Path) -> None:
    """A problem in the middle of a batch shifts nobody's verdict."""
    made = squares(3)
    files = []
    for number, square in enumerate(made):
        Image.fromarray(square).save(tmp_path / f"{number}.png")
        files.append(ImageFile(tmp_path / f"{number}.png"))
    files.insert(1, ImageFile(tmp_path / "gone.png"))
    alone = [next(detect(judge, [file], workers=1, delivery=False))["p_fake"] for file in files if file.path.exists()]
    rows = [*detect(judge, files, workers=1, delivery=False)]
    assert [row["p_fake"] for row in rows if not row["problem"]] == pytest.approx(alone, abs=1e-5)
    assert "cannot be read" in rows[1]["problem"]


class TestPrograms:
    def test_json_is_one_object_a_line_and_nothing_else(
        self, model: Path, folder: Path, capsys: pytest.CaptureFixture
    ) -> None:
        noise(3).save(folder / "a\x1bb.png")
        assert call(model, folder, "--json") == 0
        said = capsys.readouterr()
        rows = [json.loads(line) for line in said.out.splitlines()]
        assert len(rows) == 10 and all(tuple(row) == COLUMNS for row in rows) and "\x1b" not in said.out
        good = next(row for row in rows if row["path"].endswith("0.png"))
        assert good["problem"] is None and isinstance(good["width"], int) and 0 <= good["p_fake"] <= 1
        bad = next(row for row in rows if row["path"].endswith("empty.png"))
        assert bad["verdict"] is None and bad["p_fake"] is None and bad["problem"] == "empty file"
        passed_over, told = said.err.splitlines()
        assert "passed over as clutter" in passed_over
        assert re.fullmatch(r"9 images: .*, 4 with a problem, 1 other file", told)

    def test_json_and_a_table_say_the_same(
        self, model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
    ) -> None:
        assert call(model, folder, "--json", "--out", tmp_path / "s.csv") == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        table = table_of(tmp_path / "s.csv")
        assert [row["path"] for row in rows] == list(table["path"])
        assert [row["verdict"] or "" for row in rows] == list(table["verdict"])

    @pytest.mark.parametrize(
        "counts, fake, unsure",
        [
            ({"real": 3}, 0, 0),
            ({"unsure": 1}, 0, 3),
            ({"fake": 1}, 3, 3),
            ({"real": 1, "problem": 1}, 0, 3),
            ({"problem": 1}, 1, 1),
        ],
    )
    def test_a_caller_may_fail_on_what_is_found(self, counts: dict, fake: int, unsure: int) -> None:
        for fail_on, expected in {"fake": fake, "unsure": unsure, "": int(fake == 1)}.items():
            assert exit_code(Counter(counts), fail_on) == expected

    def test_the_exit_code_is_that_of_the_rows(self, model: Path, folder: Path, tmp_path: Path) -> None:
        assert call(model, folder, "--fail-on", "unsure", "--out", tmp_path / "s.csv") == 3, "some have a problem"
        always = table_of(tmp_path / "s.csv")["verdict"]
        assert call(model, folder / "0.png", "--always", "--fail-on", "fake") == (3 if always[0] == "fake" else 0)

    def test_paths_come_from_standard_input_as_they_are(
        self, model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
    ) -> None:
        odd = folder / os.fsdecode(b"\xff odd.png")
        noise(5).save(odd)
        names = [folder / "0.png", folder / "gone.png", odd, folder / "notes.txt"]
        text = b"\n".join([os.fsencode(name) for name in names]) + b"\n\n"
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text), encoding="utf-8"))
        assert call(model, folder / "2.png", "-", "--json") == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [Path(row["path"]).name for row in rows] == ["2.png", "0.png", "gone.png", "\\xff odd.png", "notes.txt"]
        assert [bool(row["verdict"]) for row in rows] == [True, True, False, True, False]

    @pytest.mark.slow
    def test_a_stream_of_many_paths_is_a_row_each_in_flat_memory(self, judge: Judge, tmp_path: Path) -> None:
        """One in a hundred is bad. What is kept grows by a hundredth of what a list of the paths would take."""
        noise(0).save(tmp_path / "a.png")
        model = judge._replace(score=lambda s: (np.zeros((len(s), 3, 2)), np.full((len(s), 3), 1 / 3)), reference=None)
        names = (tmp_path / ("gone.png" if number % 100 == 0 else "a.png") for number in range(5000))
        rows = detect(model, (ImageFile(name) for name in names), delivery=False, workers=1)
        for _ in range(1000):
            next(rows)
        tracemalloc.start()
        problems = [bool(row["problem"]) for row in rows]
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(problems) == 4000 and sum(problems) == 40 and kept < 500_000, "bytes"

    def test_the_columns_are_documented_in_their_order(self) -> None:
        text = (ROOT / "docs" / "detection.md").read_text()
        table = text[text.index("| column |") : text.index("These names stay.")]
        rows = [line.split("|")[1] for line in table.splitlines()[2:] if line.startswith("|")]
        assert tuple(name for row in rows for name in re.findall(r"`(\w+)`", row)) == COLUMNS


class TestHonestWords:
    def test_the_summary_counts_what_is_unlike_the_training_data(self) -> None:
        counts: Counter = Counter()
        for word, reason, times in [
            ("fake", "", 4),
            ("real", "", 9),
            ("unsure", BETWEEN, 9),
            ("unsure", UNLIKE, 98),
        ]:
            for _ in range(times):
                count(dict.fromkeys(COLUMNS, "") | {"verdict": word, "reason": reason}, counts)
        assert summary(counts) == "120 images: 4 fake, 9 real, 107 unsure, 98 of them unlike the training data"

    def test_always_gives_the_bare_verdict_and_keeps_the_facts(self, judge: Judge, tmp_path: Path) -> None:
        noise(1, width=20, height=40).save(tmp_path / "a.png")
        banded = judge._replace(calibration=CALIBRATION | {"unsure_low": 0.0, "unsure_high": 1.1})
        files = [ImageFile(tmp_path / "a.png")]
        (row,), (bare,) = (
            detect(with_limit(banded, 1e-9), files, workers=1, always=always) for always in (False, True)
        )
        assert (row["verdict"], row["reason"]) == ("unsure", UNLIKE)
        assert bare["verdict"] == ("fake" if bare["p_fake"] >= CALIBRATION["threshold"] else "real")
        assert bare["reason"] == "" and bare["unlike"] == row["unlike"] != ""

    def test_a_score_in_the_band_has_its_reason(self, judge: Judge, tmp_path: Path) -> None:
        noise(1).save(tmp_path / "a.png")
        banded = judge._replace(calibration=CALIBRATION | {"unsure_low": 0.0, "unsure_high": 1.1})
        (row,) = detect(with_limit(banded, 1e9), [ImageFile(tmp_path / "a.png")], workers=1)
        assert (row["verdict"], row["reason"]) == ("unsure", BETWEEN)

    def test_what_a_file_declares_is_a_fact_and_no_part_of_the_score(self, judge: Judge, tmp_path: Path) -> None:
        info = PngInfo()
        info.add_text("parameters", "Steps: 20 <script>\x1b[31m")
        noise(1).save(tmp_path / "a.png", pnginfo=info)
        noise(1).save(tmp_path / "b.png")
        first, second = detect(judge, [ImageFile(tmp_path / name) for name in ("a.png", "b.png")], workers=1)
        assert first["declares"] == "generator Automatic1111" and second["declares"] == ""
        assert first["p_fake"] == pytest.approx(second["p_fake"], abs=1e-6)
        assert "; the file declares: generator Automatic1111" in describe(first)


class TestPython:
    def test_one_picture_is_a_dict_and_several_are_a_table(self, model: Path, folder: Path) -> None:
        opened = dfxlib.load(model)
        row = opened.detect(folder / "0.png")
        assert tuple(row) == COLUMNS and row["verdict"] in ("fake", "real", "unsure")
        same = opened.detect(Image.open(folder / "0.png"))
        assert same["p_fake"] == pytest.approx(row["p_fake"], abs=1e-6) and same["path"] == ""
        listed = opened.detect([folder / "0.png", Image.open(folder / "2.png")])
        assert list(listed.columns) == list(COLUMNS) and list(listed["width"]) == [32, 32]
        assert len(opened.detect(folder)) == 9 and opened.detect(folder / "empty.png")["problem"] == "empty file"
        assert opened.detect(Image.new("F", (32, 32)))["problem"] == "unsupported mode: F"
        assert opened.detect(Image.new("RGB", (0, 5)))["problem"] == "empty picture: 0 x 5 pixels"

    def test_it_chooses_the_graph_on_a_processor_and_torch_says_the_same(self, model: Path, folder: Path) -> None:
        chosen, torch_s = dfxlib.load(model, device="cpu"), dfxlib.load(model, engine="torch", device="cpu")
        assert (chosen.engine, torch_s.engine) == ("onnx", "torch")
        numbers = ["p_dm", "p_gan", "p_real", "p_fake_low", "p_fake_high"]
        first, second = (opened.detect([*folder.rglob("[0-9].png")])[numbers] for opened in (chosen, torch_s))
        assert np.abs(first - second).to_numpy().max() < 1e-5 and first.to_numpy().std() > 1e-2

    @pytest.mark.parametrize("page", ["README.md", "docs/detection.md"])
    def test_the_lines_of_the_documentation_work(
        self, page: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
    ) -> None:
        (block,) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)
        shutil.copytree(model, tmp_path / "model")
        noise(0).save(tmp_path / "photo.jpg")
        monkeypatch.chdir(tmp_path)
        exec(block, {})
        assert "'path': 'photo.jpg', 'verdict': '" in capsys.readouterr().out

    @pytest.mark.parametrize(
        "options, words",
        [
            ({"engine": "tensorflow"}, "engine 'tensorflow' is unknown; expected one of auto, onnx, torch"),
            ({"engine": "onnx", "device": "cuda"}, "device 'cuda' needs the engine torch"),
        ],
    )
    def test_an_engine_that_cannot_do_it_is_told(self, model: Path, options: dict, words: str) -> None:
        with pytest.raises(ValueError, match=words):
            dfxlib.load(model, **options)

    def test_to_import_the_package_takes_no_time_and_to_judge_no_torch(self, model: Path, folder: Path) -> None:
        """Where torch, pandas and scikit-learn cannot be imported, as in a small installation at its start."""
        code = "import sys, time; started = time.process_time(); import dfxlib; took = time.process_time() - started\n"
        code += "sys.modules.update(dict.fromkeys(['torch', 'pandas', 'sklearn', 'matplotlib', 'onnx']))\n"
        code += f"row = dfxlib.load({str(model)!r}).detect({str(folder / '0.png')!r})\nprint(took, row['verdict'])"
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment(ROOT), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        took, verdict = done.stdout.split()
        assert float(took) < 0.3 and verdict in ("fake", "real", "unsure")


class TestPage:
    @pytest.fixture()
    def page(self, tmp_path: Path) -> str:
        probabilities = {
            "p_dm": 0.6,
            "p_gan": 0.3,
            "p_real": 0.1,
            "p_fake": 0.9,
            "p_fake_low": 0.1,
            "p_fake_high": 0.95,
        }
        row = dict.fromkeys(COLUMNS, "") | probabilities | {"path": "a.png", "holds": "no", "distance": 0.5}
        rows = [row | {"verdict": "fake"}, row | {"verdict": "unsure", "unlike": "features <b>", "holds": ""}]
        rows.append(dict.fromkeys(COLUMNS, "") | {"path": "</script><script>", "problem": "empty file"})
        save_rows([row | {"thumbnail": b""} for row in rows], page=tmp_path / "p.html", model="<model>")
        return (tmp_path / "p.html").read_text()

    def test_the_three_probabilities_are_one_bar_in_the_colours_of_the_natures(self, page: str) -> None:
        parts = '<span class="dm_generated" style="width:60.0%"></span><span class="gan_generated" style="width:30.0%">'
        assert parts in page and 'aria-label="diffusion 0.60, GAN 0.30, real 0.10"' in page
        for nature in CLASSES:
            assert f":is(.bar, .legend) .{nature} {{ background: {NATURE_COLOURS[nature]} }}" in page
        assert '<span class="real"></span>real' in page, "the legend"

    def test_a_verdict_has_no_colour_of_a_nature_behind_it(self, tmp_path: Path) -> None:
        """A verdict and a nature are both called real."""
        row = dict.fromkeys(COLUMNS, "") | dict.fromkeys(("p_dm", "p_gan", "p_real", "p_fake"), 0.3)
        save_rows([row | {"path": "a", "verdict": "real", "thumbnail": b""}], page=tmp_path / "p.html", model="m")
        page = (tmp_path / "p.html").read_text()
        assert '<span class="verdict real">real</span>' in page and '<span class="real" style=' in page
        assert set(re.findall(r"(\S+ \S+ )?\.real \{", page)) == {":is(.bar, .legend) "}

    def test_fake_is_said_loudly_only_where_the_picture_is_like_the_training_data(self, page: str) -> None:
        assert page.count('<span class="verdict fake">fake</span>') == 1
        assert 'class="bar far"' in page and "unlike the training data: features &lt;b&gt;" in page
        assert "does not hold under delivery (0.10 to 0.95)" in page

    def test_it_has_a_dark_scheme_and_runs_no_script_but_its_own(self, page: str) -> None:
        assert "prefers-color-scheme: dark" in page and "&lt;model&gt;" in page
        (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
        digest = b64encode(sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in page and "default-src 'none'" in page
        assert "&lt;/script&gt;&lt;script&gt;" in page
