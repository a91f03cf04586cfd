"""Published numbers come out of the scores beside them, and a study is published in pieces."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scored import Study, draw, read, rewrite
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from dfxlib.__main__ import main
from dfxlib.measure.confidence import UNLIKE
from dfxlib.measure.published import EXTERNAL, SCORES, join_scores, read_published, write_published
from dfxlib.measure.scores import LOGITS, said_natures, write_scores
from dfxlib.names import CLASSES
from dfxlib.study.recompute import by_step, check, recompute
from dfxlib.study.records import RUNS, read_runs, write_runs
from tools import publish
from tools.page_tables import unsure_table


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, ...], Path]:
    """Runs of a study by its seeds: the whole, and its two pieces. Read only."""
    root = tmp_path_factory.mktemp("runs")
    return {seeds: Study(root / f"{len(seeds)}{seeds[0]}", seeds=seeds).root for seeds in ((0, 1), (0,), (1,))}


@pytest.fixture(scope="module")
def runs(planted: dict) -> Path:
    return planted[0, 1]


@pytest.fixture(scope="module")
def whole(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of it, published at once. Read only."""
    folder = tmp_path_factory.mktemp("results") / "s"
    publish.publish(runs, folder)
    return folder


@pytest.fixture()
def results(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "s")


def test_every_published_number_that_comes_from_scores_comes_out_again(whole: Path) -> None:
    checked = check(whole)
    assert checked.different == []
    assert by_step(checked.others) == [
        "tables: cost.csv, settings.csv, shortcuts.csv, unsure.csv unlike the training data, "
        "unsure_by_condition.csv unlike the training data",
        "manifest: metrics.manifest_hash, metrics.seconds, metrics.images",
        "base: metrics.manifest_hash, metrics.seconds",
        "complete: metrics.manifest_hash, metrics.seconds, metrics.chosen_cell",
        "variant: metrics.manifest_hash, metrics.seconds",
        "robustness: metrics.manifest_hash, metrics.seconds, metrics.small",
        "generalization: metrics.manifest_hash, metrics.seconds",
        "baselines: metrics.manifest_hash, metrics.seconds",
        "report: metrics.manifest_hash, metrics.seconds, metrics.runs",
    ]


def test_what_comes_out_is_what_scikit_learn_finds_in_the_runs_own_scores(runs: Path, whole: Path) -> None:
    found = recompute(whole)
    run = "variant/linear/resnet18/seed1"
    test = pd.read_parquet(runs / run / "scores.parquet").query("split == 'test'")
    said = np.array(CLASSES)[test[LOGITS].to_numpy().argmax(axis=1)]
    summary = found[f"{run}/tables/summary.csv"].set_index(["verdict", "metric"])["value"]
    assert summary["three-way", "balanced accuracy"] == pytest.approx(balanced_accuracy_score(test["nature"], said))
    area = roc_auc_score(test["nature"] != "real", 1 - test["p_real"])
    assert summary["fake score", "AUC"] == pytest.approx(area)
    valid = pd.read_csv(runs / "base" / "resnet18" / "real" / "seed1" / "tables" / "valid_scores.csv")
    area = roc_auc_score(valid["is_main"], valid["p_main"])
    assert found["base/resnet18/real/seed1/metrics"]["valid_auc"] == pytest.approx(area)


#: A run, and the part of its images of which one is changed; a file whose numbers must then differ.
CHANGED = {
    ("manifest", "test"): "tables/main.csv",
    ("manifest", "complete_select"): "tables/mark.csv",
    ("variant/three/resnet18/seed0", "test"): "tables/contents.csv",
    ("base/resnet18/real/seed0", ""): "runs.csv: metrics of base/resnet18/real/seed0",
    ("complete/resnet18/seed1", "test"): "tables/summary.csv",
    ("complete/resnet18/seed0", "complete_calibrate"): "runs.csv: calibration of complete/resnet18/seed0",
    ("variant/three/resnet18/seed1", "test"): "runs.csv: metrics of variant/three/resnet18/seed1",
    ("robustness/resnet18/seed0", "test"): "tables/robustness.csv",
    ("generalization/resnet18/seed1", "unseen"): "tables/generalization.csv",
}


