"""The report: which runs are whole, what they say together, and what is published of them."""

import json
from pathlib import Path

import pandas as pd
import pytest

from dfxlib.study import report as r
from dfxlib.study.run_folder import vouch

WHAT = {"notebook": "20_train.ipynb", "code": "c", "parameters": {}}
COLUMNS = ["method", "seeds", "value", "low", "high", "seed_sd", "images", "clusters"]


def plant_run(folder: Path, *, commit: str = "abc", done: bool = True, **metrics: float) -> Path:
    """A run's folder as Run and execute leave it."""
    (folder / "tables").mkdir(parents=True)
    (folder / "figures").mkdir()
    (folder / "settings.json").write_text('{"main_share": 0.9}')
    environment = {"device": "cpu", "threads": 2, "commit": commit, "packages": {"torch": "2.15", "numpy": "2.4"}}
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "metrics.json").write_text(json.dumps({"seconds": 3.0, "manifest_hash": "m"} | metrics))
    (folder / "notebook.html").write_text("<html>")
    if done:
        vouch(folder, WHAT, seconds=12.3)
    return folder


def collect(study: Path, *, seeds: tuple[int, ...] = (0, 1)) -> tuple[pd.DataFrame, list[str]]:
    return r.collect_runs(str(study), backbones=["resnet18"], seeds=list(seeds), variants=["linear"])


def methods(ours: float) -> pd.DataFrame:
    rows = [("DeepFeatureX Net (resnet18)", 2, ours, ours - 0.1, ours + 0.1, 0.02, 90, 30)]
    return pd.DataFrame([*rows, ("spectrum", 1, 0.5, 0.4, 0.6, float("nan"), 90, 30)], columns=COLUMNS)


@pytest.fixture()
def study(tmp_path: Path) -> Path:
    """Two seeds of a complete model, three base models, a report."""
    root = tmp_path / "runs" / "s"
    for seed in (0, 1):
        folder = plant_run(root / "complete" / "resnet18" / f"seed{seed}", done=False)
        methods(0.7 + seed / 10).to_csv(folder / "tables" / "summary.csv", index=False)
        (folder / "model.safetensors").write_bytes(b"weights")
        vouch(folder, WHAT, seconds=12.3)
    for nature in ("real", "dm_generated"):
        sizes = {"main_images": 90, "other_images": 10}
        values = {"valid_auc": 0.9, "valid_auc_low": 0.8, "valid_auc_high": 0.95} | sizes
        plant_run(root / "base" / "resnet18" / nature / "seed0", **values)
    final = plant_run(root / "report", done=False)
    methods(0.75).to_csv(final / "tables" / "main.csv", index=False)
    (final / "settings.json").write_text(json.dumps({"runs": collect(root)[0]["run"].tolist()}))
    vouch(final, WHAT | {"notebook": "90_report.ipynb"}, seconds=1)
    return root


def test_every_finished_run_is_one_row_with_time_device_and_commit(study: Path) -> None:
    runs = collect(study)[0].set_index("run")
    assert len(runs) == 4 and (runs["files"] == "as vouched").all()
    row = runs.loc["complete/resnet18/seed1"]
    assert row[["notebook", "seconds", "device", "threads", "commit"]].tolist() == [
        "20_train.ipynb",
        12.3,
        "cpu",
        2,
        "abc",
    ]


def test_runs_under_way_are_left_out(study: Path) -> None:
    plant_run(study / "complete" / "resnet18" / ".seed2.partial")
    assert len(collect(study)[0]) == 4


def test_runs_that_the_study_no_longer_names_are_left_out_and_said(study: Path) -> None:
    plant_run(study / "complete" / "resnet50" / "seed0")
    plant_run(study / "variant" / "linear" / "resnet18" / "seed0")
    plant_run(study / "variant" / "gone" / "resnet18" / "real" / "seed0")
    plant_run(study / "generalization" / "resnet18" / "seed0" / "on-another")
    plant_run(study / "exported" / "m" / "robustness")
    runs, others = collect(study, seeds=(0,))
    assert others == [
        "complete/resnet18/seed1", "complete/resnet50/seed0", "exported/m/robustness",
        "generalization/resnet18/seed0/on-another", "variant/gone/resnet18/real/seed0",
    ]  # fmt: skip
    assert "variant/linear/resnet18/seed0" in set(runs["run"])
    assert r.gather_tables(str(study), runs)["summary"]["seed"].unique().tolist() == [0]
    said = r.warnings_of(runs, others)[-1]
    assert said == f"Left out, as no part of what this study names: {', '.join(others)}."


