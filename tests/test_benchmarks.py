"""The measuring functions of benchmarks/ run on little, so that they keep up with what they measure."""

import copy
import json
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image
from samples import SETTINGS, rows
from sklearn.metrics import balanced_accuracy_score

from dfxlib.data.manifest import write_manifest
from dfxlib.measure.baselines import metadata_features
from dfxlib.measure.scores import LOGITS
from dfxlib.models.networks import BaseModel
from dfxlib.models.saved import save_model
from dfxlib.names import CLASSES

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])


def squares(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def test_an_epoch_over_the_cache_is_timed(tmp_path: Path) -> None:
    import epoch_over_cache as benchmark

    # the model's side, twice that of the sample squares
    pixels = squares(2 * benchmark.BATCH).repeat(2, axis=1).repeat(2, axis=2)
    labels = np.arange(2 * benchmark.BATCH) % 2
    assert (
        benchmark.over_cache(pixels, labels, tmp_path)
        > 0
        < benchmark.alone(1, pixels[: benchmark.BATCH], labels[: benchmark.BATCH])
    )


@pytest.mark.parametrize(
    "share, said", [(0.95, "at least 0.9: True"), (0.5, "at least 0.9: False"), (2.6, "disturbed measurement")]
)
def test_a_training_that_beats_the_ideal_is_a_disturbed_measurement(share: float, said: str) -> None:
    import complete_training as benchmark

    assert said in benchmark.judge(share)


def test_features_once_does_the_same_arithmetic_as_the_plain_loop(tmp_path: Path) -> None:
    """Classes of different weight: the loss of an epoch must weigh images in both."""
    import complete_training as benchmark

    once = benchmark.frozen_net("resnet18", squares(45))
    plain, labels = copy.deepcopy(once), np.array([0] * 16 + [1] * 17 + [2] * 12)[np.arange(45) * 7 % 45]
    fitted, _ = benchmark.features_once(once, squares(45), labels, 40, 1, tmp_path)
    images = torch.from_numpy(squares(45)).permute(0, 3, 1, 2)
    (losses,) = [row[:2] for row in benchmark.plain_loop(plain, images, torch.from_numpy(labels), 40, 1)]
    found = fitted.history[["train_loss", "valid_loss"]].to_numpy()[0]
    np.testing.assert_allclose(found, losses, atol=1e-4)


@pytest.mark.parametrize("rates", ["training_rates", "extraction_rates"])
def test_a_backbones_speed_is_a_share_of_the_bare_networks(rates: str) -> None:
    import gpu_throughput as benchmark

    found = getattr(benchmark, rates)("timm:test_resnet", squares(16), batch_size=8, device=torch.device("cpu"))
    assert all(value > 0 for value in found.values()) and any("share" in name for name in found)


def test_the_bootstrap_is_timed_beside_scikit_learn() -> None:
    import bootstrap as benchmark

    assert all(seconds > 0 for seconds in benchmark.measure(600, 6, 20))
    assert 0 <= benchmark.auc_coverage(20, 5) <= 1


def test_out_of_fold_is_at_chance_on_noise_even_with_twins_in_a_group() -> None:
    import demo_audit as benchmark

    # every row has a copy: a split that cuts groups would recognise the twin
    order = np.random.default_rng(1).permutation(np.repeat(np.arange(300), 2))
    features, natures = np.random.default_rng(0).normal(size=(300, 96)), np.array(CLASSES)[np.arange(300) % 3]
    said = benchmark.out_of_fold_natures(pd.DataFrame(features[order]), natures[order], groups=order)
    assert np.mean(said == natures[order]) < 0.45


def test_equal_metadata_is_chance() -> None:
    import demo_audit as benchmark

    files = {"format": "PNG", "mode": "RGB", "width": 64, "height": 64, "jpeg_quality": [None] * 60}
    natures = np.array(CLASSES)[np.arange(60) % 3]
    features = metadata_features(pd.DataFrame(files))
    assert np.mean(benchmark.out_of_fold_natures(features, natures, groups=np.arange(60)) == natures) <= 0.34


def test_five_qualities_are_timed_beside_a_clean_evaluation() -> None:
    import robustness_cost as benchmark

    how = {"images": 6, "side": 40, "image_size": 32, "resize_mode": "crop", "workers": 1, "rounds": 1}
    assert (benchmark.ratios("timm:test_resnet", **how) > 0).all()


def test_recipes_are_tried_epoch_by_epoch_without_a_part_that_tests() -> None:
    import photograph_recipe as benchmark

    study = benchmark.read_study() | {"backbones": ["timm:test_resnet"], "weights": "none", "image_size": 32}
    study["base"] = study["base"] | {"epochs": 2}
    images = rows(120).assign(split=np.repeat(benchmark.PARTS, 30))
    blocks = benchmark.three_blocks(study, images, squares(120), rate=1e-3, main_share=0.5)
    single = benchmark.three_way(study, images, squares(120), rate=1e-3)
    for found in (blocks, single):
        assert [row["epoch"] for row in found] == [1, 2]
        assert all(0 <= row["select_balanced_accuracy"] <= 1 and row["valid_loss"] > 0 for row in found)


def test_heads_are_tried_epoch_by_epoch_on_the_same_features() -> None:
    import head_recipe as benchmark

    from dfxlib.training.fit import Examples

    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 3, 32)).astype(np.float32)
    parts = [Examples(features, part, part % 3) for part in np.array_split(np.arange(60), 2)]
    how = {"batch_size": 8, "weight_decay": 0.0, "gamma": 1.0, "step_size": 10}
    for head in ("linear", "conv"):
        found = benchmark.by_epoch(*parts, head=head, rate=1e-3, epochs=2, how=how)
        assert list(found["epoch"]) == [1, 2] and (found["valid_loss"] > 0).all() and set(found["head"]) == {head}


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the benchmark of detection exports each model once."""
    return tmp_path_factory.mktemp("exports")


def test_a_folder_is_judged_and_timed_against_the_bare_model(tmp_path: Path, exports: Path) -> None:
    import detect_folder as benchmark

    files = benchmark.plant(tmp_path / "images", 3, side=32)
    opened = benchmark.opened_of("timm:test_resnet", 32)
    folder = benchmark.exported("timm:test_resnet", exports, 32)
    assert benchmark.folder_rate(benchmark.open_judge(folder, engine="onnx"), files, 2) > 0
    assert benchmark.bare_rate(opened.model, torch.from_numpy(squares(4)).permute(0, 3, 1, 2), 2) > 0
    found = benchmark.engines("timm:test_resnet", 32, 3, exports, 1)
    assert found["ratio"] > 0 and found["difference"] < 1e-5


def test_a_look_at_detection_tries_no_batch_larger_than_its_images_and_tells_as_it_goes(
    tmp_path: Path, exports: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    import detect_folder as benchmark

    monkeypatch.setattr(benchmark, "SIDE", 32)
    tried, rate = [], benchmark.bare_rate
    monkeypatch.setattr(benchmark, "bare_rate", lambda *given: tried.append(given[2]) or rate(*given))
    benchmark.speed("timm:test_resnet", exports, benchmark.plant(tmp_path / "images", 5, side=32), 1)
    assert set(tried) == {1, 4} and "images a second by itself" in capsys.readouterr().out


def test_medians_of_numpy_are_kept_as_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import measure

    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    assert not measure.report("some", {"seconds": (np.median([1.0, 4.0]), "<=", 2)})
    assert json.loads((tmp_path / "some.json").read_text())["figures"]["seconds"]["held"] is False


def test_names_are_listed_and_timed_beside_a_bare_walk(tmp_path: Path) -> None:
    import list_names as benchmark

    benchmark.plant(tmp_path, 2 * benchmark.A_FOLDER + 5)
    assert {listing(tmp_path) for listing in benchmark.LISTINGS.values()} == {2 * benchmark.A_FOLDER + 5}


def test_a_build_without_the_check_believes_half_a_jpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import manifest_build as benchmark

    from dfxlib.data import decode

    benchmark.plant(tmp_path, 1, (".jpg",))
    (file,) = [decode.ImageFile(path) for path in tmp_path.rglob("*.jpg")]
    data = file.path.read_bytes()
    file.path.write_bytes(data[: len(data) // 2] + b"\xff\xd9")  # half of the data, and the end marker
    assert "truncated" in decode.inspect_file(file)["problem"]
    monkeypatch.setattr(decode, "require_whole", decode.require_whole)  # put back after the test
    assert benchmark.unchecked(file, pixel_limit=10**6)["problem"] == ""


def test_planted_copies_are_grouped_and_timed_beside_all_pairs() -> None:
    import near_duplicates as benchmark

    found = benchmark.measure(1000, rows=10)
    assert found["found"] == found["right"] == 1 and min(found["plain"], found["grouping"]) > 0


@pytest.mark.parametrize("train", [False, True])
def test_a_step_with_kept_memory_is_timed(train: bool) -> None:
    import freed_memory as benchmark

    assert benchmark.seconds_of_a_step("resnet18", 32, 2, train, steps=1) > 0


def test_the_time_of_a_study_is_told_by_section_and_adds_up(tmp_path: Path) -> None:
    import study_time as benchmark

    for seed, training in enumerate((10.0, 20.0)):
        run = tmp_path / "base" / f"seed{seed}"
        run.mkdir(parents=True)
        cells = [new_code_cell("import torch"), new_markdown_cell("## Training\nText."), new_code_cell("fit()")]
        for cell, duration in zip(cells[::2], (2.0, training)):
            cell.metadata.papermill = {"duration": duration}
        nbformat.write(new_notebook(cells=cells), run / "notebook.ipynb")
        (run / ".done").write_text(json.dumps({"notebook": "10_train_base_model.ipynb", "seconds": training + 5}))
    costs = benchmark.mean_costs(tmp_path)
    assert costs == {("10_train_base_model", "Start"): 5.0, ("10_train_base_model", "Training"): 15.0}


def test_the_fields_tables_and_the_matrix_are_timed() -> None:
    import field_tables as benchmark

    found = benchmark.ratios(120, 4, resamples=10, rounds=1)
    assert set(found) == {"field_table", "by_condition, three conditions"} and min(found.values()) > 0
    assert benchmark.matrix_seconds(3, 12, width=4, resamples=10) > 0


def test_an_ensemble_of_three_is_the_mean_of_three_seeds_and_its_numbers_come_out_of_the_published_scores() -> None:
    import ensemble_of_three as benchmark

    methods = benchmark.read_methods(ROOT / "results" / "photographs", variant="threeway")
    members = [methods["threeway"][seed]["p_real"].to_numpy() for seed in (4, 0, 1)]
    np.testing.assert_allclose(methods[benchmark.ENSEMBLE][4]["p_real"], np.mean(members, axis=0))
    committed = pd.read_csv(ROOT / "benchmarks" / "results" / "ensemble_photographs.csv")
    again = benchmark.summarise(methods, resamples=10)
    for column in ("value", "minus"):
        np.testing.assert_allclose(again[column], committed[column], atol=6e-5)


def test_differences_of_photographs_are_those_of_the_published_scores() -> None:
    import photograph_differences as benchmark

    committed = pd.read_csv(benchmark.TABLE).set_index(["where", "than"])["value"]
    results = ROOT / "results" / "photographs"
    for again in (benchmark.inside(results, resamples=10), benchmark.lost(results, resamples=10)):
        for row in again.itertuples():
            assert committed[row.where, row.than] == pytest.approx(row.value, abs=6e-5)


def test_every_picture_is_judged_by_one_and_by_several_crops_of_a_network_that_did_not_see_it() -> None:
    import crops_of_pictures as benchmark

    manifest, how = rows(30, per_group=2), {"crop": 32, "epochs": 1, "backbone": "timm:test_resnet", "weights": "none"}
    found = [benchmark.out_of_fold(manifest, squares(30).repeat(2, 1).repeat(2, 2), seed=s, **how) for s in (0, 1)]
    assert all(np.abs(logits[crops]).sum(axis=1).all() for logits, _ in found for crops in benchmark.CROPS)
    manifest["content"] = ["face", "object"] * 15
    alone = [benchmark.read_alone(manifest, squares(30), seed=s) for s in (0, 1)]
    table = benchmark.summarise(manifest, *(list(each) for each in zip(*found, strict=True)), alone)
    assert table["crops"].tolist() == ["1", "4", "9", *alone[0]] and (table["images"] == 30).all()
    table = table.iloc[:3]
    assert (table["time_ratio"] > 0).all()
    gains = table["value"] - table["value"].iloc[0]
    np.testing.assert_allclose(table["gain"].fillna(0), gains, atol=1e-9)


def test_one_backbone_is_judged_under_every_condition_as_its_study_judged_it(
    tree: Path, study_manifest: tuple[pd.DataFrame, str], tmp_path: Path
) -> None:
    import photograph_curves as benchmark

    manifest, digest = study_manifest
    manifest = manifest.assign(split=["test", "complete_select", "complete_train"] * 24)
    digest = write_manifest(manifest, tmp_path / "manifest" / "manifest.csv")
    torch.manual_seed(0)
    model = BaseModel("timm:test_resnet", weights="none", image_size=32, outputs=3).eval()
    settings, run = SETTINGS | {"backbone": "timm:test_resnet", "manifest_hash": digest}, tmp_path / benchmark.RUN
    save_model(run / "model.safetensors", model, settings=settings)
    calibration = {"temperature": 2.0, "threshold": 0.5, "false_alarm_5": 0.9, "unsure_low": 0.4, "unsure_high": 0.6}
    (run / "calibration.json").write_text(json.dumps(calibration))
    scores, read = benchmark.judged(tmp_path, tree, ["raw", "jpeg444_q50"])
    test = manifest[manifest["split"] == "test"]
    pictures = np.stack([np.asarray(Image.open(tree / path)) for path in test["path"]])
    logits = model(torch.from_numpy(pictures).permute(0, 3, 1, 2)).detach().numpy()
    np.testing.assert_allclose(scores["raw"][LOGITS], logits, rtol=1e-4, atol=1e-5)
    assert read == calibration and not np.allclose(scores["jpeg444_q50"][LOGITS], logits)
    table = benchmark.rows_of("none", scores, calibration, resamples=10).set_index("condition")
    said = np.array(CLASSES)[logits.argmax(axis=1)]
    assert table.loc["raw", "value"] == pytest.approx(balanced_accuracy_score(test["nature"], said))
    p_fake = 1 - torch.softmax(torch.from_numpy(logits) / 2, dim=1)[:, CLASSES.index("real")].numpy()
    assert table.loc["raw", "decided"] == pytest.approx(np.mean((p_fake >= 0.6) | (p_fake < 0.4)))