def test_one_changed_score_of_a_run_is_found_in_its_numbers(results: Path) -> None:
    scores = read_published(results)
    for run, split in CHANGED:
        if run.startswith("base/"):
            row = scores.index[scores["run"] == run][0]
            scores.loc[row, "p_main"] = 1 - scores.loc[row, "p_main"]
        else:
            own = scores[(scores["run"] == run) & (scores["split"] == split)]
            row = own.index[said_natures(own) == own["nature"]][0]  # a verdict that was right
            scores.loc[row, LOGITS] = np.roll(scores.loc[row, LOGITS].to_numpy(), 1)
    write_published(scores, results)
    told = check(results).different
    assert [name for name in CHANGED.values() if not any(sentence.startswith(f"{name}: ") for sentence in told)] == []
    assert not [
        sentence for sentence in told if "of variant/linear" in sentence or "of robustness/resnet18/seed1" in sentence
    ]


def test_a_changed_score_of_a_detector_of_others_is_found_in_its_tables(results: Path) -> None:
    scores = read_published(results)
    assert scores.loc[scores["run"] != EXTERNAL, "p_fake"].isna().all(), "ours follow from logits"
    own = (scores["run"] == EXTERNAL) & (scores["variant"] == "of two") & (scores["split"] == "test")
    row = scores.index[own & (scores["nature"] != "real") & (scores["p_fake"] > 0.5)][0]
    scores.loc[row, "p_fake"] = 0.01
    write_published(scores, results)
    names = ["conditions", "detector_differences", "detector_methods", "field"]
    assert [sentence.partition(":")[0] for sentence in check(results).different] == [f"tables/{n}.csv" for n in names]


def test_a_table_that_is_gone_is_told(results: Path) -> None:
    (results / "tables" / "main.csv").unlink()
    assert check(results).different == ["tables/main.csv: is missing; publish the study again"]


def test_what_one_picture_shows_is_found_in_the_table_of_contents_alone(results: Path) -> None:
    scores = read_published(results)
    scores.loc[scores["path"] == scores.loc[scores["split"] == "test", "path"].iloc[0], "content"] = "scene"
    write_published(scores, results)
    assert [sentence.partition(":")[0] for sentence in check(results).different] == ["tables/contents.csv"]


def test_of_what_the_band_gave_only_the_row_that_comes_from_features_is_not_compared(results: Path) -> None:
    path = results / "tables" / "unsure.csv"
    table = pd.read_csv(path)
    for metric, told in ((UNLIKE, []), ("decided", ["tables/unsure.csv"])):
        own = table["metric"] == metric
        assert own.sum() == 4 and table.loc[own, "value"].max() > 0.01, "one a split and seed, and not all empty"
        table.assign(value=table["value"].where(~own, 0.123)).to_csv(path, index=False)
        assert [sentence.partition(":")[0] for sentence in check(results).different] == told


def test_the_readmes_table_shows_what_the_band_promised_and_gave(runs: Path, whole: Path) -> None:
    scores = pd.read_parquet(runs / "generalization/resnet18/seed0/scores.parquet")
    calibration = read(runs / "complete/resnet18/seed0/calibration.json")
    lines = unsure_table(whole).splitlines()
    for split in ("test", "unseen"):
        test = scores[scores["split"] == split]
        real, p_fake = test["nature"] == "real", test["p_fake"]
        said = {"fake": p_fake >= calibration["unsure_high"], "real": p_fake < calibration["unsure_low"]}
        shares = [(said["fake"] | said["real"]).mean(), said["fake"][real].mean(), said["real"][~real].mean()]
        shares += [real[said["fake"]].mean(), (~real)[said["real"]].mean()]
        wanted = f"| {split} ({len(test)}), seed 0 |"
        _, _, *cells, promised, _ = next(line for line in lines if line.startswith(wanted)).split("|")
        assert [cell.split()[0] for cell in cells] == [f"{share:.1%}" for share in shares]
        kept = f"5% {calibration['unsure_promise']}" if split == "test" else "nothing"
        assert promised.strip() == kept and "; " in cells[3] and "; " in cells[4], "at two prevalences"


