"""One training loop, for base models, three-way baselines and the head alike."""

import copy
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfxlib.models.networks import CPU
from dfxlib.names import CLASSES, PRECISIONS, require_name, require_training
from dfxlib.system.parallel import one_ahead, progress
from dfxlib.training.augment import plain
from dfxlib.training.states import keep_states, load_state, read_state, save_state, state_path


class Examples(NamedTuple):
    """Inputs in an array, the rows of it that belong to a split, their labels, and how training reads them."""

    array: np.ndarray  # [N, S, S, 3] uint8 squares, or [N, 3, D] float32 features
    rows: np.ndarray  # [n] positions in `array`
    labels: np.ndarray  # [n] class of each of those rows
    read: Callable[..., np.ndarray] = plain  # of `augment`: (array, rows, seed=, epoch=) -> [B, ...]


class Fitted(NamedTuple):
    """What a training leaves besides the best weights, which are in the model."""

    history: pd.DataFrame  # one row an epoch
    last: nn.Module  # a copy with the weights of the last epoch, on the CPU


def class_weights(labels: np.ndarray) -> Tensor:  # [n] positions in CLASSES -> [3]
    """Weights 1 - share of the class among `labels` (paper, training of the complete model).

    The reference takes the shares of all its images; a caller here gives those that train (a departure: what is
    tested has no say in the training).
    """
    shares = np.bincount(labels, minlength=len(CLASSES)) / len(labels)
    return torch.tensor(1 - shares, dtype=torch.float32)


def fit(
    model: nn.Module,
    train: Examples,
    valid: Examples,  # read as they are, whatever training does to its own
    *,
    state_folder: Path,  # training states: the last two epochs and the best; continued from where there are any
    settings: dict,  # what a continued run must share; recorded in the states
    epochs: int = 50,
    batch_size: int = 32,  # images
    learning_rate: float = 1e-4,
    weight_decay: float = 1e-3,  # Adam's L2, as in the paper
    step_size: int = 10,  # epochs between reductions of the learning rate
    gamma: float = 1.0,  # factor of a reduction; 1: none
    loss_weights: Tensor | None = None,  # [classes]
    patience: int = 0,  # epochs without a smaller validation loss that end training; 0: all epochs
    clip_norm: float = 0.0,  # largest norm of a step's gradient; 0: any
    deterministic: bool = False,  # bitwise the same on a GPU too, where that is slower
    precision: str = "auto",  # of training: bfloat16 on a GPU and float32 on a CPU, where bfloat16 is slower; or fp32
    seed: int = 0,
    device: torch.device = CPU,
    label: str = "",  # name in progress lines
) -> Fitted:
    """Train with Adam and cross-entropy; leaves the weights of the smallest validation loss.

    Randomness derives from (seed, epoch, row), so that a run which was killed and started again
    ends with the same weights as an undisturbed one. The states of the best and the last epoch stay
    in `state_folder`: called again, nothing is trained. Raises ValueError when the loss is not
    finite, with the last good state, and MemoryError with the batch size to try.
    """
    _require_usable(train, valid, label=label)
    require_training(label, epochs=epochs, batch_size=batch_size, step_size=step_size, patience=patience)
    require_training(label, learning_rate=learning_rate, weight_decay=weight_decay, gamma=gamma, clip_norm=clip_norm)
    require_name(precision, PRECISIONS, what="precision")
    mixed = precision == "auto" and device.type == "cuda"
    model.to(device).to(memory_format=torch.channels_last if train.array.ndim == 4 else torch.preserve_format)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    # fused: all in one pass over memory
    optimizer = torch.optim.Adam(trained, lr=learning_rate, weight_decay=weight_decay, fused=True)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size, gamma)
    weights = None if loss_weights is None else loss_weights.to(device)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    history = _continue(state_folder, settings, parts, label)
    with memory_advice(label, batch_size), _algorithms(deterministic):
        while len(history) < epochs and not _is_stalled(history, patience):
            started, rate = time.perf_counter(), optimizer.param_groups[0]["lr"]
            batches = _batches(
                train, batch_size, seed=seed, epoch=len(history), device=device, epochs=epochs, label=label
            )
            torch.manual_seed(np.random.SeedSequence([seed, len(history)]).generate_state(1)[0].item())  # dropout
            loss, accuracy = _train_epoch(model, batches, optimizer, weights=weights, clip_norm=clip_norm, mixed=mixed)
            trained_for = time.perf_counter() - started
            measured = validate(model, valid, loss_weights=weights, batch_size=batch_size, device=device)
            _require_finite([loss, measured["loss"]], label, len(history), state_folder)
            scheduler.step()
            row = _epoch_row(len(history) + 1, loss, accuracy, measured, rate=rate)
            row |= {"images_per_second": len(train.rows) / trained_for, "seconds": time.perf_counter() - started}
            history.append(row)
            _keep(state_folder, settings, parts, history)
            print(_progress_line(label, row, epochs), flush=True)
    last = copy.deepcopy(model).cpu().eval()
    best = _best_epoch(history)
    model.load_state_dict(read_state(state_path(state_folder, best), settings=settings)["model"])
    model.eval()
    keep_states(state_folder, {best, len(history)})
    return Fitted(pd.DataFrame(history), last)


