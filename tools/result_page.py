"""The page results/STUDY/README.md, and the tables of results that README and docs repeat between their marks."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dfxlib.measure.compare import OURS, describe
from dfxlib.measure.contents import MEAN
from dfxlib.measure.published import SCORES
from dfxlib.study import report
from dfxlib.study.costs import read_costs
from dfxlib.study.reading import by_value, for_readers, is_ours, reader_markdown, unsure_in_words
from dfxlib.study.records import Records, read_runs
from dfxlib.system.files import write_text_atomic

ACCURACY = "three-way balanced accuracy"

_METHODS = ["method", "value", "low", "high", "seeds", "seed_sd", "images"]

#: Figures in words, for readers who do not see them.
_WORDS = {
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

#: Figures that speak of all seeds, or of the data.
_OF_ALL_SEEDS = ("main", "difference", "counts", "examples", "spectra")


class Results(NamedTuple):
    """A folder of published results, read."""

    folder: Path
    runs: pd.DataFrame
    records: Records

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / "tables" / f"{name}.csv")

    def conditions(self, name: str) -> pd.DataFrame:
        """A table in which conditions that leave pictures smaller than the model's input are marked."""
        small = {each for own in self.records.values() for each in own["metrics"].get("small", {})}
        return self.table(name).replace({"condition": {each: f"{each} (small)" for each in small}})

    def has(self, name: str) -> bool:
        return (self.folder / "tables" / f"{name}.csv").is_file()


def read_results(folder: Path) -> Results:
    return Results(folder, *read_runs(folder))


def page(folder: Path, *, name: str) -> str:  # Markdown
    """What was asked and what came out, each experiment with its figure and its table folded, and how it was made."""
    results = read_results(folder)
    parts = [f"# {name}", _opening(results), _figure(results, "main")]
    experiments = (_methods, _contents, _differences, _base_models, _robustness, _generalization, _unsure, _detection)
    for section in (_data, *experiments):
        parts += section(results)
    return "\n\n".join(part for part in [*parts, *_how_made(results)] if part) + "\n"


def _opening(results: Results) -> str:
    question = results.records["report"]["settings"].get("question", "")
    facts, seeds = results.records["manifest"]["metrics"], results.records["baselines"]["settings"]["seeds"]
    dates = [own["environment"]["date"][:10] for own in results.records.values()]
    made = f"{facts['images']} images, {len(seeds)} seed{'s' * (len(seeds) > 1)}, finished on {max(dates)}"
    told = [f"**{question}**"] if question else []
    told += [report.SYNTHETIC] if report.is_synthetic(results.records) else []
    return "\n\n".join([*told, conclusion_list(results.folder), f"{made}."])


def _figure(results: Results, name: str) -> str:
    path = results.folder / "figures" / f"{name}.png"
    if not path.is_file():
        return ""
    picture = f"![{_WORDS[name]}](figures/{name}.png)"
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
    table = by_value(results.table("main"))[_METHODS]
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
    folded = _folded("Differences", table[[name for name in known if name in table]], value=f"{OURS} minus the method")
    return ["## Baselines and ablations", text, _figure(results, "difference"), folded]


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
    text = "The same test images under every condition. The table has means over seeds. A condition marked as small "
    text += "leaves pictures smaller than the model's input."
    return ["## JPEG robustness", text, *figures, _folded("Every condition", table)]


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
    files += f" The numbers follow from [{SCORES}]({SCORES}): `dfx recompute results/STUDY` computes them again."
    cost = results.table("cost")
    total = f"{cost['minutes'].sum():.0f} minutes in all, those of jobs side by side added."
    return [
        "## Departures from the paper", "\n".join(told) or "None.",
        "## Cost", total, _folded("Every step", cost),
        "## Where it comes from", identity, files,
    ]  # fmt: skip


def update_page(place: Path, results: Path) -> bool:  # whether the text changed
    """Put the tables of published results between a page's marks for them."""
    text = before = place.read_text(encoding="utf-8")
    for mark, table in PAGE_TABLES.items():
        opening, closing = f"<!-- {mark}:{results.name} -->", f"<!-- /{mark} -->"
        if opening in text:
            head, rest = text.split(opening, 1)
            if closing not in rest:
                raise ValueError(f"{place} has {opening} without {closing} after it; add the closing mark")
            text = f"{head}{opening}\n{table(results)}\n{closing}{rest.split(closing, 1)[1]}"
    write_text_atomic(place, text)
    return text != before


def methods_table(folder: Path) -> str:  # Markdown
    """Every method with its interval, and its spread over seeds."""
    table = by_value(read_results(folder).table("main"))
    return reader_markdown(for_readers(table[_METHODS], value=ACCURACY), marked="method")


def base_table(folder: Path) -> str:  # Markdown
    """Validation AUC of every base model."""
    results = read_results(folder)
    share = {run: own["settings"]["main_share"] for run, own in results.records.items() if run.startswith("base/")}
    table = results.table("base_models")
    return reader_markdown(for_readers(table.assign(main_share=list(share.values()))))


def differences_table(folder: Path) -> str:  # Markdown
    """DeepFeatureX Net minus every other method on the same images, with the decision."""
    table = by_value(read_results(folder).table("difference"))
    said = {f"{OURS} minus": table["method"], ACCURACY: table.apply(describe, axis=1)}
    return reader_markdown(pd.DataFrame(said))


