"""Tables of published results that README, notebooks/README.md and docs repeat between their marks."""

from pathlib import Path

import pandas as pd

from dfxlib.measure.compare import OURS, describe
from dfxlib.measure.contents import MEAN
from dfxlib.study.costs import read_costs
from dfxlib.study.reading import by_value, for_readers, is_ours, reader_markdown, unsure_in_words
from dfxlib.system.files import write_text_atomic
from tools.result_page import ACCURACY, METHODS, WORDS, conclusion_list, read_results


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
    return reader_markdown(for_readers(table[METHODS], value=ACCURACY), marked="method")


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
    answer = f"{answer[0].upper()}{answer[1:]}".removesuffix(".")
    accuracy, better = f"Balanced accuracy {_estimate(ours)}", describe(mark)
    if results.has("contents"):  # what counts first, since content tells of the nature
        table = results.table("contents")
        table = table[table["content"] == MEAN].set_index("method")
        accuracy = f"Inside contents, balanced accuracy {_estimate(table.loc[OURS])}; in all {_estimate(ours)}"
        better = f"Inside contents {_difference(table.loc[told['mark']])}; in all {better}"
        for rival in (name for name in table.index if f" {name}: " in answer):
            answer += f"; inside contents {_difference(table.loc[rival])}"
    rows = {
        "Are the three natures told apart?": f"{accuracy}; chance is 0.333",
        f"Better than the best linear reading ({told['mark']})?": better,
        "Does the three-block idea help?": answer,
    }
    if results.has("robustness_seeds"):
        spread = _of_first_backbone(results.table("robustness_seeds")).query("metric == @ACCURACY")
        spread = spread.set_index("condition")["mean"]
        treated = spread.drop(["raw", *results.small()], errors="ignore")
        if len(treated):
            fall = f"Balanced accuracy falls from {spread['raw']:.3f} to {treated.min():.3f}"
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


def _difference(row: pd.Series) -> str:
    return f"{row['minus']:+.3f} (images {row['minus_low']:+.3f} to {row['minus_high']:+.3f})"


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
        thumbnail = f'<img src="{path}" width="200" alt="{WORDS[figure]}">' if has else ""
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
