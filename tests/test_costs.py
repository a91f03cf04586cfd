"""How long a study takes here: what is planned, what it costs by the table, and how fast this machine is."""

import json
import os
import re
import time
from pathlib import Path

import nbformat
import pytest
import yaml
from pipeline import FOLDER

from dfxlib.study import costs as c
from dfxlib.study.papermill_engine import sections
from dfxlib.study.settings import check_study, complete_study
from dfxlib.system.live import START, Status

ROOT = Path(__file__).parents[1]
COSTS = {
    number: {START: 2.0, "Work": 6.0, "Rest": 2.0} for number in ("00", "10", "15", "20", "30", "40", "50", "60", "90")
}


def study_of(name: str, **changes: object) -> tuple[dict, dict]:
    demo = yaml.safe_load((ROOT / "studies" / "demo.yaml").read_text())
    given = yaml.safe_load((ROOT / "studies" / f"{name}.yaml").read_text())
    return check_study(complete_study(given | changes, demo)), demo


@pytest.fixture()
def estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> c.Estimate:
    """Of the demonstration, whose notebooks cost 10 s each by the table, two at once, nothing finished yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(c, "read_costs", lambda: COSTS)
    study, demo = study_of("demo", threads=1, variants={}, backbones=["resnet18"], weights="none")
    return c.Estimate(study, demo, cores=2)


def finish(run: str, seconds: float) -> None:
    folder = Path("runs", "demo", run)
    folder.mkdir(parents=True)
    (folder / ".done").write_text(json.dumps({"seconds": seconds}))
    ended = time.time() + 1  # a file system's clock may be behind by a tick
    os.utime(folder / ".done", (ended, ended))


def at_work(run: str, notebook: str, section: str, *, since: float, fraction: float = 0.0) -> Status:
    return Status(notebook, f"runs/demo/{run}", section, since, "a step", fraction)


def test_the_plan_holds_the_runs_that_the_smoke_study_makes() -> None:
    runs = c.planned_runs(study_of("smoke")[0])
    assert len(runs) == 12 and runs[f"variant/threeway/{FOLDER}/seed0"] == ("15", "threeway")
    assert runs[f"variant/linear_without_gan/{FOLDER}/seed0"] == ("20", "linear_without_gan")
    assert {run for run, (number, _) in runs.items() if number == "10"} == {
        f"base/{FOLDER}/{nature}/seed0" for nature in ("dm_generated", "gan_generated", "real")
    }


def test_a_variant_that_changes_base_models_plans_its_own() -> None:
    sharp = {"sharp": {"base": {"augment": "jpeg_blur"}}}
    runs = c.planned_runs(study_of("smoke", variants=sharp, ensembles={}, seeds=[0, 1])[0])
    assert sum(number == "10" and variant == "sharp" for number, variant in runs.values()) == 6


def test_work_grows_with_images_pixels_and_epochs() -> None:
    study, demo = study_of("demo")
    assert c.relative_work(study, demo, "10", images=3600) == 1
    more = study | {"image_size": 128, "base": study["base"] | {"epochs": 3 * demo["base"]["epochs"]}}
    assert c.relative_work(more, demo, "10", images=7_200) == 2 * 4 * 3
    assert c.relative_work(more, demo, "20", images=7_200) == 2 * 4
    parts = study | {"crop_size": 32, "crops": 4}
    assert [c.relative_work(parts, demo, number, images=3600) for number in ("10", "20", "60")] == [1 / 4, 1, 1]
    assert c.relative_work(more | {"conditions": ["raw"]}, demo, "30", images=3600) == pytest.approx(
        4 / len(demo["conditions"])
    )
    assert c.relative_work(more, demo, "90", images=7_200) == 1
    assert c.relative_work(study | {"stem": "enlarged"}, demo, "10", images=3600) == 16


def test_nothing_is_said_before_something_was_measured(estimate: c.Estimate) -> None:
    now = time.time()
    assert estimate.left([], now) is None
    running = [at_work("manifest", "00_prepare_dataset", START, since=now - 5)]
    assert estimate.left(running, now) is None, "a few seconds say too little"


def test_a_machine_half_as_fast_takes_twice_as_long(estimate: c.Estimate) -> None:
    """10 runs of 10 s; the three of a stage on two slots take 15 s and not 10: 10 + 15 + 10 + 15 + 10 + 10 = 70 s."""
    now = time.time()
    for pace in (5.0, 10.0):  # half of the first notebook is over
        running = [at_work("manifest", "00_prepare_dataset", "Work", since=now - 5 * pace, fraction=0.5)]
        assert estimate.left(running, now) == pytest.approx(pace * 65)


@pytest.mark.parametrize(("scenes", "work"), [(120, 0.1), (24_000, 20.0)])
def test_a_study_of_another_size_is_judged_by_its_own_sections(scenes: int, work: float, estimate: c.Estimate) -> None:
    """The start takes 2 s in every study, the rest of a run 8 s times its work; this machine may be slower."""
    estimate.study = estimate.study | {"demo_scenes": scenes}
    cost = {number: 2 + 8 * (work if number < "50" else 1) for number in COSTS}
    stages = cost["10"] * 1.5 + cost["20"] + max((cost["30"] + cost["40"] + 10) / 2, cost["30"], 10) + 10 + 10
    now = time.time()
    for share in (0.3, 0.5, 0.9):  # of the work of the first notebook
        passed = 2 + share * 6 * work
        running = [at_work("manifest", "00_prepare_dataset", "Work", since=now - 30 - passed, fraction=share)]
        pace = (30 + passed) / passed
        assert estimate.left(running, now) == pytest.approx(pace * (cost["00"] - passed + stages), rel=1e-3)


def test_what_is_finished_sets_the_pace_of_its_notebook_and_is_not_counted(estimate: c.Estimate) -> None:
    finish("manifest", 100)  # ten times what the table says
    for nature in ("dm_generated", "gan_generated", "real"):
        finish(f"base/resnet18/{nature}/seed0", 20)  # twice
    of_all = 160 / 40
    assert estimate.left([], time.time()) == pytest.approx(of_all * (10 + 15 + 10 + 10))
    assert estimate.finished([]) == 4


def test_a_run_that_is_done_again_is_counted_again(estimate: c.Estimate) -> None:
    finish("manifest", 100)
    before = estimate.left([], time.time())
    now = time.time()
    assert estimate.finished([at_work("manifest", "00_prepare_dataset", START, since=now)]) == 0
    again = estimate.left([at_work("manifest", "00_prepare_dataset", "Work", since=now - 50, fraction=0.5)], now)
    assert again == pytest.approx(before + 50)


def test_what_an_earlier_call_finished_says_nothing_of_the_pace(estimate: c.Estimate) -> None:
    finish("manifest", 1000)
    os.utime(Path("runs", "demo", "manifest", ".done"), (1, 1))
    assert estimate.left([], time.time()) is None


def test_time_goes_down_within_a_section_that_says_nothing(estimate: c.Estimate) -> None:
    now = time.time()
    running = [at_work("manifest", "00_prepare_dataset", "Rest", since=now - 80)]
    at_once, later = estimate.left(running, now), estimate.left(running, now + 10)
    assert at_once - later == pytest.approx(10)


def test_images_of_a_folder_are_counted_by_its_first_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(c, "read_costs", lambda: COSTS)
    Path("images").mkdir()
    study, demo = study_of("demo", demo_scenes=0, data_root="images")
    estimate = c.Estimate(study, demo, cores=2)
    now = time.time()
    running = [at_work("manifest", "00_prepare_dataset", "Work", since=now - 50, fraction=0.5)]
    assert estimate.left(running, now) is None
    finish("manifest", 100)
    Path("runs", "demo", "manifest", "metrics.json").write_text('{"images": 3600}')
    assert estimate.left([], time.time()) > 0


def test_the_table_knows_every_section_of_every_notebook() -> None:
    costs = c.read_costs()
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        found = [s for s, cell in zip(sections(notebook), notebook.cells) if cell.cell_type == "code"]
        assert list(costs[path.stem[:2]]) == list(dict.fromkeys(found)), path.name


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_says_the_time_that_the_table_has(path: Path) -> None:
    minutes = sum(c.read_costs()[path.stem[:2]].values()) / 60
    introduction = nbformat.read(path, as_version=4).cells[0].source
    said = re.search(r"^- \*\*Time\*\* (?:about (\d+) minutes?|under (1) minute)", introduction, re.M)
    assert said, "of the demonstration, on two cores"
    assert minutes < 1 if said[2] else abs(int(said[1]) - minutes) <= 0.5
