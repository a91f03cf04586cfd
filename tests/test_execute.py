"""Execution: real notebooks, real kernels; what failed never looks finished."""

import asyncio
import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from papermill.exceptions import PapermillExecutionError
from samples import write_notebook

from dfxlib.__main__ import main
from dfxlib.study import papermill_engine
from dfxlib.study.execute import check_parameters, execute, read_parameters
from dfxlib.study.run_folder import DONE, verify
from dfxlib.system import stopping
from dfxlib.system.devices import own_device

PARAMETERS = (
    "folder: str = '.'  # where to write\nepochs: int = 2  # of training\nrate: float = 0.1\n"
    "flag: bool = False\nnames: list = ['a']  # architectures\nnothing: list = []\nsizes: list = [2]"
)
PLOT = "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([0, 1]); plt.show()"
OPEN = """
import os
import pandas as pd
from dfxlib.study.runs import open_run
run = open_run(os.environ["DFXLIB_BATCH"], settings={}, device="cpu")
"""
# What `execute` asks of a notebook, without the seconds that Run's imports take: a staging folder with metrics.json.
BEGIN = """
import json, os, shutil
from pathlib import Path
from dfxlib.study.run_folder import staging_folder
staging = staging_folder(Path(os.environ["DFXLIB_BATCH"]))
shutil.rmtree(staging, ignore_errors=True)  # what a failed run left
staging.mkdir()
"""
END = '(staging / "metrics.json").write_text(json.dumps({"epochs": epochs}))'
WRITE = 'run.save_table("epochs", pd.DataFrame({"epochs": [epochs]}))'
FINISH = 'run.finish({"epochs": epochs})'
SLEEP = r"""
import os, time
from pathlib import Path
Path(folder, ".kernel.pid").write_text(str(os.getpid()))
Path(folder, ".kernel.pid").rename(Path(folder, "kernel.pid"))
time.sleep(600)
"""
ALARM = "import os, signal, time\nos.kill(os.getppid(), signal.SIGALRM)\ntime.sleep(600)"
COUNT = r"""
import time
from pathlib import Path
with open(Path(folder, "count.txt"), "a") as file:
    file.write("once\n")
while not Path(folder, "go").exists():
    time.sleep(0.1)
"""
DEVICE = r"""
import os, time
from pathlib import Path
begin = time.monotonic()
time.sleep(2)
with open(Path(folder, "devices.txt"), "a") as file:
    file.write(f"{os.environ['CUDA_VISIBLE_DEVICES']} {begin} {time.monotonic()}\n")
"""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Notebooks that work, one with all that Run does, and one that fails where `epochs` is 13."""
    folder = tmp_path_factory.mktemp("workshop")
    write_notebook(folder / "good.ipynb", OPEN, WRITE, PLOT, "print('epochs', epochs)", FINISH, parameters=PARAMETERS)
    fails = "if epochs == 13:\n    raise ValueError('thirteen is unlucky; choose 12')"
    write_notebook(folder / "plain.ipynb", BEGIN, "print('epochs', epochs)", END, parameters=PARAMETERS)
    write_notebook(folder / "bad.ipynb", BEGIN, fails, "print('after')", END, parameters=PARAMETERS)
    write_notebook(folder / "slow.ipynb", SLEEP, "print('after')", parameters=PARAMETERS)
    write_notebook(folder / "alarm.ipynb", ALARM, "print('after')", parameters=PARAMETERS)
    write_notebook(folder / "counting.ipynb", BEGIN, COUNT, END, parameters=PARAMETERS)
    write_notebook(folder / "devices.ipynb", BEGIN, DEVICE, END, parameters=PARAMETERS)
    write_notebook(folder / "deadly.ipynb", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "print('after')")
    return folder


@pytest.fixture(scope="module")
def finished(workshop: Path) -> Path:
    """The folder of a finished run. Read only."""
    folder = workshop / "runs" / "good"
    parameters = {"epochs": 7, "rate": 1}
    execute(workshop / "good.ipynb", folder / "notebook.ipynb", parameters=parameters, page="index.html")
    return folder


def test_a_finished_run_holds_the_notebook_its_pages_and_what_it_wrote(finished: Path) -> None:
    names = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    own = {"settings.json", "environment.json", "tables/epochs.csv", "metrics.json"}
    assert names == {"notebook.ipynb", "notebook.html", "index.html", DONE} | own
    assert (finished / "tables" / "epochs.csv").read_text() == "epochs\n7\n"
    outputs = [cell.get("outputs") for cell in nbformat.read(finished / "notebook.ipynb", as_version=4).cells]
    assert any("epochs 7" in str(output) for output in outputs)
    assert not list(finished.parent.glob("*.ipynb"))


def test_done_vouches_for_every_other_file_and_says_what_was_run(finished: Path) -> None:
    done = json.loads((finished / DONE).read_text())
    files = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    assert set(done["files"]) == files - {DONE}
    assert done["notebook"] == "good.ipynb" and done["parameters"]["epochs"] == 7 and done["seconds"] > 0
    assert verify(finished) == []


@pytest.mark.parametrize("edit, problem", [("change", "was changed"), ("remove", "is missing")])
def test_verification_notices_a_change(finished: Path, tmp_path: Path, edit: str, problem: str) -> None:
    copy = tmp_path / "run"
    subprocess.run(["cp", "-r", str(finished), str(copy)], check=True)
    table = copy / "tables" / "epochs.csv"
    table.write_text("epochs\n8\n") if edit == "change" else table.unlink()
    assert verify(copy) == [f"tables/epochs.csv {problem}"]


def test_a_folder_without_done_is_not_finished(tmp_path: Path) -> None:
    assert verify(tmp_path) == ["not finished by a batch run"]


@pytest.mark.parametrize("page", ["notebook.html", "index.html"])
def test_pages_load_nothing_from_elsewhere(finished: Path, page: str) -> None:
    text = (finished / page).read_text()
    loaded = re.findall(r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=[\"']?([^\"'\s>]*)", text)
    assert [address for address in loaded if address and not address.startswith("data:")] == []
    assert not re.search(r"(?:import\(|@import|elkUrl =|url\()\s*[\"']?https?:", text)
    assert "data:image/png;base64" in text and "<title>A small notebook</title>" in text


def test_the_page_for_readers_shows_figures_without_code_or_printed_lines(finished: Path) -> None:
    with_code, without = ((finished / name).read_text() for name in ("notebook.html", "index.html"))
    assert "save_table" in with_code and "save_table" not in without
    assert "epochs 7" in with_code and "epochs 7" not in without
    assert "<img" in with_code and "<img" in without


@pytest.fixture(scope="module")
def failed(workshop: Path) -> Path:
    """The folder of a run that finished once and then failed."""
    folder = workshop / "runs" / "bad"
    execute(workshop / "bad.ipynb", folder / "notebook.ipynb", parameters={})
    with pytest.raises(PapermillExecutionError, match="thirteen is unlucky"):
        execute(workshop / "bad.ipynb", folder / "notebook.ipynb", parameters={"epochs": 13})
    return folder


def test_a_failure_leaves_an_earlier_result_as_it_was(failed: Path) -> None:
    assert verify(failed) == [] and (failed / "metrics.json").read_text() == '{"epochs": 2}'


def test_a_failed_notebook_lies_beside_the_folder_with_its_error(failed: Path) -> None:
    text = failed.with_name("bad.failed.ipynb").read_text()
    assert "thirteen is unlucky" in text and not list(failed.parent.glob(".*.partial.ipynb"))


def test_a_first_run_that_fails_leaves_nothing_under_the_final_name(
    workshop: Path, capsys: pytest.CaptureFixture
) -> None:
    out = workshop / "runs" / "first" / "notebook.ipynb"
    assert main(["execute", str(workshop / "bad.ipynb"), str(out), "-y", "{epochs: 13}"]) == 1
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "ValueError: thirteen is unlucky; choose 12 (cell 4; see " in told and told.endswith("first.failed.ipynb)")
    assert not out.parent.exists() and out.parent.with_name("first.failed.ipynb").exists()


def statuses(notebook: Path) -> list[str]:
    """papermill's word on each cell of a notebook, its own banners left out."""
    cells = nbformat.read(notebook, as_version=4).cells
    return [c.metadata.papermill.status for c in cells if "papermill-error-cell-tag" not in c.metadata.get("tags", [])]


