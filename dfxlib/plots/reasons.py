"""Figures of single verdicts: scores, votes, maps and residuals. A table or arrays in, a Figure out."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfxlib.data.residual import BLOCK, luma_residual, residual_spectrum
from dfxlib.measure.cuts import unsure_band
from dfxlib.names import CLASSES, NATURE_COLOURS
from dfxlib.plots.style import label_of

_NO_TICKS: dict[str, list[float]] = {"xticks": [], "yticks": []}

_SHAPE, _DIFFERENCE = 20, 10  # dB, ends of the colours


def plot_scores(table: pd.DataFrame, calibration: dict) -> Figure:
    """Fake score of every picture with its range under delivery; columns of `detect` and `label`."""
    figure, axis = plt.subplots(figsize=(8, 0.4 * len(table) + 1.5), layout="constrained")
    position = np.arange(len(table))
    axis.hlines(position, table["p_fake_low"].astype(float), table["p_fake_high"].astype(float), color="grey", lw=3)
    axis.plot(table["p_fake"].astype(float), position, "o", color="black", label="as it is (grey: under delivery)")
    low, high = unsure_band(calibration)
    axis.axvspan(np.clip(low, 0, 1), np.clip(high, 0, 1), color="#FEE6CE", label="unsure" if low < high else None)
    axis.axvline(calibration["threshold"], color="grey", linestyle="--", linewidth=1, label="frozen threshold")
    axis.set_yticks(position, table["label"])
    axis.set(xlim=(-0.02, 1.02), ylim=(len(table) - 0.5, -0.5), xlabel="calibrated fake score")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    sns.despine(figure)
    return figure


def plot_votes(said: np.ndarray, p: np.ndarray, labels: list[str]) -> Figure:
    """[N, 3] votes of the base models (bars) and calibrated probabilities of the complete model (diamonds)."""
    figure, axis = plt.subplots(figsize=(8, 0.55 * len(labels) + 1.5), layout="constrained")
    for number, nature in enumerate(CLASSES):
        place, colour = np.arange(len(labels)) + (number - 1) / 4, NATURE_COLOURS[nature]
        axis.barh(place, np.nan_to_num(said[:, number]), height=0.22, color=colour, alpha=0.5, label=label_of(nature))
        axis.plot(p[:, number], place, "D", color=colour, markeredgecolor="black", markersize=5)
    axis.plot([], [], "D", color="white", markeredgecolor="black", label="complete model")
    axis.set_yticks(range(len(labels)), labels)
    axis.set(xlim=(0, 1.02), ylim=(len(labels) - 0.5, -0.5), xlabel="probability of the own nature")
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    sns.despine(figure)
    return figure


def plot_maps(squares: np.ndarray, maps: np.ndarray, learned: np.ndarray, labels: list[str]) -> Figure:
    """Pictures with those of their maps ([N, 3, S, S], one a nature) that `learned` ([N, 3] bool) lets pass.

    A picture without any is left out; ValueError where that is all of them.
    """
    kept = np.flatnonzero(learned.any(axis=1))
    if len(kept) == 0:
        raise ValueError("no map shows more than its picture; there is nothing to draw")
    figure, axes = plt.subplots(
        len(kept), 4, figsize=(9, 2.3 * len(kept) + 0.4), layout="constrained", squeeze=False, subplot_kw=_NO_TICKS
    )
    for row, place in zip(axes, kept):
        row[0].imshow(squares[place], interpolation="nearest")
        row[0].set_ylabel(labels[place], rotation=0, ha="right", va="center", fontsize=8)
        for axis, own, passed in zip(row[1:], maps[place], learned[place]):
            if passed:
                axis.imshow(own, cmap="magma", vmin=0)
            axis.set_axis_off()
    for axis, nature in zip(axes[0, 1:], CLASSES):
        axis.set_title(label_of(nature), fontsize=9, color=NATURE_COLOURS[nature])
    return figure


def plot_residuals(pictures: list[np.ndarray], spectra: np.ndarray, labels: list[str]) -> Figure:
    """Above, mean spectra of the natures [3, 32 * 32]; below, the residual and spectrum of each picture [H, W, 3].

    Spectra are in dB about their own mean, with the power of the whole residual below them;
    beside a picture's, what it has more or less than each nature's mean.
    """
    size = (12, 2.3 * len(pictures) + 3.5)
    figure, axes = plt.subplots(1 + len(pictures), 5, figsize=size, layout="constrained", subplot_kw=_NO_TICKS)
    means = [_show_spectrum(axis, mean) for axis, mean in zip(axes[0, 2:], spectra)]
    for row, picture, label in zip(axes[1:], pictures, labels):
        middle, across = (slice(max(0, side // 2 - 64), side // 2 + 64) for side in picture.shape[:2])
        row[0].imshow(luma_residual(picture)[middle, across], cmap="grey", vmin=-10, vmax=10, interpolation="nearest")
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
        own = _show_spectrum(row[1], residual_spectrum(picture))
        for axis, mean in zip(row[2:], means):
            axis.imshow(own - mean, cmap="RdBu_r", vmin=-_DIFFERENCE, vmax=_DIFFERENCE)
    for axis in axes[0, :2]:
        axis.set_axis_off()
    axes[1, 0].set_title("residual of the middle,\n-10 to 10 grey levels", fontsize=8)
    axes[1, 1].set_title("its spectrum", fontsize=8)
    for above, below, name in zip(axes[0, 2:], axes[1, 2:], CLASSES):
        above.set_title(f"mean spectrum,\n{label_of(name)} images", fontsize=8, color=NATURE_COLOURS[name])
        below.set_title(f"difference from that,\n{label_of(name)}", fontsize=8, color=NATURE_COLOURS[name])
    figure.colorbar(axes[1, 1].images[0], ax=axes[0, -1], label="dB about the mean", extend="both")
    figure.colorbar(axes[1, 2].images[0], ax=axes[1:, -1], label="dB", extend="both")
    return figure


def _show_spectrum(axis: Axes, spectrum: np.ndarray) -> np.ndarray:  # [32, 32] dB about its own mean
    power = spectrum.mean() + 1e-3
    decibels = 10 * np.log10(spectrum / power + 1e-3).reshape(BLOCK, BLOCK)  # the filter leaves nothing at frequency 0
    decibels -= decibels.mean()
    axis.imshow(decibels, cmap="magma", vmin=-_SHAPE, vmax=_SHAPE)
    axis.set_xlabel("not known" if np.isnan(power) else f"level {10 * np.log10(power):.0f} dB", fontsize=7)
    return decibels


def plot_neighbours(rows: list[tuple[np.ndarray, str, list[tuple[np.ndarray, str, str]]]]) -> Figure:
    """Pictures with their labels, and the training images with the nearest features: picture, nature, words."""
    width = 1 + max(len(near) for _, _, near in rows)
    figure, axes = plt.subplots(len(rows), width, figsize=(2.3 * width, 2.6 * len(rows)), squeeze=False)
    for line, (picture, label, near) in zip(axes, rows):
        for axis, (pixels, nature, words) in zip(line, [(picture, "", label), *near]):
            axis.imshow(pixels, interpolation="nearest")
            axis.set_title(words, fontsize=7, color=NATURE_COLOURS.get(nature, "black"))
            axis.set_axis_off()
    figure.subplots_adjust(wspace=0.1, hspace=0.35)
    return figure
