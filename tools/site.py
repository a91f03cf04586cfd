"""Everything there is to read as one static folder: results, reports, executed notebooks, and an index.

python -m tools.site site
"""

import argparse
import re
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from nbconvert.filters import markdown2html
from nbformat.v4 import new_markdown_cell, new_notebook

from dfxlib.measure.published import SCORES
from dfxlib.study import report
from dfxlib.study.figures import png_shows_pictures
from dfxlib.study.pages import render, to_html
from dfxlib.study.records import RUNS, read_run, read_runs
from dfxlib.study.run_folder import DONE, replace_folder, staging_folder, verify
from dfxlib.system.files import load_json, project_root, require_own, write_text_atomic
from tools.result_page import FILES

#: The mark of a site. A target without it is not replaced.
MARK = ".site"


class Study(NamedTuple):
    """What there is to read of a study."""

    name: str
    question: str
    about: str  # what its images are, where they are no photographs
    results: Path | None
    runs: Path | None


def build(root: Path, target: Path, *, pictures: bool) -> list[Study]:
    """Write the site of the project at `root`; without `pictures` no figure shows any picture of a data set."""
    require_own(target, MARK)
    studies = find_studies(root)
    stage = staging_folder(target)
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    for study in studies:
        if study.results:
            _write_results(study.results, stage / "results" / study.name, pictures=pictures)
        if study.runs:
            _write_runs(study.runs, stage / "runs" / study.name, notebooks=root / "notebooks", pictures=pictures)
    write_text_atomic(stage / "index.html", text_to_html(index(studies), below=root))
    write_text_atomic(stage / ".nojekyll", "")  # a forge must not leave out names that begin with a dot or line
    write_text_atomic(stage / MARK, "written by tools/site.py, which may replace this folder\n")
    replace_folder(target)
    return studies


def find_studies(root: Path) -> list[Study]:
    """Studies that were published, or whose report is finished here, by name."""
    published = {path.parent.name: path.parent for path in root.glob(f"results/*/{RUNS}")}
    here = {path.parents[1].name: path.parents[1] for path in root.glob(f"runs/*/report/{DONE}")}
    studies = []
    for name in sorted(published.keys() | here.keys()):
        results, runs = published.get(name), here.get(name)
        steps = ("manifest", "report")
        records = {step: read_run(runs / step) for step in steps} if runs else read_runs(results)[1]
        about = report.SYNTHETIC if report.is_synthetic(records) else ""
        studies.append(Study(name, records["report"]["settings"].get("question", ""), about, results, runs))
    return studies


def index(studies: list[Study]) -> str:  # Markdown
    """The page to begin with: what each study asked, what came out, and where to read on."""
    parts = ["# The DeepFeatureX study", _ABOUT]
    for study in studies:
        ways = []
        if study.results:
            ways.append(f"[results](results/{study.name}/index.html)")
        if study.runs:
            ways.append(f"[report with every notebook](runs/{study.name}/report/index.html)")
            ways.append(f"[how the report was made](runs/{study.name}/report/notebook.html)")
        else:
            ways.append("its runs are not on the machine that made this site, so there are no notebooks")
        told = " ".join([study.question, study.about, _first_sentence(study.results)]).strip()
        parts += [f"## {study.name}", told, f"Read on: {'; '.join(ways)}."]
    return "\n\n".join(parts)


_ABOUT = (
    "Is a picture a photograph, the work of a GAN, or the work of a diffusion model? DeepFeatureX Net asks three "
    "specialists, one for each nature, and a small network reads their features. These pages show what came out."
)


def _first_sentence(results: Path | None) -> str:
    """What the results page concludes first."""
    found = re.search(r"^- (.+)$", (results / "README.md").read_text(encoding="utf-8"), re.M) if results else None
    return found[1] if found else ""


def _write_results(results: Path, place: Path, *, pictures: bool) -> None:
    """The page of a study's results with its tables; links to other parts of the project become their text."""
    shutil.copytree(results / "tables", place / "tables")
    for name in (RUNS, SCORES, *(name for name in FILES if (results / name).is_file())):
        shutil.copy(results / name, place / name)
    text = (results / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"(?<!!)\[([^\]]+)\]\(\.\./[^)]+\)", r"\1", text)
    if not pictures:
        shown = [path for path in results.glob("figures/*.png") if png_shows_pictures(path)]
        for path in shown:
            left_out = r"*Left out, as it shows pictures of the data set: \1*"
            text = re.sub(rf"!\[([^\]]*)\]\(figures/{re.escape(path.name)}\)", left_out, text)
    write_text_atomic(place / "index.html", text_to_html(f"{text}\n\n{_BACK}", below=results))


_BACK = "[All studies](../../index.html)"


def text_to_html(text: str, *, below: Path) -> str:
    """Markdown as a page that looks like those of notebooks, with its pictures, named from `below`, inside."""
    # Markdown ends a block of HTML at an empty line, and nbconvert closes what was open there: a fold holds none.
    whole = re.sub(r"(<details>.*?</summary>)(.*?)(</details>)", _fold, text, flags=re.S)
    page = new_notebook(cells=[new_markdown_cell(whole)])
    return render(page, title=re.search(r"^# (.+)", text, re.M)[1], code=False, below=below)


def _fold(found: re.Match) -> str:  # Markdown inside, HTML then
    inside = re.sub(r"\n\s*\n", "\n", markdown2html(found[2]).strip())
    return f"{found[1]}\n{inside}\n{found[3]}"


def _write_runs(runs: Path, place: Path, *, notebooks: Path, pictures: bool) -> None:
    """The report and every run that it names, as pages made of the executed notebooks."""
    names = [*load_json(runs / "report" / "settings.json")["runs"], "report"]
    for name in names:
        folder = runs / name
        if problems := verify(folder):
            if (folder / DONE).is_file():
                raise ValueError(f"{folder}: {problems[0]}; run its notebook again before it is shown")
            continue  # stepped through by hand: there is no page
        how = {"pictures": notebooks, "data_pictures": pictures}
        home = "/".join([*[".."] * (name.count("/") + 1), "report", "index.html"])
        (place / name).mkdir(parents=True)
        executed = folder / "notebook.ipynb"
        write_text_atomic(place / name / "notebook.html", to_html(executed, code=True, home=home, **how))
        if name == "report":
            write_text_atomic(place / name / "index.html", to_html(executed, code=False, for_readers=True, **how))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="write results, reports and executed notebooks as one static folder")
    parser.add_argument("site", type=Path, help="the folder to write")
    parser.add_argument("--no-pictures", action="store_true", help="leave out figures that show pictures of a data set")
    options = parser.parse_args(arguments)
    try:
        studies = build(project_root(), options.site, pictures=not options.no_pictures)
    except (ValueError, OSError) as error:
        print(f"site: {error}", file=sys.stderr)
        return 2
    without = [study.name for study in studies if not study.runs]
    print(f"{options.site}/index.html: {', '.join(study.name for study in studies) or 'no study yet'}")
    if without:
        print(f"result pages alone, since their runs are not here: {', '.join(without)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
