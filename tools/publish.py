"""Publish a finished study for review: its tables, small figures and environments, and its tables in README and docs.

python tools/publish.py runs/STUDY results/STUDY
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import pandas as pd

from dfxlib.data.manifest import read_manifest
from dfxlib.measure.band import ON_AVERAGE
from dfxlib.measure.compare import describe
from dfxlib.measure.published import SCORES, join_scores, read_published, write_published
from dfxlib.measure.scores import markdown, read_scores
from dfxlib.plots.models import plot_differences, plot_methods
from dfxlib.study import report
from dfxlib.study.recompute import recompute
from dfxlib.study.run_folder import DONE, replace_folder, staging_folder, verify
from dfxlib.system.files import load_json, project_root, require_own, sha256_bytes, write_text_atomic

_RECORDS = ("settings.json", "environment.json", "metrics.json", "calibration.json")

#: Figures above this size stay in the run's folder and out of the repository.
LARGEST_FIGURE = 350_000  # bytes

#: Runs that speak of all others, by the notebooks 50 and 90.
JOINT = ("baselines", "report")

#: A base model's scores, which stand with all others in one table.
_VALID = "valid_scores.csv"

#: Settings in which the seeds of one model differ.
_OF_A_SEED = ("seed", "seeds", "backbones", "base_models")

#: Column of the table in README and docs: what it shows of the band, one after the other.
_RISKS = {
    "decided at the frozen band": ["decided"],
    "of all real called fake": ["real called fake"],
    "of all fakes called real": ["fake called real"],
    "real among those called fake, as here and at half": [
        "wrong among called fake",
        "wrong among called fake at one half",
    ],
    "fakes among those called real, as here and at half": [
        "wrong among called real",
        "wrong among called real at one half",
    ],
}

_ACCURACY = "three-way balanced accuracy (95% interval)"

_BASE = {
    "main share": "{main_share:g}",
    "validation AUC (95% interval)": "{valid_auc:.3f} ({valid_auc_low:.3f} to {valid_auc_high:.3f})",
    "images: own + other": "{main_images} + {other_images}",
}

#: The mark of what is published. A target without it is not replaced.
MARK = ".published"


def publish(run_root: Path, target: Path, *, figures: bool = True) -> list[Path]:
    """Copy tables, settings, environments and small figures of the runs that the report names, and all their scores.

    Tables are copied of all, figures of the first of several seeds and of no variant. Some figures show pictures of
    the data set: where those must not be passed on, leave figures out. Runs that were published before stay, where
    manifest, code and settings are the same: what speaks of all seeds is then computed again from all scores. Else
    the new runs take their place.
    """
    names = _finished_runs(run_root)
    require_own(target, MARK)
    made = _made_of(run_root, names)
    stays, reason = _earlier_runs(target, names, made)
    if reason:
        print(f"{target} is replaced: {reason}")
    stage = staging_folder(target)
    shutil.rmtree(stage, ignore_errors=True)
    copied = _copy_runs(run_root, stage, names, drawn={_model(name) for name in stays} if figures else None)
    scores = _scores(run_root, names)
    if stays:
        earlier = read_published(target)
        scores = pd.concat([earlier[earlier["run"].isin(stays)], scores], ignore_index=True)
        made = load_json(target / MARK)["made_of"] | made
    if len(scores):
        write_published(scores, stage)
    if stays:
        _join(stage, target, stays, figures=figures)
    note = {"note": "written by tools/publish.py, which may replace this folder", "made_of": made}
    write_text_atomic(stage / MARK, json.dumps(note, indent=1) + "\n")
    replace_folder(target)
    return [target / path.relative_to(stage) for path in copied]


def _finished_runs(run_root: Path) -> list[str]:
    """The runs that the report names, and the report; ValueError where one is not as it was vouched for."""
    last = Path(run_root, "report")
    if not (last / DONE).is_file():
        raise FileNotFoundError(f"{run_root} holds no finished report of a batch run; run make study first")
    names = [*load_json(last / "settings.json")["runs"], "report"]
    for name in names:
        if problems := verify(Path(run_root, name)):
            raise ValueError(f"{run_root}/{name}: {problems[0]}; run its notebook again before publishing")
    return names


def _made_of(run_root: Path, names: list[str]) -> dict[str, list[str]]:
    """What must be the same in all runs of a publication: manifest, code, settings but for the seed; as hashes."""
    made: dict[str, set[str]] = {}
    for name in names:
        folder = Path(run_root, name)
        settings = {key: value for key, value in load_json(folder / "settings.json").items() if key not in _OF_A_SEED}
        found = {f"setting of {_model(name)}": sha256_bytes(json.dumps(settings, sort_keys=True).encode())}
        if name not in JOINT:  # these are computed again from the scores of the others
            done = load_json(folder / DONE)
            found["manifest"] = load_json(folder / "metrics.json")["manifest_hash"]
            found[f"code of {done['notebook']}"] = done["code"]
            found["code of dfxlib"] = load_json(folder / "environment.json").get("code", "unknown")
        if name != "report":
            for what, value in found.items():
                made.setdefault(what, set()).add(value)
    return {what: sorted(values) for what, values in made.items()}


def _earlier_runs(target: Path, names: list[str], made: dict[str, list[str]]) -> tuple[list[str], str]:
    """Published runs that stay beside the new ones; or none, and why what was published goes."""
    if not (target / MARK).is_file():
        return [], ""
    stays = [name for name in load_json(target / "report" / "settings.json")["runs"] if name not in names]
    try:
        before = load_json(target / MARK)["made_of"]
    except json.JSONDecodeError:  # by an earlier version
        before = {}
    # What an earlier version published or ran does not say of which code it is.
    changed = [what for what in made if made[what] != before.get(what, made[what]) or "unknown" in made[what]]
    changed += [] if before else ["code of dfxlib"]
    if stays and changed:
        return [], f"{stays[0]} had another {changed[0]}, or one that is unknown"
    return stays, ""


def _copy_runs(run_root: Path, stage: Path, names: list[str], *, drawn: set[str] | None) -> list[Path]:
    """Copy what is read of each run; of the models in `drawn` no figures, and none at all without it."""
    copied = []
    for name in names:
        folder, model = Path(run_root, name), _model(name)
        wanted = [folder / own for own in _RECORDS if (folder / own).is_file()]
        wanted += [path for path in folder.glob("tables/*.csv") if path.name != _VALID]
        if drawn is not None and model not in drawn and not name.startswith("variant/"):
            wanted += [path for path in folder.glob("figures/*.png") if path.stat().st_size <= LARGEST_FIGURE]
            drawn.add(model)
        for path in wanted:
            copied.append(stage / path.relative_to(run_root))
            copied[-1].parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copied[-1])
    return copied


def _scores(run_root: Path, names: list[str]) -> pd.DataFrame:
    """The scores of all runs; those of ensembles are means of others and stay out."""
    tables = {}
    for name in names:
        folder = Path(run_root, name)
        if name not in JOINT and (folder / SCORES).is_file():
            tables[name] = read_scores(folder / SCORES)
        elif (folder / "tables" / _VALID).is_file():
            tables[name] = pd.read_csv(folder / "tables" / _VALID)
    if not tables:
        return pd.DataFrame()
    manifest, _ = read_manifest(Path(run_root, "manifest", "manifest.csv"))
    return join_scores(tables, manifest.set_index("path")["source"])


def _join(stage: Path, earlier: Path, stays: list[str], *, figures: bool) -> None:
    """Bring the runs `stays` of an earlier publication beside the later ones in `stage`, which holds all scores.

    Numbers that speak of several seeds are computed again from the scores of all, and their figures drawn again.
    """
    for name in stays:
        shutil.copytree(earlier / name, stage / name)
    old, new = (load_json(folder / "baselines" / "settings.json") for folder in (earlier, stage))
    both = {key: [*old[key], *(value for value in new[key] if value not in old[key])] for key in ("backbones", "seeds")}
    _write(stage / "baselines" / "settings.json", new | both | {"seeds": sorted(both["seeds"])})
    _join_runs(stage, earlier, stays)
    found = {name: content for name, content in recompute(stage).items() if name.split("/")[0] in JOINT}
    for name, content in found.items():
        path = stage / name
        if isinstance(content, dict):
            _write(path, load_json(path) | content)
        else:
            content.to_csv(path, index=False, lineterminator="\n")
    if figures:
        _draw(stage, earlier)


def _join_runs(stage: Path, earlier: Path, stays: list[str]) -> None:
    """The report's list of runs, and what it tells of them without scores."""
    place, as_text = Path("report", "tables", "runs.csv"), {"commit": str, "manifest": str}
    old, new = (pd.read_csv(folder / place, dtype=as_text) for folder in (earlier, stage))
    runs = pd.concat([old[old["run"].isin(stays)], new], ignore_index=True)
    runs = runs.iloc[sorted(range(len(runs)), key=lambda row: report.place_of(runs["run"][row]))]
    settings = load_json(stage / "report" / "settings.json")
    left_out = [name for name in settings["left_out"] if name not in set(runs["run"])]
    _write(stage / "report" / "settings.json", settings | {"runs": runs["run"].tolist(), "left_out": left_out})
    _write(stage / "report" / "metrics.json", load_json(stage / "report" / "metrics.json") | {"runs": len(runs)})
    made = report.settings_table(str(stage.resolve()), runs).reset_index(names="setting")
    for name, table in {"runs": runs, "cost": report.cost_table(runs), "settings": made}.items():
        table.to_csv(stage / "report" / "tables" / f"{name}.csv", index=False, lineterminator="\n")


