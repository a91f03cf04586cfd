"""The whole study through the real pipeline: make, Snakemake, papermill, kernels. Minutes, not seconds."""

import json
import os
import re
import shlex
import shutil
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from pipeline import BACKBONE, FOLDER, call, make_study, snakemake
from samples import noise
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from dfxlib.data.manifest import read_manifest
from dfxlib.measure.mark import READINGS
from dfxlib.names import CLASSES
from dfxlib.study.figures import png_shows_pictures
from dfxlib.study.recompute import check
from dfxlib.study.run_folder import verify
from dfxlib.system.files import hold, sha256_file
from tools.publish import publish

pytestmark = pytest.mark.study

OURS = f"DeepFeatureX Net ({BACKBONE})"


def test_one_line_a_notebook_tells_its_time(smoke: Path, clone: Path) -> None:
    done = sorted(path.parent.relative_to(clone).as_posix() for path in smoke.rglob(".done"))
    # manifest, three base models, complete, 30, 40, 50, 60, report, two variants
    assert len(done) == 12
    assert all(json.loads((clone / run / ".done").read_text())["seconds"] > 0 for run in done)


def test_every_run_is_whole_and_traceable(smoke: Path) -> None:
    manifest_hash = sha256_file(smoke / "manifest" / "manifest.csv")
    for done in smoke.rglob(".done"):
        folder = done.parent
        assert verify(folder) == []
        for name in ("notebook.ipynb", "notebook.html", "settings.json", "environment.json", "metrics.json"):
            assert (folder / name).is_file(), folder / name
        assert json.loads((folder / "metrics.json").read_text())["manifest_hash"] == manifest_hash
        environment = json.loads((folder / "environment.json").read_text())
        assert environment["threads"] == 1 and environment["packages"]["torch"]
    assert not [path for path in smoke.rglob("*") if ".partial" in path.name and path.suffix == ".ipynb"]
    assert not list(smoke.rglob("states")), "of a training that goes on"


