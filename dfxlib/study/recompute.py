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
from dfxlib.measure.confidence import UNLIKE, proper_scores, unsure_table
from dfxlib.measure.contents import inside_contents
from dfxlib.measure.external import compare_detectors, raw_scores
from dfxlib.measure.field import at_frozen_thresholds, by_condition, field_table
from dfxlib.measure.generators import averages, by_architecture, seen_against_unseen
from dfxlib.measure.mark import mark_candidates
from dfxlib.measure.published import base_scores_of_run, detectors_of, read_published, scores_of_run
from dfxlib.study import report
from dfxlib.study.records import RUNS, Records, read_runs
from dfxlib.system.files import safe_name

#: Largest difference that counts as none: sums in another order, another version of a library.
TOLERANCE = 1e-6

#: Tables by name, and fields of records by the name of their run and record.
Found = dict[str, Any]

#: Tables with a metric of features, UNLIKE, which no score tells.
_OF_FEATURES = ("unsure", "unsure_by_condition")


class Published(NamedTuple):
    """A folder of published results, with the scores in it."""

    folder: Path
    records: Records
    scores: pd.DataFrame  # of all runs
    baselines: pd.DataFrame  # of the baselines without a network, all parts
    fitted: dict[str, list[pd.DataFrame]]  # those of the test part, by name; one table, whatever the seed
    detectors: dict[str, pd.DataFrame]  # scores of other people's detectors
    candidates: pd.DataFrame  # what notebook 00 says of the linear readings; the first is the mark


class Checked(NamedTuple):
    """What became of the published numbers."""

    same: list[str]  # tables, and records of runs, that come out as they were published
    different: list[str]  # a sentence for each that does not
    others: list[str]  # tables, and fields of records, that are not computed from scores


def check(folder: Path) -> Checked:
    """Compare every published table and record with what comes out of the scores.

    Raises FileNotFoundError where the results were published without scores.
    """
    found, records = recompute(folder), read_runs(folder)[1]
    gone = [name for name in found if name.startswith("tables/") and not (folder / name).is_file()]
    same, different, others = [], [f"{name}: is missing; publish the study again" for name in gone], []
    for path in sorted((folder / "tables").glob("*.csv")):
        name = f"tables/{path.name}"
        if name not in found:
            others.append(name)
            continue
        told = _difference(_published(path), found[name])
        different += [f"{name}: {told}"] if told else []
        same += [] if told else [name]
    others += [f"tables/{name}.csv {UNLIKE}" for name in _OF_FEATURES if (folder / "tables" / f"{name}.csv").is_file()]
    for run, own in records.items():
        for record in [name for name in ("metrics", "calibration") if name in own]:
            again = found.get(f"{run}/{record}", {})
            others += [f"{run}/{record}.{field}" for field in own[record] if field not in again]
            told = _changed_field(own[record], again)
            different += [f"{RUNS}: {record} of {run}: {told}"] if told else []
            same += [f"{run}/{record}"] if again and not told else []
    return Checked(same, different, others)


def by_step(names: list[str]) -> list[str]:
    """Names as `Checked.others` has them, a line a step of the study: base: metrics.seconds, metrics.epochs."""
    steps: dict[str, dict[str, None]] = {}
    for name in names:
        step, _, rest = name.partition("/")
        steps.setdefault(step, {})[rest.rpartition("/")[2]] = None
    return [f"{step}: {', '.join(files)}" for step, files in steps.items()]


def recompute(folder: Path) -> Found:
    """Everything in a folder of published results that comes from scores: `tables/NAME.csv`, and RUN/metrics."""
    scores, (_, records) = read_published(folder), read_runs(folder)
    baselines = scores_of_run(scores, "manifest", temperature=1.0)
    fitted = {name: [table] for name, table in c.test_part(baselines).groupby("variant")}
    how = {"resamples": records["manifest"]["settings"]["resamples"]}
    candidates = mark_candidates(baselines, **how)
    study = Published(folder, records, scores, baselines, fitted, detectors_of(scores), candidates)
    steps = {"robustness": _robustness, "generalization": _generalization}
    found: Found = {}
    parts = dict(iter(scores.groupby("run")))
    for run in [run for run in records if run in parts and run != "manifest"]:
        step = _base if parts[run]["p_main"].notna().all() else steps.get(run.split("/")[0], _trained)
        found |= {f"{run}/{name}": content for name, content in step(study, run).items()}
    return found | _compared(study) | _reported(study, found)