def test_a_changed_file_stops_the_report_and_names_the_cure(study: Path) -> None:
    r.refuse_unfit(collect(study)[0], manifest_hash="m")
    (study / "complete" / "resnet18" / "seed0" / "metrics.json").write_text('{"seconds": 1, "manifest_hash": "m"}')
    with pytest.raises(
        ValueError, match=r"run complete/resnet18/seed0: metrics\.json was changed; run 20_train.ipynb again"
    ):
        r.refuse_unfit(collect(study)[0], manifest_hash="m")


def test_a_run_on_other_data_than_the_manifests_stops_the_report(study: Path) -> None:
    with pytest.raises(ValueError, match="belongs to manifest m, the study has other; run it again"):
        r.refuse_unfit(collect(study)[0], manifest_hash="other")


def test_a_run_stepped_through_by_hand_is_listed_and_said(study: Path) -> None:
    plant_run(study / "robustness" / "resnet18" / "seed0", done=False)
    runs = collect(study)[0]
    r.refuse_unfit(runs, manifest_hash="m")
    assert r.warnings_of(runs, []) == ["Stepped through by hand, so without checksums: robustness/resnet18/seed0."]
    assert "- robustness/resnet18/seed0: stepped through by hand" in r.links(runs)


def test_a_report_over_several_states_of_the_code_says_so(study: Path) -> None:
    assert r.warnings_of(*collect(study)) == []
    plant_run(study / "robustness" / "resnet18" / "seed0", commit="def+changes")
    sentences = " ".join(r.warnings_of(*collect(study)))
    assert "2 states of the code: abc, def+changes" in sentences and "differ from their commit" in sentences


def test_links_lead_from_the_report_to_the_executed_notebooks(study: Path) -> None:
    text = r.links(collect(study)[0])
    assert "- [complete/resnet18/seed0](../complete/resnet18/seed0/notebook.html): 20_train.ipynb, 12 s" in text
    assert (study / "report" / "../complete/resnet18/seed0/notebook.html").is_file()


def test_a_folder_without_runs_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no finished run of this study; run the notebooks before"):
        collect(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"s/complete/a/seed0 holds no tables/summary\.csv; run its notebook"):
        r.gather_tables("s", pd.DataFrame({"run": ["complete/a/seed0"]}))
    assert r.gather_tables("s", pd.DataFrame({"run": ["manifest"]})) == {}


def test_tables_of_all_seeds_are_joined_with_backbone_and_seed_in_front(study: Path) -> None:
    table = r.gather_tables(str(study), collect(study)[0])["summary"]
    assert list(table.columns) == ["backbone", "seed", *COLUMNS] and table["seed"].tolist() == [0, 0, 1, 1]
    assert set(table["backbone"]) == {"resnet18"}


def test_tables_of_the_comparison_are_those_of_notebook_50(study: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"methods\.csv is missing; run 50_baselines_and_ablations first"):
        r.compared(str(study), "methods")
    folder = plant_run(study / "baselines", done=False)
    methods(0.7).to_csv(folder / "tables" / "methods.csv", index=False)
    pd.testing.assert_frame_equal(r.compared(str(study), "methods"), methods(0.7))


def test_runs_without_a_backbone_are_passed_over(study: Path) -> None:
    """Those of notebooks 00 and 50 have one folder each."""
    records = r.read_records(str(study), collect(study)[0])
    more = {"manifest": {"metrics": {}}, "baselines": {"metrics": {}}} | records
    assert r.base_table(more).equals(r.base_table(records)) and len(r.base_table(records)) == 2


def test_values_over_seeds_have_mean_and_spread_and_one_seed_has_none(study: Path) -> None:
    table = r.gather_tables(str(study), collect(study)[0])["summary"]
    spread = r.over_seeds(table, ["method"]).set_index("method")
    ours = spread.loc["DeepFeatureX Net (resnet18)"]
    assert ours[["mean", "seed_sd", "seeds"]].tolist() == pytest.approx([0.75, 0.1 / 2**0.5, 2])
    alone = r.over_seeds(table[table["seed"] == 0], ["method"])
    assert alone["seed_sd"].isna().all() and set(alone["seeds"]) == {1}


