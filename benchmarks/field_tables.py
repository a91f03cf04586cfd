"""What the field's tables cost: in units of `by_architecture` of the same scores, and the matrix of 15 generators.

    python benchmarks/field_tables.py

Each pair is measured in turns (A, B, A, B) and the median ratio counts, so that a busy machine slows both. The matrix
takes random features of 15 generators and as many real images, 18,000 images, as 128 px pictures give them. Writes
results/field_tables.json.
"""

import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from bootstrap import CALIBRATION, scores_of
from measure import report

from dfxlib.measure.field import by_condition, field_table
from dfxlib.measure.generators import by_architecture
from dfxlib.measure.leave_one_out import leave_one_out, matrix
from dfxlib.names import CLASSES

FULL = CALIBRATION | {"false_alarm_5": 0.9}


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def ratios(images: int, generators: int, *, resamples: int, rounds: int) -> dict[str, float]:
    """Median seconds of each table over those of `by_architecture`."""
    scores = scores_of(images, generators).assign(source="")
    conditions = ["raw", "web", "hard"]
    versions = pd.concat([scores.assign(condition=name) for name in conditions], ignore_index=True)
    tables = {
        "field_table": lambda: field_table(scores, method="m", resamples=resamples),
        "by_condition, three conditions": lambda: by_condition({"m": versions}, conditions, resamples=resamples),
    }
    found: dict[str, list[float]] = {name: [] for name in tables}
    for _ in range(rounds):
        for name, table in tables.items():
            plain = seconds(lambda: by_architecture(scores, FULL, resamples=resamples))
            found[name].append(seconds(table) / plain)
    return {name: float(np.median(values)) for name, values in found.items()}


def matrix_seconds(generators: int, images: int, *, width: int, resamples: int) -> float:
    """From stored features to the whole matrix with intervals; `images` of every generator, as many real ones."""
    number = np.repeat(np.arange(2 * generators), images)  # the second half is real
    nature = np.where(number < generators, np.array(CLASSES)[number % 2], "real")
    rows = pd.DataFrame({"architecture": [f"a{n:02d}" for n in number], "nature": nature})
    splits = np.array(["base_train", "base_train", "complete_train", "complete_train", "complete_select", "test"])
    rows = rows.assign(split=splits[np.arange(len(rows)) % 6], group=np.arange(len(rows)).astype(str))
    features = np.random.default_rng(0).normal(size=(len(rows), width)).astype(np.float32)
    return seconds(lambda: matrix(leave_one_out(features, rows), rows, resamples=resamples))


if __name__ == "__main__":
    cost = ratios(12_000, 12, resamples=2000, rounds=3)
    figures = {f"{name} / by_architecture": (value, "<=", 5.0) for name, value in cost.items()}
    figures["matrix of 15 generators [s]"] = (matrix_seconds(15, 600, width=1280, resamples=2000), "<=", 180.0)
    report("field_tables", figures, generators=15, images=18_000)
