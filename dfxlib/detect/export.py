"""An exported model: one folder that opens without data, base checkpoints, GPU or the study's run; by torch, here."""

import json
import shutil
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dfxlib.detect.card import model_card
from dfxlib.detect.folder import CARD, CURE, DESCRIPTION, FORMAT, GRAPH, LICENCE, REFERENCE, WEIGHTS, read_folder
from dfxlib.models.networks import DeepFeatureXNet
from dfxlib.models.reference import REFERENCE_INPUT, load_reference_checkpoint
from dfxlib.models.saved import load_complete_model
from dfxlib.models.zoo import find_backbone
from dfxlib.names import CLASSES
from dfxlib.study.run_folder import DONE, verify
from dfxlib.system.files import load_json, require_own, require_place, sha256_file, write_text_atomic, write_vouched

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
        folder = read_folder(path)
        model, settings = load_complete_model(folder.path / WEIGHTS)
        if settings != folder.settings:
            raise ValueError(f"model folder {path}: {WEIGHTS} and {DESCRIPTION} state different settings; {CURE}")
        return Opened(model, settings, folder.calibration, folder.reference)
    if not path.is_file():
        raise FileNotFoundError(f"model {path} is missing; expected a folder that `dfx export` wrote")
    if not backbone:
        raise ValueError(f"checkpoint {path} does not say what network it is; name its backbone, or open a folder")
    loaded = load_reference_checkpoint(path, backbone=backbone)
    if not isinstance(loaded, DeepFeatureXNet):
        raise ValueError(f"checkpoint {path} is a single network; expected a complete model of the reference code")
    settings = REFERENCE_INPUT | {"backbone": backbone, "weights": "none", "classes": list(CLASSES)}
    settings |= {"manifest_hash": "", "split_seed": 0, "seed": 0}
    settings |= {"base_models": dict.fromkeys(CLASSES, sha256_file(path))}
    return Opened(loaded, settings, _UNCALIBRATED, None)


def model_name(path: Path) -> str:
    """What results of an exported model are called: two models of one name must not replace each other's."""
    weights = path / WEIGHTS if path.is_dir() else path
    return f"{path.stem}-{sha256_file(weights)[:8]}"


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
    from dfxlib.detect.graph import write_graph  # takes onnx, which to open a folder does not

    model, settings = load_complete_model(run / WEIGHTS)
    calibration = load_json(run / "calibration.json")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in (WEIGHTS, REFERENCE):
        shutil.copyfile(run / name, partial / name)  # its mode is the umask's, as of all else that is written
    write_text_atomic(partial / CARD, model_card(run, settings, calibration))
    package = find_backbone(settings["backbone"]).package if settings["weights"] == "imagenet" else ""
    for licensed in distributions(name=package) if package else ():  # none where the weights lay in a folder
        # Who passes on what was made of these weights passes on their licence.
        write_text_atomic(partial / LICENCE, licensed.read_text("LICENSE") or "")
    how = {"image_size": settings["image_size"], "temperature": calibration["temperature"]}
    write_graph(partial / GRAPH, model, partial / WEIGHTS, **how)
    stated = {
        "format": FORMAT,
        "settings": settings,
        "calibration": calibration,
        "made": load_json(run / "environment.json"),
        "metrics": json.loads(pd.read_csv(run / "tables" / "summary.csv").to_json(orient="records")),
        # The card is not among them: people add to it.
        "files": {name: sha256_file(partial / name) for name in (WEIGHTS, GRAPH, REFERENCE)},
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
