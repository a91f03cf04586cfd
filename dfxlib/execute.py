"""Batch execution of one notebook: papermill underneath, honest about the outcome."""

import ast
import fcntl
import json
import os
import re
import tempfile
import time
from pathlib import Path

import nbformat
import papermill
import yaml
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from dfxlib.files import sha256_file, write_text_atomic
from dfxlib.parallel import BATCH_VARIABLE

DONE = ".done"

_KINDS = {"int": (int,), "float": (float, int), "str": (str,), "bool": (bool,), "list": (list,), "dict": (dict,)}


def execute(
    notebook: Path,
    out: Path,  # executed notebook; its folder is the run's folder
    *,
    parameters: dict,
    page: str = "",  # also write this HTML page beside it, without code
) -> float:  # seconds
    """Run a notebook; `out`, its HTML and `.done` appear only when every cell succeeded.

    `.done` comes last and holds the checksum of every file of the run. After a failure the
    notebook with its error lies beside the run's folder as NAME.failed.ipynb, and an earlier
    result is left as it was. Raises ValueError for parameters that the notebook does not have
    and PapermillExecutionError for a failing cell.
    """
    check_parameters(notebook, parameters)
    if out.parent.is_dir() and any(out.parent.iterdir()) and not _is_run(out.parent):
        raise ValueError(f"{out.parent} holds files that are no run's; give OUT as runs/STUDY/.../notebook.ipynb")
    folder, failed = out.parent, failed_notebook(out)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial.ipynb")
    started = time.monotonic()
    with open(folder.with_name(f".{folder.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # an orphan of a killed scheduler may still be at work
        os.environ[BATCH_VARIABLE] = "1"
        try:
            _run_cells(notebook, partial, parameters)
        except BaseException:
            if partial.exists():
                os.replace(partial, failed)
            raise
        failed.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        os.replace(partial, out)
        write_text_atomic(out.with_suffix(".html"), to_html(out, code=True))
        if page:
            write_text_atomic(folder / page, to_html(out, code=False))
        seconds = time.monotonic() - started
        vouch(folder, notebook=notebook, parameters=parameters, seconds=seconds)
    return seconds


def failed_notebook(out: Path) -> Path:
    """Where a notebook that fails is left: beside the run's folder, which must therefore have a name."""
    if not out.parent.name:
        raise ValueError(f"{out} has no folder of its own, which a run fills and vouches for; write RUN/{out.name}")
    return out.parent.with_name(f"{out.parent.name}.failed.ipynb")


def _is_run(folder: Path) -> bool:
    return (folder / DONE).is_file() or (folder / "settings.json").is_file()


def _run_cells(notebook: Path, partial: Path, parameters: dict) -> None:
    """papermill, with a kernel that talks through sockets in a private folder.

    TCP, its default, lets other users of the machine listen, and ports of parallel jobs collide.
    """
    with tempfile.TemporaryDirectory(prefix="dfxlib-") as folder:
        local = Config(KernelManager={"transport": "ipc", "ip": f"{folder}/kernel"})
        papermill.execute_notebook(str(notebook), str(partial), parameters, progress_bar=False, config=local)


def check_parameters(notebook: Path, parameters: dict) -> None:
    """Refuse names that the parameters cell lacks and values of another type.

    papermill would only warn of the first, and leave the second to a cell in the middle.
    """
    if not notebook.is_file():
        raise FileNotFoundError(f"notebook {notebook} is missing; expected one of notebooks/")
    known = papermill.inspect_notebook(str(notebook))
    for name, value in parameters.items():
        if name not in known:
            raise ValueError(f"{notebook.name} has no parameter {name!r}; it has {', '.join(known)}")
        kind = known[name]["inferred_type_name"]
        wrong_bool = isinstance(value, bool) and kind != "bool"
        if kind in _KINDS and (wrong_bool or not isinstance(value, _KINDS[kind])):
            hint = "; in YAML write 1.0e-3, since 1e-3 is text" if kind == "float" else ""
            raise ValueError(f"{notebook.name}: {name} is {value!r}, expected {kind}{hint}")
        if kind == "list":
            _check_elements(notebook, name, value, default=ast.literal_eval(known[name]["default"]))


def _check_elements(notebook: Path, name: str, value: list, *, default: list) -> None:
    numeric = default and all(isinstance(element, int | float) for element in default)
    texts = [element for element in value if isinstance(element, str)]
    if numeric and texts:
        hint = "in YAML write 1.0e-3, since 1e-3 is text"
        raise ValueError(f"{notebook.name}: {name} holds {texts[0]!r}, expected numbers; {hint}")


def to_html(notebook: Path, *, code: bool) -> str:
    """One self-contained page: figures inside, no script or style from elsewhere."""
    content = nbformat.read(notebook, as_version=4)
    exporter = HTMLExporter(
        exclude_input=not code,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        mathjax_url="",
        require_js_url="",
        mermaid_js_url="",
        mermaid_layout_elk_js_url="",
        embed_images=True,
    )
    title = re.sub(r"^#+ *", "", content.cells[0].source.splitlines()[0])
    return exporter.from_notebook_node(content, resources={"metadata": {"name": title}})[0]


def vouch(folder: Path, *, notebook: Path, parameters: dict, seconds: float) -> Path:
    """Write `.done`: what was run, and the checksum of every file of the folder."""
    files = {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != DONE
    }
    content = {"notebook": notebook.name, "parameters": parameters, "seconds": round(seconds, 1), "files": files}
    return write_text_atomic(folder / DONE, json.dumps(content, indent=1) + "\n")


def verify(folder: Path) -> list[str]:  # what is wrong; empty: all as it was
    """Compare a finished run with its `.done`."""
    if not (folder / DONE).is_file():
        return ["not finished by a batch run"]
    stated = json.loads((folder / DONE).read_text())["files"]
    missing = [f"{name} is missing" for name in stated if not (folder / name).is_file()]
    changed = [
        f"{name} was changed"
        for name in stated
        if (folder / name).is_file() and sha256_file(folder / name) != stated[name]
    ]
    return missing + changed


def read_parameters(path: Path) -> dict:
    """Parameters from a YAML or JSON file."""
    if not path.is_file():
        raise FileNotFoundError(f"parameters file {path} is missing")
    return parse_parameters(path.read_text(encoding="utf-8"), origin=f"parameters file {path}")


def parse_parameters(text: str, *, origin: str) -> dict:
    """Parameters from YAML or JSON text; `origin` names it where it is unusable."""
    content = parse_value(text, origin=origin)
    if not isinstance(content, dict | None):
        raise ValueError(f"{origin} holds a {type(content).__name__}; expected names with values")
    return content or {}


def parse_value(text: str, *, origin: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{origin} is no YAML: {' '.join(str(error).split())}") from error


def explain(error: PapermillExecutionError) -> str:
    """The failing cell's own sentence, without the traceback."""
    sentence = re.sub(r"\x1b\[[0-9;]*m", "", str(error.evalue)).strip()
    return f"{error.ename}: {sentence}"
