"""Tables for the eye of a notebook's reader; what is saved beside them keeps every column and digit."""

import pandas as pd
from IPython.display import display

from dfxlib.study.reading import for_readers, is_ours, readable


def show(table: pd.DataFrame) -> None:
    """Display a table with three digits, or the word "none" where it has no row.

    A column that says the same in every row of several says it once, in a line above the table.
    """
    if table.empty:
        print("none")
        return
    table = readable(table).set_axis([""] * len(table), axis="index")  # numbers of rows say nothing
    same = [name for name in table if len(table) > 1 and table[name].astype(str).nunique() == 1]
    if same:
        print("in every row:", ", ".join(f"{name} {str(table[name].iloc[0]) or 'none'}" for name in same))
    if len(same) < len(table.columns):
        display(table.drop(columns=same))


def present(table: pd.DataFrame, *, value: str = "value", marked: str = "") -> None:
    """Display `reading.for_readers` of a table; where `marked` names the column of methods, the model's row is bold."""
    told = for_readers(table, value=value)

    def weight(row: pd.Series) -> list[str]:
        return ["font-weight: bold" if marked and is_ours(row[marked]) else ""] * len(row)

    left = [{"selector": "th, td", "props": "text-align: left"}]
    display(told.style.hide(axis="index").apply(weight, axis="columns").set_table_styles(left))
