"""Figures of models and of what they reach: a table in, a Figure out."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from dfxlib.measure.compare import OURS
from dfxlib.names import CLASSES, NATURE_COLOURS, NATURES
from dfxlib.plots.style import METHOD_COLOURS, MODEL_COLOUR, SECOND_COLOUR, label_of

#: What metrics of a table of conditions are worth by chance, where that is one number.
_CHANCE = {"three-way balanced accuracy": 1 / 3, "binary balanced accuracy": 1 / 2, "AUC": 1 / 2}


def plot_inputs(
    squares: np.ndarray,  # [N, S, S, 3] uint8, stored pictures
    seen: np.ndarray,  # [N, S, S, 3] float, what the front end makes of them
    natures: list[str],  # [N]
) -> Figure:
    """Stored pictures, and below each what the network sees of it, spread over the colour scale."""
    seen = (seen - seen.min()) / (seen.max() - seen.min())
    figure, axes = plt.subplots(2, len(squares), figsize=(1.5 * len(squares), 3.3), squeeze=False)
    for top, bottom, square, view, nature in zip(*axes, squares, seen, natures):
        top.imshow(square, interpolation="nearest")
        bottom.imshow(view, interpolation="nearest")
        top.set_title(label_of(nature), color=NATURE_COLOURS[nature], fontsize=10)
        top.set_axis_off()
        bottom.set_axis_off()
    figure.subplots_adjust(wspace=0.05, hspace=0.05)
    return figure


def plot_history(histories: dict[str, pd.DataFrame]) -> Figure:
    """Loss, balanced accuracy, speed and, where it changes, learning rate over the epochs of some trainings."""
    changes = any(history["learning_rate"].nunique() > 1 for history in histories.values())
    size = (12.5 if changes else 9.5, 3.1)
    figure, axes = plt.subplots(1, 4 if changes else 3, figsize=size, layout="constrained")
    loss, accuracy, speed = axes[:3]
    for number, (name, history) in enumerate(histories.items()):
        colour = NATURE_COLOURS.get(name, METHOD_COLOURS[number % len(METHOD_COLOURS)])
        epochs = history["epoch"]
        for axis, what in ((loss, "loss"), (accuracy, "balanced_accuracy")):
            axis.plot(epochs, history[f"train_{what}"], "--", color=colour, linewidth=1)
        loss.plot(epochs, history["valid_loss"], "-o", color=colour, markersize=3, label=label_of(name))
        accuracy.plot(epochs, history["valid_balanced_accuracy"], "-o", color=colour, markersize=3)
        speed.plot(epochs, history["images_per_second"], "-o", color=colour, markersize=3)
        if changes:
            axes[3].plot(epochs, history["learning_rate"], "-o", color=colour, markersize=3)
    loss.plot([], [], "--", color="grey", linewidth=1, label="(dashed: training)")
    loss.set(ylabel="cross-entropy [nats]", ylim=(0, None))
    accuracy.axhline(1 / 3 if _is_three_way(histories) else 1 / 2, color="grey", linewidth=0.8, linestyle=":")
    accuracy.set(ylabel="balanced accuracy", ylim=(0, 1.02))
    speed.set(ylabel="training images per second", ylim=(0, None))
    if changes:
        axes[3].set(ylabel="learning rate", yscale="log")
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    sns.despine(figure)
    return figure


def plot_grid(cells: pd.DataFrame) -> Figure:
    """Smallest validation loss of every cell of the grid; the one that the column `chosen` names is framed."""
    rows, columns = ["batch_size", "learning_rate", "weight_decay"], ["step_size", "gamma"]
    table = cells.pivot_table(index=rows, columns=columns, values="valid_loss")
    (chosen,) = cells[cells["chosen"]].to_dict("records")
    row = table.index.get_loc(tuple(chosen[name] for name in rows))
    column = table.columns.get_loc(tuple(chosen[name] for name in columns))
    size = (1.5 * table.shape[1] + 3, 0.45 * table.shape[0] + 1.6)
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    sns.heatmap(table, annot=True, fmt=".3f", cmap="viridis_r", ax=axis, cbar_kws={"label": "validation loss [nats]"})
    axis.add_patch(Rectangle((column, row), 1, 1, fill=False, edgecolor=MODEL_COLOUR, linewidth=3))
    axis.set(xlabel="step [epochs], gamma", ylabel="batch, learning rate, weight decay")
    axis.set_xticklabels([f"{step}, {gamma:g}" for step, gamma in table.columns])
    axis.set_yticklabels([f"{batch}, {rate:g}, {decay:g}" for batch, rate, decay in table.index], rotation=0)
    return figure


def plot_confusion(table: pd.DataFrame) -> Figure:
    """Row-normalised confusion matrix with counts, from `scores.confusion`."""
    shares = table.div(table.sum(axis=1).clip(lower=1), axis=0)
    notes = shares.map("{:.0%}".format) + "\n" + table.astype(str)
    figure, axis = plt.subplots(figsize=(4.6, 3.6), layout="constrained")
    bar = {"label": "share of the nature's images"}
    sns.heatmap(shares, annot=notes, fmt="", cmap="Blues", vmin=0, vmax=1, ax=axis, square=True, cbar_kws=bar)
    labels = [label_of(name) for name in table.index]
    axis.set_xticklabels(labels)
    axis.set_yticklabels(labels, rotation=0)
    axis.set(xlabel="verdict", ylabel="nature")
    return figure


def plot_methods(table: pd.DataFrame, *, chance: float = 1 / 3, mark: str = "") -> Figure:
    """Three-way balanced accuracy of several methods with intervals; columns method, value, low, high.

    The model is coloured, `mark` names the method that it has to pass; the best stands above.
    """
    table = table.sort_values("value", ascending=False, kind="stable", ignore_index=True)
    figure, axis = plt.subplots(figsize=(7, 0.42 * len(table) + 1.3), layout="constrained")
    for place, row in enumerate(table.itertuples()):
        colour = MODEL_COLOUR if row.method.startswith(OURS) else "black"
        if np.isnan(row.value):
            axis.text(0, place, " undefined", va="center", fontsize=8)
            continue
        axis.plot([row.low, row.high], [place, place], color=colour, linewidth=1.5)
        axis.plot(row.value, place, "o", color=colour, markersize=6)
    if table.get("seed_sd", pd.Series(dtype=float)).notna().any():
        ends = table["value"] - table["seed_sd"], table["value"] + table["seed_sd"]
        places, label = np.arange(len(table)) + 0.22, "standard deviation over seeds"
        axis.hlines(places, *ends, color="grey", linewidth=2, label=label)
        figure.legend(loc="outside lower right", frameon=False)
    marks = {"chance": chance} | dict(table.loc[table["method"] == mark, ["method", "value"]].itertuples(index=False))
    for name, value in marks.items():
        axis.axvline(value, color="grey", linestyle=":" if name == "chance" else "--", linewidth=1)
        told = "chance" if name == "chance" else "mark to pass"
        axis.text(value, -0.65, told, color="grey", ha="center", va="bottom", fontsize=8)
    axis.set_yticks(range(len(table)), table["method"])
    for tick, method in zip(axis.get_yticklabels(), table["method"]):
        tick.set_color(MODEL_COLOUR if method.startswith(OURS) else "black")
    axis.set(xlim=(0, 1), ylim=(len(table) - 0.4, -0.6), xlabel="three-way balanced accuracy (95% interval)")
    sns.despine(figure)
    return figure


def plot_differences(table: pd.DataFrame) -> Figure:
    """Paired differences with three intervals, images black, seeds and both coloured; from `compare.compare`."""
    table = table.dropna(subset="value")  # undefined ones stand in the table, with the reason
    figure, axis = plt.subplots(figsize=(7.5, 0.5 * len(table) + 1.6), layout="constrained")
    for shift, low, high, colour, label in (
        (-0.18, "low", "high", "#000000", "95% interval over images"),
        (0, "seed_low", "seed_high", "#999999", "over seeds"),
        (0.18, "both_low", "both_high", SECOND_COLOUR, "over both"),
    ):
        defined = table[low].notna()  # one seed knows no spread
        if defined.any():
            part, position = table[defined], np.flatnonzero(defined) + shift
            axis.hlines(position, part[low], part[high], color=colour, linewidth=2, label=label)
            axis.plot(part["value"], position, "o", color=colour, markersize=5)
    axis.axvline(0, color="grey", linestyle=":", linewidth=1)
    axis.text(0, len(table) - 0.45, " no difference", color="grey", va="bottom", fontsize=8)
    axis.set_yticks(range(len(table)), table["method"])
    axis.set(ylim=(len(table) - 0.4, -0.6), xlabel="balanced accuracy of DeepFeatureX Net minus that of the method")
    if table.empty:
        axis.text(0, -0.5, " undefined", va="center", fontsize=8)
    else:
        figure.legend(loc="outside upper center", ncols=3, frameon=False)
    sns.despine(figure)
    return figure


def plot_robustness(table: pd.DataFrame, *, published: pd.DataFrame | None = None) -> Figure:
    """Metrics over JPEG quality, one line a chroma subsampling; from `scores.robustness_table`.

    `published` has numbers of others for the same conditions (columns condition, accuracy_percent): binary accuracy
    on as many fakes as real pictures, hollow points where that metric is drawn.
    """
    names = table["condition"].str.extract(r"jpeg(?P<subsampling>\d+)_q(?P<quality>\d+)")
    table = table.assign(quality=names["quality"].astype(float), subsampling=names["subsampling"])
    metrics = list(pd.unique(table["metric"]))
    figure, axes = plt.subplots(3, 3, figsize=(9.5, 8.4), layout="constrained", sharex=True, sharey=True)
    for axis, metric in zip(axes.flat, metrics):
        defined = table[table["metric"] == metric].dropna(subset="value")
        lines = defined.dropna(subset="subsampling").groupby("subsampling")
        for subsampling, line in reversed(list(lines)):  # 4:2:0 above 4:4:4, which has more points
            colour = {"444": "#000000", "420": SECOND_COLOUR}[subsampling]
            line = line.sort_values("quality")
            label = f"JPEG {':'.join(subsampling)}"
            axis.plot(line["quality"], line["value"], "-o", color=colour, markersize=3, label=label)
            axis.fill_between(line["quality"], line["low"], line["high"], color=colour, alpha=0.15, linewidth=0)
            axis.vlines(line["quality"], line["low"], line["high"], color=colour, alpha=0.4, linewidth=1)
        for row in defined[defined["condition"] == "raw"].itertuples():
            axis.axhline(row.value, color="grey", linestyle="--", linewidth=1, label="not compressed")
        if metric in _CHANCE:
            axis.axhline(_CHANCE[metric], color="grey", linestyle=":", linewidth=1, label="chance")
        if published is not None and metric == "binary balanced accuracy":
            found = published["condition"].str.extract(r"jpeg444_q(\d+)")[0].astype(float)
            hollow = {"markerfacecolor": "none", "markersize": 5, "label": "published, on other images"}
            axis.plot(found, published["accuracy_percent"] / 100, "s", color="#000000", **hollow)
        if defined.empty:
            axis.text(0.5, 0.5, "undefined", transform=axis.transAxes, ha="center", color="grey")
        axis.set(title=metric, xlabel="JPEG quality", ylim=(-0.02, 1.02), xticks=table["quality"].dropna().unique())
        axis.xaxis.set_tick_params(labelbottom=True)
    axes[0, 0].invert_xaxis()
    for axis in axes[:, 0]:
        axis.set_ylabel("value (95% interval)")
    # A metric may be undefined in some panels: the legend is that of the panel with most lines.
    legends = [axis.get_legend_handles_labels() for axis in axes.flat]
    handles, labels = max(legends, key=lambda legend: len(legend[0]))
    for axis in axes.flat[len(metrics) :]:
        axis.set_axis_off()
    axes[-1, -1].legend(handles, labels, loc="center", frameon=False)
    sns.despine(figure)
    return figure


def plot_architectures(table: pd.DataFrame, *, metric: str = "recall") -> Figure:
    """A metric by architecture with intervals, seen filled and unseen open; from `by_architecture`."""
    figure, axis = plt.subplots(figsize=(7.5, 0.33 * len(table) + 1.4), layout="constrained")
    for position, row in enumerate(table.itertuples()):
        value, low, high = (getattr(row, f"{metric}{end}") for end in ("", "_low", "_high"))
        colour = NATURE_COLOURS[row.nature]
        if np.isnan(value):
            axis.text(0, position, " undefined", color=colour, va="center", fontsize=8)
            continue
        axis.plot([low, high], [position, position], color=colour, linewidth=1.5)
        face = "white" if row.split == "unseen" else colour
        axis.plot(value, position, "o", color=colour, markerfacecolor=face, markersize=6)
    axis.set_yticks(range(len(table)), [f"{row.architecture} ({row.images})" for row in table.itertuples()])
    axis.invert_yaxis()
    axis.set(xlim=(-0.02, 1.02), xlabel=f"{metric.replace('_', ' ')} (95% interval); images in brackets")
    for nature in [name for name in NATURES if name in set(table["nature"])]:
        axis.plot([], [], "o", color=NATURE_COLOURS[nature], label=label_of(nature))
    axis.plot([], [], "o", color="grey", markerfacecolor="white", label="unseen architecture")
    if metric == "recall":  # three-way
        axis.axvline(1 / 3, color="grey", linestyle=":", linewidth=1, label="chance")
    figure.legend(loc="outside upper center", ncols=5, frameon=False)
    sns.despine(figure)
    return figure


def plot_verdicts(table: pd.DataFrame) -> Figure:
    """Which class the images of each architecture are taken for; from `generators.by_architecture`."""
    names = table["architecture"] + np.where(table["split"] == "unseen", " (unseen)", "")
    shares = table.set_index(names)[["said_dm", "said_gan", "said_real"]]
    shares.columns = [label_of(name) for name in CLASSES]
    figure, axis = plt.subplots(figsize=(5.6, 0.3 * len(table) + 1.4), layout="constrained")
    sns.heatmap(shares, annot=True, fmt=".0%", cmap="Blues", vmin=0, vmax=1, ax=axis, cbar_kws={"label": "share"})
    for tick, nature in zip(axis.get_yticklabels(), table["nature"]):
        tick.set_color(NATURE_COLOURS[nature])
    axis.set(xlabel="verdict", ylabel="")
    return figure


def plot_seen_unseen(table: pd.DataFrame) -> Figure:
    """Mean recall by nature, seen filled and unseen open, one panel a method."""
    methods = list(pd.unique(table["method"]))
    figure, axes = plt.subplots(1, len(methods), figsize=(4.2 * len(methods), 2.9), sharey=True, layout="constrained")
    for axis, method in zip(np.atleast_1d(axes), methods):
        for row in table[table["method"] == method].itertuples():
            colour, unseen = NATURE_COLOURS[row.nature], row.split == "unseen"
            x = CLASSES.index(row.nature) + (0.15 if unseen else -0.15)
            axis.plot([x, x], [row.recall_low, row.recall_high], color=colour, linewidth=1.5)
            axis.plot(x, row.recall, "o", color=colour, markerfacecolor="white" if unseen else colour, markersize=7)
        axis.axhline(1 / 3, color="grey", linestyle=":", linewidth=1)
        axis.set(title=method, xlim=(-0.5, 2.5), ylim=(-0.02, 1.02))
        axis.set_xticks(range(len(CLASSES)), [label_of(name) for name in CLASSES])
    np.atleast_1d(axes)[0].set_ylabel("mean three-way recall (95% interval)")
    handles = [
        Line2D([], [], marker="o", linestyle="", color="grey", label="seen"),
        Line2D([], [], marker="o", linestyle="", color="grey", markerfacecolor="white", label="unseen"),
        Line2D([], [], linestyle=":", color="grey", label="chance"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    sns.despine(figure)
    return figure


def _is_three_way(histories: dict[str, pd.DataFrame]) -> bool:
    return not set(histories) & set(CLASSES)
