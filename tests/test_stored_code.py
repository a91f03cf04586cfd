"""What is stored never answers for code that has changed, and a comment makes nothing anew."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fill_stores import replace
from samples import noise

from dfxlib.data.decode import RULES
from dfxlib.system.files import BATCH_VARIABLE

PACKAGE = Path(__file__).parents[1] / "dfxlib"

FEATURES = {"plain", "augmented", "perturbed"}

#: What is edited: the file, a piece of it, what comes in its place, and whose answers change with it.
EDITS = {
    "to_square": ("data/squares.py", "(image_size, image_size), kind))", "(image_size, image_size), kind))[::-1]"),
    "blur": ("data/perturb.py", "(2 * sigma**2)", "(sigma**2)"),
    "jpeg_blur": (
        "training/augment.py",
        "partial(_jpeg_blur_one, seed=seed,",
        "partial(_jpeg_blur_one, seed=seed + 1,",
    ),
    "FrontEnd.forward": ("models/networks.py", "images / 255", "images / 256"),
    "BaseModel.features": ("models/networks.py", "return torch.stack(found,", "return 2 * torch.stack(found,"),
    "HIGH_PASS": ("data/residual.py", "/ 12\n", "/ 11\n"),
    "to_input": ("training/fit.py", "return tensor.permute(0, 3, 1, 2)", "return tensor.flip(1).permute(0, 3, 1, 2)"),
}
CHANGED = {"to_square": {"squares", *FEATURES}, "blur": {"perturbed"}, "jpeg_blur": {"augmented"}}


class Runs:
    """A copy of the package, and runs of it that share one folder of stores."""

    def __init__(self, folder: Path):
        self.folder, self.package, self.stores = folder, folder / "dfxlib", folder / "stores"
        shutil.copytree(PACKAGE, self.package, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "images").mkdir()
        for seed in range(3):
            noise(seed, width=20, height=16).save(folder / "images" / f"{seed}.png")
        command = [sys.executable, str(Path(__file__).with_name("fill_stores.py")), str(folder / "images")]
        # Two edits within a second and of one length would leave the bytecode of the first.
        settings = {
            "PYTHONPATH": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            BATCH_VARIABLE: "quiet",
        }
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.process = subprocess.Popen(command, env=os.environ | settings, cwd=folder, **pipes)

    def answers(self, *others: Path, edit: tuple = ()) -> list[dict[str, str]]:
        """What a new process is answered out of the stores that all runs share, and out of others."""
        line = {"roots": [str(root) for root in (self.stores, *others)], "edit": [str(part) for part in edit]}
        self.process.stdin.write(json.dumps(line) + "\n")
        return json.loads(self.process.stdout.readline())

    def stored(self) -> set[str]:
        return {path.name for path in self.stores.glob("*.npy")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    made = Runs(tmp_path_factory.mktemp("copy"))
    yield made
    made.process.stdin.close()
    made.process.wait()


@pytest.fixture(scope="module")
def before(runs: Runs) -> dict[str, str]:
    """The answers of the code as it is, with which the shared stores were filled."""
    (answers,) = runs.answers()
    assert len(runs.stored()) == len(set(answers.values())) == len(answers)
    return answers


@pytest.fixture()
def package(runs: Runs) -> Iterator[Path]:
    """The copy, to be edited; afterwards it is as it was."""
    yield runs.package
    shutil.copytree(PACKAGE, runs.package, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))


@pytest.mark.parametrize("edited", EDITS)
def test_changed_code_is_never_answered_from_the_old_store(
    runs: Runs, before: dict, package: Path, tmp_path: Path, edited: str
) -> None:
    replace(package / EDITS[edited][0], *EDITS[edited][1:])
    answers, afresh = runs.answers(tmp_path)
    assert answers == afresh
    assert {name for name in before if answers[name] != before[name]} == CHANGED.get(edited, FEATURES)


def test_edited_comments_and_docstrings_make_nothing_anew(runs: Runs, before: dict, package: Path) -> None:
    stored = runs.stored()
    for path in package.rglob("*.py"):
        text = path.read_text().replace('"""\n', ' In other words."""\n', 1)
        path.write_text("# A comment.\n" + re.sub(r"^(import .*)$", r"\1  # why", text, flags=re.MULTILINE))
    assert runs.answers() == [before] and runs.stored() == stored


def test_a_raised_rule_of_decoding_makes_all_anew(runs: Runs, before: dict, package: Path) -> None:
    stored = runs.stored()
    replace(package / "data" / "decode.py", f"RULES = {RULES}\n", f"RULES = {RULES + 1}\n")
    assert runs.answers() == [before] and len(runs.stored()) == len(stored) + len(before)


@pytest.mark.slow
def test_what_an_old_kernel_still_computes_is_not_stored_as_the_new_codes(
    runs: Runs, before: dict, package: Path
) -> None:
    """A notebook's kernel goes on with the code that it imported when a file is edited meanwhile."""
    stored, edit = runs.stored(), ("data/squares.py", 'label="pixels"', 'label="raw pixels"')
    assert runs.answers(edit=(package / edit[0], *edit[1:])) == [before] and runs.stored() == stored