def test_cost_and_versions_are_told_by_step_and_package(study: Path) -> None:
    plant_run(study / "variant" / "linear" / "resnet18" / "seed0")
    runs = collect(study)[0]
    table = r.cost_table(runs).set_index("step")
    assert table["runs"].to_dict() == {"base": 2, "complete": 2, "variant linear": 1}
    assert table.loc["complete", "minutes"] == pytest.approx(24.6 / 60, abs=0.05)
    assert table.loc["base", "device"] == "cpu"
    assert r.versions(r.read_records(str(study), runs)) == {"torch": "2.15", "numpy": "2.4"}


def test_the_conclusion_repeats_numbers_of_the_tables_and_the_answer() -> None:
    row = {"backbone": "resnet18", "method": "spectrum", "value": -0.05, "low": -0.08, "high": 0.01, "seeds": 2}
    row |= {"seed_low": -0.2, "seed_high": 0.1, "decision": "not decided: fewer than five seeds"}
    other = row | {"method": "co-occurrences", "value": 0.1}
    answers = {"resnet18": "not decided. Minus three: x."}
    assert r.conclusion(methods(0.7), pd.DataFrame([other, row]), answers, mark="spectrum") == [
        "DeepFeatureX Net (resnet18) has a three-way balanced accuracy of 0.700 on 90 images (over images 0.600 to "
        "0.800; standard deviation over 2 seeds 0.020).",
        "Minus the mark to pass (spectrum, the best linear reading on complete_select): "
        "-0.050 (images -0.080 to +0.010; seeds -0.200 to +0.100), not decided: fewer than five seeds.",
        "Does the three-block idea help? Not decided. Minus three: x.",
    ]


def test_base_models_stand_with_their_intervals(study: Path) -> None:
    table = r.base_table(r.read_records(str(study), collect(study)[0]))
    assert table[["main class", "seed", "valid_auc", "main_images"]].to_numpy().tolist() == [
        ["dm_generated", 0, 0.9, 90],
        ["real", 0, 0.9, 90],
    ]


def test_costs_are_told_where_no_model_was_trained_yet() -> None:
    runs = pd.DataFrame({"run": ["manifest", "baselines"], "seconds": [60.0, 30.0], "device": "cpu"})
    assert r.cost_table(runs).to_numpy().tolist() == [["manifest", 1, 1.0, "cpu"], ["baselines", 1, 0.5, "cpu"]]
    runs = pd.DataFrame({"run": ["variant/a/x/seed0", "base/x/real/seed0"], "seconds": [60.0, 30.0], "device": "cpu"})
    assert r.cost_table(runs)["step"].tolist() == ["variant a", "base"]


def test_departures_are_the_settings_that_differ_from_the_papers() -> None:
    rows = {"weights": "none", "image_size": 256, "base: main_share": 0.5, "base: learning_rate": 0.0001}
    rows |= {"complete: batch_size": "16, 32", "complete: gamma": "0.6", "backbone": "resnet18", "base: gamma": 1.0}
    settings = pd.DataFrame({"setting": rows.keys(), "resnet18, from seed 0": rows.values()})
    assert r.departures(settings).to_numpy().tolist() == [
        ["weights", "imagenet", "none"],
        ["base: main_share", "0.9", "0.5"],
        ["complete: gamma", "0.9, 0.6, 0.3", "0.6"],
    ]
    other = r.departures(settings.rename(columns={"resnet18, from seed 0": "googlenet, from seed 0"}))
    assert other.iloc[0].tolist() == ["backbone", "one of 14", "googlenet"]


def test_a_page_begins_with_name_question_date_commit_and_data() -> None:
    environment = {"date": "2026-01-02T03:04:05+00:00", "commit": "abc"}
    metrics = {"images": 9, "manifest_hash": "0123456789abcdef"}
    records = {"manifest": {"environment": environment, "metrics": metrics, "settings": {"demo_scenes": 0}}}
    later = {"report": {"environment": environment | {"date": "2026-01-03"}}}
    assert r.heading("runs/mine", "What is it?", records | later) == (
        "# mine\n\n**What is it?**\n\nFinished on 2026-01-03, commit abc. 9 images; manifest 0123456789ab."
    )
    records["manifest"]["settings"]["demo_scenes"] = 3
    assert "says nothing about detection in the wild" in r.heading("runs/mine", "", records).splitlines()[2]
