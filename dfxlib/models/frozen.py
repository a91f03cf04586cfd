"""Features of networks that nobody fine-tuned: with a linear model on them, the field's usual mark."""

from functools import cache

import numpy as np
import torch

from dfxlib.models.networks import BaseModel
from dfxlib.models.zoo import STEMS, require_pretrained, smallest_image_size, weights_file

#: The network of "ImageNet features", whose weights the extra `pretrained` installs.
NETWORK = "efficientnet_lite0"

#: Pixels; side of its pretraining, and the largest that is looked at.
SIDE = 224


def is_at_hand() -> bool:
    """Whether that network and its weights are installed."""
    try:
        return weights_file(NETWORK, "imagenet") is not None
    except (ModuleNotFoundError, FileNotFoundError):
        return False


def open_networks(
    further: dict[str, str],  # weights by network: imagenet, a file or a folder
) -> dict[str, tuple[str, str]]:  # by name of the reading: network, weights
    """The networks whose features are read: NETWORK where it is installed, and those that a study names.

    Those are built once, so that weights that are missing, or another network's, are told before hours of reading.
    Raises what `zoo.require_pretrained` and `backbones.build_backbone` raise.
    """
    require_pretrained(further)
    for name, weights in further.items():
        _network(name, weights, max(SIDE, smallest_image_size(name)))
    known = {"ImageNet features": (NETWORK, "imagenet")} if is_at_hand() else {}
    return known | {f"{name} features": (name, weights) for name, weights in further.items()}


@torch.no_grad()
def features_of(
    squares: np.ndarray,  # [N, S, S, 3] uint8
    *,
    network: str = NETWORK,
    weights: str = "imagenet",
    batch_size: int = 64,  # images
) -> np.ndarray:  # [N, width of the network] float32
    """Features of a pretrained network, 1280 of EfficientNet-Lite0 with ImageNet weights.

    Squares of at most a quarter of SIDE are enlarged four times: so small, a network of ImageNet sees little in them.
    Raises FileNotFoundError where its weights are not at hand.
    """
    opened = _network(network, weights, squares.shape[1])
    batches = torch.tensor(squares).permute(0, 3, 1, 2).split(batch_size)  # [B, 3, S, S], channels last in memory
    return torch.cat([opened.features(batch) for batch in batches]).numpy()


@cache
def _network(name: str, weights: str, side: int) -> BaseModel:
    stem = "enlarged" if side * STEMS["enlarged"] <= SIDE else "imagenet"  # small pictures, as large as it has learned
    return BaseModel(name, weights=weights, image_size=side, stem=stem).eval().to(memory_format=torch.channels_last)
