"""Backbones by name: a classifier of torchvision or timm without its last layer."""

import argparse
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dfxlib.models.zoo import TIMM, Backbone, find_backbone, input_side, load_timm, require_stem, weights_file


def build_backbone(
    name: str,
    *,
    weights: str = "imagenet",  # imagenet, none, or the path of a state dict or of a folder with it
    stem: str = "imagenet",
    image_size: int = 256,  # pixels of the stored squares
) -> nn.Module:  # [B, 3, S, S] float -> [B, width], S = input_side(name, image_size, stem=stem)
    """A feature extractor: the classifier of torchvision or timm with nothing after its features.

    `stem="full"` moves the first convolution by single pixels and drops the pooling after it,
    for small images and fine traces (a departure from the paper, off by default); `stem="enlarged"` changes nothing
    here but the input's side. Pretrained
    positions of vision transformers are interpolated to the input's side. Raises ValueError for
    unknown names, squares that are too small and files with other weights, FileNotFoundError for
    weights that are not at hand.
    """
    require_stem(name, stem)
    spec, side, path = find_backbone(name), input_side(name, image_size, stem=stem), weights_file(name, weights)
    try:
        network = _timm_network(spec, side, path) if spec.timm else _network(name, spec, side, path)
    except (RuntimeError, ValueError, KeyError) as error:
        if path is None:
            raise
        whose = f"{'timm' if spec.timm else 'torchvision'}'s {name.removeprefix(TIMM)}"
        raise ValueError(f"weights {path} are no state dict of {whose}: {first_words(error)}") from error
    if stem == "full":
        _open_stem(network, spec)
    return network


#: Keys under which trainers keep a network's tensors, and what they, torch.compile and DataParallel put before names.
_KEYS, _WRAPPERS = ("state_dict", "model_state_dict", "model"), ("_orig_mod.", "module.", "model.")


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a file of safetensors or torch; no code of the file is run.

    What trainers put around them is taken off: _KEYS, beginnings of _WRAPPERS that every name has, and the count of
    averaged models. Raises ValueError for anything else, and for numbers that are not finite.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # where timm keeps its options; it runs nothing
            safe = path.suffix == ".safetensors"
            state = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # what an unpickler stumbles over has no common name
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        told = f"; {found[1]} is among what it holds, save the state_dict alone" if found else ""
        raise ValueError(f"the file is damaged, or holds something else than tensors{told}") from error
    for key in _KEYS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError("the file holds something else than tensors with names")
    state = {name: tensor for name, tensor in state.items() if name != "n_averaged"}
    while prefix := next((each for each in _WRAPPERS if state and all(name.startswith(each) for name in state)), ""):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    require_finite(state)
    return state


def require_finite(state: dict[str, Tensor], *, what: str = "") -> None:
    """Raise ValueError for weights with which no score is a number."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"{what}{name} holds numbers that are not finite; take the state of an earlier epoch")


def torchvision_state(path: Path) -> dict[str, Tensor]:
    """A state dict with the names of today's torchvision.

    The published files of densenets have `norm.1` where layers are called `norm1` now, and those
    of googlenet and inception_v3 hold auxiliary heads, which stay off here.
    """
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
    state = {old.sub(r"\1\2", name): tensor for name, tensor in read_state(path).items()}
    return {name: tensor for name, tensor in state.items() if not re.search(r"(^|\.)(aux[12]|AuxLogits)\.", name)}


def first_words(error: Exception) -> str:
    """The beginning of a long message, in one line."""
    return " ".join(str(error).split())[:200]


def _network(name: str, spec: Backbone, side: int, path: Path | None) -> nn.Module:
    # Imported here: it takes 2 s, and notebooks that build no network need not wait for it.
    from torchvision import models as torchvision_models
    from torchvision.models.vision_transformer import interpolate_embeddings

    size = {"image_size": side} if spec.patch else {}
    network = getattr(torchvision_models, name)(weights=None, **size, **spec.options)
    if path:
        state = torchvision_state(path)
        if spec.patch and "encoder.pos_embedding" in state:
            state = interpolate_embeddings(side, spec.patch, state)
        network.load_state_dict(state)
    _replace(network, spec.last_layer, nn.Identity())
    return network


def _timm_network(spec: Backbone, side: int, path: Path | None) -> nn.Module:
    timm = load_timm()
    size: dict[str, Any] = {"img_size": side} if spec.patch else {}
    # Any: as a Module, it would not tell of the method that timm adds.
    network: Any
    if path and not spec.package:
        # With its classifier, since timm checks a state dict strictly only where all of it has a place.
        overlay = {"state_dict": read_state(path), "custom_load": False}
        network = timm.create_model(spec.timm, pretrained=True, pretrained_cfg_overlay=overlay, **size)
    else:
        network = timm.create_model(spec.timm, **size)
    if path and spec.package:
        state, names = read_state(path), network.state_dict().keys()
        # A package's file calls them as TensorFlow does, in the same order.
        network.load_state_dict(state if state.keys() == names else dict(zip(names, state.values(), strict=True)))
    network.reset_classifier(0)
    return network


def _open_stem(network: nn.Module, spec: Backbone) -> None:
    first = network.get_submodule(spec.first_conv)
    assert isinstance(first, nn.Conv2d), f"{spec.first_conv} is no convolution"
    first.stride = (1, 1)
    if spec.first_pool:
        _replace(network, spec.first_pool, nn.Identity())


def _replace(network: nn.Module, dotted: str, module: nn.Module) -> None:
    parent, _, leaf = dotted.rpartition(".")
    setattr(network.get_submodule(parent), leaf, module)
