"""Batch execution of one notebook: papermill underneath, honest about the outcome."""

import ast
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import papermill
import yaml
from papermill.exceptions import PapermillExecutionError

from dfxlib.study.pages import to_html
from dfxlib.study.papermill_engine import require_kernel, run_notebook
from dfxlib.study.run_folder import DONE, check_places, replace_folder, restore_folder, staging_folder, vouch
from dfxlib.system.devices import own_device
from dfxlib.system.files import BATCH_VARIABLE, code_hash, hold, load_json, project_path, write_text_atomic
from dfxlib.system.live import say
from dfxlib.system.stopping import stoppable

_WHOLE = "metrics.json"  # with it `Run.finish` says that the staging folder holds a whole run

_QUOTES = "put each name in double quotes, and what a shell reads in single ones around them"

_KINDS = {"int": (int,), "float": (float, int), "str": (str,), "bool": (bool,), "list": (list,), "dict": (dict,)}


def execute(
    notebook: Path,
    out: Path,  # executed notebook; its folder is the run's folder
    *,
    parameters: dict,
    page: str = "",  # also write this HTML page beside it, for readers: without code
    code: bool = True,  # show the code, folded, in the notebook's own page
    gpu: bool = False,  # take a GPU of this machine that no other job has
    cell_limit: int | None = None,  # seconds for each cell
    run_limit: int | None = None,  # seconds for the whole, waiting included
    progress: bool = False,  # hand on what cells print, as it comes, to the error stream
) -> float:  # seconds; 0 where another process finished the same run meanwhile
    """Run a notebook; `out`, its HTML and `.done` appear only when every cell succeeded.

    What `Run` filled, the notebook, its pages and `.done` with the checksum of every file move to the run's folder
    together. After a failure, also of what comes after the last cell, the notebook lies beside the run's folder as
    NAME.failed.ipynb, and an earlier result is left as it was. Raises ValueError for arguments that no run can have,
    for parameters that the notebook does not have and for a notebook that ends without `run.finish`,
    PapermillExecutionError for whatever ended the run early, and KeyboardInterrupt for a signal before its first cell.
    """
    _check_arguments(notebook, out, page, cell_limit, run_limit)
    check_parameters(notebook, parameters)
    require_kernel(notebook)
    check_places(parameters)
    if out.parent.is_dir() and any(out.parent.iterdir()) and not _is_run(out.parent):
        raise ValueError(f"{out.parent} holds files that are no run's; give OUT as runs/STUDY/.../notebook.ipynb")
    folder = out.parent
    failed_notebook(out)  # refuses a folder without a name before anything is written
    folder.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    what = {"notebook": notebook.name, "code": code_hash(notebook), "parameters": parameters}
    with stoppable(run_limit), _locked(folder) as (lock, waited):
        if waited and _stated(folder) == what:
            return 0.0
        restore_folder(folder)
        with own_device() if gpu else nullcontext(()) as devices, _left_behind(out) as partial:
            _clear_marks(folder)
            os.environ[BATCH_VARIABLE] = str(folder.resolve())
            run_notebook(
                notebook,
                partial,
                parameters=parameters,
                keep_open=(lock, *devices),
                cell_limit=cell_limit,
                progress=progress,
            )
            _require_finished(notebook, folder)
            pictures, home = notebook.parent, _home(out, parameters)
            pages = {out.with_suffix(".html").name: to_html(partial, code=code, pictures=pictures, home=home)}
            if page:
                pages[page] = to_html(partial, code=False, pictures=pictures, for_readers=True)
            seconds = time.monotonic() - started
            _complete(out, partial, pages, what, seconds=seconds)
    return seconds


@contextmanager
def _locked(folder: Path) -> Iterator[tuple[int, bool]]:  # descriptor, and whether somebody else held it
    """Wait until nobody else fills `folder`: an orphan of a killed scheduler may still be at work."""
    waited = False
    while (lock := hold(folder.with_name(f".{folder.name}.lock"))) is None:
        if not waited:
            say(f"waiting for another process that fills {folder}", file=sys.stderr)
        waited = True
        time.sleep(0.5)
    try:
        yield lock, waited
    finally:
        os.close(lock)


@contextmanager
def _left_behind(out: Path) -> Iterator[Path]:  # where the notebook is executed, a neighbour of the run's folder
    """What does not come to its end becomes NAME.failed.ipynb."""
    partial, failed = out.parent.with_name(f".{out.parent.name}.partial.ipynb"), failed_notebook(out)
    try:
        yield partial
    except BaseException:
        for executed in (partial, staging_folder(out.parent) / out.name):
            if executed.exists():
                os.replace(executed, failed)
        raise
    failed.unlink(missing_ok=True)


def _clear_marks(folder: Path) -> None:
    """What says that a run is whole goes, where one was killed after its last cell."""
    for name in (DONE, _WHOLE):
        (staging_folder(folder) / name).unlink(missing_ok=True)


def _require_finished(notebook: Path, folder: Path) -> None:
    if not (staging_folder(folder) / _WHOLE).is_file():
        raise ValueError(
            f"{notebook.name} ended without a finished run in {folder}; expected a last cell that calls run.finish, "
            "and OUT in the folder that its open_run names"
        )


