"""Files: whole or absent, vouched for by hashes, found from the project's root."""

import errno
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

from dfxlib.system import files


def test_a_written_file_holds_the_text_and_leaves_no_neighbour(tmp_path: Path) -> None:
    path = files.write_text_atomic(tmp_path / "new" / "a.json", "grün\n")
    assert path.read_bytes() == "grün\n".encode()
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]


def test_the_temporary_file_keeps_the_suffix_by_which_writers_choose_a_format(tmp_path: Path) -> None:
    seen = []
    files.write_atomic(tmp_path / "a.parquet", lambda partial: (seen.append(partial), partial.touch()))
    assert seen[0].suffix == ".parquet" and seen[0].parent == tmp_path and seen[0].name != "a.parquet"


@pytest.mark.parametrize("name", ["a" * 251 + ".png", "ü" * 125 + ".png"])
def test_a_name_as_long_as_a_file_system_takes_is_written(tmp_path: Path, name: str) -> None:
    """255 bytes; the neighbour's name would be longer, and so has a hash in place of the stem."""
    seen = []
    path = files.write_atomic(tmp_path / name, lambda partial: (seen.append(partial), partial.touch()))
    assert [entry.name for entry in tmp_path.iterdir()] == [name] == [path.name]
    assert ".partial" in seen[0].name and seen[0].suffix == ".png"


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_writer_that_fails_leaves_the_old_file_and_no_partial(tmp_path: Path, error: BaseException) -> None:
    path = files.write_text_atomic(tmp_path / "a.csv", "old")

    def fail(partial: Path) -> None:
        partial.write_text("half")
        raise error

    with pytest.raises(type(error)):
        files.write_atomic(path, fail)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_reported_with_the_final_name(tmp_path: Path) -> None:
    def fail(partial: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"cannot write .*/a\.csv: No space left") as caught:
        files.write_atomic(tmp_path / "a.csv", fail)
    assert caught.value.errno == 28


def test_files_and_locks_have_the_mode_that_the_umask_grants(tmp_path: Path) -> None:
    """Whoever shares a folder with others sets a umask for it; a writer's own mode would shut them out."""

    def write_for_the_owner_alone(partial: Path) -> None:
        partial.touch()
        partial.chmod(0o600)

    before = os.umask(0o002)
    try:
        written = files.write_atomic(tmp_path / "a.bin", write_for_the_owner_alone)
        os.close(files.hold(tmp_path / ".run.lock"))
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (written, tmp_path / ".run.lock")] == [0o664, 0o664]


def test_a_quota_is_reported_with_the_final_name(tmp_path: Path) -> None:
    def fail(partial: Path) -> None:
        raise SafetensorError("Error while serializing: I/O error: Disk quota exceeded (os error 122)")

    with pytest.raises(OSError, match=r"cannot write .*/a\.safetensors: Disk quota exceeded") as caught:
        files.write_atomic(tmp_path / "a.safetensors", fail)
    assert caught.value.errno == errno.EDQUOT


LIMITED = """
import resource, signal
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
"""


def test_any_other_refusal_is_told_with_the_file_too(tmp_path: Path) -> None:
    """Here a largest size of files, which torch reports without the reason."""
    (tmp_path / "disk").mkdir()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", LIMITED + FILL]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        *(f"27 [Errno 27] cannot write disk/{name}: File too large" for name in ("a.pt", "a.safetensors")),
        "[]",
    ], done.stdout + done.stderr


SMALL_DISK = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
FILL = """
import sys, torch
from pathlib import Path
from dfxlib.system.files import write_atomic
from safetensors.torch import save_file
state = {"w": torch.zeros(300_000)}
for name, write in {"a.pt": lambda p: torch.save(state, p), "a.safetensors": lambda p: save_file(state, p)}.items():
    try:
        write_atomic(Path("disk", name), write)
    except OSError as error:
        print(error.errno, error)
print(sorted(path.name for path in Path("disk").iterdir()))
"""


needs_small_disk = pytest.mark.skipif(
    subprocess.run([*SMALL_DISK, "mount -t tmpfs tmpfs /mnt"], capture_output=True, check=False).returncode != 0,
    reason="needs the right to mount a small disk in a namespace of its own",
)


def run_on_a_small_disk(code: str, folder: Path) -> subprocess.CompletedProcess:
    """Python with a disk of one megabyte mounted as `disk`."""
    script = f'mkdir disk && mount -t tmpfs -o size=1m tmpfs disk && {sys.executable} -c "$0"'
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [*SMALL_DISK, script, code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@needs_small_disk
def test_a_disk_that_fills_up_under_a_state_or_a_model_is_told_with_the_file(tmp_path: Path) -> None:
    """torch and safetensors raise what is no OSError, torch without a word of the disk."""
    done = run_on_a_small_disk(FILL, tmp_path)
    assert done.stdout.splitlines() == [
        *(f"28 [Errno 28] cannot write disk/{name}: No space left on device" for name in ("a.pt", "a.safetensors")),
        "[]",
    ], done.stdout + done.stderr


ARRAY = """
from pathlib import Path
import numpy as np
from dfxlib.system import files
files.require_space = lambda folder, size: None  # a quota is not among what a disk says of itself
try:
    size = {"dtype": np.uint8, "shape": (2_000_000,)}
    files.write_atomic(Path("disk/a.npy"), lambda path: files.new_array(path, **size).fill(1))
except OSError as error:
    print(error)
"""


@needs_small_disk
def test_a_mapped_array_that_the_disk_does_not_take_is_told_and_kills_nothing(tmp_path: Path) -> None:
    done = run_on_a_small_disk(ARRAY, tmp_path)
    assert done.stdout == "[Errno 28] cannot write disk/a.npy: No space left on device\n", done.stderr


def test_a_new_array_holds_zeros_and_keeps_what_is_written(tmp_path: Path) -> None:
    files.new_array(tmp_path / "a.npy", dtype=np.float32, shape=(2, 3))[1] = 7
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), [[0, 0, 0], [7, 7, 7]])