def _draw(stage: Path, earlier: Path) -> None:
    """Figures of one seed are those of the earlier publication; those of all methods are drawn again."""
    for name in JOINT:
        if (earlier / name / "figures").is_dir():
            shutil.rmtree(stage / name / "figures", ignore_errors=True)
            shutil.copytree(earlier / name / "figures", stage / name / "figures")
    tables = stage / "baselines" / "tables"
    methods, differences = (pd.read_csv(tables / f"{name}.csv") for name in ("methods", "differences"))
    drawn = {"baselines/figures/methods": plot_methods(methods), "report/figures/main": plot_methods(methods)}
    for backbone, part in differences.groupby("backbone"):
        drawn[f"baselines/figures/differences_{backbone}"] = plot_differences(part)
        drawn[f"report/figures/difference_{backbone}"] = plot_differences(part)
    for name, figure in drawn.items():
        path = stage / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, bbox_inches="tight", dpi=120)
        if path.stat().st_size > LARGEST_FIGURE:
            path.unlink()


def _model(run: str) -> str:
    return run.rpartition("/seed")[0] or run


def _write(path: Path, content: dict) -> None:
    write_text_atomic(path, json.dumps(content, indent=1, default=str) + "\n")


def update_page(page: Path, results: Path) -> bool:  # whether the text changed
    """Put the tables of published results between a page's marks for them."""
    text = before = page.read_text(encoding="utf-8")
    for mark, table in PAGE_TABLES.items():
        opening, closing = f"<!-- {mark}:{results.name} -->", f"<!-- /{mark} -->"
        if opening in text:
            head, rest = text.split(opening, 1)
            if closing not in rest:
                raise ValueError(f"{page} has {opening} without {closing} after it; add the closing mark")
            text = f"{head}{opening}\n{table(results)}\n{closing}{rest.split(closing, 1)[1]}"
    write_text_atomic(page, text)
    return text != before


