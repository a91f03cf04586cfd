"""Models and training states on disk: the same after loading, or refused with a sentence."""

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from samples import SETTINGS, SIDE, squares

from dfxlib.models import saved as c
from dfxlib.models.networks import BaseModel, DeepFeatureXNet
from dfxlib.names import CLASSES
from dfxlib.system.files import sha256_file
from dfxlib.training import states
from dfxlib.training.fit import to_input


def base_model(seed: int = 0, *, outputs: int = 2) -> BaseModel:
    torch.manual_seed(seed)
    return BaseModel("resnet18", weights="none", image_size=SIDE, outputs=outputs)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three base models and a complete one. Read only."""
    folder = tmp_path_factory.mktemp("models")
    models = [base_model(seed) for seed in range(3)]
    for nature, model in zip(CLASSES, models):
        c.save_model(folder / f"{nature}.safetensors", model, settings=SETTINGS | {"main_class": nature})
    torch.manual_seed(9)
    c.save_model(folder / "complete.safetensors", DeepFeatureXNet(models), settings=SETTINGS)
    return folder


def base_paths(folder: Path) -> dict[str, Path]:
    return {nature: folder / f"{nature}.safetensors" for nature in CLASSES}


def images() -> torch.Tensor:
    return to_input(squares(4), torch.device("cpu"))


@torch.no_grad()
@pytest.mark.parametrize("outputs", [2, 3])
def test_a_base_model_gives_the_same_logits_after_loading(tmp_path: Path, outputs: int) -> None:
    model = base_model(5, outputs=outputs)
    model.train()(images())  # BatchNorm statistics are part of what is saved
    c.save_model(tmp_path / "m.safetensors", model, settings=SETTINGS)
    loaded, settings = c.load_base_model(tmp_path / "m.safetensors")
    assert torch.equal(loaded(images()), model.eval()(images())) and not loaded.training and settings == SETTINGS


@torch.no_grad()
def test_a_complete_model_gives_the_same_logits_after_loading(saved: Path) -> None:
    models = [base_model(seed) for seed in range(3)]
    torch.manual_seed(9)
    before = DeepFeatureXNet(models).eval()
    loaded, settings = c.load_complete_model(saved / "complete.safetensors")
    assert torch.equal(loaded(images()), before(images())) and not loaded.training and settings == SETTINGS


def test_a_model_may_be_read_by_whom_the_user_lets_read_files(saved: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    assert (saved / "complete.safetensors").stat().st_mode == plain.stat().st_mode


def test_base_models_come_in_the_order_of_the_classes(saved: Path) -> None:
    models, shared = c.load_base_models(base_paths(saved), manifest_hash="0" * 64)
    for seed, model in enumerate(models):
        assert torch.equal(model.classifier.weight, base_model(seed).classifier.weight)
    hashes = {nature: sha256_file(path) for nature, path in base_paths(saved).items()}
    assert shared == SETTINGS | {"base_models": hashes}


@pytest.mark.parametrize("name", c.MODEL_SETTINGS)
def test_a_model_without_one_of_its_settings_is_not_saved(tmp_path: Path, name: str) -> None:
    settings = {key: value for key, value in SETTINGS.items() if key != name}
    with pytest.raises(ValueError, match=f"model settings lack {name}"):
        c.save_model(tmp_path / "m.safetensors", torch.nn.Linear(2, 2), settings=settings)
    assert not list(tmp_path.iterdir())


def test_settings_can_be_read_without_this_package(saved: Path) -> None:
    with safe_open(saved / "real.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["dfxlib"]) == SETTINGS | {"main_class": "real", "format": c.FORMAT}


def save_as_format(path: Path, number: int) -> Path:
    """A model as another dfxlib would have saved it."""
    state, text = torch.nn.Linear(8, 8).state_dict(), json.dumps(SETTINGS | {"format": number})
    save_file(state, path, metadata={"dfxlib": text, "dfxlib_sha256": c._digest(state, text)})
    return path


@pytest.mark.parametrize(("number", "cure"), [(c.FORMAT + 1, "update dfxlib"), (c.FORMAT - 1, "train it again")])
def test_a_model_of_another_format_is_refused(tmp_path: Path, number: int, cure: str) -> None:
    path = save_as_format(tmp_path / "m.safetensors", number)
    with pytest.raises(
        ValueError, match=rf"model .*m\.safetensors has format {number}; this dfxlib reads format {c.FORMAT}; {cure}"
    ):
        c.read_model(path)


def test_any_flipped_byte_is_refused_by_name(tmp_path: Path) -> None:
    path = c.save_model(tmp_path / "m.safetensors", torch.nn.Linear(8, 8), settings=SETTINGS)
    whole, dice = path.read_bytes(), random.Random(0)
    places = [0, 7, 8, 40, len(whole) - 1, *dice.sample(range(len(whole)), 60)]
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(ValueError, match=r"model .*m\.safetensors (is damaged|carries no settings)"):
            c.read_model(path)


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_a_truncated_model_is_refused_by_name(tmp_path: Path, length: int) -> None:
    path = c.save_model(tmp_path / "m.safetensors", torch.nn.Linear(8, 8), settings=SETTINGS)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"model .*m\.safetensors is damaged: .*; train it again"):
        c.read_model(path)


def test_a_missing_model_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model .*/m\.safetensors is missing; run the notebook that trains it"):
        c.load_base_model(tmp_path / "m.safetensors")


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="carries no settings of this study"):
        c.read_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize("other", [{"head": "linear"}, {"image_size": 64, "crop_size": 32, "crops": 4}])
def test_weights_of_another_head_than_the_settings_name_are_told(saved: Path, tmp_path: Path, other: dict) -> None:
    model, settings = c.load_complete_model(saved / "complete.safetensors")
    c.save_model(tmp_path / "m.safetensors", model, settings=settings | other)
    with pytest.raises(ValueError, match="holds other weights than its settings ask for; train it again"):
        c.load_complete_model(tmp_path / "m.safetensors")


def test_models_are_not_mistaken_for_each_other(saved: Path) -> None:
    with pytest.raises(
        ValueError, match=r"complete\.safetensors is no base model; expected one of 10_train_base_model"
    ):
        c.load_base_model(saved / "complete.safetensors")
    with pytest.raises(ValueError, match=r"real\.safetensors is no complete model; expected one of 20_train"):
        c.load_complete_model(saved / "real.safetensors")


@pytest.mark.parametrize(
    "name, value",
    [("manifest_hash", "1" * 64), ("front_end", "residual"), ("resize_mode", "nearest")],
)
def test_base_models_that_differ_are_refused_with_both_values(
    saved: Path, tmp_path: Path, name: str, value: object
) -> None:
    other = c.save_model(tmp_path / "real.safetensors", base_model(), settings=SETTINGS | {name: value})
    with pytest.raises(ValueError, match=f"has {name} {value!r}, expected {SETTINGS[name]!r} .*train it again"):
        c.load_base_models(base_paths(saved) | {"real": other}, manifest_hash="0" * 64)


def test_base_models_of_other_data_are_refused_even_where_they_agree(saved: Path) -> None:
    with pytest.raises(ValueError, match=f"has manifest_hash '{'0' * 64}', expected '{'2' * 64}'"):
        c.load_base_models(base_paths(saved), manifest_hash="2" * 64)


def test_base_models_of_other_backbones_are_refused(saved: Path, tmp_path: Path) -> None:
    settings = SETTINGS | {"backbone": "resnet50"}
    model = BaseModel("resnet50", weights="none", image_size=SIDE)
    other = c.save_model(tmp_path / "real.safetensors", model, settings=settings)
    with pytest.raises(ValueError, match="has backbone 'resnet50', expected 'resnet18'"):
        c.load_base_models(base_paths(saved) | {"real": other}, manifest_hash="0" * 64)


def test_a_model_of_other_data_names_both_manifests() -> None:
    c.require_same_manifest(SETTINGS, "0" * 64)
    with pytest.raises(ValueError, match=r"manifest 0{12}, the study has 1{12}; run 10_train_base_model and 20_train"):
        c.require_same_manifest(SETTINGS, "1" * 64)


def state(epoch: int, **settings: object) -> dict:
    return {"epoch": epoch, "settings": settings, "model": {"w": torch.full((3,), float(epoch))}}


def test_the_newest_state_is_loaded_and_the_last_two_are_kept(tmp_path: Path) -> None:
    for epoch in range(1, 12):
        states.save_state(tmp_path, state(epoch, seed=0))
    assert sorted(p.name for p in tmp_path.glob("*.pt")) == ["state-0010.pt", "state-0011.pt"]
    assert len(list(tmp_path.iterdir())) == 4
    loaded = states.load_state(tmp_path, settings={"seed": 0})
    assert loaded["epoch"] == 11 and loaded["model"]["w"].tolist() == [11.0] * 3


def test_no_state_is_none(tmp_path: Path) -> None:
    assert states.load_state(tmp_path, settings={}) is None
    assert states.load_state(tmp_path / "nowhere", settings={}) is None


def test_a_state_whose_checksum_was_not_written_is_skipped(tmp_path: Path) -> None:
    states.save_state(tmp_path, state(1))
    newest = states.save_state(tmp_path, state(2))
    Path(f"{newest}.sha256").unlink()  # killed between the two writes
    assert states.load_state(tmp_path, settings={})["epoch"] == 1


@pytest.mark.parametrize("damage", ["flip", "cut", "empty checksum"])
def test_a_damaged_state_is_refused_and_deleting_it_goes_on_from_an_earlier_one(tmp_path: Path, damage: str) -> None:
    states.save_state(tmp_path, state(1))
    newest = states.save_state(tmp_path, state(2))
    data = bytearray(newest.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    newest.write_bytes(data[:-5] if damage == "cut" else data)
    if damage == "empty checksum":
        Path(f"{newest}.sha256").write_text("")
    with pytest.raises(ValueError, match=r"state-0002\.pt does not match its checksum; delete it"):
        states.load_state(tmp_path, settings={})
    newest.unlink()
    assert states.load_state(tmp_path, settings={})["epoch"] == 1


@pytest.mark.parametrize(
    "here, message",
    [
        ({"seed": 0, "learning_rate": 0.01}, r"learning_rate is 0\.001 there and 0\.01 here"),
        ({"seed": 0}, r"learning_rate is 0\.001 there and None here"),
        ({"seed": 0, "learning_rate": 0.001, "stem": "full"}, "stem is None there and 'full' here"),
    ],
)
def test_a_state_of_other_settings_names_the_difference_and_the_cure(tmp_path: Path, here: dict, message: str) -> None:
    states.save_state(tmp_path, state(1, seed=0, learning_rate=0.001))
    with pytest.raises(ValueError, match=f"belongs to another run: {message}; delete .* to start afresh"):
        states.load_state(tmp_path, settings=here)


def test_states_of_other_epochs_are_removed_and_nothing_else_is(tmp_path: Path) -> None:
    for epoch in (1, 2):
        states.save_state(tmp_path, state(epoch))
    (tmp_path / "notes.txt").touch()
    states.keep_states(tmp_path, {2})
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["notes.txt", "state-0002.pt", "state-0002.pt.sha256"]
