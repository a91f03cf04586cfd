"""What a study will run, and how long its GPU jobs take where the speed of a backbone was measured."""

import json
from pathlib import Path

import pandas as pd

from dfxlib.names import CLASSES

#: Shares of the images of a nature, in expectation (dfxlib.splits): 40% base, 40% complete, 20% test.
_PARTS = {"base": 0.4, "complete": 0.4, "test": 0.2}


def count_natures(table: Path) -> dict[str, int]:
    """Images by nature, from a manifest (one row an image) or an inventory (columns nature and images)."""
    rows = pd.read_csv(table, dtype=str)
    if "nature" not in rows:
        raise ValueError(f"{table} has no column nature; expected a manifest, or an inventory with nature and images")
    number = rows["images"].astype(int) if "images" in rows else pd.Series(1, index=rows.index)
    return number.groupby(rows["nature"]).sum().to_dict()


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
    of features, every condition of robustness, the test images again in generalization. The heads
    of the grid, decoding and the unseen images, whose number only the manifest knows, are not in them.
    """
    seeds = len(study["seeds"])
    rows = [{"step": "manifest", "backbone": "", "jobs": 1, "gpu_hours": 0.0}]
    for backbone in study["backbones"]:
        seconds = _seconds(study, natures, throughput[backbone]) if natures and backbone in throughput else {}
        for step, jobs in {"base": len(CLASSES), "complete": 1, "robustness": 1, "generalization": 1}.items():
            hours = seconds.get(step, float("nan")) * seeds / 3600
            rows.append({"step": step, "backbone": backbone, "jobs": jobs * seeds, "gpu_hours": hours})
    return pd.DataFrame([*rows, {"step": "report", "backbone": "", "jobs": 1, "gpu_hours": 0.0}])


def _seconds(study: dict, natures: dict[str, int], rates: dict[str, float]) -> dict[str, float]:
    """Seconds on the GPU for one seed of one backbone, all three base models together."""
    training, extraction = rates["training"], rates["extraction"]  # images a second; the latter through three networks
    own = [natures.get(nature, 0) * _PARTS["base"] / study["main_share"] for nature in CLASSES]
    epoch = sum(own) * (0.8 / training + 0.2 / (3 * extraction))  # 80% train, 20% validate
    every = sum(natures.get(nature, 0) for nature in CLASSES)
    test = every * _PARTS["test"] / extraction
    return {
        "base": study["base"]["epochs"] * epoch,
        "complete": every * _PARTS["complete"] / extraction + test,
        "robustness": len(study["conditions"]) * test,
        "generalization": test,
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
