"""Other people's detectors: scores that are read and checked, and stand beside ours."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from samples import rows
from test_scores import logits_for

from dfxlib.measure.compare import OURS, SEEDS
from dfxlib.measure.external import compare_detectors, is_three_way, raw_scores, read_detectors
from dfxlib.measure.scores import LOGITS, PROBABILITIES, SCORE_COLUMNS, score_table
from dfxlib.measure.stats import mcnemar


@pytest.fixture()
def manifest() -> pd.DataFrame:
    table = rows(90).assign(source="")
    return table.assign(split=np.repeat(["complete_train", "test", "unseen"], [15, 60, 15]))


def written(folder: Path, table: pd.DataFrame, name: str = "d.csv") -> dict[str, str]:
    table.to_csv(folder / name, index=False)
    return {"theirs": str(folder / name)}


def binary(manifest: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """A detector's file: the images of test and unseen in another order, with p_fake."""
    tested = manifest[manifest["split"].isin(["test", "unseen"])].sample(frac=1, random_state=seed)
    fake = (tested["nature"] != "real").to_numpy()
    random = np.random.default_rng(seed).random(len(tested))
    return tested[["path"]].assign(p_fake=(random + fake) / 2)


def test_scores_are_matched_by_name_or_checksum_and_stand_in_the_manifests_order(
    manifest: pd.DataFrame, tmp_path: Path
) -> None:
    table = binary(manifest)
    by_name = read_detectors(written(tmp_path, table), manifest)["theirs"]
    assert list(by_name) == [*SCORE_COLUMNS, "source"] and set(by_name["variant"]) == {"theirs"}
    tested = manifest[manifest["split"] != "complete_train"]
    assert by_name["path"].tolist() == tested["path"].tolist()
    expected = table.set_index("path").loc[tested["path"], "p_fake"]
    np.testing.assert_allclose(by_name["p_fake"], expected)
    by_sum = table.merge(manifest[["path", "sha256"]])[["sha256", "p_fake"]]
    by_sum["sha256"] = by_sum["sha256"].str.upper()
    dotted = table.assign(path="./" + table["path"])
    pd.testing.assert_frame_equal(read_detectors(written(tmp_path, dotted), manifest)["theirs"], by_name)
    pd.testing.assert_frame_equal(read_detectors(written(tmp_path, by_sum), manifest)["theirs"], by_name)


def test_an_excluded_copy_of_a_tested_file_is_no_image_of_another_part(manifest: pd.DataFrame, tmp_path: Path) -> None:
    copy = manifest[manifest["split"] == "test"].head(1).assign(path="copy.png", split="excluded")
    table = binary(manifest).merge(manifest[["path", "sha256"]])[["sha256", "p_fake"]]
    found = read_detectors(written(tmp_path, table), pd.concat([manifest, copy], ignore_index=True))["theirs"]
    assert "copy.png" not in set(found["path"]) and len(found) == len(table)


def test_a_detector_of_two_classes_has_no_three_way_verdict(manifest: pd.DataFrame, tmp_path: Path) -> None:
    scores = read_detectors(written(tmp_path, binary(manifest)), manifest)["theirs"]
    assert not is_three_way(scores) and scores[LOGITS].isna().all(axis=None)
    assert scores[["p_dm", "p_gan"]].isna().all(axis=None)


def test_of_three_probabilities_the_verdict_is_the_largest(manifest: pd.DataFrame, tmp_path: Path) -> None:
    table = binary(manifest).assign(p_real=lambda t: 1 - t["p_fake"], p_dm=lambda t: t["p_fake"], p_gan=0.0)
    scores = read_detectors(written(tmp_path, table), manifest)["theirs"]
    assert is_three_way(scores) and np.isfinite(scores[LOGITS]).all(axis=None)
    largest = scores[PROBABILITIES].to_numpy().argmax(axis=1)
    np.testing.assert_array_equal(scores[LOGITS].to_numpy().argmax(axis=1), largest)


