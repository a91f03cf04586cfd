"""Whether stated confidence can be believed: before and after temperature, and what the band of "unsure" gave."""

import numpy as np
import pandas as pd

from dfxlib.measure import stats
from dfxlib.measure.band import PROMISES, UNSURE_ERROR, abstain_band
from dfxlib.measure.cuts import never_said
from dfxlib.measure.intervals import interval, loss_interval
from dfxlib.measure.scores import LOGITS, class_index, held_out_fake_scores, named
from dfxlib.names import CLASSES

#: The metric of `unsure_table` that comes from features; scores have all others.
UNLIKE = "unlike the training data"

_ERRORS = (0.01, 0.02, UNSURE_ERROR, 0.1, 0.15, 0.2)  # that bands could promise, beside the one that they do


def proper_scores(scores: pd.DataFrame, calibration: dict, *, resamples: int = 2000) -> pd.DataFrame:
    """Log loss [nats], Brier score and ECE, before and after temperature scaling, by split.

    `three-way`: of the three classes, where the nature is one of them. `fake or real`: of p_fake,
    on all images; its Brier score is the mean of (p_fake - truth) squared. ECE (15 bins) has no
    interval, since resampling inflates it.
    """
    draws = stats.resample_clusters(scores["group"].to_numpy(), resamples=resamples)
    rows = []
    for temperature, task, p, truth in _readings(scores, calibration):
        for split in pd.unique(scores["split"]):
            among = (truth >= 0) & (scores["split"] == split).to_numpy()
            losses = {"log loss": _log_losses(p, truth), "Brier score": _brier_scores(p, truth)}
            found = {metric: loss_interval(stats.rate(loss, among, draws)) for metric, loss in losses.items()}
            ece = stats.calibration_error(p[among].max(axis=1), p[among].argmax(axis=1) == truth[among])
            found["ECE"] = (ece, np.nan, np.nan)
            facts = {"split": split, "task": task, "temperature": temperature, "images": int(among.sum())}
            rows += [facts | {"metric": metric} | named("value", value) for metric, value in found.items()]
    return pd.DataFrame(rows)


def _log_losses(p: np.ndarray, truth: np.ndarray) -> np.ndarray:  # [N, K], [N] -> [N]
    """Log loss of each image; that of a row without a truth (-1) means nothing and is left out of every mean."""
    said = p[np.arange(len(p)), np.maximum(truth, 0)]
    return -np.log(np.maximum(said, np.finfo(float).tiny))


def _brier_scores(p: np.ndarray, truth: np.ndarray) -> np.ndarray:  # [N, K], [N] -> [N]
    """Sum over the classes; of two classes, whose errors are the same, that of one of them."""
    errors = ((p - np.eye(p.shape[1])[np.maximum(truth, 0)]) ** 2).sum(axis=1)
    return errors / 2 if p.shape[1] == 2 else errors


def reliability_table(scores: pd.DataFrame, calibration: dict) -> pd.DataFrame:
    """The three-way reliability curve by split, before and after: a row a bin with its images."""
    rows = []
    for temperature, task, p, truth in _readings(scores, calibration):
        for split in pd.unique(scores["split"]):
            among = (truth >= 0) & (scores["split"] == split).to_numpy()
            if task == "three-way" and among.any():
                curve = stats.reliability(p[among].max(axis=1), p[among].argmax(axis=1) == truth[among])
                rows += [(split, temperature, said, was, int(images)) for said, was, images in curve.T]
    return pd.DataFrame(rows, columns=["split", "temperature", "confidence", "accuracy", "images"])


def _promise_of(calibration: dict) -> dict:
    return {"promised": calibration.get("unsure_error", np.nan), "promise": calibration.get("unsure_promise", "")}


