"""What is published of a study: one page, one table of runs, few files, and no picture that is not ours."""

import shutil
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored import Study, draw

from dfxlib.measure.contents import MEAN
from dfxlib.study.records import RUNS, read_runs, write_runs
from tools import publish
from tools.page_tables import PAGE_TABLES, answers_table, update_page
from tools.result_page import page


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of somebody's pictures, one seed, with figures. Read only."""
    root = Study(tmp_path_factory.mktemp("runs") / "s", seeds=(0,)).root
    draw(root / "report", main=False, difference_resnet18=False, counts=False)
    draw(root / "manifest", examples=True, spectra=False)
    return root


@pytest.fixture(scope="module")
def results(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "mine"
    publish.publish(runs, folder)
    return folder


def test_a_publication_is_a_page_a_table_of_runs_scores_tables_and_figures(results: Path) -> None:
    files = [path.relative_to(results) for path in results.rglob("*") if path.is_file()]
    assert {str(path) for path in files if len(path.parts) == 1} == {
        ".published", "README.md", "runs.csv", "scores.parquet",
    }  # fmt: skip
    assert {path.parts[0] for path in files if len(path.parts) > 1} == {"tables", "figures"}
    assert len(files) <= 40 and len(publish.FIGURES) <= 15


def test_the_page_begins_with_the_question_and_the_conclusion_and_shows_its_figures_in_words(results: Path) -> None:
    text = (results / "README.md").read_text()
    opening = text.split("\n\n")
    assert opening[:2] == ["# mine", "**Does it work?**"]
    assert opening[2].startswith("- DeepFeatureX Net (resnet18) has a three-way balanced accuracy of ")
    assert opening[4].startswith("![Three-way balanced accuracy of every method") and opening[4].endswith(
        "(figures/main.png)"
    )
    assert text.count("<details><summary>") == text.count("</details>") > 4
    assert "- complete: epochs" not in text or "(paper: 30)" in text
    assert "## Departures from the paper" in text and "(paper: 0.9)" in text
    manifest = read_runs(results)[1]["manifest"]["metrics"]["manifest_hash"]
    assert f"Manifest {manifest}, commit abc. torch 2.15." in text
    assert page(results, name="mine") == text, "it follows from the other files"


def test_the_page_says_what_holds_inside_each_content_where_that_is_known(results: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(results, tmp_path / "copy")
    (copy / "tables" / "contents.csv").unlink()
    assert "## Inside each content" not in page(copy, name="mine")
    rows = [["DeepFeatureX Net", "face", 0.5, 0.4, 0.6, 20, 4], ["DeepFeatureX Net", MEAN, 0.45, 0.3, 0.6, 40, 4]]
    columns = ["method", "content", "value", "low", "high", "images", "fewest_clusters"]
    pd.DataFrame(rows, columns=columns).to_csv(copy / "tables" / "contents.csv", index=False)
    told = page(copy, name="mine").partition("## Inside each content")[2]
    assert "| **DeepFeatureX Net** | **0.450 (0.300 to 0.600)** | **40** |" in told and "| **face** |" in told


def test_answers_begin_with_what_holds_inside_contents(results: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(results, tmp_path / "copy")
    (copy / "tables" / "contents.csv").unlink()
    assert "| Balanced accuracy " in answers_table(copy) and "contents" not in answers_table(copy)
    mark = read_runs(copy)[1]["baselines"]["metrics"]["mark"]
    rows = [["DeepFeatureX Net", 0.45, 0.3, 0.6, None, None, None], [mark, 0.4, 0.2, 0.5, 0.05, -0.1, 0.2]]
    rows += [["pair", 0.5, 0.4, 0.7, -0.05, -0.2, 0.1]]
    columns = ["method", "value", "low", "high", "minus", "minus_low", "minus_high"]
    pd.DataFrame(rows, columns=columns).assign(content=MEAN).to_csv(copy / "tables" / "contents.csv", index=False)
    told = answers_table(copy)
    assert "| Inside contents, balanced accuracy 0.450 (over images 0.300 to 0.600); in all 0." in told
    assert f"({mark})? | Inside contents +0.050 (images -0.100 to +0.200); in all " in told
    assert "Minus pair: " in told and "; inside contents -0.050 (images -0.200 to +0.100) |" in told


def test_plots_are_published_and_pictures_of_somebody_elses_images_never(
    runs: Path, results: Path, tmp_path: Path
) -> None:
    names = {path.stem for path in results.glob("figures/*.png")}
    assert names == {"main", "difference", "counts", "spectra"}
    ours = Study(tmp_path / "demo", seeds=(0,), demo_scenes=9).root
    draw(ours / "manifest", examples=True)
    publish.publish(ours, tmp_path / "d")
    assert {path.stem for path in tmp_path.glob("d/figures/*.png")} == {"examples"}


def test_a_figure_of_an_earlier_version_counts_as_pictures(runs: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(runs, tmp_path / "s")
    draw(copy / "complete/resnet18/seed0", confusion=False)
    figure, _ = plt.subplots()
    figure.savefig(copy / "complete/resnet18/seed0/figures/confusion.png")
    plt.close(figure)
    draw(copy / "complete/resnet18/seed0")
    publish.publish(copy, tmp_path / "r")
    assert not (tmp_path / "r" / "figures" / "confusion.png").exists()


def test_a_condition_that_leaves_less_than_the_models_input_is_marked(results: Path) -> None:
    text = (results / "README.md").read_text()
    assert "| blur_k3 (small) |" in text and "| raw |" in text and "| blur_k3 (small) (72), seed 0 |" in text
    assert "the worst: " not in answers_table(results), "a loss of pixels is no answer about compression"


def test_large_figures_stay_in_the_runs_folder(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "LARGEST_FIGURE", 10)
    publish.publish(runs, tmp_path / "r")
    assert not list(tmp_path.rglob("r/**/*.png"))
    assert "![" not in (tmp_path / "r" / "README.md").read_text()


def test_of_many_figures_the_first_ones_are_published(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(runs, tmp_path / "runs")
    draw(run / "report", main=False, counts=False)
    files = 0
    for most in (0, 2, 1):  # more than there are without figures
        monkeypatch.setattr(publish, "MOST_FILES", files + most)
        written = publish.publish(run, tmp_path / str(most))
        assert [path.stem for path in written if path.suffix == ".png"] == {
            0: [],
            2: ["difference", "main"],
            1: ["main"],
        }[most]
        files = files or len(written)


def test_a_report_of_an_earlier_version_is_told_with_its_cure(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    copy = shutil.copytree(runs, tmp_path / "s")
    table = copy / "report" / "tables" / "contents.csv"
    pd.read_csv(table).rename(columns={"fewest_clusters": "clusters"}).to_csv(table, index=False)
    draw(copy / "report")  # and vouch for it again
    assert publish.main([str(copy), str(tmp_path / "r")]) == 2
    told = capsys.readouterr().err
    assert "fewest_clusters" in told and "run notebooks 50 and 90 again" in told and not (tmp_path / "r").exists()


def test_publishing_again_removes_what_a_run_no_longer_has(runs: Path, tmp_path: Path) -> None:
    publish.publish(runs, tmp_path / "r")
    (tmp_path / "r" / "old.csv").write_text("gone")
    publish.publish(runs, tmp_path / "r")
    assert not (tmp_path / "r" / "old.csv").exists()


def test_a_publication_of_an_earlier_version_is_replaced_where_that_is_asked_for(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / publish.MARK).write_text("written by dfxlib publish")
    with pytest.raises(ValueError, match=r"it holds no runs\.csv, so it is of an earlier version"):
        publish.publish(runs, tmp_path / "r")
    publish.publish(runs, tmp_path / "r", replace=True)


def test_publishing_refuses_to_replace_a_folder_that_is_not_its_own(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / "thesis.py").write_text("work")
    with pytest.raises(ValueError, match="clone was not written by this command; give a new folder"):
        publish.publish(runs, tmp_path / "clone")
    assert (tmp_path / "clone" / "thesis.py").read_text() == "work"


def test_publishing_refuses_a_run_that_was_changed(runs: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(runs, tmp_path / "s")
    (copy / "report" / "tables" / "main.csv").write_text("method,value\nours,1.0\n")
    with pytest.raises(
        ValueError, match=r"report: tables/main\.csv was changed; run its notebook again before publish"
    ):
        publish.publish(copy, tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_publishing_nothing_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert publish.main([str(tmp_path), str(tmp_path / "results")]) == 2
    assert "holds no finished report of a batch run; run make study first" in capsys.readouterr().err


@pytest.mark.parametrize("mark", sorted(set(PAGE_TABLES) - {"notebooks"}))
def test_pages_get_what_stands_between_their_marks(results: Path, tmp_path: Path, mark: str) -> None:
    place = tmp_path / "README.md"
    place.write_text(f"before\n<!-- {mark}:mine -->\nformer text\n<!-- /{mark} -->\nafter\n")
    assert update_page(place, results) and not update_page(place, results)
    text = place.read_text()
    assert text.startswith(f"before\n<!-- {mark}:mine -->\n") and text.endswith(f"<!-- /{mark} -->\nafter\n")
    assert "former text" not in text and len(text.splitlines()) > 6


def test_a_half_mark_is_told(results: Path, tmp_path: Path) -> None:
    place = tmp_path / "README.md"
    place.write_text("<!-- methods:mine -->\nopen\n")
    with pytest.raises(ValueError, match="without <!-- /methods --> after it; add the closing mark"):
        update_page(place, results)


VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8"))


@given(
    st.dictionaries(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), VALUES | st.lists(VALUES, max_size=3), max_size=5)
)
def test_records_come_back_from_the_table_of_runs_as_they_were(settings: dict) -> None:
    """A commit of digits keeps its zeros, empty text stays text, and nothing is what stands nowhere."""
    facts = {"run": "a", "notebook": "n", "code": "007", "seconds": 1.5, "device": "cpu", "threads": 2}
    runs = pd.DataFrame([facts | {"commit": "012345678901", "manifest": "1e5", "files": "as vouched"}])
    with tempfile.TemporaryDirectory() as folder:
        write_runs(runs, {"a": {"settings": settings}}, Path(folder, RUNS))
        again, records = read_runs(Path(folder))
    assert again.to_dict("records") == runs.to_dict("records")
    assert records == {"a": {"settings": settings}} if settings else records == {"a": {}}
