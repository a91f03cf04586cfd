"""Which model notebooks 30 and 40 test, and where results of that belong."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import SETTINGS, squares
from trained import BACKBONE

from dfxlib.data.perturb import sizes_after
from dfxlib.detect.export import model_name
from dfxlib.detect.tested import open_tested, unlike_images
from dfxlib.detect.unlike import distances
from dfxlib.training.fit import to_input

OWN = SETTINGS["manifest_hash"]
HOW = {"backbone": BACKBONE, "seed": 0, "manifest_hash": OWN}


def root(trained_run: Path) -> str:
    return str(trained_run.parents[2])


def test_without_a_path_it_is_the_studys_own_model(trained_run: Path, capsys: pytest.CaptureFixture) -> None:
    tested = open_tested(root(trained_run), "robustness", model_path="", **HOW)
    assert tested.parts == ("robustness", BACKBONE, "seed0") and not tested.model.training
    assert tested.settings["backbone"] == BACKBONE and "temperature" in tested.calibration
    assert capsys.readouterr().out == ""


def test_the_studys_own_model_must_have_learned_from_its_manifest(trained_run: Path) -> None:
    with pytest.raises(ValueError, match="the model was trained with manifest 000000000000, the study has 111"):
        open_tested(root(trained_run), "robustness", model_path="", **HOW | {"manifest_hash": "1" * 64})


def test_without_calibration_the_notebook_that_makes_it_is_named(trained_run: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(trained_run, tmp_path / "complete" / trained_run.parent.name / "seed0")
    (copied / "calibration.json").unlink()
    with pytest.raises(FileNotFoundError, match="run 20_train_complete_model first"):
        open_tested(str(tmp_path), "robustness", model_path="", **HOW)


@pytest.mark.parametrize(("manifest", "said"), [(OWN, False), ("1" * 64, True)])
def test_an_exported_model_keeps_its_settings_and_says_what_its_test_cannot_promise(
    exported: Path, capsys: pytest.CaptureFixture, manifest: str, said: bool
) -> None:
    how = {"backbone": "another", "seed": 7, "manifest_hash": manifest}
    tested = open_tested("runs/any", "generalization", model_path=str(exported), **how)
    assert tested.parts == ("exported", model_name(exported), "generalization")
    assert (tested.settings["backbone"], tested.settings["seed"]) == (BACKBONE, 0), "its own, whatever was asked for"
    assert ("was not trained on this study's manifest" in capsys.readouterr().out) == said


def test_it_counts_the_images_that_detection_would_leave_unsure(trained_run: Path) -> None:
    """More than are held in memory at once, and of any size: those with far features, and those below the input."""
    tested = open_tested(root(trained_run), "robustness", model_path="", **HOW)
    with torch.no_grad():
        near = tested.model.features(to_input(squares(20), torch.device("cpu"))).numpy()
    features = np.concatenate([near] * 60 + [near + 100])
    sizes = np.stack([np.full(len(features), 33), np.where(np.arange(len(features)) < 7, 31, 40)], axis=1)
    caught = unlike_images(tested, features, sizes)
    far = distances(features, tested.reference) > 1
    assert far[-20:].all() and not far[:-20].all()
    assert (caught == (far | (sizes[:, 1] == 31))).all()
    halved = sizes_after("scale_50", np.full((len(features), 2), 63))
    assert unlike_images(tested, features, halved).all(), "half of 63 pixels are 31, fewer than the input's 32"
    assert np.isnan(unlike_images(tested._replace(reference=None), features, sizes)).all()
