"""Seeded random pictures, trees and tables that the unit tests share."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn

from dfxlib.names import CLASSES
from dfxlib.training.augment import jpeg_blur, plain
from dfxlib.training.fit import Examples, Fitted, fit

SIDE = 32  # pixels

#: What every trained model carries, for resnet18 on 32 px squares.
SETTINGS = {
    "backbone": "resnet18",
    "weights": "none",
    "image_size": SIDE,
    "crop_size": 0,
    "crops": 1,
    "resize_mode": "crop",
    "front_end": "rgb",
    "stem": "imagenet",
    "classes": list(CLASSES),
    "manifest_hash": "0" * 64,
    "split_seed": 0,
    "seed": 0,
}


def noise(seed: int, *, width: int = SIDE, height: int = SIDE) -> Image.Image:  # RGB
    """A picture that no other seed shares a pixel pattern with."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def squares(count: int, *, seed: int = 0, side: int = SIDE) -> np.ndarray:  # [count, side, side, 3] uint8
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def plant_tree(root: Path, *, architectures: int = 2, images: int = 12) -> Path:
    """ROOT/nature/architecture/000.png, all three natures, every picture different."""
    seed = 0
    for nature in CLASSES:
        for number in range(architectures):
            folder = root / nature / f"{nature.split('_')[0]}_{number}"
            folder.mkdir(parents=True)
            for image in range(images):
                noise(seed).save(folder / f"{image:03d}.png")
                seed += 1
    return root


def rows(
    count: int,
    *,
    architectures: int = 3,  # of each nature
    per_group: int = 1,  # images that share a group
) -> pd.DataFrame:
    """Manifest rows without files: natures in turn, groups of neighbours."""
    number = np.arange(count)
    nature = np.array(CLASSES)[number % 3]
    architecture = [f"{n}_{a}" for n, a in zip(nature, number // 3 % architectures)]
    table = pd.DataFrame({"path": [f"{a}/{i:06d}.png" for a, i in zip(architecture, number)]})
    return table.assign(
        nature=nature,
        architecture=architecture,
        group=[f"g{i:06d}" for i in number // per_group],
        problem="",
        split="test",
        sha256=[f"{i:064x}" for i in number],
    )


def write_notebook(path: Path, *cells: str, parameters: str = "") -> Path:
    """A notebook with a title, a parameters cell where there are any, and code cells."""
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.cells = [nbformat.v4.new_markdown_cell("# A small notebook")]
    if parameters:
        notebook.cells.append(nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    notebook.cells += [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(notebook, path)
    return path


class TinyNet(nn.Module):
    """All that a training loop can get wrong, in a few hundred parameters: BatchNorm, dropout, uint8 input."""

    def __init__(self, *, outputs: int = 2, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2))
        self.classifier = nn.Linear(8, outputs)

    def forward(self, images: Tensor) -> Tensor:  # [B, 3, S, S] uint8 -> [B, outputs]
        return self.classifier(self.body(images.float() / 255 - 0.5).mean((2, 3)))


def bright_and_dark(count: int) -> tuple[np.ndarray, np.ndarray]:  # squares [count, 8, 8, 3], labels [count]
    """A task that a few epochs learn: class 1 is brighter."""
    labels = np.arange(count) % 2
    return (squares(count, side=8) // 2 + 100 * labels[:, None, None, None]).astype(np.uint8), labels


#: Of the training below, as its states record them.
TINY_SETTINGS = {"backbone": "tiny", "seed": 0}


def parts(count: int = 61) -> tuple[Examples, Examples]:
    array, labels = bright_and_dark(count)
    cut = count * 2 // 3
    rows = np.random.default_rng(0).permutation(count)
    return tuple(Examples(array, part, labels[part]) for part in (rows[:cut], rows[cut:]))


#: Ways to train it: as the paper does, and with everything that may depend on chance or on the history.
WAYS = {"plain": {}, "augmented": {"read": jpeg_blur, "clip_norm": 0.5, "patience": 4, "deterministic": True}}


def train_tiny(
    folder: Path,
    *,
    read: Callable = plain,
    **options: object,  # of fit
) -> tuple[nn.Module, Fitted]:
    model, (train, valid) = TinyNet(), parts()
    options = {"epochs": 5, "batch_size": 8, "learning_rate": 0.02, "step_size": 2, "gamma": 0.5} | options
    train = train._replace(read=read)
    return model, fit(model, train, valid, state_folder=folder, settings=TINY_SETTINGS, label="tiny", **options)
