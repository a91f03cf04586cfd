"""A finished run of 20_train_complete_model as the tests of exported models need it: real files, weights untrained."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from samples import SETTINGS, rows, squares
from torch import nn

from dfxlib.data.residual import residual_spectrum
from dfxlib.detect.unlike import describe_training, save_reference
from dfxlib.models.networks import BaseModel, DeepFeatureXNet
from dfxlib.models.saved import save_model
from dfxlib.names import CLASSES
from dfxlib.study.runs import describe_environment
from dfxlib.system.files import safe_name
from dfxlib.training.fit import to_input

BACKBONE = "timm:test_resnet"  # half a million weights: folders that are copied often
CALIBRATION = {"temperature": 2.0, "threshold": 0.25, "false_alarm_5": 0.5}


@torch.no_grad()
def untrained_model() -> DeepFeatureXNet:
    """Random weights that tell pictures apart: statistics of its BatchNorm and size of its logits fit some noise."""
    torch.manual_seed(0)
    model = DeepFeatureXNet([BaseModel(BACKBONE, weights="none", image_size=32) for _ in CLASSES])
    images = to_input(squares(60), torch.device("cpu"))
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.momentum = 1.0  # the statistics of the last batch
    for base in model.base_models:
        base.train()(images)
    logits = model.train()(images)
    model.head.classifier.weight /= logits.std(dim=0)[:, None]
    model.head.classifier.bias -= logits.mean(dim=0)
    return model.eval()


def plant_run(folder: Path, model: DeepFeatureXNet) -> Path:
    """FOLDER/complete/BACKBONE/seed0, and beside it what a robustness run left."""
    run, robustness = (folder / step / safe_name(BACKBONE) / "seed0" for step in ("complete", "robustness"))
    for place in (run, robustness):
        (place / "tables").mkdir(parents=True)
    settings = SETTINGS | {"backbone": BACKBONE, "base_models": dict.fromkeys(CLASSES, "0")}
    save_model(run / "model.safetensors", model, settings=settings)
    (run / "calibration.json").write_text(json.dumps(CALIBRATION))
    (run / "environment.json").write_text(json.dumps(describe_environment(torch.device("cpu"))))
    undefined, sizes = float("nan"), {"images": 60, "clusters": 20}
    summary = [
        {"verdict": "three-way", "metric": "balanced accuracy", "value": 0.7, "low": 0.6, "high": 0.8} | sizes,
        {"verdict": "fake score", "metric": "AUC", "value": undefined, "low": undefined, "high": undefined} | sizes,
    ]
    pd.DataFrame(summary).to_csv(run / "tables" / "summary.csv", index=False)
    measured = {"condition": "raw", "metric": "AUC", "value": 0.9, "low": 0.8, "high": 1.0, "images": 60}
    pd.DataFrame([measured]).to_csv(robustness / "tables" / "robustness.csv", index=False)
    pictures = squares(60)
    with torch.no_grad():
        features = model.features(to_input(pictures, torch.device("cpu"))).numpy()
    spectra = np.stack([residual_spectrum(picture) for picture in pictures[:3]])
    table = rows(60).assign(format="PNG", width=32, height=32)
    save_reference(run / "reference.npz", describe_training(features[:40], features[40:], table, spectra))
    return run
