"""Features of a network that nobody fine-tuned: with a linear model on them, the field's usual mark."""

from functools import cache

import numpy as np
import torch
from torch import nn

from dfxlib.models.backbones import build_backbone
from dfxlib.models.zoo import find_backbone, weights_file

#: The network, whose weights the extra `pretrained` installs.
NETWORK = "efficientnet_lite0"

_SIDE = 224  # pixels of its pretraining


def is_at_hand() -> bool:
    """Whether the network and its weights are installed."""
    try:
        return weights_file(NETWORK, "imagenet") is not None
    except (ModuleNotFoundError, FileNotFoundError):
        return False


@torch.no_grad()
def imagenet_features(
    pixels: np.ndarray,  # [H, W, 3] uint8
) -> np.ndarray:  # [1280] float64
    """Features of EfficientNet-Lite0 with ImageNet weights, of the picture's central 224 px at most, unscaled.

    Raises FileNotFoundError where its weights are not installed (`is_at_hand` asks).
    """
    network, spec = _network(), find_backbone(NETWORK)
    height, width = (min(_SIDE, extent) for extent in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    seen = torch.tensor(pixels[top : top + height, left : left + width])
    scaled = (seen.permute(2, 0, 1)[None].float() / 255 - spec.mean[0]) / spec.std[0]  # the same for each channel
    return network(scaled)[0].double().numpy()


@cache
def _network() -> nn.Module:
    return build_backbone(NETWORK, weights="imagenet", image_size=_SIDE).eval()
