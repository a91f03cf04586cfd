"""Methods side by side on the same test images: what images and what seeds leave open, each by itself and together.

Two kinds of luck stand behind a difference between two methods: which images were tested, and how
the training fell out (Bouthillier et al., "Accounting for variance in machine learning benchmarks",
MLSys 2021). The first has an interval by a bootstrap that resamples groups, of the mean over seeds;
the second a Student interval over the seeds' own differences. A decision rests on both,
takes five seeds, and holds for all comparisons of a study together (Holm).
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import stdtrit

from dfxlib.measure import stats
from dfxlib.measure.intervals import LEVEL, interval
from dfxlib.measure.scores import LOGITS, PROBABILITIES, read_scores, said_natures
from dfxlib.names import CLASSES

OURS = "DeepFeatureX Net"

#: Seeds, and groups of images of each class, below which no difference is decided: intervals of fewer are too narrow.
SEEDS, GROUPS = 5, 10

#: What methods are compared by, and the sides whose recalls it is the mean of.
TASKS = {"three-way": CLASSES, "fake or real": ("real", "fake")}


def changes_of(variant: dict) -> dict:
    """What a variant changes, without the sections; a three-way backbone says what it learns from."""
    flat = {"train_on": "complete"} if "task" in variant else {}
    for name, value in variant.items():
        flat |= value if isinstance(value, dict) else {name: value}  # a section, or a value
    return flat


def rivals(variants: dict[str, dict], ensembles: dict[str, list]) -> list[str]:
    """Who the three-block idea must beat: backbones that learn the three natures at once from the same images."""
    members = set().union(*ensembles.values())
    equal = [name for name, variant in variants.items() if changes_of(variant).get("train_on") == "base+complete"]
    return [*ensembles, *(name for name in equal if name not in members)]


def read_test_scores(path: Path) -> pd.DataFrame:
    """Scores of the test images of one run, in the order of their paths."""
    return test_part(read_scores(path))


def test_part(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores of the test images, in the order of their paths."""
    return scores[scores["split"] == "test"].sort_values(["variant", "path"], ignore_index=True)


def ensemble(members: list[pd.DataFrame], *, name: str) -> pd.DataFrame:
    """Mean of the members' calibrated probabilities (Lakshminarayanan et al., NeurIPS 2017); nothing is trained.

    The logits are its logarithms, so that their argmax is the ensemble's verdict. Each member is one
    test table, all of the same seed of the study.
    """
    require_same_images(members)
    scores = members[0].assign(variant=name)
    scores[PROBABILITIES] = np.mean([member[PROBABILITIES].to_numpy() for member in members], axis=0)
    scores[LOGITS] = np.log(scores[PROBABILITIES].to_numpy().clip(np.finfo(np.float32).tiny))
    scores["p_fake"] = 1 - scores["p_real"]
    return scores


def require_same_images(tables: list[pd.DataFrame]) -> None:
    """Raise ValueError where two tables were scored on other images, or in another order."""
    for table in tables[1:]:
        if list(table["path"]) != list(tables[0]["path"]):
            names = [f"{one['variant'].iloc[0]}, seed {one['seed'].iloc[0]}" for one in (tables[0], table)]
            raise ValueError(f"{names[0]} and {names[1]} were tested on other images; run both again on one manifest")


def sides_of(
    scores: pd.DataFrame, task: str = "three-way"
) -> tuple[np.ndarray, np.ndarray]:  # [N] str each: truth, verdict
    """What each image is and what it is called; of `fake or real` the verdict is p_fake against one half."""
    nature = scores["nature"].to_numpy()
    if task == "three-way":
        return nature, said_natures(scores)
    return np.where(nature == "real", *TASKS[task]), np.where(scores["p_fake"] <= 0.5, *TASKS[task])


def recalls_by_seed(
    tables: list[pd.DataFrame], draws: stats.Resamples, task: str = "three-way"
) -> np.ndarray:  # [seeds, K, R + 1]
    """Recalls of every seed and side, for the data (the first) and every resample of groups."""
    found = []
    for table in tables:
        truth, said = sides_of(table, task)
        found.append([stats.rate(said == side, truth == side, draws) for side in TASKS[task]])
    return np.array(found)


