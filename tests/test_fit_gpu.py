"""The same loop on a GPU, where one is at hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from samples import SIDE, WAYS, TinyNet, parts, squares, train_tiny

from dfxlib.models.networks import BaseModel, DeepFeatureXNet
from dfxlib.training import fit as t
from dfxlib.training.features import extract_features
from dfxlib.training.states import save_state

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
GPU = torch.device("cuda")


def test_a_task_that_can_be_learned_is_learned(tmp_path: Path) -> None:
    model, (history, last) = train_tiny(tmp_path, epochs=12, device=GPU)
    assert history["valid_balanced_accuracy"].max() == 1
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0] / 2
    assert next(model.parameters()).is_cuda and not next(last.parameters()).is_cuda
    measured = t.validate(model, parts()[1], device=GPU)
    assert measured["loss"] == pytest.approx(history["valid_loss"].min(), rel=1e-5)


@pytest.mark.parametrize(("precision", "computed"), [("auto", torch.bfloat16), ("fp32", torch.float32)])
def test_a_training_computes_as_precision_says(tmp_path: Path, precision: str, computed: torch.dtype) -> None:
    seen = []

    class Watched(TinyNet):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = super().forward(images)
            seen.append((self.training, logits.dtype))
            return logits

    train, valid = parts()
    t.fit(Watched(), train, valid, state_folder=tmp_path, settings={}, epochs=1, precision=precision, device=GPU)
    assert set(seen) == {(True, computed), (False, torch.float32)}


def test_deterministic_runs_end_bitwise_equal_even_where_one_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = WAYS["augmented"] | {"device": GPU}
    undisturbed, _ = train_tiny(tmp_path / "a", **how)

    def killed(folder: Path, state: dict, **options: object) -> None:
        save_state(folder, state, **options)
        if state["epoch"] == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(t, "save_state", killed)
        train_tiny(tmp_path / "b", **how)
    again, _ = train_tiny(tmp_path / "b", **how)
    for name, tensor in undisturbed.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_running_out_of_the_gpus_memory_names_the_batch_size_to_try(tmp_path: Path) -> None:
    class Hungry(TinyNet):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            torch.empty(2**50, dtype=torch.uint8, device=images.device)  # more than any GPU has
            return super().forward(images)

    train, valid = parts()
    with pytest.raises(MemoryError, match="toy: out of memory with batches of 32 images; try batch_size 16"):
        t.fit(Hungry(), train, valid, state_folder=tmp_path, settings={}, label="toy", device=GPU)


def test_features_are_those_of_the_cpu(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = DeepFeatureXNet([BaseModel("resnet18", weights="none", image_size=SIDE) for _ in range(3)])
    pixels, rows = squares(9), np.arange(9)
    found = [
        np.array(
            extract_features(net, pixels, rows, cache_root=tmp_path, key=[str(device)], batch_size=4, device=device)
        )
        for device in (torch.device("cpu"), GPU)
    ]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-2, atol=1e-3)
