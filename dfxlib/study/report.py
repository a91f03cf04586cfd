"""What stands in a study's folder: the runs, whether they are whole, and what they say together."""

from collections.abc import Iterable
from importlib import resources
from typing import Any

import pandas as pd

from dfxlib.measure.compare import OURS, describe
from dfxlib.models.zoo import PAPER_BACKBONES
from dfxlib.names import CLASSES
from dfxlib.study.records import Records, describe_run, read_run
from dfxlib.system.files import project_path, safe_name

#: What a run's settings say of which model it is, and not of how it was made.
_IDENTITY = {"classes", "manifest_hash", "seed", "seed_offset", "weights_sha256", "variant", "base_variant"}
_IDENTITY |= {"nature", "base_models", "grid", "resamples"}

#: Tables of runs that the report joins: its name, the step, and the name of the table there.
GATHERED = {
    "summary": ("complete", "summary"),
    "robustness": ("robustness", "robustness"),
    "generalization": ("generalization", "by_architecture"),
    "seen_unseen": ("generalization", "seen_unseen"),
    "unsure": ("generalization", "unsure"),
    "unsure_by_condition": ("robustness", "unsure"),
    "confidence": ("generalization", "confidence"),
    "conditions": ("robustness", "field"),
    "thresholds": ("robustness", "thresholds"),
    "field": ("generalization", "field"),
}

#: What is said first of a study of the demonstration's images.
SYNTHETIC = "A synthetic set, which shows the pipeline at work. It says nothing about detection in the wild."

_STEPS = ("manifest", "base", "complete", "variant", "robustness", "generalization", "baselines", "detection")


def collect_runs(
    run_root: str, *, backbones: list[str], seeds: list[int], variants: list[str]
) -> tuple[pd.DataFrame, list[str]]:
    """One row a finished run: notebook, time, device, commit, and whether its files are as vouched.

    Runs of other backbones, seeds or variants, which an earlier study file left behind, and tests of exported
    models or on other manifests are no rows; their names come second. The report itself is none either.
    """
    root = project_path(run_root)
    rows, others = [], []
    for metrics in sorted(root.rglob("metrics.json")):
        folder = metrics.parent
        parts = folder.relative_to(root).parts
        if parts[0] == "report" or any(part.startswith(".") for part in parts):
            continue  # the second: a run that is under way
        if not _belongs(parts, backbones, seeds, variants):
            others.append("/".join(parts))
            continue
        rows.append(describe_run(root, folder.relative_to(root).as_posix()))
    if not rows:
        raise FileNotFoundError(f"{root} holds no finished run of this study; run the notebooks before this one")
    rows.sort(key=lambda row: place_of(row["run"]))
    return pd.DataFrame(rows), others


def place_of(run: str) -> tuple[int, str]:
    """Runs are sorted by this: in the order of the study's steps, what is none of them at the end."""
    step = run.split("/")[0]
    return _STEPS.index(step) if step in _STEPS else len(_STEPS), run


def _belongs(parts: tuple[str, ...], backbones: list[str], seeds: list[int], variants: list[str]) -> bool:
    """Whether a run is of a backbone, a seed and, where it is one, a variant that are named.

    Manifest and baselines have none; a model tested on another manifest (a folder below its own) is no part.
    """
    if len(parts) == 1:
        return parts[0] in _STEPS
    if parts[0] == "variant" and parts[1] not in variants:
        return False
    return parts[-1] in {f"seed{seed}" for seed in seeds} and not {safe_name(b) for b in backbones}.isdisjoint(parts)


def heading(run_root: str, question: str, records: Records) -> str:  # Markdown
    """How the page of a study begins: its name, its question, when and by which code it was made, on which data."""
    dates = [own["environment"]["date"][:10] for own in records.values()]
    commits = dict.fromkeys(own["environment"]["commit"] for own in records.values())
    facts = records["manifest"]["metrics"]
    made = f"Finished on {max(dates)}, commit {', '.join(commits)}."
    data = f"{facts['images']} images; manifest {facts['manifest_hash'][:12]}."
    told = [f"**{question}**"] if question else []
    told += [SYNTHETIC] if is_synthetic(records) else []
    return "\n\n".join([f"# {project_path(run_root).name}", *told, f"{made} {data}"])


