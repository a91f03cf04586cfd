"""Figures: what is drawn is what the table says, in one colour for a nature everywhere."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from samples import rows, squares

from dfxlib.measure import generators
from dfxlib.measure import scores as measured
from dfxlib.names import CLASSES, NATURE_COLOURS
from dfxlib.plots import models as plots

CALIBRATION = {"threshold": 0.5, "false_alarm_5": 0.8}


@pytest.fixture(autouse=True)
def close_figures() -> object:
    yield
    plt.close("all")


def scores(seed: int = 0) -> pd.DataFrame:
    table = rows(90)
    table.loc[table["architecture"] == "gan_generated_2", "split"] = "unseen"
    return measured.score_table(table, np.random.default_rng(seed).normal(size=(90, 3)), temperature=1.0, backbone="r")


def history(epochs: int = 3) -> pd.DataFrame:
    numbers = np.arange(1, epochs + 1)
    return pd.DataFrame(
        {
            "epoch": numbers,
            "train_loss": 1 / numbers,
            "train_balanced_accuracy": numbers / 5,
            "valid_loss": 1.2 / numbers,
            "valid_balanced_accuracy": numbers / 4,
            "learning_rate": 0.1 / numbers,
            "images_per_second": 100.0 * numbers,
        }
    )


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.findobj(plt.Text))


def pictures(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for axis in figure.axes for image in axis.get_images()]


def test_inputs_show_the_stored_picture_above_what_the_network_sees() -> None:
    stored, seen = squares(6), np.random.default_rng(0).normal(size=(6, 8, 8, 3))
    shown = pictures(plots.plot_inputs(stored, seen, list(CLASSES) * 2))
    np.testing.assert_array_equal(shown[:6], stored)
    assert len(shown) == 12
    assert min(view.min() for view in shown[6:]) == 0 and max(view.max() for view in shown[6:]) == 1


def test_a_history_is_drawn_over_its_epochs() -> None:
    figure = plots.plot_history({"real": history()})
    losses, accuracies, speeds, rates = figure.axes
    drawn = {losses: ("train_loss", "valid_loss"), accuracies: ("train_balanced_accuracy", "valid_balanced_accuracy")}
    for axis, columns in (drawn | {rates: ("learning_rate",), speeds: ("images_per_second",)}).items():
        lines = [list(line.get_ydata()) for line in axis.lines]
        assert all(history()[column].tolist() in lines for column in columns)
    assert to_hex(losses.lines[0].get_color()).upper() == NATURE_COLOURS["real"]


def test_a_learning_rate_that_never_changes_is_no_panel() -> None:
    figure = plots.plot_history({"real": history().assign(learning_rate=0.1)})
    assert [axis.get_ylabel() for axis in figure.axes] == [
        "cross-entropy [nats]", "balanced accuracy", "training images per second",
    ]  # fmt: skip


@pytest.mark.parametrize("name, chance", [("real", 1 / 2), ("head", 1 / 3)])
def test_chance_is_a_half_for_base_models_and_a_third_for_the_head(name: str, chance: float) -> None:
    accuracies = plots.plot_history({name: history()}).axes[1]
    assert [chance, chance] in [list(line.get_ydata()) for line in accuracies.lines]


def test_the_frame_stands_around_the_cell_that_the_table_says_was_chosen() -> None:
    keys = ["batch_size", "learning_rate", "weight_decay", "step_size", "gamma", "valid_loss", "chosen"]
    cells = [(16, 1e-3, 1e-3, 10, 0.9, 0.8, False), (16, 1e-3, 1e-3, 10, 0.3, 0.4, True)]
    cells += [(32, 1e-3, 1e-3, 10, 0.9, 0.4, False), (32, 1e-3, 1e-3, 10, 0.3, 0.6, False)]  # a tie with the chosen
    figure = plots.plot_grid(pd.DataFrame(cells, columns=keys))
    frame = next(patch for patch in figure.axes[0].patches if not patch.get_fill())
    assert frame.get_xy() == (0, 0)  # columns gamma 0.3, 0.9; rows batch 16, 32
    assert "0.400" in texts(figure)


def test_a_confusion_matrix_says_shares_and_counts() -> None:
    table = measured.confusion(scores())
    figure = plots.plot_confusion(table)
    share = table.iloc[0, 0] / table.iloc[0].sum()
    assert f"{share:.0%}\n{table.iloc[0, 0]}" in texts(figure) and "diffusion" in texts(figure)


def test_methods_are_points_at_their_values() -> None:
    table = pd.DataFrame({"method": ["ours", "theirs"], "value": [0.8, 0.5], "low": [0.7, 0.4], "high": [0.9, 0.6]})
    axis = plots.plot_methods(table).axes[0]
    points = [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "o"]
    assert points == [0.8, 0.5], "the best first"
    assert [label.get_text() for label in axis.get_yticklabels()] == ["ours", "theirs"]


def test_robustness_is_a_line_over_quality_for_each_subsampling_and_a_level_for_raw() -> None:
    conditions = ["raw", "jpeg444_q90", "jpeg444_q50", "jpeg420_q90", "jpeg420_q30"]
    by_condition = {name: scores(seed) for seed, name in enumerate(conditions)}
    table = measured.robustness_table(by_condition, CALIBRATION, resamples=20)
    figure = plots.plot_robustness(table)
    panel = next(axis for axis in figure.axes if axis.get_title() == "three-way balanced accuracy")
    wide = table.pivot(index="condition", columns="metric", values="value")["three-way balanced accuracy"]
    lines = [(list(line.get_xdata()), pytest.approx(list(line.get_ydata()))) for line in panel.lines]
    assert ([50, 90], wide[["jpeg444_q50", "jpeg444_q90"]].tolist()) in lines
    assert ([30, 90], wide[["jpeg420_q30", "jpeg420_q90"]].tolist()) in lines
    assert any(line == ([0, 1], [wide["raw"]] * 2) for line in lines)


def test_unseen_architectures_have_open_marks() -> None:
    table = generators.by_architecture(scores(), CALIBRATION, resamples=20)
    axis = plots.plot_architectures(table).axes[0]
    points = [line for line in axis.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    faces = {str(row.split): to_hex(point.get_markerfacecolor()) for row, point in zip(table.itertuples(), points)}
    assert faces["unseen"] == "#ffffff" != faces["test"]
    assert [point.get_xdata()[0] for point in points] == pytest.approx(table["recall"].tolist())


def test_verdicts_are_shares_by_architecture() -> None:
    table = generators.by_architecture(scores(), CALIBRATION, resamples=20)
    figure = plots.plot_verdicts(table)
    drawn = figure.axes[0].collections[0].get_array()
    np.testing.assert_allclose(np.ravel(drawn), table[["said_dm", "said_gan", "said_real"]].to_numpy().ravel())


def test_seen_and_unseen_stand_side_by_side_for_every_method() -> None:
    means = {
        name: generators.averages(table, CALIBRATION, resamples=20)
        for name, table in {"ours": scores(), "theirs": scores(1)}.items()
    }
    table = generators.seen_against_unseen(means)
    figure = plots.plot_seen_unseen(table)
    assert [axis.get_title() for axis in figure.axes] == ["ours", "theirs"]
    drawn = sorted(
        v for axis in figure.axes for line in axis.lines if line.get_marker() == "o" for v in line.get_ydata()
    )
    assert drawn == pytest.approx(sorted(table["recall"]))


@pytest.mark.parametrize("value", [0.1, np.nan])
def test_differences_show_three_intervals_or_say_that_nothing_is_defined(value: float, recwarn) -> None:
    ends = {"low": value - 0.05, "high": value + 0.05, "seed_low": value - 0.1, "seed_high": value + 0.1}
    ends |= {"both_low": value - 0.2, "both_high": value + 0.3}
    figure = plots.plot_differences(pd.DataFrame([{"method": "spectrum", "value": value} | ends]))
    drawn = [tuple(segment[:, 0]) for lines in figure.axes[0].collections for segment in lines.get_segments()]
    expected = [] if np.isnan(value) else [(0.05, 0.15), (0, 0.2), (-0.1, 0.4)]
    assert drawn == [pytest.approx(each) for each in expected]
    assert ("undefined" in texts(figure)) == np.isnan(value) and not recwarn.list
