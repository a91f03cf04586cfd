"""The life of a run's folder: its place checked, filled beside it, vouched for, moved there whole."""

import json
import shutil
from pathlib import Path

from dfxlib.system.files import load_json, project_path, require_place, sha256_file, write_text_atomic

DONE = ".done"


def check_places(given: dict) -> None:
    """Raise before hours of reading where a study or a notebook is told to write what it cannot.

    Here and not with the settings, whose modules take a second to import: every run calls this.
    """
    read = [project_path(given["data_root"])] if given.get("data_root") else []
    for name in ("cache_root", "run_root"):
        if place := given.get(name):
            require_place(project_path(place), what=f"{name} {place}", apart=read)


def vouch(folder: Path, what: dict, *, seconds: float) -> Path:
    """Write `.done`: what was run (notebook, code, parameters), and the checksum of every file of the folder."""
    files = {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != DONE
    }
    content = what | {"seconds": round(seconds, 1), "files": files}
    return write_text_atomic(folder / DONE, json.dumps(content, indent=1) + "\n")


def verify(folder: Path) -> list[str]:  # what is wrong; empty: all as it was
    """Compare a finished run with its `.done`."""
    if not (folder / DONE).is_file():
        return ["not finished by a batch run"]
    stated = load_json(folder / DONE)["files"]
    missing = [name for name in stated if not (folder / name).is_file()]
    changed = [name for name in stated if name not in missing and sha256_file(folder / name) != stated[name]]
    return [f"{name} is missing" for name in missing] + [f"{name} was changed" for name in changed]


def staging_folder(folder: Path) -> Path:
    """Where a folder is filled before it moves to its place as a whole."""
    return folder.with_name(f".{folder.name}.partial")


def replace_folder(folder: Path) -> None:
    """Move the filled staging folder to its place; whatever interrupts that, the earlier folder is not lost."""
    retired = _retired(folder)
    shutil.rmtree(retired, ignore_errors=True)
    try:
        if folder.exists():
            folder.rename(retired)
        staging_folder(folder).rename(folder)
    except BaseException:
        restore_folder(folder)
        raise
    shutil.rmtree(retired, ignore_errors=True)


def restore_folder(folder: Path) -> None:
    """Put an earlier folder back where `replace_folder` was killed between its two moves."""
    if _retired(folder).exists() and not folder.exists():
        _retired(folder).rename(folder)


def _retired(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")
