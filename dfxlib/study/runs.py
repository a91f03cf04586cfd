"""The run folder: what was run, with what, on what, and what came out."""

import json
import os
import platform
import shutil
import subprocess
import time
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from importlib.metadata import version
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure

from dfxlib.models.networks import resolve_device
from dfxlib.names import CLASSES
from dfxlib.study.figures import describe_figure, save_files, shows_pictures
from dfxlib.study.run_folder import replace_folder, restore_folder, staging_folder
from dfxlib.system import files
from dfxlib.system.memory import keep_freed_memory

#: Folders of dfxlib, and its file of words, on which a number of a run can depend; figures and batch runs are none.
_COMPUTES = ("names.py", "data/*.py", "models/*.py", "measure/*.py", "training/*.py")

_PACKAGES = ["torch", "torchvision", "numpy", "pandas", "scikit-learn", "scipy", "pillow", "papermill", "snakemake"]


class Picture:
    """A saved figure as a notebook shows it: its PNG, with a description for readers who do not see it."""

    def __init__(self, png: bytes, description: str, *, pictures: bool):
        self.png = png
        self.description = description
        self.pictures = pictures  # of the data set

    def __repr__(self) -> str:
        return self.description

    def _repr_mimebundle_(self, **_: object) -> tuple[dict, dict]:  # data and metadata, as IPython asks for them
        return {"image/png": self.png}, {"image/png": {"alt": self.description, "pictures": self.pictures}}


class Run:
    """One run's folder. It is filled beside its final place and moves there whole: by `finish`, or in a batch run by
    `execute`, which first adds the notebook, its pages and their checksums.

    So a folder under its final name is a finished run, and an earlier result stays until a new
    one is complete. Training states live in `states`, which survives a kill and is continued;
    they stay until the whole run is finished, so that a trained cell of a grid is not trained again.
    """

    def __init__(self, folder: Path, *, settings: dict, seed: int, device: str):
        self.final = folder
        self.folder = staging_folder(folder)
        self.states = self.folder / "states"
        self.settings = settings
        self.device = resolve_device(device)
        self._started = time.monotonic()
        restore_folder(folder)
        _clear(self.folder, keep=self.states)
        torch.manual_seed(seed)
        self.save_json("settings", settings)
        self.save_json("environment", describe_environment(self.device))

    def save_table(self, name: str, table: pd.DataFrame) -> pd.DataFrame:
        """Write tables/NAME.csv and give the table back, so that a cell can end with it."""
        path = self.folder / "tables" / f"{name}.csv"
        files.write_atomic(path, lambda partial: table.to_csv(partial, index=False, lineterminator="\n"))
        return table

    def save_json(self, name: str, content: dict) -> dict:
        """Write NAME.json and give its content back."""
        files.write_text_atomic(self.folder / f"{name}.json", json.dumps(content, indent=1, default=str) + "\n")
        return content

    def save_figure(self, name: str, figure: Figure) -> Picture:
        """Write figures/NAME.png and .svg, and give the picture back, so that a cell can end with it."""
        svg, png = (self.folder / "figures" / f"{name}.{suffix}" for suffix in ("svg", "png"))
        save_files(figure, svg, png)
        plt.close(figure)  # the notebook shows the picture; pyplot must not show the figure as well
        return Picture(png.read_bytes(), describe_figure(name, figure), pictures=shows_pictures(figure))

    def finish(self, metrics: dict) -> None:
        """Write metrics.json with the run's duration, and move the folder to its final name.

        In a batch run `execute` moves the folder that it was told to fill; until then it holds what goes on.
        """
        metrics = metrics | {"seconds": round(time.monotonic() - self._started, 1)}
        self.save_json("metrics", metrics)
        batch = os.environ.get(files.BATCH_VARIABLE, "")
        if self.folder != self.final and Path(batch).resolve() != self.final.resolve():
            shutil.rmtree(self.states, ignore_errors=True)
            replace_folder(self.final)
            self.folder = self.final  # a last cell that is run twice completes this run
        print(f"finished in {metrics['seconds']:.0f} s")


def open_run(run_root: str, *parts: str, settings: dict, seed: int = 0, device: str = "auto") -> Run:
    """The folder run_root/parts, its settings and environment written, seeds set, device chosen."""
    keep_freed_memory()
    folder = files.project_path(run_root).joinpath(*(files.safe_name(part) for part in parts))
    run = Run(folder, settings=settings, seed=seed, device=device)
    print(f"results go to {Path(run_root, *parts)}, computed on {run.device}")
    return run


def run_folder(run_root: str, *parts: str) -> Path:
    """Where another notebook's finished run lies."""
    return files.project_path(run_root).joinpath(*(files.safe_name(part) for part in parts))


def base_parts(backbone: str, nature: str, seed: int, *, variant: str = "") -> tuple[str, ...]:
    """Parts of a base model's folder; those of a variant stand beside that variant's runs."""
    step = ("variant", variant) if variant else ("base",)
    return (*step, backbone, nature, f"seed{seed}")


def base_model_paths(run_root: str, backbone: str, seed: int, *, variant: str = "") -> dict[str, Path]:  # by nature
    """The files of the three base models that a complete model is made of."""
    folders = {nature: base_parts(backbone, nature, seed, variant=variant) for nature in CLASSES}
    return {nature: run_folder(run_root, *parts) / "model.safetensors" for nature, parts in folders.items()}


def complete_parts(backbone: str, seed: int, *, variant: str = "") -> tuple[str, ...]:
    """Parts of the folder of a model that tells the three natures apart: the complete model, or a variant of it."""
    step = ("variant", variant) if variant else ("complete",)
    return (*step, backbone, f"seed{seed}")


def read_json(path: Path, *, needs: str) -> dict:
    """A result of an earlier notebook, named by `needs` where it is missing."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; run {needs} first")
    return files.load_json(path)


def describe_environment(device: torch.device) -> dict:
    """Versions, device, threads and commit, for the record beside every result."""
    return {
        "finished_by": "dfxlib",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "code": _code(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "instructions": torch.backends.cpu.get_cpu_capability(),  # vector kernels: sums, so weights, differ by them
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


@cache
def _code() -> str:
    """Hash of all that computes: where it is the same, runs may stand in one table, whatever their commits."""
    package = Path(str(resources.files("dfxlib")))
    return files.source_hash(*sorted(path for pattern in _COMPUTES for path in package.glob(pattern)))


def git_commit() -> str:
    """Commit of the clone, marked where files differ from it; "unknown" outside a clone."""
    command = ["git", "-C", str(files.project_root()), "describe", "--always", "--dirty=+changes", "--abbrev=12"]
    try:
        # `--exclude=*` leaves the bare commit: a tag would hide it.
        found = subprocess.run([*command, "--exclude=*"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return found.stdout.strip() or "unknown"


def _clear(folder: Path, *, keep: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for entry in folder.iterdir():
        if entry == keep:
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
