"""The store: computed once, verified at every opening, keyed by all that it depends on."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dfxlib.system.files import stored_array

ARRAY = np.arange(12, dtype=np.float32).reshape(3, 4)


class Filler:
    """Writes an array and counts how often it was asked to."""

    def __init__(self, array: np.ndarray = ARRAY):
        self.array, self.calls = array, 0

    def __call__(self, path: Path) -> None:
        self.calls += 1
        np.save(path, self.array)


def only_array(root: Path) -> Path:
    (path,) = root.glob("*.npy")
    return path


def test_an_array_is_computed_once_and_opened_read_only(tmp_path: Path) -> None:
    fill = Filler()
    for _ in range(3):
        array = stored_array(tmp_path / "cache", "pixels", ["a", 1], fill)
    np.testing.assert_array_equal(array, ARRAY)
    assert fill.calls == 1 and isinstance(array, np.memmap) and not array.flags.writeable


def test_another_key_or_kind_is_another_array(tmp_path: Path) -> None:
    fill = Filler()
    for kind, key in [("pixels", ["a", 1]), ("pixels", ["a", 2]), ("pixels", ["a", "1"]), ("features", ["a", 1])]:
        stored_array(tmp_path, kind, key, fill)
    assert fill.calls == 4 and len(list(tmp_path.glob("*.npy"))) == 4


@pytest.mark.parametrize("damage", ["flip", "cut", "delete", "no checksum", "empty checksum"])
def test_a_damaged_store_is_computed_again(tmp_path: Path, damage: str) -> None:
    fill = Filler()
    stored_array(tmp_path, "pixels", ["a"], fill)
    path = only_array(tmp_path)
    checksum = path.with_name(path.name + ".sha256")
    data = path.read_bytes()
    if damage == "flip":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "cut":
        path.write_bytes(data[:-4])
    elif damage == "delete":
        path.unlink()
    elif damage == "no checksum":
        checksum.unlink()
    else:
        checksum.write_text("")
    np.testing.assert_array_equal(stored_array(tmp_path, "pixels", ["a"], fill), ARRAY)
    assert fill.calls == 2


def test_a_failed_computation_leaves_nothing_that_counts(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise ValueError("image changed")

    with pytest.raises(ValueError, match="image changed"):
        stored_array(tmp_path, "pixels", ["a"], fail)
    assert not list(tmp_path.glob("*.npy")) and not list(tmp_path.glob("*.sha256"))
    np.testing.assert_array_equal(stored_array(tmp_path, "pixels", ["a"], Filler()), ARRAY)


def test_jobs_that_start_together_compute_once(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; import numpy as np; from dfxlib.system.files import stored_array\n"
        "root = Path(sys.argv[1])\n"
        "def fill(path):\n"
        "    (root / f'fill-{time.time_ns()}').touch(); time.sleep(0.5); np.save(path, [1, 2])\n"
        "assert stored_array(root, 'pixels', ['a'], fill).tolist() == [1, 2]"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(2)]
    assert [job.wait() for job in jobs] == [0, 0]
    assert len(list(tmp_path.glob("fill-*"))) == 1
