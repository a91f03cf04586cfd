"""From a folder tree or a table of images to rows: path, nature, architecture, declared split.

What the names mean is said by `descriptions`; `trees` and `tables` find the files, this module chooses between them.
Nothing is read but names and tables, nothing is dropped in silence: what cannot be an image of
the data set is a row with a problem.
"""

import re
from pathlib import Path

import pandas as pd

from dfxlib.data.descriptions import LISTING, is_month, read_description, require_layout, with_generators
from dfxlib.data.guidance import read_guidance
from dfxlib.data.tables import read_plain_tables, read_tables
from dfxlib.data.trees import read_tree, with_problems
from dfxlib.names import NATURES
from dfxlib.system.shown import shown


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
        rows = read_plain_tables(root, layout, columns or {})
    else:
        description = read_description(layout)
        rows = read_tables(root, description) if description.tables else read_tree(root, description)
        if description.guidance and (root / description.guidance).is_file():
            declared = read_guidance(root / description.guidance, set(rows["path"]))
            rows["declared_split"] = rows["path"].map(declared.declared).fillna("")
            rows = with_problems(rows, declared.problems)
        rows = with_generators(rows.reindex(columns=LISTING, fill_value=""), description)
    rows = rows.reindex(columns=LISTING, fill_value="").astype(str)
    _require_months(rows)
    rows = rows.sort_values("path", ignore_index=True)
    _require_images(rows, root, layout)
    return rows


def _require_months(rows: pd.DataFrame) -> None:
    for path, month in zip(rows["path"], rows["released"]):
        if month and not is_month(month):
            raise ValueError(f"released of {shown(path)} is {shown(month)!r}; expected YEAR-MONTH")
    months = rows[rows["released"] != ""].groupby(["nature", "architecture"])["released"].unique()
    for (_, name), several in months[months.map(len) > 1].items():
        raise ValueError(f"released of {shown(name)} is {' and '.join(several)}; a generator has one month, its first")


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
    found = "" if rows.empty else f"; found {shown(rows['path'].iloc[0])} ({shown(rows['problem'].iloc[0])})"
    raise ValueError(f"data root {root} holds no image; expected {shape}; check data_root and layout{found}")
