"""Trained models on disk: whole, verified, and with their settings."""

import hashlib
import json
from pathlib import Path

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dfxlib.models.backbones import require_finite
from dfxlib.models.networks import BaseModel, DeepFeatureXNet, build_head
from dfxlib.models.zoo import weights_file
from dfxlib.names import CLASSES
from dfxlib.system.files import require_format, sha256_file, write_atomic

#: Settings that travel with every trained model, so that it can be rebuilt and traced.
MODEL_SETTINGS = (
    "backbone",
    "weights",
    "image_size",
    "crop_size",
    "crops",
    "resize_mode",
    "front_end",
    "stem",
    "classes",
    "manifest_hash",
    "split_seed",
    "seed",
)

#: Format of the file: the names of tensors, and what the settings mean. It stands among the settings.
FORMAT = 2

_KEY, _DIGEST = "dfxlib", "dfxlib_sha256"


def model_settings(
    *,
    backbone: str,
    weights: str,  # imagenet, none, or a file
    image_size: int,  # pixels
    crop_size: int,  # pixels
    crops: int,
    resize_mode: str,
    front_end: str,
    stem: str,
    manifest_hash: str,  # of the data that it will learn from
    split_seed: int,
    seed: int,
) -> dict:
    """Settings of a model that is about to be trained, with the hash of the weights that it starts from."""
    start = weights_file(backbone, weights)
    made: dict[str, object] = {"backbone": backbone, "weights": weights}
    made["weights_sha256"] = sha256_file(start) if start else ""
    made |= {"image_size": image_size, "crop_size": crop_size, "crops": crops, "resize_mode": resize_mode}
    made |= {"front_end": front_end, "stem": stem}
    learned = {"classes": list(CLASSES), "manifest_hash": manifest_hash, "split_seed": split_seed, "seed": seed}
    return made | learned


def save_model(path: Path, model: torch.nn.Module, *, settings: dict) -> Path:
    """Write weights as safetensors with `settings`, the format and a checksum over all as metadata."""
    missing = [name for name in MODEL_SETTINGS if name not in settings]
    if missing:
        raise ValueError(f"model settings lack {', '.join(missing)}")
    state = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    text = json.dumps(settings | {"format": FORMAT}, sort_keys=True)
    metadata = {_KEY: text, _DIGEST: _digest(state, text)}
    return write_atomic(path, lambda partial: save_file(state, partial, metadata=metadata))


def save_best_and_last(
    folder: Path,
    model: torch.nn.Module,  # with the weights of the smallest validation loss
    last: torch.nn.Module,  # with those of the last epoch
    *,
    losses: pd.Series,  # [epochs] validation losses
    settings: dict,
) -> None:
    """Write model.safetensors and last.safetensors into a run's folder, each with the number of its epoch."""
    save_model(folder / "model.safetensors", model, settings=settings | {"epoch": int(losses.argmin()) + 1})
    save_model(folder / "last.safetensors", last, settings=settings | {"epoch": len(losses)})


def read_model(path: Path) -> tuple[dict[str, Tensor], dict]:  # state dict, settings
    """Weights and settings of a saved model; raises with the file's name where it is unusable.

    safetensors checks the shape of a file, not its bytes: the checksum of `save_model` does.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"model {path} is missing; run the notebook that trains it first")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise ValueError(f"model {path} is damaged: {error}; train it again") from error
    if _KEY not in metadata:
        raise ValueError(f"model {path} carries no settings of this study; expected one that a notebook saved")
    if metadata.get(_DIGEST) != _digest(state, metadata[_KEY]):
        raise ValueError(f"model {path} is damaged: it does not match its checksum; train it again")
    settings = json.loads(metadata[_KEY])
    require_format(settings.pop("format", 0), FORMAT, what=f"model {path}", anew="train it again")
    return state, settings


def load_base_model(path: Path) -> tuple[BaseModel, dict]:  # model in evaluation mode, settings
    """A saved base model or three-way baseline; raises ValueError for any other file."""
    state, settings = read_model(path)
    if "classifier.bias" not in state:
        raise ValueError(f"model {path} is no base model; expected one of 10_train_base_model")
    outputs = len(state["classifier.bias"])
    model = _empty_base_model(settings, outputs=outputs)
    model.load_state_dict(state)
    return model.eval(), settings


def load_base_models(
    paths: dict[str, Path],  # by nature
    *,
    manifest_hash: str,  # of the study's data, which the base models must share
) -> tuple[list[BaseModel], dict]:
    """The base models in the order of CLASSES, the settings that all three share, and the files' hashes by nature.

    Raises ValueError where one of them saw other data, another transform or another backbone.
    """
    models, shared = [], {"manifest_hash": manifest_hash}
    for nature in CLASSES:
        model, settings = load_base_model(paths[nature])
        for name, value in shared.items():
            if settings[name] != value:
                raise ValueError(
                    f"base model {paths[nature]} has {name} {settings[name]!r}, expected {value!r} "
                    "as in this study and its other base models; train it again"
                )
        shared = {name: settings[name] for name in MODEL_SETTINGS}
        models.append(model)
    return models, shared | {"base_models": {nature: sha256_file(paths[nature]) for nature in CLASSES}}


def load_complete_model(path: Path) -> tuple[DeepFeatureXNet, dict]:  # evaluation mode, settings
    """A saved complete model; raises ValueError for any other file."""
    state, settings = read_model(path)
    if not any(name.startswith("head.") for name in state):
        raise ValueError(f"model {path} is no complete model; expected one of 20_train_complete_model")
    base_models = [_empty_base_model(settings, outputs=2) for _ in CLASSES]
    head = build_head(
        settings.get("head", "conv"),  # the paper's, where none is named
        width=base_models[0].classifier.in_features,
        without=settings.get("without", ""),
        crops=settings["crops"],
    )
    model = DeepFeatureXNet(base_models, head)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"model {path} holds other weights than its settings ask for; train it again") from error
    require_finite(state, what=f"model {path}: ")
    return model.eval(), settings


def require_same_manifest(settings: dict, manifest_hash: str) -> None:
    """Refuse a model that was trained on other data than the study's: its test images may be known to it."""
    if settings["manifest_hash"] != manifest_hash:
        raise ValueError(
            f"the model was trained with manifest {settings['manifest_hash'][:12]}, the study has "
            f"{manifest_hash[:12]}; run 10_train_base_model and 20_train_complete_model again"
        )


def _digest(state: dict[str, Tensor], settings: str) -> str:
    """SHA-256 over the settings' text and every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(settings.encode())
    for name, tensor in sorted(state.items()):
        digest.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _empty_base_model(settings: dict, *, outputs: int) -> BaseModel:
    return BaseModel(
        settings["backbone"],
        weights="none",
        image_size=settings["image_size"],
        crop_size=settings["crop_size"],
        crops=settings["crops"],
        front_end=settings["front_end"],
        stem=settings["stem"],
        outputs=outputs,
    )
