"""Published numbers, computed again from the scores that are published with them: no data, no torch, no GPU.

Every step makes the calls of its notebook; the test of the smoke study holds the two together.
"""

import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dfxlib.measure import compare as c
from dfxlib.measure import scores as measured
from dfxlib.measure import stats
from dfxlib.measure.confidence import UNLIKE, proper_scores, reliability_table, trade_table, unsure_table
from dfxlib.measure.field import at_frozen_thresholds, by_condition, field_table
from dfxlib.measure.generators import averages, by_architecture, by_source, seen_against_unseen
from dfxlib.measure.mark import mark_candidates, three_way_accuracy
from dfxlib.measure.published import base_scores_of_run, read_published, scores_of_run
from dfxlib.study import report
from dfxlib.system.files import load_json, safe_name

#: Largest difference that counts as none: sums in another order, another version of a library.
TOLERANCE = 1e-6

#: Tables, and fields of records, by the name of their file.
Found = dict[str, Any]


class Published(NamedTuple):
    """A folder of published results, with the scores in it."""

    folder: Path
    scores: pd.DataFrame  # of all runs
    baselines: pd.DataFrame  # of the baselines without a network, all parts
    fitted: dict[str, pd.DataFrame]  # those of the test part, by name
    fitted_rows: pd.DataFrame  # what notebook 00 says of them
    candidates: pd.DataFrame  # and of the linear readings; the first is the mark


class Checked(NamedTuple):
    """What became of the published numbers."""

    same: list[str]  # files that come out as they were published
    different: list[str]  # a sentence for each file that does not
    others: list[str]  # tables, and fields of records, that are not computed from scores


def check(folder: Path) -> Checked:
    """Compare every published table and record with what comes out of the scores.

    Raises FileNotFoundError where the results were published without scores.
    """
    found, same, different = recompute(folder), [], []
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("tables/*.csv"))]
    others = [name for name in names if name not in found]
    others += [f"{name} {UNLIKE}" for name in names if name.endswith("/unsure.csv")]
    for path in sorted([*folder.rglob("metrics.json"), *folder.rglob("calibration.json")]):
        name = path.relative_to(folder).as_posix()
        names.append(name)
        others += [f"{name} {field}" for field in load_json(path) if field not in found.get(name, {})]
    for name in names:
        if name in found:
            told = _difference(folder / name, found[name])
            different += [f"{name}: {told}"] if told else []
            same += [] if told else [name]
    return Checked(same, different, others)


def by_step(names: list[str]) -> list[str]:
    """Names as `Checked.others` has them, a line a step of the study: base: history.csv, metrics.json seconds."""
    steps: dict[str, dict[str, None]] = {}
    for name in names:
        step, _, rest = name.partition("/")
        steps.setdefault(step, {})[rest.rpartition("/")[2]] = None
    return [f"{step}: {', '.join(files)}" for step, files in steps.items()]


def recompute(folder: Path) -> Found:
    """Everything in a folder of published results that comes from scores, by the name that its file has there."""
    scores = read_published(folder)
    baselines = scores_of_run(scores, "manifest", temperature=1.0)
    fitted = dict(iter(c.test_part(baselines).groupby("variant")))
    how = {"resamples": load_json(folder / "manifest" / "settings.json")["resamples"]}
    rows, candidates = three_way_accuracy(fitted, **how), mark_candidates(baselines, **how)
    study = Published(folder, scores, baselines, fitted, rows, candidates)
    steps = {"manifest": _manifest, "robustness": _robustness, "generalization": _generalization}
    found: Found = {}
    for run, part in scores.groupby("run"):
        step = _base if part["p_main"].notna().all() else steps.get(run.split("/")[0], _trained)
        found |= {f"{run}/{name}": content for name, content in step(study, run).items()}
    found |= _compared(study)
    return found | _reported(study, found)


def _manifest(study: Published, run: str) -> Found:
    """Notebook 00."""
    return {"tables/baselines.csv": study.fitted_rows, "tables/mark.csv": study.candidates}


def _base(study: Published, run: str) -> Found:
    """Notebook 10."""
    return {"metrics.json": measured.summarise_base(base_scores_of_run(study.scores, run))}


