"""Rendered notebooks: everything inside the page, and links that lead somewhere."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from dfxlib.study.figures import describe_figure
from dfxlib.study.pages import to_html

TEXT = """## What we see

It costs little. Next: [20 Train](20_train.ipynb).

## And again
"""


@pytest.fixture()
def notebook(tmp_path: Path) -> Path:
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    picture = new_output("display_data", {"image/png": png}, metadata={"image/png": {"alt": 'Figure "a" & <b>'}})
    cells = [new_markdown_cell("# A title"), new_markdown_cell(TEXT), new_code_cell("1 + 1", outputs=[picture])]
    nbformat.write(new_notebook(cells=cells), tmp_path / "n.ipynb")
    return tmp_path / "n.ipynb"


def anchors(page: str) -> list[str]:
    return re.findall(r'<a (?!class="anchor-link")[^>]*href="([^"]*)"', page)


def test_a_page_is_titled_by_the_notebooks_first_line(notebook: Path) -> None:
    assert "<title>A title</title>" in to_html(notebook, code=True, pictures=notebook.parent)


def test_the_contents_lead_to_every_section(notebook: Path) -> None:
    page = to_html(notebook, code=True, pictures=notebook.parent)
    assert anchors(page)[0] == "#What-we-see"
    assert 'id="What-we-see"' in page


def test_links_to_notebooks_lead_to_the_reports_list_of_runs(notebook: Path) -> None:
    page = to_html(notebook, code=True, pictures=notebook.parent, home="../../report/index.html")
    assert anchors(page)[0] == "../../report/index.html" and "../../report/index.html#The-runs" in anchors(page)
    assert not [link for link in anchors(page) if link.endswith(".ipynb")]


def test_without_a_report_no_link_leads_into_the_void(notebook: Path) -> None:
    page = to_html(notebook, code=True, pictures=notebook.parent)
    assert all(link.startswith("#") for link in anchors(page)) and "20 Train" in page


def test_a_drawing_beside_the_source_lies_in_the_page(notebook: Path, tmp_path: Path) -> None:
    for folder in ("docs", "notebooks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "docs" / "n.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"></svg>')
    content = nbformat.read(notebook, as_version=4)
    content.cells.append(new_markdown_cell("![the network](../docs/n.svg)"))
    nbformat.write(content, notebook)
    page = to_html(notebook, code=True, pictures=tmp_path / "notebooks")
    assert [tag["src"][:18] for tag in BeautifulSoup(page, "html.parser").select("img[alt='the network']")] == [
        "data:image/svg+xml"
    ]


def test_the_words_of_a_picture_are_its_alternative_text(notebook: Path) -> None:
    pictures = BeautifulSoup(to_html(notebook, code=True, pictures=notebook.parent), "html.parser").select(
        "img[src^='data:image/png']"
    )
    assert [picture["alt"] for picture in pictures] == ['Figure "a" & <b>']


def test_code_is_folded_or_left_out(notebook: Path) -> None:
    assert "<details><summary>Code</summary>" in to_html(notebook, code=True, pictures=notebook.parent)
    assert "<details>" not in to_html(notebook, code=False, pictures=notebook.parent)


def test_a_figure_is_described_by_its_titles_and_axes() -> None:
    figure, (left, right) = plt.subplots(1, 2)
    left.set(title="AUC", xlabel="quality", ylabel="share\nof images")
    right.set(title="AUC", xlabel="quality", ylabel="share\nof images")
    assert describe_figure("my_plot", figure) == "Figure my plot: AUC: share of images against quality"
    plt.close(figure)


def test_a_drawing_without_axes_is_described_by_its_words() -> None:
    figure, axes = plt.subplots()
    axes.text(0, 0, "backbone")
    axes.text(0, 1, "head")
    assert describe_figure("network", figure) == "Figure network: backbone; head"
    plt.close(figure)
