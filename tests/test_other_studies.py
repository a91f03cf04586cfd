"""Studies of other data than the smoke study's: planned, refused in one sentence, and run on real pictures."""

import json
import re
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from pipeline import ROOT, call, snakemake
from torchvision.models import resnet18

from dfxlib.data.manifest import read_manifest
from dfxlib.system.files import sha256_file

REAL_IMAGES = ROOT.parent / "shared" / "real" / "cifar3"

pytestmark = pytest.mark.study


def test_profiles_plan_the_study_of_paper_scale(clone: Path, tmp_path: Path) -> None:
    # Neither the images nor the weights are here, so the plan is made as if nothing was pretrained.
    arguments = ["--configfile", "studies/deepfeaturex.yaml", "--config", f"data_root={tmp_path}", "weights=none", "-n"]
    plan = call(clone, "snakemake", *arguments, "--workflow-profile", "profiles/local-gpu")
    assert plan.returncode == 0, plan.stderr
    assert re.search(r"^base +42$", plan.stdout, re.M), "three base models for each of 14 backbones"


def test_a_run_before_the_one_it_needs_names_it(clone: Path) -> None:
    out = "runs/early/complete/resnet18/seed0/notebook.ipynb"
    notebook = "notebooks/20_train_complete_model.ipynb"
    result = call(clone, sys.executable, "-m", "dfxlib", "execute", notebook, out, "-p", "run_root", "runs/early")
    assert result.returncode == 1
    assert "manifest.csv is missing; run 00_prepare_dataset first" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (clone / out).exists()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["data_root=nowhere"], "data root nowhere is missing; check data_root"),
        (["data_root=studies", "epoch=3"], "study key 'epoch' is unknown"),
    ],
)
def test_a_mistake_in_a_study_is_one_sentence_before_anything_runs(
    clone: Path, settings: list[str], sentence: str
) -> None:
    result = snakemake(clone, "--configfile", "studies/folders.yaml", "--config", "study=wrong", *settings)
    assert result.returncode != 0
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert not (clone / "runs" / "wrong").exists()


def test_an_empty_folder_is_told_with_the_tree_that_was_expected(clone: Path, tmp_path: Path) -> None:
    config = ["study=empty", f"data_root={tmp_path}"]
    result = snakemake(clone, "--configfile", "studies/folders.yaml", "--config", *config, "--", "manifest")
    assert result.returncode != 0
    assert "holds no image; expected ROOT/nature/architecture/image" in result.stderr
    assert not (clone / "runs" / "empty" / "manifest").exists() or not any(
        (clone / "runs" / "empty" / "manifest").iterdir()
    )


@pytest.mark.skipif(not REAL_IMAGES.is_dir(), reason="needs the folder of real images, which is no part of the product")
@pytest.mark.slow
def test_a_study_of_real_pictures_starts_from_weights_in_a_file_and_keeps_the_unseen_apart(
    clone: Path, tmp_path: Path
) -> None:
    """Notebooks 00 and 10, on every fourth picture; from there on a study of other images is as the smoke study."""
    pictures = sorted(path for path in REAL_IMAGES.rglob("*") if path.is_file())[::4]
    for picture in pictures:
        place = tmp_path / "pictures" / picture.relative_to(REAL_IMAGES)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, place)
    small = tmp_path / "small.yaml"
    small.write_text("base: {epochs: 1, batch_size: 32}\nimage_size: 32\nstem: imagenet\nresamples: 200\n")
    unseen = "cifar10_wgan_gp,cifar10_gan_r1,cifar10_edm"
    pretrained = tmp_path / "resnet18.pth"
    torch.save(resnet18().state_dict(), pretrained)
    config = ["study=cifar3", f"data_root={tmp_path / 'pictures'}", f"unseen={unseen}", f"weights={pretrained}"]
    files = ["--configfile", "studies/folders.yaml", str(small)]
    base = "runs/cifar3/base/resnet18/real/seed0"
    result = snakemake(clone, *files, "--config", *config, "--", f"{base}/.stamp")
    assert result.returncode == 0, result.stdout + result.stderr
    settings = json.loads((clone / base / "settings.json").read_text())
    assert settings["weights_sha256"] == sha256_file(pretrained), "a run says what it started from"
    run = clone / "runs" / "cifar3" / "manifest"
    manifest, _ = read_manifest(run / "manifest.csv")
    assert len(manifest) == len(pictures) and (manifest["problem"] == "").all()
    assert set(manifest.loc[manifest["split"] == "unseen", "architecture"]) == set(unseen.split(","))
    found = pd.read_csv(run / "tables" / "baselines.csv").set_index("method")
    assert found.loc["metadata", "value"] == pytest.approx(1 / 3, abs=0.02), "size and format say nothing here"
    assert found.loc["spectrum", "low"] > 0.6, "a linear spectrum finds traces in these images"
    assert found["low"].lt(found["high"] + 1e-12).all()
