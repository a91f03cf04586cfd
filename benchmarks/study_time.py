"""Where the time of a finished study goes, by notebook and section.

    python benchmarks/study_time.py runs/demo      # writes studies/costs.csv and results/study_time.json

Seconds of sections are those of the cells below each heading, as papermill noted them; what comes before the first
heading counts the start of the kernel and the imports as well. Several runs of one notebook count by their mean; of
notebook 20 the model's own alone, since a variant finds its features stored.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from pathlib import Path

import nbformat

from dfxlib.study.costs import COSTS
from dfxlib.study.papermill_engine import sections
from dfxlib.study.run_folder import DONE
from dfxlib.system.files import write_text_atomic
from dfxlib.system.live import START

RESULTS = Path(__file__).parent / "results" / "study_time.json"


def section_seconds(run: Path) -> dict[str, float]:
    """Seconds of each section of one finished run, in the notebook's order."""
    notebook = nbformat.read(run / "notebook.ipynb", as_version=4)
    seconds: dict[str, float] = {}
    for section, cell in zip(sections(notebook), notebook.cells, strict=True):
        if cell.cell_type == "code":
            seconds[section] = seconds.get(section, 0.0) + cell.metadata.papermill["duration"]
    seconds[START] += json.loads((run / DONE).read_text())["seconds"] - sum(seconds.values())
    return seconds


def mean_costs(study: Path) -> dict[tuple[str, str], float]:  # (notebook, section) -> seconds of a run
    """Costs of a whole study, several runs of one notebook by their mean."""
    found: dict[tuple[str, str], list[float]] = {}
    for done in sorted(study.rglob(DONE)):
        notebook = json.loads(done.read_text())["notebook"].removesuffix(".ipynb")
        if notebook.startswith("20") and done.is_relative_to(study / "variant"):
            continue
        for section, seconds in section_seconds(done.parent).items():
            found.setdefault((notebook, section), []).append(seconds)
    return {key: sum(values) / len(values) for key, values in sorted(found.items(), key=lambda item: item[0][0])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--costs", type=Path, default=COSTS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    costs = mean_costs(options.study)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["notebook", "section", "seconds"])
    table.writerows([notebook, section, f"{seconds:.1f}"] for (notebook, section), seconds in costs.items())
    write_text_atomic(options.costs, text.getvalue())
    runs: dict[str, list[float]] = {}
    for done in sorted(options.study.rglob(DONE)):
        said = json.loads(done.read_text())
        runs.setdefault(said["notebook"].removesuffix(".ipynb"), []).append(said["seconds"])
    environment = json.loads((options.study / "report" / "environment.json").read_text())
    found = {
        "study": options.study.name,
        "notebooks": dict(sorted(runs.items())),
        "environment": environment,
    }
    write_text_atomic(options.out, json.dumps(found, indent=1) + "\n")
    print(json.dumps(found["notebooks"], indent=1))


if __name__ == "__main__":
    main()
