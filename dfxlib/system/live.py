"""What is at work: told by those who work, shown in one line by whoever has the terminal.

Who shows names a folder in LIVE_VARIABLE. There each `dfx execute` keeps one small file about its notebook and, beside
it, the notebook's kernel one about the step that it is in. Where nobody shows, nothing is written.
"""

import io
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from dfxlib.system.shown import shown

#: The folder of the small files.
LIVE_VARIABLE = "DFXLIB_LIVE"

#: The file of the run whose kernel this is.
_RUN_VARIABLE = "DFXLIB_LIVE_RUN"

#: The section above the first heading of a notebook.
START = "Start"

_PAUSE = 0.5  # seconds between two looks

_CLEAR = "\r\x1b[2K"  # to the start of the line, and empty it


class Status(NamedTuple):
    """What a running notebook said last."""

    notebook: str  # name without suffix
    folder: str  # of the run
    section: str  # heading above the cell that is at work
    started: float  # when the notebook was started, in seconds since the epoch
    step: str = ""  # what the cell is doing
    fraction: float = 0.0  # how far that step is, 0 to 1
    end: float = 0.0  # when that step will be over, as `started`; 0: not known yet


@contextmanager
def telling(notebook: str, folder: str) -> Iterator[None]:  # without suffix; of the run
    """Inside, this process runs a notebook; its kernel, which inherits a variable, says how far it is."""
    if not os.environ.get(LIVE_VARIABLE):
        yield
        return
    path = Path(os.environ[LIVE_VARIABLE], f"{os.getpid()}.run")
    os.environ[_RUN_VARIABLE] = str(path)
    _write(path, {"notebook": notebook, "folder": folder, "section": START, "started": time.time()})
    try:
        yield
    finally:
        for suffix in (".run", ".step"):
            path.with_suffix(suffix).unlink(missing_ok=True)


def tell_section(section: str) -> None:
    """Say which section of the notebook is at work; the step before is over."""
    if path := os.environ.get(_RUN_VARIABLE):
        Path(path).with_suffix(".step").unlink(missing_ok=True)
        _write(Path(path), _read(Path(path)) | {"section": section})


def tell_step(step: str, fraction: float, left: float | None) -> None:
    """Say how far a step is, and how many seconds it will still take."""
    if path := os.environ.get(_RUN_VARIABLE):
        end = 0.0 if left is None else time.time() + left
        _write(Path(path).with_suffix(".step"), {"step": step, "fraction": fraction, "end": end})


def read_runs(folder: Path) -> list[Status]:
    """What is at work, in the order in which it was started."""
    alive = [path for path in folder.glob("*.run") if _is_alive(int(path.stem))]
    found = [_read(path) | _read(path.with_suffix(".step")) for path in alive]
    return sorted((Status(**run) for run in found if "notebook" in run), key=lambda run: run.started)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)  # asks, and sends nothing
    except OSError:
        return False
    return True


def _write(path: Path, content: dict) -> None:
    """Whole or not at all, and never a reason to stop: on another machine, or when nobody looks, there is no folder."""
    with suppress(OSError):
        partial = path.with_suffix(path.suffix + ".part")
        partial.write_text(json.dumps(content))
        os.replace(partial, path)


def _read(path: Path) -> dict:
    with suppress(OSError, ValueError):
        return json.loads(path.read_text())
    return {}


def describe(runs: list[Status], now: float) -> list[str]:
    """Each run in a few words: `10 base/resnet18/real/seed0, Training: real epoch 3/10 41%, 0:25 left`.

    Of several at once only the step is told, so that they fit into one line.
    """
    return [_describe(run, now, briefly=len(runs) > 1) for run in runs]


def _describe(run: Status, now: float, *, briefly: bool) -> str:
    number, place = run.notebook.partition("_")[0], "/".join(Path(run.folder).parts[2:]) or run.folder
    left = f", {minutes(max(0.0, run.end - now))} left" if run.end else ""
    step = f"{run.step} {run.fraction:.0%}{left}" if run.step else ""
    if briefly:
        return f"{number} {step or run.section}"
    return f"{number} {place}, {run.section}" + (f": {step}" if step else "")


def minutes(seconds: float) -> str:
    """A duration as people read it: 0:25, 12:05, 3 h 10 min."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60}:{whole % 60:02d}"


def say(*words: object, file: IO[str] | None = None) -> None:
    """`print`, flushed, on a line of its own where a live line may stand; `shown` as a terminal may show it."""
    stream = file or sys.stdout
    clear = _CLEAR if is_terminal(stream) else ""
    print(clear + " ".join(map(shown, words)), file=stream, flush=True)


def open_streams() -> None:
    """Lead standard streams that were closed before Python started to nowhere, and errors to where all else is printed.

    Else a bar that is drawn on such a stream ends the command without a word, and the next file that is opened takes
    its number, and with it what libraries and other processes say.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(1 if name == "stderr" else os.open(os.devnull, os.O_RDWR), number)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", buffering=1, closefd=False))
        if name != "stdin" and isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that a terminal cannot show ends nothing


def is_terminal(stream: IO[str] | None) -> bool:  # None: a stream that was closed before Python started
    """Whether somebody looks at it."""
    return stream is not None and stream.isatty()


@contextmanager
def showing(line: Callable[[Path], str]) -> Iterator[None]:
    """Inside, a thread shows on the terminal what `line` makes, twice a second, of the folder in which runs tell."""
    folder = Path(tempfile.mkdtemp(prefix="dfxlib-live-"))
    os.environ[LIVE_VARIABLE] = str(folder)
    ended = threading.Event()
    thread = threading.Thread(target=_look, args=(line, folder, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        del os.environ[LIVE_VARIABLE]
        shutil.rmtree(folder, ignore_errors=True)


def _look(line: Callable[[Path], str], folder: Path, ended: threading.Event) -> None:
    on_terminal = is_terminal(sys.stderr)
    while not ended.wait(_PAUSE):
        text = ""
        with suppress(OSError):  # a finished run is just being moved to its place: the next look sees it
            text = line(folder)
        if on_terminal and text:
            sys.stderr.write(_CLEAR + text[: shutil.get_terminal_size().columns - 1])
            sys.stderr.flush()
    if on_terminal:
        sys.stderr.write(_CLEAR)
        sys.stderr.flush()


def show_runs(folder: Path) -> str:
    """The line for what is at work."""
    return " | ".join(describe(read_runs(folder), time.time()))
