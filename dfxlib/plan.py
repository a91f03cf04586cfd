"""What a study will run, and how long its GPU jobs take where the speed of a backbone was measured."""

import json
from pathlib import Path

import pandas as pd

from dfxlib.names import CLASSES
from dfxlib.study import base_variant, is_three_way, vary

#: Shares of the images of a nature, in expectation (dfxlib.splits): 40% base, 40% complete, 20% test.
_PARTS = {"base": 0.4, "complete": 0.4, "test": 0.2}


def count_natures(table: Path) -> dict[str, int]:
    """Images by nature, from a manifest (one row an image) or an inventory (columns nature and images)."""
    try:
        rows = pd.read_csv(table, dtype=str)
        number = rows["images"].astype(int) if "images" in rows else pd.Series(1, index=rows.index)
        return number.groupby(rows["nature"]).sum().to_dict()
    except (OSError, ValueError, KeyError) as error:
        why = "no column nature" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ValueError(f"{table}: {why}; expected a manifest, or an inventory with nature and images") from error


def read_throughput(record: Path, *, image_size: int) -> tuple[dict[str, dict], str]:
    """Images per second by backbone as benchmarks/gpu_throughput.py measured them, and where it did.

    Nothing where there is no record, or one of another input size: speed is not scaled by guess.
    """
    if not record.is_file():
        return {}, "no record of throughput"
    content = json.loads(record.read_text())
    size = content["settings"]["image_size"]
    where = f"{content['environment']['device']} at {size} px"
    return (content["results"] if size == image_size else {}), where


def plan_table(study: dict, *, natures: dict[str, int], throughput: dict[str, dict]) -> pd.DataFrame:
    """One row a step and backbone: jobs of all seeds and their GPU hours, NaN where a speed is not known.

    Hours cover images through the networks: training and validation of base models, one extraction
    of features, every condition of robustness. The heads of the grid, decoding and the unseen
    images, whose number only the manifest knows, are not in them.
    """
    seeds = len(study["seeds"])
    rows = [{"step": "manifest", "backbone": "", "jobs": 1, "gpu_hours": 0.0}]
    for backbone in study["backbones"]:
        rates = throughput.get(backbone) if natures else None
        for step, (jobs, seconds) in _jobs(study, natures, rates).items():
            rows.append({"step": step, "backbone": backbone, "jobs": jobs * seeds, "gpu_hours": seconds * seeds / 3600})
    last = [{"step": step, "backbone": "", "jobs": 1, "gpu_hours": 0.0} for step in ("baselines", "report")]
    return pd.DataFrame([*rows, *last])


def _jobs(study: dict, natures: dict[str, int], rates: dict | None) -> dict[str, tuple[int, float]]:
    """Jobs and seconds of every step, for one seed of one backbone; variants are steps of their own."""
    own = _seconds(study, natures, rates)
    counts = {"base": len(CLASSES), "complete": 1, "robustness": 1, "generalization": 1, "detection": 1}
    jobs = {step: (count, own[step]) for step, count in counts.items()}
    for variant in study["variants"]:
        seconds = _seconds(vary(study, variant), natures, rates)
        if is_three_way(study, variant):
            jobs[f"variant {variant}"] = 1, seconds["threeway"]
        elif base_variant(study, variant):
            jobs[f"variant {variant}"] = len(CLASSES) + 1, seconds["base"] + seconds["complete"]
        else:
            jobs[f"variant {variant}"] = 1, seconds["complete"]
    return jobs


def _seconds(study: dict, natures: dict[str, int], rates: dict | None) -> dict[str, float]:
    """Seconds on the GPU by step, all three base models together; NaN where no speed is known."""
    # Images a second; the latter through three networks.
    training, extraction = (rates["training"], rates["extraction"]) if rates else (float("nan"), float("nan"))
    epoch = 0.8 / training + 0.2 / (3 * extraction)  # seconds an image: 80% train, 20% validate
    tasks = sum(natures.get(nature, 0) * _PARTS["base"] / study["main_share"] for nature in CLASSES)
    every = sum(natures.get(nature, 0) for nature in CLASSES)
    both = _PARTS["base"] + _PARTS["complete"]
    learned = every * (both if study.get("train_on") == "base+complete" else _PARTS["complete"])
    test = every * _PARTS["test"] / extraction
    return {
        "base": study["base"]["epochs"] * tasks * epoch,
        "threeway": study["base"]["epochs"] * learned * epoch + test / 3,
        "complete": every * _PARTS["complete"] / extraction + test,
        "robustness": len(study["conditions"]) * test,
        "generalization": 0 * test,  # of features that are stored, but for the unseen images
        "detection": 0 * test,  # a few images
    }


def describe_plan(study: dict, table: pd.DataFrame, *, where: str) -> str:
    """The table as text, and its sum in a sentence that names what was not measured."""
    hours = table["gpu_hours"].map(lambda value: "not measured" if pd.isna(value) else f"{value:.1f}" if value else "")
    shown = table.drop(columns="gpu_hours").assign(**{"GPU hours": hours}).to_string(index=False)
    missing = ", ".join(dict.fromkeys(table.loc[table["gpu_hours"].isna(), "backbone"]))
    jobs = f"{shown}\n\nstudy {study['study']}: {table['jobs'].sum()} jobs"
    if table["gpu_hours"].sum() == 0:
        return f"{jobs}; GPU hours are not known: {where}"
    return f"{jobs}, {table['gpu_hours'].sum():.1f} GPU hours (speed: {where}); not measured: {missing or 'nothing'}"
