"""Features of a network that nobody fine-tuned: with a linear model on them, the field's usual mark."""

from functools import cache

import numpy as np
import torch
from torch import nn

from dfxlib.models.backbones import build_backbone
from dfxlib.models.networks import FrontEnd
from dfxlib.models.zoo import find_backbone, weights_file

#: The network, whose weights the extra `pretrained` installs.
NETWORK = "efficientnet_lite0"

#: Pixels; side of its pretraining, and the largest that is looked at.
SIDE = 224


def is_at_hand() -> bool:
    """Whether the network and its weights are installed."""
    try:
        return weights_file(NETWORK, "imagenet") is not None
    except (ModuleNotFoundError, FileNotFoundError):
        return False


@torch.no_grad()
def imagenet_features(
    squares: np.ndarray,  # [N, S, S, 3] uint8
    *,
    batch_size: int = 64,  # images
) -> np.ndarray:  # [N, 1280] float32
    """Features of EfficientNet-Lite0 with ImageNet weights.

    Raises FileNotFoundError where its weights are not installed (`is_at_hand` asks).
    """
    network, spec = _network(), find_backbone(NETWORK)
    front_end = FrontEnd("rgb", side=squares.shape[1], mean=spec.mean, std=spec.std)
    batches = torch.tensor(squares).permute(0, 3, 1, 2).split(batch_size)  # [B, 3, S, S], channels last in memory
    return torch.cat([network(front_end(batch)) for batch in batches]).numpy()


@cache
def _network() -> nn.Module:
    network = build_backbone(NETWORK, weights="imagenet", image_size=SIDE).eval()
    return network.to(memory_format=torch.channels_last)
