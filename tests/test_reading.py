"""Tables as readers of a page see them; what is saved keeps everything."""

import numpy as np
import pandas as pd
import pytest

from dfxlib.plots.style import CLASS_LABELS
from dfxlib.study.reading import by_value, for_readers, is_ours, readable, reader_markdown, unsure_in_words


def test_an_estimate_stands_beside_its_interval_and_columns_have_words() -> None:
    row = {"method": "spectrum", "value": 0.7421, "low": 0.7139, "high": 0.7681, "seeds": 5, "seed_sd": 0.0124}
    row |= {"seed_low": 0.7, "seed_high": 0.8, "fewest_clusters": 30}
    told = for_readers(pd.DataFrame([row]), value="accuracy")
    assert told.to_dict("records") == [
        {
            "method": "spectrum",
            "accuracy (95% interval)": "0.742 (0.714 to 0.768)",
            "seeds": "5",
            "standard deviation over seeds": "0.012",
            "interval over seeds": "0.700 to 0.800",
            "groups of the rarest nature": "30",
        }
    ]


def test_what_says_nothing_is_left_out() -> None:
    table = pd.DataFrame({"backbone": "a", "seeds": 1, "p_holm": [None, None], "note": "", "images": [3, 4]})
    assert list(for_readers(table)) == ["images"]
    assert list(for_readers(table.assign(backbone=["a", "b"], seeds=[1, 5]))) == ["backbone", "seeds", "images"]


def test_an_undefined_estimate_is_called_so_and_an_undefined_number_stays_empty() -> None:
    table = pd.DataFrame({"value": [0.5, None], "low": [0.4, None], "high": [0.6, None], "p": [0.00012, None]})
    assert for_readers(table).to_numpy().tolist() == [["0.500 (0.400 to 0.600)", "0.00012"], ["undefined", ""]]


def test_a_column_has_as_many_digits_as_its_numbers_need() -> None:
    table = pd.DataFrame({"minutes": [1.5, 12.0], "share": [0.12345, 0.5], "count": [3.0, None]})
    assert for_readers(table).to_numpy().tolist() == [["1.5", "0.123", "3"], ["12.0", "0.500", ""]]


def test_natures_have_the_names_that_figures_give_them() -> None:
    told = for_readers(pd.DataFrame({"nature": list(CLASS_LABELS)}))
    assert told["nature"].tolist() == list(CLASS_LABELS.values())


def test_rows_fall_by_value_and_the_model_is_bold() -> None:
    table = pd.DataFrame({"method": ["a", "DeepFeatureX Net (b)", "c|d"], "value": [0.1, 0.9, None]})
    text = reader_markdown(for_readers(by_value(table.iloc[::-1])), marked="method").splitlines()
    assert text[2:] == ["| **DeepFeatureX Net (b)** | **0.9** |", "| a | 0.1 |", "| c&#124;d |  |"]
    assert is_ours("DeepFeatureX Net") and not is_ours("threeway (b)")


def test_the_band_is_told_by_what_it_promised_and_gave() -> None:
    names = ["decided", "real called fake", "fake called real", "wrong among called fake"]
    rows = {"metric": names, "value": [0.4, 0.01, None, 0.03], "value_low": 0.0, "value_high": 0.5, "images": 90}
    rows |= {"seed": 0, "promised": [None, 0.05, 0.05, None], "promise": "with probability 0.9"}
    test = pd.DataFrame(rows | {"split": "test"})
    told = unsure_in_words(pd.concat([test, test.assign(split="unseen")]))
    assert told["images"].tolist() == ["test (90), seed 0", "unseen (90), seed 0"]
    assert told["of all fakes called real"].tolist() == ["undefined"] * 2
    assert told["decided at the frozen band"][0] == "40.0% (0.0% to 50.0%)"
    assert told["promised of either"].tolist() == ["5% with probability 0.9", "nothing"]


def test_a_table_for_the_eye_says_undefined_keeps_three_digits_and_warns_of_nothing(
    recwarn: pytest.WarningsRecorder,
) -> None:
    table = pd.DataFrame({"name": ["a", "b"], "value": [0.12345, np.nan], "images": [3, 4]})
    assert readable(table).to_numpy().tolist() == [["a", 0.123, 3], ["b", "undefined", 4]] and not recwarn.list
