"""Checkpoints of the reference code as models of ours."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dfxlib.models.backbones import first_words, torchvision_state
from dfxlib.models.networks import BaseModel, ConvHead, DeepFeatureXNet
from dfxlib.models.zoo import BACKBONES
from dfxlib.names import CLASSES, require_name

#: What the reference's networks take: whole pictures resized to 256 px (vision transformers: their central 224).
REFERENCE_INPUT: dict[str, Any] = {"image_size": 256, "crop_size": 0, "crops": 1, "resize_mode": "resize"}
REFERENCE_INPUT |= {"front_end": "rgb", "stem": "imagenet"}


def load_reference_checkpoint(path: Path, *, backbone: str) -> BaseModel | DeepFeatureXNet:
    """A state dict of the reference code as a model of ours, in evaluation mode.

    A complete one (`model1.* model2.* model3.* convs.* classifier.0.*`) becomes a DeepFeatureXNet
    with the same logits for REFERENCE_INPUT; one with the names of torchvision's network and a
    linear layer at its end becomes a BaseModel. `backbone` is a name of the table. Raises
    FileNotFoundError, and ValueError for what else the file may hold, such as the networks that
    the reference takes from NVIDIA's hub.
    """
    require_name(backbone, tuple(BACKBONES), what="backbone")
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"reference checkpoint {path} is missing; expected a state dict of the reference code")
    try:
        state = torchvision_state(path)
        complete = any(name.startswith("model1.") for name in state)
        return _reference_complete_model(state, backbone) if complete else _reference_base_model(state, backbone)
    except (RuntimeError, ValueError) as error:
        differs = f" ({BACKBONES[backbone].differs})" if BACKBONES[backbone].differs else ""
        raise ValueError(
            f"checkpoint {path} is no reference model of torchvision's {backbone}{differs}: {first_words(error)}"
        ) from error


def _reference_complete_model(state: dict[str, Tensor], backbone: str) -> DeepFeatureXNet:
    base_models = []
    for prefix in ("model1.", "model2.", "model3."):  # in the order of CLASSES
        model = _reference_backbone(_take(state, prefix), backbone, outputs=2)
        nn.init.zeros_(model.classifier.weight)  # the last layer is not in the file, and nothing asks for it
        nn.init.zeros_(model.classifier.bias)
        base_models.append(model)
    head = ConvHead()
    head.convs.load_state_dict(_take(state, "convs."))
    head.classifier.load_state_dict(_take(state, "classifier.0."))
    if state:
        raise RuntimeError(f"it also holds {', '.join(sorted(state))}")
    return DeepFeatureXNet(base_models, head).eval()


def _reference_base_model(state: dict[str, Tensor], backbone: str) -> BaseModel:
    own = BACKBONES[backbone].last_layer  # or else all of which it is a part was replaced
    last = own if f"{own}.bias" in state else own.split(".")[0]
    layer = {name.rpartition(".")[2]: tensor for name, tensor in _take(state, last + ".").items()}
    outputs = len(layer.get("bias", ()))
    if outputs not in (2, len(CLASSES)):
        raise RuntimeError(f"its last layer has {outputs} outputs, expected 2 or {len(CLASSES)}")
    model = _reference_backbone(state, backbone, outputs=outputs)
    model.classifier.load_state_dict(layer)
    return model.eval()


def _reference_backbone(state: dict[str, Tensor], backbone: str, *, outputs: int) -> BaseModel:
    model = BaseModel(
        backbone,
        weights="none",
        image_size=REFERENCE_INPUT["image_size"],
        front_end=REFERENCE_INPUT["front_end"],
        stem=REFERENCE_INPUT["stem"],
        outputs=outputs,
    )
    model.backbone.load_state_dict(state)
    return model


def _take(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """What `state` holds below a prefix, taken out of it."""
    return {name.removeprefix(prefix): state.pop(name) for name in list(state) if name.startswith(prefix)}
