"""Reasons of a verdict: gradients are gradients, and maps depend on the model and not on the picture alone."""

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from samples import squares
from torch import Tensor
from trained import CALIBRATION

from dfxlib.data.residual import BLOCK, residual_spectrum
from dfxlib.detect.reasons import agreement, judge, learned, randomised, sensitivity_maps, smooth, votes
from dfxlib.models.networks import DeepFeatureXNet
from dfxlib.plots.reasons import plot_maps, plot_neighbours, plot_residuals, plot_scores, plot_votes
from dfxlib.training.fit import to_input


@pytest.fixture(scope="module")
def images() -> Tensor:  # [3, 3, 32, 32] uint8
    return to_input(squares(3, seed=5), torch.device("cpu"))


@pytest.fixture(scope="module")
def maps(trained_model: DeepFeatureXNet, images: Tensor) -> np.ndarray:
    return sensitivity_maps(trained_model, images)


@torch.no_grad()
def logit(model: DeepFeatureXNet, pixels: Tensor, fixed: Tensor, nature: int) -> float:
    """The logit of a nature where its own base model alone sees other pixels."""
    features = fixed.clone()
    features[:, nature] = model.base_models[nature].features(pixels)
    return float(model.head(features)[0, nature])


@pytest.mark.parametrize("nature", [0, 1, 2])
def test_a_map_is_the_change_of_the_logit_for_a_change_of_the_pixel(
    nature: int, trained_model: DeepFeatureXNet, images: Tensor, maps: np.ndarray
) -> None:
    """Central differences at the brightest pixels: the largest of the three channels' slopes is the map's value."""
    one = images[:1].float()
    fixed, step = trained_model.features(images[:1]), 0.5  # grey levels
    for place in np.argsort(maps[0, nature].ravel())[-5:]:
        row, column = divmod(int(place), 32)
        slopes = []
        for channel in range(3):
            ends = []
            for sign in (1, -1):
                moved = one.clone()
                moved[0, channel, row, column] += sign * step
                ends.append(logit(trained_model, moved, fixed, nature))
            slopes.append(abs(ends[0] - ends[1]) / (2 * step))
        assert maps[0, nature, row, column] == pytest.approx(max(slopes), rel=0.1)


def test_pictures_of_a_batch_do_not_touch_each_others_maps(
    trained_model: DeepFeatureXNet, images: Tensor, maps: np.ndarray
) -> None:
    alone = sensitivity_maps(trained_model, images[1:2])
    assert maps.shape == (3, 3, 32, 32) and np.abs(alone[0] - maps[1]).max() < 1e-4 * maps[1].max()


def test_shuffled_weights_make_other_maps_and_leave_the_model_alone(
    trained_model: DeepFeatureXNet, images: Tensor, maps: np.ndarray
) -> None:
    before = {name: tensor.clone() for name, tensor in trained_model.state_dict().items()}
    ignorant = randomised(trained_model)
    assert all(torch.equal(before[name], tensor) for name, tensor in trained_model.state_dict().items())
    for one, other in zip(trained_model.parameters(), ignorant.parameters()):
        assert torch.equal(one.flatten().sort().values, other.flatten().sort().values)
    others = sensitivity_maps(ignorant, images)
    alike = agreement(smooth(maps), smooth(others))
    assert alike.shape == (3, 3) and alike.max() < 0.9
    assert agreement(maps, maps) == pytest.approx(np.ones((3, 3)))
    assert agreement(maps, -maps) == pytest.approx(-np.ones((3, 3)))


def test_maps_that_shuffled_weights_make_too_are_counted_and_not_shown() -> None:
    alike = np.array([[0.9, 0.51, 0.5], [-0.9, 0.2, np.nan]])
    assert learned(alike).tolist() == [[False, False, True], [True, True, False]]
    assert judge(alike).startswith(
        "3 of 6 maps are not shown: what looks like maps of shuffled weights, or is flat, shows the "
    )


