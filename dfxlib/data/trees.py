"""Trees of folders: what lies under a root, and what its folders' names say of the images in them."""

import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from dfxlib.data.descriptions import FIELDS, Description, Rule, compile_pattern, evaluate, fill
from dfxlib.system.live import say

#: Suffixes of images, in lower case, also of those that are not supported here. Other files become rows with a problem.
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
IMAGE_SUFFIXES |= {".pbm", ".avif", ".heic", ".heif", ".jxl", ".jp2"}

#: The problem of a folder without a file.
EMPTY = "folder holds no image"

_NOT_DATA = {"demo.json", "harmonised.json", "images.csv"}

#: What systems and storage servers leave in folders, in lower case: thumbnails, waste, indexes. Whatever begins with a
#: dot is passed over as well.
CLUTTER = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "$recycle.bin", "lost+found"}
CLUTTER |= {"system volume information", "@eadir", "@tmp", "#recycle", "@recycle", "#snapshot", "@recently-snapshot"}

#: Bytes of a name that are no UTF-8, as Python keeps them: the file system takes them and no CSV does.
_BYTES = re.compile("[\udc80-\udcff]")


def read_tree(root: Path, description: Description) -> pd.DataFrame:
    """Rows of a tree of folders: the folder decides, file by file only the suffix is looked at."""
    problems: dict[str, str] = {}
    places: list[tuple[int, dict[str, str]]] = []  # of each folder its rule, and the parts of its name
    paths, place_of = [], []
    classes, filled = set(), set()  # folders that a rule labels; folders with an image in or below them
    patterns = [compile_pattern(rule.path, below=True) for rule in description.rules]
    skip = {*_NOT_DATA, *description.skip, description.guidance}
    for folder, names in walk(root, skip, problems):
        number, match = _first_match(patterns, folder)
        prefix = f"{folder}/" if folder else ""
        others = [name for name in names if not is_image_name(name)]
        for name in others:
            problems.setdefault(prefix + name, f"suffix {Path(name).suffix!r} is no image's")
        if match:
            classes.add(match[1])
        if len(names) > len(others):
            filled.add(folder)
            filled.update(str(above) for above in PurePosixPath(folder).parents)
        paths += [prefix + name for name in names]
        place_of += [len(places)] * len(names)
        places.append((number, match.groupdict() if match else {}))
    for folder in classes - filled:
        problems.setdefault(folder, EMPTY)
    said = _label_places(description, places).take(place_of).reset_index(drop=True)
    said["path"] = pd.Series(paths, dtype=str)
    _pair_files(said, description.rules, places, np.asarray(place_of, dtype=int))
    return with_problems(said, problems)


def _first_match(patterns: list[re.Pattern], folder: str) -> tuple[int, re.Match | None]:
    """The number of the first rule that covers a folder, and what its pattern found there; -1 where none does."""
    for number, pattern in enumerate(patterns):
        if match := pattern.fullmatch(folder):
            return number, match
    return -1, None


def _label_places(description: Description, places: list[tuple[int, dict]]) -> pd.DataFrame:  # a row a folder
    """What the rules say of each folder; a folder that none covers is a problem."""
    fields = tuple(field for field in FIELDS if field != "pair")
    outside = f"outside the folders that layout {description.layout} describes"
    said = pd.DataFrame("", index=range(len(places)), columns=[*fields, "pair", "problem"], dtype=str)
    said["content"], said["problem"] = "unknown", outside
    for number, rule in enumerate(description.rules):
        chosen = [place for place, (used, _) in enumerate(places) if used == number]
        parts = pd.DataFrame([places[place][1] for place in chosen], index=chosen, dtype=str)
        if chosen:
            said.loc[chosen, [*fields, "problem"]] = evaluate(rule, parts, fields=fields)[[*fields, "problem"]]
    return said


def _pair_files(
    said: pd.DataFrame, rules: tuple[Rule, ...], places: list[tuple[int, dict]], place_of: np.ndarray
) -> None:
    """Fill in `pair` where a rule has one; it may depend on the stem of the file's name."""
    used = np.array([number for number, _ in places], dtype=int)[place_of]
    named = pd.DataFrame([parts for _, parts in places], dtype=str)
    for number, rule in enumerate(rules):
        chosen = np.flatnonzero(used == number)
        if "pair" not in rule.fields or len(chosen) == 0:
            continue
        parts = named.take(place_of[chosen]).reset_index(drop=True)
        parts["stem"] = [posixpath.splitext(posixpath.basename(path))[0] for path in said["path"].iloc[chosen]]
        said.loc[chosen, "pair"] = fill(rule.fields["pair"], parts).to_numpy()


