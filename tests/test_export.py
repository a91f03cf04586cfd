"""An exported model: opens anywhere, judges as the run did, and tells what is wrong with it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from samples import rows, squares
from sklearn.decomposition import PCA

from dfxlib.__main__ import main
from dfxlib.data.residual import BLOCK
from dfxlib.detect.export import FORMAT, export_model, open_model
from dfxlib.detect.unlike import (
    describe_training,
    distances,
    load_reference,
    remarks,
    save_reference,
    unlike_training,
)
from dfxlib.measure.band import MOSTLY, ON_AVERAGE
from dfxlib.models.networks import DeepFeatureXNet
from dfxlib.names import CLASSES
from dfxlib.study.run_folder import vouch
from dfxlib.system.files import sha256_file, write_vouched
from dfxlib.training.fit import to_input


@pytest.fixture(scope="module")
def exported(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(trained_run, tmp_path_factory.mktemp("exported") / "model")


@pytest.fixture()
def copy(exported: Path, tmp_path: Path) -> Path:
    return shutil.copytree(exported, tmp_path / "copy")


def test_the_folder_judges_as_the_model_that_was_trained(exported: Path, trained_model: DeepFeatureXNet) -> None:
    opened = open_model(exported)
    images = to_input(squares(5), torch.device("cpu"))
    with torch.no_grad():
        assert torch.equal(opened.model(images), trained_model(images))
    assert not opened.model.training and opened.settings["classes"] == list(CLASSES)
    assert opened.calibration["threshold"] == 0.25 and opened.calibration["temperature"] == 2.0
    assert opened.reference["spectra"].shape == (3, BLOCK**2)


def test_the_description_says_what_is_needed_to_use_and_to_trace_it(exported: Path) -> None:
    stated = json.loads((exported / "model.json").read_text())
    assert stated["format"] == FORMAT and stated["classes"] == list(CLASSES)
    assert stated["input"] == {
        "image_size": 32,
        "crop_size": 0,
        "crops": 1,
        "resize_mode": "crop",
        "front_end": "rgb",
        "stem": "imagenet",
    }
    assert stated["manifest_hash"] == "0" * 64 and stated["made"]["commit"]
    assert stated["files"]["model.safetensors"] == sha256_file(exported / "model.safetensors")
    undefined = [row for row in stated["metrics"] if row["metric"] == "AUC"]
    assert undefined[0]["value"] is None, "JSON knows no NaN"


def test_the_card_is_written_from_the_results(exported: Path) -> None:
    card = (exported / "MODEL_CARD.md").read_text()
    assert "| three-way | balanced accuracy | 0.700 | 0.600 | 0.800 | 60 |" in card
    assert "| fake score | AUC | undefined | undefined | undefined | 60 |" in card
    assert card.count("Not measured when this card was written.") == 1, "robustness was, generalization was not"
    assert "| raw | AUC | 0.900 | 0.800 | 1.000 |" in card


def test_the_command_exports_and_replaces_its_own_and_nothing_else(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for _ in range(2):
        assert main(["export", str(trained_run), str(tmp_path / "model")]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    assert main(["export", str(trained_run), str(tmp_path / "mine")]) == 2
    assert "mine was not written by this command; give a new folder" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.tex").is_file()


def test_a_model_is_not_written_into_its_run_and_a_damaged_record_is_named(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    assert main(["export", str(run), str(run / "model")]) == 2
    told = capsys.readouterr().err
    assert told == f"dfx export: model folder {run}/model lies in {run}, which is only read; name a place outside it\n"
    (run / "calibration.json").write_text('{"temperature": ')
    assert main(["export", str(run), str(tmp_path / "model")]) == 2
    assert f"{run}/calibration.json holds no JSON (" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"] and not (run / "model").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "calibration.json", "reference.npz", "tables/summary.csv"])
def test_a_run_that_is_not_finished_is_not_exported(
    trained_run: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture
) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    (run / name).unlink()
    assert main(["export", str(run), str(tmp_path / "model")]) == 2
    assert f"lacks {name}; expected a finished run of 20_train_complete_model" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "reference.npz"])
def test_a_flipped_byte_is_told_with_the_file(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(ValueError, match=rf"copy is damaged: {name} does not match its checksum; copy the folder ag"):
        open_model(copy)


@pytest.mark.parametrize("name", ["model.safetensors", "model.json.sha256", "reference.npz"])
def test_a_missing_file_is_told(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"lacks {name}; copy the folder again"):
        open_model(copy)


def test_the_card_is_for_people_to_add_to_and_to_leave_away(copy: Path) -> None:
    with (copy / "MODEL_CARD.md").open("a") as card:
        card.write("Licence: CC BY 4.0\n")
    assert open_model(copy).calibration
    (copy / "MODEL_CARD.md").unlink()
    assert open_model(copy).calibration


@pytest.mark.parametrize(("number", "cure"), [(FORMAT - 1, "export the run again"), (FORMAT + 1, "update dfxlib")])
def test_another_version_of_the_format_is_refused(copy: Path, number: int, cure: str) -> None:
    stated = json.loads((copy / "model.json").read_text()) | {"format": number}
    write_vouched(copy / "model.json", lambda path: path.write_text(json.dumps(stated)))
    with pytest.raises(ValueError, match=f"has format {number}; this dfxlib reads format {FORMAT}; {cure}"):
        open_model(copy)


def with_band(folder: Path, name: str, band: dict) -> Path:
    """A run or a model, whose calibration is given a band."""
    stated = json.loads((folder / name).read_text())
    stated.get("calibration", stated).update(band)
    write_vouched(folder / name, lambda path: path.write_text(json.dumps(stated)))
    return folder


BAND = {"unsure_low": 0.2, "unsure_high": 0.7, "unsure_error": 0.05}


def test_an_exported_model_says_which_of_the_two_promises_its_band_keeps(trained_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained_run, tmp_path / "complete" / "resnet18" / "seed0")
    for promise in (MOSTLY, ON_AVERAGE):
        (run / "calibration.json").write_text((trained_run / "calibration.json").read_text())
        band = BAND | {"unsure_promise": promise}
        folder = export_model(with_band(run, "calibration.json", band), tmp_path / "model")
        assert open_model(folder).calibration["unsure_promise"] == promise
        card = (folder / "MODEL_CARD.md").read_text()
        assert (
            f"promises 5% of real images called fake and 5% of fakes called real at most, each {promise}, for" in card
        )


@pytest.mark.parametrize("text", ["{}", '{"format": null}', '{"format": "new"}', "[]", "no JSON"])
def test_a_description_without_a_format_is_told(copy: Path, text: str) -> None:
    write_vouched(copy / "model.json", lambda path: path.write_text(text))
    with pytest.raises(ValueError, match=r"model\.json states no number as its format; copy the folder again, or expo"):
        open_model(copy)


def test_what_is_no_exported_model_is_told_with_the_cure(trained_run: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no model\.json; make one with `dfx export"):
        open_model(trained_run)
    with pytest.raises(FileNotFoundError, match="nowhere is missing; expected a folder that"):
        open_model(tmp_path / "nowhere")


def test_a_run_whose_files_changed_is_not_exported(trained_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained_run, tmp_path / "run")
    vouch(run, {}, seconds=1)
    (run / "calibration.json").write_text("{}")
    with pytest.raises(ValueError, match=r"calibration\.json was changed; run 20_train_complete_model again"):
        export_model(run, tmp_path / "model")


class TestNovelty:
    def test_the_distance_orders_pictures_as_the_likelihood_of_probabilistic_pca_does(self) -> None:
        random = np.random.default_rng(0)
        mixing = random.normal(size=(6, 384))
        train, held, new = ((random.normal(size=(n, 6)) @ mixing).astype(np.float32) for n in (400, 200, 50))
        train, held, new = (a + random.normal(size=a.shape, scale=0.1).astype(np.float32) for a in (train, held, new))
        shape = (-1, 3, 128)
        known = describe_training(train.reshape(shape), held.reshape(shape), table(), np.zeros((3, 4)))
        # The same approximate fit: among directions of noise an exact one chooses others.
        oracle = PCA(n_components=len(known["variances"]), svd_solver="randomized", random_state=0).fit(train)
        found = distances(new.reshape(shape), known) * known["limit"]
        constant = oracle.score_samples(oracle.mean_[None])[0]  # the likelihood at distance 0
        assert found**2 == pytest.approx(2 * (constant - oracle.score_samples(new)), rel=0.01)
        assert (distances(held.reshape(shape), known) > 1).mean() == pytest.approx(0.01, abs=0.005)
        assert (distances(3 * new.reshape(shape), known) > 1).mean() > 0.5

    def test_it_takes_at_most_5_mb_for_the_widest_backbone(self, tmp_path: Path) -> None:
        random = np.random.default_rng(0)
        features = random.normal(size=(300, 3, 2208)).astype(np.float32)
        known = describe_training(features, features[:20], table(), random.normal(size=(3, BLOCK**2)))
        path = save_reference(tmp_path / "reference.npz", known)
        assert path.stat().st_size < 5e6
        assert all(np.array_equal(known[name], value) for name, value in load_reference(path).items())

    def test_the_distance_keeps_its_digits_far_from_zero(self) -> None:
        """Where float32 would lose them: features of thousands that differ by hundredths."""
        random = np.random.default_rng(0)
        near, far = random.normal(size=(2, 40, 3, 8))
        known = describe_training(near[:30], near[30:], table(), np.zeros((3, 4)))
        moved = known | {"mean": known["mean"].astype(np.float64) + 1e6}
        assert distances(far + 1e6, moved) == pytest.approx(distances(far, known), rel=1e-6)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({}, []),
            ({"width": 29}, []),
            ({"height": 4000}, []),
            ({"width": 27}, ["27 x 40 pixels, smaller than the model's input of 28"]),
            ({"distance": 2.5}, ["features 2.50 times as far from training as 99% of held-out images"]),
        ],
    )
    def test_it_says_in_what_a_picture_is_unlike_the_training_data(self, changes: dict, words: list[str]) -> None:
        known = {"sides": np.array([30, 40])}
        assert (
            unlike_training(known, **{"image_size": 28, "width": 40, "height": 40, "distance": 0.9} | changes) == words
        )

    def test_a_size_that_training_had_is_like_it_however_large_the_input(self) -> None:
        """Small pictures that are enlarged, as CIFAR's are for a backbone with ImageNet weights."""
        known, facts = {"sides": np.array([32, 32])}, {"image_size": 224, "distance": 0.9, "height": 32}
        assert unlike_training(known, width=32, **facts) == []
        assert unlike_training(known, width=31, **facts) != []

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({}, []),
            ({"kind": "WEBP"}, ["WEBP, training had JPEG and PNG"]),
            ({"kind": ""}, []),
            ({"height": 41}, ["40 x 41 pixels, training had sides of 30 to 40"]),
            ({"width": 29}, ["29 x 40 pixels, training had sides of 30 to 40"]),
        ],
    )
    def test_another_format_or_size_is_a_remark(self, changes: dict, words: list[str]) -> None:
        known = {"formats": np.array(["JPEG", "PNG"]), "sides": np.array([30, 40])}
        assert remarks(known, **{"kind": "PNG", "width": 40, "height": 40} | changes) == words


def table() -> pd.DataFrame:
    return rows(6).assign(format="PNG", width=64, height=64)
