"""Training and feature extraction as shares of what the bare network does, on a GPU.

    python benchmarks/gpu_throughput.py                          # the reference's input size, writes results/
    python benchmarks/gpu_throughput.py --device cpu --backbones resnet18 --images 64 --image-size 64 --out /tmp/t.json

For every backbone and size of a batch: images per second of base training (`training.fit`, from squares in memory) over
those of forward and backward alone on one batch that stays on the device, and of `extract_features`
over those of the three frozen backbones alone on such a batch. With --compile also forward and
backward of the compiled network. All run in one process, one after the other, with random weights
and random pictures: speed depends on neither. benchmarks/gpu.sh calls it with all that a GPU is to show.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from dfxlib.models.networks import BaseModel, DeepFeatureXNet, resolve_device
from dfxlib.study.runs import describe_environment
from dfxlib.system.files import write_text_atomic
from dfxlib.training.features import extract_features
from dfxlib.training.fit import Examples, fit, to_input

BACKBONES = ["resnet50", "densenet121", "efficientnet_b0", "vit_b_16"]
RESULTS = Path(__file__).parent / "results" / "gpu.json"


def resident_rate(step: Callable[[], object], *, images: int, batch_size: int, device: torch.device) -> float:
    """Images per second of `step` on one batch, after three steps that choose kernels; the best of three rounds."""
    steps = max(images // batch_size, 1)
    rates = []
    for number in range(4):
        started = time.perf_counter()
        for _ in range(steps if number else 3):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        rates.append(steps * batch_size / (time.perf_counter() - started))
    return max(rates[1:])


def training_rates(
    backbone: str, pixels: np.ndarray, *, batch_size: int, device: torch.device, compiled: bool = False
) -> dict:
    """Base training with `fit`, second and third epoch, beside forward and backward on a resident batch."""
    rows, size = np.arange(len(pixels)), pixels.shape[1]
    model = BaseModel(backbone, weights="none", image_size=size)
    examples = Examples(pixels, rows, rows % 2)
    few = Examples(pixels, rows[:batch_size], rows[:batch_size] % 2)
    with tempfile.TemporaryDirectory() as folder:
        states = Path(folder)
        fitted = fit(model, examples, few, state_folder=states, settings={}, epochs=3, batch_size=batch_size,
                     device=device, label=backbone)  # fmt: skip
    model.train().requires_grad_(True)
    batch, labels = to_input(pixels[:batch_size], device), torch.tensor(rows[:batch_size] % 2, device=device)

    def step() -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            logits = model(batch)
        F.cross_entropy(logits.float(), labels).backward()
        model.zero_grad(set_to_none=True)

    bare = resident_rate(step, images=len(pixels), batch_size=batch_size, device=device)
    ours = float(fitted.history["images_per_second"][1:].max())
    found = {"training": ours, "forward_backward": bare, "training_share": ours / bare}
    if compiled:
        model.compile()
        found["forward_backward_compiled"] = resident_rate(
            step, images=len(pixels), batch_size=batch_size, device=device
        )
    return found


def extraction_rates(backbone: str, pixels: np.ndarray, *, batch_size: int, device: torch.device) -> dict:
    """`extract_features` into a new store, beside the three backbones on a resident batch."""
    models = [BaseModel(backbone, weights="none", image_size=pixels.shape[1]) for _ in range(3)]
    network = DeepFeatureXNet(models).eval().to(device)
    batch, seconds = to_input(pixels[:batch_size], device), []
    bare = resident_rate(lambda: network.features(batch), images=len(pixels), batch_size=batch_size, device=device)
    for number in range(2):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            extract_features(network, pixels, np.arange(len(pixels)), cache_root=Path(folder), key=[number],
                             batch_size=batch_size, device=device)  # fmt: skip
            seconds.append(time.perf_counter() - started)
    ours = len(pixels) / min(seconds)
    return {"extraction": ours, "forward": bare, "extraction_share": ours / bare}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=BACKBONES)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--image-size", type=int, default=256, help="pixels (the reference's)")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[32], help="images (the reference's)")
    parser.add_argument("--compile", action="store_true", help="forward and backward of the compiled network, too")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    device = resolve_device(args.device)
    shape = (args.images, args.image_size, args.image_size, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    results = []
    for backbone, batch_size in itertools.product(args.backbones, args.batch_sizes):
        torch.manual_seed(0)
        how = {"batch_size": batch_size, "device": device}
        found = training_rates(backbone, pixels, compiled=args.compile, **how)
        found |= extraction_rates(backbone, pixels, **how)
        results.append({"backbone": backbone, "batch_size": batch_size} | found)
        print(backbone, batch_size, {name: round(value, 3) for name, value in found.items()}, flush=True)
    settings = {"images": args.images, "image_size": args.image_size}
    record = {"unit": "images per second", "settings": settings, "results": results}
    record["environment"] = describe_environment(device)
    write_text_atomic(args.out, json.dumps(record, indent=1) + "\n")
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
