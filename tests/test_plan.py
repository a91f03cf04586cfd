"""The plan of a study: every job counted, hours only where a speed was measured."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from dfxlib.__main__ import main
from dfxlib.plan import count_natures, describe_plan, plan_table, read_throughput

ROOT = Path(__file__).parents[1]


@pytest.fixture()
def study() -> dict:
    demo = yaml.safe_load((ROOT / "studies" / "demo.yaml").read_text())
    base = demo["base"] | {"epochs": 10}
    return demo | {"backbones": ["resnet18", "vit_b_16"], "seeds": [0, 1], "base": base, "conditions": ["raw", "j"]}


def test_every_job_is_counted(study: dict) -> None:
    table = plan_table(study, natures={}, throughput={})
    assert table.groupby("step")["jobs"].sum().to_dict() == {
        "manifest": 1, "base": 12, "complete": 4, "robustness": 4, "generalization": 4, "detection": 4, "baselines": 1,
        "report": 1,
    }  # fmt: skip
    assert table.loc[table["backbone"] != "", "gpu_hours"].isna().all()


def test_hours_are_images_over_the_measured_rates(study: dict) -> None:
    """1,000 images a nature, main share 0.5: 800 a base model, of which 640 train; rates chosen for whole numbers."""
    natures = dict.fromkeys(("dm_generated", "gan_generated", "real"), 1000)
    rates = {"resnet18": {"training": 64.0, "extraction": 20.0}}
    table = plan_table(study, natures=natures, throughput=rates).set_index(["backbone", "step"])["gpu_hours"]
    epoch = 3 * (640 / 64 + 160 / 60)
    expected = {
        "base": 10 * epoch,
        "complete": (1200 + 600) / 20,
        "robustness": 2 * 600 / 20,
        "generalization": 0,
        "detection": 0,
    }
    assert (table["resnet18"] * 3600 / 2).to_dict() == pytest.approx(expected)
    assert table["vit_b_16"].isna().all()


def test_variants_are_jobs_of_their_own(study: dict) -> None:
    """A head of another kind costs one extraction, other base models train again, a three-way one trains once."""
    changes = {"linear": {"complete": {"head": "linear"}}, "balanced": {"main_share": 0.25}}
    changes |= {"alone": {"task": "threeway", "train_on": "base+complete"}}
    natures = dict.fromkeys(("dm_generated", "gan_generated", "real"), 1000)
    rates = {"resnet18": {"training": 64.0, "extraction": 20.0}}
    table = plan_table(study | {"variants": changes}, natures=natures, throughput=rates)
    ours = table[table["backbone"] == "resnet18"].set_index("step")
    assert ours.loc[["variant linear", "variant balanced", "variant alone"], "jobs"].tolist() == [2, 8, 2]
    hours = ours["gpu_hours"]
    assert hours["variant linear"] == pytest.approx(hours["complete"])
    assert hours["variant balanced"] == pytest.approx(2 * hours["base"] + hours["complete"])
    trained = 10 * (0.8 * 2400 / 64 + 0.2 * 2400 / 60) + 600 / 60
    assert hours["variant alone"] * 3600 / 2 == pytest.approx(trained)


def test_a_record_of_another_input_size_measures_nothing(tmp_path: Path) -> None:
    record = tmp_path / "r.json"
    content = {"settings": {"image_size": 256}, "results": {"resnet18": {}}, "environment": {"device": "GPU X"}}
    record.write_text(json.dumps(content))
    assert read_throughput(record, image_size=256) == ({"resnet18": {}}, "GPU X at 256 px")
    assert read_throughput(record, image_size=64)[0] == {}
    assert read_throughput(tmp_path / "none.json", image_size=64) == ({}, "no record of throughput")


def test_images_are_counted_from_an_inventory_or_a_manifest(tmp_path: Path) -> None:
    paper = {"dm_generated": 15421, "gan_generated": 37572, "real": 19341}
    assert count_natures(ROOT / "data_manifests" / "deepfeaturex_inventory.csv") == paper
    pd.DataFrame({"path": ["a", "b", "c"], "nature": ["real", "real", "dm_generated"]}).to_csv(tmp_path / "m.csv")
    assert count_natures(tmp_path / "m.csv") == {"real": 2, "dm_generated": 1}
    (tmp_path / "x.csv").write_text("class\nreal\n")
    (tmp_path / "y.csv").write_text("nature,images\nreal,many\n")
    (tmp_path / "z.csv").write_bytes(b"\x89PNG\xff\x00")
    reasons = {"x": "no column nature", "y": "invalid literal", "z": "'utf-8' codec", "none": ".*No such file"}
    for name, reason in reasons.items():
        with pytest.raises(
            ValueError, match=rf"/{name}\.csv: {reason}.*; expected a manifest, or an inventory"
        ) as told:
            count_natures(tmp_path / f"{name}.csv")
        assert "\n" not in str(told.value)


def test_the_sentence_names_what_was_not_measured(study: dict) -> None:
    rates = {"resnet18": {"training": 1.0, "extraction": 1.0}}
    told = describe_plan(study, plan_table(study, natures={"real": 900}, throughput=rates), where="GPU X at 64 px")
    assert "study demo: 31 jobs, 4.0 GPU hours (speed: GPU X at 64 px); not measured: vit_b_16" in told
    assert told.count("not measured") == 6


def test_a_study_is_planned_without_its_images(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    content = (ROOT / "studies" / "folders.yaml").read_text().replace("study: folders", "study: unheard_of")
    (tmp_path / "s.yaml").write_text(content)
    assert main(["plan", str(tmp_path / "s.yaml")]) == 0
    told = capsys.readouterr().out
    assert "study unheard_of: 10 jobs" in told and "give --inventory" in told
    assert main(["plan", str(tmp_path / "none.yaml")]) == 2
