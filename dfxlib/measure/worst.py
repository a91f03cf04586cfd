"""What a reader must know first: the weakest generators; and how recall falls with the date of release."""

import numpy as np
import pandas as pd

from dfxlib.measure import stats
from dfxlib.measure.generators import GENERATOR, shared_reals
from dfxlib.measure.intervals import area_interval
from dfxlib.measure.scores import named

#: Generators of one window of AI-GenBench (Pellegrini et al., 2025), in the order of their release.
WINDOW = 4


def weakest(table: pd.DataFrame, *, count: int = 3) -> pd.DataFrame:  # rows of `by_architecture`
    """The generators whose images are called fake least often (argmax), the worst first."""
    fakes = table[table["nature"] != "real"]
    columns = ["architecture", "nature", "split", "images", "binary_recall", "binary_recall_low", "binary_recall_high"]
    return fakes.sort_values("binary_recall", kind="stable").head(count)[columns].reset_index(drop=True)


def worst_first(table: pd.DataFrame) -> list[str]:
    """The weakest three generators and the spread between the best and the worst, as sentences; from `by_architecture`.

    Real images that are called fake are the price of finding fakes: the worst real source stands beside them.
    """
    told = [
        f"Weakest: {row.architecture} ({'never trained on' if row.split == 'unseen' else 'trained on'}), of whose "
        f"{row.images} images {row.binary_recall:.1%} are called fake "
        f"({row.binary_recall_low:.1%} to {row.binary_recall_high:.1%})."
        for row in weakest(table).itertuples()
    ]
    found = table[table["nature"] != "real"].sort_values("binary_recall", kind="stable")
    if len(found) > 1:
        worst, best = found.iloc[0], found.iloc[-1]
        told.append(
            f"From the best generator, {best['architecture']} with {best['binary_recall']:.1%}, to the worst lie "
            f"{100 * (best['binary_recall'] - worst['binary_recall']):.1f} points."
        )
    reals = table[table["nature"] == "real"].sort_values("binary_recall", kind="stable")
    if len(reals):
        worst = reals.iloc[0]
        told.append(
            f"Of the real images those of {worst['architecture']} fare worst: {1 - worst['binary_recall']:.1%} are "
            f"called fake ({1 - worst['binary_recall_high']:.1%} to {1 - worst['binary_recall_low']:.1%})."
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