def _trained(study: Published, run: str) -> Found:
    """Notebooks 15 and 20."""
    settings, calibration, scores = _settings(study, run), _calibration(study, run), _scores(study, run)
    resamples, test = settings["resamples"], c.test_part(scores)
    summary = measured.summarise(test, calibration, resamples=resamples)
    method = settings["variant"] or c.OURS
    own = measured.three_way_rows(summary, method=f"{method} ({settings['backbone']})")
    row, mark = own.iloc[0], study.candidates["method"][0]
    _, differences = c.compare({method: [test], mark: [study.fitted[mark]]}, resamples=resamples)
    rows, from_20 = scores[scores["split"] == "complete_calibrate"], "head" in settings  # which has a table more
    chosen_on = rows[measured.LOGITS].to_numpy(), rows
    return {
        "tables/summary.csv": summary,
        "tables/confusion.csv": measured.confusion(test).reset_index(),
        "tables/methods.csv": pd.concat([own, study.fitted_rows]),
        "calibration.json": measured.calibrate(*chosen_on),
        "metrics.json": {"test_balanced_accuracy": row["value"], "low": row["low"], "high": row["high"], "mark": mark}
        | {"minus_mark": differences[["value", "low", "high"]].iloc[0].tolist()},
    } | ({"tables/trade.csv": trade_table(*chosen_on, test, calibration, resamples=resamples)} if from_20 else {})


def _robustness(study: Published, run: str) -> Found:
    """Notebook 30."""
    settings, scores = _settings(study, run), _scores(study, run)
    conditions = [condition["condition"] for condition in settings["conditions"]]
    versions = {name: scores[scores["condition"] == name].reset_index(drop=True) for name in conditions}
    how = {"calibration": _calibration(study, run), "resamples": settings["resamples"]}
    table = measured.robustness_table(versions, **how)
    together, method = pd.concat(versions.values(), ignore_index=True), f"{c.OURS} ({settings['backbone']})"
    values = table[table["metric"] == "three-way balanced accuracy"].set_index("condition")["value"]
    return {
        "tables/robustness.csv": table,
        "tables/verdicts.csv": measured.verdict_shares(versions),
        "tables/field.csv": by_condition(together, method=method, resamples=how["resamples"]),
        "tables/thresholds.csv": at_frozen_thresholds(together, **how),
        "tables/unsure.csv": unsure_table(together, unlike=None, by="condition", **how),
        "metrics.json": {"three_way_balanced_accuracy": values.to_dict()},
    }


def _generalization(study: Published, run: str) -> Found:
    """Notebook 40."""
    settings, scores = _settings(study, run), _scores(study, run)
    how = {"calibration": _calibration(study, run), "resamples": settings["resamples"]}
    means = averages(scores, **how)
    method = f"{c.OURS} ({settings['backbone']})"
    by_method = {method: means}
    mark, baselines = study.candidates["method"][0], study.baselines
    read = baselines[(baselines["variant"] == mark) & baselines["split"].isin(("test", "unseen"))]
    by_method[mark] = averages(read, **how)
    comparison = seen_against_unseen(by_method)
    recalls = comparison.set_index(["method", "nature", "split"])["recall"]
    return {
        "tables/by_architecture.csv": by_architecture(scores, **how),
        "tables/averages.csv": means,
        "tables/seen_unseen.csv": comparison,
        "tables/field.csv": field_table(scores, method=method, resamples=how["resamples"]),
        "tables/by_source.csv": by_source(scores, scores["source"], **how),
        "tables/confidence.csv": proper_scores(scores, **how),
        "tables/reliability.csv": reliability_table(scores, how["calibration"]),
        "tables/unsure.csv": unsure_table(scores, unlike=None, **how),
        "metrics.json": {"recall": {" ".join(key): value for key, value in recalls.items()}},
    }


def _compared(study: Published) -> Found:
    """Notebook 50."""
    settings = _settings(study, "baselines")
    variants, ensembles = settings["variants"], settings["ensembles"]
    tables, parts = [], []
    for backbone in settings["backbones"]:
        own = {
            variant or c.OURS: [_compared_scores(study, backbone, variant, seed) for seed in settings["seeds"]]
            for variant in ("", *variants)
        }
        for name, members in ensembles.items():
            own[name] = [c.ensemble(list(each), name=name) for each in zip(*(own[member] for member in members))]
        fitted = {name: [table] for name, table in study.fitted.items()}
        table, part = c.compare(own | fitted, resamples=settings["resamples"])
        table["method"] = [name if name in fitted else f"{name} ({backbone})" for name in table["method"]]
        tables.append(table)
        parts.append(part.assign(backbone=backbone))
    differences = c.decide(pd.concat(parts, ignore_index=True))
    differences["mcnemar_p_holm"] = stats.holm(differences["mcnemar_p"].to_numpy())
    against = c.rivals(variants, ensembles)
    answers = {backbone: c.answer(part, against) for backbone, part in differences.groupby("backbone")}
    candidates = mark_candidates(study.baselines, resamples=settings["resamples"])
    metrics = {"seeds": len(settings["seeds"]), "answers": answers, "mark": candidates["method"][0]}
    return {
        "baselines/tables/mark.csv": candidates,
        "baselines/tables/methods.csv": pd.concat(tables).drop_duplicates("method", ignore_index=True),
        "baselines/tables/differences.csv": differences,
        "baselines/metrics.json": metrics,
    }


