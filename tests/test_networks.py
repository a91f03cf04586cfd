"""Models: the published head, the order of classes, front ends, and frozen means frozen."""

import pytest
import torch
from samples import SIDE, squares
from torch import Tensor, nn

from dfxlib.models.networks import BaseModel, ConvHead, DeepFeatureXNet, FrontEnd, resolve_device
from dfxlib.names import CLASSES
from dfxlib.training.fit import to_input


def base_model(seed: int = 0, **options: object) -> BaseModel:
    torch.manual_seed(seed)
    return BaseModel("resnet18", weights="none", image_size=SIDE, **options)


@pytest.fixture(scope="module")
def bases() -> list[BaseModel]:
    return [base_model(seed) for seed in range(3)]


def images(count: int = 4) -> Tensor:
    return to_input(squares(count), torch.device("cpu"))


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_the_head_has_the_layers_of_the_paper() -> None:
    convs = [layer for layer in ConvHead().convs if isinstance(layer, nn.Conv1d)]
    shapes = [(c.in_channels, c.out_channels, c.kernel_size[0], c.stride[0], c.padding[0]) for c in convs]
    assert shapes == [
        (3, 16, 7, 2, 1),
        (16, 64, 5, 2, 1),
        (64, 256, 3, 1, 1),
        (256, 512, 3, 1, 1),
        (512, 1024, 3, 1, 1),
    ]
    kinds = [type(layer).__name__ for layer in ConvHead().convs]
    assert kinds == ["Conv1d", "ReLU", "BatchNorm1d"] * 4 + ["Conv1d", "ReLU", "AdaptiveAvgPool1d"]
    assert (ConvHead().classifier.in_features, ConvHead().classifier.out_features) == (1024, 3)


def test_the_head_has_two_million_parameters() -> None:
    exact = sum(o * i * k + o for i, o, k in [(3, 16, 7), (16, 64, 5), (64, 256, 3), (256, 512, 3), (512, 1024, 3)])
    exact += 2 * (16 + 64 + 256 + 512) + 1024 * 3 + 3
    count = sum(parameter.numel() for parameter in ConvHead().parameters())
    assert count == exact and round(count / 1e6, 1) == 2.0


@pytest.mark.parametrize("width", [512, 1024, 2048])
def test_the_head_takes_features_of_any_backbone(width: int) -> None:
    assert ConvHead()(torch.randn(2, 3, width)).shape == (2, 3)


def test_the_order_of_classes_is_that_of_the_reference() -> None:
    assert CLASSES == ("dm_generated", "gan_generated", "real")


def test_features_are_stacked_in_the_order_of_the_base_models(bases: list[BaseModel]) -> None:
    net = DeepFeatureXNet(bases).eval()
    stacked = net.features(images())
    assert stacked.shape == (4, 3, 512)
    with torch.no_grad():
        for position, model in enumerate(bases):
            assert torch.equal(stacked[:, position], model.eval().features(images()))


def test_the_whole_is_the_head_on_the_features(bases: list[BaseModel]) -> None:
    net = DeepFeatureXNet(bases).eval()
    torch.testing.assert_close(net(images()), net.head(net.features(images())))


def test_a_base_model_is_its_classifier_on_its_features() -> None:
    model = base_model(outputs=3).eval()
    assert model(images()).shape == (4, 3)
    torch.testing.assert_close(model(images()), model.classifier(model.features(images())))


def test_two_base_models_are_too_few(bases: list[BaseModel]) -> None:
    with pytest.raises(ValueError, match="takes 3 base models, got 2"):
        DeepFeatureXNet(bases[:2])


def test_frozen_base_models_change_neither_parameter_nor_buffer_in_training() -> None:
    net = DeepFeatureXNet([base_model(seed) for seed in range(3)])
    before, head_before = snapshot(net.base_models), snapshot(net.head)
    net.train()
    net.base_models[0].eval()
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        net.train()
        optimizer.zero_grad()
        net(images()).square().sum().backward()
        optimizer.step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.base_models.state_dict().items())
    changed = [name for name, tensor in net.head.state_dict().items() if not torch.equal(tensor, head_before[name])]
    assert "convs.2.running_mean" in changed and "classifier.weight" in changed