def test_a_writer_that_fails_for_another_reason_is_left_to_say_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        files.write_atomic(tmp_path / "a", lambda partial: (_ for _ in ()).throw(RuntimeError("shapes")))


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = files.write_text_atomic(tmp_path / "a.csv", "old")
    code = (
        "import os, signal, sys; from pathlib import Path; from dfxlib.system.files import write_atomic\n"
        "write_atomic(Path(sys.argv[1]), lambda p: (p.write_text('half'), os.kill(os.getpid(), signal.SIGKILL)))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    assert path.read_text() == "old"


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_hashes_agree_with_hashlib(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "a").write_bytes(data)
    assert files.sha256_file(tmp_path / "a") == files.sha256_bytes(data) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "name, expected",
    [("timm:x/y", "timm.x_y"), ("resnet18", "resnet18"), ("seed0", "seed0"), ("../up", ".._up"), ("a b", "a_b")],
)
def test_names_become_one_path_component(name: str, expected: str) -> None:
    assert files.safe_name(name) == expected


def test_the_project_is_found_from_any_folder_inside_it(tmp_path: Path) -> None:
    (tmp_path / "notebooks" / "deep").mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    assert files.project_root(tmp_path / "notebooks" / "deep") == tmp_path.resolve()


def test_outside_a_clone_the_folder_itself_is_the_root(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()  # somebody else's project has no notebooks
    assert files.project_root(tmp_path) == tmp_path.resolve()


def test_a_relative_path_means_the_same_from_notebooks_and_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert files.project_path("runs/lab") == tmp_path.resolve() / "runs" / "lab"
    assert files.project_path("/elsewhere") == Path("/elsewhere")
    assert files.project_path("~/images") == Path.home() / "images"


def test_too_little_space_is_told_before_a_file_is_begun(tmp_path: Path) -> None:
    files.require_space(tmp_path, 1)
    with pytest.raises(OSError, match=r"GB free and 1000000000\.0 GB are needed; make room"):
        files.require_space(tmp_path, 10**18)


@pytest.mark.parametrize("place", ["images", "images/real/new", "link/new", "images/out/new"])
def test_a_place_in_a_folder_that_is_only_read_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "images" / "real").mkdir(parents=True)
    (tmp_path / "link").symlink_to("images")
    (tmp_path / "images" / "out").symlink_to(tmp_path, target_is_directory=True)  # whoever reads follows it
    images = tmp_path / "images"
    with pytest.raises(
        ValueError, match=rf"--out {place} lies in {images}, which is only read; name a place outside it"
    ):
        files.require_place(tmp_path / place, what=f"--out {place}", apart=[images])


def test_a_place_is_tried_and_nothing_stays_there(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "words").write_text("no folder")
    files.require_place(tmp_path / "new" / "cache", what="cache_root", apart=[tmp_path / "images"])
    files.require_place(tmp_path / "images2", what="cache_root", apart=[tmp_path / "images"])
    for place in ("words", "words/cache"):
        with pytest.raises(OSError, match=rf"cannot write cache_root {place}: Not a directory; mend that, or name an"):
            files.require_place(tmp_path / place, what=f"cache_root {place}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "words"]


TRY = """
from pathlib import Path
from dfxlib.system.files import require_place
try:
    require_place(Path("disk/new"), what="cache_root disk/new")
except OSError as error:
    print(error)
"""


@needs_small_disk
@pytest.mark.parametrize(
    ("mounted", "reason"), [("size=512k", "28] .*: No space left on device"), ("ro", "30] .*: Read-only file system")]
)
def test_a_place_on_a_disk_that_takes_nothing_is_told(tmp_path: Path, mounted: str, reason: str) -> None:
    script = f'mkdir disk && mount -t tmpfs -o {mounted} tmpfs disk && {sys.executable} -c "$0"'
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [*SMALL_DISK, script, TRY]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert re.fullmatch(rf"\[Errno {reason.replace('.*', 'cannot write cache_root disk/new')}; mend .*\n", done.stdout)


def test_a_home_folder_that_nobody_has_is_one_sentence() -> None:
    with pytest.raises(
        ValueError, match=r"~nobody-here/images names the home folder of a user that has none; set HOME"
    ):
        files.project_path("~nobody-here/images")


@pytest.mark.parametrize("content", [b"", b'{"half": ', b"\xff\xfe"])
def test_a_damaged_json_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "metrics.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"metrics\.json holds no JSON \(.*\); restore the file, or make it again"):
        files.load_json(tmp_path / "metrics.json")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_result_replaces_nothing_but_a_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a.csv")
    with pytest.raises(ValueError, match=r"--out .*a\.csv must be a file in a folder that exists"):
        files.require_file("--out", tmp_path / "a.csv", apart=[])
    files.require_file("--out", tmp_path / "b.csv", apart=[])
