"""The report: which runs are whole, what they say together, and what is published of them."""

import json
from pathlib import Path

import pandas as pd
import pytest

from dfxlib.study import report as r
from dfxlib.study.run_folder import vouch
from tools import publish

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
        methods(0.7 + seed / 10).to_csv(folder / "tables" / "methods.csv", index=False)
        (folder / "figures" / "small.png").write_bytes(b"x" * 100)
        (folder / "figures" / "large.png").write_bytes(b"x" * (publish.LARGEST_FIGURE + 1))
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
    assert r.gather_tables(str(study), runs, "complete", "methods")["seed"].unique().tolist() == [0]
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
    with pytest.raises(
        FileNotFoundError, match=r"holds no tables/methods\.csv; run the notebook of step complete first"
    ):
        r.gather_tables(str(tmp_path), pd.DataFrame({"run": []}), "complete", "methods")


def test_tables_of_all_seeds_are_joined_with_backbone_and_seed_in_front(study: Path) -> None:
    table = r.gather_tables(str(study), collect(study)[0], "complete", "methods")
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
    runs = collect(study)[0]
    more = pd.concat([pd.DataFrame({"run": ["manifest", "baselines"]}), runs])
    assert r.base_table(str(study), more).equals(r.base_table(str(study), runs))


def test_values_over_seeds_have_mean_and_spread_and_one_seed_has_none(study: Path) -> None:
    table = r.gather_tables(str(study), collect(study)[0], "complete", "methods")
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
    assert r.versions(str(study), runs) == {"torch": "2.15", "numpy": "2.4"}


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
    table = r.base_table(str(study), collect(study)[0])
    assert table[["main class", "seed", "valid_auc", "main_images"]].to_numpy().tolist() == [
        ["dm_generated", 0, 0.9, 90],
        ["real", 0, 0.9, 90],
    ]


def test_publishing_copies_tables_small_figures_and_records_only(study: Path, tmp_path: Path) -> None:
    copied = publish.publish(study, tmp_path / "results" / "s")
    names = {path.relative_to(tmp_path / "results" / "s").as_posix() for path in copied}
    own = {name for name in names if name.startswith("complete/resnet18/seed0/")}
    kept = {"settings.json", "environment.json", "metrics.json", "tables/methods.csv", "figures/small.png"}
    assert own == {f"complete/resnet18/seed0/{name}" for name in kept}
    assert all(path.is_file() for path in copied)


def test_publishing_copies_figures_of_one_seed_and_no_variant_and_all_tables(study: Path, tmp_path: Path) -> None:
    variant = plant_run(study / "variant" / "linear" / "resnet18" / "seed0", done=False)
    (variant / "figures" / "small.png").write_bytes(b"x")
    (variant / "tables" / "summary.csv").write_text("value\n0.5\n")
    vouch(variant, WHAT, seconds=1)
    (study / "report" / "settings.json").write_text(json.dumps({"runs": collect(study)[0]["run"].tolist()}))
    vouch(study / "report", WHAT | {"notebook": "90_report.ipynb"}, seconds=1)
    copied = [path.relative_to(tmp_path / "s").as_posix() for path in publish.publish(study, tmp_path / "s")]
    assert {name for name in copied if name.endswith(".png")} == {"complete/resnet18/seed0/figures/small.png"}
    assert {f"complete/resnet18/seed{seed}/tables/methods.csv" for seed in (0, 1)} < set(copied)
    assert "variant/linear/resnet18/seed0/tables/summary.csv" in copied


def test_publishing_without_figures_shows_no_picture_of_the_data(study: Path, tmp_path: Path) -> None:
    assert publish.main([str(study), str(tmp_path / "s"), "--no-figures"]) == 0
    kept = [path for path in (tmp_path / "s").rglob("*") if path.is_file()]
    assert tmp_path / "s" / "complete" / "resnet18" / "seed0" / "tables" / "methods.csv" in kept
    assert not [path for path in kept if path.suffix == ".png"]


def test_publishing_again_removes_what_a_run_no_longer_has(study: Path, tmp_path: Path) -> None:
    target = tmp_path / "results" / "s"
    publish.publish(study, target)
    (target / "old.csv").write_text("gone")
    publish.publish(study, target)
    assert not (target / "old.csv").exists()


def test_publishing_refuses_to_replace_a_folder_that_is_not_its_own(study: Path, tmp_path: Path) -> None:
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / "thesis.py").write_text("work")
    with pytest.raises(ValueError, match="clone was not written by this command; give a new folder"):
        publish.publish(study, tmp_path / "clone")
    assert (tmp_path / "clone" / "thesis.py").read_text() == "work"


