"""The networks: base models, the convolutional head, DeepFeatureX Net, and the reference's own."""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfxlib.data.residual import HIGH_PASS
from dfxlib.models.backbones import build_backbone
from dfxlib.models.zoo import FRONT_ENDS, IMAGENET_MEAN, IMAGENET_STD, STEMS, find_backbone, input_side, require_crops
from dfxlib.names import CLASSES, HEADS, require_name

CPU = torch.device("cpu")

_RESIDUAL_SCALE = 10.0  # grey levels that become 1

_RESIDUAL_LIMIT = 3.0  # residuals are clipped to this after scaling


class FrontEnd(nn.Module):
    """From stored squares to the input of a backbone.

    `rgb`: mean and standard deviation of the backbone's pretraining (the paper: ImageNet's); they
    are saved with the model, whatever a later table says. `residual`: a fixed high-pass of
    each channel, scaled and clipped, so that traces do not drown in content when training
    starts from scratch on few images (a departure from the paper, off by default).
    A stem that enlarges does so here, behind the filter, which would see the edges of its blocks.
    Raises ValueError for squares that are smaller than `side`, which have no centre of that size.
    """

    mean: Tensor  # [3, 1, 1]
    std: Tensor  # [3, 1, 1]
    kernel: Tensor  # [3, 1, 5, 5]

    def __init__(
        self,
        kind: str,
        *,
        side: int,  # pixels
        mean: tuple[float, ...] = IMAGENET_MEAN,  # of the three channels in [0, 1]
        std: tuple[float, ...] = IMAGENET_STD,
        enlarge: int = 1,  # pixels a side that become of one
    ):
        super().__init__()
        self.kind = require_name(kind, FRONT_ENDS, what="front_end")
        self.side = side
        self.enlarge = nn.Upsample(scale_factor=enlarge) if enlarge > 1 else nn.Identity()  # by repetition
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))
        kernel = torch.tensor(HIGH_PASS, dtype=torch.float32).expand(3, 1, 5, 5).clone()  # the same for each channel
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, images: Tensor) -> Tensor:  # [B, 3, S, S] uint8 -> [B, 3, enlarge * side, enlarge * side] float
        height, width = images.shape[-2:]
        if min(height, width) < self.side:
            raise ValueError(
                f"squares of {width} x {height} px are too small for a model that takes {self.side} px; "
                "read them at the model's image_size"
            )
        top, left = (height - self.side) // 2, (width - self.side) // 2
        images = images[..., top : top + self.side, left : left + self.side].float()  # [B, 3, side, side]
        if self.kind == "rgb":
            return self.enlarge((images / 255 - self.mean) / self.std)
        padded = F.pad(images, (2, 2, 2, 2), mode="reflect")  # [B, 3, side + 4, side + 4]
        residual = F.conv2d(padded, self.kernel, groups=3)  # [B, 3, side, side]
        return self.enlarge((residual / _RESIDUAL_SCALE).clamp(-_RESIDUAL_LIMIT, _RESIDUAL_LIMIT))


