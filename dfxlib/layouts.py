"""From a folder tree or a table of images to rows: path, nature, architecture, declared split.

What the names mean is said by descriptions (`dfxlib.descriptions`); this module finds the files.
Nothing is read but names and tables, nothing is dropped in silence: what cannot be an image of
the data set is a row with a problem.
"""

import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from dfxlib.descriptions import (
    FIELDS,
    LAYOUTS,
    Description,
    Rule,
    compile_pattern,
    describe_table,
    evaluate,
    fill,
    parts_needed,
    read_description,
    require_layout,
)
from dfxlib.names import NATURES
from dfxlib.tables import read_guidance, read_table

__all__ = ["IMAGE_SUFFIXES", "LAYOUTS", "LISTING", "list_images", "walk"]

#: Columns of a listing, all of them text; `row` is the number inside a Parquet file, or empty.
LISTING = ("path", *FIELDS, "container", "row", "problem")

#: Suffixes that are read as images, in lower case. Other files become rows with a problem.
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm"}

_NOT_DATA = {"__MACOSX", "Thumbs.db", "desktop.ini", "demo.json", "harmonised.json", "images.csv"}


def list_images(
    root: Path,
    *,
    layout: str,
    columns: dict[str, str] | None = None,  # of a table: manifest column -> the table's header
) -> pd.DataFrame:  # columns LISTING, sorted by path; each path once
    """Every image under `root` with what its layout says of it.

    `pair` is equal for images that belong together, such as a fake and the real it was made
    from. Members of a Parquet file are `FILE.parquet/000012` with container and row.
    Raises ValueError for a root that is missing or without a single image, for a layout that
    is unknown or faulty, for a table that lacks columns and for paths that leave the root.
    """
    root = Path(root)
    require_layout(layout)
    if not root.is_dir():
        raise ValueError(f"data root {root} is missing; check data_root")
    if columns and layout not in ("csv", "parquet"):
        raise ValueError(f"columns name the header of a table; layout {layout} knows its own; leave them empty")
    if layout in ("csv", "parquet"):
        rows = _read_plain_tables(root, layout, columns or {})
    else:
        description = read_description(layout)
        rows = _read_tables(root, description) if description.tables else _read_tree(root, description)
        if description.guidance and (root / description.guidance).is_file():
            declared = read_guidance(root / description.guidance, set(rows["path"]))
            rows["declared_split"] = rows["path"].map(declared.declared).fillna("")
            rows = _with_problems(rows, declared.problems)
    rows = rows.reindex(columns=LISTING, fill_value="").astype(str)
    order = sorted(range(len(rows)), key=rows["path"].tolist().__getitem__)
    rows = rows.take(order).reset_index(drop=True)
    _require_images(rows, root, layout)
    return rows


def _require_images(rows: pd.DataFrame, root: Path, layout: str) -> None:
    if len(rows) and (rows["problem"] == "").any():
        return
    shape = f"images as layout {layout} describes them"
    if layout not in ("csv", "parquet"):
        description = read_description(layout)
        paths = [rule.path for rule in description.rules if rule.path] or [description.tables]
        ends = "" if description.tables else "/image"
        shape = " or ".join(f"ROOT/{re.sub('[{}]', '', path)}{ends}" for path in dict.fromkeys(paths))
    if layout == "folders":
        shape += f" with nature one of {', '.join(NATURES)}"
    found = "" if rows.empty else f"; found {rows['path'].iloc[0]} ({rows['problem'].iloc[0]})"
    raise ValueError(f"data root {root} holds no image; expected {shape}; check data_root and layout{found}")


