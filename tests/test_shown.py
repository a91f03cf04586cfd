"""Names of others on a terminal: what it would obey or hide stands as an escape, and everything else as it is."""

import os
import unicodedata

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfxlib.study.reading import readable
from dfxlib.system import live
from dfxlib.system.shown import shown


@pytest.mark.parametrize(
    "name, said",
    [
        ("a.png", "a.png"),
        ("grün 猫.png", "grün 猫.png"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\rb\nc\td", r"a\rb\nc\td"),
        ("a\u202egnp.b", r"a\u202egnp.b"),
        ("a\u2028b\u200bc", r"a\u2028b\u200bc"),
        ("a\x9bb", r"a\x9bb"),
        (os.fsdecode(b"a\xffb"), r"a\xffb"),
    ],
)
def test_a_name_is_shown_in_one_line(name: str, said: str) -> None:
    assert shown(name) == said


@given(st.text())
def test_nothing_is_left_that_a_terminal_would_obey(text: str) -> None:
    assert not [sign for sign in shown(text) if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert shown(shown(text)) == shown(text)


def test_lines_and_tables_show_names_so(capsys: pytest.CaptureFixture) -> None:
    live.say("folder\x1b[2J:", 3)
    assert capsys.readouterr().out == "folder\\x1b[2J: 3\n"
    assert readable(pd.DataFrame({"path": ["a\x1b.png"], "images": [2]})).to_numpy().tolist() == [["a\\x1b.png", 2]]