def is_synthetic(records: Records) -> bool:
    """Whether the images are the demonstration's."""
    return records["manifest"]["settings"]["demo_scenes"] > 0


def refuse_unfit(runs: pd.DataFrame, *, manifest_hash: str) -> None:
    """Stop where a run's files are not what it wrote, or where it saw other data than the manifest's.

    A report of mixed data would call an architecture unseen that a model was trained on.
    """
    other = runs[runs["manifest"] != manifest_hash[:12]]
    if len(other):
        first = other.iloc[0]
        raise ValueError(
            f"run {first['run']} belongs to manifest {first['manifest']}, the study has {manifest_hash[:12]}; "
            "run it again, or remove its folder"
        )
    bad = runs[runs["files"].str.contains("changed|missing")]
    if len(bad):
        first = bad.iloc[0]
        raise ValueError(f"run {first['run']}: {first['files']}; run {first['notebook']} again")


def warnings_of(runs: pd.DataFrame, others: list[str]) -> list[str]:
    """Sentences that belong above the numbers of a report; `others` are the runs it leaves out."""
    commits = sorted(set(runs["commit"]))
    sentences = []
    if len(commits) > 1:
        sentences.append(f"The runs come from {len(commits)} states of the code: {', '.join(commits)}.")
    if any("changes" in commit for commit in commits):
        sentences.append("Some runs come from files that differ from their commit (marked +changes).")
    by_hand = runs.loc[runs["files"].str.contains("not finished by a batch run"), "run"]
    if len(by_hand):
        sentences.append(f"Stepped through by hand, so without checksums: {', '.join(by_hand)}.")
    if others:
        sentences.append(f"Left out, as no part of what this study names: {', '.join(others)}.")
    return sentences


def links(runs: pd.DataFrame) -> str:  # Markdown
    """A list of the executed notebooks, linked from the report's folder, with the time each took."""
    lines = []
    for row in runs.itertuples():
        if row.files == "as vouched":
            lines.append(f"- [{row.run}](../{row.run}/notebook.html): {row.notebook}, {row.seconds:.0f} s")
        else:  # stepped through by hand: there is no page
            lines.append(f"- {row.run}: {row.notebook}")
    return "\n".join(lines)


def read_records(run_root: str, runs: pd.DataFrame) -> Records:
    """What every run says of itself."""
    return {run: read_run(project_path(run_root) / run) for run in runs["run"]}