def _read_tree(root: Path, description: Description) -> pd.DataFrame:
    """Rows of a tree of folders: the folder decides, file by file only the suffix is looked at."""
    problems: dict[str, str] = {}
    places, paths, place_of = [], [], []
    classes, filled = set(), set()  # folders that a rule labels; folders with an image in or below them
    patterns = [compile_pattern(rule.path, below=True) for rule in description.rules]
    skip = {*_NOT_DATA, *description.skip, *([description.guidance] if description.guidance else [])}
    for folder, names in walk(root, skip, problems):
        matches = enumerate(pattern.fullmatch(folder) for pattern in patterns)
        number, match = next(((number, match) for number, match in matches if match), (-1, None))
        prefix = f"{folder}/" if folder else ""
        others = [name for name in names if name[name.rfind(".") :].lower() not in IMAGE_SUFFIXES]
        for name in others:
            problems.setdefault(prefix + name, f"suffix {Path(name).suffix!r} is no image's")
        if match:
            classes.add(match[1])
        if len(names) > len(others):
            filled |= {folder, *(folder[:end] for end, sign in enumerate(folder) if sign == "/")}
        paths += [prefix + name for name in names]
        place_of += [len(places)] * len(names)
        places.append((number, match.groupdict() if match else {}))
    for folder in classes - filled:
        problems.setdefault(folder, "folder holds no image")
    said = _label_places(description, places).take(place_of).reset_index(drop=True)
    said["path"] = pd.Series(paths, dtype=str)
    _pair_files(said, description.rules, places, np.asarray(place_of, dtype=int))
    return _with_problems(said, problems)


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


def _with_problems(said: pd.DataFrame, problems: dict[str, str]) -> pd.DataFrame:
    """Problems of single files and folders in place of what the rules said; unlisted ones become rows."""
    if not problems:
        return said
    named = said["path"].map(problems)
    said["problem"] = said["problem"].where(named.isna(), named)
    absent = sorted(set(problems) - set(said["path"]))
    extra = pd.DataFrame({"path": absent, "problem": [problems[path] for path in absent]}, dtype=str)
    return pd.concat([said, extra.assign(content="unknown")], ignore_index=True).fillna("")