def banner(notebook: Path) -> str:
    return nbformat.read(notebook, as_version=4).cells[0].source


def test_a_killed_kernel_is_a_failure_in_one_sentence(workshop: Path, capsys: pytest.CaptureFixture) -> None:
    out = workshop / "runs" / "dead" / "notebook.ipynb"
    assert main(["execute", str(workshop / "deadly.ipynb"), str(out)]) == 1
    told = capsys.readouterr().err
    assert "DeadKernelError: the kernel died, killed from outside" in told and "Traceback" not in told
    assert not out.exists() and not (out.parent / DONE).exists()


def test_the_notebook_of_a_killed_kernel_shows_the_cell_as_failed_and_the_rest_as_not_run(workshop: Path) -> None:
    failed = workshop / "runs" / "dead.failed.ipynb"
    with pytest.raises(PapermillExecutionError):
        execute(workshop / "deadly.ipynb", workshop / "runs" / "dead" / "notebook.ipynb", parameters={})
    assert statuses(failed) == ["completed", "failed", "pending"]
    assert "An Exception was encountered at" in banner(failed) and "the kernel died" in failed.read_text()


@pytest.mark.parametrize(
    "notebook, option, seconds, name",
    [("slow", "--cell-limit", "10", "CellTimeoutError"), ("alarm", "--run-limit", "600", "RunLimitExceeded")],
)
def test_a_limit_ends_a_run_with_a_failed_cell_and_code_124(
    workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture, notebook: str, option: str, seconds: str, name: str
) -> None:
    """The notebook `alarm` rings by itself, so that no slow machine reaches the limit before its cell does."""
    out = tmp_path / "late" / "notebook.ipynb"
    options = ["-p", "folder", str(tmp_path), option, seconds]
    assert main(["execute", str(workshop / f"{notebook}.ipynb"), str(out), *options]) == 124
    assert f"{name}: " in capsys.readouterr().err
    assert statuses(tmp_path / "late.failed.ipynb")[-3:] == ["completed", "failed", "pending"]
    assert not out.parent.exists()


