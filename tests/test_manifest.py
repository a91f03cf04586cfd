"""The manifest: one row an image, duplicates together, and a file that nobody edits unnoticed."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from samples import noise, plant_tree

from dfxlib.__main__ import main
from dfxlib.data import manifest as m
from dfxlib.data.splits import trained_relatives
from dfxlib.names import CLASSES


def build(root: Path, **options: object) -> pd.DataFrame:
    return m.build_manifest(root, workers=1, **options)


@pytest.fixture()
def own_tree(tmp_path: Path) -> Path:
    return plant_tree(tmp_path / "images", architectures=1, images=4)


def test_every_image_is_one_row_with_the_contracts_columns(tree: Path) -> None:
    table = build(tree)
    assert (
        list(table.columns) == [*m.COLUMNS, *m.PUBLIC_COLUMNS]
        and len(table) == 72
        and table["path"].is_monotonic_increasing
    )
    assert (table["problem"] == "").all() and set(table["nature"]) == set(CLASSES)
    assert (table[["width", "height"]] == 32).all(axis=None) and (table["format"] == "PNG").all()
    assert table["sha256"].is_unique and (table["sha256"].str.len() == 64).all()


def test_reading_gives_back_what_was_written(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "images")
    noise(0).save(tmp_path / "images" / "real" / "real_0" / "q.jpg", quality=77)
    written = build(tmp_path / "images")
    digest = m.write_manifest(written, tmp_path / "manifest.csv")
    table, read_digest = m.read_manifest(tmp_path / "manifest.csv")
    pd.testing.assert_frame_equal(table, written, check_dtype=False)
    assert digest == read_digest and table["jpeg_quality"].max() == 77
    assert [str(table[name].dtype) for name in ("width", "bytes", "jpeg_quality")] == ["int64", "int64", "float64"]


def test_names_that_look_like_numbers_or_nothing_stay_names(tmp_path: Path) -> None:
    root = plant_tree(tmp_path / "images", architectures=1, images=2)
    for name in ("007", "NA", "1e5", "with, comma", 'quo"te', "grün"):
        (root / "real" / name).mkdir()
        noise(len(name) + 1000).save(root / "real" / name / "a.png")
    m.write_manifest(build(root), tmp_path / "m.csv")
    names = set(m.read_manifest(tmp_path / "m.csv")[0]["architecture"])
    assert {"007", "NA", "1e5", "with, comma", 'quo"te', "grün"} <= names


def test_the_same_tree_gives_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    assert m.write_manifest(build(tree), tmp_path / "a.csv") == m.write_manifest(build(tree), tmp_path / "b.csv")


def test_several_processes_give_the_same_manifest(tree: Path) -> None:
    pd.testing.assert_frame_equal(m.build_manifest(tree, workers=2), build(tree))


def test_a_manifest_edited_by_hand_is_refused(tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    m.write_manifest(build(tree), path)
    path.write_text(path.read_text().replace(",test,", ",base_train,", 1))
    with pytest.raises(
        ValueError, match=r"manifest\.csv does not match manifest\.csv\.sha256: it was edited; prepare it"
    ):
        m.read_manifest(path)


@pytest.mark.parametrize("checksum", [None, "", "words"])
def test_a_manifest_without_its_checksum_is_refused(tree: Path, tmp_path: Path, checksum: str | None) -> None:
    path = tmp_path / "manifest.csv"
    m.write_manifest(build(tree), path)
    stated = Path(f"{path}.sha256")
    stated.unlink() if checksum is None else stated.write_text(checksum)
    with pytest.raises((FileNotFoundError, ValueError), match=r"stands without|it was edited") as told:
        m.read_manifest(path)
    assert "prepare it again" in str(told.value) and isinstance(told.value, FileNotFoundError) == (checksum is None)


@pytest.mark.parametrize(
    "natures, contradicted",
    [
        (("real", "gan_generated"), True),
        (("dm_generated", "gan_generated"), True),
        (("real", "fake_unknown"), True),
        (("gan_generated", "fake_unknown"), False),
        (("real", "real"), False),
    ],
)
def test_equal_pixels_under_two_natures_teach_nobody(natures: tuple[str, str], contradicted: bool) -> None:
    table = pd.DataFrame({"nature": [*natures, "real"], "pixel_sha256": ["same", "same", "own"], "problem": ""})
    assert m.contradicted(table).tolist() == [contradicted, contradicted, False]


def test_a_picture_with_two_labels_enters_no_training(own_tree: Path) -> None:
    source = sorted((own_tree / "real").rglob("*.png"))[0]
    shutil.copy(source, next((own_tree / "gan_generated").iterdir()) / "twin.png")
    problems = build(own_tree).query("problem != ''")
    assert len(problems) == 2 and set(problems["split"]) == {"excluded"}
    assert set(problems["problem"]) == {"its pixels stand under another nature as well"}


def test_a_missing_manifest_names_the_notebook_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"manifest .*/m\.csv is missing; run 00_prepare_dataset first"):
        m.read_manifest(tmp_path / "m.csv")


@pytest.mark.parametrize(
    "change, difference",
    [
        (lambda table: table.drop(columns=["phash", "row"]), "lacks the columns phash, row"),
        (lambda table: table.assign(more=1, other="x"), "has the unknown columns more, other"),
        (
            lambda table: table.rename(columns={"width": "breadth"}),
            "lacks the columns width and has the unknown columns b",
        ),
        (lambda table: table[m.COLUMNS[::-1]], "has its columns in another order"),
        (lambda table: table.assign(width="wide").rename(columns={"row": "line"}), "lacks the columns row and has the"),
        (
            lambda table: pd.DataFrame(),
            "lacks the columns path, nature, architecture, source, group, split, declared_s",
        ),
    ],
)
def test_a_manifest_of_another_format_is_refused_with_the_columns_that_differ(
    tree: Path, tmp_path: Path, change: Callable, difference: str
) -> None:
    m.write_manifest(change(build(tree)), tmp_path / "m.csv")
    with pytest.raises(
        ValueError, match=rf"m\.csv is of another format: it {difference}.*; prepare it again, or use th"
    ):
        m.read_manifest(tmp_path / "m.csv")


def test_nothing_but_the_rows_stands_in_the_file_whose_hash_names_the_data(tree: Path, tmp_path: Path) -> None:
    digest = m.write_manifest(build(tree), tmp_path / "m.csv")
    lines = (tmp_path / "m.csv").read_text().splitlines()
    assert lines[0] == ",".join(m.COLUMNS) and len(lines) == 73
    assert (tmp_path / "m.csv.sha256").read_text() == f"{digest}  m.csv\n# manifest format 1\n", (
        "Snakemake compares this file"
    )


def test_damaged_files_are_rows_with_a_problem_and_in_no_split(own_tree: Path) -> None:
    (own_tree / "real" / "real_0" / "000.png").write_bytes(b"")
    (own_tree / "real" / "real_0" / "notes.txt").write_text("words")
    table = build(own_tree).set_index("path")
    assert table.loc["real/real_0/000.png", ["problem", "split"]].tolist() == ["empty file", "excluded"]
    assert table.loc["real/real_0/notes.txt", "problem"] == "suffix '.txt' is no image's"
    assert (table["problem"] != "").sum() == 2


def test_equal_pixels_are_merged_into_one_group_and_split(own_tree: Path) -> None:
    twin = own_tree / "gan_generated" / "gan_0" / "twin.bmp"
    noise(0).save(twin)  # the picture of dm_generated/dm_0/000.png in another format
    table = build(own_tree).set_index("path")
    pair = table.loc[["dm_generated/dm_0/000.png", "gan_generated/gan_0/twin.bmp"]]
    assert pair["group"].nunique() == 1 and pair["split"].nunique() == 1
    merged = m.merged_groups(table.reset_index())
    assert merged["images"].tolist() == [2] and merged["paths"].iloc[0] == " | ".join(pair.index)


def test_near_copies_are_in_one_group_and_split_unless_they_are_told_apart(own_tree: Path) -> None:
    paths = [f"real/real_0/{number:03d}.png" for number in range(4)]
    for path in paths:
        image = Image.open(own_tree / path)
        image.save((own_tree / path).with_suffix(".jpg"), quality=95)
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(own_tree / path.replace(".png", "_mirrored.png"))
    table = build(own_tree).set_index("path")
    real = table[table["nature"] == "real"]
    stem = real.index.str.extract(r"(\d{3})[^/]*$", expand=False)
    assert real["group"].groupby(stem).nunique().tolist() == [1] * 4 and real["group"].nunique() == 4
    assert table.groupby("group")["split"].nunique().max() == 1
    apart = build(own_tree, near_duplicates=False).set_index("path")
    assert apart["group"].tolist() == apart.index.tolist()


def test_where_nothing_is_near_the_setting_changes_no_manifest(tree: Path) -> None:
    pd.testing.assert_frame_equal(build(tree, near_duplicates=False), build(tree))


def test_duplicates_join_whole_groups_of_a_pattern() -> None:
    paths = ["a/scene1.png", "b/scene1.png", "a/scene2.png", "b/scene2.png", "a/scene3.png"]
    table = pd.DataFrame(
        {"path": paths, "pixel_sha256": ["p", "q", "q", "r", "s"], "pair": "", "near": "", "problem": ""}
    )
    names = m.name_groups(table, group_pattern=r"scene\d+")
    assert m.merge_groups(names, table).tolist() == ["scene1"] * 4 + ["scene3"]


def test_damaged_files_are_not_duplicates_of_each_other() -> None:
    table = pd.DataFrame({"path": ["a", "b"], "pixel_sha256": ["", ""], "pair": "", "near": ""})
    assert m.merge_groups(table["path"], table).tolist() == ["a", "b"]


def test_without_a_pattern_every_file_is_its_own_group(tree: Path) -> None:
    table = build(tree)
    assert table["group"].tolist() == table["path"].tolist()


def test_a_pattern_groups_across_architectures(tree: Path) -> None:
    table = build(tree, group_pattern=r"\d{3}(?=\.png)")
    assert table["group"].nunique() == 12 and table.groupby("group")["split"].nunique().max() == 1


@pytest.mark.parametrize(
    "pattern, message",
    [
        (
            r"scene\d+",
            r"group_pattern 'scene\\\\d\+' does not match 72 paths, first dm_generated/dm_0/000.png; correct it",
        ),
        ("x*", r"group_pattern 'x\*' does not match 72 paths"),
        ("(", r"group_pattern '\(' is no regular expression: missing \)"),
    ],
)
def test_a_pattern_that_cannot_group_is_refused(tree: Path, pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(tree, group_pattern=pattern)


def test_a_missing_class_is_named(own_tree: Path) -> None:
    for path in (own_tree / "gan_generated").rglob("*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(
        ValueError, match="holds no usable image of gan_generated; the three-way task needs dm_generated"
    ):
        build(own_tree)


def test_an_unknown_layout_is_refused_with_the_known_ones(tree: Path) -> None:
    with pytest.raises(ValueError, match="layout 'imagenet' is unknown; expected one of folders"):
        build(tree, layout="imagenet")


def test_a_missing_root_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data root .*nowhere is missing; check data_root"):
        build(tmp_path / "nowhere")


def test_unseen_architectures_reach_the_splits(tree: Path) -> None:
    table = build(tree, unseen=("gan_1",))
    assert ((table["split"] == "unseen") == (table["architecture"] == "gan_1")).all()


def test_counts_add_up_to_the_manifest(tree: Path) -> None:
    table = build(tree)
    counts = m.count_images(table)
    assert counts["all"].sum() == 72 and (counts.drop(columns="all").sum(axis=1) == counts["all"]).all()
    assert counts.loc[("real", "real_0"), "all"] == 12
    assert np.array_equal(counts["test"].sum(), (table["split"] == "test").sum())


def test_holding_out_all_of_a_nature_is_refused_before_an_image_is_read(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dfxlib.data.manifest.read_facts", lambda *_, **__: pytest.fail("an image is read"))
    reals = tuple(sorted(path.name for path in (tree / "real").iterdir()))
    with pytest.raises(ValueError, match="no image of real is left to train on; hold out fewer architectures"):
        m.build_manifest(tree, unseen=reals, workers=1)


def test_a_pair_is_one_group_with_the_duplicates_of_both() -> None:
    paths = ["fake/a.png", "fake/b.png", "real/a.png", "real/copy.png", "real/z.png"]
    table = pd.DataFrame({"path": paths, "pixel_sha256": list("pqrrs"), "pair": ["a", "", "a", "", ""], "near": ""})
    assert m.merge_groups(table["path"], table).tolist() == [paths[0], paths[1], paths[0], paths[0], paths[4]]
    table["near"] = ["", "3", "", "", "3"]
    assert m.merge_groups(table["path"], table).tolist() == [paths[0], paths[1], paths[0], paths[0], paths[1]]


def test_groups_across_declared_splits_are_named() -> None:
    table = pd.DataFrame({"path": list("abcde"), "group": list("xxyyz"), "problem": ["", "", "", "empty file", ""]})
    table["declared_split"] = ["train", "test", "train", "test", ""]
    (found,) = m.disputed_groups(table).to_dict("records")
    assert found == {"group": "x", "declared": "test | train", "images": 2, "paths": "a | b"}
    assert m.disputed_groups(table.assign(declared_split="")).empty


def test_problems_are_counted_by_kind() -> None:
    table = pd.DataFrame({"path": list("abcd"), "problem": ["", "empty file", "unreadable: x", "unreadable: y"]})
    kinds = m.problem_kinds(table)
    assert kinds.to_dict("records") == [
        {"kind": "unreadable", "images": 2, "first": "c | d"},
        {"kind": "empty file", "images": 1, "first": "b"},
    ]
    with pytest.raises(ValueError, match=r"^3 files have a problem: 2 x unreadable \(c\); 1 x empty file \(b\); mend"):
        m.require_no_problem(table)
    m.require_no_problem(table[:1])


def test_a_row_that_is_no_image_need_not_match_the_pattern(own_tree: Path) -> None:
    (own_tree / "real" / "real_0" / "notes.txt").write_text("words")
    table = build(own_tree, group_pattern=r"\d{3}(?=\.png)").set_index("path")
    assert table.loc["real/real_0/notes.txt", "group"] == "real/real_0/notes.txt"


def test_the_pixel_limit_reaches_the_decoder(own_tree: Path) -> None:
    noise(9, width=50).save(own_tree / "real" / "real_0" / "wide.png")
    table = build(own_tree, pixel_limit=32 * 32).set_index("path")
    assert table.loc["real/real_0/wide.png", "problem"] == "too large: 50 x 32 pixels, above pixel_limit 1024"
    assert (table["problem"] != "").sum() == 1


def test_a_missing_class_is_told_before_anything_is_decoded(own_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(own_tree / "gan_generated")
    monkeypatch.setattr(m, "read_facts", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(ValueError, match="holds no usable image of gan_generated"):
        build(own_tree)


def test_a_file_that_could_not_be_read_and_can_be_now_has_changed(own_tree: Path) -> None:
    link = own_tree / "real" / "real_0" / "link.png"
    link.symlink_to("gone.png")
    table = build(own_tree)
    assert m.verify_manifest(table, own_tree, workers=1).empty
    noise(7).save(own_tree / "real" / "real_0" / "gone.png")
    findings = m.verify_manifest(table, own_tree, workers=1)
    assert findings.to_numpy().tolist() == [["real/real_0/gone.png", "new"], ["real/real_0/link.png", "changed"]]


def test_a_manifest_says_its_format_beside_its_hash_and_another_one_is_refused(tree: Path, tmp_path: Path) -> None:
    path, stated = tmp_path / "manifest.csv", tmp_path / "manifest.csv.sha256"
    digest = m.write_manifest(build(tree), path)
    text = stated.read_text()
    assert text == f"{digest}  manifest.csv\n# manifest format 1\n"
    assert subprocess.run(["sha256sum", "--check", "--strict", stated.name], cwd=tmp_path, check=False).returncode == 0
    stated.write_text(text.replace("format 1", "format 2"))
    with pytest.raises(ValueError, match=r"manifest\.csv has format 2; this dfxlib reads format 1; update dfxlib"):
        m.read_manifest(path)
    stated.write_text(text.splitlines()[0] + "\n")
    with pytest.raises(ValueError, match=r"has format 0; this dfxlib reads format 1; prepare it again"):
        m.read_manifest(path)


DESCRIBED = """
title: Mine
homepage: ""
licence: not stated
generators:
  gan_0: {family: WGAN, released: 2017-01, source: "https://arxiv.org/abs/1701.07875"}
  gan_1: {family: WGAN, released: 2017-03, source: "https://arxiv.org/abs/1704.00028"}
  dm_0: {released: 2020-06, source: "https://arxiv.org/abs/2006.11239"}
  dm_1: {released: 2021-12, source: "https://arxiv.org/abs/2112.10752"}
