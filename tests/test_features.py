"""Features once: what is stored is what the frozen backbones give, and heads may rely on it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from samples import SETTINGS, SIDE, squares

from dfxlib.models.networks import BaseModel, DeepFeatureXNet, build_head
from dfxlib.models.saved import load_complete_model, save_model
from dfxlib.training.augment import jpeg_blur
from dfxlib.training.features import extract_features, perturbed_features
from dfxlib.training.fit import Examples, fit, predict, to_input
from dfxlib.training.grid import grid_cells

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def net() -> DeepFeatureXNet:
    torch.manual_seed(0)
    return DeepFeatureXNet([BaseModel("resnet18", weights="none", image_size=SIDE) for _ in range(3)])


def test_stored_features_are_those_of_the_model_in_the_order_of_the_rows(net: DeepFeatureXNet, tmp_path: Path) -> None:
    pixels, rows = squares(9), np.array([8, 0, 3, 3, 5])
    (features,) = extract_features(net, pixels, rows, cache_root=tmp_path, key=["a"], batch_size=2)
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


def test_an_augmented_copy_is_what_training_on_pictures_would_see_in_that_epoch(
    net: DeepFeatureXNet, tmp_path: Path
) -> None:
    pixels, rows, how = squares(9), np.array([8, 0, 3, 5]), {"augment": "jpeg_blur", "copies": 3, "seed": 7}
    stored = extract_features(net, pixels, rows, cache_root=tmp_path, key=["a"], batch_size=3, **how)
    assert stored.shape == (3, 4, 3, 512)
    for epoch, copy in enumerate(stored):
        seen = to_input(jpeg_blur(pixels, rows, seed=7, epoch=epoch), CPU)
        np.testing.assert_allclose(copy, net.features(seen), rtol=1e-4, atol=1e-5)
    assert len({copy.tobytes() for copy in stored}) == 3
    other = extract_features(net, pixels, rows, cache_root=tmp_path, key=["a"], **how | {"seed": 8})
    assert not np.allclose(other, stored)


@pytest.mark.parametrize(
    "how, message",
    [
        ({"copies": 2}, "copies is 2 with augment 'none'; expected 1, or more with an augmentation"),
        ({"copies": 0, "augment": "jpeg_blur"}, "copies is 0 with augment 'jpeg_blur'; expected 1"),
        ({"augment": "cutout"}, "augment 'cutout' is unknown; expected one of none, jpeg_blur, dihedral"),
    ],
)
def test_copies_that_cannot_be_are_refused(net: DeepFeatureXNet, tmp_path: Path, how: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        extract_features(net, squares(2), np.arange(2), cache_root=tmp_path, key=["a"], **how)


def test_the_published_grid_costs_no_more_backbone_passes_than_one_cell(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = DeepFeatureXNet([BaseModel("resnet18", weights="none", image_size=SIDE) for _ in range(3)])
    seen = []
    for model in net.base_models:
        model.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    grid = grid_cells(
        batch_size=[16, 32], learning_rate=[1e-3, 1e-4], weight_decay=[1e-3, 1e-4], gamma=[0.9, 0.6, 0.3],
        step_size=[10, 15],
    )  # fmt: skip
    for number, cell in enumerate(grid):
        (features,) = extract_features(net, squares(9), np.arange(9), cache_root=tmp_path, key=["a"], batch_size=4)
        examples = Examples(features, np.arange(9), np.arange(9) % 3)
        head = build_head("linear", width=512)
        fit(head, examples, examples, state_folder=tmp_path / f"{number}", settings=cell, epochs=1, **cell)
    assert len(grid) == 48 and sum(seen) == 3 * 9


def test_running_out_of_memory_names_the_batch_size_to_try(net: DeepFeatureXNet, tmp_path: Path) -> None:
    def hungry(module: torch.nn.Module, inputs: tuple) -> None:
        torch.empty(2**60)  # more bytes than any machine has

    hook = net.base_models[0].backbone.register_forward_pre_hook(hungry)
    with pytest.raises(MemoryError, match="features: out of memory with batches of 64 images; try batch_size 32"):
        extract_features(net, squares(2), np.arange(2), cache_root=tmp_path, key=["a"])
    hook.remove()
    assert not list(tmp_path.glob("*.npy"))


def test_training_the_head_on_stored_features_leaves_the_base_models_as_they_were(
    net: DeepFeatureXNet, tmp_path: Path
) -> None:
    before = {name: tensor.clone() for name, tensor in net.base_models.state_dict().items()}
    rows, labels = np.arange(12), np.arange(12) % 3
    (features,) = extract_features(net, squares(12), rows, cache_root=tmp_path, key=["a"])
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


@torch.no_grad()
def test_the_logits_of_a_picture_are_the_mean_over_its_parts_whatever_the_head(tmp_path: Path) -> None:
    """A convolutional head says something else of the mean of features than the mean of what it says of each part."""
    torch.manual_seed(0)
    how = {"weights": "none", "image_size": 48, "crop_size": 32, "crops": 4}
    whole = DeepFeatureXNet([BaseModel("resnet18", **how) for _ in range(3)], build_head("conv", width=512, crops=4))
    pixels = squares(6, side=48)
    for layer in whole.head.modules():
        if isinstance(layer, torch.nn.BatchNorm1d):
            layer.momentum = 1.0  # statistics of these pictures, so that logits differ
    whole.train()(to_input(pixels, CPU))
    head, said, features = whole.eval().head.head, [], []
    for top, left in ((0, 0), (0, 16), (16, 0), (16, 16)):
        part = to_input(pixels[:, top : top + 32, left : left + 32], CPU)
        features.append(torch.stack([base.features(part) for base in whole.base_models], dim=1))
        said.append(head(features[-1]))
    expected = torch.stack(said).mean(dim=0)
    assert (head(torch.stack(features).mean(dim=0)) - expected).abs().max() > 0.001  # tolerance below: 1e-5
    (stored,) = extract_features(whole, pixels, np.arange(6), cache_root=tmp_path, key=["a"])
    save_model(tmp_path / "m.safetensors", whole, settings=SETTINGS | how | {"head": "conv"})
    loaded, _ = load_complete_model(tmp_path / "m.safetensors")
    for logits in (whole(to_input(pixels, CPU)), predict(loaded.head, stored, np.arange(6))):
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


def test_features_under_conditions_are_those_of_each_condition_alone_and_stored(
    net: DeepFeatureXNet, tmp_path: Path
) -> None:
    raw, changed = squares(5, seed=1), squares(5, seed=2)
    paired = np.stack([raw, changed], axis=1)
    how = {"conditions": 2, "images": 5, "cache_root": tmp_path, "key": ["a"]}
    features = perturbed_features(net, iter([paired[:3], paired[3:]]), **how)
    for found, images in zip(features, (raw, changed)):
        np.testing.assert_allclose(found, net.features(to_input(images, CPU)), rtol=1e-4, atol=1e-5)
    again = perturbed_features(net, (1 / 0 for _ in "no picture is read again"), **how)
    np.testing.assert_array_equal(again, features)
