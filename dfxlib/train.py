"""One training loop, for base models, three-way baselines and the head alike."""

import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfxlib.checkpoint import load_state, remove_states, save_state
from dfxlib.models import CPU
from dfxlib.names import CLASSES
from dfxlib.parallel import progress


class Examples(NamedTuple):
    """Inputs in an array, the rows of it that belong to a split, and their labels."""

    array: np.ndarray  # [N, S, S, 3] uint8 squares, or [N, 3, D] float32 features
    rows: np.ndarray  # [n] positions in `array`
    labels: np.ndarray  # [n] class of each of those rows


def class_weights(labels: np.ndarray, *, classes: int = len(CLASSES)) -> Tensor:  # [classes]
    """Weights 1 - share of the class among `labels` (paper, training of the complete model)."""
    shares = np.bincount(labels, minlength=classes) / len(labels)
    return torch.tensor(1 - shares, dtype=torch.float32)


def grid_cells(
    batch_sizes: list, learning_rates: list, weight_decays: list, gammas: list, step_sizes: list
) -> list[dict]:
    """Every combination, as keyword arguments of `fit` (the published grid has 48)."""
    names = ("batch_size", "learning_rate", "weight_decay", "gamma", "step_size")
    return [dict(zip(names, cell)) for cell in product(batch_sizes, learning_rates, weight_decays, gammas, step_sizes)]


def fit(
    model: nn.Module,
    train: Examples,
    valid: Examples,
    *,
    state_folder: Path,  # training states of every epoch; continued from where there are any
    settings: dict,  # what a continued run must share; recorded in the states
    epochs: int = 50,
    batch_size: int = 32,  # images
    learning_rate: float = 1e-4,
    weight_decay: float = 1e-3,  # Adam's L2, as in the paper
    step_size: int = 10,  # epochs between reductions of the learning rate
    gamma: float = 1.0,  # factor of a reduction; 1: none
    loss_weights: Tensor | None = None,  # [classes]
    seed: int = 0,
    device: torch.device = CPU,
    label: str = "",  # name in progress lines
) -> pd.DataFrame:  # one row an epoch
    """Train with Adam and cross-entropy; leaves the weights of the smallest validation loss.

    Randomness derives from (seed, epoch), so that a run which was killed and started again
    ends with the same weights as an undisturbed one. Raises ValueError when the loss is not
    finite, with the state from which to go on.
    """
    _require_usable(train, valid, epochs=epochs, batch_size=batch_size, label=label)
    model.to(device, memory_format=torch.channels_last if train.array.ndim == 4 else torch.preserve_format)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=learning_rate, weight_decay=weight_decay)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size, gamma)
    weights = None if loss_weights is None else loss_weights.to(device)
    history, best = _continue(state_folder, settings, model, optimizer, scheduler)
    for epoch in range(len(history), epochs):
        started, rate = time.perf_counter(), optimizer.param_groups[0]["lr"]
        loss, accuracy = _train_epoch(model, train, optimizer, weights, batch_size, seed, epoch, device, label)
        seconds = time.perf_counter() - started
        measured = validate(model, valid, loss_weights=weights, batch_size=batch_size, device=device)
        if not np.isfinite([loss, measured["loss"]]).all():
            raise ValueError(
                f"{label}: the loss of epoch {epoch + 1} is not finite; lower learning_rate "
                f"({len(history)} whole epochs are kept in {state_folder})"
            )
        scheduler.step()
        if measured["loss"] < min((row["valid_loss"] for row in history), default=np.inf):
            best = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
        row = {"epoch": epoch + 1, "train_loss": loss, "train_accuracy": accuracy, "valid_loss": measured["loss"]}
        row |= {"valid_balanced_accuracy": measured["balanced_accuracy"], "learning_rate": rate}
        row |= {"images_per_second": len(train.rows) / seconds, "seconds": time.perf_counter() - started}
        history.append(row)
        _keep(state_folder, settings, model, optimizer, scheduler, history, best)
        print(_progress_line(label, row, epochs), flush=True)
    model.load_state_dict(best)
    model.eval()
    remove_states(state_folder)
    return pd.DataFrame(history)