def seed_interval(values: np.ndarray) -> tuple[float, float]:
    """95% interval of a mean over seeds [S] by Student's t; NaN with one seed, which knows no spread."""
    if len(values) < 2:
        return np.nan, np.nan
    margin = stdtrit(len(values) - 1, (1 + LEVEL) / 2) * values.std(ddof=1) / np.sqrt(len(values))
    return values.mean() - margin, values.mean() + margin


def test_of_both(
    drawn: np.ndarray,  # [R + 1] mean difference over seeds, for the data and every resample of groups
    by_seed: np.ndarray,  # [S] difference of every seed
    *,
    groups: int,  # that hold the class with fewest
) -> tuple[float, float, float]:  # p value, low, high
    """Test that a difference is 0, and its 95% interval, from the variances of images and seeds together.

    The margins of both, each with Student's quantile for its own degrees of freedom, are added in squares (MOVER:
    Zou and Donner, 2008); the p value is that of the interval which ends at 0. NaN with one seed, which knows no
    spread. What a seed makes of single images is in both variances: the test is a little cautious.

    Simulated error of equal methods at 5% (20,000 simulations, normal, five seeds, 20 or 100 groups, images' variance
    0.05 to 20 times the seeds'): 3.4% to 4.9% of single comparisons, and after Holm any of 4 in 2% to 4%, any of
    15 in 1% to 4%. One quantile for the sum, with Satterthwaite's degrees of freedom, errs in 5.2% to 5.9%, 4.5% to
    7.2% and 4% to 10%: where five seeds happen to agree it takes their variance to be small and well known.
    """
    if len(by_seed) < 2 or not np.isfinite(drawn[0]):
        return np.nan, np.nan, np.nan
    errors = np.array([np.nanstd(drawn[1:]), by_seed.std(ddof=1) / np.sqrt(len(by_seed))]).clip(min=1e-9)
    freedom = np.array([max(groups - 1, 1), len(by_seed) - 1])
    value = by_seed.mean()

    def margin(p_value: float) -> float:
        return float(np.hypot(*(stdtrit(freedom, p_value / 2) * errors)))

    p_value = 1e-12  # or less
    if margin(p_value) > abs(value):
        p_value = float(np.exp(brentq(lambda log: margin(np.exp(log)) - abs(value), np.log(p_value), 0)))
    return p_value, value - margin(1 - LEVEL), value + margin(1 - LEVEL)


def compare(
    methods: dict[str, list[pd.DataFrame]],  # by name, one test table a seed; one table: nothing in it is random
    *,
    task: str = "three-way",  # of TASKS
    resamples: int = 2000,
) -> tuple[pd.DataFrame, pd.DataFrame]:  # methods, differences of the first one minus each of the others
    """Every method's balanced accuracy, and the first method's paired difference from each of the others.

    A method that scored fewer images is compared on those, and `images` says how many;
    `fewest_clusters` is the number of groups that hold the class with fewest.
    `value` is the mean over seeds; `low` and `high` are its image interval, from the same resamples
    of groups for both sides; `seed_sd`, `seed_low` and `seed_high` speak of seeds only. Seeds are compared
    one by one with the other method's of the same place in the list. Of a difference, `p`, `both_low` and
    `both_high` are those of `test_of_both`, and `decide` adds `p_holm` and `decision`. `mcnemar_p` describes
    the first seed and takes images as independent; no decision rests on it. Undefined values are NaN.
    """
    table, differences = [], []
    ours, *_ = methods.values()
    for name, tables in methods.items():
        require_same_images(tables)
        if len(tables) not in (1, len(ours)):
            raise ValueError(f"{name} has {len(tables)} seeds, {OURS} has {len(ours)}; run both with the same seeds")
        draws = stats.resample_clusters(tables[0]["group"].to_numpy(), resamples=resamples)
        found = recalls_by_seed(tables, draws, task)
        truth, _ = sides_of(tables[0], task)
        table.append(_row(name, found.mean(axis=0), found[:, :, 0].mean(axis=1), truth, draws, task))
        if tables is ours:
            continue
        mine, theirs = _common_images(ours, tables)
        draws = stats.resample_clusters(mine[0]["group"].to_numpy(), resamples=resamples)
        found, other = recalls_by_seed(mine, draws, task), recalls_by_seed(theirs, draws, task)
        both = np.concatenate([found.mean(axis=0), other.mean(axis=0)])
        (truth, said), (_, other_said) = sides_of(mine[0], task), sides_of(theirs[0], task)
        row = _row(name, both, (found - other)[:, :, 0].mean(axis=1), truth, draws, task)
        drawn = (found - other).mean(axis=(0, 1))  # [R + 1]
        tested = test_of_both(drawn, (found - other)[:, :, 0].mean(axis=1), groups=row["fewest_clusters"])
        row |= dict(zip(("p", "both_low", "both_high"), tested))
        row["mcnemar_p"] = stats.mcnemar(said == truth, other_said == truth)
        differences.append(row)
    return pd.DataFrame(table), decide(pd.DataFrame(differences)) if differences else pd.DataFrame()


