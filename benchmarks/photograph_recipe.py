"""Share of the main class, learning rate and epoch for photographs, chosen without any test image.

    python benchmarks/photograph_recipe.py ROOT --unseen gan_a,dm_b --shares 0.5 0.9 --rates 1e-4 1e-3

ROOT holds a table images.csv (layout csv). Everything else is as in studies/photographs.yaml. After each epoch
one row is appended to benchmarks/results/photograph_recipe.csv: what the training's own validation part said, and the
three-way balanced accuracy on complete_select, a second part that chose no epoch. For the three base models that
is a logistic regression on their features, fitted on complete_train. No row of test or unseen is read.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dfxlib.data.manifest import build_manifest
from dfxlib.data.splits import assign_splits, base_task
from dfxlib.data.squares import pixel_store
from dfxlib.measure.scores import class_index
from dfxlib.models.networks import BaseModel
from dfxlib.names import CLASSES
from dfxlib.study.settings import complete_study
from dfxlib.training.augment import reader
from dfxlib.training.fit import Examples, fit, predict

HERE = Path(__file__).parent
TABLE = HERE / "results" / "photograph_recipe.csv"
PARTS = ("base_train", "base_valid", "complete_train", "complete_select")


def read_study() -> dict:
    """studies/photographs.yaml on the defaults of studies/demo.yaml."""
    demo, own = (
        yaml.safe_load((HERE.parent / "studies" / f"{name}.yaml").read_text()) for name in ("demo", "photographs")
    )
    return complete_study(own, demo)


def read_images(root: Path, study: dict, unseen: tuple[str, ...]) -> tuple[pd.DataFrame, np.ndarray]:
    """Manifest of the parts that may be looked at, and their squares [N, S, S, 3] uint8."""
    manifest = build_manifest(root, layout=study["layout"])
    manifest["split"] = assign_splits(manifest, split_seed=study["split_seed"], unseen=unseen)
    manifest = manifest[manifest["split"].isin(PARTS)].reset_index(drop=True)
    with tempfile.TemporaryDirectory() as folder:
        shape = {"image_size": study["image_size"], "resize_mode": study["resize_mode"]}
        stored = pixel_store(manifest, manifest_hash="recipe", data_root=root, cache_root=Path(folder), **shape)
        return manifest, stored[:]


def train_by_epoch(
    study: dict, pixels: np.ndarray, tasks: list[pd.DataFrame], labels: list[np.ndarray], *, rate: float
) -> Iterator[tuple[pd.Series, BaseModel]]:
    """After each epoch: its row of the history, and the model as it is then."""
    torch.manual_seed(0)
    base, outputs = study["base"], len(np.unique(labels[0]))
    shape = {name: study[name] for name in ("weights", "image_size", "crop_size", "crops", "front_end", "stem")}
    model = BaseModel(study["backbones"][0], outputs=outputs, **shape)
    train, valid = (Examples(pixels, task.index.to_numpy(), y) for task, y in zip(tasks, labels, strict=True))
    train = train._replace(read=reader(base["augment"], crop_size=study["crop_size"]))
    loop = {name: base[name] for name in ("batch_size", "weight_decay", "step_size", "gamma")} | {"learning_rate": rate}
    with tempfile.TemporaryDirectory() as states:
        for epoch in range(1, base["epochs"] + 1):  # a training that is started again goes on where it was
            fitted = fit(model, train, valid, state_folder=Path(states), settings={}, epochs=epoch, **loop)
            yield fitted.history.iloc[-1], fitted.last


def three_way(study: dict, manifest: pd.DataFrame, pixels: np.ndarray, *, rate: float) -> list[dict]:
    """One backbone that learns the three natures at once, with base_valid as its validation part."""
    trains = manifest["split"].isin(["base_train", "complete_train"])
    tasks = [manifest[trains], manifest[manifest["split"] == "base_valid"]]
    select = manifest[manifest["split"] == "complete_select"]
    rows = []
    for row, model in train_by_epoch(study, pixels, tasks, [class_index(task["nature"]) for task in tasks], rate=rate):
        said = predict(model, pixels, select.index.to_numpy()).numpy().argmax(axis=1)
        own = {name: row[name] for name in ("epoch", "valid_loss", "valid_balanced_accuracy")}
        rows.append(own | {"select_balanced_accuracy": balanced_accuracy_score(class_index(select["nature"]), said)})
    return rows


def three_blocks(
    study: dict, manifest: pd.DataFrame, pixels: np.ndarray, *, rate: float, main_share: float
) -> list[dict]:
    """Three base models, and a logistic regression on their features after each epoch."""
    read = {part: manifest[manifest["split"] == part] for part in ("complete_train", "complete_select")}
    features = {}  # by epoch: part -> [n, D] of each base model
    own: dict[int, list[dict]] = {}
    for nature in CLASSES:
        how = {"main_share": main_share, "split_seed": study["split_seed"]}
        tasks = [base_task(manifest, nature, split=f"base_{part}", **how) for part in ("train", "valid")]
        for row, model in train_by_epoch(
            study, pixels, tasks, [task["is_main"].to_numpy() for task in tasks], rate=rate
        ):
            logits = predict(model, pixels, tasks[1].index.to_numpy()).numpy()
            area = roc_auc_score(tasks[1]["is_main"], logits[:, 1] - logits[:, 0])
            epoch = int(row["epoch"])
            told = {name: row[name] for name in ("valid_loss", "valid_balanced_accuracy")}
            own.setdefault(epoch, []).append(told | {"valid_auc": area})
            for part, rows in read.items():
                features.setdefault((epoch, part), []).append(_features(model, pixels, rows.index.to_numpy()))
    rows = []
    for epoch, found in own.items():
        x = {part: np.concatenate(features[epoch, part], axis=1) for part in read}
        fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
        said = fitted.fit(x["complete_train"], read["complete_train"]["nature"]).predict(x["complete_select"])
        right = balanced_accuracy_score(read["complete_select"]["nature"], said)
        rows.append({"epoch": epoch, **pd.DataFrame(found).mean(), "select_balanced_accuracy": right})
    return rows


@torch.inference_mode()
def _features(model: BaseModel, pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:  # [n, D]
    batches = np.array_split(rows, max(1, len(rows) // 32))
    return np.concatenate([model.features(torch.from_numpy(pixels[b]).permute(0, 3, 1, 2)).numpy() for b in batches])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder of the images and their table images.csv")
    parser.add_argument("--unseen", default="", help="architectures that stay apart, with commas")
    parser.add_argument("--shares", type=float, nargs="*", default=[0.5, 0.9])
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-4, 1e-3])
    parser.add_argument("--three-way", action="store_true", help="one backbone for the three natures as well")
    args = parser.parse_args()
    torch.set_num_threads(1)
    study = read_study()
    manifest, pixels = read_images(args.root, study, tuple(filter(None, args.unseen.split(","))))
    for rate in args.rates:
        trials = {("three blocks", share): {"main_share": share} for share in args.shares}
        for (method, share), how in trials.items():
            _append(three_blocks(study, manifest, pixels, rate=rate, **how), method, share, rate)
        if args.three_way:
            _append(three_way(study, manifest, pixels, rate=rate), "three-way backbone", None, rate)


def _append(rows: list[dict], method: str, share: float | None, rate: float) -> None:
    columns = ["epoch", "valid_loss", "valid_balanced_accuracy", "valid_auc", "select_balanced_accuracy"]
    table = pd.DataFrame(rows).reindex(columns=columns).round(4)
    table.insert(0, "learning_rate", rate)
    table.insert(0, "main_share", share)
    table.insert(0, "method", method)
    table.to_csv(TABLE, mode="a", header=not TABLE.exists(), index=False)
    print(table.to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
