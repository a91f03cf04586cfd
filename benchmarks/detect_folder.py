"""Detection of a folder by both engines against the bare model: speed, time to the first verdict, memory.

    python benchmarks/detect_folder.py
    python benchmarks/detect_folder.py --images 16 --images-densenet 4 --files 100 --rounds 1   # a look

Speed: images per second of `detect` by onnxruntime over PNG of 256 px (reading, three backbones, head, distance,
row), without delivery test, as a share of the bare eager model on pictures in memory at its best batch size; the two
in turn, median of the rounds. Engines: forward passes alone, onnxruntime's time against torch's, in turn. First
verdict: from the start of `python -m dfxlib detect` to its first line. Memory: RssAnon (pages of its own, not of
mapped files) while a small net judges a long stream of small files, of which one in a hundred is missing: what the last
nine tenths add. Writes results/detect_folder.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from feature_extraction import PeakRssAnon, net_of
from measure import noisy_picture, report
from PIL import Image

from dfxlib.data.decode import ImageFile
from dfxlib.detect.engines import Judge, open_judge, torch_judge
from dfxlib.detect.export import Opened, export_model
from dfxlib.detect.unlike import describe_training, save_reference
from dfxlib.detect.verdicts import detect
from dfxlib.models.networks import CPU, DeepFeatureXNet
from dfxlib.models.saved import save_model
from dfxlib.names import CLASSES
from dfxlib.study.runs import describe_environment
from dfxlib.system.files import BATCH_VARIABLE

SIDE = 256  # pixels
BATCHES = (1, 4, 8, 16, 32, 64)
CALIBRATION = {"temperature": 1.0, "threshold": 0.5, "false_alarm_5": 0.5}
#: Backbone, side of its squares and batch, of the engines' forward passes.
PASSES = (("resnet18", 256, 8), ("densenet121", 256, 8), ("efficientnet_b0", 256, 8), ("vit_b_16", 256, 8))
PASSES += (("resnet18", 64, 8), ("resnet18", 64, 64), ("efficientnet_lite0", 64, 8), ("efficientnet_lite0", 64, 64))


def tell(what: object) -> None:
    """A line as soon as something is known: on a busy machine the whole takes long."""
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


def plant(folder: Path, count: int, *, side: int) -> list[ImageFile]:
    """Pictures between smooth and noisy, as PNG of photographs are; many files share the bytes of a hundred."""
    folder.mkdir()
    random, files = np.random.default_rng(0), []
    for number in range(count):
        path = folder / f"{number:06d}.png"
        if number < 100:
            noisy_picture(random, side).save(path)
        else:
            os.link(files[number % 100].path, path)
        files.append(ImageFile(path))
    return files


def known_of(model: DeepFeatureXNet) -> dict[str, np.ndarray]:
    width = model.base_models[0].classifier.in_features
    features = np.random.default_rng(0).normal(size=(300, 3, width)).astype(np.float32)
    rows = pd.DataFrame({"format": ["PNG"], "width": [SIDE], "height": [SIDE]})
    return describe_training(features, features[:100], rows, np.ones((3, 1024)))


def opened_of(backbone: str, side: int) -> Opened:
    model = net_of(backbone, side).eval()
    settings = {
        "backbone": backbone,
        "weights": "none",
        "image_size": side,
        "crop_size": 0,
        "crops": 1,
        "resize_mode": "resize",
    }
    settings |= {"front_end": "rgb", "stem": "imagenet", "classes": list(CLASSES), "manifest_hash": "0" * 64}
    return Opened(model, settings | {"split_seed": 0, "seed": 0}, CALIBRATION, known_of(model))


@torch.inference_mode()
def bare_rate(model: DeepFeatureXNet, squares: torch.Tensor, batch_size: int) -> float:  # images a second
    model(squares[:batch_size])
    started = time.perf_counter()
    for batch in squares.split(batch_size):
        model(batch)
    return len(squares) / (time.perf_counter() - started)


def folder_rate(judge: Judge, files: list[ImageFile], batch_size: int) -> float:
    started = time.perf_counter()
    rows = sum(1 for row in detect(judge, files, delivery=False, batch_size=batch_size) if row["verdict"])
    return rows / (time.perf_counter() - started)


def speed(backbone: str, folder: Path, files: list[ImageFile], rounds: int) -> dict:
    opened, judge = opened_of(backbone, SIDE), open_judge(exported(backbone, folder, SIDE), engine="onnx")
    tell(f"{backbone} is built")
    squares = torch.from_numpy(np.stack([np.asarray(Image.open(file.path)) for file in files[:64]])).permute(0, 3, 1, 2)
    rates = {size: bare_rate(opened.model, squares, size) for size in BATCHES if size <= len(squares)}
    best = max(rates, key=rates.get)
    tell(f"{backbone}: {rates[best]:.2f} images a second by itself, in batches of {best}")
    pairs = [(bare_rate(opened.model, squares, best), folder_rate(judge, files, 32)) for _ in range(rounds)]
    bare, ours = np.median(pairs, axis=0)
    share = float(np.median([own / alone for alone, own in pairs]))
    return {"best_batch": best, "images": len(files), "bare_images_per_second": round(bare, 2),
            "images_per_second": round(ours, 2), "share": share}  # fmt: skip


def seconds_of(judge: Judge, squares: np.ndarray) -> float:
    started = time.perf_counter()
    judge.score(squares)
    return time.perf_counter() - started


def engines(backbone: str, side: int, batch: int, folder: Path, rounds: int) -> dict:
    """Seconds of torch a second of onnxruntime, forward passes in turn; and the largest difference of a score."""
    place = exported(backbone, folder, side)
    both = open_judge(place, engine="onnx"), torch_judge(opened_of(backbone, side), CPU)
    squares = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
    for judge in both:
        judge.score(squares)
    times = [[seconds_of(judge, squares) for judge in both] for _ in range(3 * rounds)]
    same = np.abs(both[0].score(squares)[1] - open_judge(place, engine="torch").score(squares)[1]).max()
    return {"ratio": float(np.median([theirs / ours for ours, theirs in times])), "difference": float(same)}


def first_verdict(backbone: str, folder: Path, files: list[ImageFile], rounds: int) -> float:  # seconds
    model = exported(backbone, folder, SIDE)
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    first = []
    for _ in range(rounds + 1):  # the first round fills the disk's cache
        command = [sys.executable, "-m", "dfxlib", "detect", str(model), str(files[0].path.parent), "--no-delivery"]
        started = time.perf_counter()
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, env=environment, **pipes) as process:
            assert b".png: " in process.stdout.readline()
            first.append(time.perf_counter() - started)
            process.terminate()
    return float(np.median(first[1:]))


def exported(backbone: str, folder: Path, side: int) -> Path:
    """An exported folder of random weights; made once."""
    place, run = folder / f"{backbone}-{side}", folder / f"run-{backbone}-{side}"
    if place.is_dir():
        return place
    opened = opened_of(backbone, side)
    (run / "tables").mkdir(parents=True)
    save_model(run / "model.safetensors", opened.model, settings=opened.settings)
    (run / "calibration.json").write_text(json.dumps(CALIBRATION))
    (run / "environment.json").write_text(json.dumps(describe_environment(torch.device("cpu"))))
    pd.DataFrame(columns=["verdict", "metric", "value", "low", "high", "images"]).to_csv(
        run / "tables" / "summary.csv", index=False
    )
    save_reference(run / "reference.npz", opened.reference)
    return export_model(run, place)


def memory(folder: Path, count: int) -> dict:  # MB
    """RssAnon after a tenth of a stream of files, and its peak over the others; every hundredth is missing."""
    judge = open_judge(exported("timm:test_resnet", folder, 32), engine="onnx")
    files = plant(folder / "small", 1000, side=32)
    stream = (ImageFile(folder / "gone.png") if n % 100 == 0 else files[n % 1000] for n in range(count))
    rows = detect(judge, stream, delivery=False)
    with PeakRssAnon() as early:
        for _ in range(count // 10):
            next(rows)
    with PeakRssAnon() as late:
        problems = sum(bool(row["problem"]) for row in rows)
    return {
        "files": count,
        "problems_of_the_last": problems,
        "early_mb": early.bytes / 2**20,
        "late_mb": late.bytes / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--images-densenet", type=int, default=300, help="fewer: a thousand would take an hour")
    parser.add_argument("--files", type=int, default=100_000, help="of the measurement of memory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    os.environ[BATCH_VARIABLE] = "1"  # no progress bars
    load = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        files = plant(Path(folder, "images"), args.images, side=SIDE)
        place = Path(folder)
        stages = {  # memory first: what the others leave behind is not its own
            "memory": lambda: memory(place, args.files),
            "densenet121": lambda: speed("densenet121", place, files[: args.images_densenet], args.rounds),
            "efficientnet_b0": lambda: speed("efficientnet_b0", place, files, args.rounds),
            "first verdict": lambda: first_verdict("resnet18", place, files, args.rounds),
        }
        for backbone, side, batch in PASSES:
            stages[f"{backbone}, {side} px, batch {batch}"] = (
                lambda b=backbone, s=side, n=batch: engines(b, s, n, place, args.rounds)
            )  # fmt: skip
        found = {}
        for name, measure in stages.items():
            found[name] = measure()
            tell(f"{name}: {json.dumps(found[name])}")
    figures = {
        f"{name}: share of the bare eager model": (found[name]["share"], ">=", 1.2)
        for name in ("densenet121", "efficientnet_b0")
    }
    figures["first verdict [s]"] = (found["first verdict"], "<=", 2)
    passes = [found[f"{backbone}, {side} px, batch {batch}"] for backbone, side, batch in PASSES]
    figures["largest difference of a score"] = (max(one["difference"] for one in passes), "<=", 1e-5)
    growth = found["memory"]["late_mb"] - found["memory"]["early_mb"]
    figures["RssAnon added by nine tenths of the files [MB]"] = (growth, "<=", 10)
    held = report(
        "detect_folder", figures, found=found, settings=vars(args), load_before=load, load_after=os.getloadavg()
    )
    raise SystemExit(0 if held else 1)


if __name__ == "__main__":
    main()