def _epoch_row(epoch: int, loss: float, accuracy: float, measured: dict, *, rate: float) -> dict:
    return {
        "epoch": epoch,
        "train_loss": loss,
        "train_balanced_accuracy": accuracy,
        "valid_loss": measured["loss"],
        "valid_balanced_accuracy": measured["balanced_accuracy"],
        "learning_rate": rate,
    }


def _require_usable(train: Examples, valid: Examples, *, label: str) -> None:
    for name, examples, least in (("training", train, 2), ("validation", valid, 1)):
        if len(examples.rows) < least:
            found = "1 image" if len(examples.rows) == 1 else "no image"
            raise ValueError(f"{label}: {found} for {name}, which needs at least {least}; add images")


def _require_finite(losses: list[float], label: str, whole_epochs: int, folder: Path) -> None:
    if np.isfinite(losses).all():
        return
    good = "there is no state yet"
    if whole_epochs:
        good = f"the last good state is {state_path(folder, whole_epochs)}"
    raise ValueError(f"{label}: the loss of epoch {whole_epochs + 1} is not finite; lower learning_rate ({good})")


@contextmanager
def memory_advice(label: str, batch_size: int) -> Iterator[None]:
    """Turn running out of memory into one sentence with the batch size to try."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        says_so = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not says_so and "can't allocate memory" not in str(error):  # as torch says it on a CPU
            raise
        cure = "try smaller images or another backbone"
        if batch_size >= 4:
            cure = f"try batch_size {batch_size // 2}"
        raise MemoryError(f"{label}: out of memory with batches of {batch_size} images; {cure}") from error


@contextmanager
def _algorithms(deterministic: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS refuses
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _best_epoch(history: list[dict]) -> int:
    return min(history, key=lambda row: row["valid_loss"])["epoch"]


def _is_stalled(history: list[dict], patience: int) -> bool:
    if patience == 0 or not history:
        return False
    return len(history) - _best_epoch(history) >= patience


def _made_with() -> dict:
    """On what else, besides settings and data, the bits of a result depend."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
    }


def _continue(folder: Path, settings: dict, parts: dict, label: str) -> list[dict]:  # history so far
    state = load_state(folder, settings=settings)
    if state is None:
        return []
    for name, part in parts.items():
        part.load_state_dict(state[name])
    if state["made_with"] != _made_with():
        there, here = state["made_with"], _made_with()
        change = ", ".join(f"{key} {there[key]} there, {here[key]} here" for key in here if there[key] != here[key])
        print(f"{label}: continues a training state made otherwise ({change}); weights may differ in their last bits")
    return state["history"]


def _keep(folder: Path, settings: dict, parts: dict, history: list[dict]) -> None:
    state = {"epoch": len(history), "settings": settings, "history": history, "made_with": _made_with()}
    for name, part in parts.items():
        state[name] = part.state_dict()
    bests = {_best_epoch(history)}
    if len(history) > 1:
        bests.add(_best_epoch(history[:-1]))  # where this state is lost, training goes on from the one before
    save_state(folder, state, keep=bests)


def validate(
    model: nn.Module,
    valid: Examples,
    *,
    loss_weights: Tensor | None = None,  # [classes]
    batch_size: int = 32,
    device: torch.device = CPU,
) -> dict:  # loss, balanced_accuracy
    """Cross-entropy and balanced accuracy; both weigh images, not batches."""
    # Without gradients twice the batch fits.
    logits = predict(model, valid.array, valid.rows, batch_size=2 * batch_size, device=device)  # [n, classes]
    labels = torch.tensor(valid.labels, dtype=torch.long)  # [n]
    loss = F.cross_entropy(logits, labels, weight=None if loss_weights is None else loss_weights.cpu())
    return {"loss": loss.item(), "balanced_accuracy": _balanced_accuracy(logits.argmax(1) == labels, labels)}


