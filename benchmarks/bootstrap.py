"""Intervals of many generators: the bootstrap against one plain pass of scikit-learn over the same scores.

    python benchmarks/bootstrap.py

2,000 resamples of 20,000 images by 20 architectures (`by_architecture`: recalls, AUC, AP and
recall at false alarms with intervals), every image a cluster of its own, which is the slowest
case. Beside the seconds it gives them as a multiple of one plain computation of the same AUCs by
scikit-learn: the naive bootstrap is 2,000 times that. Coverage of the 95% interval of an AUC
(200 clusters, 2,000 simulations) stands beside it. Writes results/bootstrap.json.
"""

import time

import numpy as np
import pandas as pd
from measure import report
from sklearn.metrics import roc_auc_score

from dfxlib.measure import stats
from dfxlib.measure.generators import by_architecture
from dfxlib.measure.intervals import area_interval
from dfxlib.measure.scores import score_table
from dfxlib.names import CLASSES

CALIBRATION = {"threshold": 0.5}


def scores_of(images: int, architectures: int) -> pd.DataFrame:
    number = np.arange(images) % architectures
    table = pd.DataFrame({"nature": np.array(CLASSES)[number % 3], "architecture": [f"a{n:02d}" for n in number]})
    table = table.assign(group=[f"g{i}" for i in range(images)], path=[f"{i}.png" for i in range(images)])
    table = table.assign(split="test", sha256=table["path"])
    logits = np.random.default_rng(0).normal(size=(images, 3)) + 2 * np.eye(3)[number % 3]
    return score_table(table, logits, temperature=1.0, backbone="none")


def measure(images: int, architectures: int, resamples: int) -> tuple[float, float]:  # seconds: ours, plain
    scores = scores_of(images, architectures)
    started = time.perf_counter()
    by_architecture(scores, CALIBRATION, resamples=resamples)
    ours = time.perf_counter() - started
    started = time.perf_counter()
    real = (scores["nature"] == "real").to_numpy()
    for _, rows in scores[~real].groupby("architecture"):
        both = np.r_[rows["p_fake"], scores["p_fake"][real]]
        roc_auc_score(np.arange(len(both)) < len(rows), both)
    return ours, time.perf_counter() - started


def auc_coverage(clusters: int, simulations: int) -> float:
    """Clusters of a real and a generated image; the truth is that of two normals one apart."""
    random, truth, covered = np.random.default_rng(0), 0.7602499, 0
    positive, everything = np.arange(2 * clusters) % 2 == 0, np.ones(2 * clusters, dtype=bool)
    for simulation in range(simulations):
        if simulation % 50 == 0:
            draws = stats.resample_clusters(np.arange(2 * clusters) // 2, seed=simulation)
        score = random.normal(size=2 * clusters) + positive
        _, low, high = area_interval(stats.auc(score, positive, everything, draws), clusters=clusters)
        covered += low <= truth <= high
    return covered / simulations


def main() -> None:
    seconds, plain = measure(20_000, 20, 2000)
    figures = {
        "seconds for 2,000 resamples of 20,000 images": (seconds, "<=", 5.0),
        "the same, as plain passes of scikit-learn": (seconds / plain, "<=", 200.0),
        "distance of an AUC's coverage from 95%": (abs(auc_coverage(200, 2000) - 0.95), "<=", 0.015),
    }
    raise SystemExit(0 if report("bootstrap", figures, plain_seconds=plain) else 1)


if __name__ == "__main__":
    main()
