"""What reads the three feature vectors: the paper's 1-D CNN, and what it is compared with."""

import numpy as np
import torch
from torch import Tensor, nn

from dfxlib.names import CLASSES, HEADS, require_name


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


class PermutedHead(ConvHead):
    """The 1-D CNN on features in another order, the same for the three vectors and fixed.

    The order of a backbone's features means nothing, so a convolution over them has no locality
    to use: if the order matters to the result, that is a finding.
    """

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("order", torch.from_numpy(np.random.default_rng(0).permutation(width)))

    def forward(self, features: Tensor) -> Tensor:  # [B, 3, D] -> [B, 3]
        return super().forward(features[..., self.order])


class LinearHead(nn.Module):
    """One linear layer over all features: [B, 3, D] -> [B, 3] logits."""

    def __init__(self, width: int):
        super().__init__()
        self.classifier = nn.Linear(len(CLASSES) * width, len(CLASSES))

    def forward(self, features: Tensor) -> Tensor:
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


def build_head(
    kind: str = "conv",  # conv (paper), linear or permuted
    *,
    width: int,  # D, features of a base model
    without: str = "",  # nature whose base model stays hidden; empty: none (paper)
) -> nn.Module:  # [B, 3, D] -> [B, 3] logits
    require_name(kind, HEADS, what="head")
    head = ConvHead() if kind == "conv" else {"linear": LinearHead, "permuted": PermutedHead}[kind](width)
    if not without:
        return head
    return nn.Sequential(WithoutRow(CLASSES.index(require_name(without, CLASSES, what="without"))), head)


def _conv_block(channels: int, width: int, *, kernel: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv1d(channels, width, kernel_size=kernel, stride=stride, padding=1)
    return [conv, nn.ReLU(), nn.BatchNorm1d(width)]
