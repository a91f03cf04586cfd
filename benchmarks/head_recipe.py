"""Learning rate and epochs of the convolutional head, chosen without any test image.

    python benchmarks/head_recipe.py runs/photographs DATA_ROOT --rates 1e-3 --epochs 15
    python benchmarks/head_recipe.py runs/photographs DATA_ROOT --rates 1e-4 3e-4 --epochs 8

Reads the base models of a finished run (first backbone and seed). Each rate trains the heads on complete_train; after
each epoch one row says what complete_select made of it: loss, and three-way balanced accuracy. The linear head stands
beside the convolutional one, to show what the same features hold. No row of test or unseen is read. Rows are appended
to results/head_recipe_STUDY.csv.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dfxlib.data.squares import pixel_store
from dfxlib.measure.scores import class_index
from dfxlib.models.networks import DeepFeatureXNet, build_head
from dfxlib.models.saved import load_base_models
from dfxlib.study.inputs import open_manifest
from dfxlib.study.runs import base_model_paths
from dfxlib.training.features import extract_features, features_key
from dfxlib.training.fit import CPU, Examples, class_weights, fit

RESULTS = Path(__file__).parent / "results"
PARTS = ("complete_train", "complete_select")


def read_features(run_root: Path, data_root: Path, *, backbone: str, seed: int, cache_root: Path) -> list[Examples]:
    """What a head learns from and what chooses it: features of the run's own base models."""
    manifest, manifest_hash = open_manifest(run_root)
    manifest = manifest[manifest["split"].isin(PARTS)].reset_index(drop=True)
    paths = base_model_paths(run_root, backbone, seed, variant="")
    base_models, settings = load_base_models(paths, manifest_hash=manifest_hash)
    model = DeepFeatureXNet(base_models, build_head("linear", width=base_models[0].classifier.in_features, without=""))
    shape = {name: settings[name] for name in ("image_size", "resize_mode")}
    pixels = pixel_store(manifest, manifest_hash="head", data_root=data_root, cache_root=cache_root, **shape)
    key = features_key(settings, manifest_hash=manifest_hash, device=CPU)
    found = []
    for part in PARTS:
        rows = manifest[manifest["split"] == part]
        array = extract_features(model, pixels, rows.index.to_numpy(), cache_root=cache_root, key=key)[0]
        found.append(Examples(array, np.arange(len(rows)), class_index(rows["nature"])))
    return found


def by_epoch(train: Examples, select: Examples, *, head: str, rate: float, epochs: int, how: dict) -> pd.DataFrame:
    """One row an epoch: the head's loss and balanced accuracy on `select`."""
    torch.manual_seed(0)
    model = build_head(head, width=train.array.shape[-1], without="")
    with tempfile.TemporaryDirectory() as states:
        fitted = fit(
            model, train, select, state_folder=Path(states), settings={}, epochs=epochs, learning_rate=rate,
            loss_weights=class_weights(train.labels), **how,
        )  # fmt: skip
    return fitted.history.assign(head=head, rate=rate)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run_root", type=Path, help="folder of a study's finished runs")
    parser.add_argument("data_root", type=Path, help="folder of its images")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--seed", type=int, default=0, help="of the base models")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 3e-4, 1e-4])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--heads", nargs="+", default=["linear", "conv"])
    args = parser.parse_args()
    how = {"batch_size": 32, "weight_decay": 1e-3, "gamma": 0.6, "step_size": 10}  # as in studies/demo.yaml
    with tempfile.TemporaryDirectory() as cache:
        which = {"backbone": args.backbone, "seed": args.seed, "cache_root": Path(cache)}
        parts = read_features(args.run_root, args.data_root, **which)
        for head in args.heads:
            for rate in args.rates:
                table = by_epoch(*parts, head=head, rate=rate, epochs=args.epochs, how=how)
                _append(table, RESULTS / f"head_recipe_{args.run_root.name}.csv")


def _append(table: pd.DataFrame, file: Path) -> None:
    columns = ["head", "rate", "epoch", "train_loss", "valid_loss", "valid_balanced_accuracy", "seconds"]
    table[columns].round(4).to_csv(file, mode="a", header=not file.exists(), index=False)
    print(table[columns].round(4).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
