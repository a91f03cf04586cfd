"""Descriptions of data sets: what the names of folders and the columns of tables mean.

A description is a small YAML file; `data_manifests/README.md` explains its keys. Its rules turn
named parts (a folder's name, a table's column) into the fields of a manifest.
"""

import dataclasses
import re
from importlib import resources
from pathlib import Path
from string import Formatter

import pandas as pd
import yaml

from dfxlib.data.splits import DECLARED
from dfxlib.names import NATURES
from dfxlib.system.files import project_path

#: What a rule can say about an image; all but nature and architecture may be left out.
FIELDS = ("nature", "architecture", "source", "pair", "declared_split", "content", "family", "released")

#: What is public of a generator, by its architecture: its relatives, the month of its release, and where that stands.
PUBLIC = ("family", "released", "source")

#: In the folder of the data: BibTeX of the data sets in it, which no description has.
REFERENCES = "references.bib"

_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")

#: Columns of a listing, all of them text; `row` is the number inside a Parquet file, or empty.
LISTING = ("path", *FIELDS, "container", "row", "problem")

_ALLOWED = {"nature": NATURES, "declared_split": DECLARED, "content": ("face", "object", "scene", "unknown")}

#: The folder data_manifests/, which travels in the wheel.
_SHIPPED = resources.files("dfxlib.data_manifests")

_KEYS = {"title", "homepage", "licence", "note", "skip", "guidance", "tables", "image", "images", "expected"}
_KEYS |= {"generators", "cite"}

_REQUIRED = ("title", "homepage", "licence", "images")

_EXPECTED = ("nature", "architecture", "source", "declared_split")

#: Layouts by name. csv and parquet are read by the header of the table; the path of a YAML file is a layout too.
LAYOUTS = ["folders", "csv", "parquet"]
LAYOUTS += sorted({file.name[:-5] for file in _SHIPPED.iterdir() if file.name.endswith(".yaml")} - {*LAYOUTS})


@dataclasses.dataclass(frozen=True)
class Rule:
    """How some of the images are labelled."""

    fields: dict  # field -> text with {parts}, or {part: {name: value}}
    path: str = ""  # folders of a tree that the rule is for, as a pattern
    where: dict | None = None  # rows of a table that the rule is for: {column: values}


@dataclasses.dataclass(frozen=True)
class Description:
    """One data set; see data_manifests/README.md."""

    layout: str
    title: str
    homepage: str
    licence: str
    rules: tuple[Rule, ...]
    note: str = ""
    skip: tuple[str, ...] = ()  # names of files and folders that are no data
    guidance: str = ""  # a table of declared splits in the reference's format, which may be absent
    tables: str = ""  # pattern of the tables; empty: the data set is a tree of folders
    image: str = ""  # where a table's image lies; empty: in the table itself
    expected: tuple[dict, ...] = ()
    generators: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)  # by architecture, keys of PUBLIC
    cite: str = ""  # BibTeX


def require_layout(layout: str) -> str:
    """`layout` if it is a known name or the path of a YAML file, else a ValueError that lists the names."""
    if layout in LAYOUTS or (_is_file_name(layout) and project_path(layout).is_file()):
        return layout
    if _is_file_name(layout):
        raise ValueError(f"layout {layout} is missing; expected a YAML file or one of {', '.join(LAYOUTS)}")
    raise ValueError(f"layout {layout!r} is unknown; expected one of {', '.join(LAYOUTS)}, or the path of a YAML file")


def read_description(layout: str) -> Description:
    """The description behind a layout's name or in a YAML file.

    Raises ValueError with one sentence for an unknown name and for the first mistake in the file.
    """
    require_layout(layout)
    path = project_path(layout) if _is_file_name(layout) else _SHIPPED / f"{layout}.yaml"
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"layout {layout} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(f"layout {layout} is no description; expected the keys {', '.join(sorted(_KEYS))}")
    return _parse(content, layout)


