"""Training states: one file an epoch, each with its checksum, from which a killed training goes on."""

from collections.abc import Iterable
from pathlib import Path

import torch

from dfxlib.system.files import checksum_path, sha256_file, write_vouched


def state_path(folder: Path, epoch: int) -> Path:
    """File of the training state after an epoch, counted from 1."""
    return folder / f"state-{epoch:04d}.pt"


def save_state(
    folder: Path,
    state: dict,
    *,
    keep: Iterable[int] = (),  # epochs whose states stay besides the last two: the best
) -> Path:
    """Write the training state of one epoch, then its checksum; the last two epochs are kept.

    Every epoch has a file of its own, so that a kill between the two writes leaves a state
    without a checksum, which is skipped, and never a checksum that contradicts its state.
    """
    path = state_path(folder, state["epoch"])
    write_vouched(path, lambda partial: torch.save(state, partial))
    keep_states(folder, {state["epoch"] - 1, state["epoch"], *keep})
    return path


def keep_states(folder: Path, epochs: set[int]) -> None:
    """Delete the training states of all other epochs."""
    kept = {state_path(folder, epoch) for epoch in epochs}
    for path in folder.glob("state-*.pt"):
        if path not in kept:
            checksum_path(path).unlink(missing_ok=True)
            path.unlink()


def load_state(folder: Path, *, settings: dict) -> dict | None:
    """The newest training state in `folder`, or None where there is none.

    Raises ValueError for a damaged state and for one of a run with other settings.
    """
    whole = [path for path in sorted(folder.glob("state-*.pt")) if checksum_path(path).is_file()]
    return read_state(whole[-1], settings=settings) if whole else None


def read_state(path: Path, *, settings: dict) -> dict:
    """One training state; torch.load does not verify what it reads, so the checksum is compared first."""
    if not path.is_file() or not checksum_path(path).is_file():
        raise ValueError(f"training state {path} is missing; delete {path.parent} to start afresh")
    if checksum_path(path).read_text().split()[:1] != [sha256_file(path)]:
        raise ValueError(f"training state {path} does not match its checksum; delete it to go on from an earlier one")
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name in sorted(settings.keys() | state["settings"].keys()):
        there, here = state["settings"].get(name), settings.get(name)
        if there != here:
            raise ValueError(
                f"training state {path} belongs to another run: {name} is {there!r} there and {here!r} here; "
                f"delete {path.parent} to start afresh"
            )
    return state
