"""The study through a real SLURM: one node, two pretended GPUs, a job that is cancelled, the same results as here."""

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pipeline import FOLDER, assert_same_results, background, call, plant_clone

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "munged")
MISSING = [name for name in PROGRAMS if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")]
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(MISSING), reason=f"needs Debian's slurm-wlm and munge; missing: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="SLURM's daemons start jobs as root"),
]

#: Two character devices that stand for GPUs: SLURM counts and hands out files, whatever they are.
DEVICES = ("/dev/null", "/dev/zero")
CONFIGURATION = """
ClusterName=smoke
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={ctld}
SlurmdPort={slurmd}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
ReturnToService=2
KillWait=10
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=2000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
COMMAND = ("snakemake", "--configfile", "studies/smoke.yaml", "--config", "gpus_per_job=1")
COMMAND += ("--workflow-profile", "profiles/slurm", "--slurm-no-account", "--slurm-status-command", "squeue")
COMMAND += ("--default-resources", "runtime=60", "mem_mb=500", "--seconds-between-status-checks", "5")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables that lead to a SLURM of one node; its daemons run in the foreground and end with the tests."""
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir()
    host = socket.gethostname().split(".")[0]
    places = {"folder": folder, "host": host, "user": getpass.getuser(), "cores": max(2, os.cpu_count() or 2)}
    conf = folder / "slurm.conf"
    conf.write_text(CONFIGURATION.format(**places, ctld=free_port(), slurmd=free_port()))
    (folder / "gres.conf").write_text("".join(f"NodeName={host} Name=gpu File={device}\n" for device in DEVICES))
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    # The plugin's inner srun loses SLURM_CONF on its way, and would look into /etc.
    (folder / "bin" / "srun").write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {shutil.which("srun")} "$@"\n')
    (folder / "bin" / "srun").chmod(0o755)
    programs = Path(sys.executable).parent
    variables = {"SLURM_CONF": str(conf), "PATH": f"{folder}/bin:{programs}:{os.environ['PATH']}:/usr/sbin"}
    files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log"}
    munged = ["munged", "--foreground", "--force", "--num-threads=2"]
    munged += [f"--{option}={folder / name}" for option, name in (files | {"seed-file": "munge.seed"}).items()]
    daemons = [start(munged, variables)]
    wait_for((folder / "munge.socket").exists)
    daemons += [start(["slurmctld", "-D"], variables), start(["slurmd", "-D", "-N", host], variables)]
    try:
        wait_for(lambda: "idle" in ask(variables, "sinfo", "--noheader", "--format=%T"))
        yield variables
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(timeout=60)


def start(command: list[str], variables: dict[str, str]) -> subprocess.Popen:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env=os.environ | variables, **quiet)


def ask(variables: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False).stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition: Callable[[], object], *, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def finished(cluster: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke study on the cluster: one base model's job cancelled at work, then the same call again."""
    clone = plant_clone(tmp_path_factory.mktemp("cluster"))
    first = background(clone, *COMMAND, **cluster)
    at_work = clone / "runs" / "smoke" / "base" / FOLDER / "real" / ".seed0.partial.ipynb"
    wait_for(lambda: at_work.exists() or first.poll() is not None, seconds=1200)
    jobs = ask(cluster, "squeue", "--noheader", "--format=%i %k").splitlines()
    (job,) = [line.split()[0] for line in jobs if "real" in line]
    subprocess.run(["scancel", job], env=os.environ | cluster, check=True)
    assert first.wait(timeout=1200) != 0, "a cancelled job is a failed study"
    assert not (clone / "runs" / "smoke" / "base" / FOLDER / "real" / "seed0" / ".done").exists()
    second = call(clone, *COMMAND, **cluster)
    assert second.returncode == 0, second.stdout + second.stderr
    return clone / "runs" / "smoke"


def test_the_cluster_and_this_machine_give_the_same_results(finished: Path, smoke: Path) -> None:
    assert_same_results(smoke, finished)


def test_jobs_that_need_a_gpu_have_one_and_the_others_none(finished: Path) -> None:
    seen = {
        path.parent.relative_to(finished).as_posix(): json.loads(path.read_text())["visible_devices"]
        for path in finished.rglob("environment.json")
    }
    for run, devices in seen.items():
        needs = run.split("/")[0] not in ("manifest", "baselines", "report")
        assert (devices in ("0", "1")) == needs, f"{run} saw {devices!r}"