def _require_usable(train: Examples, valid: Examples, *, epochs: int, batch_size: int, label: str) -> None:
    for name, examples in {"training": train, "validation": valid}.items():
        if len(examples.rows) == 0:
            raise ValueError(f"{label}: no image for {name}; add images to the data set")
    if epochs < 1:
        raise ValueError(f"{label}: epochs is {epochs}; expected at least 1")
    if batch_size < 2:
        raise ValueError(f"{label}: batch_size is {batch_size}; expected at least 2, BatchNorm needs several images")


def _continue(
    folder: Path,
    settings: dict,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
) -> tuple[list[dict], dict | None]:  # history so far, best weights so far
    state = load_state(folder, settings=settings)
    if state is None:
        return [], None
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["scheduler"])
    return state["history"], state["best"]


def _keep(
    folder: Path,
    settings: dict,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    history: list[dict],
    best: dict,
) -> None:
    state = {"epoch": len(history), "settings": settings, "history": history, "best": best}
    state |= {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    save_state(folder, state)


def validate(
    model: nn.Module,
    valid: Examples,
    *,
    loss_weights: Tensor | None = None,
    batch_size: int = 32,
    device: torch.device = CPU,
) -> dict:  # loss, balanced_accuracy
    """Cross-entropy and balanced accuracy; both weigh images, not batches."""
    logits = predict(model, valid.array, valid.rows, batch_size=max(batch_size, 64), device=device)
    labels = torch.tensor(valid.labels, dtype=torch.long)
    loss = F.cross_entropy(logits, labels, weight=None if loss_weights is None else loss_weights.cpu())
    hit = (logits.argmax(1) == labels).numpy()
    recalls = [hit[valid.labels == label].mean() for label in np.unique(valid.labels)]
    return {"loss": loss.item(), "balanced_accuracy": float(np.mean(recalls))}


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
    return torch.cat([model(to_input(array[chunk], device)).float().cpu() for chunk in chunks])


def to_input(batch: np.ndarray, device: torch.device) -> Tensor:
    """[B, S, S, 3] uint8 squares become [B, 3, S, S] in channels-last memory; features stay as they are."""
    tensor = torch.from_numpy(np.ascontiguousarray(batch)).to(device, non_blocking=True)
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor


def _train_epoch(
    model: nn.Module,
    train: Examples,
    optimizer: torch.optim.Optimizer,
    weights: Tensor | None,
    batch_size: int,
    seed: int,
    epoch: int,
    device: torch.device,
    label: str,
) -> tuple[float, float]:  # mean loss and accuracy of the epoch's images
    model.train()
    torch.manual_seed(np.random.SeedSequence([seed, epoch]).generate_state(1)[0].item())  # dropout
    total, hits, images = 0.0, 0, 0
    chunks = list(_shuffled(len(train.rows), batch_size, seed=seed, epoch=epoch))
    for chunk in progress(chunks, label=f"{label} epoch {epoch + 1}"):
        inputs = to_input(train.array[train.rows[chunk]], device)
        labels = torch.tensor(train.labels[chunk], dtype=torch.long, device=device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            logits = model(inputs)
        loss = F.cross_entropy(logits.float(), labels, weight=weights)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(chunk)
        hits += (logits.argmax(1) == labels).sum().item()
        images += len(chunk)
    return total / images, hits / images


def _shuffled(count: int, batch_size: int, *, seed: int, epoch: int) -> Iterator[np.ndarray]:
    """Batches of a permutation that depends on (seed, epoch) only.

    A last batch of one image is left out: BatchNorm cannot normalise it.
    """
    order = np.random.default_rng([seed, epoch]).permutation(count)
    for start in range(0, count, batch_size):
        batch = order[start : start + batch_size]
        if len(batch) > 1 or count == 1:
            yield batch


def _progress_line(label: str, row: dict, epochs: int) -> str:
    return (
        f"{label} epoch {row['epoch']}/{epochs}: loss {row['train_loss']:.3f}, "
        f"validation loss {row['valid_loss']:.3f}, balanced accuracy {row['valid_balanced_accuracy']:.3f}, "
        f"{row['images_per_second']:.0f} images/s"
    )
