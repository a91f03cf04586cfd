"""The published grid: one head trained in every cell of it, the best on validation chosen."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from dfxlib.training.fit import Examples, Fitted, fit


def grid_cells(**values: list) -> list[dict]:
    """Every combination of the values of some settings, as keyword arguments of `fit` (the published grid has 48)."""
    return [dict(zip(values, cell)) for cell in product(*values.values())]


def fit_grid(
    build: Callable[[], nn.Module],  # a new head, its weights drawn
    train: Examples,
    valid: Examples,
    *,
    cells: list[dict],  # of grid_cells
    state_folder: Path,  # one folder of training states a cell
    settings: dict,
    seed: int,
    label: str,
    **how: Any,  # other keyword arguments of `fit`
) -> tuple[nn.Module, Fitted, pd.DataFrame]:  # the chosen head, its training, and a row a cell
    """Train a head from the same start in every cell; the smallest validation loss chooses.

    The table has each cell's settings, valid_loss, seconds, and whether it was chosen.
    """
    heads, fits, rows = [], [], []
    for number, cell in enumerate(cells):
        torch.manual_seed(seed)
        head = build()
        fitted = fit(
            head,
            train,
            valid,
            state_folder=state_folder / f"cell{number:02d}",
            settings=settings | cell,
            seed=seed,
            label=f"{label} cell {number + 1} of {len(cells)}",
            **cell,
            **how,
        )
        heads.append(head)
        fits.append(fitted)
        history = fitted.history
        rows.append(cell | {"valid_loss": history["valid_loss"].min(), "seconds": history["seconds"].sum()})
    table = pd.DataFrame(rows)
    chosen = int(table["valid_loss"].idxmin())
    return heads[chosen], fits[chosen], table.assign(chosen=table.index == chosen)
