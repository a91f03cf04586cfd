"""What several crops of a picture bring and cost, on pictures that are larger than the model's input.

    dfx manifest RAW --layout csv --out manifest.csv
    dfx harmonise manifest.csv RAW SAME --format jpeg --quality 90 --subsampling 4:2:0
    python benchmarks/crops_of_pictures.py SAME

SAME holds a table images.csv (layout csv); pictures smaller than SIDE are left out, larger ones give their centre. A
three-way backbone from ImageNet weights learns from parts of CROP pixels drawn at random. Then the same network judges
pictures of folds that it has not seen by the mean of 1, 4 and 9 parts. Folds keep groups together; the epoch is chosen
on a fold of its own. Beside it stand readings of the same pictures in the same folds: what they show, and what JPEG
blocks and resampling left in them. Nothing is chosen by what is told. Rows go to results/crops_of_pictures.csv.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import StratifiedGroupKFold

from dfxlib.data.manifest import build_manifest
from dfxlib.data.squares import pixel_store
from dfxlib.measure.baselines import fit_baseline
from dfxlib.measure.compare import compare
from dfxlib.measure.processing import processing_marks
from dfxlib.measure.scores import class_index, score_table
from dfxlib.models.networks import BaseModel
from dfxlib.names import CLASSES
from dfxlib.training.augment import reader
from dfxlib.training.fit import Examples, class_weights, fit, predict

TABLE = Path(__file__).parent / "results" / "crops_of_pictures.csv"
CROPS = (1, 4, 9)
FOLDS = 5

# As the three-way backbone of studies/photographs.yaml, for a set of a tenth of its size.
LOOP = {"learning_rate": 1e-4, "weight_decay": 1e-3, "batch_size": 32, "step_size": 12, "gamma": 0.2}


def read_images(root: Path, *, side: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Manifest of the pictures of at least `side` pixels, and their centres [N, side, side, 3] uint8."""
    manifest = build_manifest(root, layout="csv")
    large = (manifest["problem"] == "") & (manifest[["width", "height"]].min(axis=1) >= side)
    manifest = manifest[large & manifest["nature"].isin(CLASSES)].reset_index(drop=True)
    with tempfile.TemporaryDirectory() as folder:
        how = {"image_size": side, "resize_mode": "crop", "data_root": root, "cache_root": Path(folder)}
        return manifest, pixel_store(manifest, manifest_hash="crops", **how)[:]


def out_of_fold(
    manifest: pd.DataFrame,
    pixels: np.ndarray,
    *,
    crop: int,
    epochs: int,
    seed: int,
    backbone: str = "efficientnet_lite0",
    weights: str = "imagenet",
) -> tuple[dict[int, np.ndarray], dict[int, float]]:  # by number of crops: logits [N, 3], seconds a picture
    """Each picture is judged by a network that saw no picture of its group."""
    labels = class_index(manifest["nature"])
    parts = folds_of(manifest, seed=seed)
    logits = {crops: np.zeros((len(manifest), len(CLASSES))) for crops in CROPS}
    seconds = dict.fromkeys(CROPS, 0.0)
    for fold, test in enumerate(parts):
        valid = parts[(fold + 1) % FOLDS]
        train = np.setdiff1d(np.arange(len(manifest)), np.concatenate([test, valid]))
        torch.manual_seed(seed)
        size = {"image_size": pixels.shape[1], "crop_size": crop}
        model = BaseModel(backbone, weights=weights, outputs=len(CLASSES), **size)
        learned, chosen = (Examples(pixels, rows, labels[rows]) for rows in (train, valid))
        learned = learned._replace(read=reader("jpeg_blur", crop_size=crop))
        with tempfile.TemporaryDirectory() as states:
            how = {"state_folder": Path(states), "settings": {}, "epochs": epochs, "seed": seed} | LOOP
            fit(model, learned, chosen, loss_weights=class_weights(labels[train]), **how)
        for crops in CROPS:
            model.crops, started = crops, time.perf_counter()
            logits[crops][test] = predict(model, pixels, test).numpy()
            seconds[crops] += (time.perf_counter() - started) / len(manifest)
    return logits, seconds


def folds_of(manifest: pd.DataFrame, *, seed: int) -> list[np.ndarray]:
    """Positions of the pictures of every fold; a group lies in one."""
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    return [test for _, test in folds.split(manifest, manifest["nature"], manifest["group"])]


def read_alone(manifest: pd.DataFrame, pixels: np.ndarray, *, seed: int) -> dict[str, np.ndarray]:  # logits [N, 3]
    """Readings without a network, fitted on all folds but one, by name."""
    natures, groups = manifest["nature"].to_numpy(), manifest["group"].to_numpy()
    marks = pd.DataFrame([processing_marks(square) for square in pixels])
    readings = {"content": manifest[["content"]], "marks of JPEG blocks and resampling": marks.add_prefix("mark")}
    found = {name: np.zeros((len(manifest), len(CLASSES))) for name in readings}
    for test in folds_of(manifest, seed=seed):
        train = np.setdiff1d(np.arange(len(manifest)), test)
        for name, features in readings.items():
            fitted = fit_baseline(features.iloc[train], natures[train], groups=groups[train], seed=seed)
            order = [list(fitted.classes_).index(nature) for nature in CLASSES]
            found[name][test] = fitted.predict_log_proba(features.iloc[test])[:, order]
    return found


def summarise(
    manifest: pd.DataFrame,
    found: list[dict[int, np.ndarray]],
    seconds: list[dict[int, float]],
    alone: list[dict[str, np.ndarray]],
) -> pd.DataFrame:
    """Three-way balanced accuracy by number of crops, what that is more than of one crop, and the time as its multiple.

    Intervals are over images, of the mean over seeds. Readings stand below, without a time.
    """
    tables = {
        str(crops): [
            score_table(manifest, logits[crops], seed=seed, variant=str(crops), temperature=1.0, backbone="")
            for seed, logits in enumerate(found)
        ]
        for crops in CROPS
    } | {
        name: [
            score_table(manifest, logits[name], seed=seed, variant=name, temperature=1.0, backbone="")
            for seed, logits in enumerate(alone)
        ]
        for name in alone[0]
    }
    methods, differences = compare(tables)
    one = pd.DataFrame({"method": differences["method"], "gain": -differences["value"]})
    one = one.assign(gain_low=-differences["high"], gain_high=-differences["low"])
    one = one[one["method"].isin(map(str, CROPS))]
    spent = np.array([[own[crops] for crops in CROPS] for own in seconds]).mean(axis=0)
    kept = methods[["method", "value", "low", "high", "seeds", "images", "clusters"]].merge(one, how="left")
    ratios = dict(zip(map(str, CROPS), spent / spent[0]))
    return kept.assign(time_ratio=kept["method"].map(ratios)).rename(columns={"method": "crops"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder of the images and their table images.csv")
    parser.add_argument("--side", type=int, default=240, help="pixels of a picture that are used")
    parser.add_argument("--crop", type=int, default=112, help="pixels that the network sees")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    manifest, pixels = read_images(options.root, side=options.side)
    print(manifest.groupby("nature").size().to_string())
    how = {"crop": options.crop, "epochs": options.epochs}
    found = [out_of_fold(manifest, pixels, seed=seed, **how) for seed in range(options.seeds)]
    alone = [read_alone(manifest, pixels, seed=seed) for seed in range(options.seeds)]
    table = summarise(manifest, *(list(each) for each in zip(*found, strict=True)), alone).round(4)
    table.to_csv(TABLE, index=False, lineterminator="\n")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
