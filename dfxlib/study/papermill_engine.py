"""papermill's engine, made honest: whatever ends a notebook early stands in it as a failed cell.

papermill 2.7 leaves every cell `completed` when the kernel dies, a cell runs past its limit or
the run is interrupted; only the exit code tells. Here the cell that was at work is marked as
failed and carries the reason, and papermill's own banner leads to it.
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging import LogRecord, getLogger
from pathlib import Path
from typing import Any

import papermill
from jupyter_client.kernelspec import NoSuchKernel, get_kernel_spec
from jupyter_core.utils import run_sync
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.log import logger
from traitlets.config import Config

from dfxlib.system.files import load_json
from dfxlib.system.live import START, tell_section

#: A kernel that does not start is tried again; on a busy machine the first try may be too slow.
STARTS = 3

#: Seconds a kernel has to end by itself before it is killed.
PATIENCE = 10.0

# What a kernel is told between cells, without a name in the notebook's namespace. No cyclic garbage is looked for while
# libraries load, nor ever again among what they made; and nobody takes them apart at the end. That saves five of the
# twelve seconds of a processor that a kernel with torch takes to start and to end.
_WHILE_IMPORTING = "__import__('gc').disable()"
_AFTER_IMPORTS = "__import__('gc').freeze(); __import__('gc').enable()"
_END = "__import__('atexit')._run_exitfuncs(); __import__('os')._exit(0)"


def run_notebook(
    notebook: Path,
    out: Path,
    *,
    parameters: dict,
    keep_open: tuple[int, ...] = (),  # descriptors of locks, which the kernel holds as long as it lives
    cell_limit: int | None = None,  # seconds
    progress: bool = False,  # hand on what cells print, as it comes, to the error stream
) -> None:
    """Execute into `out`, with a kernel that talks through sockets in a private folder.

    TCP, papermill's default, lets other users of the machine listen, and ports of parallel jobs
    collide. Raises PapermillExecutionError, named after what happened, for a cell that failed, a
    dead kernel, a limit or an interrupt; OSError, with the file's name, for a full disk or a program that is missing.
    """
    with tempfile.TemporaryDirectory(prefix="dfxlib-", dir=_socket_root()) as folder:
        # What a user lets every IPython run first would be part of the study: startup files, profiles.
        own = {"IPYTHONDIR": f"{folder}/ipython", "PYTHONSTARTUP": "", "MPLBACKEND": ""}
        sockets = Config(KernelManager={"transport": "ipc", "ip": f"{folder}/kernel"})
        try:
            papermill.execute_notebook(
                str(notebook),
                str(out),
                parameters,
                engine_name="dfxlib",
                progress_bar=False,
                execution_timeout=cell_limit,
                stdout_file=sys.stderr if progress else None,
                config=sockets,  # this and the next two are handed on to the engine below
                environment=own,
                keep_open=keep_open,
            )
        except OSError as error:
            if error.filename not in (None, str(out)):
                raise  # it names another file: the kernel's program, say
            raise OSError(error.errno, f"cannot write {out}: {error.strerror or error}") from error


def _socket_root() -> str | None:  # None: where temporary files are
    """A folder with a short name: a socket's whole path has 107 characters at most (unix(7))."""
    return None if len(tempfile.gettempdir()) < 60 else "/tmp"


def require_kernel(notebook: Path) -> None:
    """Raise ValueError, with the cure, where the kernel that a notebook names is not installed or its Python is gone.

    So it is in a clone that was moved: what Jupyter was told of it names the old place.
    """
    name = load_json(notebook)["metadata"].get("kernelspec", {}).get("name")
    if not name:
        raise ValueError(f"{notebook} names no kernel; open it in JupyterLab and save it")
    cure = f"install it again: {sys.executable} -m ipykernel install --sys-prefix --name {name}"
    try:
        kernel = get_kernel_spec(name)
    except NoSuchKernel as error:
        raise ValueError(f"{notebook} asks for the kernel {name}, which is not installed; {cure}") from error
    program = kernel.argv[0]  # a bare name is looked for by Jupyter
    if Path(program).is_absolute() and not Path(program).exists():
        raise ValueError(f"kernel {name} in {kernel.resource_dir} names {program}, which is missing; {cure}")


