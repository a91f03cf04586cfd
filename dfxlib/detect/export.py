"""An exported model: one folder that opens without data, base checkpoints, GPU or the study's run."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dfxlib.detect.unlike import load_reference
from dfxlib.measure.band import promise
from dfxlib.measure.scores import markdown, never_said
from dfxlib.models.networks import DeepFeatureXNet
from dfxlib.models.reference import REFERENCE_INPUT, load_reference_checkpoint
from dfxlib.models.saved import load_complete_model
from dfxlib.names import CLASSES
from dfxlib.study.run_folder import DONE, verify
from dfxlib.system.files import (
    checksum_path,
    load_json,
    require_format,
    require_own,
    require_place,
    safe_name,
    sha256_file,
    write_text_atomic,
    write_vouched,
)

#: Version of the folder's format. Others are refused, never guessed at.
FORMAT = 3

WEIGHTS, DESCRIPTION, REFERENCE, CARD = "model.safetensors", "model.json", "reference.npz", "MODEL_CARD.md"

_CURE = "copy the folder again, or export it again"

_INPUT = ("image_size", "crop_size", "crops", "resize_mode", "front_end", "stem")

_UNCALIBRATED = {"temperature": 1.0, "threshold": 0.5, "false_alarm_5": 0.5}


class Opened(NamedTuple):
    """A model that is ready to judge, on the CPU."""

    model: DeepFeatureXNet  # in evaluation mode
    settings: dict  # those of MODEL_SETTINGS, and the hashes of the base models
    calibration: dict  # temperature, threshold, false_alarm_5; unsure_low, unsure_high and the rest where it has a band
    reference: dict[str, np.ndarray] | None  # of `unlike`; None: nothing is known of the training data


def open_model(path: Path, *, backbone: str = "") -> Opened:
    """An exported folder, or a checkpoint of the reference code, whose `backbone` must be named.

    A reference checkpoint brings no calibration: temperature 1, thresholds 0.5. Raises
    FileNotFoundError and ValueError, each with the cure, for a missing path, a damaged or
    incomplete folder, another version of the format, and a file that is no complete model.
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        raise FileNotFoundError(f"model {path} is missing; expected a folder that `dfx export` wrote")
    if not backbone:
        raise ValueError(f"checkpoint {path} does not say what network it is; name its backbone, or open a folder")
    model = load_reference_checkpoint(path, backbone=backbone)
    if not isinstance(model, DeepFeatureXNet):
        raise ValueError(f"checkpoint {path} is a single network; expected a complete model of the reference code")
    settings = REFERENCE_INPUT | {
        "backbone": backbone,
        "weights": "none",
        "classes": list(CLASSES),
        "manifest_hash": "",
        "split_seed": 0,
        "seed": 0,
        "base_models": dict.fromkeys(CLASSES, sha256_file(path)),
    }
    return Opened(model, settings, _UNCALIBRATED, None)


def model_name(path: Path) -> str:
    """What results of an exported model are called: two models of one name must not replace each other's."""
    weights = path / WEIGHTS if path.is_dir() else path
    return f"{path.stem}-{sha256_file(weights)[:8]}"


def _open_folder(folder: Path) -> Opened:
    if not (folder / DESCRIPTION).is_file():
        raise FileNotFoundError(f"{folder} holds no {DESCRIPTION}; make one with `dfx export RUN FOLDER`")
    checksum = checksum_path(folder / DESCRIPTION)
    _require(folder, checksum.name)
    _require(folder, DESCRIPTION, checksum.read_text(errors="replace")[:64])
    try:
        stated = load_json(folder / DESCRIPTION)
        version, digests = int(stated["format"]), stated.get("files", {})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"model folder {folder}: {DESCRIPTION} states no number as its format; {_CURE}") from error
    require_format(version, FORMAT, what=f"model folder {folder}", anew="export the run again")
    for name in (WEIGHTS, REFERENCE):
        _require(folder, name, digests.get(name, ""))
    model, settings = load_complete_model(folder / WEIGHTS)
    return Opened(model, settings, stated["calibration"], load_reference(folder / REFERENCE))


