"""Checkpoints of the reference code: read, and the same logits, or refused with a sentence.

The reference's networks are written here once more from the description in the paper and of its
state dicts (torchvision's networks with an Identity at their end, and a sequential head), without
a line of the package.
"""

import argparse
import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models as torchvision_models
from torchvision.transforms import functional as transforms

from dfxlib.detect.export import open_model
from dfxlib.models.networks import BaseModel, DeepFeatureXNet
from dfxlib.models.reference import REFERENCE_INPUT, load_reference_checkpoint

LAST = {"densenet121": "classifier", "resnet18": "fc", "vit_b_16": "heads.head", "convnext_tiny": "classifier.2"}
WIDTH = {"densenet121": 1024, "resnet18": 512, "vit_b_16": 768, "convnext_tiny": 768}


def backbone_with(name: str, last: nn.Module) -> nn.Module:
    network = getattr(torchvision_models, name)(weights=None)
    parent, _, leaf = LAST[name].rpartition(".")
    setattr(network.get_submodule(parent), leaf, last)
    return network


class Reference(nn.Module):
    """What the published description says: three networks, their features as channels, a 1-D CNN."""

    def __init__(self, *networks: nn.Module):
        super().__init__()
        self.model1, self.model2, self.model3 = networks
        layers, channels = [], 3
        for width, kernel, stride in [(16, 7, 2), (64, 5, 2), (256, 3, 1), (512, 3, 1)]:
            layers += [nn.Conv1d(channels, width, kernel, stride, padding=1), nn.ReLU(), nn.BatchNorm1d(width)]
            channels = width
        self.convs = nn.Sequential(*layers, nn.Conv1d(512, 1024, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool1d(1))
        self.classifier = nn.Sequential(nn.Linear(1024, 3))

    def forward(self, images: Tensor) -> Tensor:
        features = torch.stack([self.model1(images), self.model2(images), self.model3(images)], dim=1)
        return self.classifier(self.convs(features)[:, :, 0])


def settled(module: nn.Module, images: Tensor) -> nn.Module:
    """In evaluation mode, with statistics of these images: a fresh network would hide what it sees."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.momentum = 1.0
    module.train()(images)
    return module.eval()


def reference(name: str, images: Tensor) -> Reference:
    """Three different networks and a head. Transformers share most tensors, which a file then holds once."""
    torch.manual_seed(4)
    networks = [backbone_with(name, nn.Identity())]
    while len(networks) < 3:
        if name == "vit_b_16":
            shared = networks[0].encoder.layers
            networks.append(copy.deepcopy(networks[0], {id(shared): shared}))
            nn.init.normal_(networks[-1].class_token)
        else:
            networks.append(backbone_with(name, nn.Identity()))
    return settled(Reference(*networks), images)


def prepared(array: Tensor, name: str) -> Tensor:  # [B, 3, 256, 256] uint8 -> what the reference computes on
    images = transforms.normalize(array / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return transforms.center_crop(images, [224, 224]) if name.startswith("vit") else images


@pytest.fixture(scope="module")
def images() -> Tensor:  # [2, 3, 256, 256] uint8
    """Noise fine and coarse, since all fine noise looks alike after averaging."""
    seeded = torch.Generator().manual_seed(0)
    fine = torch.randint(0, 256, (1, 3, 256, 256), generator=seeded, dtype=torch.uint8)
    coarse = torch.randint(0, 256, (1, 3, 16, 16), generator=seeded, dtype=torch.uint8)
    return torch.cat([fine, coarse.repeat_interleave(16, dim=2).repeat_interleave(16, dim=3)])


@pytest.fixture()
def checkpoint(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "reference.pt"
    yield path
    path.unlink(missing_ok=True)  # up to 0.4 GB, which pytest would keep


@pytest.mark.parametrize("name", ["densenet121", "resnet18", pytest.param("vit_b_16", marks=pytest.mark.slow)])
@torch.no_grad()
def test_a_complete_checkpoint_gives_the_same_logits(name: str, checkpoint: Path, images: Tensor) -> None:
    theirs = reference(name, prepared(images, name))
    torch.save(theirs.state_dict(), checkpoint)
    ours = load_reference_checkpoint(checkpoint, backbone=name)
    assert isinstance(ours, DeepFeatureXNet) and not any(module.training for module in ours.modules())
    expected, features = theirs(prepared(images, name)), ours.features(images)
    assert (ours.head(features) - expected).abs().max() < 1e-5
    # It is no coincidence: pictures differ, and so does another order of the three.
    assert (expected[0] - expected[1]).abs().max() > 1e-2
    assert (ours.head(features.flip(1)) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("name, outputs", [("densenet121", 2), ("resnet18", 3), ("vit_b_16", 2), ("convnext_tiny", 2)])
@torch.no_grad()
def test_a_base_checkpoint_gives_the_same_logits(name: str, outputs: int, checkpoint: Path, images: Tensor) -> None:
    torch.manual_seed(4)
    theirs = settled(backbone_with(name, nn.Linear(WIDTH[name], outputs)), prepared(images, name))
    torch.save(theirs.state_dict(), checkpoint)
    ours = load_reference_checkpoint(checkpoint, backbone=name)
    assert isinstance(ours, BaseModel) and not any(module.training for module in ours.modules())
    expected = theirs(prepared(images, name))
    assert (expected[0] - expected[1]).abs().max() > 1e-2
    assert (ours(images) - expected).abs().max() < 1e-5


def test_the_references_input_is_named() -> None:
    assert REFERENCE_INPUT == {
        "image_size": 256,
        "crop_size": 0,
        "crops": 1,
        "resize_mode": "resize",
        "front_end": "rgb",
        "stem": "imagenet",
    }


@pytest.mark.parametrize(
    "backbone, keys, message",
    [
        ("efficientnet_b0", ["stem.conv.weight", "layers.0.block0.depsep.conv.weight", "classifier.fc.bias"], "it"),
        ("efficientnet_b4", ["model1.stem.conv.weight", "model2.stem.conv.weight"], "it"),
        ("resnext101_32x8d", ["model1.layers.0.0.conv1.weight"], "resnext101_32x4d"),
    ],
)
def test_networks_of_nvidias_hub_are_refused(backbone: str, keys: list, message: str, checkpoint: Path) -> None:
    torch.save({key: torch.zeros(2) for key in keys}, checkpoint)
    message = rf"no reference model of torchvision's {backbone} \(the reference takes {message} from NVIDIA's hub"
    with pytest.raises(ValueError, match=message) as caught:
        load_reference_checkpoint(checkpoint, backbone=backbone)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def complete_state(images: Tensor) -> dict[str, Tensor]:
    return reference("resnet18", prepared(images, "resnet18")).state_dict()


def test_it_opens_like_an_exported_model_but_uncalibrated(complete_state: dict, checkpoint: Path) -> None:
    torch.save(complete_state, checkpoint)
    opened = open_model(checkpoint, backbone="resnet18")
    assert opened.calibration == {"temperature": 1.0, "threshold": 0.5, "false_alarm_5": 0.5}
    assert opened.settings["image_size"] == 256 and opened.settings["backbone"] == "resnet18"
    assert not opened.model.training and opened.reference is None
    with pytest.raises(ValueError, match=r"reference\.pt does not say what network it is; name its backbone"):
        open_model(checkpoint)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda state: state.pop("model2.conv1.weight"), "Missing key.*conv1.weight"),
        (lambda state: state.pop("convs.3.weight"), r"Missing key.*3\.weight"),
        (lambda state: state.pop("classifier.0.bias"), "Missing key.*bias"),
        (lambda state: state.update({"model4.conv1.weight": torch.zeros(1)}), "it also holds model4.conv1.weight"),
        (lambda state: state.update({"model1.fc.weight": torch.zeros(2, 512)}), "Unexpected key.*fc.weight"),
        (lambda state: state.update({"convs.0.weight": torch.zeros(8, 3, 7)}), "size mismatch"),
    ],
)
def test_a_complete_checkpoint_that_does_not_fit_is_refused(
    change: object, message: str, complete_state: dict, checkpoint: Path
) -> None:
    state = dict(complete_state)
    change(state)
    torch.save(state, checkpoint)
    with pytest.raises(ValueError, match=rf"is no reference model of torchvision's resnet18: .*{message}"):
        load_reference_checkpoint(checkpoint, backbone="resnet18")


def test_a_checkpoint_of_another_backbone_is_refused(complete_state: dict, checkpoint: Path) -> None:
    torch.save(complete_state, checkpoint)
    with pytest.raises(ValueError, match="no reference model of torchvision's resnet34: "):
        load_reference_checkpoint(checkpoint, backbone="resnet34")


@pytest.mark.parametrize("outputs", [0, 1000])
def test_an_imagenet_classifier_is_no_base_model(outputs: int, checkpoint: Path) -> None:
    last = nn.Linear(512, outputs) if outputs else nn.Identity()
    torch.save(backbone_with("resnet18", last).state_dict(), checkpoint)
    with pytest.raises(ValueError, match=f"its last layer has {outputs} outputs, expected 2 or 3"):
        load_reference_checkpoint(checkpoint, backbone="resnet18")


def test_what_is_no_checkpoint_is_refused(checkpoint: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"reference checkpoint .*reference\.pt is missing"):
        load_reference_checkpoint(checkpoint, backbone="resnet18")
    for content in (b"words", b"abc"):
        checkpoint.write_bytes(content)
        with pytest.raises(ValueError, match=r"resnet18: the file is damaged, or holds something else than tensors"):
            load_reference_checkpoint(checkpoint, backbone="resnet18")
    with pytest.raises(ValueError, match="backbone 'timm:test_vit' is unknown; expected one of densenet121, "):
        load_reference_checkpoint(checkpoint, backbone="timm:test_vit")


@pytest.mark.parametrize("wrapped", ["module.", "_orig_mod.module.", "model.", "module.module.", "averaged"])
@pytest.mark.parametrize("key", ["", "state_dict", "model", "model_state_dict"])
def test_what_trainers_put_around_a_state_is_taken_off(
    complete_state: dict, checkpoint: Path, wrapped: str, key: str
) -> None:
    count = {"n_averaged": torch.tensor(3)} if wrapped == "averaged" else {}
    before = "module." if wrapped == "averaged" else wrapped
    named = count | {f"{before}{name}": tensor for name, tensor in complete_state.items()}
    torch.save({"epoch": 3, key: named} if key else named, checkpoint)
    model = load_reference_checkpoint(checkpoint, backbone="resnet18")
    torch.testing.assert_close(model.head.convs.state_dict(), part(complete_state, "convs."))


def test_options_of_a_trainer_beside_the_state_are_passed_over_and_others_named(
    complete_state: dict, checkpoint: Path
) -> None:
    torch.save({"state_dict": complete_state, "args": argparse.Namespace(model="resnet18", lr=0.1)}, checkpoint)
    model = load_reference_checkpoint(checkpoint, backbone="resnet18")
    torch.testing.assert_close(model.head.convs.state_dict(), part(complete_state, "convs."))
    torch.save({"state_dict": complete_state, "place": Path("x")}, checkpoint)
    with pytest.raises(
        ValueError, match=r"else than tensors; pathlib\.\w+ is among what it holds, save the state_dict"
    ):
        load_reference_checkpoint(checkpoint, backbone="resnet18")


def part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def test_weights_that_are_not_finite_are_refused(complete_state: dict, checkpoint: Path) -> None:
    broken = dict(complete_state)
    broken["convs.0.bias"] = torch.full_like(broken["convs.0.bias"], float("nan"))
    torch.save(broken, checkpoint)
    with pytest.raises(ValueError, match=r"convs\.0\.bias holds numbers that are not finite; take the state of an ear"):
        load_reference_checkpoint(checkpoint, backbone="resnet18")
