"""Fills the stores of squares and features with the package on the path, and says what they answer.

python fill_stores.py IMAGES

Every line on its input is a run in a process of its own, which imports the package anew. They are forked from one that
has imported torch, because that takes seconds. The line is JSON: `roots`, folders of stores, each of which is asked;
and `edit`, a file of the package and two texts, the first of which is replaced by the second after the import.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.csv  # noqa: F401 - imported for the runs
import scipy.ndimage  # noqa: F401 - imported for the runs
import torch
from torch import nn

CONDITIONS = ["raw", "blur_k3"]
SIDE = 12  # pixels


def ask(images: Path, *, roots: list[str], edit: list[str]) -> list[dict]:  # of each root: store -> hash of its answer
    from dfxlib.data import squares  # noqa: F401 - imported before the edit
    from dfxlib.training import features  # noqa: F401 - imported before the edit

    if edit:
        replace(Path(edit[0]), *edit[1:])
    return [fill(images, Path(root)) for root in roots]


def fill(images: Path, root: Path) -> dict[str, str]:
    from dfxlib.data.squares import perturbed_squares, pixel_store
    from dfxlib.training.features import extract_features, perturbed_features

    manifest, model = read_images(images), tiny_network()
    size = {"image_size": SIDE, "resize_mode": "resize", "workers": 1}
    squares = pixel_store(manifest, manifest_hash="m", data_root=images, cache_root=root, **size)
    rows, where = np.arange(len(manifest)), {"cache_root": root, "key": ["m", "base models", SIDE, "resize", "cpu"]}
    perturbed = perturbed_squares(manifest, CONDITIONS, data_root=images, **size)
    count = {"conditions": len(CONDITIONS), "images": len(manifest)}
    answers = {
        "squares": squares,
        "plain": extract_features(model, squares, rows, **where),
        "augmented": extract_features(model, squares, rows, augment="jpeg_blur", copies=2, **where),
        "perturbed": perturbed_features(model, perturbed, **count, **where),
    }
    return {name: hashlib.sha256(np.ascontiguousarray(answer)).hexdigest()[:12] for name, answer in answers.items()}


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name} holds {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new))


def read_images(folder: Path) -> pd.DataFrame:  # what the stores read of a manifest
    paths = sorted(folder.iterdir())
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    return pd.DataFrame({"path": [path.name for path in paths], "sha256": digests}).assign(
        container="", row="", problem=""
    )


def tiny_network() -> nn.Module:
    """The study's network with the front ends and with backbones that take means over quarters of a picture."""
    from dfxlib.models.networks import BaseModel, DeepFeatureXNet, FrontEnd

    class Tiny(BaseModel):
        def __init__(self, kind: str):
            nn.Module.__init__(self)
            self.front_end = FrontEnd(kind, side=SIDE)
            self.seen, self.crops = SIDE, 1
            self.backbone = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
            self.classifier = nn.Linear(12, 2)

    torch.manual_seed(0)
    return DeepFeatureXNet([Tiny(kind) for kind in ("rgb", "residual", "rgb")])


if __name__ == "__main__":
    for line in sys.stdin:
        child = os.fork()
        if not child:
            print(json.dumps(ask(Path(sys.argv[1]), **json.loads(line))), flush=True)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.exit(1)
