"""Heads: what reads the features, and in which order."""

from pathlib import Path

import pytest
import torch
from samples import SETTINGS, SIDE

from dfxlib.models.networks import BaseModel, ConvHead, DeepFeatureXNet, LinearHead, PermutedHead, build_head
from dfxlib.models.saved import load_complete_model, save_model
from dfxlib.names import CLASSES, HEADS

WIDTH = 96


@pytest.mark.parametrize("kind", HEADS)
def test_every_head_reads_three_vectors_and_tells_three_classes(kind: str) -> None:
    head = build_head(kind, width=WIDTH)
    assert head(torch.randn(4, 3, WIDTH)).shape == (4, 3)
    assert type(head) is {"conv": ConvHead, "linear": LinearHead, "permuted": PermutedHead}[kind]


def test_the_permuted_head_is_the_convolutional_one_on_features_in_one_other_order() -> None:
    permuted, features = build_head("permuted", width=WIDTH).eval(), torch.randn(4, 3, WIDTH)
    plain = ConvHead().eval()
    plain.load_state_dict({name: tensor for name, tensor in permuted.state_dict().items() if name != "order"})
    order = permuted.order
    assert sorted(order.tolist()) == list(range(WIDTH)) and order.tolist() != list(range(WIDTH))
    shuffled = torch.stack([vector[:, order] for vector in features.unbind(1)], dim=1)
    assert torch.equal(permuted(features), plain(shuffled)) and not torch.equal(permuted(features), plain(features))
    assert torch.equal(build_head("permuted", width=WIDTH).order, order), "fixed: every seed has the same order"


def test_the_linear_head_is_one_product() -> None:
    head, features = build_head("linear", width=WIDTH), torch.randn(4, 3, WIDTH)
    expected = features.reshape(4, -1) @ head.classifier.weight.T + head.classifier.bias
    torch.testing.assert_close(head(features), expected)


@torch.no_grad()
@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("hidden", CLASSES)
def test_a_head_without_a_base_model_does_not_see_its_features_and_sees_the_others(kind: str, hidden: str) -> None:
    head, features = build_head(kind, width=WIDTH, without=hidden).eval(), torch.randn(4, 3, WIDTH)
    kept, logits = features.clone(), head(features)
    assert torch.equal(features, kept), "the caller's features stay as they are"
    for row, nature in enumerate(CLASSES):
        changed = features.clone()
        changed[:, row] = torch.randn(4, WIDTH)
        assert torch.equal(head(changed), logits) == (nature == hidden)


def test_a_head_without_a_base_model_starts_from_the_weights_of_the_whole_one() -> None:
    whole, part = (seeded_head(without) for without in ("", "real"))
    assert all(torch.equal(one, other) for one, other in zip(whole.parameters(), part.parameters(), strict=True))


def seeded_head(without: str) -> torch.nn.Module:
    torch.manual_seed(3)
    return build_head("conv", width=WIDTH, without=without)


@torch.no_grad()
@pytest.mark.parametrize("without", ["", "gan_generated"])
@pytest.mark.parametrize("kind", HEADS)
def test_a_complete_model_keeps_its_head_on_disk(tmp_path: Path, kind: str, without: str) -> None:
    models = [BaseModel("resnet18", weights="none", image_size=SIDE) for _ in range(3)]
    model = DeepFeatureXNet(models, build_head(kind, width=512, without=without)).eval()
    save_model(tmp_path / "m.safetensors", model, settings=SETTINGS | {"head": kind, "without": without})
    loaded, _ = load_complete_model(tmp_path / "m.safetensors")
    images = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    assert type(loaded.head) is type(model.head) and torch.equal(loaded(images), model(images))


def test_an_unknown_head_is_refused() -> None:
    with pytest.raises(ValueError, match="head 'mlp' is unknown; expected one of conv, linear, permuted"):
        build_head("mlp", width=WIDTH)
    with pytest.raises(ValueError, match="without 'fake' is unknown; expected one of dm_generated, gan_generated, re"):
        build_head(width=WIDTH, without="fake")