def test_the_limit_of_a_run_counts_from_its_start() -> None:
    with pytest.raises(stopping.RunLimitExceeded, match="longer than its limit of 1 s"), stopping.stoppable(1):
        time.sleep(30)


def start(*arguments: str | Path, **variables: str) -> subprocess.Popen:
    """`python -m dfxlib execute`, in the background."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])} | variables
    command = [sys.executable, "-m", "dfxlib", "execute", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # Tests that run in the background of a shell inherit that Ctrl-C is ignored, and under nohup that SIGHUP is.
    return subprocess.Popen(command, env=environment, preexec_fn=allow_interrupts, **pipes)


def allow_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def wait_for(condition: Callable[[], object], *, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def alive(process: int) -> bool:
    status = Path(f"/proc/{process}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


@pytest.mark.parametrize(
    "sent, code, name",
    [
        (signal.SIGTERM, 143, "Terminated"),
        (signal.SIGINT, 130, "KeyboardInterrupt"),
        (signal.SIGHUP, 129, "HungUp"),
    ],
)
def test_a_signal_stops_the_kernel_and_marks_the_run(
    workshop: Path, tmp_path: Path, sent: signal.Signals, code: int, name: str
) -> None:
    process = start(workshop / "slow.ipynb", tmp_path / "run" / "notebook.ipynb", "-p", "folder", tmp_path)
    wait_for((tmp_path / "kernel.pid").exists)
    process.send_signal(sent)
    told = process.communicate(timeout=300)[1]
    assert process.returncode == code and f"{name}: " in told and "Traceback" not in told
    assert statuses(tmp_path / "run.failed.ipynb")[-3:] == ["completed", "failed", "pending"]
    assert not alive(int((tmp_path / "kernel.pid").read_text())) and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "error, complains", [(stopping.Terminated, False), (papermill_engine.DeadKernelError, False), (ValueError, True)]
)
def test_a_task_complains_after_its_end_of_a_fault_and_not_of_a_signal(
    error: type[BaseException], complains: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails() -> None:
        raise error("told already")

    async def waits() -> None:
        lost.append(asyncio.ensure_future(fails()))
        await asyncio.sleep(0.5)

    lost: list = []
    with suppress(KeyboardInterrupt):
        asyncio.run(waits())
    lost.clear()
    gc.collect()
    assert ("never retrieved" in caplog.text) == complains


def test_a_kernel_does_not_outlive_a_killed_papermill_and_a_new_run_waits_for_it(
    workshop: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run" / "notebook.ipynb"
    process = start(workshop / "slow.ipynb", out, "-p", "folder", tmp_path)
    wait_for((tmp_path / "kernel.pid").exists)
    process.kill()
    process.communicate()
    kernel = int((tmp_path / "kernel.pid").read_text())
    execute(workshop / "plain.ipynb", out, parameters={})
    assert not alive(kernel), "the kernel holds the lock of its run, so nobody else fills the same folder"
    assert verify(tmp_path / "run") == []


@pytest.mark.slow
def test_a_run_that_was_waited_for_is_not_done_again(workshop: Path, tmp_path: Path) -> None:
    arguments = (workshop / "counting.ipynb", tmp_path / "run" / "notebook.ipynb", "-p", "folder", tmp_path)
    first = start(*arguments)
    wait_for((tmp_path / "count.txt").exists)
    second = start(*arguments)
    assert "waiting for another process" in second.stderr.readline()
    (tmp_path / "go").touch()
    assert [process.wait(timeout=300) for process in (first, second)] == [0, 0]
    assert "was finished by another process" in second.stdout.read()
    assert (tmp_path / "count.txt").read_text() == "once\n"
    assert start(*arguments).wait(timeout=300) == 0
    assert (tmp_path / "count.txt").read_text() == "once\nonce\n", "whoever calls again wants it done again"


@pytest.mark.slow
def test_two_jobs_have_a_gpu_each_and_a_third_waits_for_one(workshop: Path, tmp_path: Path) -> None:
    notebook, variables = workshop / "devices.ipynb", {"CUDA_VISIBLE_DEVICES": "0,1", "TMPDIR": str(tmp_path)}
    jobs = [
        start(notebook, tmp_path / f"run{n}" / "notebook.ipynb", "--gpus", "1", "-p", "folder", tmp_path, **variables)
        for n in range(3)
    ]
    assert [job.wait(timeout=600) for job in jobs] == [0, 0, 0], jobs[0].stderr.read()
    spans = [tuple(line.split()) for line in (tmp_path / "devices.txt").read_text().splitlines()]
    assert {device for device, *_ in spans} == {"0", "1"}
    for device in "01":
        times = sorted((float(begin), float(end)) for name, begin, end in spans if name == device)
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(times)), "two jobs on one device"


def test_two_jobs_inside_one_allocation_of_slurm_have_a_gpu_each_and_the_next_says_that_it_waits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """As `salloc --gpus=2` gives them; another allocation calls its devices by the same numbers."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with ExitStack() as held:
        for allocation in ("7", "8"):
            monkeypatch.setenv("SLURM_JOB_ID", allocation)
            seen = []
            for _ in range(2):
                held.enter_context(own_device())
                seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
                monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
            assert seen == ["0", "1"]
        assert capsys.readouterr().err == ""
        with pytest.raises(stopping.RunLimitExceeded), stopping.stoppable(1), own_device():
            pass
        assert capsys.readouterr().err == "waiting for a GPU: other jobs have 0, 1\n"