def unsure_table(
    scores: pd.DataFrame,
    calibration: dict,
    unlike: np.ndarray | None,  # [N] 1: `detect` would call it unlike the training data; 0: not; NaN: unknown
    *,
    by: str = "split",  # column of the scores; `condition` of perturbed images
    resamples: int = 2000,
) -> pd.DataFrame:
    """What the frozen band of "unsure" gives, by split or condition, and what it promised.

    Nothing was promised of `unseen` images. Fake from `unsure_high` on, real below `unsure_low`. `real called fake`
    and `fake called real` are shares of all real images and of all fakes: the two risks that the band promises,
    whatever the prevalence. `wrong among called fake` (real) is the share of mistakes among the images that are
    called so, a quantity of its own which nothing promises: it depends on the `prevalence` of fakes, here and where
    half of all images are fakes. `unlike the training data` are images that `detect` would leave unsure for that
    reason; the other rows are without that rule. Features tell them: from scores alone, `unlike` None, there is no
    such row.

    All are undefined for a model without a band, and mistakes of a verdict that is never said:
    zero of them would look like a promise kept. `never said` names it.
    """
    draws = stats.resample_clusters(scores["group"].to_numpy(), resamples=resamples)
    p_fake, is_fake = scores["p_fake"].to_numpy(), (scores["nature"] != "real").to_numpy()
    called = {
        "fake": p_fake >= calibration.get("unsure_high", np.inf),
        "real": p_fake < calibration.get("unsure_low", -np.inf),
    }
    never, rows = never_said(calibration), []
    for place in pd.unique(scores[by]):
        here = (scores[by] == place).to_numpy()
        banded = here & ("unsure_low" in calibration)
        rows.append({by: place, "metric": "decided"} | _share(called["fake"] | called["real"], banded, draws))
        prevalence = float(is_fake[here].mean())
        promised = {} if place == "unseen" else _promise_of(calibration)
        for said, truth, wrong in (("fake", "real", ~is_fake), ("real", "fake", is_fake)):
            among = banded & wrong & (said not in never)
            rows.append({by: place, "metric": f"{truth} called {said}"} | _share(called[said], among, draws) | promised)
            for how, found in _wrong_among(called[said], wrong, banded, prevalence, draws).items():
                rows.append({by: place, "metric": f"wrong among called {said}{how}"} | found)
        if unlike is None:
            continue
        known = here & np.isfinite(unlike)
        rows.append({by: place, "metric": UNLIKE} | _share(np.nan_to_num(unlike), known, draws))
    order = [by, "metric", "prevalence", "value", "value_low", "value_high", "promised", "promise", "images"]
    return pd.DataFrame(rows).reindex(columns=order).fillna({"promise": ""}).assign(**{"never said": never})


def _share(hit: np.ndarray, among: np.ndarray, draws: stats.Resamples) -> dict:
    return named("value", stats.rate_interval(hit, among, draws)) | {"images": int(among.sum())}


def _wrong_among(
    called: np.ndarray, wrong: np.ndarray, here: np.ndarray, prevalence: float, draws: stats.Resamples
) -> dict[str, dict]:
    """Share of mistakes among what is `called` so, at the `prevalence` of fakes `here` and at one half.

    `wrong` [N] marks the class of which the verdict is a mistake.
    """
    both = called & here & (0 < prevalence < 1)  # without one of the classes there is no mistake, or nothing else
    mistakes, hits = (stats.rate(called, here & side, draws) for side in (wrong, ~wrong))  # [R + 1] each, of its class
    half = np.divide(mistakes, mistakes + hits, out=np.full_like(hits, np.nan), where=mistakes + hits > 0)
    even = named("value", interval(half, clusters=stats.clusters_of([both], draws)))
    own = {"prevalence": prevalence} | _share(wrong, both, draws)
    return {"": own, " at one half": own | {"prevalence": 0.5} | even}


def trade_table(
    logits: np.ndarray, rows: pd.DataFrame, scores: pd.DataFrame, calibration: dict, *, resamples: int = 2000
) -> pd.DataFrame:
    """What promises cost: `unsure_table` of the test part's `scores` for several errors, under both promises.

    The bands come from complete_calibrate alone, from its logits [n, 3] and manifest rows; the one that the model
    travels with is `frozen`.
    """
    held_out = held_out_fake_scores(logits, rows)
    is_fake, groups = (rows["nature"] != "real").to_numpy(), rows["group"].to_numpy()
    tables = []
    for promise, confidence in PROMISES.items():
        for error in _ERRORS:
            low, high = abstain_band(held_out, is_fake, groups, error=error, confidence=confidence)
            band = {"unsure_low": low, "unsure_high": high, "unsure_error": error, "unsure_promise": promise}
            found = unsure_table(scores, band, None, resamples=resamples).assign(promised=error, promise=promise)
            tables.append(found.assign(frozen=error == UNSURE_ERROR and promise == calibration["unsure_promise"]))
    return pd.concat(tables, ignore_index=True)


def _readings(scores: pd.DataFrame, calibration: dict) -> list[tuple[str, str, np.ndarray, np.ndarray]]:
    """(temperature, task, probabilities [N, K], truth [N] or -1 where the task has none)."""
    known, is_real = scores["nature"].isin(CLASSES).to_numpy(), (scores["nature"] == "real").to_numpy()
    truth = np.full(len(scores), -1)
    truth[known] = class_index(scores["nature"][known])
    readings = []
    for name, temperature in {"before": 1.0, "after": calibration["temperature"]}.items():
        p = stats.probabilities(scores[LOGITS].to_numpy(dtype=np.float64), temperature=temperature)
        p_real = p[:, CLASSES.index("real")]
        readings.append((name, "three-way", p, truth))
        readings.append((name, "fake or real", np.stack([1 - p_real, p_real], axis=1), is_real.astype(int)))
    return readings
