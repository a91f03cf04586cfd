"""The live line: who works tells in small files, who has the terminal shows them, and nobody else is disturbed."""

import io
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from samples import write_notebook

from dfxlib.system import live
from dfxlib.system.files import BATCH_VARIABLE
from dfxlib.system.parallel import progress

ROOT = Path(__file__).parents[1]

WORK = """
import sys, time
from dfxlib.system import live
with live.showing(live.show_runs), live.telling("10_train_base_model", "runs/demo/base/resnet18"):
    live.tell_section("Training")
    live.tell_step("real epoch 3/10", 0.41, 25.0)
    time.sleep(1.2)
    live.say("a line of its own")
    time.sleep(0.7)
"""


@pytest.fixture()
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(live.LIVE_VARIABLE, str(tmp_path))
    monkeypatch.delenv(live._RUN_VARIABLE, raising=False)
    return tmp_path


def on_terminal(*arguments: str) -> str:
    """What a terminal is sent by Python, called with these arguments."""
    leader, follower = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    child = subprocess.Popen([sys.executable, *arguments], stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    sent = b""
    while True:
        try:
            sent += os.read(leader, 2**16)
        except OSError:  # the other side is closed
            break
    assert child.wait() == 0
    os.close(leader)
    return sent.decode()


def test_a_run_tells_its_section_and_its_step_and_leaves_nothing(folder: Path) -> None:
    before = time.time()
    with live.telling("10_train_base_model", "runs/demo/base/resnet18/real/seed0"):
        (told,) = live.read_runs(folder)
        assert (told.notebook, told.section, told.step) == ("10_train_base_model", live.START, "")
        assert before <= told.started <= time.time()
        live.tell_section("Training")
        live.tell_step("real epoch 3/10", 0.41, 25.0)
        (told,) = live.read_runs(folder)
        assert (told.section, told.step, told.fraction) == ("Training", "real epoch 3/10", 0.41)
        (said,) = live.describe([told], now=time.time())
        assert said == "10 base/resnet18/real/seed0, Training: real epoch 3/10 41%, 0:25 left"
        live.tell_section("What was learned")
        assert live.describe(live.read_runs(folder), now=0.0) == ["10 base/resnet18/real/seed0, What was learned"]
    assert list(folder.iterdir()) == []


def test_two_runs_stand_in_the_order_of_their_start_and_a_dead_one_is_not_told(folder: Path) -> None:
    sleepers = [subprocess.Popen(["sleep", "60"]) for _ in range(2)]
    run = {"notebook": "10_a", "section": "Training"}
    for child, started in zip(sleepers, (20.0, 10.0)):
        live._write(folder / f"{child.pid}.run", run | {"folder": f"runs/demo/{started:.0f}", "started": started})
    assert [told.folder for told in live.read_runs(folder)] == ["runs/demo/10", "runs/demo/20"]
    for child in sleepers:
        child.kill()
        child.wait()
    assert live.read_runs(folder) == []


def test_several_runs_fit_into_one_line(folder: Path) -> None:
    training = live.Status("10_train_base_model", "runs/demo/base/resnet18/real/seed0", "Training", 0.0)
    other = training._replace(step="gan_generated epoch 3/10", fraction=0.41, end=100.0)
    assert live.describe([training, other], now=75.0) == ["10 Training", "10 gan_generated epoch 3/10 41%, 0:25 left"]


@pytest.mark.parametrize("torn", ["", "{", '{"step": "a"}'])
def test_a_file_that_is_just_being_written_is_read_the_next_time(folder: Path, torn: str) -> None:
    (folder / f"{os.getpid()}.run").write_text(torn)
    assert live.read_runs(folder) == []


def test_without_a_folder_to_tell_in_work_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(live.LIVE_VARIABLE, str(folder / "of another machine"))
    with live.telling("10_train_base_model", "runs/demo/base"):
        live.tell_section("Training")
        live.tell_step("epoch 1/2", 0.5, None)
    monkeypatch.delenv(live.LIVE_VARIABLE)
    with live.telling("10_train_base_model", "runs/demo/base"):
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "seconds, said", [(0.4, "0:00"), (25, "0:25"), (725, "12:05"), (3599.6, "1 h 0 min"), (11_400, "3 h 10 min")]
)
def test_durations_read_as_people_say_them(seconds: float, said: str) -> None:
    assert live.minutes(seconds) == said


def test_a_terminal_sees_one_line_that_is_drawn_anew_and_at_last_wiped() -> None:
    sent = on_terminal("-c", WORK)
    drawn = sent.split(live._CLEAR)
    line = "10 base/resnet18, Training: real epoch 3/10 41%, 0:2"
    assert sum(text.startswith(line) and "\n" not in text for text in drawn) >= 2
    assert "a line of its own\r\n" in drawn and drawn[-1] == ""


def test_a_line_is_no_longer_than_the_terminal_is_wide() -> None:
    sent = on_terminal("-c", WORK.replace("runs/demo/base", "runs/demo/" + "base" * 50))
    assert {len(text) for text in sent.split(live._CLEAR) if text.startswith("10 ")} == {99}


def test_a_notebook_by_itself_is_shown_from_before_its_kernel_starts(tmp_path: Path) -> None:
    finish = "staging = staging_folder(Path(os.environ['DFXLIB_BATCH']))\nstaging.mkdir()\n"
    finish += "(staging / 'metrics.json').write_text('{}')"
    begin = (
        "import os, time\nfrom pathlib import Path\nfrom dfxlib.study.run_folder import staging_folder\ntime.sleep(1)"
    )
    write_notebook(tmp_path / "20_small.ipynb", begin, finish)
    arguments = [str(tmp_path / "20_small.ipynb"), str(tmp_path / "runs" / "toy" / "small" / "n.ipynb")]
    drawn = on_terminal("-m", "dfxlib", "execute", *arguments).split(live._CLEAR)
    assert next(text for text in drawn if text).startswith("20 ") and ", Start" in "".join(drawn)
    assert re.fullmatch(r"20_small +\S+/small +\d+\.\d s\r\n", next(text for text in drawn if "\n" in text))
    assert drawn[-1] == "" and "Traceback" not in "".join(drawn)


def test_a_log_gets_no_line_but_what_is_said(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, env=environment, check=True)
    assert (done.stdout, done.stderr) == ("a line of its own\n", "")


def test_a_bar_of_a_batch_tells_how_far_the_whole_training_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BATCH_VARIABLE, "1")
    monkeypatch.setattr("dfxlib.system.parallel._PAUSE", 0.0)
    with live.telling("10_train_base_model", "runs/demo/base"):
        seen = []
        for _ in progress(iter("abcd"), label="real", total=4, epoch=1, epochs=2):
            seen.append(live.read_runs(folder)[0])
    assert [told.step for told in seen] == ["real epoch 2/2"] * 4
    assert [told.fraction for told in seen] == [0.5, 0.625, 0.75, 0.875]


def test_say_is_print_where_nothing_stands_in_the_way() -> None:
    stream = io.StringIO()
    live.say("two", "words", file=stream)
    assert stream.getvalue() == "two words\n"


def test_a_name_that_a_stream_cannot_show_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    live.open_streams()
    print("caf\u00e9.png", flush=True)
    assert narrow.buffer.getvalue() == b"caf\\xe9.png\n"
