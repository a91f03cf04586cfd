"""What a reader must know first: the weakest generators; and how recall falls with the date of release."""

import numpy as np
import pandas as pd

from dfxlib.measure import stats
from dfxlib.measure.field import MEANS
from dfxlib.measure.generators import GENERATOR, shared_reals
from dfxlib.measure.intervals import area_interval
from dfxlib.measure.scores import named

#: Generators of one window of AI-GenBench (Pellegrini et al., 2025), in the order of their release.
WINDOW = 4

#: Images of a generator below which its rate says too little to be called the worst or the best.
FEW = 10


def worst_first(table: pd.DataFrame) -> list[str]:
    """The weakest three generators and the spread between the best and the worst, as sentences.

    `table` is one method's part of `field_table`, of one seed or of several: then a mean counts, and the range over
    seeds stands beside it. Weak is whose images are called fake least often (p_fake above one half); generators of
    fewer than FEW images are not ranked. Real images that are called fake are the price of finding fakes. What trained
    a detector of others is not known; `here` is the study.
    """
    table = table.drop(columns=["backbone", "seed"], errors="ignore").drop_duplicates()  # a detector has no seeds
    seeds = int((table["architecture"] == MEANS[""]).sum())
    found = [_over_seeds(table, name, seeds) for name in ("fake_acc", "real_acc")]
    fakes = found[0][found[0]["nature"] != "generated"].sort_values("mean", kind="stable")
    ranked = fakes[fakes["images"] >= FEW] if (fakes["images"] >= FEW).any() else fakes
    told = [
        f"Weakest: {row.architecture} ({'never ' * (row.split == 'unseen')}trained on here), of whose "
        f"{row.images} images {row.mean:.1%} are called fake ({row.low:.1%} to {row.high:.1%}{row.seeds})."
        for row in ranked.head(3).itertuples()
    ]
    if len(ranked) > 1:
        worst, best = ranked.iloc[0], ranked.iloc[-1]
        told.append(
            f"From the best of {len(ranked)} generators, {best['architecture']} with {best['mean']:.1%}, "
            f"to the worst lie {100 * (best['mean'] - worst['mean']):.1f} points."
        )
    if len(few := fakes.drop(ranked.index)):
        told.append(f"Not ranked, of fewer than {FEW} images: {', '.join(few['architecture'])}.")
    for row in found[1][found[1]["architecture"] == MEANS[""]].itertuples():
        price = f"{1 - row.mean:.1%} are called fake ({1 - row.high:.1%} to {1 - row.low:.1%}{row.seeds})"
        told.append(f"Of the real images {price}.")
    return told


def _over_seeds(table: pd.DataFrame, metric: str, seeds: int) -> pd.DataFrame:  # columns mean, low, high, seeds
    """A metric by generator: with its interval over images, or the mean over several seeds with their range."""
    low, high = (metric, metric) if seeds > 1 else (f"{metric}_low", f"{metric}_high")
    groups = table.groupby([*GENERATOR, "split", "images"], as_index=False, dropna=False)
    found = groups.agg(mean=(metric, "mean"), low=(low, "min"), high=(high, "max"))
    return found.assign(seeds=f" over {seeds} seeds" if seeds > 1 else "")


def with_release(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The generators of `field_table` whose month is known, in the order of release; `rows` are the manifest's."""
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
