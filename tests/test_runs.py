"""The run folder: nothing under its final name before the end, an earlier result safe until then."""

import json
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from matplotlib.figure import Figure

from dfxlib.study.runs import Run, describe_environment, git_commit, open_run, read_json, run_folder
from dfxlib.system.files import project_path

TABLE = pd.DataFrame({"a": [1, 2], "b": [0.5, None]})


def opened(root: Path, **settings: object) -> Run:
    return open_run(str(root), "complete", "timm:x/y", "seed0", settings=settings, seed=3, device="cpu")


def visible(root: Path) -> list[Path]:
    """Everything under the root that is not part of a hidden entry."""
    paths = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    return [path for path in paths if not any(part.startswith(".") for part in path.parts)]


def test_nothing_stands_under_the_final_name_before_finish(tmp_path: Path) -> None:
    run = opened(tmp_path)
    run.save_table("scores", TABLE)
    run.save_json("calibration", {"temperature": 1.5})
    assert visible(tmp_path) == []
    run.finish({"auc": 0.9})
    final = tmp_path / "complete" / "timm.x_y" / "seed0"
    assert {path.name for path in final.iterdir()} >= {"settings.json", "environment.json", "metrics.json", "tables"}
    assert [entry.name for entry in final.parent.iterdir()] == ["seed0"]


def test_an_earlier_result_stays_until_a_new_one_is_whole(tmp_path: Path) -> None:
    opened(tmp_path).finish({"auc": 0.1})
    again = opened(tmp_path)
    again.save_table("half", TABLE)
    final = run_folder(str(tmp_path), "complete", "timm:x/y", "seed0")
    assert read_json(final / "metrics.json", needs="20")["auc"] == 0.1 and not (final / "tables").exists()


def test_finish_replaces_the_earlier_result_as_a_whole(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.save_table("only_then", TABLE)
    first.finish({"auc": 0.1})
    opened(tmp_path).finish({"auc": 0.2})
    final = run_folder(str(tmp_path), "complete", "timm:x/y", "seed0")
    assert not (final / "tables").exists() and read_json(final / "metrics.json", needs="20")["auc"] == 0.2
    assert [entry.name for entry in final.parent.iterdir()] == ["seed0"]


def test_a_kill_between_the_two_moves_of_finish_loses_nothing(tmp_path: Path) -> None:
    run = opened(tmp_path)
    run.finish({"auc": 0.9})
    run.final.rename(run.final.with_name(".seed0.old"))  # what such a kill leaves
    opened(tmp_path)
    assert json.loads((run.final / "metrics.json").read_text())["auc"] == 0.9


def test_training_states_survive_reopening_and_half_results_do_not(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.states.mkdir()
    (first.states / "state-0001.pt").write_bytes(b"state")
    first.save_table("half", TABLE)
    first.save_json("metrics", {"auc": 0.5})
    again = opened(tmp_path)
    assert (again.states / "state-0001.pt").read_bytes() == b"state"
    assert not (again.folder / "tables").exists() and not (again.folder / "metrics.json").exists()
    again.finish({})
    assert (again.final / "metrics.json").is_file() and not list(tmp_path.rglob("state*")), "a finished run needs none"


def test_settings_and_environment_are_written_at_once(tmp_path: Path) -> None:
    run = opened(tmp_path, epochs=3, manifest_hash="abc")
    assert read_json(run.folder / "settings.json", needs="") == {"epochs": 3, "manifest_hash": "abc"}
    environment = read_json(run.folder / "environment.json", needs="")
    assert environment["packages"]["torch"] == version("torch") and environment["device"] == "cpu"
    assert environment["instructions"] == torch.backends.cpu.get_cpu_capability()
    assert environment["threads"] == torch.get_num_threads() and re.match(r"\d{4}-\d\d-\d\dT", environment["date"])


def test_opening_sets_the_seed(tmp_path: Path) -> None:
    opened(tmp_path)
    one = torch.rand(3)
    opened(tmp_path)
    assert torch.equal(torch.rand(3), one)


def test_metrics_hold_the_duration(tmp_path: Path) -> None:
    opened(tmp_path).finish({"auc": 0.9})
    metrics = read_json(run_folder(str(tmp_path), "complete", "timm:x/y", "seed0") / "metrics.json", needs="")
    assert metrics["auc"] == 0.9 and 0 <= metrics["seconds"] < 60


def test_a_table_is_saved_and_given_back(tmp_path: Path) -> None:
    run = opened(tmp_path)
    assert run.save_table("t", TABLE) is TABLE
    pd.testing.assert_frame_equal(pd.read_csv(run.folder / "tables" / "t.csv"), TABLE)


def test_a_figure_is_saved_twice_and_shown_as_the_picture_that_was_saved(tmp_path: Path) -> None:
    run, figure = opened(tmp_path), Figure()
    axes = figure.subplots()
    axes.plot([0, 1])
    axes.set(title="loss", xlabel="epoch", ylabel="nats")
    shown, described = DisplayFormatter().format(run.save_figure("one_f", figure))
    png, svg = (run.folder / "figures" / f"one_f.{suffix}" for suffix in ("png", "svg"))
    assert png.read_bytes().startswith(b"\x89PNG") and "<svg" in svg.read_text()
    assert shown == {"image/png": png.read_bytes(), "text/plain": "Figure one f: loss: nats against epoch"}
    assert described["image/png"] == {"alt": "Figure one f: loss: nats against epoch", "pictures": False}


def test_json_takes_paths_and_dates(tmp_path: Path) -> None:
    run = opened(tmp_path)
    run.save_json("x", {"path": tmp_path})
    assert json.loads((run.folder / "x.json").read_text()) == {"path": str(tmp_path)}


def test_a_missing_result_names_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"calibration\.json is missing; run 20_train_complete_model first"):
        read_json(tmp_path / "calibration.json", needs="20_train_complete_model")


def test_an_unusable_device_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="device 'tpu9' is unknown"):
        open_run(str(tmp_path), "base", settings={}, device="tpu9")
    assert list(tmp_path.iterdir()) == []


def test_relative_roots_count_from_the_project(tmp_path: Path) -> None:
    assert run_folder("runs/x", "report") == project_path("runs/x/report")


def test_the_commit_marks_changed_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert git_commit() == "unknown"
    (tmp_path / "a").write_text("one")
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "a"], [*identity, "commit", "-qm", "one"], ["tag", "v1"]):
        subprocess.run(["git", *command], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    assert git_commit() == head[:12]
    (tmp_path / "a").write_text("two")
    assert git_commit() == f"{head[:12]}+changes"


def test_the_environment_can_be_written_as_json() -> None:
    assert json.loads(json.dumps(describe_environment(torch.device("cpu"))))["finished_by"] == "dfxlib"
