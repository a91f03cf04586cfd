"""The sidecar: what did not change is not read again, and what may have changed is."""

import errno
import os
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from samples import noise, plant_tree

from dfxlib.data import decode, sidecar
from dfxlib.data.manifest import build_manifest
from dfxlib.system.files import write_vouched


class Counter:
    """`inspect_file` that notes which files it was given, and dies before one of them where asked to."""

    def __init__(self, real: object):
        self.real, self.read, self.dies_after = real, [], 10**9

    def __call__(self, file: object, **options: object) -> dict:
        if len(self.read) == self.dies_after:
            raise KeyboardInterrupt
        self.read.append(file.path.name)
        return self.real(file, **options)


@pytest.fixture()
def counter(monkeypatch: pytest.MonkeyPatch) -> Counter:
    counting = Counter(sidecar.inspect_file)
    monkeypatch.setattr(sidecar, "inspect_file", counting)
    return counting


@pytest.fixture()
def root(tmp_path: Path) -> Path:
    return plant_tree(tmp_path / "images", architectures=1, images=4)


def build(root: Path, **options: object) -> pd.DataFrame:
    return build_manifest(root, workers=1, sidecar=root.parent / "cache", **options)


def built_again(root: Path, counter: Counter, **options: object) -> list[str]:
    """Names of the files that a second build reads; its manifest must be that of a build without sidecar."""
    counter.read.clear()
    table = build(root, **options)
    read = list(counter.read)
    pd.testing.assert_frame_equal(table, build_manifest(root, workers=1, **options), check_dtype=False)
    return read


def test_an_unchanged_tree_is_not_read_again_and_gives_the_same_manifest(root: Path, counter: Counter) -> None:
    build(root)
    assert len(counter.read) == 12
    assert built_again(root, counter) == []


def test_damaged_files_are_remembered_too(root: Path, counter: Counter) -> None:
    (root / "real" / "real_0" / "000.png").write_bytes(b"words")
    build(root)
    assert built_again(root, counter) == []


def test_what_a_disk_did_not_give_once_is_asked_for_again(
    root: Path, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_at_times(file: decode.ImageFile) -> bytes:
        if file.path.name == "001.png":
            raise OSError(errno.EIO, "Input/output error")
        return file.path.read_bytes()

    with monkeypatch.context() as faulty:
        faulty.setattr(decode, "read_bytes", fail_at_times)
        assert (build(root)["problem"] == "unreadable: Input/output error").sum() == 3
    assert built_again(root, counter) == ["001.png"] * 3


def test_a_new_a_changed_and_a_removed_file_cost_two_readings(root: Path, counter: Counter) -> None:
    build(root)
    noise(100).save(root / "real" / "real_0" / "new.png")
    noise(101).save(root / "real" / "real_0" / "001.png")
    (root / "real" / "real_0" / "002.png").unlink()
    assert built_again(root, counter) == ["001.png", "new.png"]
    assert built_again(root, counter) == []


def test_a_change_that_keeps_size_and_time_is_seen_by_the_time_of_change(root: Path, counter: Counter) -> None:
    path = root / "real" / "real_0" / "001.png"
    before, data = path.stat(), path.read_bytes()
    build(root)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert built_again(root, counter) == ["001.png"]


def test_another_file_under_an_old_name_is_seen_by_its_inode(root: Path, counter: Counter) -> None:
    folder = root / "real" / "real_0"
    build(root)
    os.replace(folder / "001.png", folder / "003.png")
    assert built_again(root, counter) == ["003.png"]


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "no checksum", "words"])
def test_a_damaged_sidecar_is_not_trusted_and_made_again(root: Path, counter: Counter, damage: str) -> None:
    build(root)
    path = sidecar.sidecar_path(root.parent / "cache", root)
    data = path.read_bytes()
    if damage == "flip":
        path.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    elif damage == "no checksum":
        path.with_name(path.name + ".sha256").unlink()
    else:
        path.write_bytes({"cut": data[:-9], "empty": b"", "words": b"words"}[damage])
    assert len(built_again(root, counter)) == 12
    assert built_again(root, counter) == []


def test_another_decoder_reads_everything(root: Path, counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    build(root)
    monkeypatch.setattr(sidecar, "DECODER", "another")
    assert len(built_again(root, counter)) == 12


def test_a_sidecar_from_before_a_fact_was_kept_is_read_anew(root: Path, counter: Counter) -> None:
    table = build(root)
    path = sidecar.sidecar_path(root.parent / "cache", root)
    older = pq.read_table(path).drop_columns("thumbnail")
    write_vouched(path, lambda partial: pq.write_table(older, partial))
    assert len(built_again(root, counter)) == 12
    pd.testing.assert_frame_equal(build(root), table)


def test_another_pixel_limit_reads_everything(root: Path, counter: Counter) -> None:
    noise(200, width=40, height=40).save(root / "real" / "real_0" / "large.png")
    build(root)
    assert len(built_again(root, counter, pixel_limit=1500)) == 13
    problems = build(root, pixel_limit=1500)["problem"].tolist()
    assert problems.count("too large: 40 x 40 pixels, above pixel_limit 1500") == 1


def test_a_build_that_was_interrupted_goes_on_where_it_was(
    root: Path, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sidecar, "BLOCK", 4)
    counter.dies_after = 10
    with pytest.raises(KeyboardInterrupt):
        build(root)
    counter.dies_after = 10**9
    assert len(built_again(root, counter)) == 4  # two blocks of four were written


def test_two_roots_keep_their_own(root: Path, counter: Counter, tmp_path: Path) -> None:
    other = plant_tree(tmp_path / "other", architectures=1, images=2)
    for each in (root, other):
        build(each)
    assert built_again(root, counter) == [] and built_again(other, counter) == []
    assert len(list((tmp_path / "cache").glob("files-*.parquet"))) == 2


def test_without_a_sidecar_nothing_is_kept(root: Path, counter: Counter) -> None:
    for _ in range(2):
        build_manifest(root, workers=1)
    assert len(counter.read) == 24 and {path.name for path in root.parent.iterdir()} == {"images"}
