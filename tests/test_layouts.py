"""Listings: labels from names, every file accounted for, paths that cannot leave the root."""

import json
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfxlib.data.decode import ImageFile, file_sha256
from dfxlib.data.descriptions import LAYOUTS, LISTING
from dfxlib.data.layouts import list_images
from dfxlib.names import NATURES
from dfxlib.system.files import sha256_bytes


def put(root: Path, *paths: str) -> Path:
    """Empty files: a listing reads names only."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def table(root: Path, text: str, *, name: str = "images.csv", encoding: str = "utf-8") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding=encoding)
    return root


def folders(root: Path) -> pd.DataFrame:
    return list_images(root, layout="folders")


def problems(root: Path, layout: str = "folders") -> dict[str, str]:
    rows = list_images(root, layout=layout)
    assert rows["path"].is_unique
    return rows[rows["problem"] != ""].set_index("path")["problem"].to_dict()


def values(rows: pd.DataFrame, *columns: str) -> list[list[str]]:
    return rows[list(columns)].to_numpy().tolist()


# Trees


def test_labels_come_from_the_names_of_folders(tmp_path: Path) -> None:
    rows = folders(put(tmp_path, "real/ffhq/b.png", "real/ffhq/a.png", "dm_generated/glide/c.png"))
    assert values(rows, "path", "nature", "architecture") == [
        ["dm_generated/glide/c.png", "dm_generated", "glide"],
        ["real/ffhq/a.png", "real", "ffhq"],
        ["real/ffhq/b.png", "real", "ffhq"],
    ]
    assert tuple(rows.columns) == LISTING and set(rows["problem"]) == {""} and set(rows["content"]) == {"unknown"}
    assert {type(value) for column in rows for value in rows[column]} == {str}


def test_folders_below_an_architecture_belong_to_it(tmp_path: Path) -> None:
    rows = folders(put(tmp_path, "gan_generated/biggan/val/cat/a.png"))
    assert values(rows, "path", "architecture") == [["gan_generated/biggan/val/cat/a.png", "biggan"]]


def test_every_nature_of_the_contract_is_accepted(tmp_path: Path) -> None:
    rows = folders(put(tmp_path, *[f"{nature}/x/a.png" for nature in NATURES]))
    assert set(rows["nature"]) == set(NATURES) and set(rows["problem"]) == {""}


def test_clutter_of_operating_systems_and_notebooks_is_no_data(tmp_path: Path) -> None:
    clutter = [".DS_Store", ".ipynb_checkpoints/real/a.png", "__MACOSX/real/a.png", "real/ffhq/Thumbs.db"]
    clutter += ["real/ffhq/.a.png", "real/.hidden/a.png", "real/__MACOSX/b.png", "real/.ipynb_checkpoints/c.png"]
    rows = folders(put(tmp_path, "real/ffhq/a.png", "demo.json", *clutter))
    assert values(rows, "path", "problem") == [["real/ffhq/a.png", ""]]


def test_files_that_are_no_images_are_rows_with_a_problem(tmp_path: Path) -> None:
    root = put(tmp_path, "real/ffhq/a.png", "real/ffhq/list.csv", "real/ffhq/README", "real/stray.png", "top.png")
    outside = "outside the folders that layout folders describes"
    assert problems(root) == {
        "real/ffhq/list.csv": "suffix '.csv' is no image's",
        "real/ffhq/README": "suffix '' is no image's",
        "real/stray.png": outside,
        "top.png": outside,
    }


def test_a_folder_that_is_no_nature_is_named(tmp_path: Path) -> None:
    found = problems(put(tmp_path, "real/ffhq/a.png", "fake/x/a.png"))
    assert found == {"fake/x/a.png": "nature 'fake' has no nature in the layout"}


@pytest.mark.parametrize(
    "name",
    [
        "A.JPG",
        "b.PNG",
        "c.webp",
        "d.bmp",
        "e.tif",
        "f.TIFF",
        "v1.4 final.png",
        "grün.png",
        "猫.png",
        "a b.jpeg",
        "x\ny.png",
    ],
)
def test_names_of_all_kinds_are_images_by_their_last_suffix(tmp_path: Path, name: str) -> None:
    rows = folders(put(tmp_path, f"real/Stable Diffusion v1.5/{name}"))
    assert values(rows, "path", "architecture", "problem") == [
        [f"real/Stable Diffusion v1.5/{name}", "Stable Diffusion v1.5", ""]
    ]


def test_a_name_that_is_no_text_is_a_problem(tmp_path: Path) -> None:
    put(tmp_path, "real/ffhq/a.png")
    os.close(os.open(os.fsencode(tmp_path / "real/ffhq") + b"/\xff.png", os.O_CREAT))
    assert problems(tmp_path) == {"real/ffhq/\\xff.png": "name is not valid UTF-8; rename it"}


@pytest.mark.parametrize("empty", ["real/celeba", "real/celeba/train", "gan_generated", "real/ffhq/none"])
def test_an_empty_folder_is_named(tmp_path: Path, empty: str) -> None:
    put(tmp_path, "real/ffhq/a.png")
    (tmp_path / empty).mkdir(parents=True)
    assert problems(tmp_path)[empty] == "folder holds no image"


def test_a_class_with_other_files_only_is_named_beside_them(tmp_path: Path) -> None:
    found = problems(
        put(tmp_path, "real/ffhq/a.png", "gan_generated/x/notes.txt", "dm_generated/y/.ipynb_checkpoints/a.png")
    )
    assert found == {
        "gan_generated/x": "folder holds no image",
        "gan_generated/x/notes.txt": "suffix '.txt' is no image's",
        "dm_generated/y": "folder holds no image",
    }


def test_a_class_with_one_image_is_a_class(tmp_path: Path) -> None:
    assert folders(put(tmp_path, "real/ffhq/a.png"))["problem"].tolist() == [""]


def test_names_that_differ_by_case_only_are_problems_on_both_sides(tmp_path: Path) -> None:
    root = put(tmp_path, "real/ffhq/a.png", "real/ffhq/A.png", "real/ffhq/b.png", "real/FFHQ/c.png")
    assert problems(root) == {
        "real/ffhq/a.png": "name differs from 'A.png' by case only",
        "real/ffhq/A.png": "name differs from 'a.png' by case only",
        "real/ffhq": "name differs from 'FFHQ' by case only",
        "real/FFHQ": "name differs from 'ffhq' by case only",
    }


def test_images_behind_links_are_read_and_loops_are_named(tmp_path: Path) -> None:
    disk = put(tmp_path / "disk", "progan/deep/a.png", "progan/b.png", "c.png")
    root = tmp_path / "root"
    (root / "gan_generated").mkdir(parents=True)
    (root / "gan_generated" / "progan").symlink_to(disk / "progan")
    (disk / "progan" / "deep" / "back").symlink_to(disk / "progan")
    (disk / "progan" / "up").symlink_to(root)
    (disk / "progan" / "self").symlink_to("self")
    (disk / "progan" / "linked.png").symlink_to(disk / "c.png")
    (disk / "progan" / "gone.png").symlink_to(disk / "nothing")
    rows = folders(root)
    inside = "gan_generated/progan"
    assert rows.loc[rows["problem"] == "", "path"].tolist() == [
        f"{inside}/b.png",
        f"{inside}/deep/a.png",
        f"{inside}/linked.png",
    ]
    found = problems(root)
    assert found[f"{inside}/deep/back"] == "symbolic link leads back to .."
    assert found[f"{inside}/up"].startswith("symbolic link leads back to ")
    assert found[f"{inside}/gone.png"] == found[f"{inside}/self"] == "symbolic link leads nowhere"


def test_folders_that_link_to_one_another_are_not_walked_along_every_way(tmp_path: Path) -> None:
    for number in range(6):
        put(tmp_path, f"real/{number}/a.png")
        for other in range(6):
            (tmp_path / "real" / str(number) / f"to{other}").symlink_to(tmp_path / "real" / str(other))
    rows = folders(tmp_path)
    assert len(rows) < 4_000, "all ways have more than 10,000 entries"
    assert {"symbolic link behind 3 others"} < set(rows["problem"])


def test_two_links_that_name_each_other_end(tmp_path: Path) -> None:
    root = put(tmp_path, "real/a/1.png", "real/b/2.png")
    (root / "real/a/to_b").symlink_to(root / "real/b")
    (root / "real/b/to_a").symlink_to(root / "real/a")
    assert set(problems(root)) == {"real/a/to_b/to_a", "real/b/to_a/to_b"}


def test_one_folder_under_two_labels_is_listed_under_both(tmp_path: Path) -> None:
    root = put(tmp_path, "real/ffhq/a.png")
    (root / "gan_generated").mkdir()
    (root / "gan_generated/copy").symlink_to(root / "real/ffhq")
    assert values(folders(root), "path", "nature") == [
        ["gan_generated/copy/a.png", "gan_generated"],
        ["real/ffhq/a.png", "real"],
    ]


def test_what_is_neither_file_nor_folder_is_never_opened(tmp_path: Path) -> None:
    root = put(tmp_path, "real/ffhq/a.png")
    os.mkfifo(root / "real/ffhq/pipe.png")  # reading it would wait for ever
    assert problems(root) == {"real/ffhq/pipe.png": "neither a file nor a folder"}


def test_an_unreadable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, scandir = put(tmp_path, "real/ffhq/a.png", "real/locked/b.png"), os.scandir

    def refuse(path: str) -> object:  # the tests may run as root, who reads everything
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert problems(root)["real/locked"] == "folder cannot be read: Permission denied"


@pytest.mark.parametrize("layout", ["folders", "csv", "parquet", "cifake"])
def test_a_missing_root_is_named_with_the_cure(tmp_path: Path, layout: str) -> None:
    with pytest.raises(ValueError, match=r"^data root .*/nowhere is missing; check data_root$"):
        list_images(tmp_path / "nowhere", layout=layout)


@pytest.mark.parametrize("paths", [[], ["real/ffhq/notes.txt"], ["real/stray.png"], ["notes.txt"]])
def test_a_root_without_an_image_says_what_was_expected(tmp_path: Path, paths: list[str]) -> None:
    with pytest.raises(ValueError, match="holds no image; expected ROOT/nature/architecture/image with nature one of"):
        folders(put(tmp_path, *paths))


def test_a_root_of_another_shape_shows_the_expected_one_and_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"expected ROOT/split/REAL/image or ROOT/split/FAKE/image; .*found real/x/a\.png"
    ):
        list_images(put(tmp_path, "real/x/a.png"), layout="cifake")


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(st.sets(NAMES.filter(lambda name: name[0] != "."), min_size=1, max_size=8))
def test_every_file_is_listed_once_whatever_its_name(tmp_path_factory: pytest.TempPathFactory, names: set[str]) -> None:
    root = put(tmp_path_factory.mktemp("tree"), "real/ffhq/kept.png")
    for name in names - {".", "..", "Thumbs.db", "desktop.ini", "demo.json", "images.csv"}:
        (root / "real/ffhq" / f"{name}.png").touch()
    rows = folders(root)
    assert rows["path"].tolist() == sorted(f"real/ffhq/{name}" for name in os.listdir(root / "real/ffhq"))


# Tables


def test_a_csv_is_read_by_its_header(tmp_path: Path) -> None:
    rows = list_images(
        table(tmp_path, "path,label,generator,split\nx/a.png,gan_generated,progan,train\nb.JPG,Real,,val\n"),
        layout="csv",
    )
    assert values(rows, "path", "nature", "architecture", "declared_split", "problem") == [
        ["b.JPG", "real", "real", "valid", ""],
        ["x/a.png", "gan_generated", "progan", "train", ""],
    ]


@pytest.mark.parametrize(
    "header, row",
    [
        ("image,class,split", "a.png,fake,test"),
        ("filename,typ,split", "a.png,ai,testing"),
        ("image_path,label", "a.png,1_fake"),
    ],
)
def test_headers_of_other_projects_are_known(tmp_path: Path, header: str, row: str) -> None:
    rows = list_images(table(tmp_path, f"{header}\n{row}\n"), layout="csv")
    assert values(rows, "path", "nature", "declared_split") == [
        ["a.png", "fake_unknown", "test" if "split" in header else ""]
    ]


def test_columns_say_what_the_header_does_not(tmp_path: Path) -> None:
    root = table(tmp_path, "bild,art,modell\na.png,dm,glide\n", name="other.csv")
    columns = {"path": "bild", "nature": "art", "architecture": "modell"}
    rows = list_images(root, layout="csv", columns=columns)
    assert values(rows, "path", "nature", "architecture") == [["a.png", "dm_generated", "glide"]]


def test_a_listing_written_as_csv_reads_as_itself(tmp_path: Path) -> None:
    tree = folders(put(tmp_path, "real/a b/é, 1.png", "gan_generated/x/new\nline.png"))
    tree = tree.assign(pair=["p", "p"], source="s", declared_split=["train", "test"], content="face")
    tree.drop(columns=["container", "row", "problem"]).to_csv(tmp_path / "images.csv", index=False)
    pd.testing.assert_frame_equal(list_images(tmp_path, layout="csv"), tree)


@pytest.mark.parametrize("encoding, path", [("utf-8-sig", "x/ü.png"), ("utf-8", r"x\ü.png"), ("utf-8", "./x//ü.png")])
def test_bom_windows_paths_and_loose_paths_are_read(tmp_path: Path, encoding: str, path: str) -> None:
    rows = list_images(table(tmp_path, f"path,label\n{path},real\n", encoding=encoding), layout="csv")
    assert values(rows, "path", "nature", "problem") == [["x/ü.png", "real", ""]]


def test_absolute_paths_below_the_root_become_relative(tmp_path: Path) -> None:
    rows = list_images(table(tmp_path, f"path,label\n{tmp_path}/x/a.png,real\n"), layout="csv")
    assert rows["path"].tolist() == ["x/a.png"]


@pytest.mark.parametrize(
    "path", ["../a.png", "x/../../a.png", r"..\a.png", "/etc/a.png", r"C:\data\a.png", "x/..", "ROOT/../a.png"]
)
def test_a_path_that_leaves_the_root_is_refused(tmp_path: Path, path: str) -> None:
    path = path.replace("ROOT", str(tmp_path))
    path = path if path != "x/.." else "x/../.."
    with pytest.raises(
        ValueError, match=r"table images\.csv: path .* leaves the data root .*; expected paths below it"
    ):
        list_images(table(tmp_path, f"path,label\nok.png,real\n{path},real\n"), layout="csv")


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b.png", "..a"]), min_size=1, max_size=6))
def test_no_listed_path_ever_leaves_the_root(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    root = table(tmp_path_factory.mktemp("root"), f'path,label\nok.png,real\n"{"/".join(parts)}",real\n')
    try:
        rows = list_images(root, layout="csv")
    except ValueError as refusal:
        assert "leaves the data root" in str(refusal) or "has no path" in str(refusal)
        return
    for path in rows["path"]:
        assert os.path.normpath(root / path).startswith(f"{root}")
        assert path == os.path.normpath(path)


@pytest.mark.parametrize(
    "text, message",
    [
        ("path,kind\na.png,real\n", "lacks a column for the nature; it has path, kind, expected one of nature, label,"),
        ("label\nreal\n", "lacks a column for the path; it has label"),
        (
            "path,label,model,generator\na.png,real,x,y\n",
            "generator and model could both be the architecture; say which",
        ),
        ("path,label\n,real\n", "row 1 has no path"),
        ("", r"is no CSV in UTF-8 with a header \(No columns"),
        ('path,label\n"a.png,real\n', "is no CSV in UTF-8 with a header"),
        ("path,path,label\na.png,b.png,real\n", "has the column 'path' more than once; name each column once"),
        ("path,label,path.1,label\na.png,real,b,fake\n", "has the column 'label' more than once; name each"),
        (
            "path,label\na,b.png,real\nc,d.png,real\n",
            "has rows longer than its header; put fields with commas in quotes",
        ),
        ("path,label\na.png,0\n", r"holds no image; .*found a\.png \(label '0' has no nature in the layout\)"),
    ],
)
def test_an_unclear_table_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        list_images(table(tmp_path, text), layout="csv")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_bytes(b"path,label\n\xff\xfe.png,real\n")
    with pytest.raises(ValueError, match="is no CSV in UTF-8"):
        list_images(tmp_path, layout="csv")


def test_columns_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    root = table(tmp_path, "path,label\na.png,real\n")
    with pytest.raises(ValueError, match="columns names 'art'"):
        list_images(root, layout="csv", columns={"nature": "art"})
    with pytest.raises(ValueError, match="columns names 'colour'"):
        list_images(root, layout="csv", columns={"colour": "label"})
    with pytest.raises(ValueError, match="layout folders knows its own"):
        list_images(root, layout="folders", columns={"nature": "label"})


def test_several_tables_and_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"several CSV files or none \(none\); expected images.csv"):
        list_images(tmp_path, layout="csv")
    table(tmp_path, "path,label\n", name="a.csv"), table(tmp_path, "path,label\n", name="b.csv")
    with pytest.raises(ValueError, match=r"\(a.csv, b.csv\)"):
        list_images(tmp_path, layout="csv")


def test_labels_and_suffixes_that_nobody_knows_are_problems(tmp_path: Path) -> None:
    root = table(tmp_path, "path,label,split\na.png,real,\nb.png,cat,\nc.txt,real,\nd.png,real,later\n")
    assert problems(root, "csv") == {
        "b.png": "label 'cat' has no nature in the layout",
        "c.txt": "suffix '.txt' is no image's",
        "d.png": "split 'later' has no declared_split in the layout",
    }


def test_a_repeated_row_counts_once_and_a_contradiction_is_a_problem(tmp_path: Path) -> None:
    root = table(tmp_path, "path,label\na.png,real\n./a.png,real\nb.png,real\nb.png,fake\n")
    rows = list_images(root, layout="csv")
    assert rows["path"].tolist() == ["a.png", "b.png"]
    assert rows["problem"].tolist() == ["", "listed more than once, with different labels or splits"]


# Parquet


def write_parquet(path: Path, *, columns: dict, struct: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    count = len(next(iter(columns.values())))
    images = [f"not decoded here {number}".encode() for number in range(count)]
    image = pa.array([{"bytes": image, "path": None} for image in images]) if struct else pa.array(images)
    pq.write_table(pa.table({"image": image, **columns}), path)


@pytest.mark.parametrize("struct", [True, False])
def test_images_inside_parquet_are_rows_of_their_own(tmp_path: Path, struct: bool) -> None:
    columns = {"label": ["real", "fake", None], "model": ["", "flux", "x"], "split": ["train", "test", "test"]}
    write_parquet(tmp_path / "data/part-0.parquet", columns=columns, struct=struct)
    rows = list_images(tmp_path, layout="parquet")
    assert values(rows, "path", "nature", "architecture", "declared_split", "container", "row", "problem") == [
        ["data/part-0.parquet/000000", "real", "real", "train", "data/part-0.parquet", "0", ""],
        ["data/part-0.parquet/000001", "fake_unknown", "flux", "test", "data/part-0.parquet", "1", ""],
        [
            "data/part-0.parquet/000002",
            "",
            "x",
            "test",
            "data/part-0.parquet",
            "2",
            "label '' has no nature in the layout",
        ],
    ]


def test_class_numbers_are_read_by_the_names_that_the_file_keeps(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path, columns={"label": [1, 0]})
    features = {"image": {"_type": "Image"}, "label": {"names": ["real", "fake"], "_type": "ClassLabel"}}
    told = json.dumps({"info": {"features": features}})
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": told}), path)
    assert list_images(tmp_path, layout="parquet")["nature"].tolist() == ["fake_unknown", "real"]


def test_shards_behind_a_linked_folder_are_read_and_a_loop_is_told(tmp_path: Path) -> None:
    shard = pa.table({"image": [b"1", b"2"], "label": ["real", "real"]})
    for place in ("root/a", "elsewhere/b"):
        (tmp_path / place).mkdir(parents=True)
        pq.write_table(shard, tmp_path / place / "0.parquet")
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "loop").symlink_to(tmp_path / "root")
    rows = list_images(tmp_path / "root", layout="parquet")
    sound = rows[rows["problem"] == ""]
    assert set(sound["container"]) == {"a/0.parquet", "linked/b/0.parquet"} and len(sound) == 4
    assert dict(zip(rows["path"], rows["problem"]))["loop"].startswith("symbolic link leads back to ")


def test_thumbnails_of_a_storage_server_are_no_data(tmp_path: Path) -> None:
    pictures = ["real/ffhq/a.png", "real/ffhq/@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "real/$RECYCLE.BIN/b.png"]
    assert folders(put(tmp_path, *pictures))["path"].tolist() == ["real/ffhq/a.png"]


def test_what_servers_keep_for_single_files_is_no_data_and_one_kind_in_the_line(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    kept = ["a.jpg@SynoEAStream", "b.jpg@SynoResource", "SYNOPHOTO_THUMB_XL.jpg", "@SynoResource", "Picasa.ini"]
    kept.append("a.jpg:Zone.Identifier")
    put(tmp_path, "real/ffhq/a.jpg", *(f"real/ffhq/{name}" for name in kept))
    assert folders(tmp_path)["path"].tolist() == ["real/ffhq/a.jpg"]
    assert ": 1 @synoresource, 4 of Synology or Windows, 1 picasa.ini\n" in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["folders", "parquet"])
def test_what_is_passed_over_is_counted_and_told(tmp_path: Path, layout: str, capsys: pytest.CaptureFixture) -> None:
    pq.write_table(pa.table({"image": [b"1"], "label": ["real"]}), tmp_path / "0.parquet")
    put(tmp_path, "real/ffhq/a.png")
    list_images(tmp_path, layout=layout)
    assert capsys.readouterr().out == "", "where nothing is passed over, nothing is said"
    put(tmp_path, "real/ffhq/@eaDir/a.png/x.jpg", "real/@EADIR/y.jpg", "real/.DS_Store", ".cache/a.png", "Icon\r")
    list_images(tmp_path, layout=layout)
    assert capsys.readouterr().out == (
        f"{tmp_path}: passed over as clutter of systems and storage servers: 2 @eadir, 2 hidden, 1 icon\\r\n"
    )


def test_paths_as_windows_writes_them_are_read_and_a_name_with_a_backslash_is_kept(tmp_path: Path) -> None:
    put(tmp_path, "real/a.png", "odd\\name.png")
    long = "x" * 400  # more than a file system takes as one name
    text = f"path,label\nreal\\a.png,real\nodd\\name.png,real\nreal\\{long}.png,real\n"
    rows = list_images(table(tmp_path, text), layout="csv")
    assert rows["path"].tolist() == ["odd\\name.png", "real/a.png", f"real/{long}.png"]


def test_several_columns_that_could_be_the_image_are_refused_by_name(tmp_path: Path) -> None:
    shard = {"thumbnail": [b"small"], "jpg": [b"large"], "label": ["real"]}
    pq.write_table(pa.table(shard), tmp_path / "08h.parquet")
    sentence = r"08h\.parquet: thumbnail and jpg could both be the image; call one of them image"
    with pytest.raises(ValueError, match=sentence):
        list_images(tmp_path, layout="parquet")
    pq.write_table(pa.table(shard | {"image": [b"this"]}), tmp_path / "08h.parquet")
    assert len(list_images(tmp_path, layout="parquet")) == 1
    file = ImageFile(tmp_path / "08h.parquet" / "000000", container=tmp_path / "08h.parquet", row=0)
    assert file_sha256(file) == sha256_bytes(b"this")


def test_a_parquet_file_with_a_column_twice_is_refused_by_name(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", columns={"label": ["real"]})
    twice = pa.Table.from_arrays(
        [pa.array([b"x"]), pa.array(["real"]), pa.array(["fake"])], ["image", "label", "label"]
    )
    pq.write_table(twice, tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"b\.parquet has the column 'label' more than once; name each column once"):
        list_images(tmp_path, layout="parquet")


def test_a_damaged_parquet_file_is_a_problem_among_others(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", columns={"label": ["real"]})
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:100])
    (tmp_path / "c.parquet").touch()
    pq.write_table(pa.table({"label": ["real"]}), tmp_path / "d.parquet")
    found = problems(tmp_path, "parquet")
    assert set(found) == {"b.parquet", "c.parquet", "d.parquet"}
    assert all(problem.startswith("no readable Parquet file: ") for problem in found.values())


def test_notes_in_a_parquet_file_that_are_none_are_a_problem_among_others(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", columns={"label": ["real"]})
    for name, notes in (("list", "[1]"), ("torn", "{")):
        pq.write_table(
            pq.read_table(tmp_path / "a.parquet").replace_schema_metadata({"huggingface": notes}),
            tmp_path / f"{name}.parquet",
        )
    assert set(problems(tmp_path, "parquet")) == {"list.parquet", "torn.parquet"}


def test_a_column_called_image_that_holds_no_bytes_is_not_passed_over_for_another(tmp_path: Path) -> None:
    shard = {"image": ["a.png"], "thumbnail": [b"small"], "label": ["real"]}
    pq.write_table(pa.table(shard), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"^a\.parquet: image holds images as string; expected bytes"):
        list_images(tmp_path, layout="parquet")


_BYTES = [b"a", b"b"]


@pytest.mark.parametrize(
    "pictures, said",
    [
        (pa.array([[{"bytes": b"a"}], []]), "thumbnail and pictures could both be the image"),
        (pa.array(_BYTES, pa.binary_view()), "thumbnail and pictures could both be the image"),
        (pa.array([{"full": {"bytes": b"a"}}, None]), "thumbnail and pictures could both be the image"),
    ],
)
def test_images_that_lie_deep_in_a_parquet_file_do_not_leave_the_place_to_another_column(
    tmp_path: Path, pictures: pa.Array, said: str
) -> None:
    held = pa.table({"thumbnail": pa.array(_BYTES), "pictures": pictures, "label": ["real", "real"]})
    pq.write_table(held, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=rf"^a\.parquet: {said}"):
        list_images(tmp_path, layout="parquet")
    pq.write_table(held.rename_columns(["thumbnail", "image", "label"]), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"^a\.parquet: image holds images as .*; expected bytes"):
        list_images(tmp_path, layout="parquet")


def test_two_columns_of_one_name_are_no_image(tmp_path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array(_BYTES), pa.array(_BYTES), pa.array(["real", "real"])], list("iil"))
    pq.write_table(twice.rename_columns(["image", "image", "label"]), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"^a\.parquet: image and image could both be the image"):
        list_images(tmp_path, layout="parquet")


def test_a_root_without_parquet_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no image; expected images as layout parquet describes them"):
        list_images(put(tmp_path, "a.png"), layout="parquet")


# Descriptions of one's own


def test_the_path_of_a_yaml_file_is_a_layout(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text(
        "title: Mine\nhomepage: ''\nlicence: not stated\nimages:\n"
        "  - {path: 'v*/{kind}', nature: {kind: {0: real, 1: dm_generated}}, "
        "architecture: 'kind {kind}', pair: '{stem}'}\n"
    )
    rows = list_images(put(tmp_path / "data", "v1/0/a.b.png", "v2/1/a.b.jpg", "v2/2/c.png"), layout=str(own))
    assert values(rows, "path", "nature", "architecture", "pair", "problem") == [
        ["v1/0/a.b.png", "real", "kind 0", "a.b", ""],
        ["v2/1/a.b.jpg", "dm_generated", "kind 1", "a.b", ""],
        ["v2/2/c.png", "", "kind 2", "c", "kind '2' has no nature in the layout"],
    ]


@pytest.mark.parametrize("layout", ["folder", "missing.yaml"])
def test_an_unknown_layout_is_refused_with_the_known_ones(tmp_path: Path, layout: str) -> None:
    with pytest.raises(ValueError, match=f"layout .*{layout}.*{', '.join(LAYOUTS[:4])}"):
        list_images(tmp_path, layout=layout)