images:
  - path: "{nature}/{architecture}"
    nature: {nature: {dm_generated: dm_generated, gan_generated: gan_generated, real: real}}
    architecture: "{architecture}"
"""


@pytest.fixture()
def described(tmp_path: Path) -> str:
    (tmp_path / "mine.yaml").write_text(DESCRIBED)
    return str(tmp_path / "mine.yaml")


def test_what_is_public_of_a_generator_stands_in_the_manifest_and_survives_the_disk(
    tree: Path, described: str, tmp_path: Path
) -> None:
    table = build(tree, layout=described)
    own = table.drop_duplicates("architecture").set_index("architecture")
    assert own.loc["gan_1", ["family", "released"]].tolist() == ["WGAN", "2017-03"]
    assert own.loc["real_0", ["family", "released"]].tolist() == ["", ""]
    m.write_manifest(table, tmp_path / "m.csv")
    pd.testing.assert_frame_equal(m.read_manifest(tmp_path / "m.csv")[0], table, check_dtype=False)


def test_what_no_data_set_says_changes_no_file(tree: Path, tmp_path: Path) -> None:
    """Models name the hash of their manifest: a column more, and empty, would make strangers of them."""
    table = build(tree)
    digest = m.write_manifest(table, tmp_path / "m.csv")
    assert digest == m.write_manifest(table[m.COLUMNS], tmp_path / "other.csv")
    assert (m.read_manifest(tmp_path / "m.csv")[0][m.PUBLIC_COLUMNS] == "").all(axis=None)


def test_families_and_later_months_are_held_out_as_a_whole(tree: Path, described: str) -> None:
    table = build(tree, layout=described, unseen_after="2021-11")
    assert set(table.loc[table["split"] == "unseen", "architecture"]) == {"dm_1"}
    with pytest.raises(ValueError, match="no image of gan_generated is left to train on; hold out fewer architectures"):
        build(tree, layout=described, unseen_families=("WGAN",))
    with pytest.raises(ValueError, match="unseen family 'DCGAN' is not in the data; known: WGAN"):
        build(tree, layout=described, unseen_families=("DCGAN",))
    other = shutil.copytree(tree, Path(described).parent / "tree")
    (other / "notes.txt").write_text("no picture, and of no generator")
    assert (build(other, layout=described, unseen_after="2021-11")["problem"] != "").sum() == 1
    with pytest.raises(ValueError, match=r"no month of release is known of 4 generators \(dm_0, dm_1, gan_0, gan_1\)"):
        build(tree, unseen_after="2021-11")


def test_an_unseen_generator_whose_relative_trains_is_named_with_it(tree: Path, described: str) -> None:
    own = build(tree, layout=described, unseen=("gan_1", "dm_1"))
    told = trained_relatives(own, own)
    assert told == [
        "Unseen gan_1 has relatives that train: gan_0 (family WGAN); unseen_families: [WGAN] holds out all of them."
    ]
    unknown = build(tree, unseen=("gan_1",))
    assert trained_relatives(unknown, unknown) == [], "nobody knows of a family"
    other = own[own["architecture"] == "gan_1"].assign(architecture="another", split="unseen")
    assert "Unseen another has relatives that train: gan_0" in trained_relatives(other, own)[0]


def test_the_command_holds_out_families_and_months_and_names_relatives(
    tree: Path, described: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ["manifest", str(tree), "--layout", described, "--out", str(tmp_path / "m.csv"), "--workers", "1"]
    command += ["--cache-root", str(tmp_path / "cache")]
    assert main([*command, "--unseen", "gan_1", "--unseen-after", "2021-11"]) == 0
    assert "Unseen gan_1 has relatives that train: gan_0 (family WGAN)" in capsys.readouterr().out
    table, _ = m.read_manifest(tmp_path / "m.csv")
    assert set(table.loc[table["split"] == "unseen", "architecture"]) == {"gan_1", "dm_1"}
    assert main([*command, "--unseen-families", "DCGAN"]) == 2
    assert "unseen family 'DCGAN' is not in the data; known: WGAN" in capsys.readouterr().err


def test_a_month_that_is_none_is_one_sentence(tree: Path, described: str) -> None:
    Path(described).write_text(DESCRIBED.replace("released: 2017-03", "released: March 2017"))
    with pytest.raises(ValueError, match=r"generator gan_1 has .*; expected released: YEAR-MONTH, and source"):
        build(tree, layout=described)