def with_problems(said: pd.DataFrame, problems: dict[str, str]) -> pd.DataFrame:
    """Problems of single files and folders in place of what the rules said; unlisted ones become rows."""
    if not problems:
        return said
    named = said["path"].map(problems)
    said["problem"] = said["problem"].where(named.isna(), named)
    absent = sorted(set(problems) - set(said["path"]))
    extra = pd.DataFrame({"path": absent, "problem": [problems[path] for path in absent]}, dtype=str)
    return pd.concat([said, extra.assign(content="unknown")], ignore_index=True).fillna("")


def walk(root: Path, skip: set[str], problems: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Folders below `root` with the names of their files; hidden entries, CLUTTER and `skip` are passed over.

    The one walker of trees, tables and detection. How much clutter it met is told in a line when it ends.

    Links to folders are followed, since data sets are often linked from another disk, unless
    they lead back to where the walk came from. Whatever cannot be listed goes into `problems`.
    """
    clutter: list[str] = []
    pending = [("", os.path.realpath(root), ())]  # folder, its real place, places where links were followed
    while pending:
        folder, real, jumps = pending.pop()
        prefix = f"{folder}/" if folder else ""
        try:
            with os.scandir(os.path.join(root, folder)) as handle:
                found = [entry for entry in handle if entry.name not in skip]
        except OSError as error:
            problems[folder or "."] = f"folder cannot be read: {error.strerror}"
            continue
        entries = [entry for entry in found if not is_clutter(entry.name)]
        clutter += [entry.name for entry in found if is_clutter(entry.name)]
        names = []
        for entry in entries:
            name = entry.name
            if not name.isascii() and _BYTES.search(name):
                shown = os.fsencode(prefix + name).decode(errors="backslashreplace")
                problems[shown] = "name is not valid UTF-8; rename it"
            elif entry.is_file(follow_symlinks=False) or (entry.is_symlink() and os.path.isfile(entry.path)):
                names.append(name)
            else:
                way, problem = _enter(entry, real, jumps)
                if problem:
                    problems[prefix + name] = problem
                else:
                    pending.append((prefix + name, *way))
        if not entries:
            problems[folder or "."] = EMPTY
        _note_equal_names([entry.name for entry in entries], prefix, problems)
        yield folder, names
    tell_clutter(root, clutter)


def is_image_name(name: str) -> bool:
    """Whether a file's suffix is an image's."""
    return name[name.rfind(".") :].lower() in IMAGE_SUFFIXES


def is_clutter(name: str) -> bool:
    """Whether a file or folder of this name is passed over."""
    return name[0] == "." or name.lower() in CLUTTER


def tell_clutter(place: Path | str, names: list[str]) -> None:
    """Say in one line what was passed over, and how often; nothing where nothing was."""
    counts = Counter("hidden" if name[0] == "." else name.lower() for name in names)
    if names:
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        say(f"{place}: passed over as clutter of systems and storage servers: {told}")


def _enter(entry: os.DirEntry, real: str, jumps: tuple[str, ...]) -> tuple[tuple, str]:
    """Where a folder really lies and where links were followed on the way; or why it is not entered."""
    if not entry.is_symlink():
        return (f"{real}/{entry.name}", jumps), "" if entry.is_dir() else "neither a file nor a folder"
    target = os.path.realpath(entry.path)
    if not os.path.isdir(target):
        return (), "neither a file nor a folder" if os.path.exists(target) else "symbolic link leads nowhere"
    way = (*jumps, real)
    if any(f"{place}/".startswith(f"{target.rstrip('/')}/") for place in way):
        return (), f"symbolic link leads back to {os.path.relpath(target, real)}"
    return (target, way), ""


def _note_equal_names(names: list[str], prefix: str, problems: dict[str, str]) -> None:
    """Names that differ by case only: other file systems would keep one of them."""
    folded = [name.casefold() for name in names]
    if len(set(folded)) == len(folded):
        return
    count = Counter(folded)
    for name, key in zip(names, folded):
        if count[key] > 1:
            others = sorted(other for other in names if other.casefold() == key and other != name)
            problems[prefix + name] = f"name differs from {others[0]!r} by case only"
