"""What is to be judged: images behind paths, patterns and tables, or names that come on standard input."""

import glob
import os
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from dfxlib.data.decode import ImageFile, image_files
from dfxlib.data.walk import EMPTY, OPENED, is_clutter, is_image_name, tell_clutter, walk

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
    for text in (path or "(an empty name)" for path in paths):
        # A name that exists is itself, even where its signs would make a pattern.
        found = [text] if os.path.lexists(text) else _matches(text, problems)
        if not found:
            raise FileNotFoundError(f"{text} is missing; expected an image, a folder, a pattern or a CSV with paths")
        for path in map(Path, found):
            if path.is_dir():
                files += _in_folder(path, problems, alone=len(found) == 1)
            elif path.suffix.lower() == ".csv":
                files += _in_table(path, root)
            else:
                files.append(ImageFile(path))
    return files, problems


def _matches(pattern: str, problems: dict[str, str]) -> list[str]:  # adds to `problems` what cannot be judged
    """What a pattern names, less what a walk would pass over, unless the pattern itself says its name."""
    parts = pattern.split("/")
    steps = parts.index("**") if "**" in parts else len(parts)
    found = sorted(glob.glob("/".join(parts[:steps]) or ("/" if pattern[0] == "/" else ".")))
    clutter = {path: part for path in found for part in {*path.split("/")} - {*parts, "", "."} if is_clutter(part)}
    tell_clutter(pattern, list(clutter.values()))
    found = [path for path in found if path not in clutter]
    deep = [part for part in parts[steps:] if part]
    return sorted(path for top in found for path in _below(top, deep, problems)) if deep else found


def _below(top: str, pattern: list[str], problems: dict[str, str]) -> Iterator[str]:
    """Files below a folder that a pattern with `**` names by themselves or by a folder that they lie in.

    glob would follow links round in circles; the walker tells them.
    """
    here: dict[str, str] = {}
    for folder, names in walk(Path(top), set(), here, keep=pattern):
        parts = folder.split("/") if folder else []
        whole = any(_fits(parts[:end], pattern) for end in range(len(parts) + 1))
        if not whole and here.get(folder or ".") == EMPTY:
            del here[folder or "."]
        for name in names:
            if whole and not is_image_name(name):
                here[os.path.join(folder, name)] = f"suffix {Path(name).suffix!r} {OTHER}"
            elif whole or _fits([*parts, name], pattern):
                yield os.path.join(top, folder, name)
    problems.update({str(Path(top, name)): here[name] for name in sorted(here)})


def _fits(parts: list[str], pattern: list[str]) -> bool:
    """Whether the names of a path fit a pattern name by name; `**` stands for any number of them."""
    if not (parts and pattern):
        return not parts and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _fits(parts, pattern[1:]) or _fits(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _in_folder(folder: Path, problems: dict[str, str], *, alone: bool) -> list[ImageFile]:
    """All images below a folder; one without any is a mistake where nothing else was named, else a row."""
    images = sorted(_below(str(folder), ["**"], problems))
    if not images and alone:
        raise ValueError(f"folder {folder} holds no image; expected files such as {', '.join(OPENED)}")
    return [ImageFile(Path(image)) for image in images]


def _in_table(file: Path, root: Path | None) -> list[ImageFile]:
    from dfxlib.data.tables import read_table, with_slashes  # tables take pandas, and pandas a second

    table, _ = read_table(file, {"path"})
    if table.empty:
        raise ValueError(f"table {file} lists no image; expected one row an image with its path")
    if (empty := table["path"] == "").any():
        raise ValueError(f"table {file}: row {int(empty.argmax()) + 1} has no path; complete or remove it")
    root = root or file.parent
    listed = table.reindex(columns=["path", "sha256", "container", "row"], fill_value="")  # a manifest has them all
    wrong = listed[(listed["container"] != "") & ~listed["row"].str.fullmatch("[0-9]{1,18}")]
    if len(wrong):
        number, (path, _, _, row) = wrong.index[0] + 1, wrong.iloc[0]
        raise ValueError(f"table {file}: image {number} ({path!r}) has the row {row[:20]!r}; expected 0, 1 and so on")
    return image_files(listed.assign(path=with_slashes(listed["path"], root)), root)


def listed_images(lines: Iterable[str]) -> Iterator[ImageFile]:
    """One image a line, as `find` prints them, as soon as it is there; empty lines are passed over."""
    return (ImageFile(Path(path)) for line in lines if (path := line.rstrip("\r\n")))
