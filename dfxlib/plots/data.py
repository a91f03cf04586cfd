"""Figures of the data: examples, counts, what files and pixels give away. A table in, a Figure out."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfxlib.data.decode import image_files, read_image
from dfxlib.names import NATURE_COLOURS, NATURES, SPLITS
from dfxlib.plots.style import SPLIT_COLOURS, label_of

_SHADES = ["#333333", "#777777", "#AAAAAA", "#D5D5D5", "#8C6D31", "#E7CB94"]


def plot_examples(manifest: pd.DataFrame, data_root: Path, *, columns: int = 8) -> Figure:
    """Each architecture's images of the same groups where they share any, one row an architecture."""
    usable = manifest[manifest["problem"] == ""]
    shared = usable.groupby("group")["architecture"].nunique().sort_values(ascending=False, kind="stable").index
    rank = {group: position for position, group in enumerate(shared)}
    rows = {}
    for key, own in usable.groupby(["nature", "architecture"]):
        own = own.iloc[np.argsort(own["group"].map(rank), kind="stable")]
        rows[key] = [np.asarray(read_image(file)) for file in image_files(own.head(columns), data_root)]
    return _gallery(rows, columns=columns)


def plot_scenes(pictures: dict[tuple[str, str, int], np.ndarray]) -> Figure:
    """The same scenes, column by column, by every architecture; (nature, architecture, scene) -> [H, W, 3]."""
    scenes = sorted({scene for _, _, scene in pictures})
    names = sorted({(nature, architecture) for nature, architecture, _ in pictures})
    rows = {name: [pictures[*name, scene] for scene in scenes] for name in names}
    return _gallery(rows, columns=len(scenes))


