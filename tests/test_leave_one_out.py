"""Heads without one generator: what was left out has no influence, and the matrix says which pairs that are."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from samples import rows
from sklearn.metrics import roc_auc_score
from test_scores import CALIBRATION, scores

from dfxlib.measure.generators import by_architecture, generator_names
from dfxlib.measure.leave_one_out import NOTHING, leave_one_out, matrix, met_relatives, what_it_costs
from dfxlib.plots.results import plot_leave_one_out

SPLITS = ("base_train", "complete_train", "complete_select", "test")


@pytest.fixture()
def images() -> pd.DataFrame:
    table = rows(720, architectures=2)
    table = table.assign(split=np.array(SPLITS)[np.arange(720) // 6 % 4])
    new = (table["architecture"] == "gan_generated_1") & table["split"].isin(SPLITS[:3])
    table.loc[new, "split"] = "excluded"
    return table.assign(split=table["split"].mask(table["architecture"] == "gan_generated_1", "unseen"))


def features_of(images: pd.DataFrame, *, seed: int = 0) -> np.ndarray:
    """Every generator has a trace of its own, and all share a weak one."""
    names = sorted(set(images["architecture"]))
    own = np.eye(len(names))[[names.index(name) for name in images["architecture"]]]
    fake = (images["nature"] != "real").to_numpy()[:, None]
    noise = np.random.default_rng(seed).normal(size=(len(images), len(names) + 3))
    return (noise + np.hstack([3 * own * fake, 0.5 * fake * np.ones((len(images), 3))])).astype(np.float32)


def test_a_head_is_worse_at_what_it_never_met_and_as_good_at_the_rest(images: pd.DataFrame) -> None:
    features = features_of(images)
    scores = leave_one_out(features, images)
    assert list(scores) == [NOTHING, "dm_generated_0", "dm_generated_1", "gan_generated_0"]
    assert scores.index.equals(images.index[images["split"].isin(["test", "unseen"])])
    table = matrix(scores, images, resamples=20)
    cells = table.set_index(["without", "tested_on"])["auc"]
    for name in list(scores)[1:]:
        assert cells[name, name] < cells[NOTHING, name] - 0.05
    assert cells["dm_generated_0", "gan_generated_0"] == pytest.approx(cells[NOTHING, "gan_generated_0"], abs=0.05)
    tested = images.loc[scores.index]
    shown = (tested["architecture"] == "gan_generated_0") | ((tested["nature"] == "real") & (tested["split"] == "test"))
    expected = roc_auc_score((tested["nature"] != "real")[shown], scores["dm_generated_0"][shown])
    assert cells["dm_generated_0", "gan_generated_0"] == pytest.approx(expected, abs=1e-6)


def test_pictures_of_a_generator_that_was_left_out_change_nothing_in_its_head(images: pd.DataFrame) -> None:
    features = features_of(images)
    other = features.copy()
    own = ((images["architecture"] == "dm_generated_1") & images["split"].isin(SPLITS[:3])).to_numpy()
    other[own] += 100 * np.random.default_rng(1).normal(size=(own.sum(), features.shape[1]))
    before, after = leave_one_out(features, images), leave_one_out(other, images)
    np.testing.assert_allclose(before["dm_generated_1"], after["dm_generated_1"], rtol=1e-5, atol=1e-6)
    assert np.abs(before[NOTHING] - after[NOTHING]).max() > 0.01


def test_what_it_costs_has_both_heads_of_each_generator_that_trains(images: pd.DataFrame) -> None:
    table = matrix(leave_one_out(features_of(images), images), images, resamples=20)
    costs = what_it_costs(table).set_index("generator")
    assert set(costs.index) == {"dm_generated_0", "dm_generated_1", "gan_generated_0"}, "an unseen one is always new"
    cells = table.set_index(["without", "tested_on"])["auc"]
    row = costs.loc["dm_generated_1"]
    assert row["lost"] == pytest.approx(cells[NOTHING, "dm_generated_1"] - cells["dm_generated_1", "dm_generated_1"])
    assert costs["auc"].is_monotonic_increasing


def test_two_natures_that_share_a_name_are_two_generators(images: pd.DataFrame) -> None:
    """`gan_generated/faces` is not `dm_generated/faces`; a source of real photographs called so is no generator."""
    features = features_of(images)
    plain = matrix(leave_one_out(features, images), images, resamples=20)
    same = images["architecture"].isin(["dm_generated_0", "gan_generated_0", "real_0"])
    shared = images.assign(architecture=images["architecture"].mask(same, "faces"))
    table = matrix(leave_one_out(features, shared), shared, resamples=20)
    names = {"dm_generated_0": "faces (dm_generated)", "gan_generated_0": "faces (gan_generated)"}
    key = ["without", "tested_on"]
    expected = plain.replace({"without": names, "tested_on": names})
    pd.testing.assert_frame_equal(table.set_index(key).sort_index(), expected.set_index(key).sort_index())
    costs = what_it_costs(table)
    assert sorted(costs["generator"]) == ["dm_generated_1", *sorted(names.values())]
    assert costs["nature"].tolist() == what_it_costs(plain)["nature"].tolist()
    framed = plot_leave_one_out(table).axes[0].patches
    assert len(framed) == (~plain["met"]).sum()
    plt.close("all")


def test_what_a_data_set_only_tests_was_met_by_no_head(images: pd.DataFrame) -> None:
    """Its images stand in the test part, as declared; no generator of that name trains."""
    declared = images.assign(split=images["split"].replace("unseen", "test"))
    features = features_of(images)
    table, named = (matrix(leave_one_out(features, each), each, resamples=20) for each in (declared, images))
    only = table["tested_on"] == "gan_generated_1"
    assert not table.loc[only, "met"].any() and set(table.loc[only, "split"]) == {"unseen"}
    assert table["met"].tolist() == named["met"].tolist()
    assert "gan_generated_1" not in set(what_it_costs(table)["generator"])


def test_a_head_whose_training_has_a_relative_of_what_was_left_out_is_told(images: pd.DataFrame) -> None:
    families = {"dm_generated_0": "A", "dm_generated_1": "B", "gan_generated_0": "A", "gan_generated_1": "B"}
    own = images.assign(family=images["architecture"].map(families).fillna(""))
    assert met_relatives(own) == [
        f"The head without {one} has met {two}, a relative (family A): {one} is less new to it than it looks."
        for one, two in (("dm_generated_0", "gan_generated_0"), ("gan_generated_0", "dm_generated_0"))
    ], "the other of B is unseen, and trains no head"
    assert met_relatives(own.assign(family="")) == [], "nobody knows of a family"


def test_one_generator_cannot_be_left_out(images: pd.DataFrame) -> None:
    single = images[(images["nature"] == "real") | (images["architecture"] == "dm_generated_0")]
    with pytest.raises(ValueError, match="1 generators train; a head without one of them needs two, and real images"):
        leave_one_out(features_of(single), single)


@pytest.mark.parametrize(
    ("twin", "held_out"), [("gan_b", ["dm_a"]), ("dm_a", ["dm_a (dm_generated)", "dm_a (gan_generated)"])]
)
def test_the_example_of_the_documentation_joins_studies_to_the_matrix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twin: str, held_out: list[str]
) -> None:
    """Three studies on the same images, as notebook 40 leaves them; one of their generators never trains.

    Where two natures share a name, a study without that name holds out both.
    """
    page = (Path(__file__).parents[1] / "docs" / "running.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.S)
    names = {"gan_generated_0": "gan_a", "dm_generated_0": "dm_a", "dm_generated_1": "dm_b", "gan_generated_1": twin}
    images = scores(300, skill=1.0).replace({"architecture": names})
    areas = {}
    for left, study in {NOTHING: "mine", "gan_a": "mine_without_gan_a", "dm_a": "mine_without_dm_a"}.items():
        own = images.assign(split=images["split"].mask(images["architecture"].isin([left, "dm_b"]), "unseen"))
        own.loc[own["architecture"] == left, "p_fake"] /= 2  # what was left out is found less often
        folder = tmp_path / "runs" / study / "generalization" / "resnet18" / "seed0" / "tables"
        folder.mkdir(parents=True)
        table = by_architecture(own, CALIBRATION, resamples=20)
        table.to_csv(folder / "by_architecture.csv", index=False)
        areas[left] = table.set_index(generator_names(table))["auc"]
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    pairs = pd.read_csv("leave_one_out.csv").set_index(["without", "tested_on"])
    assert pairs.loc[("gan_a", held_out[0]), "auc"] == pytest.approx(areas["gan_a"][held_out[0]])
    assert set(pairs[~pairs["met"]].index) == {
        *(("gan_a", "gan_a"), *(("dm_a", name) for name in held_out), *((left, "dm_b") for left in areas))
    }
    lost = pd.read_csv("lost.csv").set_index("generator")
    assert sorted(lost.index) == [*held_out, "gan_a"]
    for name in held_out:
        assert lost.loc[name, "lost"] == pytest.approx(areas[NOTHING][name] - areas["dm_a"][name])
    assert plt.imread("leave_one_out.png").ndim == 3
    plt.close("all")