def conclusion_list(folder: Path) -> str:  # Markdown
    """The sentences with which the report begins."""
    results = read_results(folder)
    told = results.records["baselines"]["metrics"]
    compared = (results.table(name) for name in ("main", "difference"))
    return "\n".join(f"- {sentence}" for sentence in report.conclusion(*compared, told["answers"], mark=told["mark"]))


def unsure_table(folder: Path) -> str:  # Markdown
    """What the band of "unsure" promised and gave, a line a part of the images and seed."""
    return reader_markdown(unsure_in_words(read_results(folder).table("unsure")))


def answers_table(folder: Path) -> str:  # Markdown
    """Question, answer and evidence of a study, for README; what does not hold stands there too."""
    results = read_results(folder)
    told, main = results.records["baselines"]["metrics"], results.table("main")
    ours = main[main["method"].map(is_ours)].iloc[0]
    mark = results.table("difference").query("method == @told['mark']").iloc[0]
    (answer, *_) = told["answers"].values()
    inside = ""
    if results.has("contents"):
        means = results.table("contents").query("content == @MEAN")
        inside = f"; inside contents {_estimate(means[means['method'].map(is_ours)].iloc[0])}"
    rows = {
        "Are the three natures told apart?": f"Balanced accuracy {_estimate(ours)}{inside}; chance is 0.333",
        f"Better than the best linear reading ({told['mark']})?": describe(mark),
        "Does the three-block idea help?": f"{answer[0].upper()}{answer[1:]}".removesuffix("."),
    }
    if results.has("robustness_seeds"):
        spread = _of_first_backbone(results.conditions("robustness_seeds")).query("metric == @ACCURACY")
        spread = spread.set_index("condition")["mean"]
        treated = spread[~spread.index.str.startswith("raw") & ~spread.index.str.endswith(")")]
        if len(treated):
            fall = f"Balanced accuracy falls from {spread.iloc[0]:.3f} to {treated.min():.3f}"
            rows[f"Does it hold under compression and other treatments (the worst: {treated.idxmin()})?"] = fall
    if results.has("seen_unseen_seeds"):
        seen = _of_first_backbone(results.table("seen_unseen_seeds"))
        own = seen[seen["method"].map(is_ours)].pivot(index="nature", columns="split", values="mean")
        fakes = own.drop(index="real", errors="ignore").reindex(columns=["test", "unseen"]).dropna().mean()
        told_apart = f"Mean recall of fakes: {fakes['test']:.3f} seen, {fakes['unseen']:.3f} unseen"
        rows["Does it hold on unseen generators?"] = told_apart if fakes.notna().all() else "None was held out"
    evidence = f"[{folder.name}](results/{folder.name}/README.md)"
    cells = {"question": rows.keys(), "answer": rows.values(), "evidence": evidence}
    return reader_markdown(pd.DataFrame(cells))


def _of_first_backbone(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["backbone"] == table["backbone"].iloc[0]]


def _estimate(row: pd.Series) -> str:
    seeds = "" if pd.isna(row.get("seed_low")) else f"; over seeds {row['seed_low']:.3f} to {row['seed_high']:.3f}"
    return f"{row['value']:.3f} (over images {row['low']:.3f} to {row['high']:.3f}{seeds})"


#: What each notebook shows, and the published figure that tells it at a glance.
_SHOWN = {
    "00_prepare_dataset": ("what the data are, how they are split, and what files and pixels give away", "spectra"),
    "10_train_base_model": ("three base models, each trained on one nature against the rest", "history"),
    "15_train_three_way_baseline": ("one backbone that learns all three natures, for comparison", "three_way"),
    "20_train_complete_model": ("the head on three frozen base models: the model of this study", "confusion"),
    "30_jpeg_robustness": ("what is left of its verdicts after compression and other treatments", "robustness"),
    "40_generalization": ("what it says of generators that no training saw", "generalization"),
    "50_baselines_and_ablations": (
        "every method on the same images, and whether the differences are real",
        "difference",
    ),
    "60_detect_images": ("verdicts on single pictures, and what they rest on", "votes"),
    "90_report": ("all of it on one page", "main"),
}


def notebooks_table(folder: Path) -> str:  # Markdown
    """The notebooks in order: what each shows, how long it takes in the demonstration, and a figure of it."""
    costs, rows = read_costs(), []
    for name, (shows, figure) in _SHOWN.items():
        minutes = sum(costs[name[:2]].values()) / 60
        path = f"../results/{folder.name}/figures/{figure}.png"
        has = (folder / "figures" / f"{figure}.png").is_file()
        thumbnail = f'<img src="{path}" width="200" alt="{_WORDS[figure]}">' if has else ""
        row = {"notebook": f"[{name}]({name}.ipynb)", "shows": shows, "minutes": f"{max(1, round(minutes))}"}
        rows.append(row | {"a glimpse": thumbnail})
    return reader_markdown(pd.DataFrame(rows))


#: Kinds of tables and lists in README and docs, by the name in their marks.
PAGE_TABLES = {
    "answers": answers_table,
    "methods": methods_table,
    "base_models": base_table,
    "differences": differences_table,
    "conclusion": conclusion_list,
    "notebooks": notebooks_table,
    "unsure": unsure_table,
}