def _compared_scores(study: Published, backbone: str, variant: str, seed: int) -> pd.DataFrame:
    step = f"variant/{variant}" if variant else "complete"
    return c.test_part(_scores(study, f"{step}/{safe_name(backbone)}/seed{seed}"))


def _reported(study: Published, found: Found) -> Found:
    """Notebook 90: what it gathers of the other tables, which are compared with the scores themselves."""
    place, runs = str(study.folder.resolve()), pd.read_csv(study.folder / "report" / "tables" / "runs.csv")
    sources = {"main": "methods", "difference": "differences", "mark": "mark"}
    tables = {name: found[f"baselines/tables/{source}.csv"] for name, source in sources.items()}
    tables["base_models"] = report.base_table(place, runs)
    steps = set(runs["run"].str.split("/").str[0])
    if "robustness" in steps:
        tables["robustness"] = report.gather_tables(place, runs, "robustness", "robustness")
        tables["robustness_seeds"] = report.over_seeds(tables["robustness"], ["condition", "metric"])
    if "generalization" in steps:
        tables["generalization"] = report.gather_tables(place, runs, "generalization", "by_architecture")
        tables["generalization_seeds"] = report.recalls_over_seeds(tables["generalization"])
        if (study.folder / "report" / "tables" / "field.csv").is_file():  # earlier publications have none
            tables["field"] = report.gather_tables(place, runs, "generalization", "field")
        tables["seen_unseen"] = report.gather_tables(place, runs, "generalization", "seen_unseen")
        by = ["method", "nature", "split"]
        tables["seen_unseen_seeds"] = report.over_seeds(tables["seen_unseen"], by, value="recall")
    return {f"report/tables/{name}.csv": table for name, table in tables.items()}


def _settings(study: Published, run: str) -> dict:
    return load_json(study.folder / run / "settings.json")


def _calibration(study: Published, run: str) -> dict:
    """Of a tested model: its own, or that of the complete model which notebooks 30 and 40 test."""
    step, _, model = run.partition("/")
    place = f"complete/{model}" if step in ("robustness", "generalization") else run
    return load_json(study.folder / place / "calibration.json")


def _scores(study: Published, run: str) -> pd.DataFrame:
    if run not in set(study.scores["run"]):
        raise ValueError(f"{study.folder} has no scores of {run}, which its comparisons need; publish that run too")
    return scores_of_run(study.scores, run, temperature=_calibration(study, run)["temperature"])


def _difference(path: Path, again: pd.DataFrame | dict) -> str:  # empty: none
    """What differs first between a published file and what comes out."""
    if isinstance(again, dict):
        published, again = load_json(path), json.loads(json.dumps(again, default=str))
        fields = [name for name in again if name in published and not _equal(published[name], again[name])]
        return f"{fields[0]} is {published[fields[0]]} and comes out as {again[fields[0]]}" if fields else ""
    published, again = pd.read_csv(path), pd.read_csv(io.StringIO(again.to_csv(index=False)))
    if path.name == "unsure.csv":  # one metric of it comes from features
        published = published[published["metric"] != UNLIKE]
    if set(published) != set(again) or len(published) != len(again):
        shapes = [f"{len(table)} rows of {', '.join(table)}" for table in (published, again)]
        return f"has {shapes[0]}; {shapes[1]} come out"
    again = again[list(published)]
    texts = [name for name in published if not pd.api.types.is_numeric_dtype(published[name])]
    if texts:  # the order of rows says nothing, as that of columns does not
        published, again = (table.sort_values(texts, kind="stable", ignore_index=True) for table in (published, again))
    for name in published:
        for place, (one, two) in enumerate(zip(published[name].tolist(), again[name].tolist())):
            if not _equal(one, two):
                row = ", ".join(str(published[text][place]) for text in texts if text != name)
                return f"{name}{f' of {row}' if row else ''} is {one} and comes out as {two}"
    return ""


def _equal(one: Any, two: Any) -> bool:
    """Whether two values of a table or a record are the same, numbers to within TOLERANCE."""
    if isinstance(one, dict) and isinstance(two, dict):
        return set(one) == set(two) and all(_equal(one[name], two[name]) for name in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(_equal, one, two))
    if isinstance(one, int | float) and isinstance(two, int | float):
        return bool(np.isclose(one, two, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))
    return bool(one == two)
