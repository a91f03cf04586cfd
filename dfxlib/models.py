"""The networks: base models, the convolutional head, DeepFeatureX Net."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfxlib.backbones import build_backbone
from dfxlib.names import CLASSES, require_name
from dfxlib.residual import HIGH_PASS
from dfxlib.zoo import BACKBONES, FRONT_ENDS, input_side

CPU = torch.device("cpu")

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

_RESIDUAL_SCALE = 10.0  # grey levels that become 1
_RESIDUAL_LIMIT = 3.0  # residuals are clipped to this after scaling


class FrontEnd(nn.Module):
    """From stored squares to the input of a backbone.

    `rgb`: ImageNet mean and standard deviation (the paper). `residual`: a fixed high-pass of
    each channel, scaled and clipped, so that traces do not drown in content when training
    starts from scratch on few images (a departure from the paper, off by default).
    """

    def __init__(self, kind: str, *, side: int):
        super().__init__()
        self.kind = require_name(kind, FRONT_ENDS, what="front_end")
        self.side = side
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_IMAGENET_STD).view(3, 1, 1), persistent=False)
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
        self.front_end = FrontEnd(front_end, side=input_side(backbone, image_size))
        self.classifier = nn.Linear(BACKBONES[backbone].width, outputs)

    def features(self, images: Tensor) -> Tensor:  # [B, 3, S, S] uint8 -> [B, D]
        return self.backbone(self.front_end(images))

    def forward(self, images: Tensor) -> Tensor:  # [B, 3, S, S] uint8 -> [B, outputs] logits
        return self.classifier(self.features(images))


class ConvHead(nn.Module):
    """1-D CNN over the three feature vectors (paper, section 3.2): [B, 3, D] -> [B, 3] logits."""

    def __init__(self, outputs: int = len(CLASSES)):
        super().__init__()
        self.convs = nn.Sequential(
            *_conv_block(len(CLASSES), 16, kernel=7, stride=2),
            *_conv_block(16, 64, kernel=5, stride=2),
            *_conv_block(64, 256, kernel=3, stride=1),
            *_conv_block(256, 512, kernel=3, stride=1),
            nn.Conv1d(512, 1024, kernel_size=3, stride=1, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
        )
        self.classifier = nn.Linear(1024, outputs)

    def forward(self, features: Tensor) -> Tensor:
        return self.classifier(self.convs(features).flatten(1))


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


def _conv_block(channels: int, width: int, *, kernel: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv1d(channels, width, kernel_size=kernel, stride=stride, padding=1)
    return [conv, nn.ReLU(), nn.BatchNorm1d(width)]


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
