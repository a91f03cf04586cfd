"""Tables for a reader's eye: what every row says is said once, an empty table says so, and no digit misleads."""

import pandas as pd
import pytest

from dfxlib.study.show import show


@pytest.fixture()
def shown(monkeypatch: pytest.MonkeyPatch) -> list[pd.DataFrame]:
    """Tables as they reach the notebook."""
    tables: list[pd.DataFrame] = []
    monkeypatch.setattr("dfxlib.study.show.display", tables.append)
    return tables


def test_what_every_row_says_stands_once_above_the_table(shown: list, capsys: pytest.CaptureFixture) -> None:
    show(pd.DataFrame({"method": ["a", "b"], "images": [54, 54], "note": ["", ""], "value": [0.12345, 0.5]}))
    assert capsys.readouterr().out == "in every row: images 54, note none\n"
    (table,) = shown
    assert list(table.columns) == ["method", "value"] and table["value"].tolist() == [0.123, 0.5]


def test_a_single_row_stays_whole(shown: list, capsys: pytest.CaptureFixture) -> None:
    show(pd.DataFrame({"method": ["a"], "images": [54]}))
    assert capsys.readouterr().out == "" and list(shown[0].columns) == ["method", "images"]


def test_rows_that_say_the_same_need_no_table(shown: list, capsys: pytest.CaptureFixture) -> None:
    show(pd.DataFrame({"method": ["a", "a"]}))
    assert capsys.readouterr().out == "in every row: method a\n" and not shown


def test_an_empty_table_says_none(shown: list, capsys: pytest.CaptureFixture) -> None:
    show(pd.DataFrame(columns=["path"]))
    assert capsys.readouterr().out == "none\n" and not shown


def test_a_small_number_is_not_rounded_away(shown: list) -> None:
    show(pd.DataFrame({"cell": ["a", "b", "c"], "learning_rate": [1e-3, 1e-4, 1e-17]}))
    assert shown[0]["learning_rate"].tolist() == [0.001, 0.0001, 0.0]
