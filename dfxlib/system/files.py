"""Files that are either whole or absent, the hashes that vouch for them, and arrays that are computed once."""

import ast
import errno
import fcntl
import hashlib
import inspect
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

#: Set by `dfx execute`, to the folder that the run is to fill: a batch log gets one line an epoch instead of
#: moving bars, and `execute` moves that folder to its place.
BATCH_VARIABLE = "DFXLIB_BATCH"

_LITTLE = 2**20  # bytes that every disk with room for results takes


def project_root(start: Path | None = None) -> Path:  # folder
    """The clone that holds `notebooks/` and `pyproject.toml`, searched upwards from `start`.

    JupyterLab starts a kernel in `notebooks/`, papermill where it was called; a relative path
    in a parameters cell must mean the same file in both. Outside a clone it is `start` itself.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "pyproject.toml").is_file() and (folder / "notebooks").is_dir():
            return folder
    return start


def project_path(path: str | Path) -> Path:
    """`path` as an absolute path; a relative one counts from the project's root."""
    try:
        return project_root() / Path(path).expanduser()
    except RuntimeError as error:  # of `~`, or of `~somebody`
        cure = "set HOME to a folder of yours, or name the folder in full"
        raise ValueError(f"{path} names the home folder of a user that has none; {cure}") from error