@pytest.mark.slow
def test_a_second_call_does_nothing_and_soon_even_where_a_notebook_was_saved_without_a_change_of_code(
    smoke: Path, clone: Path
) -> None:
    notebook = clone / "notebooks" / "10_train_base_model.ipynb"
    content = json.loads(notebook.read_text())
    content["metadata"]["saved_by"] = "JupyterLab"
    notebook.write_text(json.dumps(content))
    before = {path: path.stat().st_mtime_ns for path in smoke.rglob("*") if path.is_file()}
    started = time.monotonic()
    result = make_study(clone)
    assert result.returncode == 0 and result.stderr == "", "nothing to do, and nothing to tell"
    assert time.monotonic() - started < 30
    assert {path: path.stat().st_mtime_ns for path in smoke.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_second_study_at_once_is_refused_in_one_sentence(smoke: Path, clone: Path) -> None:
    """Whoever holds the lock: make, snakemake called by hand, or this test."""
    stamp = smoke / "report" / ".stamp"
    stamp.unlink()
    lock = hold(clone / "runs" / ".smoke.lock")
    second = make_study(clone)
    os.close(lock)
    assert second.returncode != 0 and not stamp.exists() and verify(smoke / "report") == []
    assert "study smoke: another call is at work on it in this folder; wait for it to end" in second.stderr
    assert "Traceback" not in second.stderr
    stamp.touch()  # finished again, as it was


@pytest.mark.slow
def test_reading_the_same_data_again_trains_nothing_again(smoke: Path, clone: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(clone, tmp_path / "copy", symlinks=True)
    (copy / "data" / "smoke").rename(copy / "data" / "moved")
    before = (smoke / "manifest" / ".done").read_text()
    base, complete = (f"runs/smoke/{run}/seed0/.stamp" for run in (f"base/{FOLDER}/real", f"complete/{FOLDER}"))
    trained = {run: (copy / run).stat().st_mtime_ns for run in (base, complete)}
    change = ["--configfile", "studies/smoke.yaml", "--config", "data_root=data/moved"]
    result = snakemake(copy, *change, "--", complete)
    assert result.returncode == 0, result.stderr
    assert (copy / "runs" / "smoke" / "manifest" / ".done").read_text() != before, "the manifest was made again"
    assert {run: (copy / run).stat().st_mtime_ns for run in trained} == trained
    (copy / "runs" / "smoke" / "manifest" / "manifest.csv.sha256").write_text("of other data")
    plan = call(copy, "snakemake", *change, "--cores", "2", "-n", "--", base)
    assert re.search(r"^base +1$", plan.stdout, re.M), "other data are other work: " + plan.stdout + plan.stderr


@pytest.mark.slow
def test_a_failed_rerun_leaves_the_earlier_result_and_a_detector_of_others_then_stands_in_every_table(
    smoke: Path, clone: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(clone, tmp_path / "copy", symlinks=True)
    run, results = copy / "runs" / "smoke", tmp_path / "results"
    (run / "baselines" / "tables").rename(run / "baselines" / "away")
    study = ("--configfile", "studies/smoke.yaml")
    failed = snakemake(copy, *study, "--forcerun", "report")
    assert failed.returncode != 0 and "tables" in failed.stderr
    assert verify(run / "report") == [] and (run / "report.failed.ipynb").is_file()
    (run / "baselines" / "away").rename(run / "baselines" / "tables")
    before = (run / "report" / ".done").stat().st_mtime_ns
    manifest, _ = read_manifest(run / "manifest" / "manifest.csv")
    tested = manifest[manifest["split"].isin(["test", "unseen"])]
    theirs = tested[["path"]].assign(p_fake=np.random.default_rng(0).random(len(tested)))
    theirs.to_csv(copy / "theirs.csv", index=False)
    (copy / "external.yaml").write_text("external: {theirs: theirs.csv}\n")
    result = snakemake(copy, *study, "external.yaml")
    assert result.returncode == 0, f"what failed is still to be done: {result.stderr}"
    assert (run / "report" / ".done").stat().st_mtime_ns > before and not (run / "report.failed.ipynb").exists()
    conditions = pd.read_csv(run / "robustness" / FOLDER / "seed0" / "tables" / "field.csv")
    assert conditions.loc[conditions["method"] == "theirs", "condition"].tolist() == ["raw"], "not of all versions"
    publish(run, results)
    checked = check(results)
    names = {f"tables/{name}.csv" for name in ("conditions", "field", "detector_differences", "detector_methods")}
    assert checked.different == [] and names < set(checked.same)
    assert "theirs" in set(pd.read_csv(results / "tables" / "field.csv")["method"])
    found = pd.read_csv(results / "tables" / "detector_methods.csv").set_index("method")["value"]
    own = theirs.merge(manifest.loc[manifest["split"] == "test", ["path", "nature"]])
    assert found["theirs"] == pytest.approx(balanced_accuracy_score(own["nature"] != "real", own["p_fake"] > 0.5))


def test_numbers_of_the_report_follow_from_the_scores(smoke: Path) -> None:
    main = pd.read_csv(smoke / "report" / "tables" / "main.csv").set_index("method")["value"]
    scores = pd.read_parquet(smoke / "complete" / FOLDER / "seed0" / "scores.parquet")
    test = scores[scores["split"] == "test"]
    said = np.array(CLASSES)[test[["logit_dm", "logit_gan", "logit_real"]].to_numpy().argmax(1)]
    assert main[OURS] == pytest.approx(balanced_accuracy_score(test["nature"], said))
    summary = pd.read_csv(smoke / "complete" / FOLDER / "seed0" / "tables" / "summary.csv")
    area = summary.loc[summary["metric"] == "AUC", "value"].item()
    assert area == pytest.approx(roc_auc_score(test["nature"] != "real", test["p_fake"]))
    baselines = pd.read_parquet(smoke / "manifest" / "scores.parquet")
    spectrum = baselines[(baselines["variant"] == "spectrum") & (baselines["split"] == "test")]
    said = np.array(CLASSES)[spectrum[["p_dm", "p_gan", "p_real"]].to_numpy().argmax(1)]
    assert main["spectrum"] == pytest.approx(balanced_accuracy_score(spectrum["nature"], said))


def test_every_notebook_means_the_same_mark_and_the_report_names_all_candidates(smoke: Path) -> None:
    tables = [pd.read_csv(smoke / step / "tables" / "mark.csv") for step in ("manifest", "baselines", "report")]
    named = [table["method"].tolist() for table in tables]
    assert named[0] == named[1] == named[2] and set(named[0]) == set(READINGS)
    for step in ("baselines", f"complete/{FOLDER}/seed0"):
        assert json.loads((smoke / step / "metrics.json").read_text())["mark"] == named[0][0]
    seen = pd.read_csv(smoke / "generalization" / FOLDER / "seed0" / "tables" / "seen_unseen.csv")
    assert set(seen["method"]) == {OURS, named[0][0]}
    assert set(seen["split"]) == {"test", "unseen"}, "and nothing that chose or calibrated"


def test_no_scene_stands_in_two_splits_and_no_unseen_architecture_in_training(smoke: Path) -> None:
    manifest, _ = read_manifest(smoke / "manifest" / "manifest.csv")
    kept = manifest[manifest["split"] != "excluded"]
    assert (kept.groupby("group")["split"].nunique() == 1).all()
    assert (manifest["group"] == manifest["path"].str.extract(r"(scene\d+)")[0]).all()
    unseen = json.loads((smoke / "manifest" / "settings.json").read_text())["unseen"]
    assert set(manifest.loc[manifest["architecture"].isin(unseen), "split"]) <= {"unseen", "excluded"}


def test_every_condition_scores_the_same_images_and_raw_is_the_test_of_notebook_20(smoke: Path) -> None:
    robustness = pd.read_parquet(smoke / "robustness" / FOLDER / "seed0" / "scores.parquet")
    paths = robustness.groupby("condition")["path"].agg(tuple)
    assert len(set(paths)) == 1 and len(paths) == 5
    complete = pd.read_parquet(smoke / "complete" / FOLDER / "seed0" / "scores.parquet")
    test = complete[complete["split"] == "test"].set_index("path")["logit_real"]
    raw = robustness[robustness["condition"] == "raw"].set_index("path")["logit_real"]
    pd.testing.assert_series_equal(raw, test.loc[raw.index], atol=1e-4, rtol=0)


def test_variants_are_scored_on_the_images_of_the_complete_model_and_on_the_unseen(smoke: Path) -> None:
    own = pd.read_parquet(smoke / "complete" / FOLDER / "seed0" / "scores.parquet")
    generalization = pd.read_parquet(smoke / "generalization" / FOLDER / "seed0" / "scores.parquet")
    unseen = generalization.loc[generalization["split"] == "unseen", "path"]
    for variant in ("linear_without_gan", "threeway"):
        folder = smoke / "variant" / variant / FOLDER / "seed0"
        scores = pd.read_parquet(folder / "scores.parquet")
        assert set(scores["variant"]) == {variant}
        assert sorted(scores["path"]) == sorted([*own["path"], *unseen])
        assert (folder / "calibration.json").is_file() and (folder / "last.safetensors").is_file()
    assert set(own["variant"]) == {"deepfeaturex"}


def test_methods_are_compared_on_the_same_images_and_ensembles_leave_their_scores(smoke: Path) -> None:
    folder = smoke / "baselines"
    methods = pd.read_csv(folder / "tables" / "methods.csv").set_index("method")
    names = {"DeepFeatureX Net", "linear_without_gan", "threeway", "pair"}
    assert {f"{name} ({BACKBONE})" for name in names} | {"spectrum", "metadata"} < set(methods.index)
    differences = pd.read_csv(folder / "tables" / "differences.csv").set_index("method")
    assert set(differences["decision"]) == {"not decided: fewer than five seeds"}
    for method, name in {"pair": f"pair ({BACKBONE})", "spectrum": "spectrum"}.items():
        expected = methods.loc[OURS, "value"] - methods.loc[name, "value"]
        assert differences.loc[method, "value"] == pytest.approx(expected, abs=1e-6)
    pair = pd.read_parquet(folder / "scores.parquet").sort_values("path")
    members = [
        pd.read_parquet(smoke / "variant" / name / FOLDER / "seed0" / "scores.parquet")
        for name in ("threeway", "linear_without_gan")
    ]
    p_real = [member[member["split"] == "test"].sort_values("path")["p_real"].to_numpy() for member in members]
    np.testing.assert_allclose(pair["p_real"].to_numpy(), np.mean(p_real, axis=0), atol=1e-7)
    assert not np.allclose(*p_real), "members of an ensemble differ"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["answers"][BACKBONE].startswith("not decided. Minus pair: ")


@pytest.mark.slow
def test_a_variant_that_changes_base_models_gets_three_of_its_own(smoke: Path, clone: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.yaml"
    more.write_text("variants:\n  blur: {base: {augment: jpeg_blur}}\n  permuted: {complete: {head: permuted}}\n")
    plan = call(clone, "snakemake", "--configfile", "studies/smoke.yaml", str(more), "--cores", "2", "-n")
    assert plan.returncode == 0, plan.stderr
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", plan.stdout, re.M))
    assert jobs == {
        "base": "3",
        "complete": "2",
        "baselines": "1",
        "report": "1",
        "all": "1",
        "total": "8",
    }


def test_the_report_links_every_run_and_asks_the_network_for_nothing(smoke: Path) -> None:
    page = (smoke / "report" / "index.html").read_text()
    links = re.findall(r'href="(\.\./[^"]+)"', page)
    assert len(links) == 11
    assert all((smoke / "report" / link).resolve().is_file() for link in links)
    for html in smoke.rglob("*.html"):
        assert not re.search(r'(?:src|href)\s*=\s*["\']?(?:https?:)?//(?!doi|arxiv)', html.read_text()), html


def test_no_page_shows_a_warning(smoke: Path) -> None:
    """Progress may stand on stderr; a warning there is for us to mend, and the reader sees it in red."""
    notebooks = {path: nbformat.read(path, as_version=4) for path in smoke.rglob("notebook.ipynb")}
    told = [
        f"{path.parent.relative_to(smoke)}: {output['text']}"
        for path, notebook in notebooks.items()
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stderr" and "Warning" in output["text"]
    ]
    assert notebooks and not told


def test_executed_code_is_the_committed_code(smoke: Path, clone: Path) -> None:
    """All but the cell of parameters that papermill adds."""
    for executed in smoke.rglob("notebook.ipynb"):
        name = json.loads((executed.parent / ".done").read_text())["notebook"]
        ran, committed = (nbformat.read(path, as_version=4) for path in (executed, clone / "notebooks" / name))
        codes = [
            [
                cell.source
                for cell in notebook.cells
                if cell.cell_type == "code" and "injected-parameters" not in str(cell)
            ]
            for notebook in (ran, committed)
        ]
        assert codes[0] == codes[1], executed


def test_no_path_of_this_machine_is_published(smoke: Path, clone: Path) -> None:
    result = call(clone, sys.executable, "-m", "tools.publish", "runs/smoke", "results/smoke")
    assert result.returncode == 0, result.stderr
    published = [path for path in (clone / "results" / "smoke").rglob("*") if path.is_file()]
    kinds = {path.suffix for path in published if path.name != ".published"}
    assert kinds == {".csv", ".md", ".png", ".parquet", ".tex"}
    pages = [smoke / "report" / "index.html", smoke / "report" / "notebook.html"]
    assert not [path for path in [*published, *pages] if str(clone).encode() in path.read_bytes()]


def test_published_numbers_come_out_of_the_published_scores(smoke: Path, clone: Path) -> None:
    """What recomputes them makes the calls that notebooks make: a table that one of them makes otherwise is told."""
    results = clone / "results" / "again"
    publish(smoke, results)
    checked = check(results)
    assert checked.different == []
    from_elsewhere = {name for name in checked.others if name.endswith(".csv")}
    assert from_elsewhere == {f"tables/{name}.csv" for name in ("cost", "settings", "shortcuts", "warnings")}
    of_features = ["tables/unsure.csv", "tables/unsure_by_condition.csv"]
    assert [name for name in checked.others if ".csv " in name] == [
        f"{name} unlike the training data" for name in of_features
    ]


def test_only_figures_with_pictures_say_so(smoke: Path) -> None:
    """What is drawn pixel by pixel; of a data set that is not ours these are never published."""
    shown = {path.stem for path in smoke.rglob("figures/*.png") if png_shows_pictures(path)}
    expected = {"conditions", "examples", "inputs", "neighbours", "residuals", "scenes"}
    assert shown - {"maps"} == expected, "maps are drawn only where they differ from those of shuffled weights"


def test_a_recipe_of_the_head_reads_the_parts_that_train_and_choose_it_and_no_other(
    smoke: Path, clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[1] / "benchmarks"), *sys.path])
    import head_recipe as benchmark

    which = {"backbone": BACKBONE, "seed": 0, "cache_root": tmp_path}
    parts = benchmark.read_features(smoke, clone / "data" / "smoke", **which)
    manifest, _ = read_manifest(smoke / "manifest" / "manifest.csv")
    sizes = [(manifest["split"] == part).sum() for part in ("complete_train", "complete_select")]
    assert [len(part.rows) for part in parts] == sizes and parts[0].array.shape[1:] == (3, 96)


def test_the_exported_model_judges_as_the_study_did(smoke: Path, clone: Path) -> None:
    """The folder that notebook 60 leaves, from the shell, on test images: the scores of notebook 20."""
    detection = smoke / "detection" / FOLDER / "seed0"
    scores = pd.read_csv(detection / "scores.csv").set_index("path")
    assert len(scores) == 6 and not scores["p_fake"].isna().any()
    test = pd.read_parquet(smoke / "complete" / FOLDER / "seed0" / "scores.parquet").set_index("path")["p_fake"]
    pd.testing.assert_series_equal(scores["p_fake"], test.loc[scores.index], atol=1e-4, rtol=0)
    command = [sys.executable, "-m", "dfxlib", "detect", str(detection / "model"), "--out", "scores.csv"]
    result = call(clone, *command, *(str(clone / "data" / "smoke" / path) for path in scores.index[:2]))
    assert result.returncode == 0 and result.stdout.startswith("2 images: "), result.stderr
    shell = pd.read_csv(clone / "scores.csv")["p_fake"]
    assert shell.to_numpy() == pytest.approx(scores["p_fake"].iloc[:2].to_numpy(), abs=1e-4)


@pytest.mark.slow
def test_a_model_is_tested_as_the_documentation_says_and_keeps_its_own_name(smoke: Path, clone: Path) -> None:
    """On the test part under perturbations, and on folders of unseen generators that no study knows."""
    shutil.copytree(smoke / "detection" / FOLDER / "seed0" / "model", clone / "model")
    for number, place in enumerate(
        f"{name}/{side}" for name in ("io_gan", "outer_dm") for side in ("0_real", "1_fake")
    ):
        (clone / "nine" / place).mkdir(parents=True)
        for image in range(4):
            noise(10 * number + image, width=48, height=48).save(clone / "nine" / place / f"{image}.png")
    block = re.search(r"## Test a model\n.*?```sh\n(.*?)```", (clone / "docs" / "detection.md").read_text(), re.S)[1]
    for line in block.replace(".venv/bin/", "").replace("runs/demo", "runs/smoke").replace("NINE", "nine").splitlines():
        other = ["-p", "backbone", "densenet121", "-p", "seed", "7"] if "papermill" in line else []
        other += ["-p", "data_root", "data/smoke"] if "30_jpeg" in line else []
        result = call(clone, *shlex.split(line), *other)
        assert result.returncode == 0, result.stderr
    (exported,) = (smoke / "exported").iterdir()
    for scores in map(pd.read_parquet, exported.rglob("scores.parquet")):
        assert set(scores["backbone"]) == {BACKBONE} and set(scores["seed"]) == {0}
    (nine,) = (exported / "generalization").glob("on-*")
    assert set(pd.read_csv(nine / "tables" / "seen_unseen.csv")["method"]) == {OURS}
    scores, sets = pd.read_parquet(nine / "scores.parquet"), pd.read_csv(nine / "tables" / "by_source.csv")
    for name, part in scores.groupby(scores["path"].str.split("/").str[0]):
        said = part[["p_dm", "p_gan", "p_real"]].to_numpy().argmax(axis=1) != 2
        row = sets[sets["source"] == name].set_index(["verdict", "metric"]).loc[("argmax", "balanced accuracy")]
        assert row["value"] == pytest.approx(balanced_accuracy_score(part["nature"] != "real", said))
        assert row["images"] == 8 and row["high"] - row["low"] > 0.3
    assert set(sets["source"]) == {"io_gan", "outer_dm"}
    shutil.rmtree(smoke / "exported")


def test_plain_papermill_runs_a_notebook_as_jupyterlab_does(smoke: Path, clone: Path) -> None:
    shutil.copytree(smoke, clone / "runs" / "plain", ignore=shutil.ignore_patterns("report"))
    further = clone / "runs" / "plain" / "generalization" / FOLDER / "seed0" / "on-nine" / "tables"
    further.mkdir(parents=True)
    shutil.copy(smoke / "generalization" / FOLDER / "seed0" / "metrics.json", further.parent)
    (further / "left_out.csv").write_text("kind,images\nnear copy,3\n")
    arguments = ["90_report.ipynb", str(clone / "plain.ipynb"), "-p", "run_root", "runs/plain"]
    arguments += ["-y", f"{{backbones: ['{BACKBONE}']}}"]
    result = call(clone / "notebooks", "papermill", *arguments)
    assert result.returncode == 0, result.stderr
    report = clone / "runs" / "plain" / "report"
    assert (report / "tables" / "main.csv").read_text() == (smoke / "report" / "tables" / "main.csv").read_text()
    assert not (report / ".done").exists(), "only a batch run vouches for its files"
    told = (
        f"Left out of the test generalization/{FOLDER}/seed0/on-nine, since training holds them: 3 images (near copy)."
    )
    assert told in (clone / "plain.ipynb").read_text()
