"""Tables as text: those that come with images, guidance.csv with the reference's own split, and Markdown."""

import json
import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dfxlib.files import write_atomic

#: The label of each declared split, and the first word of the splits that it comprises here.
LABELS = {"base": "0", "complete": "1", "test": "2"}


def read_table(
    file: Path,
    needed: set[str] | None,  # columns; None: all that hold no images
    *,
    with_images: bool = False,  # a Parquet file must hold the images themselves
) -> tuple[pd.DataFrame, str]:  # every value as text; why the file cannot be read
    """A CSV (UTF-8, with or without a byte order mark) or a Parquet file.

    A damaged Parquet file is one of many and so a problem; a CSV is the only one, and raises
    ValueError, as do missing columns.
    """
    if file.suffix.lower() == ".parquet":
        try:
            table = _read_parquet(file, needed, with_images=with_images)
        except (pa.ArrowInvalid, OSError) as error:
            return pd.DataFrame(), f"no readable Parquet file: {str(error).splitlines()[0]}"
    else:
        try:
            table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig").fillna("")
        except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(f"table {file} is no CSV in UTF-8 with a header ({reason}); export it again") from error
        if not isinstance(table.index, pd.RangeIndex):
            raise ValueError(f"table {file} has rows longer than its header; put fields with commas in quotes")
    missing = sorted((needed or set()) - set(table.columns))
    if missing:
        columns = ", ".join(table.columns)
        raise ValueError(f"table {file} lacks the columns {', '.join(missing)}; it has {columns}; check its header")
    return table, ""


def _read_parquet(file: Path, needed: set[str] | None, *, with_images: bool) -> pd.DataFrame:
    """Columns of a Parquet file as text; images stay on disk, and class numbers become their names."""
    schema = pq.read_schema(file)
    if with_images and not any(_holds_bytes(field.type) for field in schema):
        raise pa.ArrowInvalid("no column holds the bytes of images")
    texts = [field.name for field in schema if not (pa.types.is_nested(field.type) or _holds_bytes(field.type))]
    table = pq.read_table(file, columns=[name for name in texts if needed is None or name in needed])
    # Hugging Face keeps the names behind class numbers here.
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    columns = {}
    for name in table.column_names:
        known = dict(enumerate((features.get(name) or {}).get("names") or []))
        values = table[name].to_pylist()
        columns[name] = ["" if value is None else str(known.get(value, value)) for value in values]
    return pd.DataFrame(columns, index=range(table.num_rows), dtype=str)


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


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
    declared, problems = {}, {}
    for written, label in zip(table["image_path"], table["label"]):
        path = _listed_end(written.replace("\\", "/"), listed)
        if path is None:
            relative = re.sub(r"^(?:[A-Za-z]:)?(?:\.{0,2}/)*", "", written.replace("\\", "/"))
            problems[relative] = f"named in {file.name}, but not among the images"
        elif declared.setdefault(path, names[label]) != names[label]:
            problems[path] = f"named more than once in {file.name}, with different labels"
    if not declared:
        raise ValueError(f"{file} names none of the images, first {next(iter(problems), 'no path at all')}; check it")
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


def markdown(table: pd.DataFrame) -> str:
    """A table for the README and the model card: three digits, and a word where the data define nothing."""
    head, *rows = table.to_csv(sep="|", index=False, float_format="%.3f", na_rep="undefined").splitlines()
    return "\n".join(f"| {line.replace('|', ' | ')} |" for line in [head, "|".join(["---"] * table.shape[1]), *rows])
