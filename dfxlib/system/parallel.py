"""Work spread over processes, with a progress bar that suits a screen and a log."""

import atexit
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache
from itertools import islice
from typing import TypeVar

from tqdm import tqdm

from dfxlib.system import live
from dfxlib.system.files import BATCH_VARIABLE

_PAUSE = 0.5  # seconds between two signs of life

T = TypeVar("T")

R = TypeVar("R")


_paces: dict[str, float] = {}  # seconds of one whole bar, by label


def progress(
    items: Iterable[T],
    *,
    label: str,
    total: int | None = None,  # items; None: as many as `items` has, or nobody knows
    epoch: int = 0,  # of `epochs`, when one label has a bar for each
    epochs: int = 1,
) -> Iterable[T]:
    """`items` behind a bar, on a terminal and in JupyterLab; silent in a pipe; in a batch told to the live line."""
    name = f"{label} epoch {epoch + 1}/{epochs}" if epochs > 1 else label
    if total is None and isinstance(items, Sized):
        total = len(items)
    if os.environ.get(BATCH_VARIABLE):
        # A stream has no share to tell.
        return items if total is None else _told(items, name, label, total, epoch, epochs)
    # A kernel's error stream is no terminal, and shows bars all the same.
    silent = None if "ipykernel" not in sys.modules else False
    return tqdm(items, desc=name, total=total, disable=silent, mininterval=0.5, leave=False)


def _told(items: Iterable[T], name: str, label: str, total: int, epoch: int, epochs: int) -> Iterator[T]:
    started = told = time.monotonic()
    live.tell_step(name, epoch / epochs, _paces[label] * (epochs - epoch) if label in _paces else None)
    for number, item in enumerate(items):
        yield item
        now, share = time.monotonic(), (number + 1) / max(total, 1)
        if now - started > 1:
            _paces[label] = (now - started) / share
        if now - told > _PAUSE:
            whole, told = epoch + share, now
            live.tell_step(name, whole / epochs, _paces[label] * (epochs - whole) if label in _paces else None)


def usable_cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0))


def one_ahead(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`map` in order; a thread works on the next item while the caller is busy with this one."""
    with ThreadPoolExecutor(1) as thread:
        pending = None
        for item in items:
            following = thread.submit(function, item)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()


def map_processes(
    function: Callable[[T], R],  # a module's function: it travels to the processes by name
    items: Iterable[T],
    *,
    workers: int | None = None,  # processes; None: one per usable core
    chunk: int = 32,  # items handed over at once
    label: str = "",
) -> Iterator[R]:
    """`map` in order over spawned processes, with bounded memory for streams of any length.

    `items` may be a stream, of which no more is read ahead than the processes work on. Processes are spawned, not
    forked: a fork of a process in which torch has started threads can hang. An exception in `function` stops the map
    and reaches the caller.
    """
    workers = workers or usable_cores()
    total = len(items) if isinstance(items, Sized) else None
    if workers == 1 or (total is not None and total <= chunk):
        yield from map(function, progress(items, label=label))
        return
    stream = iter(items)
    batches = iter(lambda: list(islice(stream, chunk)), [])
    results = _in_order(_pool(workers), function, batches, workers)
    yield from progress(results, label=label, total=total)


@cache
def _pool(workers: int) -> ProcessPoolExecutor:
    """One pool a process, kept: a spawned worker spends its first second on imports."""
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _prepare_worker)
    atexit.register(pool.shutdown)  # else multiprocessing would wait for its processes, and they for work
    return pool


def _prepare_worker() -> None:
    """In a worker: leave an interrupt to the kernel, which ends its pool itself, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker of a kernel that was killed would wait for work for ever: it holds both ends of its queue."""
    parent = multiprocessing.parent_process()
    if parent is not None:  # as it is in every worker
        parent.join()
        os._exit(1)


def _in_order(
    pool: ProcessPoolExecutor, function: Callable[[T], R], batches: Iterator[list[T]], workers: int
) -> Iterator[R]:
    """Results in the order of `batches`, never more than two batches a process ahead."""
    pending = [pool.submit(_apply, function, batch) for batch in islice(batches, 2 * workers)]
    while pending:
        yield from pending.pop(0).result()
        pending += [pool.submit(_apply, function, batch) for batch in islice(batches, 1)]


def _apply(function: Callable[[T], R], batch: list[T]) -> list[R]:
    return [function(item) for item in batch]