class StrictLoader(yaml.BaseLoader):
    """Of YAML, where every scalar stays the text that it is (1.50, 007 and yes are names) and a key stands once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names = [key.value for key, _ in node.value]
        if again := [name for name in names if names.count(name) > 1]:
            raise yaml.YAMLError(f"key {again[0]!r} stands twice in what begins in line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep=deep)


def expected_counts(layout: str) -> pd.DataFrame:  # columns nature, architecture, source, declared_split, images
    """How many images the sources of a data set promise; an empty field stands for all of them."""
    rows = () if layout in ("csv", "parquet") else read_description(layout).expected
    table = pd.DataFrame([dict.fromkeys(_EXPECTED, "") | row for row in rows], columns=[*_EXPECTED, "images"])
    return table.astype({"images": "int64"})


def with_generators(rows: pd.DataFrame, description: Description) -> pd.DataFrame:
    """Rows of a listing with the `family` and `released` that their architecture has in the description."""
    for column in ("family", "released") if description.generators else ():
        said = {name: facts[column] for name, facts in description.generators.items() if column in facts}
        rows[column] = [said.get(name, own) for name, own in zip(rows["architecture"], rows[column])]
    return rows


def is_month(text: str) -> bool:
    """Whether a text is YEAR-MONTH, which sorts as time does."""
    return _MONTH.fullmatch(text) is not None


def citation(layout: str, root: Path) -> str:  # BibTeX; "" where none is known
    """How the authors of the images ask to be cited: what the layout says, and what stands in REFERENCES under `root`.

    A link is not followed: it may lead out of the data set.
    """
    told = "" if layout in ("csv", "parquet") else read_description(layout).cite
    file = root / REFERENCES
    own = file.read_text(encoding="utf-8", errors="replace") if file.is_file() and not file.is_symlink() else ""
    return f"{told}\n{own}".strip()


def compile_pattern(pattern: str, *, below: bool) -> re.Pattern:
    """A pattern of relative paths as a regular expression for `fullmatch`.

    `{name}` stands for one name and gives it to the rule, `*` for anything within a name, `**/`
    for any folders. With `below`, whatever lies under such a folder matches too; group 1 is the folder.
    """
    signs = {"**/": "(?:[^/]+/)*", "*": "[^/]*"}
    text = ""
    for piece in re.split(r"(\{\w+\}|\*\*/|\*)", pattern):
        name = re.fullmatch(r"\{(\w+)\}", piece)
        text += f"(?P<{name[1]}>[^/]+?)" if name else signs.get(piece, re.escape(piece))
    # Names may hold a newline, which a plain dot does not match.
    return re.compile(f"({text})(?:/(?s:.*))?" if below else f"({text})")


def evaluate(rule: Rule, parts: pd.DataFrame, *, fields: tuple[str, ...] = FIELDS) -> pd.DataFrame:
    """What a rule says of each row of named parts: columns `fields` and problem.

    A name that the rule does not know makes the row a problem; nothing is guessed.
    """
    said = pd.DataFrame({"problem": ""}, index=parts.index, dtype=str)
    for field in fields:
        value = rule.fields.get(field, "unknown" if field == "content" else "")
        if isinstance(value, str):
            said[field] = fill(value, parts)
            continue
        ((part, names),) = value.items()
        said[field] = parts[part].map(names).fillna("").astype(str)
        unknown = ~parts[part].isin(list(names)) & (said["problem"] == "")
        told = f"{part} '" + parts[part] + f"' has no {field} in the layout"
        said["problem"] = said["problem"].where(~unknown, told)
    return said


def fill(template: str, parts: pd.DataFrame) -> pd.Series:
    """`template` with each `{part}` replaced by that column."""
    text = pd.Series("", index=parts.index, dtype=str)
    for literal, name, _, _ in Formatter().parse(template):
        text = text + literal
        if name is not None:
            text = text + parts[name]
    return text


def parts_of(template: str) -> set[str]:
    """The names in braces of a template or a pattern."""
    return {name for _, name, _, _ in Formatter().parse(template) if name is not None}


def parts_needed(description: Description) -> set[str]:
    """Parts that the rules and the image's place refer to."""
    needed = parts_of(description.image)
    for rule in description.rules:
        needed |= set(rule.where or {})
        for value in rule.fields.values():
            needed |= parts_of(value) if isinstance(value, str) else set(value)
    return needed


def _is_file_name(layout: str) -> bool:
    return layout.endswith((".yaml", ".yml"))


