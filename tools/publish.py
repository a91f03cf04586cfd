"""Publish a finished study for review: a page to read, every score, the report's tables, and a few figures.

python -m tools.publish runs/STUDY results/STUDY
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dfxlib.data.descriptions import REFERENCES
from dfxlib.data.manifest import read_manifest
from dfxlib.measure.published import EXTERNAL, SCORES, join_scores, read_published, write_published
from dfxlib.measure.scores import read_scores
from dfxlib.plots.models import plot_differences, plot_methods
from dfxlib.study import report
from dfxlib.study.figures import png_shows_pictures, save_files
from dfxlib.study.recompute import recompute
from dfxlib.study.records import RUNS, Records, describe_run, read_run, read_runs, write_runs
from dfxlib.study.run_folder import DONE, replace_folder, staging_folder, verify
from dfxlib.system.files import load_json, project_root, require_own, sha256_bytes, write_text_atomic
from tools.page_tables import update_page
from tools.result_page import page

#: Figures of a publication in the order of their worth: its name there, the step, the name in a run (of the first run
#: that has it), and how the notebook's name begins where other runs of that step have another such figure.
FIGURES = (
    ("main", "report", "main", ""),
    ("difference", "report", "difference_*", ""),
    ("robustness", "report", "robustness_*", ""),
    ("generalization", "report", "generalization_*", ""),
    ("counts", "report", "counts", ""),
    ("confusion", "complete", "confusion", ""),
    ("seen_unseen", "generalization", "seen_unseen", ""),
    ("trade", "complete", "trade", ""),
    ("history", "base", "history", ""),
    ("spectra", "manifest", "spectra", ""),
    ("three_way", "variant", "confusion", "15"),
    ("examples", "manifest", "examples", ""),
    ("conditions", "robustness", "conditions", ""),
    ("votes", "detection", "votes", ""),
    ("maps", "detection", "maps", ""),
)

#: Figures above this size, and those beyond the size of the whole or the number of files, stay in the run's folder.
LARGEST_FIGURE, LARGEST_WHOLE, MOST_FILES = 350_000, 3_000_000, 40  # bytes; files, the page and MARK among them

#: Runs that speak of all others, by the notebooks 50 and 90.
JOINT = ("baselines", "report")

#: What notebook 50 says of all seeds of a study together.
_OF_ALL_SEEDS = ("main", "difference", "mark", "contents", "detector_methods", "detector_differences")

#: A base model's scores, which stand with all others in one table.
_VALID = "valid_scores.csv"

#: Settings in which the seeds of one model differ.
_OF_A_SEED = ("seed", "seeds", "backbones", "base_models")

#: The mark of what is published. A target without it is not replaced.
MARK = ".published"


class Piece(NamedTuple):
    """A study, or some of its seeds, as it is published."""

    runs: pd.DataFrame
    records: Records
    tables: dict[str, pd.DataFrame]  # of the report
    scores: pd.DataFrame


def publish(run_root: Path, target: Path, *, replace: bool = False) -> list[Path]:
    """Write README.md, runs.csv, scores, the report's tables and figures of a finished study.

    Figures that show pictures of a data set are published where that is the demonstration's, which is ours. Runs that
    were published before stay, where manifest, code and settings are the same: what speaks of all seeds is then
    computed again from all scores. Else the new runs take their place, where `replace` allows it: ValueError if not.
    """
    new = _read_piece(run_root)
    require_own(target, MARK)
    stays, reason = _earlier_runs(target, new)
    if reason and not replace:
        raise ValueError(f"{target} would lose what was published before: {reason}; if it may go, add --replace")
    stage = staging_folder(target)
    shutil.rmtree(stage, ignore_errors=True)
    _write(_join(_read_published(target, stays), new) if stays else new, stage)
    if stays:
        _compute_joint(stage)
    for place in (Path("manifest", REFERENCES), Path("report", "tables", "field.tex")):
        if (run_root / place).is_file():
            shutil.copy(run_root / place, stage / place.name)
    _copy_figures(run_root, new, target if stays else None, stage)
    write_text_atomic(stage / "README.md", page(stage, name=target.name))
    note = {"note": "written by tools/publish.py, which may replace this folder"}
    write_text_atomic(stage / MARK, json.dumps(note) + "\n")
    replace_folder(target)
    return sorted(path for path in target.rglob("*") if path.is_file())


def _read_piece(run_root: Path) -> Piece:
    """The runs that the report names, and the report; ValueError where one is not as it was vouched for."""
    last = Path(run_root, "report")
    if not (last / DONE).is_file():
        raise FileNotFoundError(f"{run_root} holds no finished report of a batch run; run make study first")
    names = [*load_json(last / "settings.json")["runs"], "report"]
    for name in names:
        if problems := verify(Path(run_root, name)):
            raise ValueError(f"{run_root}/{name}: {problems[0]}; run its notebook again before publishing")
    runs = pd.DataFrame([describe_run(Path(run_root), name) for name in names])
    tables = {path.stem: pd.read_csv(path) for path in sorted(last.glob("tables/*.csv"))}
    for name in ("runs", "published"):  # of the one runs.csv says more, the other is in data_manifests
        tables.pop(name, None)
    records = {name: read_run(Path(run_root, name)) for name in names}
    return Piece(runs, records, tables, _scores(run_root, names))


def _scores(run_root: Path, names: list[str]) -> pd.DataFrame:
    """The scores of all runs; those of ensembles are means of others and stay out."""
    tables = {}
    for name in names:
        folder = Path(run_root, name)
        if name not in JOINT and (folder / SCORES).is_file():
            tables[name] = read_scores(folder / SCORES)
        elif (folder / "tables" / _VALID).is_file():
            tables[name] = pd.read_csv(folder / "tables" / _VALID)
    if (theirs := Path(run_root, "baselines", f"{EXTERNAL}.parquet")).is_file():
        tables[EXTERNAL] = read_scores(theirs)
    if not tables:
        return pd.DataFrame()
    manifest, _ = read_manifest(Path(run_root, "manifest", "manifest.csv"))
    return join_scores(tables, manifest.set_index("path"))


def _earlier_runs(target: Path, new: Piece) -> tuple[list[str], str]:
    """Published runs that stay beside the new ones; or none, and why what was published goes."""
    if not (target / MARK).is_file():
        return [], ""
    if not (target / RUNS).is_file():
        return [], f"it holds no {RUNS}, so it is of an earlier version"
    runs, records = read_runs(target)
    stays = [name for name in runs["run"] if name not in set(new.runs["run"])]
    made, before = _made_of(new.runs, new.records), _made_of(runs, records)
    changed = [what for what in made if made[what] != before.get(what, made[what]) or "unknown" in made[what]]
    if stays and changed:
        return [], f"{stays[0]} had another {changed[0]}, or one that is unknown"
    return stays, ""


def _made_of(runs: pd.DataFrame, records: Records) -> dict[str, set[str]]:
    """What must be the same in all runs of a publication: manifest, code, settings but for the seed; as hashes."""
    made: dict[str, set[str]] = {}
    for run, notebook, code in runs[["run", "notebook", "code"]].itertuples(index=False):
        own = records[run]
        settings = {key: value for key, value in own["settings"].items() if key not in _OF_A_SEED}
        found = {f"setting of {_model(run)}": sha256_bytes(json.dumps(settings, sort_keys=True).encode())}
        if run not in JOINT:  # these are computed again from the scores of the others
            found |= {"manifest": own["metrics"]["manifest_hash"], f"code of {notebook}": code}
            found["code of dfxlib"] = own["environment"].get("code", "unknown")
        if run != "report":
            for what, value in found.items():
                made.setdefault(what, set()).add(value)
    return made


def _read_published(folder: Path, stays: list[str]) -> Piece:
    """What was published of the runs `stays`."""
    runs, records = read_runs(folder)
    scores = read_published(folder)
    tables = {path.stem: pd.read_csv(path) for path in sorted(folder.glob("tables/*.csv"))}
    return Piece(
        runs[runs["run"].isin(stays)],
        {run: records[run] for run in [*stays, *JOINT]},
        tables,
        scores[scores["run"].isin(stays)],
    )


def _join(old: Piece, new: Piece) -> Piece:
    """Earlier runs beside later ones; numbers that follow from all scores are still those of the later ones."""
    runs = pd.concat([old.runs, new.runs], ignore_index=True)
    runs = runs.iloc[sorted(range(len(runs)), key=lambda row: report.place_of(runs["run"][row]))]
    records = {run: (old.records | new.records)[run] for run in runs["run"]}
    one, two = (piece.records["baselines"]["settings"] for piece in (old, new))
    both = {key: [*one[key], *(value for value in two[key] if value not in one[key])] for key in ("backbones", "seeds")}
    both["seeds"] = sorted(both["seeds"])
    records["baselines"] = new.records["baselines"] | {"settings": two | both}
    trained = [run for run in runs["run"] if run != "report"]
    left_out = [run for run in new.records["report"]["settings"]["left_out"] if run not in trained]
    settings = new.records["report"]["settings"] | {"runs": trained, "left_out": left_out}
    metrics = new.records["report"]["metrics"] | {"runs": len(trained)}
    records["report"] = new.records["report"] | {"settings": settings, "metrics": metrics}
    gathered = {name: _joined_table(name, runs, old, new) for name in report.GATHERED if name in new.tables}
    tables = new.tables | gathered | report.spread_tables(gathered)
    of_runs = runs[runs["run"] != "report"]
    tables |= {"base_models": report.base_table(records), "settings": report.settings_table(records)}
    tables["cost"] = report.cost_table(of_runs)
    return Piece(runs, records, tables, pd.concat([old.scores, new.scores], ignore_index=True))


def _joined_table(name: str, runs: pd.DataFrame, old: Piece, new: Piece) -> pd.DataFrame:
    """A gathered table of the runs of both, in the order of runs."""
    step, own = report.GATHERED[name][0], {}
    for run in [run for run in runs["run"] if run.startswith(f"{step}/")]:
        _, backbone, seed = run.split("/")
        table = (new if run in set(new.runs["run"]) else old).tables[name]
        mine = (table["backbone"] == backbone) & (table["seed"] == int(seed.removeprefix("seed")))
        own[run] = table[mine].drop(columns=["backbone", "seed"])
    return report.join_tables(own)


def _write(piece: Piece, stage: Path) -> None:
    (stage / "tables").mkdir(parents=True)
    for name, table in piece.tables.items():
        table.to_csv(stage / "tables" / f"{name}.csv", index=False, lineterminator="\n")
    write_runs(piece.runs, piece.records, stage / RUNS)
    if len(piece.scores):
        write_published(piece.scores, stage)


def _compute_joint(stage: Path) -> None:
    """What notebook 50 says of all seeds, from the scores of all."""
    found, (runs, records) = recompute(stage), read_runs(stage)
    for name in [name for name in _OF_ALL_SEEDS if f"tables/{name}.csv" in found]:
        found[f"tables/{name}.csv"].to_csv(stage / "tables" / f"{name}.csv", index=False, lineterminator="\n")
    records["baselines"]["metrics"] |= json.loads(json.dumps(found["baselines/metrics"], default=str))
    write_runs(runs, records, stage / RUNS)


def _copy_figures(run_root: Path, new: Piece, earlier: Path | None, stage: Path) -> None:
    """Figures of the first run that has them; earlier ones stay, but for those of all seeds, which are drawn anew."""
    (stage / "figures").mkdir()
    ours = new.records["manifest"]["settings"].get("demo_scenes", 0) > 0
    there = [path.stat().st_size for path in stage.rglob("*") if path.is_file()]
    rest, places = LARGEST_WHOLE - sum(there), MOST_FILES - 2 - len(there)
    if earlier:
        _draw_joint(stage)
    for name, step, pattern, notebook in FIGURES:
        place = stage / "figures" / f"{name}.png"
        found = [*earlier.glob(f"figures/{name}.png")] if earlier else []
        for run, own in new.runs[["run", "notebook"]].itertuples(index=False):
            if run.split("/")[0] == step and own.startswith(notebook):
                found += sorted(Path(run_root, run, "figures").glob(f"{pattern}.png"))
        found = [place] if place.exists() else found
        if not found or places < 1 or (size := found[0].stat().st_size) > min(rest, LARGEST_FIGURE):
            place.unlink(missing_ok=True)
            continue
        if not ours and png_shows_pictures(found[0]):
            continue
        rest, places = rest - size, places - 1
        if found[0] != place:
            shutil.copy(found[0], place)


def _draw_joint(stage: Path) -> None:
    names = ("main", "difference", "mark")
    methods, differences, mark = (pd.read_csv(stage / "tables" / f"{name}.csv") for name in names)
    first = differences[differences["backbone"] == differences["backbone"][0]]
    drawn = {"main": plot_methods(methods, mark=mark["method"][0]), "difference": plot_differences(first)}
    for name, figure in drawn.items():
        save_files(figure, stage / "figures" / f"{name}.png")


def _model(run: str) -> str:
    return run.rpartition("/seed")[0] or run


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="write the results of a finished study for review")
    parser.add_argument("run", type=Path, help="runs/STUDY")
    parser.add_argument("results", type=Path, help="results/STUDY")
    parser.add_argument("--replace", action="store_true", help="earlier runs may go where new ones cannot stand beside")
    options = parser.parse_args(arguments)
    try:
        written = publish(options.run, options.results, replace=options.replace)
        print(f"{options.results}: {len(written)} files, {sum(path.stat().st_size for path in written) / 1e6:.1f} MB")
        root = project_root()
        for text in [root / "README.md", root / "notebooks" / "README.md", *sorted((root / "docs").glob("*.md"))]:
            if update_page(text, options.results):
                print(f"{text.relative_to(root)}: tables of results renewed")
    except KeyError as error:
        told = f"{options.run} lacks what a page of results shows ({error})"
        print(f"publish: {told}; if an earlier dfxlib made it, run notebooks 50 and 90 again", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"publish: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
