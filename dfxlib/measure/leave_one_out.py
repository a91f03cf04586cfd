"""Leave one generator out: linear heads on features that nobody fine-tuned, each without one generator.

A head on base models that saw a generator leaves nothing out; untouched ImageNet features saw none of them. Full
training without a generator is a study of its own, with that name under `unseen`.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.linalg import solve

from dfxlib.measure import stats
from dfxlib.measure.generators import by_training, generator_names, shared_reals
from dfxlib.measure.intervals import area_interval
from dfxlib.measure.scores import named
from dfxlib.names import FITTED_SPLITS

#: The head that nothing was left out of.
NOTHING = "nothing"

#: Ridge penalties that are tried, in units of the mean eigenvalue of the features' covariance.
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)


def leave_one_out(
    features: np.ndarray,  # [N, D] of a network that was never fine-tuned
    rows: pd.DataFrame,  # [N] manifest rows
) -> pd.DataFrame:  # index: tested rows of `rows`; columns: the name left out, NOTHING first
    """Fake scores of the test and unseen images by a linear head for every generator that trains, without it.

    A head is a ridge regression of fake against real, both sides of equal weight, on features of `base_train` and
    `complete_train`, standardised by the real ones among them: no fake has a say in another's head. Its penalty is
    that of largest AUC on `complete_select`, where the generator is left out as well. Sums over the images of each
    generator are taken once and put together, so that a further head costs one solution of D equations a penalty.
    Raises ValueError where fewer than two generators train.
    """
    fitted = rows["split"].isin(FITTED_SPLITS).to_numpy()
    fake, name = (rows["nature"] != "real").to_numpy(), generator_names(rows).to_numpy()
    generators = sorted(set(name[fitted & fake]))
    if len(generators) < 2 or not (fitted & ~fake).any():
        raise ValueError(f"{len(generators)} generators train; a head without one of them needs two, and real images")
    plain = features[fitted & ~fake]
    mean, spread = plain.mean(axis=0, dtype=np.float64), plain.std(axis=0, dtype=np.float64)
    standard = ((features - mean) / np.maximum(spread, 1e-6)).astype(np.float32)
    sums = {own: _sums(standard[fitted & (name == own)]) for own in generators}
    real = _sums(standard[fitted & ~fake])
    select = (rows["split"] == "complete_select").to_numpy()
    tested = rows["split"].isin(("test", "unseen")).to_numpy()
    scores = {}
    for left in (NOTHING, *generators):
        kept = [own for key, own in sums.items() if key != left]
        fakes = tuple(sum(part) for part in zip(*kept))
        chosen = select & (name != left)
        heads = list(_heads(fakes, real))
        areas = [_area(standard[chosen] @ head, fake[chosen]) for head in heads]
        scores[left] = standard[tested] @ heads[int(np.argmax(areas))]
    return pd.DataFrame(scores, index=rows.index[tested])


def _sums(part: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:  # [n, D] -> images, sum [D], products [D, D]
    return len(part), part.sum(axis=0, dtype=np.float64), (part.T @ part).astype(np.float64)


def _heads(fakes: tuple, reals: tuple) -> Iterator[np.ndarray]:  # [D] float32, one a penalty
    (mean_fake, second_fake), (mean_real, second_real) = (
        (side[1] / side[0], side[2] / side[0]) for side in (fakes, reals)
    )
    middle = (mean_fake + mean_real) / 2
    covariance = (second_fake + second_real) / 2 - np.outer(middle, middle)
    ridge = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    for penalty in PENALTIES:
        yield solve(covariance + penalty * ridge, mean_fake - mean_real, assume_a="pos").astype(np.float32)


def _area(score: np.ndarray, fake: np.ndarray) -> float:
    """AUC on the images as they are; 0.5 where a side is absent, which prefers no penalty."""
    if fake.all() or not fake.any():
        return 0.5
    draws = stats.resample_clusters(np.arange(len(score)), resamples=0)
    return float(stats.auc(score, fake, np.ones(len(score), dtype=bool), draws)[0])


def matrix(
    scores: pd.DataFrame,  # of `leave_one_out`
    rows: pd.DataFrame,  # the manifest's
    *,
    resamples: int = 2000,
) -> pd.DataFrame:  # without, tested_on, nature, split, auc, auc_low, auc_high, images, met
    """AUC of every head on every generator against the real test images; a row a pair.

    `met` says whether the generator trained the head: neither what was left out did, nor what is unseen, nor what a
    data set's own splits only test.
    """
    tested = by_training(rows.loc[scores.index], rows).assign(name=generator_names(rows))
    draws = stats.resample_clusters(tested["group"].to_numpy(), resamples=resamples)
    reals = shared_reals(tested)
    generators = tested[tested["name"] != ""].drop_duplicates("name").sort_values(["split", "nature", "name"])
    masks = [(tested["name"] == name).to_numpy() for name in generators["name"]]
    sizes = np.minimum(stats.clusters_of(masks, draws), stats.clusters_of([reals], draws))
    found = []
    for left in scores:
        areas = stats.ranking(scores[left].to_numpy(), masks, reals, draws)
        for one, mask, size, metrics in zip(generators.itertuples(), masks, sizes, areas):
            row = {"without": left, "tested_on": one.name, "nature": one.nature, "split": one.split}
            row |= named("auc", area_interval(metrics["auc"], clusters=size))
            found.append(row | {"images": int(mask.sum()), "met": one.split != "unseen" and one.name != left})
    return pd.DataFrame(found)


def what_it_costs(table: pd.DataFrame) -> pd.DataFrame:  # of `matrix`
    """Each generator that trains, with the AUC of the head that met it and of the head that did not."""
    met = table[(table["without"] == NOTHING) & table["met"]].set_index("tested_on")
    left = table[~table["met"]].set_index("tested_on")
    both = left[["nature", "images", "auc", "auc_low", "auc_high"]].join(met["auc"].rename("auc_met"), how="inner")
    return both.assign(lost=both["auc_met"] - both["auc"]).sort_values("auc").reset_index(names="generator")


def met_relatives(rows: pd.DataFrame) -> list[str]:  # the manifest's
    """A sentence for every generator and every other of its family that trains the head without it."""
    trained = rows.assign(name=generator_names(rows))[rows["split"].isin(FITTED_SPLITS)]
    trained = trained.query("name != '' and family != ''")[["family", "name"]].drop_duplicates()
    pairs = trained.merge(trained, on="family", suffixes=("", "_met")).query("name != name_met")
    told = "The head without {0} has met {1}, a relative (family {2}): {0} is less new to it than it looks."
    return sorted(told.format(row.name, row.name_met, row.family) for row in pairs.itertuples())