def _balanced_accuracy(hit: Tensor, labels: Tensor) -> float:  # [n] bool, [n]
    """Mean over the classes that occur of the share of hits."""
    shares = [hit[labels == label].double().mean() for label in labels.unique()]
    return torch.stack(shares).mean().item()


@torch.no_grad()
def predict(
    model: nn.Module,
    array: np.ndarray,  # [N, ...] squares or features
    rows: np.ndarray,  # [n] positions in `array`
    *,
    batch_size: int = 64,
    device: torch.device = CPU,
) -> Tensor:  # [n, classes] float32 logits on the CPU
    """Logits in evaluation mode, in the order of `rows`."""
    model.to(device).eval()
    chunks = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    inputs = one_ahead(lambda chunk: to_input(array[chunk], device), chunks)
    return torch.cat([model(batch).float() for batch in inputs]).cpu()


def to_input(batch: np.ndarray, device: torch.device) -> Tensor:
    """[B, S, S, 3] uint8 squares become [B, 3, S, S] in channels-last memory; features stay as they are."""
    tensor = torch.from_numpy(np.ascontiguousarray(batch))  # [B, ...]
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # only from pinned memory does a transfer run beside the computation
    tensor = tensor.to(device, non_blocking=True)
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor


def _batches(
    train: Examples, batch_size: int, *, seed: int, epoch: int, device: torch.device, epochs: int, label: str
) -> Iterator[tuple[Tensor, Tensor]]:  # inputs [B, ...], labels [B]
    def load(chunk: np.ndarray) -> tuple[Tensor, Tensor]:  # [B] places among the rows
        inputs = train.read(train.array, train.rows[chunk], seed=seed, epoch=epoch)
        return to_input(inputs, device), to_input(train.labels[chunk].astype(np.int64), device)

    chunks = list(_shuffled(len(train.rows), batch_size, seed=seed, epoch=epoch))
    yield from progress(one_ahead(load, chunks), label=label, total=len(chunks), epoch=epoch, epochs=epochs)


def _train_epoch(
    model: nn.Module,
    batches: Iterator[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    *,
    weights: Tensor | None,  # [classes]
    clip_norm: float,
    mixed: bool,  # bfloat16 where torch holds it safe
) -> tuple[float, float]:  # mean loss and balanced accuracy of the epoch's images
    model.train()
    trained = optimizer.param_groups[0]["params"]
    total, weight = torch.zeros((), dtype=torch.float64), torch.zeros(())
    hits, seen = [], []
    for inputs, labels in batches:  # [B, ...], [B]
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=mixed):
            logits = model(inputs)  # [B, classes]
        loss = F.cross_entropy(logits.float(), labels, weight=weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if clip_norm > 0:
            nn.utils.clip_grad_norm_(trained, clip_norm)
        optimizer.step()
        # Sums stay on the device: reading them here would make a GPU wait at every step. The loss is a mean weighted
        # by class; only with the batch's weight does the epoch have the same mean, as validation has it.
        batch_weight = torch.tensor(len(labels)) if weights is None else weights[labels].sum()
        total = total + loss.detach().double() * batch_weight
        weight = weight + batch_weight
        hits.append(logits.argmax(1) == labels)
        seen.append(labels)
    return (total / weight).item(), _balanced_accuracy(torch.cat(hits), torch.cat(seen))


def _shuffled(count: int, batch_size: int, *, seed: int, epoch: int) -> Iterator[np.ndarray]:  # [B] of 0..count-1
    """Batches of a permutation that depends on (seed, epoch) only.

    A last batch of one image is left out: BatchNorm cannot normalise it.
    """
    order = np.random.default_rng([seed, epoch]).permutation(count)
    for start in range(0, count, batch_size):
        batch = order[start : start + batch_size]
        if len(batch) > 1:
            yield batch


def _progress_line(label: str, row: dict, epochs: int) -> str:
    return (
        f"{label} epoch {row['epoch']}/{epochs}: loss {row['train_loss']:.3f}, "
        f"validation loss {row['valid_loss']:.3f}, balanced accuracy {row['valid_balanced_accuracy']:.3f}, "
        f"{row['images_per_second']:.0f} images/s"
    )