def test_the_command_names_a_number_that_does_not_come_out_and_fails(
    results: Path, capsys: pytest.CaptureFixture
) -> None:
    tables = results / "tables"
    summary = pd.read_csv(tables / "summary.csv")
    right = summary.loc[0, "value"]
    summary.loc[0, "value"] += 3e-6
    summary.to_csv(tables / "summary.csv", index=False)
    pd.read_csv(tables / "mark.csv").drop(index=0).to_csv(tables / "mark.csv", index=False)
    turned = tables / "generalization.csv"
    pd.read_csv(turned).iloc[::-1, ::-1].to_csv(turned, index=False)  # no number is another
    runs, records = read_runs(results)
    records["baselines"]["metrics"]["answers"] = {"resnet18": "yes."}
    write_runs(runs, records, results / RUNS)
    assert main(["recompute", str(results)]) == 1
    *_, fewer, changed, answer, _ = capsys.readouterr().out.splitlines()
    words = f"is {right + 3e-6} and comes out as {right}"
    assert changed == f"{results}/tables/summary.csv: value of resnet18, seed 0, three-way, balanced accuracy {words}"
    assert fewer.startswith(f"{results}/tables/mark.csv: has 1 rows of method, ") and "; 2 rows of method, " in fewer
    assert answer.startswith(f"{results}/runs.csv: metrics of baselines: answers is {{'resnet18': 'yes.'}} and comes ")


WITHOUT = """
import sys
class Absent:
    def find_spec(name, *_):
        if name in ("torch", "sklearn", "matplotlib", "IPython", "papermill", "onnxruntime"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent)
from dfxlib.__main__ import main
sys.exit(main(["recompute", sys.argv[1]]))
"""


def test_the_command_needs_neither_torch_nor_what_draws_and_fits(whole: Path) -> None:
    command = [sys.executable, "-c", WITHOUT, str(whole)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "  base: metrics.manifest_hash, metrics.seconds" in done.stdout
    *_, last = done.stdout.splitlines()
    assert re.fullmatch(rf"(\d\d) of \1 tables and records come out of {whole}/{SCORES} as they were published", last)


def test_results_that_were_published_without_contents_are_checked_but_for_that_table(
    planted: dict, published: Path
) -> None:
    write_scores(pd.read_parquet(published / SCORES).drop(columns="content"), published / SCORES)
    checked = check(published)
    assert checked.different == [] and "tables/contents.csv" in checked.others
    publish.publish(planted[1,], published)  # whose manifest is the same
    checked = check(published)
    assert checked.different == [] and "tables/contents.csv" in checked.same


def test_results_without_scores_say_what_to_do(results: Path, capsys: pytest.CaptureFixture) -> None:
    (results / SCORES).unlink()
    assert main(["recompute", str(results)]) == 2
    assert f"{results} holds no {SCORES}; publish the study again" in capsys.readouterr().err


def test_published_scores_are_one_small_table(runs: Path, whole: Path) -> None:
    scores, tables = read_published(whole), [*runs.rglob("*.parquet"), *runs.rglob("valid_scores.csv")]
    rows = [len(pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)) for path in tables]
    assert len(scores) == sum(rows)
    assert (whole / SCORES).stat().st_size < 14 * len(scores) + 20_000, "bytes: three logits, and little else"
    assert not list(whole.rglob("valid_scores.csv"))


@pytest.mark.parametrize("path", ["/home/me/a.png", "D:/me/a.png", "data/../../me/a.png"])
def test_a_path_that_shows_a_folder_of_a_machine_is_not_published(path: str) -> None:
    table = pd.DataFrame({"path": ["real/a.png", path], "group": "g"})
    with pytest.raises(ValueError, match=f"the scores of {path} show a folder of this machine; expected a name below"):
        join_scores({"complete/resnet18/seed0": table}, pd.DataFrame(columns=["source", "content"]))


