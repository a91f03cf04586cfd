"""Backbones by name: a torchvision classifier without its last layer."""

import math
import pickle
from pathlib import Path

import torch
from torch import nn

from dfxlib.names import require_name
from dfxlib.zoo import BACKBONES, STEMS, Backbone, input_side


def build_backbone(
    name: str,
    *,
    weights: str = "imagenet",  # imagenet, none, or the path of a torchvision state dict
    stem: str = "imagenet",
    image_size: int = 256,  # pixels of the stored squares
) -> nn.Module:  # [B, 3, S, S] float -> [B, width], S = input_side(name, image_size)
    """A feature extractor: the classifier of torchvision with an Identity as last layer.

    `stem="full"` makes the first convolution 3 x 3 at stride 1 and drops the pooling after it,
    for small images and fine traces (a departure from the paper, off by default).
    Raises ValueError for unknown names, FileNotFoundError for weights that are not at hand.
    """
    # Imported here: it takes 2 s, and notebooks that build no network need not wait for it.
    from torchvision import models as torchvision_models

    spec = BACKBONES[require_name(name, tuple(BACKBONES), what="backbone")]
    require_name(stem, STEMS, what="stem")
    size = {"image_size": input_side(name, image_size)} if spec.patch else {}
    network = getattr(torchvision_models, name)(weights=None, **size)
    if weights != "none":
        try:
            network.load_state_dict(_read_weights(name, weights))
        except (RuntimeError, pickle.UnpicklingError) as error:
            first = " ".join(str(error).split())[:200]
            raise ValueError(f"weights {weights} are no state dict of torchvision's {name}: {first}") from error
    _replace(network, spec.last_layer, nn.Identity())
    if stem == "full":
        _open_stem(network, spec, name)
    return network


def _read_weights(name: str, weights: str) -> dict[str, torch.Tensor]:
    if weights != "imagenet":
        path = Path(weights)
        if not path.is_file():
            raise FileNotFoundError(f"weights {path} are missing; expected 'imagenet', 'none' or a file")
        return torch.load(path, map_location="cpu", weights_only=True)
    from torchvision import models as torchvision_models

    entry = torchvision_models.get_model_weights(name)[BACKBONES[name].weights]
    # Nothing is downloaded at run time: the file must lie in torch's hub cache.
    path = Path(torch.hub.get_dir()) / "checkpoints" / entry.url.rsplit("/", 1)[-1]
    if not path.is_file():
        raise FileNotFoundError(
            f"ImageNet weights of {name} are not at {path}; fetch {entry.url} to that place, or set weights to 'none'"
        )
    return torch.load(path, map_location="cpu", weights_only=True)


def _open_stem(network: nn.Module, spec: Backbone, name: str) -> None:
    if not spec.first_conv:
        raise ValueError(f"stem 'full' needs a convolutional backbone, and {name} has none; use 'imagenet'")
    old = network.get_submodule(spec.first_conv)
    new = nn.Conv2d(old.in_channels, old.out_channels, kernel_size=3, stride=1, padding=1, bias=False)
    nn.init.kaiming_uniform_(new.weight, a=math.sqrt(5))
    _replace(network, spec.first_conv, new)
    if spec.first_pool:
        _replace(network, spec.first_pool, nn.Identity())


def _replace(network: nn.Module, dotted: str, module: nn.Module) -> None:
    parent, _, leaf = dotted.rpartition(".")
    setattr(network.get_submodule(parent), leaf, module)