def _base(study: Published, run: str) -> Found:
    """Notebook 10."""
    return {"metrics": measured.summarise_base(base_scores_of_run(study.scores, run))}


def _trained(study: Published, run: str) -> Found:
    """Notebooks 15 and 20."""
    settings, calibration, scores = _settings(study, run), _calibration(study, run), _scores(study, run)
    resamples, test = settings["resamples"], c.test_part(scores)
    summary = measured.summarise(test, calibration, resamples=resamples)
    method, mark = settings["variant"] or c.OURS, study.candidates["method"][0]
    row = measured.three_way_rows(summary, method=method).iloc[0]
    _, differences = c.compare({method: [test], mark: study.fitted[mark]}, resamples=resamples)
    rows = scores[scores["split"] == "complete_calibrate"]
    return {
        "tables/summary.csv": summary,
        "calibration": measured.calibrate(rows[measured.LOGITS].to_numpy(), rows),
        "metrics": {"test_balanced_accuracy": row["value"], "low": row["low"], "high": row["high"], "mark": mark}
        | {"minus_mark": differences[["value", "low", "high"]].iloc[0].tolist()},
    }


def _robustness(study: Published, run: str) -> Found:
    """Notebook 30."""
    settings, scores = _settings(study, run), _scores(study, run)
    conditions = [condition["condition"] for condition in settings["conditions"]]
    versions = {name: scores[scores["condition"] == name].reset_index(drop=True) for name in conditions}
    how = {"calibration": _calibration(study, run), "resamples": settings["resamples"]}
    table = measured.robustness_table(versions, **how)
    values = table[table["metric"] == "three-way balanced accuracy"].set_index("condition")["value"]
    every = pd.concat(versions.values(), ignore_index=True)
    methods = {f"{c.OURS} ({settings['backbone']})": every} | study.detectors
    return {
        "tables/robustness.csv": table,
        "tables/unsure.csv": unsure_table(every, unlike=None, by="condition", **how),
        "tables/field.csv": by_condition(methods, conditions, resamples=settings["resamples"]),
        "tables/thresholds.csv": at_frozen_thresholds(every, **how),
        "metrics": {"three_way_balanced_accuracy": values.to_dict()},
    }


def _generalization(study: Published, run: str) -> Found:
    """Notebook 40."""
    settings, scores = _settings(study, run), _scores(study, run)
    how = {"calibration": _calibration(study, run), "resamples": settings["resamples"]}
    method = f"{c.OURS} ({settings['backbone']})"
    mark, baselines = study.candidates["method"][0], study.baselines
    parts = scores.set_index("path")["split"]  # in notebook 40 generators that never trained are unseen
    read = baselines[(baselines["variant"] == mark) & baselines["split"].isin(("test", "unseen"))]
    read = read.assign(split=read["path"].map(parts))
    comparison = seen_against_unseen({method: averages(scores, **how), mark: averages(read, **how)})
    recalls = comparison.set_index(["method", "nature", "split"])["recall"]
    theirs = raw_scores(study.detectors)
    methods = {method: scores} | {name: own.assign(split=own["path"].map(parts)) for name, own in theirs.items()}
    field = [field_table(each, method=name, resamples=how["resamples"]) for name, each in methods.items()]
    return {
        "tables/by_architecture.csv": by_architecture(scores, **how),
        "tables/seen_unseen.csv": comparison,
        "tables/field.csv": pd.concat(field, ignore_index=True),
        "tables/confidence.csv": proper_scores(scores, **how),
        "tables/unsure.csv": unsure_table(scores, unlike=None, **how),
        "metrics": {"recall": {" ".join(key): value for key, value in recalls.items()}},
    }


