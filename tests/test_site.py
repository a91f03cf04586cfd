"""Everything there is to read as one static folder."""

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from scored import Study, draw

from dfxlib.study.report import SYNTHETIC
from dfxlib.study.run_folder import DONE, vouch
from tools import publish, site

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that was run here and published, and one of which only the results are here. Read only."""
    root = tmp_path_factory.mktemp("project")
    (root / "notebooks").mkdir()
    runs = Study(root / "runs" / "here", seeds=(0,), demo_scenes=9).root
    draw(runs / "report", main=False)
    draw(runs / "manifest", examples=True)
    for name in [*json.loads((runs / "report" / "settings.json").read_text())["runs"], "report"]:
        execute(runs / name)
    publish.publish(runs, root / "results" / "here")
    publish.publish(runs, root / "results" / "elsewhere")
    plt.close("all")
    return root


def execute(folder: Path) -> None:
    """Leave an executed notebook with a plot and with pictures."""
    cells = [new_markdown_cell("# A run"), new_markdown_cell("only here", metadata={"tags": ["notebook-only"]})]
    for words, pictures in (("Figure plot: a", False), ("Figure faces: b", True)):
        metadata = {"image/png": {"alt": words, "pictures": pictures}}
        cells.append(new_code_cell("1", outputs=[new_output("display_data", {"image/png": PNG}, metadata=metadata)]))
    cells.append(new_code_cell("2", outputs=[new_output("stream", name="stdout", text="a printed line")]))
    nbformat.write(new_notebook(cells=cells), folder / "notebook.ipynb")
    done = json.loads((folder / DONE).read_text())
    vouch(folder, {name: done[name] for name in ("notebook", "code", "parameters")}, seconds=1)


@pytest.fixture(scope="module")
def built(project: Path) -> Path:
    site.build(project, project / "site", pictures=True)
    return project / "site"


def test_the_index_says_what_each_study_asked_and_leads_to_all_there_is(built: Path) -> None:
    text = (built / "index.html").read_text()
    for link in ("results/here/index.html", "results/elsewhere/index.html", "runs/here/report/index.html"):
        assert f'href="{link}"' in text and (built / link).is_file()
    assert (
        text.count(f"Does it work? {SYNTHETIC} DeepFeatureX Net (resnet18) has a three-way balanced accuracy of ") == 2
    )
    assert "its runs are not on the machine that made this site" in text and not (built / "runs" / "elsewhere").exists()


def test_every_run_is_a_page_that_leads_back_to_the_report(project: Path, built: Path) -> None:
    runs = json.loads((project / "runs/here/report/settings.json").read_text())["runs"]
    for name in runs:
        page = built / "runs" / "here" / name / "notebook.html"
        home = re.search(r'href="([^"]+)">To the report of this study', page.read_text())[1]
        assert (page.parent / home).resolve() == (built / "runs/here/report/index.html").resolve()


def test_a_page_for_readers_has_neither_code_nor_printed_lines(built: Path) -> None:
    report, notebook = ((built / "runs/here/report" / name).read_text() for name in ("index.html", "notebook.html"))
    assert "only here" in notebook and "a printed line" in notebook and "<summary>Code</summary>" in notebook
    assert "only here" not in report and "a printed line" not in report and "<summary>Code</summary>" not in report


def test_without_pictures_plots_stay_and_pictures_are_told(project: Path, built: Path, tmp_path: Path) -> None:
    site.build(project, tmp_path / "site", pictures=False)
    page = "runs/here/manifest/notebook.html"
    both, plots = (folder.joinpath(page).read_text() for folder in (built, tmp_path / "site"))
    assert both.count(PNG) == 2 and plots.count(PNG) == 1
    assert "Left out, as it shows pictures of the data set: Figure faces: b" in plots
    results = (tmp_path / "site" / "results" / "here" / "index.html").read_text()
    assert "Left out, as it shows pictures of the data set: Pictures of every architecture" in results
    assert 'alt="Three-way balanced accuracy of every method' in results


def test_a_site_refuses_a_run_that_was_changed_and_a_folder_that_is_not_its_own(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "thesis.tex").write_text("work")
    with pytest.raises(ValueError, match="was not written by this command"):
        site.build(project, tmp_path, pictures=True)
    changed = project / "runs" / "here" / "manifest" / "metrics.json"
    before = changed.read_text()
    changed.write_text("{}")
    monkeypatch.setattr(site, "project_root", lambda: project)
    assert site.main([str(tmp_path / "s")]) == 2 and not (tmp_path / "s").exists()
    changed.write_text(before)
    assert re.search(r"metrics\.json was changed; run its notebook again before it is shown", capsys.readouterr().err)