def test_an_unfrozen_backbone_would_have_moved_its_statistics() -> None:
    model = base_model()
    before = snapshot(model)
    model.train()(images())  # the reference's fault, which the test above must be able to see
    assert not torch.equal(model.backbone.bn1.running_mean, before["backbone.bn1.running_mean"])


def test_training_mode_reaches_the_head_alone(bases: list[BaseModel]) -> None:
    net = DeepFeatureXNet(bases).train()
    assert net.head.training and not any(module.training for module in net.base_models.modules())
    assert not net.eval().head.training


def test_only_the_head_asks_for_gradients(bases: list[BaseModel]) -> None:
    asking = {name.split(".")[0] for name, p in DeepFeatureXNet(bases).named_parameters() if p.requires_grad}
    assert asking == {"head"}


def test_another_head_takes_the_place_of_the_convolutional_one(bases: list[BaseModel]) -> None:
    head = nn.Sequential(nn.Flatten(), nn.Linear(3 * 512, 3))
    assert DeepFeatureXNet(bases, head).eval()(images()).shape == (4, 3)


def constant() -> Tensor:
    return torch.full((1, 3, 16, 16), 137, dtype=torch.uint8)


def ramp(down: int, across: int) -> Tensor:
    grey = torch.arange(16).view(-1, 1) * down + torch.arange(16).view(1, -1) * across
    return grey.to(torch.uint8).expand(1, 3, 16, 16)


@pytest.mark.parametrize("picture", [constant(), ramp(0, 3), ramp(5, 0), ramp(2, 4)])
def test_the_residual_of_a_plain_or_a_linear_ramp_is_zero(picture: Tensor) -> None:
    residual = FrontEnd("residual", side=16)(picture)
    assert residual[..., 2:-2, 2:-2].abs().max() < 1e-4  # borders are mirrored, where a ramp has a fold


def test_the_residual_of_noise_is_scaled_and_clipped() -> None:
    residual = FrontEnd("residual", side=SIDE)(images())
    assert residual.abs().max() == 3.0 and residual.std() > 1


def test_channels_do_not_mix_in_the_residual() -> None:
    picture = constant().clone()
    picture[:, 1] = images(1)[:, 1, :16, :16]
    residual = FrontEnd("residual", side=16)(picture)
    assert residual[:, 1].abs().max() > 0 and residual[:, [0, 2]].abs().max() < 1e-4


def test_the_residual_is_twelve_times_the_rich_models_filter() -> None:
    spike = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    spike[..., 8, 8] = 15  # 15 * 12 / 12 / 10 at the centre, within the limit of 3
    residual = FrontEnd("residual", side=16)(spike)
    assert residual[0, 0, 8, 8] == pytest.approx(-1.5) and residual[0, 0, 8, 7] == pytest.approx(1.0)
    assert residual[0, 0, 6, 6] == pytest.approx(-0.125)