def test_publishing_refuses_a_run_that_was_changed(study: Path, tmp_path: Path) -> None:
    (study / "report" / "tables" / "main.csv").write_text("method,value\nours,1.0\n")
    with pytest.raises(
        ValueError, match=r"report: tables/main\.csv was changed; run its notebook again before publishing"
    ):
        publish.publish(study, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_publishing_nothing_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert publish.main([str(tmp_path), str(tmp_path / "results")]) == 2
    assert "holds no finished report of a batch run; run make study first" in capsys.readouterr().err


def test_the_readme_gets_the_published_table_between_its_marks(study: Path, tmp_path: Path) -> None:
    publish.publish(study, tmp_path / "s")
    wrong = [f"wrong among called fake{how}" for how in ("", " at one half")]
    risk = {
        "metric": ["decided", "real called fake", "fake called real", *wrong],
        "value": [0.4, 0.01, 0.02, 0.03, 0.04],
    }
    risk |= {"value_low": 0.0, "value_high": 0.5, "images": 90}
    promised = {"promised": [None, 0.05, 0.05, None, None], "promise": "with probability 0.9"}
    tables = tmp_path / "s" / "generalization" / "resnet18" / "seed0" / "tables"
    tables.mkdir(parents=True)
    pd.DataFrame(risk | {"split": "test"} | promised).to_csv(tables / "unsure.csv", index=False)
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- results:s -->\nold\n<!-- /results -->\nafter\n<!-- /results -->\n")
    assert publish.update_page(readme, tmp_path / "s")
    text = readme.read_text()
    assert "| DeepFeatureX Net (resnet18) | 0.750 (0.650 to 0.850), 2 seeds, sd 0.020 | 90 |" in text
    assert "| spectrum | 0.500 (0.400 to 0.600) | 90 |" in text and "old" not in text
    assert "| real | 0.9 | 0.900 (0.800 to 0.950) | 90 + 10 |" in text
    decided, real, fake, here, half = (f"{share}.0% (0.0% to 50.0%)" for share in (40, 1, 2, 3, 4))
    assert f"| test (90) | {decided} | {real} | {fake} | {here}; {half} | 5% with probability 0.9 |" in text
    assert text.startswith("before\n<!-- results:s -->\n") and text.endswith(
        "<!-- /results -->\nafter\n<!-- /results -->\n"
    )
    assert not publish.update_page(readme, tmp_path / "s")  # nothing more to do


def test_the_readme_gets_the_differences_with_both_intervals_and_the_decision(study: Path, tmp_path: Path) -> None:
    row = {"method": "spectrum", "seeds": 5, "value": 0.1, "low": 0.05, "high": 0.15, "seed_low": 0.02}
    table = pd.DataFrame([row | {"seed_high": 0.18, "decision": "better"}])
    (tmp_path / "s" / "baselines" / "tables").mkdir(parents=True)
    table.to_csv(tmp_path / "s" / "baselines" / "tables" / "differences.csv", index=False)
    readme = tmp_path / "README.md"
    readme.write_text("<!-- differences:s -->\n<!-- /differences -->\n<!-- results:other -->\n")
    assert publish.update_page(readme, tmp_path / "s")
    assert "| spectrum | +0.100 (images +0.050 to +0.150; seeds +0.020 to +0.180), better |" in readme.read_text()
    assert readme.read_text().endswith("<!-- /differences -->\n<!-- results:other -->\n")


def test_the_readme_gets_the_methods_alone_with_their_spread_over_seeds(study: Path, tmp_path: Path) -> None:
    publish.publish(study, tmp_path / "s")
    readme = tmp_path / "README.md"
    readme.write_text("<!-- methods:s -->\n<!-- /methods -->\n")
    assert publish.update_page(readme, tmp_path / "s")
    *_, ours, spectrum, _ = readme.read_text().splitlines()
    assert ours == "| DeepFeatureX Net (resnet18) | 0.750 (0.650 to 0.850), 2 seeds, sd 0.020 | 90 |"
    assert spectrum == "| spectrum | 0.500 (0.400 to 0.600) | 90 |"


def test_a_readme_without_marks_stays_and_a_half_mark_is_told(study: Path, tmp_path: Path) -> None:
    publish.publish(study, tmp_path / "s")
    readme = tmp_path / "README.md"
    readme.write_text("no marks\n")
    assert not publish.update_page(readme, tmp_path / "s") and readme.read_text() == "no marks\n"
    readme.write_text("<!-- results:s -->\nopen\n")
    with pytest.raises(ValueError, match="without <!-- /results --> after it; add the closing mark"):
        publish.update_page(readme, tmp_path / "s")


def test_costs_are_told_where_no_model_was_trained_yet() -> None:
    runs = pd.DataFrame({"run": ["manifest", "baselines"], "seconds": [60.0, 30.0], "device": "cpu"})
    assert r.cost_table(runs).to_numpy().tolist() == [["manifest", 1, 1.0, "cpu"], ["baselines", 1, 0.5, "cpu"]]
    runs = pd.DataFrame({"run": ["variant/a/x/seed0", "base/x/real/seed0"], "seconds": [60.0, 30.0], "device": "cpu"})
    assert r.cost_table(runs)["step"].tolist() == ["variant a", "base"]