def _common_images(ours: list[pd.DataFrame], theirs: list[pd.DataFrame]) -> tuple[list[pd.DataFrame], ...]:
    """Both cut to the images that both have: some baselines look at a sample of each architecture."""
    common = sorted(set(ours[0]["path"]) & set(theirs[0]["path"]))
    if not common:
        names = [side[0]["variant"].iloc[0] for side in (ours, theirs)]
        raise ValueError(f"{names[0]} and {names[1]} share no test image; run both again on one manifest")
    return tuple([table.set_index("path", drop=False).loc[common] for table in side] for side in (ours, theirs))


def _row(
    name: str, rates: np.ndarray, by_seed: np.ndarray, truth: np.ndarray, draws: stats.Resamples, task: str
) -> dict:
    """From recalls [K, R + 1] of one method, or those of two below each other, and the value of every seed."""
    sides = TASKS[task]
    clusters = stats.clusters_of([truth == side for side in sides], draws)  # [K]
    sign = np.repeat([1, -1], len(sides))[: len(rates)]  # one method, or the first minus the second
    value, low, high = interval(rates, clusters=np.resize(clusters, len(rates)), weights=sign / len(sides))
    seed_low, seed_high = seed_interval(by_seed)
    return {
        "method": name,
        "seeds": len(by_seed),
        "value": value,
        "low": low,
        "high": high,
        "seed_sd": by_seed.std(ddof=1) if len(by_seed) > 1 else np.nan,
        "seed_low": seed_low,
        "seed_high": seed_high,
        "images": len(truth),
        "clusters": draws.counts.shape[1],
        "fewest_clusters": clusters.min(),
    }


def decide(differences: pd.DataFrame) -> pd.DataFrame:
    """Differences with `p_holm` and `decision`; all rows, of several backbones too, are one family of comparisons.

    The chance that a study calls any two methods of equal worth better or worse is at most 5%, as far as `p` is
    right. A comparison of too few seeds or groups can have no decision and does not count in the family.
    """
    table = differences.assign(p_holm=np.nan)
    enough = table["value"].notna() & (table["seeds"] >= SEEDS) & (table["fewest_clusters"] >= GROUPS)
    table.loc[enough, "p_holm"] = stats.holm(table.loc[enough, "p"].to_numpy())
    return table.assign(decision=[_decision(row) for row in table.to_dict("records")])


def _decision(row: dict) -> str:
    if not np.isfinite(row["value"]):
        return "undefined: a nature has no test image"
    if row["seeds"] < SEEDS:
        return "not decided: fewer than five seeds"
    if row["fewest_clusters"] < GROUPS:
        return "not decided: fewer than ten groups of images of a class"
    if row["p_holm"] > 1 - LEVEL:
        return f"not decided: p {row['p_holm']:.3f} by Holm"
    return "better" if row["value"] > 0 else "worse"


def describe(row: dict) -> str:
    """A paired difference as a sentence's end, each interval named after its kind."""
    if not np.isfinite(row["value"]):
        return row["decision"]
    seeds = f"seeds {row['seed_low']:+.3f} to {row['seed_high']:+.3f}" if row["seeds"] > 1 else "one seed"
    return f"{row['value']:+.3f} (images {row['low']:+.3f} to {row['high']:+.3f}; {seeds}), {row['decision']}"


def answer(differences: pd.DataFrame, against: list[str]) -> str:
    """Does the three-block idea help? One sentence from the differences from its rivals."""
    if not against:
        return "not decided: no backbone alone and no ensemble of them was run on the same images."
    rows = differences.set_index("method", drop=False).loc[against].to_dict("records")
    decisions = [row["decision"] for row in rows]
    short = "not decided"
    if "worse" in decisions:
        short = "no"
    elif set(decisions) == {"better"}:
        short = "yes"
    reasons = "; ".join(f"Minus {row['method']}: {describe(row)}" for row in rows)
    return f"{short}. {reasons}."
