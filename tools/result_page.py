"""The page results/STUDY/README.md."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dfxlib.data.descriptions import REFERENCES
from dfxlib.measure.compare import OURS
from dfxlib.measure.contents import MEAN
from dfxlib.measure.published import SCORES
from dfxlib.measure.worst import worst_first
from dfxlib.study import report
from dfxlib.study.reading import (
    by_value,
    field_in_words,
    for_readers,
    reader_markdown,
    small_words,
    unsure_in_words,
)
from dfxlib.study.records import Records, read_runs

ACCURACY = "three-way balanced accuracy"

METHODS = ["method", "value", "low", "high", "seeds", "seed_sd", "images"]

#: Figures in words, for readers who do not see them.
WORDS = {
    "main": "Three-way balanced accuracy of every method with its interval, the model in colour",
    "difference": "The model minus every other method on the same images, with intervals",
    "counts": "Images of every architecture, by the part that they are in",
    "examples": "Pictures of every architecture",
    "spectra": "Mean spectrum of the high-pass residual of every architecture, against that of real images",
    "confusion": "What the images of each nature are taken for by the model",
    "three_way": "What the images of each nature are taken for by one backbone that learned all three",
    "history": "Loss and balanced accuracy of base models over the epochs",
    "robustness": "Eight metrics over JPEG quality, with and without chroma subsampling",
    "conditions": "One picture under every condition, and what each changed",
    "generalization": "Three-way recall of every architecture with its interval, unseen ones as open circles",
    "seen_unseen": "Mean recall of each nature, seen against unseen architectures, the model beside the mark to pass",
    "trade": "What promises of the band of unsure cost: images decided, and mistakes",
    "votes": "Votes of the three base models and of the whole model on a few pictures",
    "maps": "Where the verdicts on a few pictures are sensitive, if not where shuffled weights are",
}

#: Files beside the page, and what they hold.
FILES = {"field.tex": "is the table of the field's numbers for a paper", REFERENCES: "says how to cite the data"}

#: Figures that speak of all seeds, or of the data.
_OF_ALL_SEEDS = ("main", "difference", "counts", "examples", "spectra")


class Results(NamedTuple):
    """A folder of published results, read."""

    folder: Path
    runs: pd.DataFrame
    records: Records

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / "tables" / f"{name}.csv")

    def small(self) -> set[str]:
        """Conditions that leave pictures smaller than the model's input."""
        return {name for own in self.records.values() for name in own["metrics"].get("small", ())}

    def conditions(self, name: str) -> pd.DataFrame:
        """A table in which those are marked."""
        return self.table(name).replace(small_words(self.small()))

    def has(self, name: str) -> bool:
        return (self.folder / "tables" / f"{name}.csv").is_file()


def read_results(folder: Path) -> Results:
    return Results(folder, *read_runs(folder))


def page(folder: Path, *, name: str) -> str:  # Markdown
    """What was asked and what came out, each experiment with its figure and its table folded, and how it was made."""
    results = read_results(folder)
    parts = [f"# {name}", _opening(results), _figure(results, "main")]
    experiments = (_methods, _contents, _differences, _base_models, _robustness, _generalization, _field, _unsure)
    for section in (_data, *experiments, _detection):
        parts += section(results)
    return "\n\n".join(part for part in [*parts, *_how_made(results)] if part) + "\n"


def _opening(results: Results) -> str:
    question = results.records["report"]["settings"].get("question", "")
    facts, seeds = results.records["manifest"]["metrics"], results.records["baselines"]["settings"]["seeds"]
    dates = [own["environment"]["date"][:10] for own in results.records.values()]
    made = f"{facts['images']} images, {len(seeds)} seed{'s' * (len(seeds) > 1)}, finished on {max(dates)}"
    told = [f"**{question}**"] if question else []
    told += [report.SYNTHETIC] if report.is_synthetic(results.records) else []
    made += ". [Results and caveats](../../docs/results.md) says how often this test part was read"
    return "\n\n".join([*told, conclusion_list(results.folder), f"{made}, and what is not measured."])