def results_table(results: Path) -> str:  # Markdown
    """Methods, base models, and what is left unsure."""
    tables = (_methods(results), _base_models(results), _unsure(results))
    return "\n\n".join(markdown(pd.DataFrame(rows)) for rows in tables if rows)


def methods_table(results: Path) -> str:  # Markdown
    """Every method with its interval, and its spread over seeds."""
    return markdown(pd.DataFrame(_methods(results)))


def differences_table(results: Path) -> str:  # Markdown
    """DeepFeatureX Net minus every other method on the same images, with the decision."""
    table = pd.read_csv(results / "baselines" / "tables" / "differences.csv")
    said = {"DeepFeatureX Net minus": table["method"], "three-way balanced accuracy": table.apply(describe, axis=1)}
    return markdown(pd.DataFrame(said))


def conclusion_list(results: Path) -> str:  # Markdown
    """The sentences with which the report begins."""
    tables, joint = results / "baselines" / "tables", results / "baselines" / "metrics.json"
    told = load_json(joint)
    compared = (pd.read_csv(tables / f"{name}.csv") for name in ("methods", "differences"))
    return "\n".join(f"- {sentence}" for sentence in report.conclusion(*compared, told["answers"], mark=told["mark"]))


#: Kinds of tables and lists in README and docs, by the name in their marks.
PAGE_TABLES = {"results": results_table, "methods": methods_table, "differences": differences_table}
PAGE_TABLES |= {"conclusion": conclusion_list}


