"""What the demonstration set gives away before any deep model: balanced accuracy with intervals.

    python benchmarks/demo_audit.py data/demo                     # renders what is missing
    python benchmarks/demo_audit.py /tmp/dev --seed 1 --scenes 600

Three-way balanced accuracy (chance 0.333) of logistic regression, five folds that keep scenes
whole, 95% intervals by a bootstrap over scenes. Unseen architectures are left out by default, as
they are in training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image
from sklearn.model_selection import StratifiedGroupKFold

from dfxdemo.dataset import render_demo
from dfxdemo.design import UNSEEN
from dfxlib.measure import baselines

STUDY = yaml.safe_load((Path(__file__).parents[1] / "studies" / "demo.yaml").read_text())

LIMITS = {  # what the set must show; None: no bound
    "metadata": (None, 0.36),
    "png bytes": (None, 0.50),
    "scalars": (None, 0.50),
    "radial spectrum": (0.60, 0.90),
}


def read_set(root: Path, *, unseen: bool) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """One row and one array of pixels per image."""
    rows, pixels = [], []
    for path in sorted(root.glob("*/*/scene*.png")):
        if path.parts[-2] in UNSEEN and not unseen:
            continue
        with Image.open(path) as image:
            rows.append({"nature": path.parts[-3], "architecture": path.parts[-2],
                         "scene": int(path.stem[5:]), "format": image.format, "mode": image.mode,
                         "width": image.width, "height": image.height, "jpeg_quality": None,
                         "bytes": path.stat().st_size})  # fmt: skip
            pixels.append(np.asarray(image))
    return pd.DataFrame(rows), pixels


def balanced_accuracy(truth: np.ndarray, said: np.ndarray) -> float:
    return float(np.mean([np.mean(said[truth == nature] == nature) for nature in np.unique(truth)]))


def interval(truth: np.ndarray, said: np.ndarray, scenes: np.ndarray, *, draws: int = 1000) -> tuple[float, float]:
    """95% interval of balanced accuracy; resamples scenes, each with all of its images."""
    rng = np.random.default_rng(0)
    natures, which = np.unique(truth), np.unique(scenes, return_inverse=True)[1]
    counts = rng.multinomial(which.max() + 1, np.full(which.max() + 1, 1 / (which.max() + 1)), draws)
    weights = counts[:, which]  # [draws, N]
    recalls = [(weights * ((truth == n) & (said == n))).sum(1) / (weights * (truth == n)).sum(1) for n in natures]
    low, high = np.percentile(np.mean(recalls, axis=0), (2.5, 97.5))
    return float(low), float(high)


def out_of_fold_natures(
    features: pd.DataFrame,  # [N, k]
    natures: np.ndarray,  # [N] str
    *,
    groups: np.ndarray,  # [N]
) -> np.ndarray:  # [N] str, the nature said of each row by a baseline that never saw its group
    """`fit_baseline` on all other folds of five, groups kept whole."""
    said = np.empty_like(natures)
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    for train, test in splitter.split(natures, natures, groups):
        fitted = baselines.fit_baseline(features.iloc[train], natures[train], groups=groups[train])
        said[test] = fitted.predict(features.iloc[test])
    return said


def audit(rows: pd.DataFrame, pixels: list[np.ndarray]) -> pd.DataFrame:
    """One row a baseline: balanced accuracy, interval, recalls, bounds."""
    truth, scenes = rows["nature"].to_numpy(str), rows["scene"].to_numpy()
    size = np.log(rows[["bytes"]].to_numpy(float))
    features = {
        "metadata": baselines.metadata_features(rows),
        "png bytes": pd.DataFrame(np.hstack([size, size**2])),
        "scalars": pd.DataFrame([baselines.scalar_features(p) for p in pixels]),
        "radial spectrum": pd.DataFrame([baselines.radial_spectrum(p) for p in pixels]),
    }
    table = []
    for name, values in features.items():
        said = out_of_fold_natures(values, truth, groups=scenes)
        low, high = interval(truth, said, scenes)
        recalls = {f"recall_{n}": np.mean(said[truth == n] == n) for n in np.unique(truth)}
        floor, ceiling = LIMITS[name]
        reached = balanced_accuracy(truth, said)
        within = (floor is None or reached >= floor) and (ceiling is None or reached <= ceiling)
        table.append({"baseline": name, "balanced_accuracy": reached, "low": low, "high": high,
                      "within_bounds": within, **recalls})  # fmt: skip
    return pd.DataFrame(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--scenes", type=int, default=STUDY["demo_scenes"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--unseen", action="store_true", help="with unseen architectures")
    args = parser.parse_args()
    render_demo(args.root, scenes=args.scenes, seed=args.seed, workers=args.workers)
    rows, pixels = read_set(args.root, unseen=args.unseen)
    print(rows.groupby(["nature", "architecture"]).size().to_string())
    print(audit(rows, pixels).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
