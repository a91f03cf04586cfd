"""An executed notebook as one page that needs nothing else: contents, folded code, described figures."""

import re
from pathlib import Path
from urllib.parse import quote

import nbformat
from nbconvert import HTMLExporter

#: nbconvert's own template with code behind a fold, and pictures with the words that `Run.save_figure` gave them.
_TEMPLATE = """
{%- extends 'index.html.j2' -%}
{%- block input_group -%}<details><summary>Code</summary>{{ super() }}</details>{%- endblock -%}
{%- block data_png -%}
<div class="jp-RenderedImage jp-OutputArea-output"><img
alt="{{ (output | get_metadata('alt', 'image/png') or 'Figure without a description') | escape_html }}"
src="data:image/png;base64,{{ output.data['image/png'] | escape_html }}"></div>
{%- endblock -%}
{%- block extra_css -%}<style>
main { max-width: 70rem; margin: 0 auto; padding: 0 1rem }
details > summary { color: #666; cursor: pointer; font: 0.8rem sans-serif; padding: 0.2rem 0 }
.jp-OutputArea-output { overflow-x: auto }
</style>{%- endblock -%}
"""

#: What nbconvert would load over the network.
_NO_SCRIPTS = dict.fromkeys(("mathjax_url", "require_js_url", "mermaid_js_url", "mermaid_layout_elk_js_url"), "")


def to_html(
    notebook: Path,  # executed
    *,
    code: bool,  # show it, folded
    pictures: Path,  # folder of the notebook's source: drawings that its text shows lie in folders beside it
    home: str = "",
) -> str:
    """One self-contained page: figures inside, no script or style from elsewhere.

    `home` is the address of the study's report, as seen from the page. Links to other notebooks
    lead to its list of runs: which run of that notebook is meant, only the report can tell.
    """
    content = nbformat.read(notebook, as_version=4)
    title = re.sub(r"^#+ *", "", content.cells[0].source.splitlines()[0])
    contents = _contents(content)
    for cell in content.cells:
        if cell.cell_type == "markdown":
            cell.source = _from_project(_link(cell.source, home=home))
    if home:
        contents = f"[To the report of this study]({home})\n\n{contents}"
    content.cells.insert(1, nbformat.v4.new_markdown_cell(contents))
    exporter = HTMLExporter(
        raw_template=_TEMPLATE,
        exclude_input=not code,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        embed_images=True,
        **_NO_SCRIPTS,
    )
    # nbconvert embeds only what lies below this path, and drawings lie beside the notebooks' folder.
    metadata = {"name": title, "path": str(pictures.parent)}
    return exporter.from_notebook_node(content, resources={"metadata": metadata})[0]


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