def _methods(results: Path) -> list[dict]:
    rows = []
    for row in pd.read_csv(results / "report" / "tables" / "main.csv").to_dict("records"):
        spread = ", {seeds} seeds, sd {seed_sd:.3f}" if row["seeds"] > 1 else ""
        said = ("{value:.3f} ({low:.3f} to {high:.3f})" + spread).format(**row)
        rows.append({"method": row["method"], _ACCURACY: said, "images": row["images"]})
    return rows


def _base_models(results: Path) -> list[dict]:
    rows = []
    for folder in sorted(results.glob("base/*/*/seed*")):
        facts = load_json(folder / "settings.json") | load_json(folder / "metrics.json")
        told = {title: text.format(**facts) for title, text in _BASE.items()}
        rows.append({"base model": folder.parent.name} | told)
    return rows


def _unsure(results: Path) -> list[dict]:
    rows = []
    for path in sorted(results.glob("generalization/*/seed*/tables/unsure.csv")):
        for split, part in pd.read_csv(path).groupby("split", sort=False):
            risk = part.set_index("metric")
            row = {"images": f"{split} ({risk.loc['decided', 'images']})"}
            for title, metrics in _RISKS.items():
                if found := [_share(risk.loc[metric]) for metric in metrics if metric in risk.index]:
                    row[title] = "; ".join(found)
            promise = risk.loc["real called fake"].get("promise", ON_AVERAGE)  # results of before did not say
            kept = f"{risk['promised'].max():.0%} {promise}" if split == "test" else "nothing"  # those of unlike images
            rows.append(row | {"promised of either": kept})
    return rows


def _share(row: pd.Series) -> str:
    return "undefined" if pd.isna(row["value"]) else "{value:.1%} ({value_low:.1%} to {value_high:.1%})".format(**row)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="copy tables, small figures and environments for review")
    parser.add_argument("run", type=Path, help="runs/STUDY")
    parser.add_argument("results", type=Path, help="results/STUDY")
    parser.add_argument("--no-figures", action="store_true", help="where its pictures must not be passed on")
    options = parser.parse_args(arguments)
    try:
        copied = publish(options.run, options.results, figures=not options.no_figures)
        print(f"{len(copied)} files copied to {options.results}")
        root = project_root()
        for page in [root / "README.md", *sorted((root / "docs").glob("*.md"))]:
            if update_page(page, options.results):
                print(f"{page.name}: tables of results renewed")
    except (ValueError, OSError) as error:
        print(f"publish: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
