"""Fixtures that several files of tests share; the material itself is made in samples.py."""

import fcntl
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers share the cores: more threads would wait for each other

import dfxlib.study  # noqa: F401, I001  before nbformat: it spares each worker five seconds of grammars

import pandas as pd
import pytest
from hypothesis import settings
from pipeline import make_study, plant_clone
from samples import plant_tree
from trained import plant_run, untrained_model
from xdist.scheduler import LoadFileScheduling

from dfxlib.data.manifest import build_manifest, read_manifest, write_manifest
from dfxlib.detect.export import export_model
from dfxlib.models.networks import DeepFeatureXNet

# The same few cases everywhere: a test that fails here fails for everybody, and no machine is too slow.
settings.register_profile("study", max_examples=20, deadline=None, derandomize=True)
settings.load_profile("study")

#: Files whose tests look at the smoke study, which takes minutes to make, and some of which change it for a while.
STUDY_FILES = ("test_study", "test_browser")


class StudyTogether(LoadFileScheduling):
    """Workers share the tests file by file, but all that looks at the smoke study stays with who made it."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "study" if Path(file).stem in STUDY_FILES else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> StudyTogether:
    return StudyTogether(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest part first."""
    items.sort(key=lambda item: item.path.stem not in STUDY_FILES)


def pytest_collection_finish() -> None:
    """What tests import stays: no search for garbage goes through it again."""
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # else libraries of torch complain at the end that nobody took them apart


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 pictures, two architectures of each nature. Read only."""
    return plant_tree(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture(scope="session")
def study_manifest(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, str]:
    """The manifest of `tree` as notebooks read it, and its hash."""
    path = tmp_path_factory.mktemp("manifest") / "manifest.csv"
    write_manifest(build_manifest(tree, workers=1), path)
    return read_manifest(path)


@pytest.fixture(scope="session")
def trained_model() -> DeepFeatureXNet:
    return untrained_model()


@pytest.fixture(scope="session")
def trained_run(trained_model: DeepFeatureXNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 20_train_complete_model. Read only."""
    return plant_run(tmp_path_factory.mktemp("runs"), trained_model)


@pytest.fixture(scope="session")
def exported(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported model of that run. Read only."""
    return export_model(trained_run, tmp_path_factory.mktemp("exported") / "model")


@contextmanager
def first_of_the_workers(mark: Path) -> Iterator[bool]:  # whether what `mark` stands for is still to be made
    """One worker makes what all of them share; the others wait for it."""
    with open(mark.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not mark.exists()
        mark.touch()


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The product's files without any result; one folder for all workers."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "clone"
    with first_of_the_workers(folder.with_suffix(".planted")) as missing:
        return plant_clone(folder) if missing else folder


@pytest.fixture(scope="session")
def smoke(clone: Path) -> Path:
    """The finished smoke study, undisturbed."""
    with first_of_the_workers(clone.with_suffix(".made")) as missing:
        if missing:
            make_smoke(clone)
    return clone / "runs" / "smoke"


def make_smoke(clone: Path) -> None:
    result = make_study(clone)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.rstrip().endswith("the report is runs/smoke/report/index.html")
    log = result.stderr
    assert "real epoch 1/1: loss " in log and "the study will take about " in log and "%|" not in log, "no bars"