def conclusion_list(folder: Path) -> str:  # Markdown
    """The sentences with which the report begins."""
    results = read_results(folder)
    told = results.records["baselines"]["metrics"]
    compared = (results.table(name) for name in ("main", "difference"))
    sentences = report.conclusion(*compared, told["answers"], mark=told["mark"]) + _inside(results)
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _inside(results: Results) -> list[str]:
    """What is left inside contents, of the model and of the best others."""
    if not results.has("contents"):
        return []
    table = results.table("contents")
    means = by_value(table[table["content"] == MEAN])
    best = pd.concat([means[means["method"] == OURS], means[means["method"] != OURS].head(3)])
    told = ", ".join("{method} {value:.3f} ({low:.3f} to {high:.3f})".format(**row) for row in best.to_dict("records"))
    alone = results.table("main").query("method == 'content'")["value"]
    first = "".join(f"Content alone has {value:.3f}. " for value in alone)
    return [f"{first}Inside contents, where content tells nothing, on average: {told}."]


def _figure(results: Results, name: str) -> str:
    path = results.folder / "figures" / f"{name}.png"
    if not path.is_file():
        return ""
    picture = f"![{WORDS[name]}](figures/{name}.png)"
    several = len(results.records["baselines"]["settings"]["seeds"]) > 1
    return f"{picture}\n\n*The first seed alone.*" if several and name not in _OF_ALL_SEEDS else picture


def _folded(title: str, table: pd.DataFrame, *, marked: str = "", value: str = "value") -> str:
    told = reader_markdown(for_readers(table, value=value), marked=marked)
    return f"<details><summary>{title}</summary>\n\n{told}\n\n</details>"


def _data(results: Results) -> list[str]:
    told = [f"Never seen in training: {', '.join(_held_out(results)) or 'none'}."]
    told += results.table("warnings")["sentence"].tolist() if results.has("warnings") else []
    told.append("What files alone tell of real against fake (the main table has their three-way accuracy):")
    told.append("\n".join(f"- {sentence}" for sentence in results.table("shortcuts")["sentence"]))
    figures = [_figure(results, name) for name in ("counts", "examples", "spectra")]
    return ["## The data", *told, *figures]


def _held_out(results: Results) -> list[str]:
    """Architectures of the unseen part, whatever held them out: a name, a family or a month of release."""
    if not results.has("generalization"):
        return results.records["manifest"]["settings"]["unseen"]
    table = results.table("generalization")
    return sorted(set(table.loc[table["split"] == "unseen", "architecture"]))


def _methods(results: Results) -> list[str]:
    table = by_value(results.table("main"))[METHODS]
    text = "Every method on the same test images, by its most probable nature. Chance is 0.333."
    folded = [_folded("Every method", table, marked="method", value=ACCURACY)]
    if results.has("mark"):
        how = f"{ACCURACY} on validation images"
        title = "Linear readings of traces: the first is the mark to pass"
        folded.append(_folded(title, results.table("mark"), value=how))
    return ["## The main table", text, *folded, _figure(results, "confusion"), _figure(results, "three_way")]


def _contents(results: Results) -> list[str]:
    if not results.has("contents"):
        return []
    table = results.table("contents")
    text = "What pictures show is spread unevenly over the natures, so it tells something of them. Inside one content "
    text += "it tells nothing: the mean over contents is the fairer number. An interval is wide where clusters are few."
    means = table.loc[table["content"] == MEAN, ["method", "value", "low", "high", "images"]]
    parts = table.loc[
        table["content"] != MEAN, ["method", "content", "value", "low", "high", "images", "fewest_clusters"]
    ]
    folded = [_folded("Mean over contents", by_value(means), marked="method", value=ACCURACY)]
    return ["## Inside each content", text, *folded, _folded("Every content", parts, marked="method", value=ACCURACY)]


def _differences(results: Results) -> list[str]:
    table = by_value(results.table("difference"))
    known = ["method", "value", "low", "high", "seed_low", "seed_high", "both_low", "both_high", "p_holm", "decision"]
    text = f"{OURS} minus each method on the same images: a positive difference is in its favour."
    minus = f"{OURS} minus the method"
    folded = [_folded("Differences", table[[name for name in known if name in table]], value=minus)]
    if results.has("detector_differences"):
        theirs = results.table("detector_differences")[["task", "method", "value", "low", "high", "decision"]]
        folded.append(_folded("Differences from detectors of others, a family of their own", theirs, value=minus))
    return ["## Baselines and ablations", text, _figure(results, "difference"), *folded]


def _base_models(results: Results) -> list[str]:
    text = "How well each base model tells its own nature from the others, on validation images. Chance is 0.5."
    folded = _folded("Base models", results.table("base_models"))
    return ["## The base models", text, _figure(results, "history"), folded]