def test_a_gpu_that_is_not_there_is_one_sentence(
    workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert main(["execute", str(workshop / "good.ipynb"), str(tmp_path / "r" / "n.ipynb"), "--gpus", "1"]) == 2
    assert "a GPU is asked for and none is to be seen; set gpus_per_job to 0" in capsys.readouterr().err


def test_a_kernel_that_does_not_start_is_tried_again(
    workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []
    begin = papermill_engine._Client.start_new_kernel_client

    def stumble(client: papermill_engine._Client) -> object:
        starts.append(client)
        if len(starts) < papermill_engine.STARTS:
            client._cleanup_kernel()
            raise RuntimeError("Kernel didn't respond in 60 seconds")
        return begin(client)

    monkeypatch.setattr(papermill_engine._Client, "start_new_kernel_client", stumble)
    execute(workshop / "plain.ipynb", tmp_path / "run" / "n.ipynb", parameters={})
    assert len(starts) == papermill_engine.STARTS and verify(tmp_path / "run") == []


def ask_for_kernel(notebook: Path, kernelspec: dict) -> Path:
    content = json.loads(notebook.read_text())
    content["metadata"]["kernelspec"] = kernelspec
    notebook.write_text(json.dumps(content))
    return notebook


@pytest.mark.parametrize(
    ("kernelspec", "sentence"),
    [
        ({"name": "moved"}, "kernel moved in .*/kernels/moved names /old/clone/bin/python, which is missing; install"),
        (
            {"name": "gone"},
            r"own\.ipynb asks for the kernel gone, which is not installed; install it again: \S+ -m ipyk",
        ),
        ({}, r"own\.ipynb names no kernel; open it in JupyterLab and save it"),
    ],
)
def test_a_kernel_that_cannot_start_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernelspec: dict, sentence: str
) -> None:
    kernel = tmp_path / "jupyter" / "kernels" / "moved"
    kernel.mkdir(parents=True)
    argv = ["/old/clone/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "moved", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    notebook = ask_for_kernel(write_notebook(tmp_path / "own.ipynb", BEGIN, END), kernelspec)
    with pytest.raises(ValueError, match=sentence):
        execute(notebook, tmp_path / "runs" / "own" / "n.ipynb", parameters={})
    assert not (tmp_path / "runs").exists()


def test_a_kernel_whose_program_is_not_found_is_no_matter_of_the_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = tmp_path / "jupyter" / "kernels" / "bare"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(
        json.dumps({"argv": ["no-such-program"], "display_name": "bare", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    notebook = ask_for_kernel(write_notebook(tmp_path / "own.ipynb", BEGIN, END), {"name": "bare"})
    with pytest.raises(FileNotFoundError, match=r"'no-such-program'$"):
        execute(notebook, tmp_path / "runs" / "own" / "n.ipynb", parameters={})


PLACES = "data_root: str = ''\ncache_root: str = ''\nrun_root: str = ''"


@pytest.mark.parametrize("name", ["cache_root", "run_root"])
def test_a_place_among_the_images_is_told_before_a_kernel_starts(tmp_path: Path, name: str) -> None:
    (tmp_path / "images").mkdir()
    notebook = write_notebook(tmp_path / "own.ipynb", BEGIN, END, parameters=PLACES)
    given = {"data_root": str(tmp_path / "images"), name: str(tmp_path / "images" / "new")}
    with pytest.raises(ValueError, match=rf"{name} .*/images/new lies in .*/images, which is only read; name a place"):
        execute(notebook, tmp_path / "runs" / "own" / "n.ipynb", parameters=given)
    assert not (tmp_path / "runs").exists() and not any((tmp_path / "images").iterdir())


def test_a_user_without_a_home_folder_is_told_so(
    workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """As in a container that is started under a number: papermill could not even be imported."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])
    assert main(["execute", str(workshop / "plain.ipynb"), str(tmp_path / "run" / "n.ipynb")]) == 2
    sentence = (
        "~ names the home folder of a user that has none; set HOME to a folder of yours, or name the folder in full"
    )
    assert capsys.readouterr().err == f"dfx execute: {sentence}\n"


def test_a_run_says_nothing_on_the_error_stream(workshop: Path, tmp_path: Path) -> None:
    process = start(workshop / "good.ipynb", tmp_path / "run" / "n.ipynb")
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0 and errors == "" and len(said.splitlines()) == 1


def test_a_kernel_collects_garbage_after_its_imports_and_ends_what_its_libraries_left_to_its_end(
    workshop: Path, tmp_path: Path
) -> None:
    imports = "import atexit, gc\nwhile_importing = gc.isenabled()"
    then = f"print(while_importing, gc.isenabled())\natexit.register(Path({str(tmp_path / 'ended')!r}).touch)"
    write_notebook(workshop / "ending.ipynb", imports, BEGIN + then, END.replace("epochs}", "1}"))
    execute(workshop / "ending.ipynb", tmp_path / "run" / "notebook.ipynb", parameters={})
    assert "False True" in (tmp_path / "run" / "notebook.ipynb").read_text() and (tmp_path / "ended").exists()


def test_what_a_user_lets_every_ipython_run_first_is_no_part_of_a_study(workshop: Path, tmp_path: Path) -> None:
    startup = tmp_path / "home" / ".ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    for file in (startup / "00.py", startup.parents[1] / "python.py"):
        file.write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write('ran')\nepochs = run = None\n")
    own = {"IPYTHONDIR": str(startup.parents[1]), "PYTHONSTARTUP": str(startup.parents[1] / "python.py")}
    own["MPLBACKEND"] = "a backend that matplotlib does not know"
    process = start(workshop / "plain.ipynb", tmp_path / "run" / "n.ipynb", **own)
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, said + errors
    assert not (tmp_path / "ran").exists() and sorted(startup.iterdir()) == [startup / "00.py"]


def test_what_cells_print_is_handed_on_as_it_comes_where_it_is_asked_for(workshop: Path, tmp_path: Path) -> None:
    cells = (BEGIN, "print('epoch 1/2', flush=True)", COUNT, "print('over')", END)
    write_notebook(tmp_path / "epochs.ipynb", *cells, parameters=PARAMETERS)
    process = start(tmp_path / "epochs.ipynb", tmp_path / "run" / "n.ipynb", "--progress", "-p", "folder", tmp_path)
    assert process.stderr.readline() == "epoch 1/2\n", "while the next cell waits"
    (tmp_path / "go").touch()
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0 and errors == "over\n" and len(said.splitlines()) == 1


SMALL_DISK = ["unshare", "--map-root-user", "--mount", "sh", "-c"]


@pytest.mark.skipif(
    subprocess.run([*SMALL_DISK, "mount -t tmpfs tmpfs /mnt"], capture_output=True, check=False).returncode != 0,
    reason="needs the right to mount a small disk in a namespace of its own",
)
@pytest.mark.parametrize(
    "left, named", [(0, r"disk/\.run\.partial\.ipynb"), (120, r"disk/\.run\.partial/notebook\.html")]
)
def test_a_full_disk_is_told_with_the_file_and_leaves_the_earlier_result(
    workshop: Path, tmp_path: Path, left: int, named: str
) -> None:
    """In a name space of its own, a disk of 2 MB fills up between a first and a second run, but for some kB."""
    command = f"{sys.executable} -m dfxlib execute {workshop}/plain.ipynb disk/run/notebook.ipynb"
    script = f"""
    mkdir disk && mount -t tmpfs -o size=2m tmpfs disk && {command} || exit 9
    free=$(df -k --output=avail disk | tail -n 1)
    head -c $((free - {left}))k /dev/zero > disk/ballast 2>/dev/null
    {command}; echo "code $?"
    {sys.executable} -c "import pathlib, dfxlib.study.run_folder as r; print(r.verify(pathlib.Path('disk/run')))"
    """
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([*SMALL_DISK, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[1:] == ["code 2", "[]"], done.stdout + done.stderr
    assert re.search(rf"cannot write {named}: No space left on device", done.stderr)
    assert "Traceback" not in done.stderr


LAST = r"""
import os, signal, time
if epochs == 3:
    (staging / "notebook.html").mkdir()  # so that the page cannot be written
if epochs == 4:
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(600)
"""


@pytest.mark.parametrize("epochs, code, told", [(3, 2, "notebook.html: Is a directory"), (4, 143, "Terminated: ")])
def test_what_fails_after_the_last_cell_leaves_the_earlier_result_too(
    tmp_path: Path, capsys: pytest.CaptureFixture, epochs: int, code: int, told: str
) -> None:
    write_notebook(tmp_path / "last.ipynb", BEGIN, END, LAST, parameters=PARAMETERS)
    out = tmp_path / "own" / "notebook.ipynb"
    command = ["execute", str(tmp_path / "last.ipynb"), str(out), "-p", "folder", str(tmp_path), "-p", "epochs"]
    assert main([*command, "2"]) == 0
    assert main([*command, str(epochs)]) == code
    assert told in capsys.readouterr().err
    assert verify(out.parent) == [] and json.loads((out.parent / "metrics.json").read_text())["epochs"] == 2
    assert f"epochs = {epochs}" in (tmp_path / "own.failed.ipynb").read_text()
    assert main([*command, "5"]) == 0
    assert verify(out.parent) == [] and json.loads((out.parent / "metrics.json").read_text())["epochs"] == 5
    assert {entry.name for entry in tmp_path.iterdir()} == {"last.ipynb", "own", ".own.lock"}, "nothing is left beside"


@pytest.mark.parametrize("cells", [[], ["run = open_run('elsewhere', settings={}, device='cpu')", FINISH]])
def test_a_notebook_that_leaves_no_finished_run_is_told_in_one_sentence(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, cells: list[str]
) -> None:
    """It never called run.finish, or finished a run that lies elsewhere."""
    monkeypatch.chdir(tmp_path)
    write_notebook(tmp_path / "idle.ipynb", OPEN, *cells, parameters=PARAMETERS)
    shutil.copytree(finished, "run")
    assert main(["execute", "idle.ipynb", "run/notebook.ipynb"]) == 2
    told = capsys.readouterr().err.strip()
    assert told == (
        "dfx execute: idle.ipynb ended without a finished run in run; expected a last cell that calls run.finish, "
        "and OUT in the folder that its open_run names"
    )
    assert verify(Path("run")) == [] and Path("run.failed.ipynb").is_file(), "the earlier result stays"


def test_a_notebook_without_code_leaves_no_finished_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_notebook(tmp_path / "words.ipynb")
    assert main(["execute", str(tmp_path / "words.ipynb"), str(tmp_path / "run" / "notebook.ipynb")]) == 2
    assert "words.ipynb ended without a finished run" in capsys.readouterr().err


def test_a_success_after_a_failure_takes_the_failed_notebook_away(
    workshop: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workshop)
    Path("again.failed.ipynb").write_text("{}")
    Path("p.yaml").write_text("epochs: 5\nrate: 1.0e-3\n")
    options = ["-f", "p.yaml", "-y", "{names: [x, y], epochs: 6}", "-p", "epochs", "8", "--no-input"]
    assert main(["execute", "good.ipynb", "again/notebook.ipynb", *options]) == 0
    assert re.search(r"^good +again +\d+\.\d s$", capsys.readouterr().out, re.M)
    assert not Path("again.failed.ipynb").exists()
    assert "epochs 8" in Path("again", "notebook.html").read_text()
    assert "save_table" not in Path("again", "notebook.html").read_text()
    expected = {"epochs": 8, "rate": 0.001, "names": ["x", "y"]}  # the last one given wins
    assert json.loads(Path("again", DONE).read_text())["parameters"] == expected


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"epoch": 3}, r"good\.ipynb has no parameter 'epoch'; it has folder, epochs, rate, flag, names, n"),
        ({"epochs": "3"}, "epochs is '3', expected int$"),
        ({"epochs": 1.5}, r"epochs is 1\.5, expected int$"),
        ({"epochs": True}, "epochs is True, expected int"),
        ({"rate": "1e-3"}, r"rate is '1e-3', expected float; in YAML write 1\.0e-3, since 1e-3 is text"),
        ({"flag": 1}, "flag is 1, expected bool"),
        ({"names": "a,b"}, "names is 'a,b', expected list"),
        ({"folder": 7}, "folder is 7, expected str; put each name in double quotes"),
        ({"names": [1.5]}, r"names holds 1\.5, expected text; put each name in double quotes, and what a shell reads"),
        ({"names": ["a", None]}, "names holds None, expected text"),
        ({"nothing": [202411]}, "nothing holds 202411, expected text"),
        ({"sizes": [1, "1e-3"]}, "sizes holds '1e-3', expected numbers; in YAML write"),
    ],
)
def test_wrong_parameters_are_refused_before_a_kernel_starts(
    workshop: Path, tmp_path: Path, parameters: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        execute(workshop / "good.ipynb", tmp_path / "run" / "notebook.ipynb", parameters=parameters)
    assert list(tmp_path.iterdir()) == []


def test_right_parameters_are_accepted(workshop: Path) -> None:
    values = {"folder": "x", "epochs": 0, "rate": 2, "flag": True, "names": [], "nothing": ["1.5"], "sizes": [3]}
    assert check_parameters(workshop / "good.ipynb", values) is None


@pytest.mark.parametrize(
    "options, message",
    [
        (["none.ipynb", "run/notebook.ipynb"], r"notebook none\.ipynb is missing; expected one of notebooks/"),
        (["good.ipynb", "run/notebook.ipynb", "-p", "epoch", "3"], "has no parameter 'epoch'"),
        (["good.ipynb", "run/notebook.ipynb", "-f", "none.yaml"], r"parameters file none\.yaml is missing"),
        (["good.ipynb", "run/notebook.ipynb", "-y", "epochs"], "parameters 'epochs' holds a str; expected names with"),
        (["good.ipynb", "run/notebook.ipynb", "-y", "{epochs: [1"], r"parameters '\{epochs: \[1' is no YAML: "),
        (["good.ipynb", "run/notebook.ipynb", "-p", "folder", "2024_11"], "folder is 202411, expected str; put each"),
        (["good.ipynb", "run/notebook.ipynb", "-p", "names", "[007]"], "names holds 7, expected text; put each name"),
        (["good.ipynb", "run/notebook.ipynb", "-p", "names", "[1"], r"parameter names '\[1' is no YAML"),
        (["good.ipynb", "notebook.ipynb"], r"notebook\.ipynb has no folder of its own.*; write RUN/notebook\.ipynb"),
        (["text.ipynb", "run/notebook.ipynb"], r"text\.ipynb holds no JSON \(.*\); restore the file, or make it again"),
        (["list.ipynb", "run/notebook.ipynb"], r"list\.ipynb is no notebook of Jupyter's format 4; open it in Jupyter"),
        (
            ["old.ipynb", "run/notebook.ipynb"],
            r"old\.ipynb is no notebook of Jupyter's format 4; open it in JupyterLab",
        ),
        (["good.ipynb", "run/notebook.ipynb", "-f", "bytes.yaml"], r"parameters file bytes\.yaml is no YAML: "),
        (["README.md", "run/notebook.ipynb"], r"README\.md is no notebook; expected a name that ends in \.ipynb"),
        (["good.ipynb", "run/notebook"], "run/notebook is no notebook; expected a name that ends in"),
        (
            ["good.ipynb", "run/notebook.ipynb", "--page", "../../evil.html"],
            "page '../../evil.html' does not lie be",
        ),
        (["good.ipynb", "run/notebook.ipynb", "--page", ".."], r"page '\.\.' does not lie beside the notebook"),
        (["good.ipynb", "run/notebook.ipynb", "--page", "notebook.html"], "and its own page; expected index"),
        (
            ["good.ipynb", "run/notebook.ipynb", "--cell-limit", "-3"],
            r"limits of \(-3, None\) s .*; expected at",
        ),
        (
            ["good.ipynb", "run/notebook.ipynb", "--run-limit", "0"],
            r"limits of \(None, 0\) s .*; expected at le",
        ),
    ],
)
def test_unusable_arguments_end_with_code_2_and_one_sentence(
    workshop: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(workshop)
    for name in ("text.ipynb", "README.md"):
        Path(name).write_text("these are words")
    Path("list.ipynb").write_text("[]")
    Path("old.ipynb").write_text('{"metadata": {}, "nbformat": 3, "nbformat_minor": 0, "worksheets": []}')
    Path("bytes.yaml").write_bytes(b"epochs: \xff")
    assert main(["execute", *options]) == 2
    told = capsys.readouterr().err.strip()
    assert re.search(message, told) and told.startswith("dfx execute: ") and "Traceback" not in told
    assert not Path("run").exists()


def test_the_module_is_a_command_with_that_exit_code(workshop: Path) -> None:
    command = [sys.executable, "-m", "dfxlib", "execute", "none.ipynb", "run/notebook.ipynb"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, cwd=workshop, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", {}),
        ("a: 1\nb: [x]", {"a": 1, "b": ["x"]}),
        ('{"a": 1e-3}', {"a": "1e-3"}),
        (r'{"a": "gan_\ud83d\ude00"}', {"a": "gan_\N{GRINNING FACE}"}),
        ("a: [2024-01-01]", {"a": ["2024-01-01"]}),
    ],
)
def test_a_parameters_file_is_yaml_or_json(tmp_path: Path, text: str, expected: dict) -> None:
    (tmp_path / "p.yaml").write_text(text)
    assert read_parameters(tmp_path / "p.yaml") == expected


def test_a_temporary_folder_with_a_long_name_is_no_end(workshop: Path, tmp_path: Path) -> None:
    """The path of a socket has 107 characters at most."""
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()
    process = start(workshop / "plain.ipynb", tmp_path / "run" / "n.ipynb", TMPDIR=str(deep))
    said, told = process.communicate(timeout=300)
    assert process.returncode == 0 and told == "" and verify(tmp_path / "run") == [], said