def _complete(out: Path, partial: Path, pages: dict[str, str], what: dict, *, seconds: float) -> None:
    """Bring everything together beside the run's folder, where a full disk or a signal harms no earlier result."""
    staging = staging_folder(out.parent)
    for name, text in pages.items():
        write_text_atomic(staging / name, text)
    os.replace(partial, staging / out.name)
    shutil.rmtree(staging / "states", ignore_errors=True)
    vouch(staging, what, seconds=seconds)
    replace_folder(out.parent)


def _stated(folder: Path) -> dict:
    """What a finished run says it is: notebook, code and parameters."""
    done = load_json(folder / DONE) if (folder / DONE).is_file() else {}
    return {name: done[name] for name in ("notebook", "code", "parameters") if name in done}


def _home(out: Path, parameters: dict) -> str:
    """Address of the study's report as seen from a run of that study, else nothing."""
    root = project_path(str(parameters.get("run_root", "")))
    if "run_root" not in parameters or not out.resolve().is_relative_to(root.resolve()):
        return ""
    return os.path.relpath(root.resolve() / "report" / "index.html", out.parent.resolve())


def failed_notebook(out: Path) -> Path:
    """Where a notebook that fails is left: beside the run's folder, which must therefore have a name."""
    if not out.parent.name:
        raise ValueError(f"{out} has no folder of its own, which a run fills and vouches for; write RUN/{out.name}")
    return out.parent.with_name(f"{out.parent.name}.failed.ipynb")


def _is_run(folder: Path) -> bool:
    return (folder / DONE).is_file() or (folder / "settings.json").is_file()


def _check_arguments(notebook: Path, out: Path, page: str, *limits: int | None) -> None:
    for path in (notebook, out):
        if path.suffix != ".ipynb":
            raise ValueError(f"{path} is no notebook; expected a name that ends in .ipynb")
    if page and (Path(page).name != page or not page.endswith(".html") or page == out.with_suffix(".html").name):
        raise ValueError(f"page {page!r} does not lie beside the notebook and its own page; expected index.html")
    if any(limit is not None and limit < 1 for limit in limits):
        raise ValueError(f"limits of {limits} s for a cell and the run; expected at least 1 s, or none")


def check_parameters(notebook: Path, parameters: dict) -> None:
    """Refuse names that the parameters cell lacks and values of another type.

    papermill would only warn of the first, and leave the second to a cell in the middle.
    """
    if not notebook.is_file():
        raise FileNotFoundError(f"notebook {notebook} is missing; expected one of notebooks/")
    whole = load_json(notebook)
    if not isinstance(whole, dict) or not {"nbformat", "metadata", "cells"} <= set(whole) or whole["nbformat"] != 4:
        raise ValueError(f"{notebook} is no notebook of Jupyter's format 4; open it in JupyterLab and save it")
    known = papermill.inspect_notebook(str(notebook))
    for name, value in parameters.items():
        if name not in known:
            raise ValueError(f"{notebook.name} has no parameter {name!r}; it has {', '.join(known)}")
        kind = known[name]["inferred_type_name"]
        wrong_bool = isinstance(value, bool) and kind != "bool"
        if kind in _KINDS and (wrong_bool or not isinstance(value, _KINDS[kind])):
            is_number = kind == "float" and re.match(r"[-+.\d]", str(value))
            hint = "; in YAML write 1.0e-3, since 1e-3 is text" if is_number else f"; {_QUOTES}" * (kind == "str")
            raise ValueError(f"{notebook.name}: {name} is {value!r}, expected {kind}{hint}")
        if kind == "list":
            _check_elements(notebook, name, value, default=ast.literal_eval(known[name]["default"]))


def _check_elements(notebook: Path, name: str, value: list, *, default: list) -> None:
    """A list that is empty in the notebook is one of names. YAML takes signs from what it reads as a number."""
    numeric = bool(default) and all(isinstance(element, int | float) for element in default)
    for element in value:
        if isinstance(element, str) is numeric:
            hint = "numbers; in YAML write 1.0e-3, since 1e-3 is text" if numeric else f"text; {_QUOTES}"
            raise ValueError(f"{notebook.name}: {name} holds {element!r}, expected {hint}")


def read_parameters(path: Path) -> dict:
    """Parameters from a YAML or JSON file."""
    if not path.is_file():
        raise FileNotFoundError(f"parameters file {path} is missing")
    return parse_parameters(path.read_bytes(), origin=f"parameters file {path}")


def parse_parameters(text: str | bytes, *, origin: str) -> dict:
    """Parameters from YAML or JSON text; `origin` names it where it is unusable."""
    content = parse_value(text, origin=origin)
    if not isinstance(content, dict | None):
        raise ValueError(f"{origin} holds a {type(content).__name__}; expected names with values")
    return content or {}


def parse_value(text: str | bytes, *, origin: str) -> object:
    """One value from YAML text; raises ValueError, which begins with `origin`, where it is none."""
    try:
        # JSON joins the two halves that YAML leaves of an emoji, and a date stays the text that it was.
        return json.loads(json.dumps(yaml.safe_load(text), default=str))
    except yaml.YAMLError as error:
        raise ValueError(f"{origin} is no YAML: {' '.join(str(error).split())}") from error


def explain(error: PapermillExecutionError) -> str:
    """The failing cell's own sentence, without the traceback."""
    return f"{error.ename}: " + re.sub(r"\x1b\[[0-9;]*m", "", str(error.evalue)).strip()