def _robustness(results: Results) -> list[str]:
    if not results.has("robustness_seeds"):
        return []
    spread = results.conditions("robustness_seeds")
    table = spread.pivot(index=["backbone", "condition"], columns="metric", values="mean")
    order = spread[["backbone", "condition"]].drop_duplicates()
    table = table.loc[list(order.itertuples(index=False, name=None)), list(pd.unique(spread["metric"]))].reset_index()
    figures = [_figure(results, name) for name in ("robustness", "conditions")]
    text = "The same test images under every condition. In the names, q is the quality; 444 keeps chroma whole, 420 "
    text += "halves it. The table has means over seeds. A condition marked as small leaves pictures smaller than the "
    text += "model's input."
    folded = [_folded("Every condition", table)]
    if results.has("conditions"):
        ranked = results.conditions("conditions").query("seed == seed.min()")
        shown = ["method", "condition", "images", "auc", "auc_low", "auc_high", "acc", "ap", "eer"]
        folded.append(_folded("The fake score, of the first seed; last all versions in one ranking", ranked[shown]))
    return ["## JPEG robustness", text, *figures, *folded]


def _generalization(results: Results) -> list[str]:
    if not results.has("generalization_seeds"):
        return []
    spread, by = results.table("generalization_seeds"), ["backbone", "nature", "architecture", "split"]
    table = spread.pivot(index=by, columns="value", values="mean")
    order = list(spread[by].drop_duplicates().itertuples(index=False, name=None))
    table = table.loc[order, list(pd.unique(spread["value"]))].reset_index()
    counts = results.table("generalization").drop_duplicates(by).set_index(by)["images"]
    table.insert(len(by), "images", counts.reindex(order).to_numpy())
    figures = [_figure(results, name) for name in ("generalization", "seen_unseen")]
    text = "Generators that no training saw, beside those that it saw. The tables have means over seeds."
    seen = results.table("seen_unseen_seeds").rename(columns={"mean": "mean recall"})
    folded = [_folded("Seen against unseen", seen, marked="method"), _folded("By architecture", table)]
    return ["## Generalization", text, *figures, *folded]


def _field(results: Results) -> list[str]:
    if not results.has("field"):
        return []
    table = results.table("field")
    text = "Each generator against the real images, half of each. Fake is what has p_fake above one half."
    worst = [
        f"{method}:\n\n" + "\n".join(f"- {sentence}" for sentence in worst_first(part))
        for method, part in table.groupby("method", sort=False)
    ]
    folded = _folded("Every generator, in percent, means over seeds", field_in_words(table), marked="method")
    return ["## The field's own numbers", text, *worst, folded]


def _unsure(results: Results) -> list[str]:
    if not results.has("unsure"):
        return []
    text = 'What the [band of "unsure"](../../docs/detection.md#the-band-of-unsure) gave and promised.'
    folded = [_folded("What was promised and given", unsure_in_words(results.table("unsure")))]
    if results.has("unsure_by_condition"):
        treated = unsure_in_words(results.conditions("unsure_by_condition"), by="condition")
        folded.append(_folded("The same under every condition, with the band as frozen on raw images", treated))
    return ["## Unsure", text, _figure(results, "trade"), *folded]


def _detection(results: Results) -> list[str]:
    figures = [found for name in ("votes", "maps") if (found := _figure(results, name))]
    text = "What the verdicts on a few test images rest on."
    return ["## Single pictures", text, *figures] if figures else []


def _how_made(results: Results) -> list[str]:
    departures, records = report.departures(results.table("settings")), results.records
    told = [f"- {row.setting.replace('_', ' ')}: {row.here} (paper: {row.paper})" for row in departures.itertuples()]
    versions = ", ".join(f"{name} {version}" for name, version in report.versions(records).items())
    commits = ", ".join(dict.fromkeys(own["environment"]["commit"] for own in records.values()))
    identity = f"Manifest {records['manifest']['metrics']['manifest_hash']}, commit {commits}. {versions}."
    files = "Settings, metrics and environment of every run stand in [runs.csv](runs.csv), every table in `tables/`."
    files += "".join(f" [{name}]({name}) {what}." for name, what in FILES.items() if (results.folder / name).is_file())
    files += f" The numbers follow from [{SCORES}]({SCORES}): `dfx recompute results/STUDY` computes them again."
    cost = results.table("cost")
    total = f"{cost['minutes'].sum():.0f} minutes in all, those of jobs side by side added."
    return [
        "## Departures from the paper", "\n".join(told) or "None.",
        "## Cost", total, _folded("Every step", cost),
        "## Where it comes from", identity, files,
    ]  # fmt: skip
