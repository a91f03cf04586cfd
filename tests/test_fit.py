"""The training loop: it learns, it weighs images, and a killed run ends as an undisturbed one."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from samples import TINY_SETTINGS, WAYS, TinyNet, bright_and_dark, parts, train_tiny
from sklearn.metrics import balanced_accuracy_score
from torch import nn
from torch.nn import functional as F

from dfxlib.training import fit as t
from dfxlib.training.grid import grid_cells
from dfxlib.training.states import read_state, save_state

CHILD = """
import builtins, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[2])
import samples
told = builtins.print
def print_and_die(*words, **options):
    told(*words, **options)
    if "epoch 3/5" in str(words[0]):
        os.kill(os.getpid(), signal.SIGKILL)
builtins.print = print_and_die
samples.train_tiny(Path(sys.argv[1]), **samples.WAYS[sys.argv[3]])
"""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums depend on it
    yield
    torch.set_num_threads(threads)


def fingerprint(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def without_times(history: pd.DataFrame) -> pd.DataFrame:
    return history.drop(columns=["seconds", "images_per_second"])


def test_a_task_that_can_be_learned_is_learned(tmp_path: Path) -> None:
    model, (history, _) = train_tiny(tmp_path, epochs=12)
    assert (
        history["valid_balanced_accuracy"].max() == 1
        and history["train_loss"].iloc[-1] < history["train_loss"].iloc[0] / 2
    )
    assert history["epoch"].tolist() == list(range(1, 13)) and not model.training


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    prints = [fingerprint(train_tiny(tmp_path / str(n), seed=seed)[0]) for n, seed in enumerate((0, 0, 1))]
    assert prints[0] == prints[1] != prints[2]


@pytest.fixture(scope="module", params=WAYS)
def killed(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> tuple[Path, dict]:
    """The states of a process that was killed right after its third epoch of five, and how it trained."""
    folder = tmp_path_factory.mktemp("states") / "killed"
    command = [sys.executable, "-c", CHILD, str(folder), str(Path(__file__).parent), request.param]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -9
    return folder, WAYS[request.param]


@pytest.mark.parametrize("last_checksum", ["written", "not written"])
def test_a_killed_run_that_is_started_again_ends_bitwise_as_an_undisturbed_one(
    killed: tuple[Path, dict], tmp_path: Path, last_checksum: str, capsys: pytest.CaptureFixture
) -> None:
    left, how = killed
    undisturbed, fitted = train_tiny(tmp_path / "undisturbed", **how)
    shutil.copytree(left, tmp_path / "killed")
    states = sorted((tmp_path / "killed").glob("*.pt"))
    assert [path.name for path in states] == ["state-0002.pt", "state-0003.pt"]
    if last_checksum == "not written":
        Path(f"{states[-1]}.sha256").unlink()
    capsys.readouterr()
    again, continued = train_tiny(tmp_path / "killed", **how)
    first = 4 if last_checksum == "written" else 3
    assert capsys.readouterr().out.startswith(f"tiny epoch {first}/5: ")  # it did go on, and not from the beginning
    assert fingerprint(again) == fingerprint(undisturbed)
    assert fingerprint(continued.last) == fingerprint(fitted.last)
    pd.testing.assert_frame_equal(without_times(continued.history), without_times(fitted.history))


def test_augmentation_reaches_training_and_not_validation(tmp_path: Path) -> None:
    shown = []

    def dark(array: np.ndarray, rows: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
        shown.append((epoch, rows))
        return np.zeros_like(array[rows])

    model, (history, _) = train_tiny(tmp_path, read=dark, epochs=2, seed=3)
    train, valid = parts()
    for epoch in (0, 1):
        rows = np.concatenate([rows for number, rows in shown if number == epoch])
        assert sorted(rows) == sorted(train.rows)
    best = history["valid_loss"].min()
    assert t.validate(model, valid)["loss"] == pytest.approx(best), "validation pictures are as they are"
    assert fingerprint(model) != fingerprint(train_tiny(tmp_path / "other", epochs=2, seed=3)[0])


def test_the_last_weights_are_left_beside_the_best(tmp_path: Path) -> None:
    model, (history, last) = train_tiny(tmp_path, epochs=8, learning_rate=0.3, gamma=1.0)
    valid = parts()[1]
    assert t.validate(last, valid)["loss"] == pytest.approx(history["valid_loss"].iloc[-1])
    assert t.validate(model, valid)["loss"] == pytest.approx(history["valid_loss"].min())
    assert fingerprint(last) != fingerprint(model) and not last.training


def test_the_best_state_is_kept_however_long_ago_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(t, "keep_states", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        train_tiny(tmp_path, epochs=8, learning_rate=0.3, gamma=1.0)
    names = sorted(path.name for path in tmp_path.glob("*.pt"))
    losses = read_state(tmp_path / "state-0008.pt", settings=TINY_SETTINGS)["history"]
    best = min(losses, key=lambda row: row["valid_loss"])["epoch"]
    assert best < 7, "otherwise this says nothing"
    assert names == [f"state-{best:04d}.pt", "state-0007.pt", "state-0008.pt"]
    Path(tmp_path / f"state-{best:04d}.pt").unlink()
    with pytest.raises(
        ValueError, match=rf"training state .*state-{best:04d}\.pt is missing; delete .* to start afresh"
    ):
        train_tiny(tmp_path, epochs=8, learning_rate=0.3, gamma=1.0)


def test_patience_ends_a_training_that_no_longer_improves(tmp_path: Path) -> None:
    how = {"epochs": 30, "learning_rate": 0.3, "gamma": 1.0}
    whole = train_tiny(tmp_path / "whole", **how)[1].history
    model, (history, _) = train_tiny(tmp_path / "stopped", patience=3, **how)
    losses = whole["valid_loss"].to_numpy()
    stop = next(n for n in range(1, 31) if n - 1 - losses[:n].argmin() >= 3)
    assert stop < 30, "otherwise this says nothing"
    pd.testing.assert_frame_equal(without_times(history), without_times(whole.iloc[:stop]))
    assert t.validate(model, parts()[1])["loss"] == pytest.approx(losses[:stop].min())


@pytest.mark.parametrize("patience", [0, 5])  # 0: no patience is asked for, and all epochs are trained
def test_patience_that_is_not_used_up_changes_nothing(tmp_path: Path, patience: int) -> None:
    one, other = train_tiny(tmp_path / "a", patience=patience)[0], train_tiny(tmp_path / "b")[0]
    assert fingerprint(one) == fingerprint(other)


def test_a_gradient_is_clipped_to_its_norm_and_a_shorter_one_left(tmp_path: Path) -> None:
    """One batch of stochastic gradient descent: the step is the gradient, so its length can be seen."""
    train, _ = parts(13)
    lengths = {}
    for clip in (0.0, 0.1, 1e9):
        model = TinyNet()
        before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        batch = (t.to_input(train.array[train.rows], torch.device("cpu")), torch.tensor(train.labels))
        torch.manual_seed(0)
        t._train_epoch(model, iter([batch]), optimizer, weights=None, clip_norm=clip, mixed=False)
        lengths[clip] = (nn.utils.parameters_to_vector(model.parameters()) - before).norm().item()
    assert lengths[0.0] > 0.2, "otherwise this says nothing"
    assert lengths[0.1] == pytest.approx(0.1, rel=1e-3) and lengths[1e9] == lengths[0.0]


def test_precision_says_whether_a_gpu_computes_in_bfloat16_and_a_cpu_never_does(tmp_path: Path) -> None:
    seen = []

    class Watched(TinyNet):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = super().forward(images)
            seen.append(logits.dtype)
            return logits

    train, valid = parts()
    t.fit(Watched(), train, valid, state_folder=tmp_path, settings={}, epochs=1, precision="auto")
    assert set(seen) == {torch.float32}, "on a CPU bfloat16 is many times slower"
    seen.clear()
    model = Watched()
    batch = (t.to_input(train.array[:8], t.CPU), torch.tensor(train.labels[:8], dtype=torch.long))
    for mixed in (True, False):
        t._train_epoch(
            model, iter([batch]), torch.optim.Adam(model.parameters()), weights=None, clip_norm=0.0, mixed=mixed
        )
    assert seen == [torch.bfloat16, torch.float32]
    with pytest.raises(ValueError, match="precision 'bf16' is unknown; expected one of auto, fp32"):
        t.fit(model, train, valid, state_folder=tmp_path, settings={}, precision="bf16")


def test_deterministic_training_asks_torch_for_it_and_gives_the_switch_back(tmp_path: Path) -> None:
    asked = []

    class Watched(TinyNet):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            asked.append(torch.are_deterministic_algorithms_enabled())
            return super().forward(images)

    train, valid = parts()
    for wanted in (True, False):
        t.fit(Watched(), train, valid, state_folder=tmp_path / f"{wanted}", settings={}, epochs=1, deterministic=wanted)
        assert set(asked) == {wanted} and not torch.are_deterministic_algorithms_enabled()
        asked.clear()


@pytest.mark.parametrize("batch_size, advice", [(32, "try batch_size 16"), (2, "try smaller images or another")])
def test_running_out_of_memory_names_the_batch_size_to_try(tmp_path: Path, batch_size: int, advice: str) -> None:
    class Hungry(TinyNet):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            torch.empty(2**60)  # more bytes than any machine has
            return super().forward(images)

    train, valid = parts()
    how = {"state_folder": tmp_path, "settings": {}, "label": "toy", "batch_size": batch_size}
    with pytest.raises(MemoryError, match=f"toy: out of memory with batches of {batch_size} images; {advice}"):
        t.fit(Hungry(), train, valid, **how)


def test_an_error_of_another_kind_is_left_as_it_is(tmp_path: Path) -> None:
    class Wrong(TinyNet):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) @ torch.ones(5, 5)

    train, valid = parts()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        t.fit(Wrong(), train, valid, state_folder=tmp_path, settings={})


def test_a_state_made_otherwise_is_continued_and_said(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train_tiny(tmp_path)
    capsys.readouterr()
    torch.set_num_threads(2)
    train_tiny(tmp_path)
    said = capsys.readouterr().out
    assert "continues a training state made otherwise (threads 1 there, 2 here); weights may differ" in said


def test_a_training_that_has_ended_is_not_done_again_until_its_run_is_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """A grid of 48 cells that is killed in the last one repeats that one only."""
    first, fitted = train_tiny(tmp_path)
    assert "epoch 5/5" in capsys.readouterr().out
    again, found = train_tiny(tmp_path, learning_rate=99.0)  # would destroy the weights if it were used
    assert capsys.readouterr().out == "" and fingerprint(again) == fingerprint(first)
    assert fingerprint(found.last) == fingerprint(fitted.last)
    pd.testing.assert_frame_equal(found.history, fitted.history)


def test_a_training_that_has_ended_keeps_its_best_and_its_last_state(tmp_path: Path) -> None:
    _, fitted = train_tiny(tmp_path, epochs=8, learning_rate=0.3, gamma=1.0)
    best = 1 + fitted.history["valid_loss"].argmin()
    assert best < 7, "otherwise this says nothing"
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == [f"state-{best:04d}.pt", "state-0008.pt"]


def test_states_of_other_settings_are_refused(tmp_path: Path) -> None:
    save_state(tmp_path, {"epoch": 1, "settings": TINY_SETTINGS | {"seed": 7}})
    with pytest.raises(
        ValueError, match=r"belongs to another run: seed is 7 there and 0 here; delete .* to start afresh"
    ):
        train_tiny(tmp_path)


def test_a_flipped_byte_in_a_state_is_refused(tmp_path: Path) -> None:
    path = save_state(tmp_path, {"epoch": 1, "settings": TINY_SETTINGS})
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="does not match its checksum"):
        train_tiny(tmp_path)


def test_the_weights_of_the_smallest_validation_loss_stay(tmp_path: Path) -> None:
    model, (history, _) = train_tiny(tmp_path, epochs=8, learning_rate=0.3, gamma=1.0)
    best = history["valid_loss"].min()
    assert best < history["valid_loss"].iloc[-1]  # otherwise this says nothing
    assert t.validate(model, parts()[1])["loss"] == pytest.approx(best)


def test_the_learning_rate_falls_every_step_size_epochs(tmp_path: Path) -> None:
    _, (history, _) = train_tiny(tmp_path)
    assert history["learning_rate"].tolist() == pytest.approx([0.02, 0.02, 0.01, 0.01, 0.005])


def test_weight_decay_is_adams(tmp_path: Path) -> None:
    train, valid = parts(13)  # eight images: one batch an epoch
    model, own = TinyNet(), TinyNet()
    t.fit(
        model,
        train,
        valid,
        state_folder=tmp_path,
        settings={},
        epochs=1,
        batch_size=8,
        learning_rate=0.1,
        weight_decay=0.3,
    )
    optimizer = torch.optim.Adam(own.parameters(), lr=0.1, betas=(0.9, 0.999), weight_decay=0.3)
    torch.manual_seed(np.random.SeedSequence([0, 0]).generate_state(1)[0].item())
    order = train.rows[np.random.default_rng([0, 0]).permutation(8)]
    labels = torch.tensor(bright_and_dark(13)[1][order])
    inputs = t.to_input(train.array[order], torch.device("cpu")).contiguous(memory_format=torch.channels_last)
    F.cross_entropy(own.to(memory_format=torch.channels_last).train()(inputs), labels).backward()
    optimizer.step()
    torch.testing.assert_close(model.classifier.weight, own.classifier.weight)


def test_parameters_without_gradient_stay(tmp_path: Path) -> None:
    model, (train, valid) = TinyNet(), parts()
    model.body[0].requires_grad_(False)
    before = model.body[0].weight.clone()
    t.fit(model, train, valid, state_folder=tmp_path, settings={}, epochs=2, learning_rate=0.1)
    assert torch.equal(model.body[0].weight, before)


class Broken(TinyNet):
    """Gives NaN in the given mode."""

    def __init__(self, *, training: bool):
        super().__init__()
        self.when = training

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) * (float("nan") if self.training == self.when else 1.0)


@pytest.mark.parametrize("training", [True, False])
def test_a_loss_that_is_not_finite_stops_with_the_cure_and_keeps_no_broken_state(
    tmp_path: Path, training: bool
) -> None:
    train, valid = parts()
    message = r"toy: the loss of epoch 1 is not finite; lower learning_rate \(there is no state yet\)"
    with pytest.raises(ValueError, match=message):
        t.fit(Broken(training=training), train, valid, state_folder=tmp_path, settings={}, epochs=1, label="toy")
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_not_finite_names_the_last_good_checkpoint(tmp_path: Path) -> None:
    train, valid = parts()
    model, steps = TinyNet(), []

    def poison(module: nn.Module, inputs: tuple) -> torch.Tensor | None:
        steps.append(module.training)
        return inputs[0] * float("nan") if module.training and sum(steps) > 2 * 5 else None  # from the third epoch on

    model.classifier.register_forward_pre_hook(poison)
    message = r"the loss of epoch 3 is not finite; .* \(the last good state is .*state-0002\.pt\)"
    with pytest.raises(ValueError, match=message):
        t.fit(model, train, valid, state_folder=tmp_path, settings={}, epochs=5, batch_size=8)
    good = read_state(tmp_path / "state-0002.pt", settings={})
    assert all(tensor.isfinite().all() for tensor in good["model"].values())


def test_a_learning_rate_that_explodes_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not finite; lower learning_rate"):
        train_tiny(tmp_path, learning_rate=1e30, gamma=1.0)


@pytest.mark.parametrize(
    "train_count, valid_count, batch_size, message",
    [
        (0, 5, 8, "no image for training, which needs at least 2; add images"),
        (1, 5, 8, "1 image for training, which needs at least 2; add images"),
        (5, 0, 8, "no image for validation, which needs at least 1; add images"),
        (5, 5, 1, "batch_size is 1; expected a whole number of at least 2"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    tmp_path: Path, train_count: int, valid_count: int, batch_size: int, message: str
) -> None:
    array, labels = bright_and_dark(10)
    train, valid = (t.Examples(array, np.arange(n), labels[:n]) for n in (train_count, valid_count))
    with pytest.raises(ValueError, match=f"^toy: {message}"):
        t.fit(TinyNet(), train, valid, state_folder=tmp_path, settings={}, batch_size=batch_size, label="toy")


def test_a_left_out_image_does_not_lower_the_accuracy(tmp_path: Path) -> None:
    array, labels = bright_and_dark(9)
    nine = t.Examples(array, np.arange(9), labels)  # two batches of four, and one image that is left out
    model = TinyNet()
    fitted = t.fit(model, nine, nine, state_folder=tmp_path, settings={}, epochs=30, batch_size=4, learning_rate=0.05)
    assert fitted.history["train_balanced_accuracy"].max() == 1


def test_every_image_is_seen_once_an_epoch_in_an_order_of_its_own() -> None:
    orders = [np.concatenate(list(t._shuffled(20, 6, seed=s, epoch=e))) for s, e in [(0, 0), (0, 1), (1, 0), (0, 0)]]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert (orders[0] == orders[3]).all() and (orders[0] != orders[1]).any() and (orders[0] != orders[2]).any()


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
def test_validation_weighs_images_and_not_batches(batch_size: int) -> None:
    array, labels = bright_and_dark(131)
    model = TinyNet().eval()
    with torch.no_grad():
        logits = model(t.to_input(array, torch.device("cpu")))
    measured = t.validate(model, t.Examples(array, np.arange(131), labels), batch_size=batch_size)
    assert measured["loss"] == pytest.approx(F.cross_entropy(logits, torch.tensor(labels)).item(), rel=1e-5)
    assert measured["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, logits.argmax(1)))


def test_logits_come_in_the_order_of_the_rows_and_in_evaluation_mode() -> None:
    array, _ = bright_and_dark(20)
    model, rows = TinyNet().train(), np.array([7, 3, 19, 3])
    logits = t.predict(model, array, rows, batch_size=3)
    assert logits.shape == (4, 2) and not model.training
    torch.testing.assert_close(logits[1], logits[3])
    torch.testing.assert_close(logits[2], t.predict(model, array, np.array([19]))[0])


def test_squares_become_channels_first_and_features_stay() -> None:
    array, _ = bright_and_dark(3)
    tensor = t.to_input(array, torch.device("cpu"))
    assert tensor.shape == (3, 3, 8, 8) and (tensor[1, 2].numpy() == array[1, :, :, 2]).all()
    assert t.to_input(np.zeros((2, 3, 5), dtype=np.float32), torch.device("cpu")).shape == (2, 3, 5)


def test_class_weights_are_one_minus_the_share() -> None:
    weights = t.class_weights(np.array([0] * 5 + [1] * 3 + [2] * 2))
    assert weights.tolist() == pytest.approx([0.5, 0.7, 0.8])
    assert t.class_weights(np.array([0, 0, 1, 1])).tolist() == pytest.approx([0.5, 0.5, 1.0])


def test_class_weights_reach_the_validation_loss() -> None:
    array, labels = bright_and_dark(30)
    examples, weights = t.Examples(array, np.arange(30), labels), torch.tensor([0.2, 0.8])
    logits = t.predict(TinyNet(), array, examples.rows)
    expected = F.cross_entropy(logits, torch.tensor(labels), weight=weights).item()
    assert t.validate(TinyNet(), examples, loss_weights=weights)["loss"] == pytest.approx(expected)


def test_the_published_grid_has_48_cells_that_fit_accepts() -> None:
    cells = grid_cells(
        batch_size=[16, 32], learning_rate=[1e-3, 1e-4], weight_decay=[1e-3, 1e-4], gamma=[0.9, 0.6, 0.3],
        step_size=[10, 15],
    )  # fmt: skip
    assert len(cells) == len({tuple(cell.items()) for cell in cells}) == 48
    assert cells[0] == {"batch_size": 16, "learning_rate": 1e-3, "weight_decay": 1e-3, "gamma": 0.9, "step_size": 10}


@pytest.mark.parametrize(
    "wrong, expected",
    [
        ({"patience": -1}, "a whole number of at least 0"),
        ({"epochs": 0}, "a whole number of at least 1"),
        ({"epochs": 1.5}, "a whole number of at least 1"),
        ({"step_size": 0}, "a whole number of at least 1"),  # would divide by zero
        ({"clip_norm": -1.0}, "a number from 0"),  # this and a gamma below zero would climb uphill
        ({"gamma": -0.5}, "a number above 0"),
        ({"learning_rate": 0.0}, "a number above 0"),
        ({"learning_rate": float("nan")}, "a number above 0"),
        ({"learning_rate": float("inf")}, "a number above 0"),
        ({"weight_decay": -1e-3}, "a number from 0"),
    ],
)
def test_a_setting_that_no_training_can_have_is_refused(tmp_path: Path, wrong: dict, expected: str) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"^tiny: {name} is {value}; expected {expected}$"):
        train_tiny(tmp_path, **wrong)
    assert not list(tmp_path.iterdir())


def test_the_smallest_settings_train(tmp_path: Path) -> None:
    least = {"epochs": 1, "batch_size": 2, "step_size": 1, "patience": 0, "weight_decay": 0.0, "clip_norm": 0.0}
    train_tiny(tmp_path, learning_rate=1e-9, **least)


@pytest.mark.parametrize("weighted", [True, False])
def test_loss_and_accuracy_of_an_epoch_are_those_of_its_images_as_in_validation(weighted: bool) -> None:
    """Without a step that changes the model: training and validation then measure one thing, whatever the batches."""
    array, labels = bright_and_dark(30)
    examples = t.Examples(array, np.arange(10, 30), np.where(labels[10:] * np.arange(20) % 3 == 1, 1, 0))
    model, weights = TinyNet().eval(), torch.tensor([0.1, 0.9]) if weighted else None
    model.train = lambda mode=True: model  # BatchNorm and dropout stay as validation has them
    batches = t._batches(examples, 7, seed=0, epoch=0, epochs=1, device=torch.device("cpu"), label="")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    loss, accuracy = t._train_epoch(model, batches, optimizer, weights=weights, clip_norm=0.0, mixed=False)
    expected = t.validate(model, examples, loss_weights=weights)
    assert loss == pytest.approx(expected["loss"], rel=1e-5)
    assert accuracy == pytest.approx(expected["balanced_accuracy"])
