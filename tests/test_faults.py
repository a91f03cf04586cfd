"""Kill -9 at random moments: what was finished stays, what was not is done again, and the results are the same."""

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from pipeline import FOLDER, assert_same_results, background, call, plant_clone

from dfxlib.study.run_folder import verify

COMMAND = ("snakemake", "--configfile", "studies/smoke.yaml", "--cores", "2", "--quiet", "all", "--")
#: A training on the manifest.
TRAINED = f"base/{FOLDER}/real/seed0"
#: Who is killed, by what its command line holds.
VICTIMS = {"kernel": "ipykernel_launcher", "papermill": "dfxlib execute", "snakemake": "bin/snakemake"}


def processes(clone: Path, victim: str) -> list[int]:
    """Processes that work in the clone and are a victim (shells that only carry its command line are none)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            own = (folder / "cwd").resolve().is_relative_to(clone)
        except OSError:  # it has just ended
            continue
        if own and VICTIMS[victim] in command and "python" in command.split()[0]:
            found.append(int(folder.name))
    return found


def kill_one(clone: Path, victim: str, study: subprocess.Popen, *, after: float) -> bool:  # whether it came to it
    """Kill -9 a victim some seconds from now, or not if the study ends before."""
    moment = time.monotonic() + after
    while study.poll() is None:
        targets = processes(clone, victim) if time.monotonic() > moment else []
        if targets:
            os.kill(random.choice(targets), signal.SIGKILL)
            study.wait()
            return True
        time.sleep(0.1)
    return False


def disturb(clone: Path, made: Path, *goal: str, kills: int, longest: float, seed: int) -> list[str]:  # the killed
    """Start the study again and again and kill something each time; when it comes to its end, what it made goes."""
    rng, done = random.Random(seed), []
    while len(done) < kills:
        victim = rng.choice(list(VICTIMS)) if len(done) >= len(VICTIMS) else list(VICTIMS)[len(done)]
        study = background(clone, *COMMAND, *goal)
        if kill_one(clone, victim, study, after=rng.uniform(1, longest)):
            done.append(victim)
        else:
            assert study.returncode == 0, "a study that nobody disturbs completes"
            shutil.rmtree(made)
        for vouched in (clone / "runs").rglob(".done"):
            assert verify(vouched.parent) == [], f"{vouched.parent} is torn after {done}"
    return done


def end_as_undisturbed(smoke: Path, clone: Path, run: str, *goal: str, kills: int, longest: float, seed: int) -> None:
    again = clone / "runs" / "smoke"
    killed = disturb(clone, again / run, *goal, kills=kills, longest=longest, seed=seed)
    assert set(killed) == set(VICTIMS)
    result = call(clone, *COMMAND, *goal)
    assert result.returncode == 0, result.stdout + result.stderr
    finished = {path.relative_to(smoke) for path in (smoke / run).rglob(".done")}
    assert {path.relative_to(again) for path in (again / run).rglob(".done")} == finished
    assert_same_results(smoke / run, again / run)
    assert not [victim for victim in VICTIMS if processes(clone, victim)], "somebody outlived the study"


@pytest.mark.study
@pytest.mark.slow
def test_a_training_that_is_killed_and_started_again_ends_with_the_same_results(smoke: Path, tmp_path: Path) -> None:
    clone = shutil.copytree(smoke.parents[1], tmp_path / "copy", symlinks=True)
    shutil.rmtree(clone / "runs" / "smoke" / TRAINED)
    end_as_undisturbed(smoke, clone, TRAINED, f"runs/smoke/{TRAINED}/.stamp", kills=3, longest=15, seed=1)


@pytest.mark.faults
def test_a_study_that_is_killed_twenty_times_ends_with_the_same_results(smoke: Path, tmp_path: Path) -> None:
    end_as_undisturbed(smoke, plant_clone(tmp_path), ".", kills=20, longest=25, seed=2)
