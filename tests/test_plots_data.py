"""Figures of the data: what is drawn is what the table says, in one colour for a nature everywhere."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image
from samples import rows

from dfxlib.data.manifest import count_images
from dfxlib.names import CLASSES, NATURE_COLOURS, NATURES
from dfxlib.plots import data as plots_data
from dfxlib.study.figures import shows_pictures


@pytest.fixture(autouse=True)
def close_figures() -> object:
    yield
    plt.close("all")


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.findobj(plt.Text))


def pictures(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for axis in figure.axes for image in axis.get_images()]


def test_every_nature_has_a_colour_of_its_own() -> None:
    assert set(NATURE_COLOURS) == set(NATURES) and len(set(NATURE_COLOURS.values())) == len(NATURES)


def test_examples_show_the_files_of_each_architecture_in_a_row(study_manifest: tuple, tree: Path) -> None:
    manifest, _ = study_manifest
    figure = plots_data.plot_examples(manifest, tree, columns=3)
    shown = pictures(figure)
    assert len(shown) == 6 * 3
    own = manifest[manifest["architecture"] == "dm_0"]["path"]
    assert any((shown[0] == np.asarray(Image.open(tree / path))).all() for path in own)
    assert all(name in texts(figure) for name in manifest["architecture"].unique())


def test_examples_prefer_groups_that_architectures_share(study_manifest: tuple, tree: Path) -> None:
    manifest = study_manifest[0].copy()
    last = manifest["path"].str.endswith("011.png")
    manifest.loc[last, "group"] = "shared"
    figure = plots_data.plot_examples(manifest, tree, columns=1)
    for picture, path in zip(pictures(figure), manifest[last].sort_values(["nature", "architecture"])["path"]):
        np.testing.assert_array_equal(picture, np.asarray(Image.open(tree / path)))


def test_counts_are_bars_of_those_lengths(study_manifest: tuple) -> None:
    counts = count_images(study_manifest[0])
    figure = plots_data.plot_counts(counts)
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert sum(widths) == 72 and sorted(widths) == sorted(counts.drop(columns="all").to_numpy().ravel())


def test_spectra_are_decibel_above_the_mean_real_picture() -> None:
    table = rows(30, architectures=1)
    spectra = np.ones((30, 16))
    spectra[(table["nature"] == "gan_generated").to_numpy()] = 2
    figure = plots_data.plot_spectra(spectra, table, columns=3)
    shown = [axis.collections[0].get_array() for axis in figure.axes[:3]]
    assert [round(float(spectrum.mean()), 1) for spectrum in shown] == [0.0, 3.0, 0.0]
    assert not shows_pictures(figure), "a mean is no picture of the data set"


def test_scenes_stand_in_columns_and_architectures_in_rows() -> None:
    shown = {(nature, f"{nature}_a", scene): np.full((8, 8, 3), 10 * scene + place, dtype=np.uint8)
             for place, nature in enumerate(CLASSES) for scene in (3, 1)}  # fmt: skip
    values = [int(picture[0, 0, 0]) for picture in pictures(plots_data.plot_scenes(shown))]
    assert values == [10, 30, 11, 31, 12, 32]


def test_clusters_are_rows_framed_in_the_colour_of_the_nature(study_manifest: tuple, tree: Path) -> None:
    manifest, _ = study_manifest
    chosen = manifest.groupby("nature").head(2).assign(cluster=[0, 0, 1, 1, 9, 9])  # the last set is not shown
    figure = plots_data.plot_clusters(chosen, tree, sets=2, columns=3)
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert len(shown) == 4
    for axis, image in zip(shown, chosen.itertuples()):
        np.testing.assert_array_equal(axis.get_images()[0].get_array(), np.asarray(Image.open(tree / image.path)))
        assert to_hex(axis.spines["left"].get_edgecolor()).upper() == NATURE_COLOURS[image.nature]
        assert image.architecture in axis.get_title()


def test_a_set_that_is_larger_than_its_row_says_so(study_manifest: tuple, tree: Path) -> None:
    many = study_manifest[0].head(5).assign(cluster=0)
    assert "and 3\nmore" in texts(plots_data.plot_clusters(many, tree, columns=2))


def files(count: int = 60) -> pd.DataFrame:
    """JPEG reals of two qualities, PNG fakes; every fake is larger."""
    table = rows(count)
    is_real = (table["nature"] == "real").to_numpy()
    quality = np.where(is_real, np.where(np.arange(count) % 2, 90.0, 75.0), np.nan)
    return table.assign(format=np.where(is_real, "JPEG", "PNG"), mode="RGB", width=np.where(is_real, 178, 256),
                        height=256, jpeg_quality=quality, bytes=np.where(is_real, 10_000, 60_000))  # fmt: skip


def test_files_are_shares_and_cumulative_curves_of_each_nature() -> None:
    figure = plots_data.plot_files(files())
    formats, sizes, quality, bits = figure.axes
    for axis, names in ((formats, ("JPEG RGB", "PNG RGB")), (sizes, ("178 x 256", "256 x 256"))):
        assert {text.get_text() for text in axis.get_legend().get_texts()} == set(names)
        assert sorted(round(bar.get_width(), 6) for bar in axis.patches) == [0, 0, 0, 1, 1, 1]
    by_colour = {to_hex(line.get_color()).upper(): line for line in quality.lines}
    real = by_colour[NATURE_COLOURS["real"]]
    assert sorted(set(real.get_xdata())) == [75, 90] and real.get_ydata()[-1] == 1
    assert len(by_colour[NATURE_COLOURS["gan_generated"]].get_xdata()) == 0
    reals = next(line for line in bits.lines if to_hex(line.get_color()).upper() == NATURE_COLOURS["real"])
    assert reals.get_xdata()[0] == pytest.approx(8 * 10_000 / (178 * 256))


def test_without_jpeg_files_the_panel_says_so_and_many_sizes_become_others() -> None:
    table = files().assign(jpeg_quality=np.nan, width=200 + np.arange(60) // 3)
    figure = plots_data.plot_files(table)
    assert "no file has one" in texts(figure)
    labels = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert len(labels) == 6 and labels[-1] == "other"
    widths = np.array([bar.get_width() for bar in figure.axes[1].patches]).reshape(6, 3)
    np.testing.assert_allclose(widths.sum(axis=0), 1)


def test_marks_of_processing_show_median_and_range_of_each_architecture() -> None:
    table = rows(90, architectures=1)
    measured = pd.DataFrame({"block_grid": np.arange(90.0), "resampling_period": np.ones(90)})
    figure = plots_data.plot_processing(measured, table)
    assert [axis.get_xlabel() for axis in figure.axes] == ["log ratio", "pixels"]
    marks = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert marks == measured["block_grid"].groupby(table["nature"]).median().tolist()
    ranges = [list(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() != "o"]
    assert ranges == [pytest.approx(np.quantile(np.arange(start, 90, 3), [0.05, 0.95])) for start in (0, 1, 2)]


def test_the_users_own_matplotlibrc_changes_no_figure(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfigure.figsize: 1, 1\n")
    code = "import dfxlib.plots.style, matplotlib as m; print(m.rcParams['text.usetex'], m.rcParams['figure.figsize'])"
    environment = os.environ | {"MATPLOTLIBRC": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "False [6.4, 4.8]\n"