def _parse(content: dict, layout: str) -> Description:
    if missing := [key for key in _REQUIRED if key not in content]:
        raise ValueError(f"layout {layout} lacks {', '.join(missing)}; compare it with data_manifests/README.md")
    if unknown := sorted(set(content) - _KEYS, key=str):
        raise ValueError(f"layout {layout}: key {unknown[0]!r} is unknown; expected {', '.join(sorted(_KEYS))}")
    rules = tuple(_parse_rule(rule, layout, tree="tables" not in content) for rule in content["images"] or ())
    if not rules:
        raise ValueError(f"layout {layout}: images is empty; expected at least one rule")
    for row in content.get("expected", ()):
        if not set(row) <= {*_EXPECTED, "images"} or not row.get("images", "").isdecimal():
            known = ", ".join(_EXPECTED)
            raise ValueError(f"layout {layout}: expected holds {row}; expected images: NUMBER and any of {known}")
    expected = tuple(row | {"images": int(row["images"])} for row in content.get("expected", ()))
    names = ("title", "homepage", "licence", "note", "guidance", "tables", "image", "cite")
    texts = {key: content[key] for key in names if key in content}
    skip, generators = tuple(content.get("skip", ())), _parse_generators(content.get("generators", {}), layout)
    description = Description(layout, rules=rules, skip=skip, expected=expected, generators=generators, **texts)
    _check_parts(description)
    return description


def _parse_generators(content: object, layout: str) -> dict[str, dict[str, str]]:
    """What is public of each architecture; a month without its source cannot be checked by anybody."""
    if not isinstance(content, dict):
        raise ValueError(f"layout {layout}: generators is {content!r}; expected architectures, each with its facts")
    for name, said in content.items():
        if not isinstance(said, dict) or not set(said) <= set(PUBLIC):
            raise ValueError(f"layout {layout}: generator {name} has {said!r}; expected some of {', '.join(PUBLIC)}")
        if "released" in said and not (is_month(said["released"]) and said.get("source")):
            raise ValueError(f"layout {layout}: generator {name} has {said}; expected released: YEAR-MONTH, and source")
    return content


def _parse_rule(content: dict, layout: str, *, tree: bool) -> Rule:
    place = "path" if tree else "where"
    if unknown := sorted(set(content) - {place, *FIELDS}, key=str):
        raise ValueError(f"layout {layout}: rule key {unknown[0]!r} is unknown; expected {place}, {', '.join(FIELDS)}")
    required = ("nature", "architecture", "path") if tree else ("nature", "architecture")
    if missing := [key for key in required if not content.get(key)]:
        raise ValueError(f"layout {layout}: a rule lacks {', '.join(missing)}: {content}")
    fields = {field: content[field] for field in FIELDS if field in content}
    for field, allowed in _ALLOWED.items():
        value = fields.get(field, allowed[0])
        if wrong := [said for said in _said(value) if said not in allowed]:
            raise ValueError(f"layout {layout}: {field} {wrong[0]!r} is unknown; expected one of {', '.join(allowed)}")
    where = {part: list(values) for part, values in content.get("where", {}).items()}
    return Rule(fields, path=content.get("path", ""), where=where)


def _said(value: str | dict) -> list[str]:
    """All that a fixed value or a table of names can say."""
    return [value] if isinstance(value, str) else [said for names in value.values() for said in names.values()]


def _check_parts(description: Description) -> None:
    """Every pattern must compile, and a tree's rules may only use parts of their own path."""
    for rule in description.rules:
        pattern = description.tables or rule.path
        try:
            named = set(compile_pattern(pattern, below=False).groupindex)
        except re.error as error:
            raise ValueError(f"layout {description.layout}: {pattern!r} is no pattern: {error}") from error
        for field, value in rule.fields.items():
            if isinstance(value, dict) and len(value) != 1:
                raise ValueError(f"layout {description.layout}: {field} must look up one part, not {', '.join(value)}")
            if isinstance(value, dict) and field == "pair":
                raise ValueError(f"layout {description.layout}: pair must be text with parts, not a table of names")
            used = parts_of(value) if isinstance(value, str) else set(value)
            absent = sorted(used - named - ({"stem"} if field == "pair" else set()))
            if absent and not description.tables:
                raise ValueError(f"layout {description.layout}: {field} uses {absent[0]!r}, which {pattern!r} lacks")
