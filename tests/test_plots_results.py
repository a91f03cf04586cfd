"""Figures of conditions, architectures and confidence: every value is drawn, what is undefined says so."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from samples import rows
from test_plots_models import CALIBRATION, pictures, scores, texts

from dfxlib.measure import confidence, generators
from dfxlib.measure import scores as measured
from dfxlib.measure.field import field_table
from dfxlib.plots import results as plots
from dfxlib.plots.models import plot_architectures, plot_robustness


@pytest.fixture(autouse=True)
def close_figures() -> object:
    yield
    plt.close("all")


def without_reals(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["nature"] != "real"].reset_index(drop=True)


def robustness(*, real: bool = True) -> pd.DataFrame:
    tables = {name: scores(seed) for seed, name in enumerate(["raw", "jpeg444_q90", "blur_k3", "delivery"])}
    tables = tables if real else {name: without_reals(table) for name, table in tables.items()}
    return measured.robustness_table(tables, CALIBRATION, resamples=20)


def drawn_numbers(figure: plt.Figure) -> np.ndarray:
    lines = [value for axis in figure.axes for line in axis.lines for value in line.get_xydata().ravel()]
    return np.array(lines, dtype=float)


def test_conditions_show_the_change_ten_times_amplified_and_new_sizes_in_words() -> None:
    image = np.full((8, 8, 3), 100, dtype=np.uint8)
    versions = {"raw": image, "brighter": image + 3, "scale_50": image[:4, :4]}
    figure = plots.plot_conditions(image, versions, columns=2)
    assert sorted(int(picture.mean()) for picture in pictures(figure)) == [100, 100, 103, 128, 158]
    assert "4 x 4\npixels" in texts(figure)


def test_perturbations_are_points_at_their_values_and_leave_jpeg_out() -> None:
    table = robustness()
    figure = plots.plot_perturbations(table)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["raw", "blur_k3", "delivery"]
    panel = next(axis for axis in figure.axes if axis.get_title() == "flip rate")
    points = [line.get_xdata()[0] for line in panel.lines if line.get_marker() == "o"]
    wanted = table[(table["metric"] == "flip rate") & (table["condition"] != "jpeg444_q90")]["value"]
    assert points == pytest.approx(wanted.tolist())


@pytest.mark.parametrize("draw", [plots.plot_perturbations, plot_robustness])
def test_a_metric_of_an_absent_class_is_called_undefined_and_never_drawn(draw: object) -> None:
    figure = draw(robustness(real=False))
    assert "undefined" in texts(figure) and np.isfinite(drawn_numbers(figure)).all()
    figure.savefig("/dev/null", format="png")


def test_verdicts_under_conditions_are_shares_a_panel_a_nature() -> None:
    shares = measured.verdict_shares({"raw": scores(), "blur_k3": scores(1)})
    figure = plots.plot_condition_verdicts(shares)
    for axis, (_, part) in zip(figure.axes, shares.groupby("nature")):
        drawn = np.ravel(axis.collections[0].get_array()).tolist()
        assert drawn == pytest.approx(part[["said_dm", "said_gan", "said_real"]].to_numpy().ravel().tolist())


def test_a_heat_map_has_a_number_or_a_dash_in_every_cell() -> None:
    table = generators.by_architecture(scores(), CALIBRATION, resamples=20)
    figure = plots.plot_heat(table, ["recall", "auc"])
    said = [text.get_text() for text in figure.axes[0].texts]
    expected = [f"{v:.2f}" if np.isfinite(v) else "-" for v in table[["recall", "auc"]].to_numpy().ravel()]
    assert said == expected and "-" in said


def test_an_architecture_of_unknown_nature_has_no_point_for_three_way_recall() -> None:
    table = scores().assign(nature=lambda t: t["nature"].replace("gan_generated", "fake_unknown"))
    figure = plot_architectures(generators.by_architecture(table, CALIBRATION, resamples=20))
    assert "undefined" in texts(figure) and "fake unknown" in texts(figure)


def test_reliability_is_drawn_before_and_after_for_every_split() -> None:
    table = scores()
    curve = confidence.reliability_table(table, {"temperature": 2.0})
    figure = plots.plot_reliability(curve)
    assert [axis.get_title() for axis in figure.axes] == list(pd.unique(table["split"]))
    line = curve[(curve["split"] == "test") & (curve["temperature"] == "after")]
    assert any(list(drawn.get_ydata()) == pytest.approx(line["accuracy"].tolist()) for drawn in figure.axes[0].lines)
    nobody = confidence.reliability_table(table.assign(nature="fake_unknown"), {"temperature": 2.0})
    assert "no image of the three classes" in texts(plots.plot_reliability(nobody))


def test_the_trade_of_the_band_shows_both_promises_and_fills_the_frozen_one() -> None:
    table = scores().query("split == 'test'")
    logits = table[measured.LOGITS].to_numpy()
    frozen = measured.calibrate(logits, table)
    trade = confidence.trade_table(logits, table, table, frozen, resamples=20)
    figure = plots.plot_trade(trade)
    titles = ["decided, of all images", "called fake, of real images", "called real, of fakes"]
    assert [axis.get_title() for axis in figure.axes] == titles
    assert all(promise in texts(figure) for promise in trade["promise"].unique())
    for axis, metric in zip(figure.axes, ("decided", "real called fake", "fake called real")):
        own = trade[trade["metric"] == metric]
        marks = [mark for drawn in axis.collections if len(drawn.get_offsets()) == 6 for mark in drawn.get_facecolors()]
        assert len(marks) == len(own) == 12
        assert sum(tuple(mark[:3]) != (1, 1, 1) for mark in marks) == own["frozen"].sum() == 1


@pytest.mark.parametrize("width", [4, 100])  # fewer and more features than images
def test_a_feature_map_places_every_scored_image_and_marks_architectures(width: int) -> None:
    table = rows(60)
    table.loc[table["architecture"] == "gan_generated_0", "split"] = "unseen"
    panels = plots.plot_feature_map(np.random.default_rng(0).normal(size=(60, 3, width)), table).axes
    assert [panel.get_title() for panel in panels] == ["diffusion", "GAN", "real"]
    for panel in panels:  # the others in grey, then the architectures of one nature
        assert sum(len(collection.get_offsets()) for collection in panel.collections) == 60
        marks = {tuple(collection.get_paths()[0].vertices.ravel()) for collection in panel.collections[1:]}
        assert len(marks) == len(panel.collections) - 1 == 3
    assert "gan_generated_0, unseen" in [collection.get_label() for collection in panels[1].collections]


def test_release_dates_are_points_with_intervals_a_panel_a_method_and_unseen_ones_are_open() -> None:
    found = field_table(scores(0).assign(source=""), method="ours", resamples=20)
    fakes = found.head(2).assign(released=["2021-05", "2022-08"], split=["test", "unseen"])
    table = pd.concat([fakes, fakes.assign(method="another", fake_acc=0.123)])
    figure = plots.plot_released(table)
    assert [axis.get_ylabel().splitlines()[0] for axis in figure.axes] == ["ours", "another"]
    for axis, (_, part) in zip(figure.axes, table.groupby("method", sort=False)):
        points = [line for line in axis.lines if line.get_marker() == "o"][:2]
        assert [line.get_ydata()[0] for line in points] == part["fake_acc"].tolist()
        assert points[1].get_markerfacecolor() == "white" != points[0].get_markerfacecolor()
    drawn = drawn_numbers(figure)
    assert all(np.isclose(drawn, value).any() for value in fakes["fake_acc_low"])


def test_the_matrix_frames_what_a_head_never_met() -> None:
    names, pairs = ["nothing", "a", "b"], ["a", "b", "new"]
    table = pd.DataFrame([{"without": one, "tested_on": two, "auc": 0.75} for one in names for two in pairs])
    table["met"] = (table["without"] != table["tested_on"]) & (table["tested_on"] != "new")
    figure = plots.plot_leave_one_out(table)
    framed = {(int(patch.get_x()), int(patch.get_y())) for patch in figure.axes[0].patches}
    assert framed == {(2, 0), (2, 1), (2, 2), (0, 1), (1, 2)}
    assert texts(figure).count("0.75") == 9