class BaseModel(nn.Module):
    """A backbone and one linear layer (paper, section 3.1).

    Two outputs (others, main class) make it a base model; three make it a three-way baseline. With a `crop_size`
    below `image_size` the backbone sees parts of a square: its logits are the mean over `crops` fixed places, which
    for one linear layer is that of the mean features (a departure from the paper, off by default). Squares of
    `crop_size`, which training draws, have one place.
    """

    def __init__(
        self,
        backbone: str,
        *,
        weights: str = "imagenet",
        image_size: int = 256,  # pixels
        crop_size: int = 0,  # pixels; side of the part that the backbone sees, 0: the whole square
        crops: int = 1,  # places of that part, a square number; 1: the centre
        front_end: str = "rgb",
        stem: str = "imagenet",
        outputs: int = 2,
    ):
        super().__init__()
        seen = require_crops(crop_size, crops, image_size=image_size) or image_size
        self.backbone = build_backbone(backbone, weights=weights, stem=stem, image_size=seen)
        spec, side = find_backbone(backbone), input_side(backbone, seen, stem=stem) // STEMS[stem]
        self.seen, self.crops = seen, crops
        self.front_end = FrontEnd(front_end, side=side, mean=spec.mean, std=spec.std, enlarge=STEMS[stem])
        self.classifier = nn.Linear(spec.width, outputs)

    def features(self, images: Tensor) -> Tensor:  # [B, 3, S, S] uint8 -> [B, D]
        return self.crop_features(images).mean(dim=1)

    def crop_features(self, images: Tensor) -> Tensor:  # [B, 3, S, S] uint8 -> [B, crops, D]
        """Features of each part by itself, as a head needs them that is not linear."""
        found = [self.backbone(self.front_end(crop)) for crop in self._crops(images)]
        return torch.stack(found, dim=1)

    def forward(self, images: Tensor) -> Tensor:  # [B, 3, S, S] uint8 -> [B, outputs] logits
        return self.classifier(self.features(images))

    def _crops(self, images: Tensor) -> list[Tensor]:  # [B, 3, S, S] -> crops times [B, 3, crop_size, crop_size]
        spare = images.shape[-1] - self.seen
        if self.crops == 1 or spare <= 0:
            return [images]  # the front end takes the centre, and refuses what is too small
        last = math.isqrt(self.crops) - 1
        steps = [slice(spare * step // last, spare * step // last + self.seen) for step in range(last + 1)]
        return [images[..., rows, columns] for rows in steps for columns in steps]


class DeepFeatureXNet(nn.Module):
    """Three frozen base models, their features stacked, and the head that classifies them.

    Base models come in the order of CLASSES. They stay in evaluation mode whatever the caller
    does: the reference's `model.train()` lets their BatchNorm statistics drift, and frozen
    means frozen (a departure from the reference code). Where base models see several `crops` of a
    picture, its features are those of all parts in a row, D standing for crops * D, and the head
    is a MeanOverCrops.
    """

    def __init__(self, base_models: list[BaseModel], head: nn.Module | None = None):
        super().__init__()
        if len(base_models) != len(CLASSES):
            raise ValueError(f"DeepFeatureX Net takes {len(CLASSES)} base models, got {len(base_models)}")
        self.base_models = nn.ModuleList(base_models).requires_grad_(False)
        self.head = ConvHead() if head is None else head
        self.base_models.eval()

    def each_base_model(self) -> list[BaseModel]:
        """The three in the order of CLASSES; nn.ModuleList says of its members only that they are modules."""
        return [model for model in self.base_models if isinstance(model, BaseModel)]

    def train(self, mode: bool = True) -> "DeepFeatureXNet":
        super().train(mode)
        self.base_models.eval()
        return self

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:  # [B, 3, S, S] uint8 -> [B, 3, D]
        return torch.stack([model.crop_features(images).flatten(1) for model in self.each_base_model()], dim=1)

    def forward(self, images: Tensor) -> Tensor:  # [B, 3, S, S] uint8 -> [B, 3] logits
        return self.head(self.features(images))


class ConvHead(nn.Module):
    """1-D CNN over the three feature vectors (paper, section 3.2)."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.Sequential(  # [B, 3, D]
            *_conv_block(len(CLASSES), 16, kernel=7, stride=2),  # [B, 16, about D / 2]
            *_conv_block(16, 64, kernel=5, stride=2),  # [B, 64, about D / 4]
            *_conv_block(64, 256, kernel=3, stride=1),
            *_conv_block(256, 512, kernel=3, stride=1),
            nn.Conv1d(512, 1024, kernel_size=3, stride=1, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),  # [B, 1024, 1]
        )
        self.classifier = nn.Linear(1024, len(CLASSES))

    def forward(self, features: Tensor) -> Tensor:  # [B, 3, D] -> [B, 3] logits
        return self.classifier(self.convs(features).flatten(1))


class PermutedHead(ConvHead):
    """The 1-D CNN on features in another order, the same for the three vectors and fixed.

    The order of a backbone's features means nothing, so a convolution over them has no locality
    to use: if the order matters to the result, that is a finding.
    """

    order: Tensor  # [D]

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("order", torch.from_numpy(np.random.default_rng(0).permutation(width)))

    def forward(self, features: Tensor) -> Tensor:  # [B, 3, D] -> [B, 3] logits
        return super().forward(features[..., self.order])


class LinearHead(nn.Module):
    """One linear layer over all features."""

    def __init__(self, width: int):
        super().__init__()
        self.classifier = nn.Linear(len(CLASSES) * width, len(CLASSES))

    def forward(self, features: Tensor) -> Tensor:  # [B, 3, D] -> [B, 3] logits
        return self.classifier(features.flatten(1))


class WithoutRow(nn.Module):
    """Hides the features of one base model from the head: an ablation.

    A row of zeros is what a head without that channel would see: its weights touch nothing. The
    head keeps its shape, so that the other weights start where those of the whole model start.
    """

    def __init__(self, row: int):
        super().__init__()
        self.row = row

    def forward(self, features: Tensor) -> Tensor:  # [B, 3, D] -> [B, 3, D]
        left = features.clone()
        left[:, self.row] = 0
        return left


class MeanOverCrops(nn.Module):
    """The mean of a head's logits over the parts of a picture that the base models saw."""

    def __init__(self, head: nn.Module, crops: int):
        super().__init__()
        self.head, self.crops = head, crops

    def forward(self, features: Tensor) -> Tensor:  # [B, 3, crops * D] -> [B, 3] logits
        parts = features.unflatten(2, (self.crops, -1)).movedim(2, 0)  # [crops, B, 3, D]
        return self.head(parts.flatten(0, 1)).unflatten(0, (self.crops, -1)).mean(dim=0)


def build_head(
    kind: str = "conv",  # conv (paper), linear or permuted
    *,
    width: int,  # D, features of a base model
    without: str = "",  # nature whose base model stays hidden; empty: none (paper)
    crops: int = 1,  # parts of a picture that the base models see
) -> nn.Module:  # [B, 3, crops * D] -> [B, 3] logits
    """The head of a kind, its weights drawn anew; raises ValueError for an unknown kind or nature."""
    require_name(kind, HEADS, what="head")
    head: nn.Module
    if kind == "linear":
        head = LinearHead(width)
    elif kind == "permuted":
        head = PermutedHead(width)
    else:
        head = ConvHead()
    if without:
        require_name(without, CLASSES, what="without")
        head = nn.Sequential(WithoutRow(CLASSES.index(without)), head)
    return MeanOverCrops(head, crops) if crops > 1 else head


def _conv_block(inputs: int, outputs: int, *, kernel: int, stride: int) -> list[nn.Module]:  # channels
    conv = nn.Conv1d(inputs, outputs, kernel_size=kernel, stride=stride, padding=1)
    return [conv, nn.ReLU(), nn.BatchNorm1d(outputs)]


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