def _require(folder: Path, name: str, digest: str | None = None) -> None:
    if not (folder / name).is_file():
        raise FileNotFoundError(f"model folder {folder} lacks {name}; {_CURE}")
    if digest is not None and sha256_file(folder / name) != digest:
        raise ValueError(f"model folder {folder} is damaged: {name} does not match its checksum; {_CURE}")


def export_model(run: Path, folder: Path) -> Path:
    """Export a finished run of 20_train_complete_model as `folder`, and give the folder back.

    It is written beside its place and moved there whole; an earlier export is replaced, anything
    else is not. Raises FileNotFoundError and ValueError for a run that is missing, incomplete,
    changed, or no complete model.
    """
    run, folder = Path(run), Path(folder)
    _require_run(run)
    require_own(folder, DESCRIPTION)
    require_place(folder, what=f"model folder {folder}", apart=[run])
    _, settings = load_complete_model(run / WEIGHTS)
    calibration = load_json(run / "calibration.json")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in (WEIGHTS, REFERENCE):
        shutil.copy(run / name, partial / name)
    write_text_atomic(partial / CARD, model_card(run, settings, calibration))
    stated = {
        "format": FORMAT,
        "backbone": settings["backbone"],
        "input": {name: settings[name] for name in _INPUT},
        "classes": settings["classes"],
        "calibration": calibration,
        "manifest_hash": settings["manifest_hash"],
        "made": load_json(run / "environment.json"),
        "metrics": json.loads(pd.read_csv(run / "tables" / "summary.csv").to_json(orient="records")),
        "files": {name: sha256_file(partial / name) for name in (WEIGHTS, REFERENCE)},  # people add to the card
    }
    write_vouched(partial / DESCRIPTION, lambda path: path.write_text(json.dumps(stated, indent=1), encoding="utf-8"))
    shutil.rmtree(folder, ignore_errors=True)
    return partial.rename(folder)


def _require_run(run: Path) -> None:
    for name in (WEIGHTS, "calibration.json", "environment.json", "tables/summary.csv", REFERENCE):
        if not (run / name).is_file():
            raise FileNotFoundError(f"run {run} lacks {name}; expected a finished run of 20_train_complete_model")
    if (run / DONE).is_file() and (problems := verify(run)):  # stepped through by hand, nobody vouched for it
        raise ValueError(f"run {run}: {problems[0]}; run 20_train_complete_model again")


def model_card(run: Path, settings: dict, calibration: dict) -> str:  # Markdown
    """What the model is, what it was trained on, what was measured, and what was not; text in model_card.md."""
    made, cuts = load_json(run / "environment.json"), calibration.items()
    bounded = ["value", "low", "high"]
    recall = ["nature", "architecture", "split", "images", "recall", "recall_low", "recall_high"]
    # Other runs of the same study, backbone and seed.
    study, place = run.absolute().parents[2], Path(safe_name(settings["backbone"]), f"seed{settings['seed']}", "tables")
    template = Path(__file__).with_name("model_card.md").read_text(encoding="utf-8")
    return template.format(
        **settings,
        **{name: made[name] for name in ("date", "device", "commit")},
        versions=", ".join(f"{name} {made['packages'][name]}" for name in ("torch", "torchvision", "pillow")),
        natures=", ".join(settings["classes"]),
        never=never_said(calibration) or "none",
        promise=promise(calibration),
        calibration=", ".join(f"{name} {value:.4g}" for name, value in cuts if name != "unsure_promise"),
        test=_table(run / "tables" / "summary.csv", ["verdict", "metric", *bounded, "images"]),
        architectures=_table(study / "generalization" / place / "by_architecture.csv", recall),
        robustness=_table(study / "robustness" / place / "robustness.csv", ["condition", "metric", *bounded]),
    )


def _table(path: Path, columns: list[str]) -> str:
    return markdown(pd.read_csv(path)[columns]) if path.is_file() else "Not measured when this card was written."