def gather_tables(run_root: str, runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The tables of GATHERED, each of all its runs; of a step that has no run there is none."""
    steps = {run.split("/")[0] for run in runs["run"]}
    found = {
        name: gather_table(run_root, runs, step=step, table=table)
        for name, (step, table) in GATHERED.items()
        if step in steps
    }
    return found | spread_tables(found)


def gather_table(run_root: str, runs: pd.DataFrame, *, step: str, table: str) -> pd.DataFrame:
    """The same table of all runs of a step; raises FileNotFoundError where one has none."""
    paths = {run: project_path(run_root) / run / "tables" / f"{table}.csv" for run in _runs_of(runs["run"], step)}
    for run, path in paths.items():
        if not path.is_file():
            raise FileNotFoundError(f"{run_root}/{run} holds no tables/{table}.csv; run its notebook again")
    return join_tables({run: pd.read_csv(path) for run, path in paths.items()})


def join_tables(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The same table of several runs, with backbone and seed of each in front."""
    frames = []
    for run, table in tables.items():
        _, backbone, seed = run.split("/")
        frames.append(table.assign(backbone=backbone, seed=int(seed.removeprefix("seed"))))
    joined = pd.concat(frames, ignore_index=True)
    return joined[["backbone", "seed", *(name for name in joined if name not in ("backbone", "seed"))]]


def spread_tables(gathered: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Mean and spread over seeds of what was gathered."""
    found = {}
    if "robustness" in gathered:
        found["robustness_seeds"] = over_seeds(gathered["robustness"], ["condition", "metric"])
    if "generalization" in gathered:
        found["generalization_seeds"] = recalls_over_seeds(gathered["generalization"])
        by, seen = ["method", "nature", "split"], gathered["seen_unseen"]
        # A reading that is fitted once stands beside the model of every seed.
        again = ~seen["method"].str.startswith(OURS) & seen.duplicated(["backbone", *by])
        found["seen_unseen_seeds"] = over_seeds(seen[~again], by, value="recall")
    return found


def _runs_of(runs: Iterable[str], step: str) -> list[str]:
    return [run for run in runs if run.startswith(f"{step}/")]


def compared(run_root: str, table: str) -> pd.DataFrame:
    """A table of notebook 50: `methods`, `differences` or `mark`."""
    path = project_path(run_root) / "baselines" / "tables" / f"{table}.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; run 50_baselines_and_ablations first")
    return pd.read_csv(path)


def over_seeds(table: pd.DataFrame, by: list[str], *, value: str = "value") -> pd.DataFrame:
    """Mean and standard deviation over seeds of a value, by backbone and `by`; one seed knows no spread."""
    groups = table.groupby(["backbone", *by], sort=False)[value]
    return groups.agg(mean="mean", seed_sd="std", seeds="count").reset_index()


def recalls_over_seeds(generalization: pd.DataFrame) -> pd.DataFrame:
    """What each architecture's images were taken for, over seeds: recalls and verdicts, one row each."""
    labels = ["nature", "architecture", "split"]
    values = ("recall", "binary_recall", "said_dm", "said_gan", "said_real")
    found = [over_seeds(generalization, labels, value=value).assign(value=value) for value in values]
    return pd.concat(found, ignore_index=True)


def conclusion(methods: pd.DataFrame, differences: pd.DataFrame, answers: dict[str, str], *, mark: str) -> list[str]:
    """What came out, three sentences a backbone, numbers from the tables; `answers` and `mark` are from notebook 50."""
    sentences = []
    for backbone, sentence in answers.items():
        ours = methods.set_index("method").to_dict("index")[f"{OURS} ({backbone})"]
        spread = "one seed"
        if ours["seeds"] > 1:
            spread = f"standard deviation over {ours['seeds']} seeds {ours['seed_sd']:.3f}"
        own = differences[(differences["backbone"] == backbone) & (differences["method"] == mark)].iloc[0]
        sentences += [
            f"{OURS} ({backbone}) has a three-way balanced accuracy of {ours['value']:.3f} on {ours['images']} images "
            f"(over images {ours['low']:.3f} to {ours['high']:.3f}; {spread}).",
            f"Minus the mark to pass ({mark}, the best linear reading on complete_select): {describe(own)}.",
            f"Does the three-block idea help? {sentence[0].upper()}{sentence[1:]}",
        ]
    return sentences


def cost_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs, minutes and devices of every step; variants are one step each."""
    step = [" ".join(run.split("/")[: 2 if run.startswith("variant/") else 1]) for run in runs["run"]]
    table = runs.groupby(pd.Index(step, name="step"), sort=False).agg(
        runs=("run", "size"),
        minutes=("seconds", lambda seconds: round(seconds.sum() / 60, 1)),
        device=("device", _unique),
    )
    return table.reset_index()


def versions(records: Records) -> dict[str, str]:
    """Version of every package of the record, several where the runs differ."""
    return pd.DataFrame([own["environment"]["packages"] for own in records.values()]).agg(_unique).to_dict()


def _unique(values: pd.Series) -> str:
    return ", ".join(dict.fromkeys(values.astype(str)))


def base_table(records: Records) -> pd.DataFrame:
    """Validation AUC of every base model with its interval and the images on each side."""
    names = ["valid_auc", "valid_auc_low", "valid_auc_high", "main_images", "other_images"]
    rows = []
    for run in _runs_of(records, "base"):
        _, backbone, nature, seed = run.split("/")
        metrics = records[run]["metrics"]
        rows.append([backbone, nature, int(seed.removeprefix("seed")), *[metrics[name] for name in names]])
    return pd.DataFrame(rows, columns=["backbone", "main class", "seed", *names])


def settings_table(records: Records) -> pd.DataFrame:
    """How the models were made, base model settings among them; seeds that share all settings are one column."""
    from dfxlib.models.saved import MODEL_SETTINGS  # here, because all else in this module needs no torch

    columns: dict[str, dict] = {}
    for run in _runs_of(records, "complete"):
        _, backbone, seed = run.split("/")
        complete, base = (records[name]["settings"] for name in (run, f"base/{backbone}/{CLASSES[0]}/{seed}"))
        model = [name for name in MODEL_SETTINGS if name not in _IDENTITY]
        shown = {name: complete[name] for name in model}
        for step, settings in (("base", base), ("complete", complete)):
            own = [name for name in settings if name not in {*MODEL_SETTINGS, *_IDENTITY}]
            shown |= {f"{step}: {name}": settings[name] for name in own}
        grid = pd.DataFrame(complete["grid"])
        shown |= {f"complete: {name}": _unique(values) for name, values in grid.items()}
        if shown not in columns.values():
            columns[f"{backbone}, from seed {seed.removeprefix('seed')}"] = shown
    return pd.DataFrame(columns).rename_axis("setting").reset_index()


def departures(settings: pd.DataFrame) -> pd.DataFrame:
    """The settings of `settings_table` in which a study is not as the paper: setting, paper, here."""
    others = {column.partition(",")[0] for column in settings} - {"setting", *PAPER_BACKBONES}
    rows = [{"setting": "backbone", "paper": "one of 14", "here": ", ".join(sorted(others))}] if others else []
    paper = _known("paper_settings.csv", dtype=str).set_index("setting")["paper"]
    for row in settings.to_dict("records"):
        here = ", ".join(dict.fromkeys(str(value) for name, value in row.items() if name != "setting"))
        if row["setting"] in paper and not _same(here, paper[row["setting"]]):
            rows.append({"setting": row["setting"], "paper": paper[row["setting"]], "here": here})
    return pd.DataFrame(rows, columns=["setting", "paper", "here"])


def _same(one: str, two: str) -> bool:
    """Whether two lists of values are the same, numbers as numbers: 0.001 is 1e-3."""
    return [_number(part) for part in one.split(", ")] == [_number(part) for part in two.split(", ")]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def published_numbers() -> pd.DataFrame:  # experiment, condition, model, accuracy_percent
    """Numbers of the follow-up's executed notebooks, from data_manifests/."""
    return _known("published_results.csv")


def _known(name: str, **how: Any) -> pd.DataFrame:  # of pandas.read_csv
    """What data_manifests/ has of the papers."""
    with resources.files("dfxlib.data_manifests").joinpath(name).open(encoding="utf-8") as file:
        return pd.read_csv(file, **how)


def beside_published(published: pd.DataFrame, robustness: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tables of published numbers by experiment; beside robustness stands this study's, from `over_seeds`."""
    tables = {}
    for experiment, part in published.groupby("experiment", sort=False):
        table = part.pivot(index="condition", columns="model", values="accuracy_percent")
        if experiment == "robustness":
            binary = robustness[robustness["metric"] == "binary balanced accuracy"]
            ours = 100 * binary.pivot(index="condition", columns="backbone", values="mean")
            table = table.join(ours.round(2).astype(object).add_prefix("here: ")).fillna("not run")
        tables[experiment] = table.loc[pd.unique(part["condition"])]
    return tables
