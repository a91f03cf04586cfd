"""The reference's guidance.csv: its splits read, and ours written as it reads them."""

import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dfxlib.data.tables import read_table
from dfxlib.system.files import write_atomic
from dfxlib.system.shown import shown

#: The label of each declared split, and the first word of the splits that it comprises here.
LABELS = {"base": "0", "complete": "1", "test": "2"}


class Guidance(NamedTuple):
    """What a guidance.csv says."""

    declared: dict[str, str]  # path relative to the root -> base, complete or test
    problems: dict[str, str]  # path as it stands in the file -> why it is of no use


def read_guidance(file: Path, listed: set[str]) -> Guidance:
    """Declared splits of the `listed` paths.

    The file may hold absolute, relative and leading-slash paths with either kind of slash: the
    longest end of a path that is listed counts. Raises ValueError for a file without the columns
    label and image_path, for other labels, and where none of its paths is listed.
    """
    table, _ = read_table(file, {"label", "image_path"})
    names = {label: name for name, label in LABELS.items()}
    unknown = table.loc[~table["label"].isin(list(names)), "label"]
    if len(unknown):
        raise ValueError(f"{file}: label {unknown.iloc[0]!r} is unknown; expected 0 (base), 1 (complete) or 2 (test)")
    declared: dict[str, str] = {}
    problems: dict[str, str] = {}
    for written, label in zip(table["image_path"], table["label"]):
        path = _listed_end(written.replace("\\", "/"), listed)
        if path is None:
            relative = re.sub(r"^(?:[A-Za-z]:)?(?:\.{0,2}/)*", "", written.replace("\\", "/"))
            problems[relative] = f"named in {file.name}, but not among the images"
        elif declared.setdefault(path, names[label]) != names[label]:
            problems[path] = f"named more than once in {file.name}, with different labels"
    if not declared:
        raise ValueError(f"{file} names none of the images, first {shown([*problems, 'no path at all'][0])}; check it")
    return Guidance(declared, problems)


def _listed_end(path: str, listed: set[str]) -> str | None:
    """The longest end of `path`, cut at a slash, that is a listed path."""
    while path not in listed:
        _, slash, path = path.partition("/")
        if not slash:
            return None
    return path


def write_guidance(manifest: pd.DataFrame, path: Path) -> int:  # rows written
    """Write the splits of a manifest as guidance.csv: label, image_path, model, as the reference reads them.

    Validation parts belong to their base or complete label. Unseen and excluded images have no
    label there and are left out. Raises ValueError when nothing remains.
    """
    label = manifest["split"].str.split("_").str[0].map(LABELS)
    table = pd.DataFrame({"label": label, "image_path": manifest["path"], "model": manifest["architecture"]})
    table = table[label.notna()]
    if table.empty:
        raise ValueError("the manifest holds no image in base, complete or test; prepare the data set first")
    write_atomic(path, lambda partial: table.to_csv(partial, index=False, lineterminator="\n"))
    return len(table)