def test_a_study_published_in_pieces_is_the_study_published_at_once(planted: dict, whole: Path, tmp_path: Path) -> None:
    target = tmp_path / "s"
    for seed in (1, 0):  # in any order
        publish.publish(planted[seed,], target)
    names, found = (
        {path.relative_to(place) for path in place.rglob("*") if path.is_file()} for place in (whole, target)
    )
    assert {name for name in found if name.suffix != ".png"} == names, "and figures of all seeds, which are drawn anew"
    for name in names:
        if name.suffix == ".csv":
            pd.testing.assert_frame_equal(pd.read_csv(target / name), pd.read_csv(whole / name), obj=str(name))
        elif name.suffix == ".md":
            lines = (target / name).read_text().split("\n\n")
            assert [line for line in lines if not line.startswith("![")] == (whole / name).read_text().split("\n\n")
    pd.testing.assert_frame_equal(read_published(target), read_published(whole))


@pytest.fixture()
def published(planted: dict, tmp_path: Path) -> Path:
    """The first piece."""
    publish.publish(planted[0,], tmp_path / "s")
    return tmp_path / "s"


@pytest.fixture()
def later(planted: dict, tmp_path: Path) -> Path:
    """Runs of the second piece, to be changed."""
    return shutil.copytree(planted[1,], tmp_path / "later")


BASE = "base/resnet18/dm_generated"


@pytest.mark.parametrize(
    ("record", "change", "reason"),
    [
        ("environment", {"code": "d"}, "code of dfxlib"),
        ("environment", {"code": "unknown"}, "code of dfxlib"),
        ("settings", {"epochs": 4}, f"setting of {BASE}"),
        ("metrics", {"manifest_hash": "m"}, "manifest"),
    ],
)
def test_runs_that_were_made_otherwise_take_the_place_of_what_was_published_where_that_is_asked_for(
    published: Path, later: Path, record: str, change: dict, reason: str
) -> None:
    rewrite(later / BASE / "seed1", record, **change)
    before = read_runs(published)[0]["run"].tolist()
    said = (
        f"{published} would lose what was published before: {BASE}/seed0 had another {reason}, or one that is unknown"
    )
    with pytest.raises(ValueError, match=re.escape(f"{said}; if it may go, add --replace")):
        publish.publish(later, published)
    assert read_runs(published)[0]["run"].tolist() == before
    publish.publish(later, published, replace=True)
    assert {Path(run).name for run in read_published(published)["run"]} == {EXTERNAL, "manifest", "seed1"}
    assert read_runs(published)[0]["run"][1] == f"{BASE}/seed1"


def test_a_piece_without_one_of_the_methods_changes_nothing(published: Path, later: Path) -> None:
    before = {path: path.read_bytes() for path in published.rglob("*") if path.is_file()}
    left = [run for run in read(later / "report" / "settings.json")["runs"] if "three" not in run]
    rewrite(later / "report", "settings", runs=left)
    with pytest.raises(ValueError, match="has no scores of variant/three/resnet18/seed1, which its comparisons need"):
        publish.publish(later, published)
    assert {path: path.read_bytes() for path in published.rglob("*") if path.is_file()} == before


def test_figures_of_all_methods_are_drawn_again_and_those_of_a_seed_stay(
    planted: dict, later: Path, tmp_path: Path
) -> None:
    first, target = shutil.copytree(planted[0,], tmp_path / "first"), tmp_path / "s"
    for seed, piece in enumerate((first, later)):
        draw(piece / "report", main=False, **{f"robustness_resnet18_seed{seed}": False})
        draw(piece / f"complete/resnet18/seed{seed}", confusion=False)
        publish.publish(piece, target)
    drawn = {path.stem for path in target.rglob("*.png")}
    assert drawn == {"main", "difference", "robustness", "confusion"}
    planted_one = (first / "report" / "figures" / "main.png").read_bytes()
    assert (target / "figures" / "main.png").read_bytes() != planted_one
    confusion = (first / "complete/resnet18/seed0/figures/confusion.png").read_bytes()
    assert (target / "figures" / "confusion.png").read_bytes() == confusion
