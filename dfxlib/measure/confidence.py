"""Whether stated confidence can be believed: before and after temperature, and with the band of "unsure"."""

import numpy as np
import pandas as pd

from dfxlib.measure import stats
from dfxlib.measure.intervals import loss_interval
from dfxlib.measure.scores import LOGITS, class_index, named, never_said
from dfxlib.names import CLASSES


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


def unsure_table(scores: pd.DataFrame, calibration: dict, *, resamples: int = 2000) -> pd.DataFrame:
    """What the frozen band of "unsure" gives, by split: coverage, and the errors that were promised to be few.

    Fake from `unsure_high` on, real below `unsure_low`. `real called fake` and `fake called real`
    are shares of all real images and of all fakes: the two that the band promises. All are
    undefined for a model without a band, and errors of a verdict that is never said: zero of them
    would look like a promise kept. `never said` names it.
    """
    draws = stats.resample_clusters(scores["group"].to_numpy(), resamples=resamples)
    p_fake, is_fake = scores["p_fake"].to_numpy(), (scores["nature"] != "real").to_numpy()
    has_band = "unsure_low" in calibration
    never = never_said(calibration)
    fake = p_fake >= calibration.get("unsure_high", np.inf)
    real = p_fake < calibration.get("unsure_low", -np.inf)
    decided, wrong = fake | real, (fake & ~is_fake) | (real & is_fake)
    rows = []
    for split in pd.unique(scores["split"]):
        here = (scores["split"] == split).to_numpy() & has_band
        measures = {
            "decided": (decided, here),
            "wrong among the decided": (wrong, here & decided & (not never)),
            "real called fake": (fake, here & ~is_fake & ("fake" not in never)),
            "fake called real": (real, here & is_fake & ("real" not in never)),
        }
        for metric, (hit, among) in measures.items():
            promised = calibration.get("unsure_error", np.nan) if "called" in metric else np.nan
            value = named("value", stats.rate_interval(hit, among, draws))
            rows.append({"split": split, "metric": metric, **value, "promised": promised, "images": int(among.sum())})
    return pd.DataFrame(rows).assign(**{"never said": never})


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
