"""From a folder of images to rows (path, nature, architecture, source)."""

import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from dfxlib.names import NATURES

#: Suffixes that are read as images, in lower case. Other files become rows with a problem.
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm"}

_NOT_DATA = {"__MACOSX", "Thumbs.db", "desktop.ini", "demo.json"}


def list_folders(root: Path) -> pd.DataFrame:  # columns path, nature, architecture, source, problem
    """Rows of a tree ROOT/nature/architecture/.../image, sorted by path.

    Labels come from the names of the folders, never from their order. Hidden entries and what
    operating systems leave behind are no data. Raises ValueError for a root that is missing or
    without a single image, and for a folder that is not named after a nature.
    """
    if not root.is_dir():
        raise ValueError(f"data root {root} is missing; check data_root")
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not _is_clutter(entry))
    strangers = [folder.name for folder in folders if folder.name not in NATURES]
    if strangers:
        raise ValueError(
            f"data root {root}: folder {strangers[0]!r} is not a nature; "
            f"expected ROOT/nature/architecture/image with nature one of {', '.join(NATURES)}"
        )
    rows = [row for folder in folders for row in _architecture_rows(root, folder)]
    if not any(row["problem"] == "" for row in rows):
        raise ValueError(
            f"data root {root} holds no image; expected ROOT/nature/architecture/image "
            f"with nature one of {', '.join(NATURES)}; check data_root"
        )
    return pd.DataFrame(rows).sort_values("path", ignore_index=True)


def _architecture_rows(root: Path, nature_folder: Path) -> list[dict]:
    rows = []
    for path in sorted(_files(nature_folder)):
        inside = path.relative_to(nature_folder)
        if any(_is_clutter(Path(part)) for part in inside.parts):
            continue
        problem = "" if path.suffix.lower() in IMAGE_SUFFIXES else f"suffix {path.suffix!r} is no image's"
        if len(inside.parts) == 1:
            problem = "outside an architecture's folder"
        rows.append(
            {
                "path": path.relative_to(root).as_posix(),
                "nature": nature_folder.name,
                "architecture": inside.parts[0] if len(inside.parts) > 1 else "",
                "source": "",
                "problem": problem,
            }
        )
    return rows


def _files(folder: Path) -> Iterator[Path]:
    """All files below `folder`, through symbolic links to folders, each folder once.

    Data sets are often linked from another disk; `Path.rglob` would pass such links by in silence.
    """
    seen = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()  # a link that leads back
            continue
        seen.add(real)
        yield from (Path(here, name) for name in files)


def _is_clutter(entry: Path) -> bool:
    return entry.name.startswith(".") or entry.name in _NOT_DATA


#: Layouts by name; data sets with another tree are described in `data_manifests/`.
LAYOUTS = {"folders": list_folders}
