"""An executed notebook as one page that needs nothing else: contents, folded code, described figures."""

import re
from pathlib import Path
from urllib.parse import quote

import nbformat
from nbconvert import HTMLExporter
from nbformat.v4 import new_markdown_cell, new_output

#: nbconvert's own template with code behind a fold, pictures with the words that `Run.save_figure` gave them, and the
#: colours of its dark theme for readers whose system asks for them.
_TEMPLATE = """
{%- extends 'index.html.j2' -%}
{%- block input_group -%}<details><summary>Code</summary>{{ super() }}</details>{%- endblock -%}
{%- block data_png -%}
<div class="jp-RenderedImage jp-OutputArea-output"><img
alt="{{ (output | get_metadata('alt', 'image/png') or 'Figure without a description') | escape_html }}"
src="data:image/png;base64,{{ output.data['image/png'] | escape_html }}"></div>
{%- endblock -%}
{%- block notebook_css -%}{{ super() }}<style>
main { max-width: 70rem; margin: 0 auto; padding: 0 1rem }
details > summary { color: var(--jp-ui-font-color2); cursor: pointer; font: 0.8rem sans-serif; padding: 0.2rem 0 }
.jp-OutputArea-output { overflow-x: auto }
.jp-RenderedHTMLCommon img { background: white; max-width: 100% }
:root { color-scheme: light dark }
</style>
{{ resources.include_css("static/theme-dark.css") | replace("<style", "<style media='(prefers-color-scheme: dark)'") }}
{%- endblock -%}
"""

#: Cells with this tag are not part of a page without code.
NOTEBOOK_ONLY = "notebook-only"

#: What nbconvert would load over the network.
_NO_SCRIPTS = dict.fromkeys(("mathjax_url", "require_js_url", "mermaid_js_url", "mermaid_layout_elk_js_url"), "")


def to_html(
    notebook: Path,  # executed
    *,
    code: bool,  # show it, folded
    pictures: Path,  # folder of the notebook's source: drawings that its text shows lie in folders beside it
    home: str = "",
    for_readers: bool = False,  # leave out cells tagged NOTEBOOK_ONLY, and lines that cells print
    data_pictures: bool = True,  # show figures that show pictures of the data set
) -> str:
    """One self-contained page: figures inside, no script or style from elsewhere.

    `home` is the address of the study's report, as seen from the page. Links to other notebooks
    lead to its list of runs: which run of that notebook is meant, only the report can tell.
    """
    content = nbformat.read(notebook, as_version=4)
    if for_readers:
        content.cells = [cell for cell in content.cells if NOTEBOOK_ONLY not in cell.metadata.get("tags", [])]
    for cell in content.cells:
        if cell.cell_type == "markdown":
            cell.source = _from_project(_link(cell.source, home=home))
        else:
            cell.outputs = [_allowed(output, data_pictures) for output in cell.get("outputs", [])]
            cell.outputs = [output for output in cell.outputs if not for_readers or output.output_type != "stream"]
    place, title = _title(content)
    contents = _contents(content)
    if home:
        contents = f"[To the report of this study]({home})\n\n{contents}"
    content.cells.insert(place + 1, new_markdown_cell(contents))
    # nbconvert embeds only what lies below this path, and drawings lie beside the notebooks' folder.
    return render(content, title=title, code=code, below=pictures.parent)


def render(content: nbformat.NotebookNode, *, title: str, code: bool, below: Path) -> str:
    """A notebook as a page; `below` is the folder that its pictures are named from."""
    exporter = HTMLExporter(
        raw_template=_TEMPLATE,
        exclude_input=not code,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        embed_images=True,
        **_NO_SCRIPTS,
    )
    return exporter.from_notebook_node(content, resources={"metadata": {"name": title, "path": str(below)}})[0]


def _allowed(output: nbformat.NotebookNode, data_pictures: bool) -> nbformat.NotebookNode:
    """An output, or a sentence in its place where it is a figure that must not be shown; one that says nothing may."""
    told = output.get("metadata", {}).get("image/png", {})
    if data_pictures or "image/png" not in output.get("data", {}) or told.get("pictures", True) is False:
        return output
    sentence = f"*Left out, as it shows pictures of the data set: {told.get('alt', 'a figure')}*"
    return new_output("display_data", {"text/markdown": sentence})


def _title(notebook: nbformat.NotebookNode) -> tuple[int, str]:  # number of its cell
    """The first heading, of a text or of what a cell displays."""
    for place, cell in enumerate(notebook.cells):
        shown = [output.get("data", {}).get("text/markdown", "") for output in cell.get("outputs", [])]
        for text in [cell.source] if cell.cell_type == "markdown" else shown:
            if found := re.match(r"# +(.+)", text):
                return place, found[1]
    raise ValueError("the notebook has no title; begin a cell of text, or what a cell displays, with '# '")


def _contents(notebook: nbformat.NotebookNode) -> str:  # Markdown
    sources = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    headings = re.findall(r"^## +(.+?) *$", sources, re.M)
    # nbconvert names a heading by its text with hyphens.
    return "\n".join(f"- [{text}](#{quote(text.replace(' ', '-'))})" for text in headings)


def _from_project(source: str) -> str:
    """Addresses of drawings, which the text of a notebook gives from its own folder, as seen from the folder above."""
    return re.sub(r"(!\[[^\]]*\]\()\.\./", r"\1", source)


def _link(source: str, *, home: str) -> str:
    """Links to notebooks lead to the report's list of runs; without a report only their text stays."""
    return re.sub(r"\[([^\]]+)\]\([\w./-]+\.ipynb\)", rf"[\1]({home}#The-runs)" if home else r"\1", source)