FAULTS = {
    "no file": (lambda table, _: None, FileNotFoundError, "are missing: no file .*check `external`"),
    "no scores": (lambda table, _: table[["path"]], ValueError, "columns path; expected path or sha256, and p_fake"),
    "a logit": (lambda table, _: table.assign(p_fake=3.5), ValueError, "p_fake of .* is '3.5'; expected a probability"),
    "a word": (lambda table, _: table.assign(p_fake="fake"), ValueError, "p_fake of .* is 'fake'; expected a prob"),
    "an unknown image": (
        lambda table, _: pd.concat([table, pd.DataFrame({"path": ["x.png"], "p_fake": [0.5]})]),
        ValueError,
        r"1 images are not in the manifest, first x.png; it has \S+/000000.png",
    ),
    "another split": (
        lambda table, manifest: pd.concat([table, manifest[["path"]].head(1).assign(p_fake=0.1)]),
        ValueError,
        r"1 images are of other parts than test and unseen, first \S+/000000.png of complete_train",
    ),
    "twice": (lambda table, _: pd.concat([table, table.head(1)]), ValueError, "png is scored twice"),
    "one left out": (lambda table, m: table[table["path"] != m["path"].iloc[20]], ValueError, "1 of 60 test images"),
    "one unseen": (lambda table, m: table[table["path"] != m["path"].iloc[-1]], ValueError, "1 of 15 unseen images"),
    "two of three": (lambda table, _: table.assign(p_dm=0.1), ValueError, "has p_dm, p_fake; expected p_fake alone"),
    "an unknown condition": (
        lambda table, _: pd.concat([table, table.assign(condition="jepg_q9")]).fillna({"condition": "raw"}),
        ValueError,
        "condition .*'jepg_q9'",
    ),
    "no raw image": (lambda table, _: table.assign(condition="web"), ValueError, "conditions lack 'raw'"),
    "no sum": (
        lambda table, _: table.assign(p_dm=0.9, p_gan=0.9, p_real=0.9),
        ValueError,
        "do not sum to one, p_fake to p_dm",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_sentence_with_the_image(fault: str, manifest: pd.DataFrame, tmp_path: Path) -> None:
    spoil, kind, told = FAULTS[fault]
    table = spoil(binary(manifest), manifest)
    files = {"theirs": str(tmp_path / "d.csv")} if table is None else written(tmp_path, table)
    with pytest.raises(kind, match=f"^scores of theirs .*{told}") as caught:
        read_detectors(files, manifest)
    assert "\n" not in str(caught.value)


def test_no_unseen_image_at_all_may_be_left_out_and_conditions_are_apart(
    manifest: pd.DataFrame, tmp_path: Path
) -> None:
    test = binary(manifest).merge(manifest.loc[manifest["split"] == "test", ["path"]])
    both = pd.concat([test.assign(condition="raw"), test.assign(condition="web", p_fake=0.5)])
    scores = read_detectors(written(tmp_path, both), manifest)
    assert scores["theirs"]["condition"].tolist() == ["raw"] * 60 + ["web"] * 60
    assert len(raw_scores(scores)["theirs"]) == 60


def test_detectors_stand_beside_ours_with_decisions_by_task(manifest: pd.DataFrame, tmp_path: Path) -> None:
    files = written(tmp_path, binary(manifest), "two.csv")
    three = binary(manifest, seed=1).assign(p_real=lambda t: 1 - t["p_fake"], p_dm=lambda t: t["p_fake"], p_gan=0.0)
    three.to_csv(tmp_path / "three.csv", index=False)
    detectors = read_detectors(files | {"of three": str(tmp_path / "three.csv")}, manifest)
    test = manifest[manifest["split"] == "test"]
    how = {"temperature": 1.0, "backbone": "resnet18"}
    ours = [score_table(test, logits_for(test, skill=3, seed=s), seed=s, **how) for s in range(SEEDS)]
    ours = [table.sort_values("path", ignore_index=True) for table in ours]
    methods, differences = compare_detectors({"resnet18": ours}, detectors, resamples=100)
    found = methods.set_index(["task", "method"])["value"]
    assert set(found.index) == {
        *(("fake or real", name) for name in (f"{OURS} (resnet18)", "theirs", "of three")),
        *(("three-way", name) for name in (f"{OURS} (resnet18)", "of three")),
    }
    theirs = detectors["theirs"].query("split == 'test'").sort_values("path")
    fake = (theirs["nature"] != "real").to_numpy()
    called = (theirs["p_fake"] > 0.5).to_numpy()
    assert found["fake or real", "theirs"] == pytest.approx((called[fake].mean() + (~called[~fake]).mean()) / 2)
    row = differences.set_index(["task", "method"]).loc["fake or real", "theirs"]
    right = ours[0]["p_fake"].gt(0.5).to_numpy() == fake
    assert row["mcnemar_p"] == pytest.approx(mcnemar(right, called == fake))
    assert len(differences) == 3 and differences["p_holm"].notna().all() and set(differences["seeds"]) == {SEEDS}


def test_the_example_of_the_documentation_turns_a_public_detectors_table_into_scores(
    manifest: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table as ClipBased-SyntheticImageDetection writes it: filename, a column a model, and their fusion as LLR."""
    page = (Path(__file__).parents[1] / "docs" / "detectors.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.S)
    paths = manifest.loc[manifest["split"] != "complete_train", "path"]
    ratios = np.random.default_rng(0).normal(scale=5, size=len(paths))
    theirs = pd.DataFrame({"filename": paths, "clipdet_latent10k_plus": ratios, "Corvi2023": ratios, "fusion": ratios})
    theirs.to_csv(tmp_path / "results.csv", index=False)
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    scores = read_detectors({"clipdet": str(tmp_path / "clipdet.csv")}, manifest)["clipdet"]
    np.testing.assert_array_equal(scores["p_fake"] > 0.5, ratios > 0)
