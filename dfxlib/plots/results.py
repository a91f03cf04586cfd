"""Figures of tests beyond the test part: conditions, architectures, features and confidence."""

from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dfxlib.measure.stats import FALSE_ALARMS
from dfxlib.names import CLASSES, NATURE_COLOURS, NATURES
from dfxlib.plots.style import SECOND_COLOUR, label_of

_METRIC_LABELS = {
    "auc": "AUC",
    "ap": "average\nprecision",
    **{f"recall_fa{percent}": f"recall at {percent}%\nfalse alarms" for percent in FALSE_ALARMS},
}

_MARKERS = "os^DvPX*<>phd"  # of the architectures of one nature; they repeat where there are more


def plot_conditions(image: np.ndarray, versions: dict[str, np.ndarray], *, columns: int = 8) -> Figure:
    """One picture under every condition; below each what it changed, ten times amplified around grey.

    Versions of another size are shown beside their size, since no pixel has a counterpart.
    """
    lines = -(-len(versions) // columns)
    figure, axes = plt.subplots(2 * lines, columns, figsize=(1.5 * columns, 3.5 * lines), layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for number, (name, version) in enumerate(versions.items()):
        line, column = divmod(number, columns)
        top, bottom = axes[2 * line, column], axes[2 * line + 1, column]
        top.imshow(version, interpolation="nearest")
        top.set_title(name.replace("_", "\n", 1), fontsize=9)
        if version.shape == image.shape:
            change = 128 + 10 * (version.astype(int) - image.astype(int))
            bottom.imshow(np.clip(change, 0, 255).astype(np.uint8), interpolation="nearest")
        else:
            size = f"{version.shape[1]} x {version.shape[0]}\npixels"
            bottom.text(0.5, 0.5, size, transform=bottom.transAxes, ha="center", va="center", fontsize=9)
    return figure


def plot_perturbations(table: pd.DataFrame) -> Figure:
    """What is no JPEG: metrics by condition as points with intervals; from `scores.robustness_table`."""
    others = table[~table["condition"].str.startswith("jpeg")]
    names, metrics = list(pd.unique(others["condition"])), list(pd.unique(others["metric"]))
    lines = -(-len(metrics) // 4)
    size = (10, lines * (0.3 * len(names) + 1.3))
    figure, axes = plt.subplots(lines, 4, figsize=size, layout="constrained", sharey=True)
    for axis in axes.flat[len(metrics) :]:
        axis.set_axis_off()
    for axis, metric in zip(axes.flat, metrics):
        for row in others[others["metric"] == metric].itertuples():
            place = names.index(row.condition)
            colour = "grey" if row.condition == "raw" else "black"
            if np.isnan(row.value):
                axis.text(0, place, " undefined", va="center", fontsize=8, color=colour)
                continue
            axis.plot([row.low, row.high], [place, place], color=colour, linewidth=1.5)
            axis.plot(row.value, place, "o", color=colour, markersize=5)
            if row.condition == "raw":
                axis.axvline(row.value, color="grey", linestyle="--", linewidth=1)
        axis.set(title=metric.replace(" balanced", "\nbalanced"), xlim=(-0.02, 1.02))
    axes.flat[0].set_yticks(range(len(names)), names)
    axes.flat[0].invert_yaxis()
    figure.supxlabel("value (95% interval); dashed: raw", fontsize=10)
    sns.despine(figure)
    return figure


def plot_condition_verdicts(shares: pd.DataFrame) -> Figure:
    """Which class the images of each nature are taken for under each condition; `scores.verdict_shares`."""
    names = list(pd.unique(shares["condition"]))
    size = (9, 0.27 * len(names) + 1.4)
    figure, axes = plt.subplots(1, len(CLASSES), figsize=size, layout="constrained", sharey=True)
    for axis, nature in zip(axes, CLASSES):
        own = shares[shares["nature"] == nature].set_index("condition")
        said = own.loc[names, ["said_dm", "said_gan", "said_real"]]
        said.columns = [label_of(name) for name in CLASSES]
        sns.heatmap(said, annot=True, fmt=".0%", cmap="Blues", vmin=0, vmax=1, ax=axis, cbar=False)
        axis.set_title(f"{label_of(nature)} images", color=NATURE_COLOURS[nature])
        axis.set(xlabel="verdict", ylabel="")
    return figure


def plot_heat(table: pd.DataFrame, metrics: list[str]) -> Figure:
    """Architectures against metrics; from `generators.by_architecture`. A dash is undefined."""
    names = table["architecture"] + np.where(table["split"] == "unseen", " (unseen)", "")
    values = table.set_index(names).reindex(columns=metrics).astype(float)
    size = (0.95 * len(metrics) + 3.5, 0.3 * len(table) + 1.8)
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    axis.set_facecolor("#EEEEEE")
    bar = {"label": "value; a dash is undefined"}
    sns.heatmap(values, cmap="viridis", vmin=0, vmax=1, ax=axis, cbar_kws=bar)
    for (line, column), value in np.ndenumerate(values.to_numpy()):
        said = "-" if np.isnan(value) else f"{value:.2f}"
        colour = "white" if value < 0.6 else "black"  # on the dark end of the colours
        axis.text(column + 0.5, line + 0.5, said, ha="center", va="center", color=colour, fontsize=9)
    axis.set_xticklabels([_METRIC_LABELS.get(name, name.replace("_", "\n")) for name in metrics], rotation=0)
    for tick, nature in zip(axis.get_yticklabels(), table["nature"]):
        tick.set_color(NATURE_COLOURS[nature])
    axis.set(xlabel="metric", ylabel="")
    return figure


def plot_reliability(curve: pd.DataFrame) -> Figure:
    """Accuracy over confidence before and after temperature; from `confidence.reliability_table`."""
    splits = list(pd.unique(curve["split"])) or ["no image of the three classes"]
    size = (4.2 * len(splits), 3.9)
    figure, axes = plt.subplots(1, len(splits), figsize=size, layout="constrained", sharey=True, squeeze=False)
    for axis, split in zip(axes.flat, splits):
        axis.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=1)
        for (name, colour), style in zip({"before": SECOND_COLOUR, "after": "#000000"}.items(), ("--", "-")):
            line = curve[(curve["split"] == split) & (curve["temperature"] == name)]
            axis.plot(line["confidence"], line["accuracy"], style, color=colour, linewidth=1)
            areas = 120 * line["images"].to_numpy(dtype=float) / curve["images"].max()
            axis.scatter(line["confidence"], line["accuracy"], s=areas, color=colour, alpha=0.6, linewidths=0)
            axis.plot([], [], style, marker="o", markersize=5, color=colour, label=f"{name} temperature scaling")
        axis.set(title=split, xlabel="confidence in the verdict", xlim=(0.3, 1.02), ylim=(-0.02, 1.02))
    axes[0, 0].set_ylabel("share that is right")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    sns.despine(figure)
    return figure


def plot_trade(table: pd.DataFrame) -> Figure:
    """What promises of the band cost; from `confidence.trade_table`. A filled mark is the band that the model has."""
    panels = {
        "decided": "decided, of all images",
        "real called fake": "called fake, of real images",
        "fake called real": "called real, of fakes",
    }
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
    for axis, (metric, label) in zip(axes, panels.items()):
        if metric != "decided":
            axis.plot(
                [0, table["promised"].max()], [0, table["promised"].max()], color="grey", linestyle=":", linewidth=1
            )
        promises = table[table["metric"] == metric].groupby("promise")
        for (promise, own), colour in zip(promises, (SECOND_COLOUR, "#000000")):
            size = [(own["value"] - own[end]).abs() for end in ("value_low", "value_high")]
            axis.errorbar(own["promised"], own["value"], yerr=size, color=colour, linewidth=1, label=promise)
            faces = [colour if frozen else "white" for frozen in own["frozen"]]
            axis.scatter(own["promised"], own["value"], color=faces, edgecolors=colour, zorder=3)
        axis.set(title=label, xlabel="mistakes promised at most", ylim=(0, None))
    axes[0].set_ylabel("share in the test part (95% interval)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    sns.despine(figure)
    return figure


def plot_feature_map(features: np.ndarray, rows: pd.DataFrame) -> Figure:
    """Features [N, ...] on their first two principal components: a panel a nature, a mark an architecture."""
    from sklearn.decomposition import PCA  # two seconds, which notebooks without this figure need not wait
    from sklearn.preprocessing import StandardScaler

    flat = StandardScaler().fit_transform(np.asarray(features).reshape(len(features), -1))
    # Of thousands of components two are drawn: a full decomposition takes twenty times as long.
    pca = PCA(n_components=2, svd_solver="arpack", random_state=0)
    places = pca.fit_transform(flat)
    natures = [nature for nature in NATURES if (rows["nature"] == nature).any()]
    size = (4.2 * len(natures), 5)
    figure, axes = plt.subplots(1, len(natures), figsize=size, layout="constrained", sharex=True, sharey=True)
    for axis, nature in zip(np.atleast_1d(axes), natures):
        own = (rows["nature"] == nature).to_numpy()
        axis.scatter(*places[~own].T, s=5, color="#DDDDDD", linewidths=0)
        groups = rows[own].groupby(["architecture", "split"]).indices
        for marker, ((architecture, split), here) in zip(cycle(_MARKERS), groups.items()):
            unseen = split == "unseen"
            label = f"{architecture}, unseen" if unseen else architecture
            face = "none" if unseen else (NATURE_COLOURS[nature], 0.5)
            style = {"marker": marker, "facecolors": face, "edgecolors": NATURE_COLOURS[nature], "linewidths": 0.7}
            axis.scatter(*places[own][here].T, s=13, label=label, **style)
        axis.set(title=label_of(nature), xlabel=f"first component ({pca.explained_variance_ratio_[0]:.0%} of variance)")
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False, fontsize=8)
    low, high = np.percentile(places, (1, 99), axis=0)  # a few far points would squeeze all others
    margin = 0.03 * (high - low)
    axis.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
    np.atleast_1d(axes)[0].set_ylabel(f"second component ({pca.explained_variance_ratio_[1]:.0%})")
    sns.despine(figure)
    return figure


def plot_released(table: pd.DataFrame) -> Figure:
    """Share of each generator's images that are called fake, over its month of release: a panel a method.

    From `worst.with_release`.
    """
    methods = table.groupby("method", sort=False)
    size = (7.5, 0.6 + 2.8 * len(methods))
    figure, axes = plt.subplots(len(methods), figsize=size, sharex=True, squeeze=False, layout="constrained")
    for axis, (method, part) in zip(axes[:, 0], methods):
        for row in part.itertuples():
            month, colour = pd.Timestamp(row.released), NATURE_COLOURS[row.nature]
            axis.plot([month, month], [row.fake_acc_low, row.fake_acc_high], color=colour, linewidth=1.5)
            face = "white" if row.split == "unseen" else colour
            axis.plot(month, row.fake_acc, "o", color=colour, markerfacecolor=face, markersize=6)
            axis.annotate(f" {row.architecture}", (month, row.fake_acc), fontsize=7, rotation=30)
        axis.set(ylim=(-0.02, 1.3), ylabel=f"{method}\ncalled fake (95% interval)")  # names stand above the axes
    for nature in pd.unique(table["nature"]):
        axis.plot([], [], "o", color=NATURE_COLOURS[nature], label=label_of(nature))
    axis.plot([], [], "o", color="grey", markerfacecolor="white", label="unseen architecture")
    axis.set_xlabel("month of release")
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    sns.despine(figure)
    return figure


def plot_leave_one_out(table: pd.DataFrame) -> Figure:
    """AUC of heads trained without a generator (rows) on every generator (columns); from `leave_one_out.matrix`.

    Framed cells are generators that the head of that row has not met.
    """
    wide = table.pivot(index="without", columns="tested_on", values="auc")
    wide = wide.loc[pd.unique(table["without"]), pd.unique(table["tested_on"])]
    met = table.pivot(index="without", columns="tested_on", values="met").reindex_like(wide)
    size = (0.62 * wide.shape[1] + 3.2, 0.34 * wide.shape[0] + 2.2)
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    bar = {"label": "AUC against the real test images"}
    sns.heatmap(wide, annot=True, fmt=".2f", cmap="viridis", vmin=0.5, vmax=1, ax=axis, cbar_kws=bar)
    axis.set(xlabel="tested on", ylabel="trained without")
    for row, column in np.argwhere(~met.to_numpy(dtype=bool)):
        axis.add_patch(Rectangle((column, row), 1, 1, fill=False, edgecolor=SECOND_COLOUR, linewidth=2))
    return figure