def test_votes_are_those_of_the_base_models(trained_model: DeepFeatureXNet, images: Tensor) -> None:
    said = votes(trained_model, images)
    with torch.no_grad():
        for nature, base in enumerate(trained_model.base_models):
            assert said[:, nature] == pytest.approx(torch.softmax(base(images), dim=1)[:, 1].numpy(), abs=1e-5)


def test_a_reference_checkpoint_without_last_layers_has_no_votes(
    trained_model: DeepFeatureXNet, images: Tensor
) -> None:
    silent = randomised(trained_model)
    for base in silent.base_models:
        torch.nn.init.zeros_(base.classifier.weight)
    assert np.isnan(votes(silent, images)).all()


def drawn(draw: Callable[[], Figure]) -> Figure:
    figure = draw()
    figure.canvas.draw()
    plt.close(figure)
    return figure


def test_figures_show_every_picture_and_survive_what_is_undefined(maps: np.ndarray) -> None:
    labels, pictures = ["a", "b", "c"], squares(3)
    table = pd.DataFrame({"label": labels, "p_fake": [0.1, 0.5, 0.9]})
    table = table.assign(p_fake_low=table["p_fake"] - 0.1, p_fake_high=table["p_fake"] + 0.1)
    band = CALIBRATION | {"unsure_low": 0.2, "unsure_high": float("inf")}
    for calibration in (CALIBRATION, band):
        assert len(drawn(lambda c=calibration: plot_scores(table, c)).axes[0].get_yticklabels()) == 3
    p = np.full((3, 3), 1 / 3)
    bars = drawn(lambda: plot_votes(np.full((3, 3), np.nan), p, labels)).axes[0].patches
    assert all(bar.get_width() == 0 for bar in bars)
    passed = np.array([[True, False, False], [False, False, False], [True, True, True]])
    figure = drawn(lambda: plot_maps(pictures, maps, passed, labels))
    assert [len(axis.images) for axis in figure.axes] == [1, 1, 0, 0, 1, 1, 1, 1], "a picture without a map is left out"
    with pytest.raises(ValueError, match="no map shows more than its picture"):
        plot_maps(pictures, maps, np.zeros((3, 3), bool), labels)
    unknown = np.full((3, BLOCK**2), np.nan)
    assert len(drawn(lambda: plot_residuals(list(pictures), unknown, labels)).axes) == 4 * 5 + 2
    near = [(pictures[0], "a", [(pictures[1], "real", "x"), (pictures[2], "dm_generated", "y")])]
    assert len(drawn(lambda: plot_neighbours(near)).axes) == 3


def test_spectra_of_a_picture_and_of_the_means_compare_in_shape_and_not_in_level() -> None:
    """Ten times the power has the same shape; the means themselves are shown, with their levels."""
    picture = squares(1)[0]
    own = residual_spectrum(picture)
    slope = np.exp(np.linspace(-1, 1, BLOCK**2))
    axes = drawn(lambda: plot_residuals([picture], np.stack([own / 10, own * slope, own]), ["a"])).axes[:10]
    shown = {number: np.asarray(axis.images[0].get_array()) for number, axis in enumerate(axes) if axis.images}
    assert set(shown) == {2, 3, 4, 5, 6, 7, 8, 9}, "three means above; residual, spectrum and three differences below"
    assert np.abs(shown[7]).max() < 0.01 and np.abs(shown[9]).max() < 1e-9 and np.abs(shown[8]).max() > 4
    assert shown[2] == pytest.approx(shown[6], abs=0.01) and shown[6].mean() == pytest.approx(0, abs=1e-9)
    levels = [int(axes[number].get_xlabel().removeprefix("level ").removesuffix(" dB")) for number in (2, 4, 6)]
    assert levels[0] + 10 == pytest.approx(levels[1], abs=1) and levels[1] == levels[2]
