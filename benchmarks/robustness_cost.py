"""Five JPEG qualities over a test split, against one clean evaluation of it.

    python benchmarks/robustness_cost.py
    python benchmarks/robustness_cost.py --image-size 256 --resize-mode resize --backbone densenet121 --images 64

Both read the files, decode them in worker processes and push whole batches through a complete
model; the two in turn, median of the rounds of their ratio. A file is decoded once for all
qualities. Writes results/robustness_cost.json.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from measure import noisy_picture, report

from dfxlib.data.squares import perturbed_squares
from dfxlib.models.networks import BaseModel, DeepFeatureXNet
from dfxlib.training.features import perturbed_features
from dfxlib.training.fit import predict

QUALITIES = [f"jpeg444_q{quality}" for quality in (90, 80, 70, 60, 50)]


def pictures(folder: Path, images: int, side: int) -> pd.DataFrame:  # manifest rows
    """Smooth pictures with noise, as PNG."""
    random, names = np.random.default_rng(0), []
    for number in range(images):
        names.append(f"{number:05d}.png")
        noisy_picture(random, side).save(folder / names[-1])
    return pd.DataFrame({"path": names, "problem": "", "container": "", "row": -1})


def seconds(model: DeepFeatureXNet, rows: pd.DataFrame, conditions: list[str], **how: object) -> float:
    started = time.perf_counter()
    size, target = {"conditions": len(conditions), "images": len(rows)}, {"key": ["cost"], "device": device()}
    with tempfile.TemporaryDirectory() as store:
        squares = perturbed_squares(rows, conditions, **how)
        features = perturbed_features(model, squares, cache_root=Path(store), **size, **target)
        for condition in features:
            predict(model.head, condition, np.arange(len(rows)), device=device())
    return time.perf_counter() - started


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def ratios(
    backbone: str, *, images: int, side: int, image_size: int, resize_mode: str, workers: int, rounds: int
) -> np.ndarray:
    """Seconds of both in every round."""
    torch.manual_seed(0)
    model = DeepFeatureXNet([BaseModel(backbone, weights="none", image_size=image_size) for _ in range(3)]).eval()
    with tempfile.TemporaryDirectory() as folder:
        rows = pictures(Path(folder), images, side)
        how = {"data_root": Path(folder), "image_size": image_size, "resize_mode": resize_mode, "workers": workers}
        seconds(model, rows, ["raw"], **how)  # the first call starts the processes
        both = [(seconds(model, rows, ["raw"], **how), seconds(model, rows, QUALITIES, **how)) for _ in range(rounds)]
    return np.array(both)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--images", type=int, default=768)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--resize-mode", default="crop")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    times = ratios(**vars(args))
    figures = {"five JPEG qualities / one clean evaluation": (float(np.median(times[:, 1] / times[:, 0])), "<=", 5.5)}
    details = {**vars(args), "clean_seconds": times[:, 0].tolist(), "five_seconds": times[:, 1].tolist()}
    raise SystemExit(0 if report("robustness_cost", figures, **details, device=str(device())) else 1)


if __name__ == "__main__":
    main()
