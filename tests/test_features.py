"""Features once: what is stored is what the frozen backbones give, and heads may rely on it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from samples import SIDE, squares

from dfxlib.features import extract_features, perturbed_logits
from dfxlib.models import BaseModel, DeepFeatureXNet
from dfxlib.train import Examples, fit, to_input

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def net() -> DeepFeatureXNet:
    torch.manual_seed(0)
    return DeepFeatureXNet([BaseModel("resnet18", weights="none", image_size=SIDE) for _ in range(3)])


def test_stored_features_are_those_of_the_model_in_the_order_of_the_rows(net: DeepFeatureXNet, tmp_path: Path) -> None:
    pixels, rows = squares(9), np.array([8, 0, 3, 3, 5])
    features = extract_features(net, pixels, rows, cache_root=tmp_path, key=["a"], batch_size=2)
    assert features.shape == (5, 3, 512) and features.dtype == np.float32
    np.testing.assert_allclose(features, net.features(to_input(pixels[rows], CPU)), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(features[2], features[3])


def test_a_second_call_opens_the_store(net: DeepFeatureXNet, tmp_path: Path) -> None:
    pixels, rows = squares(4), np.arange(4)
    before = np.array(extract_features(net, pixels, rows, cache_root=tmp_path, key=["a"]))
    again = extract_features(net, 255 - pixels, rows, cache_root=tmp_path, key=["a"])  # would give other features
    np.testing.assert_array_equal(again, before)


@pytest.mark.parametrize("key, rows", [(["b"], np.arange(4)), (["a"], np.arange(3))])
def test_another_key_or_other_rows_are_computed_anew(
    net: DeepFeatureXNet, tmp_path: Path, key: list, rows: np.ndarray
) -> None:
    extract_features(net, squares(4), np.arange(4), cache_root=tmp_path, key=["a"])
    extract_features(net, squares(4), rows, cache_root=tmp_path, key=key)
    assert len(list(tmp_path.glob("features-*.npy"))) == 2


def test_training_the_head_on_stored_features_leaves_the_base_models_as_they_were(
    net: DeepFeatureXNet, tmp_path: Path
) -> None:
    before = {name: tensor.clone() for name, tensor in net.base_models.state_dict().items()}
    rows, labels = np.arange(12), np.arange(12) % 3
    features = extract_features(net, squares(12), rows, cache_root=tmp_path, key=["a"])
    examples = Examples(features, rows, labels)
    net.train()
    fit(net.head, examples, examples, state_folder=tmp_path / "states", settings={}, epochs=2, batch_size=6)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.base_models.state_dict().items())
    with torch.no_grad():
        net.eval()
        whole, head = net(to_input(squares(12), CPU)), net.head(torch.from_numpy(np.array(features)))
    torch.testing.assert_close(whole, head, rtol=1e-4, atol=1e-5)  # the head that was trained is the net's


def test_fitting_the_whole_net_on_images_leaves_the_base_models_as_they_were(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = DeepFeatureXNet([BaseModel("resnet18", weights="none", image_size=SIDE) for _ in range(3)])
    before = {name: tensor.clone() for name, tensor in net.base_models.state_dict().items()}
    examples = Examples(squares(6), np.arange(6), np.arange(6) % 3)
    fit(net, examples, examples, state_folder=tmp_path, settings={}, epochs=1, batch_size=3, learning_rate=0.1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.base_models.state_dict().items())


def test_logits_under_conditions_are_those_of_each_condition_alone(net: DeepFeatureXNet) -> None:
    raw, changed = squares(5, seed=1), squares(5, seed=2)
    paired = np.stack([raw, changed], axis=1)
    logits = perturbed_logits(net, iter([paired[:3], paired[3:]]))
    assert logits.shape == (2, 5, 3)
    with torch.no_grad():
        for found, images in zip(logits, (raw, changed)):
            np.testing.assert_allclose(found, net(to_input(images, CPU)), rtol=1e-4, atol=1e-5)
