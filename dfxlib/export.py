"""A published model: one folder that opens without data, base checkpoints, GPU or the study's run."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dfxlib.checkpoint import load_complete_model
from dfxlib.files import safe_name, sha256_file, vouched_sha256, write_text_atomic, write_vouched
from dfxlib.models import REFERENCE_INPUT, DeepFeatureXNet, load_reference_checkpoint
from dfxlib.names import CLASSES
from dfxlib.novelty import load_reference

#: Version of the folder's format. Others are refused, never guessed at.
FORMAT = 1

WEIGHTS, DESCRIPTION, REFERENCE, CARD = "model.safetensors", "model.json", "reference.npz", "MODEL_CARD.md"
_INPUT = ("image_size", "resize_mode", "front_end", "stem")
_UNCALIBRATED = {"temperature": 1.0, "threshold": 0.5, "false_alarm_5": 0.5}


class Opened(NamedTuple):
    """A model that is ready to judge, on the CPU."""

    model: DeepFeatureXNet  # in evaluation mode
    settings: dict  # those of MODEL_SETTINGS, and the hashes of the base models
    calibration: dict  # temperature, threshold, false_alarm_5; unsure_low and unsure_high where there is a band
    reference: dict[str, np.ndarray] | None  # of `novelty`; None: nothing is known of the training data


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
        raise FileNotFoundError(f"model {path} is missing; expected a folder that `python -m dfxlib export` wrote")
    if not backbone:
        raise ValueError(f"checkpoint {path} does not say what network it is; name its backbone, or open a folder")
    model = load_reference_checkpoint(path, backbone=backbone)
    if not isinstance(model, DeepFeatureXNet):
        raise ValueError(f"checkpoint {path} is a single network; expected a complete model of the reference code")
    settings = REFERENCE_INPUT | {"backbone": backbone, "weights": "none", "classes": list(CLASSES)}
    settings |= {"manifest_hash": "", "split_seed": 0, "seed": 0}
    return Opened(model, settings | {"base_models": dict.fromkeys(CLASSES, sha256_file(path))}, _UNCALIBRATED, None)


def _open_folder(folder: Path) -> Opened:
    if not (folder / DESCRIPTION).is_file():
        raise FileNotFoundError(
            f"model folder {folder} holds no {DESCRIPTION}; make one with `python -m dfxlib export RUN FOLDER`"
        )
    cure = "copy the folder again, or export it again"
    if not vouched_sha256(folder / DESCRIPTION):
        raise ValueError(f"model folder {folder} is damaged: {DESCRIPTION} does not match its checksum; {cure}")
    stated = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    if stated["format"] != FORMAT:
        age = "an older" if stated["format"] < FORMAT else "a newer"
        raise ValueError(
            f"model folder {folder} has format {stated['format']}, of {age} version of dfxlib; this one reads format "
            f"{FORMAT}; export the run again with this version"
        )
    for name, digest in stated["files"].items():
        if not (folder / name).is_file():
            raise FileNotFoundError(f"model folder {folder} lacks {name}; {cure}")
        if sha256_file(folder / name) != digest:
            raise ValueError(f"model folder {folder} is damaged: {name} does not match its checksum; {cure}")
    model, settings = load_complete_model(folder / WEIGHTS)
    return Opened(model, settings, stated["calibration"], load_reference(folder / REFERENCE))


def export_model(run: Path, folder: Path) -> Path:
    """Publish a finished run of 20_train_complete_model as `folder`, and give the folder back.

    It is written beside its place and moved there whole; an earlier export is replaced, anything
    else is not. Raises FileNotFoundError and ValueError for a run that is missing, incomplete,
    changed, or no complete model.
    """
    run, folder = Path(run), Path(folder)
    _require_run(run)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / DESCRIPTION).is_file()):
        raise ValueError(f"{folder} is not what export wrote before; give a new folder, or remove it yourself")
    _, settings = load_complete_model(run / WEIGHTS)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in (WEIGHTS, REFERENCE):
        shutil.copy(run / name, partial / name)
    write_text_atomic(partial / CARD, model_card(run, settings))
    stated = {"format": FORMAT, "backbone": settings["backbone"], "input": {name: settings[name] for name in _INPUT}}
    stated |= {"classes": settings["classes"], "calibration": _read(run / "calibration.json")}
    stated |= {"manifest_hash": settings["manifest_hash"], "made": _read(run / "environment.json")}
    stated["metrics"] = json.loads(pd.read_csv(run / "tables" / "summary.csv").to_json(orient="records"))
    stated["files"] = {name: sha256_file(partial / name) for name in (WEIGHTS, REFERENCE, CARD)}
    text = json.dumps(stated, indent=1) + "\n"
    write_vouched(partial / DESCRIPTION, lambda path: path.write_text(text, encoding="utf-8"))
    shutil.rmtree(folder, ignore_errors=True)
    return partial.rename(folder)


def _require_run(run: Path) -> None:
    from dfxlib.execute import DONE, verify  # brings papermill, which nobody needs to open a model

    for name in (WEIGHTS, "calibration.json", "environment.json", "tables/summary.csv", REFERENCE):
        if not (run / name).is_file():
            raise FileNotFoundError(f"run {run} lacks {name}; expected a finished run of 20_train_complete_model")
    problems = verify(run) if (run / DONE).is_file() else []  # stepped through by hand, nobody vouched for it
    if problems:
        raise ValueError(f"run {run}: {problems[0]}; run 20_train_complete_model again")


def model_card(run: Path, settings: dict) -> str:  # Markdown
    """What the model is, what it was trained on, what was measured, and what was not; text in model_card.md."""
    made, calibration = _read(run / "environment.json"), _read(run / "calibration.json")
    versions = [f"{name} {made['packages'][name]}" for name in ("torch", "torchvision", "pillow")]
    bounded = ["value", "low", "high"]
    beside = {  # other runs of the same study, backbone and seed
        step: run.absolute().parents[2] / step / safe_name(settings["backbone"]) / f"seed{settings['seed']}" / "tables"
        for step in ("generalization", "robustness")
    }
    recall = ["nature", "architecture", "split", "images", "recall", "recall_low", "recall_high"]
    words = {
        "natures": ", ".join(settings["classes"]),
        "calibration": ", ".join(f"{name} {value:.4g}" for name, value in calibration.items()),
        "versions": ", ".join(versions),
        "test": _markdown(run / "tables" / "summary.csv", ["verdict", "metric", *bounded, "images"]),
        "architectures": _markdown(beside["generalization"] / "by_architecture.csv", recall),
        "robustness": _markdown(beside["robustness"] / "robustness.csv", ["condition", "metric", *bounded]),
    }
    template = Path(__file__).with_name("model_card.md").read_text(encoding="utf-8")
    return template.format(**settings, **{name: made[name] for name in ("date", "device", "commit")}, **words)


def _markdown(path: Path, columns: list[str]) -> str:
    if not path.is_file():
        return "Not measured in this study."
    table = pd.read_csv(path)[columns]
    rows = [[f"{v:.3f}" if isinstance(v, float) else str(v) for v in row] for row in table.itertuples(index=False)]
    rows = [["undefined" if value == "nan" else value for value in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [columns, ["---"] * len(columns), *rows])


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))