def test_rgb_is_normalised_as_imagenet_is() -> None:
    seen = FrontEnd("rgb", side=16)(constant())
    expected = (137 / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(seen[0, :, 3, 3], expected)


def test_a_smaller_side_is_the_centre_of_the_square() -> None:
    whole, centre = FrontEnd("rgb", side=32)(images()), FrontEnd("rgb", side=24)(images())
    assert torch.equal(whole[..., 4:28, 4:28], centre)


@pytest.mark.parametrize("kind", ["rgb", "residual"])
@pytest.mark.parametrize("shape", [(255, 255), (256, 255), (1, 1)])
def test_squares_smaller_than_the_models_side_are_refused(kind: str, shape: tuple[int, int]) -> None:
    """A negative margin would cut 255 px to a single pixel, and the network would judge that."""
    pixels = torch.zeros((1, 3, *shape), dtype=torch.uint8)
    told = f"squares of {shape[1]} x {shape[0]} px are too small for a model that takes 256 px; read them at the model"
    with pytest.raises(ValueError, match=told):
        FrontEnd(kind, side=256)(pixels)


def test_another_normalisation_is_that_of_the_backbone_and_travels_with_the_model() -> None:
    model = BaseModel("timm:test_vit.r160_in1k", weights="none", image_size=SIDE)
    state = model.state_dict()
    assert torch.equal(state["front_end.mean"].flatten(), torch.full((3,), 0.5))
    seen = model.front_end(constant())
    torch.testing.assert_close(seen, torch.full_like(seen, 137 / 127.5 - 1))
    other = FrontEnd("rgb", side=SIDE)
    other.load_state_dict({name.removeprefix("front_end."): state[name] for name in state if "front_end" in name})
    torch.testing.assert_close(other(images()), FrontEnd("rgb", side=SIDE, mean=(0.5,) * 3, std=(0.5,) * 3)(images()))


def test_an_unknown_front_end_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="front_end 'dct' is unknown; expected one of rgb, residual"):
        base_model(front_end="dct")


def test_devices_are_resolved_or_refused_in_a_sentence() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ValueError, match="device 'gpu' is unknown; expected auto, cpu or cuda"):
        resolve_device("gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_asked_for_and_absent_is_an_error() -> None:
    with pytest.raises(ValueError, match="device 'cuda:1' is not available here; set device to 'auto' or 'cpu'"):
        resolve_device("cuda:1")


def test_features_are_the_mean_over_fixed_parts_of_a_picture() -> None:
    torch.manual_seed(0)
    model = BaseModel("resnet18", weights="none", image_size=48, crop_size=32, crops=9).eval()
    wide = to_input(squares(2, side=48), torch.device("cpu"))
    steps = (0, 8, 16)
    parts = [model.features(wide[..., top : top + 32, left : left + 32]) for top in steps for left in steps]
    torch.testing.assert_close(model.features(wide), torch.stack(parts).mean(dim=0))
    logits = torch.stack([model.classifier(part) for part in parts]).mean(dim=0)
    torch.testing.assert_close(model(wide), logits)  # of a linear layer, the same as the mean of the logits


def test_one_part_is_the_centre_and_a_square_of_its_size_is_that_part() -> None:
    torch.manual_seed(0)
    model = BaseModel("resnet18", weights="none", image_size=48, crop_size=32).eval()
    wide = to_input(squares(2, side=48), torch.device("cpu"))
    centre = wide[..., 8:40, 8:40]
    torch.testing.assert_close(model(wide), model(centre))


@pytest.mark.parametrize("front_end", ["rgb", "residual"])
def test_the_enlarged_stem_repeats_pixels_behind_the_front_end(front_end: str) -> None:
    """Before it, a high-pass would see the edges of its blocks."""
    model = BaseModel("resnet18", weights="none", image_size=24, front_end=front_end, stem="enlarged").eval()
    small = to_input(squares(2, side=24), torch.device("cpu"))
    seen = FrontEnd(front_end, side=24)(small)
    blocks = seen[..., :, None, :, None].expand(-1, -1, -1, 4, -1, 4).reshape(2, 3, 96, 96)
    assert torch.equal(model.front_end(small), blocks)
    torch.testing.assert_close(model.features(small), model.backbone(blocks))


@pytest.mark.parametrize(
    ("crop_size", "crops", "message"),
    [
        (48, 1, "crop_size is 48; expected 0, or pixels below image_size, which is 48"),
        (-1, 1, "crop_size is -1; expected 0, or pixels below image_size"),
        (32, 5, "crops is 5; expected a square number such as 1, 4 or 9"),
        (32, 0, "crops is 0; expected a square number"),
        (0, 4, "crops is 4 and crop_size 0, which leaves one place; set crop_size, or crops to 1"),
    ],
)
def test_parts_that_do_not_fit_the_picture_are_refused(crop_size: int, crops: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BaseModel("resnet18", weights="none", image_size=48, crop_size=crop_size, crops=crops)
