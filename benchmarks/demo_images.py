"""How many images a base model needs: validation AUC by number of scenes and main share.

    python benchmarks/demo_images.py FOLDER --scenes 1800 3600 --shares 0.5
    python benchmarks/demo_images.py FOLDER --scenes 1800 --shares 0.5 0.9

Everything else is as in studies/demo.yaml. The scenes are those that chose its recipe, and are
tested nowhere. One row a base model is appended to benchmarks/results/demo_images.csv as soon as it
is known. The choice of `demo_scenes` and `main_share` in studies/demo.yaml rests on this table.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml

from dfxdemo.dataset import render_demo
from dfxlib.data.manifest import build_manifest
from dfxlib.data.splits import assign_splits, base_task
from dfxlib.data.squares import pixel_store
from dfxlib.measure.scores import base_scores, summarise_base
from dfxlib.models.networks import BaseModel
from dfxlib.names import CLASSES
from dfxlib.training.augment import reader
from dfxlib.training.fit import Examples, fit, predict

HERE = Path(__file__).parent
STUDY = yaml.safe_load((HERE.parent / "studies" / "demo.yaml").read_text())
TABLE = HERE / "results" / "demo_images.csv"


def read_images(root: Path, scenes: int) -> tuple[pd.DataFrame, np.ndarray]:  # manifest, [N, S, S, 3] uint8
    """The demonstration set of so many scenes."""
    render_demo(root, scenes=scenes, seed=0)  # of no test part
    manifest = build_manifest(root, layout="folders", group_pattern=STUDY["group_pattern"])
    with tempfile.TemporaryDirectory() as folder:
        shape = {"image_size": STUDY["image_size"], "resize_mode": STUDY["resize_mode"]}
        stored = pixel_store(manifest, manifest_hash=str(scenes), data_root=root, cache_root=Path(folder), **shape)
        return manifest, stored[:]


def first_scenes(manifest: pd.DataFrame, scenes: int) -> pd.DataFrame:
    """The rows and splits of a set of fewer scenes, which is a subset of any larger one."""
    number = manifest["path"].str.extract(r"scene(\d+)", expand=False).astype(int)
    rows = manifest[number < scenes]
    return rows.assign(split=assign_splits(rows, split_seed=STUDY["split_seed"], unseen=tuple(STUDY["unseen"])))


def train_base_model(manifest: pd.DataFrame, pixels: np.ndarray, nature: str, *, main_share: float) -> dict:
    """Validation AUC of one base model of the demonstration, with its interval and its images."""
    torch.manual_seed(0)
    model = BaseModel(
        STUDY["backbones"][0], weights=STUDY["weights"], image_size=STUDY["image_size"],
        crop_size=STUDY["crop_size"], crops=STUDY["crops"], front_end=STUDY["front_end"], stem=STUDY["stem"],
    )  # fmt: skip
    options = {"main_share": main_share, "split_seed": STUDY["split_seed"]}
    tasks = [base_task(manifest, nature, split=split, **options) for split in ("base_train", "base_valid")]
    train, valid = (Examples(pixels, task.index.to_numpy(), task["is_main"].to_numpy()) for task in tasks)
    loop = {name: value for name, value in STUDY["base"].items() if name not in ("augment", "patience", "clip_norm")}
    train = train._replace(read=reader(STUDY["base"]["augment"], crop_size=STUDY["crop_size"]))
    with tempfile.TemporaryDirectory() as states:
        fit(model, train, valid, state_folder=Path(states), settings={}, label=f"{nature} {main_share}", **loop)
    logits = predict(model, pixels, valid.rows)
    found = summarise_base(base_scores(tasks[1], logits.numpy()))
    sizes = {"train_main": int(train.labels.sum()), "train_others": int((1 - train.labels).sum())}
    return sizes | found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder that the set may be rendered into")
    parser.add_argument("--scenes", type=int, nargs="+", default=[1800, 3600, 7200])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.9])
    args = parser.parse_args()
    torch.set_num_threads(STUDY["threads"])
    everything, pixels = read_images(args.root, max(args.scenes))
    for scenes in args.scenes:
        manifest = first_scenes(everything, scenes)
        for main_share in args.shares:
            for nature in CLASSES:
                found = train_base_model(manifest, pixels, nature, main_share=main_share)
                row = {"scenes": scenes, "main_share": main_share, "base_model": nature} | found
                TABLE.parent.mkdir(exist_ok=True)
                pd.DataFrame([row]).round(4).to_csv(TABLE, mode="a", header=not TABLE.exists(), index=False)
                print(pd.DataFrame([row]).round(3).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
