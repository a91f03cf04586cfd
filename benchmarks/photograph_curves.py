"""What one JPEG takes from the single backbone on photographs, with and without blur and JPEG in its training.

    python benchmarks/photograph_curves.py ROOT runs/photographs runs/photographs_plain

ROOT holds the pictures. The models are those of notebook 15, `variant/threeway`, seed 0; each judges the test images
under every condition of its study, as notebook 30 has it for the three blocks. Nothing is trained and nothing is
chosen. Rows go to results/photograph_curves.csv: three-way balanced accuracy and fake AUC with intervals over images,
how much the band of "unsure" decides, and, in the rows "difference", with minus without.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml

from dfxlib.data.manifest import read_manifest
from dfxlib.data.squares import perturbed_squares
from dfxlib.measure.compare import compare
from dfxlib.measure.confidence import unsure_table
from dfxlib.measure.scores import score_table, summarise
from dfxlib.models.saved import load_base_model, require_same_manifest
from dfxlib.system.files import load_json
from dfxlib.training.fit import predict

HERE = Path(__file__).parent
TABLE = HERE / "results" / "photograph_curves.csv"
RUN = Path("variant", "threeway", "efficientnet_lite0", "seed0")


def judged(study: Path, root: Path, conditions: list[str]) -> tuple[dict[str, pd.DataFrame], dict]:
    """Scores of the test images by condition, and the calibration that was frozen on untouched ones."""
    manifest, digest = read_manifest(study / "manifest" / "manifest.csv")
    model, settings = load_base_model(study / RUN / "model.safetensors")
    require_same_manifest(settings, digest)
    calibration = load_json(study / RUN / "calibration.json")
    test = manifest[manifest["split"] == "test"]
    shape = {name: settings[name] for name in ("image_size", "resize_mode")}
    squares = np.concatenate(list(perturbed_squares(test, conditions, data_root=root, **shape)))  # [N, conditions, ...]
    how = {"temperature": calibration["temperature"], "backbone": settings["backbone"], "variant": study.name}
    scores = {}
    for place, condition in enumerate(conditions):
        logits = predict(model, squares[:, place], np.arange(len(test))).numpy()
        scores[condition] = score_table(test, logits, condition=condition, **how)
    return scores, calibration


def rows_of(name: str, scores: dict[str, pd.DataFrame], calibration: dict, *, resamples: int) -> pd.DataFrame:
    """One row a condition."""
    found = []
    for condition, table in scores.items():
        told = summarise(table, calibration, resamples=resamples).set_index(["verdict", "metric"])
        accuracy, auc = told.loc[("three-way", "balanced accuracy")], told.loc[("fake score", "AUC")]
        band = unsure_table(table, calibration, None, by="condition", resamples=resamples).set_index("metric")
        own = {"training": name, "condition": condition, "images": len(table)}
        own |= {key: accuracy[key] for key in ("value", "low", "high")}
        own |= {f"auc{end}": auc[key] for end, key in (("", "value"), ("_low", "low"), ("_high", "high"))}
        found.append(own | {"decided": band.loc["decided", "value"]})
    return pd.DataFrame(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="folder of the pictures")
    parser.add_argument("augmented", type=Path, help="runs of the study with blur and JPEG in training")
    parser.add_argument("plain", type=Path, help="runs of the study without")
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=TABLE)
    args = parser.parse_args()
    conditions = yaml.safe_load((HERE.parent / "studies" / "photographs.yaml").read_text())["conditions"]
    torch.set_num_threads(1)
    scores, tables = {}, []
    for name, study in (("blur and JPEG", args.augmented), ("none", args.plain)):
        scores[name], calibration = judged(study, args.root, conditions)
        tables.append(rows_of(name, scores[name], calibration, resamples=args.resamples))
    for condition in conditions:
        both = {name: [own[condition]] for name, own in scores.items()}
        more = compare(both, resamples=args.resamples)[1].iloc[0]
        row = {"training": "difference", "condition": condition, "images": len(both["none"][0])}
        tables.append(pd.DataFrame([row | {key: more[key] for key in ("value", "low", "high")}]))
    table = pd.concat(tables, ignore_index=True).round(4)
    table.to_csv(args.out, index=False, lineterminator="\n")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
