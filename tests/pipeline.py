"""The product's files in a folder of their own, and the commands that a user would call there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from dfxlib.system.files import project_root

ROOT = project_root(Path(__file__).parent)
PRODUCT = ["Makefile", "Snakefile", "pyproject.toml", "constraints.txt", "notebooks", "studies", "profiles"]
PRODUCT += ["README.md", "docs", "dfxlib", "dfxdemo", "tools", "data_manifests"]

#: The smoke study's backbone, the smallest that learns anything, and its folder.
BACKBONE, FOLDER = "timm:test_resnet", "timm.test_resnet"

#: Files in which two runs of the same study must agree.
RESULTS = ("**/model.safetensors", "**/scores.parquet", "**/tables/*.csv")


def plant_clone(folder: Path) -> Path:
    """The product without any result, so that nothing was finished before."""
    folder.mkdir(exist_ok=True)
    for name in PRODUCT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def environment(clone: Path) -> dict[str, str]:
    """This environment's programs first on the path."""
    # `make test` hands its own MAKEFLAGS down, with which an inner make would talk of folders.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return inherited | {"PATH": path, "PYTHONPATH": str(project_root(clone))}


def call(clone: Path, *command: str, seconds: int = 1800, **variables: str) -> subprocess.CompletedProcess:
    options = {"env": environment(clone) | variables, "capture_output": True, "text": True, "timeout": seconds}
    return subprocess.run(command, cwd=clone, check=False, **options)


def background(clone: Path, *command: str, **variables: str) -> subprocess.Popen:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=clone, env=environment(clone) | variables, **quiet)


def snakemake(clone: Path, *arguments: str) -> subprocess.CompletedProcess:
    return call(clone, "snakemake", "--cores", "2", "--quiet", "all", *arguments)


def make_study(clone: Path) -> subprocess.CompletedProcess:
    """`make study STUDY=smoke` with the environment that runs this test; installing is tested by CI."""
    venv = sys.prefix
    return call(clone, "make", "study", "STUDY=smoke", "CORES=2", f"VENV={venv}", "-o", f"{venv}/.installed")


def assert_same_results(run: Path, other: Path) -> None:
    """Weights bit by bit, every score and every table but the times in them; nothing missing, nothing more."""
    found = [path for pattern in RESULTS for path in run.glob(pattern)]
    names = {path.relative_to(run) for path in found}
    assert names and names == {path.relative_to(other) for pattern in RESULTS for path in other.glob(pattern)}
    for name in names:
        one, two = read_result(run / name), read_result(other / name)
        assert set(one) == set(two), name
        assert all(np.array_equal(one[key], two[key]) for key in one), name


def read_result(path: Path) -> dict[str, np.ndarray]:
    """Weights by name, or a table by column without its times; undefined values as text, so that they are equal."""
    if path.suffix == ".safetensors":
        return load_file(path)
    table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    timeless = table.drop(columns=["seconds", "minutes", "images_per_second"], errors="ignore")
    return {column: values.map(repr).to_numpy() for column, values in timeless.items()}
