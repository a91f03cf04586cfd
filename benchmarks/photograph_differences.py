"""Two questions to the scores that the studies of photographs published.

    python benchmarks/photograph_differences.py results/photographs results/photographs_plain

Inside contents: what the single backbone has more than each reading, where content tells nothing. Under JPEG of
quality 50: what the three blocks lose, with blur and JPEG in training and without. Three-way balanced accuracy,
mean over seeds, paired intervals over images. Nothing is trained and nothing is chosen. Rows go to
results/photograph_differences.csv.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from dfxlib.measure.compare import compare, test_part
from dfxlib.measure.contents import MEAN, inside_contents
from dfxlib.measure.published import read_published, scores_of_run
from dfxlib.study.records import read_runs

TABLE = Path(__file__).parent / "results" / "photograph_differences.csv"
BACKBONE = "threeway"
CONDITION = "jpeg444_q50"
READINGS = ("ImageNet features", "spectrum+scalars+co-occurrences", "content")


def inside(folder: Path, *, resamples: int = 2000) -> pd.DataFrame:
    """The single backbone minus each reading, mean over contents."""
    scores, (_, records) = read_published(folder), read_runs(folder)
    runs = [run for run in records if run.startswith(f"variant/{BACKBONE}/")]
    heat = {run: records[run]["calibration"]["temperature"] for run in runs}
    methods = {BACKBONE: [test_part(scores_of_run(scores, run, temperature=heat[run])) for run in runs]}
    read = scores_of_run(scores, "manifest", temperature=1.0)
    methods |= {name: [test_part(read[read["variant"] == name])] for name in READINGS}
    content = scores.drop_duplicates("path").set_index("path")["content"]
    table = inside_contents(methods, content, resamples=resamples)
    table = table[(table["content"] == MEAN) & (table["method"] != BACKBONE)]
    told = {"minus": "value", "minus_low": "low", "minus_high": "high", "method": "than"}
    return table[list(told)].rename(columns=told).assign(more=BACKBONE, where=MEAN, seeds=len(runs))


def lost(folder: Path, *, resamples: int = 2000) -> pd.DataFrame:
    """What the three blocks have more on untouched pictures than under CONDITION."""
    scores, (_, records) = read_published(folder), read_runs(folder)
    tables: dict[str, list[pd.DataFrame]] = {"raw": [], CONDITION: []}
    for run in (run for run in records if run.startswith("robustness/")):
        heat = records[run.replace("robustness", "complete")]["calibration"]["temperature"]
        own = test_part(scores_of_run(scores, run, temperature=heat))
        for condition, each in tables.items():
            each.append(own[own["condition"] == condition].reset_index(drop=True))
    table = compare(tables, resamples=resamples)[1][["value", "low", "high"]]
    return table.assign(more="raw", than=CONDITION, where=folder.name, seeds=len(tables["raw"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="study with blur and JPEG in training")
    parser.add_argument("plain", type=Path, help="study without")
    options = parser.parse_args()
    table = pd.concat([inside(options.results), lost(options.results), lost(options.plain)], ignore_index=True)
    table = table[["where", "more", "than", "value", "low", "high", "seeds"]].round(4)
    table.to_csv(TABLE, index=False, lineterminator="\n")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
