"""Backbones: torchvision's networks without their last layer, of the widths and inputs that the zoo states."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models as torchvision_models

from dfxlib.backbones import build_backbone
from dfxlib.zoo import BACKBONES, input_side

SIZE = 64


def inputs(name: str, *, count: int = 2) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(count, 3, input_side(name, SIZE), input_side(name, SIZE))


def built(name: str, **options: object) -> nn.Module:
    return build_backbone(name, **({"weights": "none", "image_size": SIZE} | options)).eval()


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_a_backbone_is_torchvisions_network_up_to_its_last_layer(name: str) -> None:
    torch.manual_seed(1)
    spec, network = BACKBONES[name], built(name)
    size = {"image_size": input_side(name, SIZE)} if spec.patch else {}
    whole = getattr(torchvision_models, name)(weights=None, **size).eval()
    last = whole.get_submodule(spec.last_layer)
    missing = whole.load_state_dict(network.state_dict(), strict=False).missing_keys
    assert missing == [f"{spec.last_layer}.weight", f"{spec.last_layer}.bias"]
    features = network(inputs(name))
    assert features.shape == (2, spec.width)
    torch.testing.assert_close(last(features), whole(inputs(name)))


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
@torch.no_grad()
def test_the_full_stem_starts_at_stride_one_without_pooling(name: str) -> None:
    spec, network = BACKBONES[name], built(name, stem="full")
    first = network.get_submodule(spec.first_conv)
    assert (first.kernel_size, first.stride, first.padding, first.bias) == ((3, 3), (1, 1), (1, 1), None)
    assert first(inputs(name)).shape[-2:] == (SIZE, SIZE) and network(inputs(name)).shape == (2, spec.width)
    if spec.first_pool:
        assert isinstance(network.get_submodule(spec.first_pool), nn.Identity)


def test_a_transformer_has_no_full_stem() -> None:
    with pytest.raises(
        ValueError, match="stem 'full' needs a convolutional backbone, and vit_b_16 has none; use 'imagenet'"
    ):
        built("vit_b_16", stem="full")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"name": "resnet999"}, "backbone 'resnet999' is unknown; expected one of resnet18, resnet50, densenet121"),
        ({"name": "resnet18", "stem": "wide"}, "stem 'wide' is unknown; expected one of imagenet, full"),
    ],
)
def test_unknown_names_are_refused_with_the_known_ones(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        built(**options)


def test_imagenet_weights_that_are_not_at_hand_are_named_with_their_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    message = (
        r"resnet18 are not at .*/checkpoints/resnet18-f37072fd\.pth; fetch https://.* to that place, or set weights"
    )
    with pytest.raises(FileNotFoundError, match=message):
        built("resnet18", weights="imagenet")
    assert not list(tmp_path.iterdir())  # nothing was downloaded


def test_imagenet_weights_are_read_from_the_hubs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    planted = torchvision_models.resnet18(weights=None)
    (tmp_path / "checkpoints").mkdir()
    torch.save(planted.state_dict(), tmp_path / "checkpoints" / "resnet18-f37072fd.pth")
    assert torch.equal(built("resnet18", weights="imagenet").conv1.weight, planted.conv1.weight)


def test_weights_are_read_from_a_file(tmp_path: Path) -> None:
    planted = torchvision_models.resnet18(weights=None)
    torch.save(planted.state_dict(), tmp_path / "w.pt")
    assert torch.equal(
        built("resnet18", weights=str(tmp_path / "w.pt")).layer4[1].conv2.weight, planted.layer4[1].conv2.weight
    )


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"weights .*/w\.pt are missing; expected 'imagenet', 'none' or a file"):
        built("resnet18", weights=str(tmp_path / "w.pt"))


@pytest.mark.parametrize("content", ["another network", "words"])
def test_weights_of_something_else_are_refused_in_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(b"words") if content == "words" else torch.save({"conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"w\.pt are no state dict of torchvision's resnet18: ") as caught:
        built("resnet18", weights=str(path))
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


@pytest.mark.parametrize("size, side", [(256, 224), (64, 48), (128, 112), (224, 192)])
def test_a_transformer_sees_the_central_seven_eighths_in_whole_patches(size: int, side: int) -> None:
    assert input_side("vit_b_16", size) == side and input_side("resnet18", size) == size


def test_widths_are_those_of_the_classifiers_that_were_cut() -> None:
    widths = {name: spec.width for name, spec in BACKBONES.items()}
    published = {"resnet18": 512, "resnet50": 2048, "densenet121": 1024, "efficientnet_b0": 1280, "vit_b_16": 768}
    assert published.items() <= widths.items()