def sections(notebook: NotebookNode) -> list[str]:  # one a cell
    """The heading that stands above each cell; START before the first."""
    found, heading = [], START
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            heading = cell.source.partition("\n")[0].removeprefix("## ")
        found.append(heading)
    return found


class _Client(PapermillNotebookClient):
    def execute_cell(self, cell: NotebookNode, cell_index: int, **options: object) -> NotebookNode:
        tell_section(sections(self.nb)[cell_index])
        executed = super().execute_cell(cell, cell_index, **options)
        if cell is next((c for c in self.nb.cells if c.cell_type == "code"), None):  # by the house's rule, the imports
            self.kc.execute(_AFTER_IMPORTS, silent=True)
        return executed

    @contextmanager
    def setup_kernel(self, **options: object) -> Iterator[None]:
        """Start a kernel, several times if need be, and end it and all its workers."""
        for left in reversed(range(STARTS)):
            try:
                self.km = self.create_kernel_manager()
                self.start_new_kernel(**options)
                self.start_new_kernel_client()
                break
            except RuntimeError:
                if not left:
                    raise
        self.kc.execute(_WHILE_IMPORTING, silent=True)
        try:
            yield
            self.kc.execute(_END, silent=True)
            deadline = time.monotonic() + PATIENCE
            while run_sync(self.km.is_alive)() and time.monotonic() < deadline:
                time.sleep(0.05)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.km.provisioner.pgid, signal.SIGKILL)
            self._cleanup_kernel()


class _Engine(NBClientEngine):
    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, *, keep_open: tuple[int, ...], **options: Any
    ) -> None:
        client = _Client(
            nb_man,
            kernel_name=kernel_name,
            log=logger,
            timeout=options["execution_timeout"],
            startup_timeout=options["start_timeout"],
            config=options["config"],
            stdout_file=options["stdout_file"],
        )
        try:
            client.execute(pass_fds=keep_open, env=os.environ | options["environment"])
        except BaseException as error:
            # A disk that is full will not take a mark, and before the first cell there is nothing to mark.
            on_disk = isinstance(error, OSError) and not isinstance(error, CellTimeoutError)
            if on_disk or not mark_failed(nb_man.nb, error):
                raise


papermill_engines.register("dfxlib", _Engine)

# A signal passes through whatever task of nbclient's loop is at work, and the task that waits for a cell then finds its
# kernel dead. asyncio would later complain, with a traceback, that nobody asked a task for its exception. What ended
# the run is told already, in the notebook and in one line.
_AFTER_A_SIGNAL = (KeyboardInterrupt, DeadKernelError, AssertionError)  # the last: its client has gone as well


def _is_news(record: LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], _AFTER_A_SIGNAL))


getLogger("asyncio").addFilter(_is_news)

_SENTENCES = {
    DeadKernelError: "the kernel died, killed from outside, often for lack of memory",
    KeyboardInterrupt: "interrupted from the keyboard",
}


def mark_failed(notebook: NotebookNode, error: BaseException) -> bool:  # whether a cell had started
    """Turn the last started cell into a failed one that carries `error`; papermill then adds its banner."""
    started = [c for c in notebook.cells if c.cell_type == "code" and c.metadata.papermill["start_time"]]
    if not started:
        return False
    cell = started[-1]
    cell.metadata.papermill |= {"status": "failed", "exception": True}
    notebook.metadata.papermill["exception"] = True
    name = type(error).__name__
    sentence = _SENTENCES.get(type(error), str(error).split("\n")[0])
    cell.outputs.append(new_output("error", ename=name, evalue=sentence, traceback=[f"{name}: {sentence}"]))
    cell.execution_count = cell.execution_count or len(started)
    return True
