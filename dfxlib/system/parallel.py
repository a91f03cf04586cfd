"""Work spread over processes, with a progress bar that suits a screen and a log."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import cache
from itertools import islice
from typing import TypeVar

from tqdm import tqdm

from dfxlib.system.files import BATCH_VARIABLE

T = TypeVar("T")

R = TypeVar("R")


def progress(items: Iterable[T], *, label: str, total: int | None = None) -> Iterable[T]:
    """`items` behind a progress bar, which stays silent in a batch log."""
    batch = bool(os.environ.get(BATCH_VARIABLE))
    return tqdm(items, desc=label, total=total, disable=batch, mininterval=0.5, leave=False)


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

    Processes are spawned, not forked: a fork of a process in which torch has started threads
    can hang. An exception in `function` stops the map and reaches the caller.
    """
    workers = workers or usable_cores()
    items = list(items)
    batches = [items[start : start + chunk] for start in range(0, len(items), chunk)]
    if workers == 1 or len(batches) <= 1:
        yield from map(function, progress(items, label=label))
        return
    results = _in_order(_pool(workers), function, batches, workers)
    yield from progress(results, label=label, total=len(items))


@cache
def _pool(workers: int) -> ProcessPoolExecutor:
    """One pool a process, kept: a spawned worker spends its first second on imports."""
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _prepare_worker)


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
    pool: ProcessPoolExecutor, function: Callable[[T], R], batches: list[list[T]], workers: int
) -> Iterator[R]:
    """Results in the order of `batches`, never more than two batches a process ahead."""
    queue = iter(batches)
    pending = [pool.submit(_apply, function, batch) for batch in islice(queue, 2 * workers)]
    while pending:
        yield from pending.pop(0).result()
        following = next(queue, None)
        if following is not None:
            pending.append(pool.submit(_apply, function, following))


def _apply(function: Callable[[T], R], batch: list[T]) -> list[R]:
    return [function(item) for item in batch]
