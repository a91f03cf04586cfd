"""Figures of single verdicts: scores, votes, maps and residuals. A table or arrays in, a Figure out."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from dfxlib.evaluate import unsure_band
from dfxlib.names import CLASSES
from dfxlib.residual import BLOCK, luma_residual, residual_spectrum
from dfxlib.style import NATURE_COLOURS, label_of


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


def plot_maps(squares: np.ndarray, maps: np.ndarray, ignorant: np.ndarray, labels: list[str]) -> Figure:
    """Each picture, its map a nature ([N, 3, S, S]), and the same maps of shuffled weights beside them."""
    columns = [("the model", maps, nature) for nature in range(3)]
    columns += [("shuffled weights", ignorant, nature) for nature in range(3)]
    size = (11, 1.55 * len(squares) + 0.5)
    figure, axes = plt.subplots(len(squares), 7, figsize=size, layout="constrained", squeeze=False)
    for row, square, label in zip(axes, squares, labels):
        row[0].imshow(square, interpolation="nearest")
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
        row[0].set(xticks=[], yticks=[])
    for column, (whose, values, nature) in enumerate(columns, 1):
        for axis, own in zip(axes[:, column], values[:, nature]):
            axis.imshow(own, cmap="magma", vmin=0)
            axis.set_axis_off()
        name = CLASSES[nature]
        axes[0, column].set_title(f"{label_of(name)},\n{whose}", fontsize=8, color=NATURE_COLOURS[name])
    return figure


def plot_residuals(pictures: list[np.ndarray], spectra: np.ndarray, labels: list[str]) -> Figure:
    """Residual of each picture [H, W, 3], its spectrum, and that beside each nature's mean ([3, 32 * 32])."""
    size = (10, 1.75 * len(pictures) + 0.7)
    figure, axes = plt.subplots(len(pictures), 5, figsize=size, layout="constrained", squeeze=False)
    frequencies = {"extent": (-0.5, 0.5, 0.5, -0.5)}  # cycles a pixel
    for row, picture, label in zip(axes, pictures, labels):
        own = residual_spectrum(picture)
        middle = slice(max(0, picture.shape[0] // 2 - 64), picture.shape[0] // 2 + 64)
        across = slice(max(0, picture.shape[1] // 2 - 64), picture.shape[1] // 2 + 64)
        row[0].imshow(luma_residual(picture)[middle, across], cmap="grey", vmin=-10, vmax=10, interpolation="nearest")
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)
        level = 10 * np.log10(own + 1e-3).reshape(BLOCK, BLOCK)
        row[1].imshow(level, cmap="magma", vmin=-10, vmax=25, **frequencies)
        for axis, mean in zip(row[2:], spectra):
            ratio = 10 * np.log10((own + 1e-3) / (mean + 1e-3)).reshape(BLOCK, BLOCK)
            shown = axis.imshow(np.nan_to_num(ratio), cmap="RdBu_r", vmin=-12, vmax=12, **frequencies)
            if np.isnan(mean).any():
                axis.text(0, 0, "not known", ha="center", va="center", fontsize=8)
        for axis in row:
            axis.set(xticks=[], yticks=[])
    axes[0, 0].set_title("residual of the middle,\n-10 to 10 grey levels", fontsize=8)
    axes[0, 1].set_title("its spectrum,\n-10 to 25 dB", fontsize=8)
    for axis, name in zip(axes[0, 2:], CLASSES):
        axis.set_title(f"against the mean\n{label_of(name)} image", fontsize=8, color=NATURE_COLOURS[name])
    figure.colorbar(shown, ax=axes[:, -1], label="dB", extend="both")
    return figure


def plot_neighbours(rows: list[tuple[np.ndarray, str, list[tuple[np.ndarray, str, str]]]]) -> Figure:
    """Pictures with their labels, and the training images with the nearest features: picture, nature, words."""
    width = 1 + max(len(near) for _, _, near in rows)
    figure, axes = plt.subplots(len(rows), width, figsize=(1.6 * width, 1.9 * len(rows)), squeeze=False)
    for line, (picture, label, near) in zip(axes, rows):
        for axis, (pixels, nature, words) in zip(line, [(picture, "", label), *near]):
            axis.imshow(pixels, interpolation="nearest")
            axis.set_title(words, fontsize=7, color=NATURE_COLOURS.get(nature, "black"))
            axis.set_axis_off()
    figure.subplots_adjust(wspace=0.1, hspace=0.35)
    return figure
