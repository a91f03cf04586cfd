"""Three blocks against an ensemble of three single backbones, from the scores that a study published.

    python benchmarks/ensemble_of_three.py results/photographs

An ensemble of three networks costs what the three blocks cost. For each seed it is the mean of the probabilities of
three three-way backbones: that of the seed and those of the next two, the first following the last. Nothing is trained
and nothing is chosen. Ensembles of neighbouring seeds share members: their spread over seeds is too small for a
decision, and intervals are over images alone. Rows go to results/ensemble_STUDY.csv.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from dfxlib.measure.compare import OURS, compare, ensemble, test_part
from dfxlib.measure.contents import MEAN, inside_contents
from dfxlib.measure.published import read_published, scores_of_run
from dfxlib.study.records import read_runs

RESULTS = Path(__file__).parent / "results"
MEMBERS = 3
ENSEMBLE = "ensemble of three"


def read_methods(folder: Path, *, variant: str) -> dict[str, list[pd.DataFrame]]:  # by name, one test table a seed
    """The three blocks, one three-way backbone, and the ensemble of three of these."""
    scores, (_, records) = read_published(folder), read_runs(folder)
    found: dict[str, list[pd.DataFrame]] = {}
    for name, step in ((OURS, "complete"), (variant, f"variant/{variant}")):
        runs = [run for run in records if run.startswith(f"{step}/")]
        if len(runs) < MEMBERS:
            raise ValueError(f"{folder} has {len(runs)} seeds of {variant}; expected at least {MEMBERS}")
        heat = {run: records[run]["calibration"]["temperature"] for run in runs}
        found[name] = [test_part(scores_of_run(scores, run, temperature=heat[run])) for run in runs]
    alone = found[variant]
    members = [[alone[(seed + step) % len(alone)] for step in range(MEMBERS)] for seed in range(len(alone))]
    return found | {ENSEMBLE: [ensemble(tables, name=ENSEMBLE) for tables in members]}


def summarise(methods: dict[str, list[pd.DataFrame]], *, resamples: int = 2000) -> pd.DataFrame:
    """Three-way balanced accuracy of all images and its mean over contents; `minus` is what the three blocks have more.

    Intervals are over images, of the mean over seeds.
    """
    table, differences = compare(methods, resamples=resamples)
    of_all = table[["method", "value", "low", "high"]].assign(images_of="all")
    of_all = of_all.merge(differences[["method", "value", "low", "high"]].rename(columns=_minus), how="left")
    content = methods[OURS][0].set_index("path")["content"]
    inside = inside_contents(methods, content, resamples=resamples)
    if inside.empty:
        return of_all
    inside = inside[inside["content"] == MEAN].rename(columns={"content": "images_of"})
    return pd.concat([of_all, inside[of_all.columns]], ignore_index=True)


def _minus(name: str) -> str:
    return {"value": "minus", "low": "minus_low", "high": "minus_high"}.get(name, name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="folder of a published study")
    parser.add_argument("--variant", default="threeway", help="name of the three-way backbone in the study")
    options = parser.parse_args()
    table = summarise(read_methods(options.results, variant=options.variant)).round(4)
    table.to_csv(RESULTS / f"ensemble_{options.results.name}.csv", index=False, lineterminator="\n")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
