"""The package as a wheel: built from the source distribution, installed elsewhere, complete there without the clone.

Building needs no network and nothing besides this environment: pip, and setuptools 77 or newer, which torch asks for
and which makes wheels by itself. The small installation of the last tests is fetched as a user would fetch it.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from zipfile import ZipFile

import pytest
from pipeline import ROOT, plant_clone
from samples import noise, plant_tree
from scored import Study

import dfxlib
from dfxlib import __version__
from dfxlib.detect.export import export_model
from tools.publish import publish

pytestmark = pytest.mark.wheel

PIP = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]

SDIST = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"

USE = """
import json, sys
from importlib import resources
from pathlib import Path
from dfxdemo.dataset import render_demo
from dfxlib.data.descriptions import LAYOUTS, read_description
described = [read_description(name).layout for name in LAYOUTS if name not in ("csv", "parquet")]
render_demo(Path("demo"), scenes=2, workers=1)
card = (resources.files("dfxlib.detect") / "model_card.md").read_text(encoding="utf-8")
ours = {module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] in ("dfxlib", "dfxdemo")}
print(json.dumps({"layouts": LAYOUTS, "described": described, "card": card, "modules": sorted(ours)}))
"""


def run(*command: str, cwd: Path, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
    done = subprocess.run(command, cwd=cwd, env=environment | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built in a copy of the clone in which a study was run and published."""
    folder = tmp_path_factory.mktemp("build")
    clone = plant_clone(tmp_path_factory.mktemp("clone"))
    shutil.copy(ROOT / "LICENSE", clone)
    shutil.copytree(ROOT / "tests", clone / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("runs", "results", "data"):
        (clone / name / "demo").mkdir(parents=True)
        (clone / name / "demo" / "metrics.json").write_text("{}")
    run(sys.executable, "-c", SDIST, str(folder / "sdist"), cwd=clone)
    (sdist,) = (folder / "sdist").iterdir()
    how = ["--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", str(folder / "wheel")]
    run(*PIP, "wheel", *how, str(sdist), cwd=folder)
    (built,) = (folder / "wheel").iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    run(*PIP, "install", "--no-deps", "--no-index", "--target", str(folder), str(wheel), cwd=folder)
    return folder


def python(installed: Path, cwd: Path, *arguments: str) -> str:
    """Python with the installed package and this environment's others, but without the clone.

    `-S` leaves out what an editable installation adds to this environment: finders that lead to the clone.
    """
    path = [str(installed), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    return run(sys.executable, "-S", *arguments, cwd=cwd, PYTHONPATH=os.pathsep.join(path), OMP_NUM_THREADS="1")


def test_the_wheel_holds_every_module_and_all_that_modules_read_and_nothing_else(wheel: Path) -> None:
    found = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    travels = {path: path.relative_to(ROOT) for name in ("dfxlib", "dfxdemo") for path in (ROOT / name).rglob("*")}
    travels |= {path: Path("dfxlib", path.relative_to(ROOT)) for path in (ROOT / "data_manifests").iterdir()}
    kinds = {".py", ".yaml", ".csv", ".md", ".safetensors"}
    assert found == {place.as_posix() for path, place in travels.items() if path.suffix in kinds}


def test_an_installed_package_reads_its_descriptions_weights_and_texts(installed: Path, tmp_path: Path) -> None:
    said = json.loads(python(installed, tmp_path, "-c", USE))
    names = sorted({path.stem for path in (ROOT / "data_manifests").glob("*.yaml")} - {"folders"})
    assert said["layouts"] == ["folders", "csv", "parquet", *names] and said["described"] == ["folders", *names]
    assert len(list((tmp_path / "demo").rglob("*.png"))) == 6
    assert said["card"] == (ROOT / "dfxlib" / "detect" / "model_card.md").read_text(encoding="utf-8")
    assert all(Path(file).is_relative_to(installed) for file in said["modules"])


def test_an_installed_package_has_its_command_line(installed: Path, tmp_path: Path) -> None:
    assert "verdicts of an exported model" in python(installed, tmp_path, "-m", "dfxlib", "--help")


@pytest.fixture(scope="module")
def small(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment of its own into which `pip install dfxlib` was called, without any extra."""
    folder = tmp_path_factory.mktemp("small")
    run(sys.executable, "-m", "venv", str(folder), cwd=folder)
    pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", "-c"]
    run(*pip, str(ROOT / "constraints.txt"), str(wheel), cwd=folder)
    return folder / "bin"


def test_the_small_installation_brings_neither_torch_nor_notebooks(small: Path, tmp_path: Path) -> None:
    listed = json.loads(run(str(small / "pip"), "list", "--format", "json", cwd=tmp_path))
    names = {package["name"].lower() for package in listed}
    assert {"dfxlib", "numpy", "pillow", "onnxruntime"} <= names
    assert not names & {"torch", "torchvision", "jupyterlab", "papermill", "snakemake", "matplotlib", "scikit-learn"}
    files = [path for path in small.parent.rglob("*") if path.is_file()]
    # pip was there before, and Python compiled the others.
    brought = [path for path in files if "pip" not in path.parts and path.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in brought) < 600e6, "bytes"


def test_the_small_installation_knows_its_version_and_reads_a_data_set(small: Path, tmp_path: Path) -> None:
    assert run(str(small / "dfx"), "--version", cwd=tmp_path) == f"dfx {__version__}\n"
    plant_tree(tmp_path / "images")
    said = run(str(small / "dfx"), "manifest", "images", "--out", "manifest.csv", cwd=tmp_path)
    assert "72 rows, manifest " in said
    with open(tmp_path / "manifest.csv", encoding="utf-8") as table:
        assert len(list(csv.DictReader(table))) == 72
    verified = run(str(small / "dfx"), "manifest", "images", "--verify", "manifest.csv", cwd=tmp_path)
    assert "images is as manifest.csv says" in verified


def test_the_small_installation_recomputes_published_numbers(small: Path, tmp_path: Path) -> None:
    publish(Study(tmp_path / "runs" / "s", seeds=(0,)).root, tmp_path / "results")
    said = run(str(small / "dfx"), "recompute", "results", cwd=tmp_path)
    assert re.search(
        r"^(\d+) of \1 tables and records come out of results/scores.parquet as they were published$", said, re.M
    )


USE_MODEL = """
import dfxlib
row = dfxlib.load("model").detect("photos/a.png")
print(row["verdict"], row["p_fake"])
"""


def test_the_small_installation_judges_pictures_as_torch_does(small: Path, trained_run: Path, tmp_path: Path) -> None:
    model = export_model(trained_run, tmp_path / "model")
    (tmp_path / "photos").mkdir()
    for number, name in enumerate("abc"):
        noise(number).save(tmp_path / "photos" / f"{name}.png")
    said = run(str(small / "dfx"), "detect", "model", "photos", "--json", cwd=tmp_path)
    rows = [json.loads(line) for line in said.splitlines()]
    expected = dfxlib.load(model, engine="torch", device="cpu").detect(tmp_path / "photos")
    assert [row["p_fake"] for row in rows] == pytest.approx(list(expected["p_fake"]), abs=1e-5)
    verdict, p_fake = run(str(small / "python"), "-c", USE_MODEL, cwd=tmp_path).split()
    assert verdict == rows[0]["verdict"] and float(p_fake) == pytest.approx(rows[0]["p_fake"], abs=1e-5)


@pytest.mark.parametrize(
    "command",
    [
        ["execute", "a.ipynb", "run/b.ipynb"],
        ["export", "run", "model"],
        ["detect", "model", "a.png", "--engine", "torch"],
    ],
)
def test_what_a_small_installation_lacks_is_one_sentence(small: Path, tmp_path: Path, command: list[str]) -> None:
    noise(0).save(tmp_path / "a.png")
    done = subprocess.run([str(small / "dfx"), *command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    cure = r"is not installed; it comes with the extra study: pip install 'dfxlib\[study\]'"
    assert re.fullmatch(rf"dfx {command[0]}: \w+ {cure}", line)


def test_importing_the_package_takes_no_time(small: Path, tmp_path: Path) -> None:
    loaded = run(str(small / "python"), "-c", "import sys, dfxlib; print('numpy' in sys.modules)", cwd=tmp_path)
    assert loaded == "False\n"
