"""The networks: base models, the convolutional head, DeepFeatureX Net, and the reference's own."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfxlib.backbones import build_backbone, first_words, torchvision_state
from dfxlib.heads import ConvHead
from dfxlib.names import CLASSES, require_name
from dfxlib.residual import HIGH_PASS
from dfxlib.zoo import BACKBONES, FRONT_ENDS, IMAGENET_MEAN, IMAGENET_STD, find_backbone, input_side

CPU = torch.device("cpu")

#: What the reference's networks take: whole pictures resized to 256 px (vision transformers: their central 224).
REFERENCE_INPUT = {"image_size": 256, "resize_mode": "resize", "front_end": "rgb", "stem": "imagenet"}

_RESIDUAL_SCALE = 10.0  # grey levels that become 1
_RESIDUAL_LIMIT = 3.0  # residuals are clipped to this after scaling


class FrontEnd(nn.Module):
    """From stored squares to the input of a backbone.

    `rgb`: mean and standard deviation of the backbone's pretraining (the paper: ImageNet's); they
    are saved with the model, whatever a later table says. `residual`: a fixed high-pass of
    each channel, scaled and clipped, so that traces do not drown in content when training
    starts from scratch on few images (a departure from the paper, off by default).
    """

    def __init__(
        self,
        kind: str,
        *,
        side: int,  # pixels
        mean: tuple[float, ...] = IMAGENET_MEAN,  # of the three channels in [0, 1]
        std: tuple[float, ...] = IMAGENET_STD,
    ):
        super().__init__()
        self.kind = require_name(kind, FRONT_ENDS, what="front_end")
        self.side = side
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))
        self.register_buffer(
            "kernel", torch.tensor(HIGH_PASS, dtype=torch.float32).expand(3, 1, 5, 5).clone(), persistent=False
        )

    def forward(self, images: Tensor) -> Tensor:  # [B, 3, S, S] uint8 -> [B, 3, side, side] float
        margin = (images.shape[-1] - self.side) // 2
        images = images[..., margin : margin + self.side, margin : margin + self.side].float()
        if self.kind == "rgb":
            return (images / 255 - self.mean) / self.std
        padded = F.pad(images, (2, 2, 2, 2), mode="reflect")
        residual = F.conv2d(padded, self.kernel, groups=3)
        return (residual / _RESIDUAL_SCALE).clamp(-_RESIDUAL_LIMIT, _RESIDUAL_LIMIT)


class BaseModel(nn.Module):
    """A backbone and one linear layer (paper, section 3.1).

    Two outputs (others, main class) make it a base model; three make it a three-way baseline.
    """

    def __init__(
        self,
        backbone: str,
        *,
        weights: str = "imagenet",
        image_size: int = 256,  # pixels
        front_end: str = "rgb",
        stem: str = "imagenet",
        outputs: int = 2,
    ):
        super().__init__()
        self.backbone = build_backbone(backbone, weights=weights, stem=stem, image_size=image_size)
        spec, side = find_backbone(backbone), input_side(backbone, image_size)
        self.front_end = FrontEnd(front_end, side=side, mean=spec.mean, std=spec.std)
        self.classifier = nn.Linear(spec.width, outputs)

    def features(self, images: Tensor) -> Tensor:  # [B, 3, S, S] uint8 -> [B, D]
        return self.backbone(self.front_end(images))

    def forward(self, images: Tensor) -> Tensor:  # [B, 3, S, S] uint8 -> [B, outputs] logits
        return self.classifier(self.features(images))


class DeepFeatureXNet(nn.Module):
    """Three frozen base models, their features stacked, and the head that classifies them.

    Base models come in the order of CLASSES. They stay in evaluation mode whatever the caller
    does: the reference's `model.train()` lets their BatchNorm statistics drift, and frozen
    means frozen (a departure from the reference code).
    """

    def __init__(self, base_models: list[BaseModel], head: nn.Module | None = None):
        super().__init__()
        if len(base_models) != len(CLASSES):
            raise ValueError(f"DeepFeatureX Net takes {len(CLASSES)} base models, got {len(base_models)}")
        self.base_models = nn.ModuleList(base_models).requires_grad_(False)
        self.head = head or ConvHead()
        self.train(self.training)

    def train(self, mode: bool = True) -> "DeepFeatureXNet":
        super().train(mode)
        self.base_models.eval()
        return self

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:  # [B, 3, S, S] uint8 -> [B, 3, D]
        return torch.stack([model.features(images) for model in self.base_models], dim=1)

    def forward(self, images: Tensor) -> Tensor:  # [B, 3, S, S] uint8 -> [B, 3] logits
        return self.head(self.features(images))


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
    how = {name: REFERENCE_INPUT[name] for name in ("image_size", "front_end", "stem")}
    model = BaseModel(backbone, weights="none", outputs=outputs, **how)
    model.backbone.load_state_dict(state)
    return model


def _take(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """What `state` holds below a prefix, taken out of it."""
    return {name.removeprefix(prefix): state.pop(name) for name in list(state) if name.startswith(prefix)}


def resolve_device(device: str) -> torch.device:
    """`auto` is the GPU where there is one; a GPU that is asked for and absent is an error."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} is not available here; set device to 'auto' or 'cpu'")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device {device!r} is unknown; expected auto, cpu or cuda") from error