def sha256_bytes(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in blocks."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def load_json(path: Path) -> Any:
    """What a JSON file holds; raises ValueError with the file's name where it is none."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} holds no JSON ({error}); restore the file, or make it again") from error


def code_hash(notebook: Path) -> str:
    """Hash of a notebook's code: saving it in JupyterLab without a change makes no other notebook."""
    cells = load_json(notebook)["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return sha256_bytes(json.dumps(code).encode())


def source_hash(*parts: ModuleType | Callable | Path) -> str:
    """Hash of the code of modules, functions and files as Python parses it: comments, docstrings, layout do not count.

    For the keys of stored arrays. A module calls it while it is imported: a kernel that goes on with the code it has,
    when a file is edited meanwhile, must not store what that code computes under the name of the new code.
    """
    sources = [
        part.read_text(encoding="utf-8") if isinstance(part, Path) else inspect.getsource(part) for part in parts
    ]
    trees = [ast.parse(source) for source in sources]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return sha256_bytes("\n".join(ast.dump(tree) for tree in trees).encode())


def hold(lock: Path) -> int | None:  # descriptor; None: another process has it
    """Take a lock that goes with the descriptor, and so with the process, whatever ends it: none is left behind."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return descriptor
    except BlockingIOError:
        os.close(descriptor)
        return None


@contextmanager
def atomic(path: Path) -> Iterator[Path]:  # a neighbour to write to, which keeps the suffix
    """A file that the block fills beside `path`; it moves to `path` in one step when the block ends well.

    A reader sees the old file or the new one, never a part; a full disk or a killed process
    leaves `path` as it was. Many writers choose their format by the suffix. The file has the mode
    that the user's umask grants, also where a writer (as that of safetensors) grants the owner alone.
    A file system takes 255 bytes a name; of a long one the neighbour has the hash only.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    name = os.fsencode(path.name)
    stem = path.stem if len(name) < 200 else sha256_bytes(name)
    partial = path.with_name(f".{stem}.{os.getpid()}.partial{path.suffix}")
    try:
        partial.touch()
        mode = partial.stat().st_mode
        partial.unlink()
        yield partial
        if partial.stat().st_mode != mode:  # some file systems know no modes, and refuse to be told one
            partial.chmod(mode)
        with open(partial, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise OSError(error.errno or errno.EIO, f"cannot write {path}: {error.strerror or error}") from error
    except Exception as error:
        if code := _refusal(error, partial):
            raise OSError(code, f"cannot write {path}: {os.strerror(code)}") from error
        raise
    finally:
        partial.unlink(missing_ok=True)
    _fsync_folder(path.parent)


def _refusal(error: Exception, partial: Path) -> int:  # errno; 0: the disk took what it was given
    """torch and safetensors have exceptions of their own for a disk that takes no more; torch's do not even say why."""
    if stated := re.search(r"\(os error (\d+)\)", str(error)):
        return int(stated[1])
    try:
        with open(partial, "ab") as file:
            file.write(bytes(_LITTLE))
    except OSError as refused:
        return refused.errno or errno.EIO
    return 0


def write_atomic(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a neighbour of `path`, then move it to `path` in one step, as `atomic` does."""
    with atomic(path) as partial:
        write(partial)
    return Path(path)


def write_text_atomic(path: Path, text: str) -> Path:
    """`write_atomic` of a text in UTF-8."""
    return write_atomic(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_vouched(path: Path, write: Callable[[Path], object], *, note: str = "") -> str:  # sha256
    """`write_atomic`, then the checksum beside it; a file without one counts as unfinished.

    A note becomes a comment of the checksum's file, as sha256sum reads it.
    """
    write_atomic(path, write)
    digest = sha256_file(path)
    comment = f"# {note}\n" if note else ""
    write_text_atomic(checksum_path(path), f"{digest}  {Path(path).name}\n{comment}")
    return digest


def vouched_sha256(path: Path) -> str:  # "" where the file is missing, unfinished or changed
    """The hash of a file that is as `write_vouched` left it."""
    path, stated = Path(path), checksum_path(path)
    if not path.is_file() or not stated.is_file():
        return ""
    digest = sha256_file(path)
    return digest if stated.read_text(errors="replace").split()[:1] == [digest] else ""


def checksum_path(path: Path) -> Path:
    """Where the checksum of a file lies: beside it."""
    return Path(f"{path}.sha256")


def require_format(stated: int, readable: int, *, what: str, anew: str) -> None:
    """Raise ValueError for a file of another format; `anew` is the cure of an older one: how it is made again."""
    if stated != readable:
        cure = "update dfxlib" if stated > readable else anew
        raise ValueError(f"{what} has format {stated}; this dfxlib reads format {readable}; {cure}")


def require_space(folder: Path, size: int) -> None:  # bytes
    """Raise OSError before a file of `size` bytes is begun that the disk cannot hold."""
    free = shutil.disk_usage(folder).free
    if free < size:
        there, needed = f"{free / 1e9:.1f} GB", f"{size / 1e9:.1f} GB"
        raise OSError(errno.ENOSPC, f"{folder} has {there} free and {needed} are needed; make room or set another")


def require_place(folder: Path, *, what: str, apart: Iterable[Path] = ()) -> None:
    """Raise before hours of reading where nothing can be written into `folder`, which need not exist yet.

    `what` names it in the sentence. ValueError where it lies in one of the folders `apart`, which are only read, and
    OSError where the nearest folder that exists does not take a megabyte: what a disk is mounted for, rights and quotas
    are learned by trying.
    """
    real = Path(folder).resolve()
    for read in apart:  # by name as well: what its links lead to is read
        if any(Path(at(folder)).is_relative_to(at(read)) for at in (os.path.realpath, os.path.abspath)):
            raise ValueError(f"{what} lies in {read}, which is only read; name a place outside it")
    there = next(parent for parent in (real, *real.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(bytes(_LITTLE))
    except OSError as error:
        cure = "mend that, or name another place"
        raise OSError(error.errno, f"cannot write {what}: {error.strerror}; {cure}") from error


def require_file(option: str, place: Path, *, apart: Iterable[Path]) -> None:
    """Told before hours of reading: where a result cannot be written, or would change one of the folders `apart`.

    `option` names it in the sentence.
    """
    if (place.exists() and not place.is_file()) or not place.parent.is_dir():  # a device would be replaced by a file
        raise ValueError(f"{option} {place} must be a file in a folder that exists")
    require_place(place.parent, what=f"{option} {place}", apart=apart)


def require_own(folder: Path, mark: str) -> None:
    """Refuse to replace a folder that others filled: what we write holds a file called `mark`."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / mark).is_file()):
        raise ValueError(f"{folder} was not written by this command; give a new folder, or remove it yourself")


def safe_name(name: str) -> str:
    """`name` as one path component: `timm:x/y` becomes `timm.x_y`."""
    return re.sub(r"[^\w.+-]", "_", name.replace(":", "."))


def stored_array(
    cache_root: Path,
    kind: str,  # first part of the file's name
    key: list,  # all that the array depends on, JSON-serialisable
    fill: Callable[[Path], object],  # writes the .npy file
) -> np.ndarray:  # memory-mapped, read-only
    """The array stored under `key`; computed by `fill` where it is missing or damaged.

    A lock makes jobs that start together compute it once. The checksum is written after the
    array, so that an array without one counts as unfinished.
    """
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    path = Path(cache_root) / f"{kind}-{digest[:16]}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not vouched_sha256(path):
            write_vouched(path, fill)
    return np.load(path, mmap_mode="r")


def new_array(path: Path, *, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    """A .npy file of zeros to be filled, for which the disk has set room aside.

    Writing into a mapped file kills the process without a word where the disk is full or a quota is used up; so that is
    asked here, and an OSError.
    """
    require_space(path.parent, int(np.prod(shape)) * np.dtype(dtype).itemsize)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    with open(path, "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, array.offset + array.nbytes)
    return array


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