def walk(root: Path, skip: set[str], problems: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Folders below `root` with the names of their files; hidden entries and `skip` are passed over.

    Links to folders are followed, since data sets are often linked from another disk, unless
    they lead back to where the walk came from. Whatever cannot be listed goes into `problems`.
    """
    pending = [("", os.path.realpath(root), ())]  # folder, its real place, places where links were followed
    while pending:
        folder, real, jumps = pending.pop()
        prefix = f"{folder}/" if folder else ""
        try:
            with os.scandir(os.path.join(root, folder)) as handle:
                entries = [entry for entry in handle if entry.name[0] != "." and entry.name not in skip]
        except OSError as error:
            problems[folder or "."] = f"folder cannot be read: {error.strerror}"
            continue
        names = []
        for entry in entries:
            name = entry.name
            if not (name.isascii() or _is_utf8(name)):
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
            problems[folder or "."] = "folder holds no image"
        _note_equal_names([entry.name for entry in entries], prefix, problems)
        yield folder, names


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


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # a byte that the file system keeps and no CSV can
        return False
    return True


def _read_plain_tables(root: Path, layout: str, columns: dict[str, str]) -> pd.DataFrame:
    """Rows of images.csv (or the only CSV of the root), or of every Parquet file, by the header."""
    if layout == "csv":
        found = sorted(path for path in root.glob("*.csv") if path.name[0] != ".")
        files = [path for path in found if path.name == "images.csv"] or found
        if len(files) != 1:
            names = ", ".join(path.name for path in files) or "none"
            raise ValueError(f"data root {root} holds several CSV files or none ({names}); expected images.csv")
    else:
        files = _find_tables(root, "**/*.parquet")
    rows = []
    for file in files:
        table, problem = read_table(file, None, with_images=layout == "parquet")
        if problem:
            rows.append(_problem_row(root, file, problem))
            continue
        description = describe_table(list(table.columns), file.name, columns=columns, inside=layout == "parquet")
        rows.append(_label_rows(root, file, _tidy_labels(table, description), description))
    return _unique_rows(rows)


def _tidy_labels(table: pd.DataFrame, description: Description) -> pd.DataFrame:
    """Labels and splits in lower case; a row without a generator gets its label as architecture."""
    rule = description.rules[0]
    for value in rule.fields.values():
        if isinstance(value, dict):
            (column,) = value
            table[column] = table[column].str.strip().str.lower()
    (label,), architecture = rule.fields["nature"], rule.fields["architecture"].strip("{}")
    table[architecture] = table[architecture].where(table[architecture] != "", table[label])
    return table


def _read_tables(root: Path, description: Description) -> pd.DataFrame:
    """Rows of the tables that a description names; parts of a table's own path count as columns."""
    pattern, rows = compile_pattern(description.tables, below=False), []
    for file in _find_tables(root, description.tables):
        named = pattern.fullmatch(file.relative_to(root).as_posix()).groupdict()
        needed = parts_needed(description) - set(named)
        table, problem = read_table(file, needed, with_images=not description.image)
        table = table.assign(**named)
        rows.append(_problem_row(root, file, problem) if problem else _label_rows(root, file, table, description))
    return _unique_rows(rows)


def _find_tables(root: Path, pattern: str) -> list[Path]:
    found = root.glob(re.sub(r"\{\w+\}", "*", pattern))
    return sorted(path for path in found if not any(part[0] == "." for part in path.relative_to(root).parts))


def _problem_row(root: Path, file: Path, problem: str) -> pd.DataFrame:
    return pd.DataFrame([{"path": file.relative_to(root).as_posix(), "content": "unknown", "problem": problem}])


def _label_rows(root: Path, file: Path, table: pd.DataFrame, description: Description) -> pd.DataFrame:
    """What the rules say of each row of a table; the first rule whose `where` holds counts."""
    left, said = pd.Series(True, index=table.index), []
    for rule in description.rules:
        chosen = left.copy()
        for part, values in (rule.where or {}).items():
            chosen &= table[part].isin(values)
        said.append(evaluate(rule, table[chosen]))
        left &= ~chosen
    nothing = pd.DataFrame("", index=table.index[left], columns=[*FIELDS, "problem"], dtype=str)
    said.append(nothing.assign(content="unknown", problem=f"no rule of layout {description.layout} covers the row"))
    rows = pd.concat(said).sort_index()
    name = file.relative_to(root).as_posix()
    if description.image:
        rows["path"] = _inside(fill(description.image, table), root, name)
        suffixes = rows["path"].map(lambda path: posixpath.splitext(path)[1])
        wrong = ~suffixes.str.lower().isin(IMAGE_SUFFIXES) & (rows["problem"] == "")
        rows["problem"] = rows["problem"].where(~wrong, "suffix '" + suffixes + "' is no image's")
        return rows
    numbers = pd.Series(range(len(rows)), index=rows.index)
    return rows.assign(path=[f"{name}/{number:06d}" for number in numbers], container=name, row=numbers.astype(str))


def _inside(paths: pd.Series, root: Path, table: str) -> pd.Series:
    """Paths of a table as relative paths with forward slashes; raises ValueError for one that leaves the root."""
    paths = paths.str.replace("\\", "/", regex=False)
    if (paths == "").any():
        raise ValueError(f"table {table}: row {int((paths == '').argmax()) + 1} has no path; complete or remove it")
    for prefix in {f"{root.absolute().as_posix()}/", f"{root.resolve().as_posix()}/"}:
        paths = paths.str.removeprefix(prefix)
    # Few need it, and it is slow: dots and doubled slashes.
    odd = paths.str.contains(r"(?:^|/)\.{0,2}(?:/|$)", regex=True) & ~paths.str.startswith("/")
    paths = paths.where(~odd, paths.map(posixpath.normpath))
    outside = paths.str.contains(r"^(?:/|\.\.(?:/|$)|[A-Za-z]:/)", regex=True)
    if outside.any():
        path = paths[outside].iloc[0]
        raise ValueError(f"table {table}: path {path} leaves the data root {root}; expected paths below it")
    return paths


def _unique_rows(rows: list[pd.DataFrame]) -> pd.DataFrame:
    """Each path once: a repeated row counts once, and rows that disagree become one with a problem."""
    if not rows:
        return pd.DataFrame(columns=LISTING, dtype=str)
    table = pd.concat(rows, ignore_index=True).fillna("").drop_duplicates(ignore_index=True)
    again = table["path"].duplicated(keep=False)
    table.loc[again, "problem"] = "listed more than once, with different labels or splits"
    return table.drop_duplicates("path", ignore_index=True)
