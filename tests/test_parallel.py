"""Work over processes: in order, lazily, and an error is never lost."""

import os
import pty
import subprocess
import sys
import termios
import time
import types
from pathlib import Path

import pytest

from dfxlib.system.files import BATCH_VARIABLE
from dfxlib.system.parallel import map_processes, progress, usable_cores


def double(number: int) -> int:
    return 2 * number


def process_of(number: int) -> int:
    return os.getpid()


def slow_when_early(number: int) -> int:
    time.sleep(0.05 if number < 4 else 0)
    return number


def refuse_seven(number: int) -> int:
    if number == 7:
        raise ValueError("seven is not wanted")
    return number


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 5, 70])
def test_results_are_those_of_map_in_order(workers: int, count: int) -> None:
    assert list(map_processes(double, range(count), workers=workers, chunk=4)) == [2 * n for n in range(count)]


def test_order_holds_where_early_items_take_longer() -> None:
    assert list(map_processes(slow_when_early, range(12), workers=2, chunk=2)) == list(range(12))


def test_several_workers_are_other_processes() -> None:
    processes = set(map_processes(process_of, range(8), workers=2, chunk=1))
    assert os.getpid() not in processes


def test_one_worker_stays_in_this_process() -> None:
    assert set(map_processes(process_of, range(8), workers=1, chunk=1)) == {os.getpid()}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_reaches_the_caller_and_the_next_call_works(workers: int) -> None:
    with pytest.raises(ValueError, match="seven is not wanted"):
        list(map_processes(refuse_seven, range(20), workers=workers, chunk=2))
    assert list(map_processes(double, range(9), workers=workers, chunk=2)) == [2 * n for n in range(9)]


def test_a_generator_is_accepted() -> None:
    assert list(map_processes(double, (n for n in range(5)), workers=1)) == [0, 2, 4, 6, 8]


def test_a_batch_log_gets_no_progress_bar(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    monkeypatch.setenv(BATCH_VARIABLE, "1")
    assert list(progress(range(3), label="steps")) == [0, 1, 2]
    assert capfd.readouterr().err == ""


def test_a_pipe_gets_none_either(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    monkeypatch.delenv(BATCH_VARIABLE, raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert list(progress(range(3), label="steps")) == [0, 1, 2]
    assert capfd.readouterr().err == ""


def test_a_kernel_of_jupyterlab_gets_one(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> None:
    monkeypatch.delenv(BATCH_VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    assert list(progress(range(3), label="steps")) == [0, 1, 2]
    assert "steps" in capfd.readouterr().err


def test_a_terminal_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BATCH_VARIABLE, raising=False)
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        assert list(progress(range(3), label="steps")) == [0, 1, 2]
        assert b"steps" in os.read(leader, 2**16)
    os.close(leader)


def test_usable_cores_are_those_of_this_process() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def test_workers_do_not_outlive_a_parent_that_was_killed() -> None:
    script = "import time\nfrom test_parallel import map_processes, process_of\n"
    script += (
        "for p in map_processes(process_of, range(4), workers=2, chunk=1):\n    print(p, flush=True)\ntime.sleep(600)"
    )
    folders = os.pathsep.join(str(folder) for folder in (Path(__file__).parent, Path(__file__).parents[1]))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": folders}
    ) as parent:
        workers = {int(parent.stdout.readline()) for _ in range(4)}
        parent.kill()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "a worker waits for work that will never come"
        time.sleep(0.1)
