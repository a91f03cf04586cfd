"""Trees of folders: what lies under a root, and what its folders' names say of the images in them."""

import posixpath
import re
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from dfxlib.data.descriptions import FIELDS, REFERENCES, Description, Rule, compile_pattern, evaluate, fill
from dfxlib.data.walk import EMPTY, is_image_name, walk

_NOT_DATA = {"demo.json", "harmonised.json", "images.csv", REFERENCES}


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
    found = ((number, pattern.fullmatch(folder)) for number, pattern in enumerate(patterns))
    return next(((number, match) for number, match in found if match), (-1, None))


def _label_places(description: Description, places: list[tuple[int, dict]]) -> pd.DataFrame:  # a row a folder
    """What the rules say of each folder; a folder that none covers is a problem."""
    fields = tuple(field for field in FIELDS if field != "pair")
    said = pd.DataFrame("", index=range(len(places)), columns=[*fields, "pair", "problem"], dtype=str)
    said["content"], said["problem"] = "unknown", f"outside the folders that layout {description.layout} describes"
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
