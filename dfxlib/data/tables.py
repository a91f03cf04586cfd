"""Tables that come with images: read as text, and turned into rows of a listing."""

import json
import os
import posixpath
import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dfxlib.data.descriptions import FIELDS, LISTING, Description, Rule, compile_pattern, evaluate, fill, parts_needed
from dfxlib.data.members import holds_bytes, image_column
from dfxlib.data.splits import DECLARED
from dfxlib.data.walk import EMPTY, IMAGE_SUFFIXES, walk
from dfxlib.names import NATURES
from dfxlib.system.shown import shown


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
        except Exception as error:  # whatever a damaged file, or the notes in one, make a reader raise
            if type(error) is ValueError:  # a table that is ambiguous, named as such
                raise
            return pd.DataFrame(), f"no readable Parquet file: {str(error).splitlines()[0]}"
    else:
        try:
            how: dict = {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
            table = pd.read_csv(file, **how).fillna("")
            # As it stands: pandas gives repeated names others.
            header = pd.read_csv(file, header=None, nrows=1, **how).iloc[0]
        except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(f"table {file} is no CSV in UTF-8 with a header ({reason}); export it again") from error
        if not isinstance(table.index, pd.RangeIndex):
            raise ValueError(f"table {file} has rows longer than its header; put fields with commas in quotes")
        if len(again := header[header.duplicated() & (header != "")]):
            raise ValueError(f"table {file} has the column {again.iloc[0]!r} more than once; name each column once")
    if lacks := ", ".join(sorted((needed or set()) - set(table.columns))):
        raise ValueError(f"table {file} lacks the columns {lacks}; it has {', '.join(table.columns)}; check its header")
    return table, ""


def _read_parquet(file: Path, needed: set[str] | None, *, with_images: bool) -> pd.DataFrame:
    """Columns of a Parquet file as text; images stay on disk, and class numbers become their names."""
    schema = pq.read_schema(file)
    if with_images:
        image_column(schema, file.name)
    if again := [name for name in schema.names if schema.names.count(name) > 1]:
        raise ValueError(f"table {file} has the column {again[0]!r} more than once; name each column once")
    texts = [field.name for field in schema if not (pa.types.is_nested(field.type) or holds_bytes(field.type))]
    table = pq.read_table(file, columns=[name for name in texts if needed is None or name in needed])
    # Hugging Face keeps the names behind class numbers here.
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    columns = {}
    for name in table.column_names:
        known = dict(enumerate((features.get(name) or {}).get("names") or []))
        values = table[name].to_pylist()
        columns[name] = ["" if value is None else str(known.get(value, value)) for value in values]
    return pd.DataFrame(columns, index=range(table.num_rows), dtype=str)


# Headers of tables in other projects. A column with the manifest's own name always wins.
_HEADERS: dict[str, tuple[str, ...]] = {"path": ("path", "image_path", "image", "filename", "file")}
_HEADERS |= {"nature": ("nature", "label", "class", "typ"), "architecture": ("architecture", "generator", "model")}
_HEADERS |= {"declared_split": ("declared_split", "split")}
_HEADERS |= {name: (name,) for name in ("source", "pair", "content", "family", "released")}

# Words for a nature and a split in such tables. Numbers are none: 0 is real in one project and fake in another.
_WORDS = {
    "nature": {nature: nature for nature in NATURES}
    | {"fake": "fake_unknown", "ai": "fake_unknown", "0_real": "real", "1_fake": "fake_unknown"}
    | {"gan": "gan_generated", "dm": "dm_generated", "diffusion": "dm_generated"},
    "declared_split": {split: split for split in DECLARED}
    | {"training": "train", "val": "valid", "validation": "valid", "testing": "test"},
}


def describe_table(
    header: list[str],
    name: str,
    *,
    columns: dict[str, str],  # manifest column -> header, where the header does not say it by itself
    inside: bool = False,  # the images lie in the table
) -> Description:
    """The description of a table that nobody described, from the names of its columns.

    Raises ValueError for a table without path or label, and where two columns could be meant.
    """
    if strange := sorted(set(columns) - set(_HEADERS)) + sorted(set(columns.values()) - set(header)):
        raise ValueError(
            f"columns names {strange[0]!r}; expected {', '.join(_HEADERS)} as keys and columns of {name} as values "
            f"({', '.join(header)})"
        )
    found = _name_columns(header, name, columns)
    for field in ("path", "nature"):
        if field not in found and not (inside and field == "path"):
            raise ValueError(
                f"table {name} lacks a column for the {field}; it has {', '.join(header)}, "
                f"expected one of {', '.join(_HEADERS[field])}; name it with columns (--column {field}=NAME)"
            )
    fields: dict[str, str | dict] = {field: {found[field]: _WORDS[field]} for field in _WORDS if field in found}
    plain = ("source", "pair", "content", "family", "released")
    fields |= {field: "{" + found[field] + "}" for field in plain if field in found}
    fields["architecture"] = "{" + found.get("architecture", found["nature"]) + "}"
    image = "" if inside else "{" + found["path"] + "}"
    return Description(name, name, "", "", (Rule(fields),), tables=name, image=image)


def _name_columns(header: list[str], name: str, columns: dict[str, str]) -> dict[str, str]:  # field -> header
    """Where the fields stand in a table: as `columns` says, else under the one header that means a field."""
    found = {}
    for field, aliases in _HEADERS.items():
        present = [alias for alias in aliases if alias in header and alias not in columns.values()]
        if field in columns:
            found[field] = columns[field]
        elif len(present) > 1 and field not in present:
            raise ValueError(f"table {name}: {' and '.join(present)} could both be the {field}; say which with columns")
        elif present:
            found[field] = present[0]  # the manifest's own name is the first
    return found


def read_plain_tables(root: Path, layout: str, columns: dict[str, str]) -> pd.DataFrame:
    """Rows of images.csv (or the only CSV of the root), or of every Parquet file, by the header."""
    inside = layout == "parquet"
    files, rows = _find_tables(root, "**/*.parquet") if inside else ([_only_csv(root)], [])
    for file in files:
        table, problem = read_table(file, None, with_images=inside)
        if problem:
            rows.append(_problem_row(root, file, problem))
            continue
        description = describe_table(list(table.columns), file.name, columns=columns, inside=inside)
        rows.append(_label_rows(root, file, _tidy_labels(table, description), description))
    return _unique_rows(rows)


def _only_csv(root: Path) -> Path:
    own = root / "images.csv"
    found = [own] if own.exists() else sorted(path for path in root.glob("*.csv") if path.name[0] != ".")
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise ValueError(f"data root {root} holds several CSV files or none ({names}); expected images.csv")
    return found[0]


def _tidy_labels(table: pd.DataFrame, description: Description) -> pd.DataFrame:
    """Labels and splits in lower case; a row without a generator gets its label as architecture."""
    rule = description.rules[0]
    for value in rule.fields.values():
        if isinstance(value, dict):
            (column,) = value
            table[column] = table[column].str.strip().str.lower()
    (label,) = rule.fields["nature"]
    architecture = rule.fields["architecture"].strip("{}")
    table[architecture] = table[architecture].where(table[architecture] != "", table[label])
    return table


def read_tables(root: Path, description: Description) -> pd.DataFrame:
    """Rows of the tables that a description names; parts of a table's own path count as columns."""
    pattern = compile_pattern(description.tables, below=False)
    files, rows = _find_tables(root, description.tables)
    for file in files:
        match = pattern.fullmatch(file.relative_to(root).as_posix())
        if match is None:  # its name lacks what a part in braces stands for
            rows.append(_problem_row(root, file, f"name does not fit {description.tables!r}"))
            continue
        needed = parts_needed(description) - set(match.groupdict())
        table, problem = read_table(file, needed, with_images=not description.image)
        if problem:
            rows.append(_problem_row(root, file, problem))
        else:
            rows.append(_label_rows(root, file, table.assign(**match.groupdict()), description))
    return _unique_rows(rows)


def _find_tables(root: Path, pattern: str) -> tuple[list[Path], list[pd.DataFrame]]:
    """Tables that a pattern names, and rows of folders that the walk could not enter."""
    named = compile_pattern(re.sub(r"\{\w+\}", "*", pattern), below=False)
    problems: dict[str, str] = {}
    found = []
    for folder, names in walk(root, set(), problems):
        prefix = f"{folder}/" if folder else ""
        found += [root / (prefix + name) for name in names if named.fullmatch(prefix + name)]
    closed = {place: problem for place, problem in problems.items() if problem != EMPTY}
    return sorted(found), [_problem_row(root, root / place, problem) for place, problem in sorted(closed.items())]


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
    paths = with_slashes(paths, root)
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
        raise ValueError(f"table {table}: path {shown(path)} leaves the data root {root}; expected paths below it")
    return paths


def with_slashes(paths: pd.Series, root: Path) -> pd.Series:
    """Paths as Windows writes them with forward slashes; a backslash in the name of a file that is there stays."""
    return paths.map(lambda path: path if "\\" not in path or os.path.exists(root / path) else path.replace("\\", "/"))


def _unique_rows(rows: list[pd.DataFrame]) -> pd.DataFrame:
    """Each path once: a repeated row counts once, and rows that disagree become one with a problem."""
    if not rows:
        return pd.DataFrame(columns=LISTING, dtype=str)
    table = pd.concat(rows, ignore_index=True).fillna("").drop_duplicates(ignore_index=True)
    again = table["path"].duplicated(keep=False)
    table.loc[again, "problem"] = "listed more than once, with different labels or splits"
    return table.drop_duplicates("path", ignore_index=True)
