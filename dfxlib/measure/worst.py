"""What a reader must know first: the weakest generators; and how recall falls with the date of release."""

import numpy as np
import pandas as pd

from dfxlib.measure import stats
from dfxlib.measure.generators import GENERATOR, by_architecture, shared_reals
from dfxlib.measure.intervals import area_interval
from dfxlib.measure.scores import named

#: Generators of one window of AI-GenBench (Pellegrini et al., 2025), in the order of their release.
WINDOW = 4

#: What of `by_architecture` tells how often an architecture is called fake (a real source: how often it is not).
CALLED = (*GENERATOR, "split", "images", *(f"binary_recall{end}" for end in ("", "_low", "_high")))


def of_detector(scores: pd.DataFrame, *, resamples: int = 2000) -> pd.DataFrame:
    """The columns CALLED of `by_architecture`, of a detector of others: fake is what has p_fake above one half."""
    table = by_architecture(scores, {"threshold": np.nextafter(0.5, 1)}, resamples=resamples)
    verdicts = table.drop(columns=[name for name in CALLED if name.startswith("binary")])  # by a cut, not by argmax
    return verdicts.rename(columns=lambda name: name.replace("recall_at_threshold", "binary_recall"))[[*CALLED]]


def worst_first(table: pd.DataFrame) -> list[str]:
    """The weakest three generators and the spread between the best and the worst, as sentences; from `by_architecture`.

    Weak is whose images are called fake least often. Real images that are called fake are the price of finding fakes:
    the worst real source stands beside them. What trained a detector of others is not known; `here` is the study.
    """
    ordered = table.sort_values("binary_recall", kind="stable")
    fakes, reals = ordered[ordered["nature"] != "real"], ordered[ordered["nature"] == "real"]
    told = [
        f"Weakest: {row.architecture} ({'never ' * (row.split == 'unseen')}trained on here), of whose "
        f"{row.images} images {row.binary_recall:.1%} are called fake "
        f"({row.binary_recall_low:.1%} to {row.binary_recall_high:.1%})."
        for row in fakes.head(3).itertuples()
    ]
    if len(fakes) > 1:
        worst, best = fakes.iloc[0], fakes.iloc[-1]
        told.append(
            f"From the best of {len(fakes)} generators, {best['architecture']} with {best['binary_recall']:.1%}, "
            f"to the worst lie {100 * (best['binary_recall'] - worst['binary_recall']):.1f} points."
        )
    for worst in reals.head(1).itertuples():
        told.append(
            f"Of the real images those of {worst.architecture} fare worst: {1 - worst.binary_recall:.1%} are "
            f"called fake ({1 - worst.binary_recall_high:.1%} to {1 - worst.binary_recall_low:.1%})."
        )
    return told


def with_release(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The generators of `by_architecture` whose month is known, in the order of release; `rows` are the manifest's."""
    months = rows.loc[rows["released"] != "", [*GENERATOR, "released"]].drop_duplicates(GENERATOR)
    return table.merge(months, on=GENERATOR).sort_values(["released", "architecture"], ignore_index=True)


def by_window(
    scores: pd.DataFrame,
    released: pd.Series,  # month of each row of `scores`, in its order; "" where it is not known
    *,
    resamples: int = 2000,
) -> pd.DataFrame:
    """AUC of windows of generators in the order of their release, each against the shared reals.

    `kind` says what training knew of a window: `trained`; `held out`, of months that training saw other generators of;
    `next`, the first after those months; or `later`. No window holds generators of two kinds. AI-GenBench trains on all
    windows up to one and reports the AUC on the next.
    """
    table = scores.assign(released=released.to_numpy())
    dated = table[(table["nature"] != "real") & (table["released"] != "")]
    order = dated[["released", *GENERATOR, "split"]].drop_duplicates()
    order = order.sort_values(["released", "architecture"], ignore_index=True)
    draws = stats.resample_clusters(scores["group"].to_numpy(), resamples=resamples)
    reals, rows = shared_reals(scores), list[dict]()
    trains = order["split"] == "test"
    after = order["released"] > order.loc[trains, "released"].max() if trains.any() else ~trains
    kinds = np.select([trains, ~after], ["trained", "held out"], "later")
    place = order.groupby(kinds).cumcount() // WINDOW
    for (kind, number), window in order.groupby([kinds, place]):
        fakes = pd.MultiIndex.from_frame(scores[GENERATOR]).isin(pd.MultiIndex.from_frame(window[GENERATOR]))
        area = stats.auc(scores["p_fake"].to_numpy(), fakes, fakes | reals, draws)
        row = {"from": window["released"].iloc[0], "to": window["released"].iloc[-1]}
        row["kind"] = "next" if kind == "later" and number == 0 else kind
        row |= named("auc", area_interval(area, clusters=stats.clusters_of([fakes, reals], draws).min()))
        rows.append(row | {"images": int(fakes.sum()), "generators": ", ".join(window["architecture"])})
    columns = ["from", "to", "kind", "auc", "auc_low", "auc_high", "images", "generators"]
    return pd.DataFrame(rows, columns=columns).sort_values("from", kind="stable", ignore_index=True)