def _compared(study: Published) -> Found:
    """Notebook 50."""
    settings = _settings(study, "baselines")
    variants, ensembles = settings["variants"], settings["ensembles"]
    content = study.scores.groupby("path")["content"].first()
    tables, parts, inside, ours = [], [], [], {}
    for backbone in settings["backbones"]:
        own = {
            variant or c.OURS: [_compared_scores(study, backbone, variant, seed) for seed in settings["seeds"]]
            for variant in ("", *variants)
        }
        for name, members in ensembles.items():
            own[name] = [c.ensemble(list(each), name=name) for each in zip(*(own[member] for member in members))]
        own, ours[backbone] = own | study.fitted, own[c.OURS]
        table, part = c.compare(own, resamples=settings["resamples"])
        table["method"] = [name if name in study.fitted else f"{name} ({backbone})" for name in table["method"]]
        tables.append(table)
        inside.append(inside_contents(own, content, resamples=settings["resamples"]).assign(backbone=backbone))
        parts.append(part.assign(backbone=backbone))
    differences = c.decide(pd.concat(parts, ignore_index=True))
    differences["mcnemar_p_holm"] = stats.holm(differences["mcnemar_p"].to_numpy())
    against = c.rivals(variants, ensembles)
    answers = {backbone: c.answer(part, against) for backbone, part in differences.groupby("backbone")}
    metrics = {"seeds": len(settings["seeds"]), "answers": answers, "mark": study.candidates["method"][0]}
    further = {"contents": pd.concat(inside, ignore_index=True)}
    if study.detectors:
        beside, minus = compare_detectors(ours, study.detectors, resamples=settings["resamples"])
        further |= {"detector_methods": beside, "detector_differences": minus}
    return {f"tables/{name}.csv": table for name, table in further.items() if len(table)} | {
        "tables/mark.csv": study.candidates,
        "tables/main.csv": pd.concat(tables).drop_duplicates("method", ignore_index=True),
        "tables/difference.csv": differences,
        "baselines/metrics": metrics,
    }


def _compared_scores(study: Published, backbone: str, variant: str, seed: int) -> pd.DataFrame:
    step = f"variant/{variant}" if variant else "complete"
    return c.test_part(_scores(study, f"{step}/{safe_name(backbone)}/seed{seed}"))


def _reported(study: Published, found: Found) -> Found:
    """Notebook 90: what it gathers of the other tables, and of records, which are compared with scores themselves."""
    tables = {}
    for name, (step, table) in report.GATHERED.items():
        own = {run: found[f"{run}/tables/{table}.csv"] for run in study.records if run.startswith(f"{step}/")}
        if own:
            tables[name] = report.join_tables(own)
    tables |= report.spread_tables(tables) | {"base_models": report.base_table(study.records)}
    return {f"tables/{name}.csv": table for name, table in tables.items()}


def _settings(study: Published, run: str) -> dict:
    return study.records[run]["settings"]


def _calibration(study: Published, run: str) -> dict:
    """Of a tested model: its own, or that of the complete model which notebooks 30 and 40 test."""
    step, _, model = run.partition("/")
    return study.records[f"complete/{model}" if step in ("robustness", "generalization") else run]["calibration"]


def _scores(study: Published, run: str) -> pd.DataFrame:
    if run not in set(study.scores["run"]):
        raise ValueError(f"{study.folder} has no scores of {run}, which its comparisons need; publish that run too")
    return scores_of_run(study.scores, run, temperature=_calibration(study, run)["temperature"])


def _changed_field(published: dict, again: dict) -> str:  # empty: none
    """The first field of a record that comes out otherwise."""
    again = json.loads(json.dumps(again, default=str))
    fields = [name for name in again if name in published and not _equal(published[name], again[name])]
    return f"{fields[0]} is {published[fields[0]]} and comes out as {again[fields[0]]}" if fields else ""


def _published(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path)
    return table[table["metric"] != UNLIKE] if path.stem in _OF_FEATURES else table


def _difference(published: pd.DataFrame, again: pd.DataFrame) -> str:  # empty: none
    """What differs first between a published table and what comes out."""
    again = pd.read_csv(io.StringIO(again.to_csv(index=False)))
    if set(published) != set(again) or len(published) != len(again):
        shapes = [f"{len(table)} rows of {', '.join(table)}" for table in (published, again)]
        return f"has {shapes[0]}; {shapes[1]} come out"
    again = again[list(published)]
    texts = [name for name in published if name == "seed" or not pd.api.types.is_numeric_dtype(published[name])]
    if texts:  # the order of rows says nothing, as that of columns does not
        published, again = (table.sort_values(texts, kind="stable", ignore_index=True) for table in (published, again))
    for name in published:
        for place, (one, two) in enumerate(zip(published[name].tolist(), again[name].tolist())):
            if not _equal(one, two):
                named = {text: f"{'seed ' * (text == 'seed')}{published[text][place]}" for text in texts}
                row = ", ".join(words for text, words in named.items() if text != name)
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