def plot_clusters(clusters: pd.DataFrame, data_root: Path, *, sets: int = 6, columns: int = 6) -> Figure:
    """The first sets of duplicates, one a row; the frame has the colour of the nature."""
    shown = clusters[clusters["cluster"] < sets]
    height = max(1, shown["cluster"].nunique())
    figure, axes = plt.subplots(height, columns, figsize=(1.5 * columns, 1.75 * height), squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.set_visible(False)
    for row, (_, part) in zip(axes, shown.groupby("cluster")):
        for axis, file, image in zip(row, image_files(part.head(columns), data_root), part.itertuples()):
            axis.set_visible(True)
            axis.imshow(np.asarray(read_image(file)), interpolation="nearest")
            axis.set_title(f"{image.architecture[:20]}\n{image.split.replace('_', ' ')}", fontsize=7)
            plt.setp(axis.spines.values(), color=NATURE_COLOURS[image.nature], linewidth=3, visible=True)
        if len(part) > columns:
            last, more = row[-1], f"and {len(part) - columns}\nmore"
            last.text(1.1, 0.5, more, transform=last.transAxes, va="center", fontsize=7)
    figure.subplots_adjust(wspace=0.15, hspace=0.4)
    return figure


def plot_counts(counts: pd.DataFrame) -> Figure:
    """Images by architecture and split, from `manifest.count_images`."""
    splits = [split for split in SPLITS if split in counts.columns]
    figure, axis = plt.subplots(figsize=(8, 0.32 * len(counts) + 1.2), layout="constrained")
    position, left = np.arange(len(counts)), np.zeros(len(counts))
    for split in splits:
        label = split.replace("_", " ")
        axis.barh(position, counts[split], left=left, color=SPLIT_COLOURS[split], label=label, linewidth=0)
        left += counts[split].to_numpy()
    _name_architectures(axis, counts.index)
    axis.set_xlabel("images")
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    sns.despine(figure)
    return figure


def plot_files(manifest: pd.DataFrame) -> Figure:
    """Formats, sizes, JPEG quality and bytes of each nature: where curves or bars differ, a shortcut lies."""
    usable = manifest[manifest["problem"] == ""]
    kind = usable["format"] + " " + usable["mode"]
    size = usable["width"].astype(str) + " x " + usable["height"].astype(str)
    figure, axes = plt.subplots(2, 2, figsize=(10, 6.2), layout="constrained")
    natures = [nature for nature in NATURES if nature in set(usable["nature"])]
    _share_bars(axes[0, 0], kind, usable["nature"], natures, title="format and mode")
    _share_bars(axes[0, 1], size, usable["nature"], natures, title="size [pixels]")
    bits = 8 * usable["bytes"] / (usable["width"] * usable["height"])
    _distributions(axes[1, 0], usable["jpeg_quality"], usable["nature"], natures, label="JPEG quality")
    _distributions(axes[1, 1], bits, usable["nature"], natures, label="file size [bits a pixel]")
    handles, labels = axes[1, 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False)
    sns.despine(figure)
    return figure


def plot_processing(marks: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """Marks of JPEG and resampling by architecture: median, and the range of the middle 90%.

    `marks` has a column a mark, its index names rows of the manifest `rows`.
    """
    groups = marks.groupby([rows.loc[marks.index, "nature"], rows.loc[marks.index, "architecture"]])
    low, middle, high = (groups.quantile(share) for share in (0.05, 0.5, 0.95))
    size = (2.1 * len(marks.columns) + 2.4, 0.28 * len(middle) + 1.1)
    figure, axes = plt.subplots(1, len(marks.columns), figsize=size, sharey=True, layout="constrained")
    for axis, name in zip(np.atleast_1d(axes), marks.columns):
        for position, (nature, architecture) in enumerate(middle.index):
            colour, key = NATURE_COLOURS[nature], (nature, architecture)
            axis.plot([low.loc[key, name], high.loc[key, name]], [position, position], color=colour, linewidth=1.5)
            axis.plot(middle.loc[key, name], position, "o", color=colour, markersize=4)
        unit = "pixels" if name.endswith("period") else "log ratio"
        axis.set(title=name.replace("_", " "), xlabel=unit)
    _name_architectures(np.atleast_1d(axes)[0], middle.index)
    sns.despine(figure)
    return figure


def plot_spectra(spectra: np.ndarray, rows: pd.DataFrame, *, columns: int = 6) -> Figure:
    """Mean residual spectrum of every architecture, in decibel above the mean of all real images.

    `spectra` [N, S * S] from `residual.residual_spectrum`, one row of it a row of `rows`.
    """
    side = int(np.sqrt(spectra.shape[1]))
    reference = spectra[(rows["nature"] == "real").to_numpy()].mean(axis=0)
    names = rows[["nature", "architecture"]].drop_duplicates().sort_values(["nature", "architecture"])
    height = -(-len(names) // columns)
    figure, axes = plt.subplots(height, columns, figsize=(11, 2.1 * height + 0.4), layout="constrained", squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (nature, architecture) in zip(axes.flat, names.itertuples(index=False)):
        own = spectra[((rows["nature"] == nature) & (rows["architecture"] == architecture)).to_numpy()].mean(axis=0)
        ratio = 10 * np.log10((own + 1e-3) / (reference + 1e-3)).reshape(side, side)
        # A mean is no picture of the data set; imshow is for those (study/figures.py).
        image = axis.pcolormesh(ratio[::-1], cmap="RdBu_r", vmin=-6, vmax=6, rasterized=True)
        axis.set_aspect("equal")
        axis.set_title(architecture.replace("_", "_\n", 1), fontsize=8, color=NATURE_COLOURS[nature])
    label = "dB against the mean real image"
    figure.colorbar(image, ax=axes, label=label, shrink=0.8, extend="both")
    return figure


def _gallery(rows: dict[tuple[str, str], list[np.ndarray]], *, columns: int, side: float = 0.95) -> Figure:
    """One row of pictures for each (nature, architecture), named at the left; one Axes, which is fast."""
    figure, axis = plt.subplots(figsize=(columns * side + 2.4, len(rows) * side))
    for line, ((nature, architecture), pictures) in enumerate(rows.items()):
        for column, picture in enumerate(pictures):
            height, width = 0.48 * np.array(picture.shape[:2]) / max(picture.shape[:2])
            place = (column - width, column + width, line + height, line - height)
            axis.imshow(picture, extent=place, interpolation="nearest")
        axis.text(-0.6, line, architecture, ha="right", va="center", fontsize=8)
        axis.text(-0.6, line + 0.3, label_of(nature), ha="right", va="center", fontsize=7, color=NATURE_COLOURS[nature])
    axis.set(xlim=(-0.5, columns - 0.5), ylim=(len(rows) - 0.5, -0.5), aspect="equal")
    axis.set_axis_off()
    figure.subplots_adjust(left=0.25, right=1, bottom=0, top=1)
    return figure


def _name_architectures(axis: Axes, index: pd.MultiIndex) -> None:
    """Architectures from the top down, each in the colour of its nature."""
    axis.set_yticks(range(len(index)), [architecture for _, architecture in index])
    for tick, (nature, _) in zip(axis.get_yticklabels(), index):
        tick.set_color(NATURE_COLOURS[nature])
    axis.set_ylim(len(index) - 0.5, -0.5)


def _share_bars(axis: Axes, values: pd.Series, nature: pd.Series, natures: list[str], *, title: str) -> None:
    """What share of each nature has each value: the five commonest of all, then the others."""
    shares = pd.crosstab(nature, values, normalize="index").loc[natures]
    order = shares.max().sort_values(ascending=False, kind="stable").index
    shown = shares[order[:5]].copy()
    if len(order) > 5:
        shown["other"] = shares[order[5:]].sum(axis=1)
    left = np.zeros(len(natures))
    for colour, name in zip(_SHADES, shown.columns):
        axis.barh(range(len(natures)), shown[name], left=left, color=colour, label=name, linewidth=0)
        left += shown[name].to_numpy()
    axis.set_yticks(range(len(natures)), [label_of(name) for name in natures])
    axis.invert_yaxis()
    axis.set(title=title, xlabel="share of the nature's images", xlim=(0, 1))
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3, frameon=False, fontsize=8)


def _distributions(axis: Axes, values: pd.Series, nature: pd.Series, natures: list[str], *, label: str) -> None:
    """Cumulative distribution of each nature, with the share of its images that have a value."""
    for name in natures:
        own = np.sort(values[nature == name].dropna())
        height = np.arange(1, len(own) + 1) / max(1, (nature == name).sum())
        axis.step(own, height, where="post", color=NATURE_COLOURS[name], label=label_of(name))
    if values.notna().sum() == 0:
        axis.text(0.5, 0.5, "no file has one", transform=axis.transAxes, ha="center", color="grey")
        axis.set_xticks([])
    axis.set(xlabel=label, ylabel="share at or below", ylim=(0, 1.02))
