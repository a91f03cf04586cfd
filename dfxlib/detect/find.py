"""What is to be judged: images behind paths, patterns and tables, or names that come on standard input."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from dfxlib.data.decode import ImageFile, image_files
from dfxlib.data.walk import IMAGE_SUFFIXES, is_clutter, is_image_name, tell_clutter, walk

#: How the problem of a file ends that is none among images.
OTHER = "is no image's"


def find_images(paths: list[str], *, root: Path | None = None) -> tuple[list[ImageFile], dict[str, str]]:
    """Files behind paths: images, folders with all below them, patterns, CSV tables with a column `path`.

    Paths in a table count from `root`, by default from the table's folder. Comes second: what in
    a folder cannot be judged, with the reason. Raises FileNotFoundError and ValueError for what
    is missing or without an image.
    """
    files: list[ImageFile] = []
    problems: dict[str, str] = {}
    for text in paths:
        # A name that exists is itself, even where its signs would make a pattern.
        found = [text] if os.path.lexists(text) else _matches(text)
        if not found:
            raise FileNotFoundError(f"{text} is missing; expected an image, a folder, a pattern or a CSV with paths")
        for path in map(Path, found):
            if path.is_dir():
                files += _in_folder(path, problems)
            elif path.suffix.lower() == ".csv":
                files += _in_table(path, root)
            else:
                files.append(ImageFile(path))
    return files, problems


def _matches(pattern: str) -> list[str]:
    """What a pattern names, less what a walk would pass over, unless the pattern itself says its name."""
    named = set(pattern.split("/"))
    found = sorted(glob.glob(pattern, recursive=True))
    clutter = {path: part for path in found for part in set(path.split("/")) - named if part and is_clutter(part)}
    tell_clutter(pattern, list(clutter.values()))
    return [path for path in found if path not in clutter]


def _in_folder(folder: Path, problems: dict[str, str]) -> list[ImageFile]:  # adds to `problems` what is no image
    images: list[str] = []
    here: dict[str, str] = {}
    for below, names in walk(folder, set(), here):
        prefix = f"{below}/" if below else ""
        images += [prefix + name for name in names if is_image_name(name)]
        here |= {prefix + name: f"suffix {Path(name).suffix!r} {OTHER}" for name in names if not is_image_name(name)}
    if not images:
        raise ValueError(f"folder {folder} holds no image; expected files such as {', '.join(sorted(IMAGE_SUFFIXES))}")
    problems.update({str(folder / name): here[name] for name in sorted(here)})
    return [ImageFile(folder / name) for name in sorted(images)]


def _in_table(file: Path, root: Path | None) -> list[ImageFile]:
    from dfxlib.data.tables import read_table, with_slashes  # tables take pandas, and pandas a second

    table, _ = read_table(file, {"path"})
    if table.empty:
        raise ValueError(f"table {file} lists no image; expected one row an image with its path")
    root = root or file.parent
    listed = table.reindex(columns=["path", "sha256", "container", "row"], fill_value="")  # a manifest has them all
    return image_files(listed.assign(path=with_slashes(listed["path"], root)), root)


def listed_images(lines: Iterable[str]) -> Iterator[ImageFile]:
    """One image a line, as `find` prints them, as soon as it is there; empty lines are passed over."""
    for line in lines:
        if path := line.rstrip("\r\n"):
            yield ImageFile(Path(path))
