"""Balanced accuracy inside contents: by hand, and blind to what content alone tells."""

import numpy as np
import pandas as pd
import pytest
from samples import rows
from sklearn.metrics import balanced_accuracy_score

from dfxlib.measure.contents import MEAN, inside_contents, known_contents
from dfxlib.measure.scores import said_natures, score_table
from dfxlib.names import CLASSES

FEW = 50
CONTENTS = np.array(["face", "object", "scene"])


def judged(said: np.ndarray, images: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Scores whose argmax is `said`, as positions in CLASSES."""
    return score_table(images, 3.0 * np.eye(3)[said], temperature=1.0, backbone="tiny", seed=seed)


@pytest.fixture
def images() -> pd.DataFrame:
    """Faces are mostly of GANs, scenes mostly real: 300 images, a group each."""
    images, random = rows(300), np.random.default_rng(0)
    shares = {"dm_generated": [0.2, 0.6, 0.2], "gan_generated": [0.8, 0.1, 0.1], "real": [0.1, 0.2, 0.7]}
    return images.assign(content=[random.choice(CONTENTS, p=shares[nature]) for nature in images["nature"]])


def content_of(images: pd.DataFrame) -> pd.Series:
    return images.set_index("path")["content"]


def test_each_content_and_their_mean_are_as_by_hand(images: pd.DataFrame) -> None:
    table = judged(np.random.default_rng(1).integers(3, size=300), images)
    found = inside_contents({"ours": [table]}, content_of(images), resamples=FEW).set_index("content")
    said, by_hand = said_natures(table), []
    for content in CONTENTS:
        part = (images["content"] == content).to_numpy()
        by_hand.append(balanced_accuracy_score(images["nature"][part], said[part]))
        assert found.loc[content, "value"] == pytest.approx(by_hand[-1])
        assert found.loc[content, "images"] == part.sum()
    assert found.loc[MEAN, "value"] == pytest.approx(np.mean(by_hand)) and found.loc[MEAN, "images"] == 300
    assert (found["low"] < found["value"]).all() and (found["value"] < found["high"]).all()


def test_who_knows_content_alone_is_at_chance_inside_and_above_it_overall(images: pd.DataFrame) -> None:
    guess = images["content"].map({"face": 1, "object": 0, "scene": 2}).to_numpy()
    table = judged(guess, images)
    assert balanced_accuracy_score(images["nature"], said_natures(table)) > 0.6
    found = inside_contents({"ours": [table]}, content_of(images), resamples=FEW)
    assert found["value"].to_numpy() == pytest.approx(1 / 3)


def test_a_difference_is_paired_and_counts_only_what_both_scored(images: pd.DataFrame) -> None:
    truth = images["nature"].map({n: place for place, n in enumerate(CLASSES)}).to_numpy()
    better = [judged(truth, images, seed=seed) for seed in (0, 1)]
    half = images.iloc[:150]
    methods = {"ours": better, "same": list(better), "other": [judged(np.zeros(150, dtype=int), half)]}
    found = inside_contents(methods, content_of(images), resamples=FEW)
    mean = found[found["content"] == MEAN].set_index("method")
    assert mean.loc["same", "minus"] == 0 and mean.loc["other", "images"] == 150
    assert mean.loc["other", "minus"] == pytest.approx(2 / 3)
    assert mean.loc["other", "minus_low"] > 0 and np.isnan(mean.loc["ours", "minus"])


def test_contents_that_lack_a_nature_or_a_name_say_nothing(images: pd.DataFrame) -> None:
    lacking = images[(images["content"] != "face") | (images["nature"] != "real")]
    lacking = lacking.assign(content=lacking["content"].replace("scene", "unknown"))
    assert known_contents(lacking) == ["object"]
    table = judged(np.zeros(len(lacking), dtype=int), lacking)
    assert inside_contents({"ours": [table]}, content_of(lacking), resamples=FEW).empty, "one is no comparison"
