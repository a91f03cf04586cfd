"""A finished study without pictures or networks: scores drawn at random, and the tables that notebooks make of them."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from samples import SETTINGS, rows

from dfxlib.data.manifest import COLUMNS, write_manifest
from dfxlib.measure import compare as c
from dfxlib.measure import scores as measured
from dfxlib.measure import stats
from dfxlib.measure.confidence import proper_scores, reliability_table, trade_table, unsure_table
from dfxlib.measure.contents import inside_contents
from dfxlib.measure.external import compare_detectors
from dfxlib.measure.field import at_frozen_thresholds, by_condition, field_table
from dfxlib.measure.generators import averages, by_architecture, by_source, seen_against_unseen
from dfxlib.measure.mark import mark_candidates, three_way_accuracy
from dfxlib.names import CLASSES
from dfxlib.study import report
from dfxlib.study.figures import save_files
from dfxlib.study.run_folder import DONE, vouch

RESAMPLES = 10
VARIANTS = {"linear": {"complete": {"head": "linear"}}, "three": {"task": "threeway", "train_on": "base+complete"}}
ENSEMBLES = {"pair": ["linear", "three"]}
CONDITIONS = ("raw", "blur_k3")
BASELINES = {"bytes": 0.1, "co-occurrences": 0.8, "spectrum": 1.0}  # the last two are readings of traces


class Study:
    """runs/NAME of a study; its seeds draw the same scores whatever other seeds it has."""

    def __init__(self, root: Path, *, seeds: tuple[int, ...], demo_scenes: int = 0):
        self.root, self.seeds, self.demo_scenes = root, seeds, demo_scenes
        self.images = planted_images()
        (root / "manifest").mkdir(parents=True)
        self.hash = write_manifest(self.images[COLUMNS], root / "manifest" / "manifest.csv")
        self.fitted = self._plant_manifest()
        self.detectors = self._plant_detectors()
        own = {seed: self._plant_seed(seed) for seed in seeds}
        self._plant_comparison({name: [own[seed][name] for seed in seeds] for name in own[seeds[0]]})
        self._plant_report()

    def scores(self, splits: list[str], *key: object, right: float, **how: object) -> pd.DataFrame:
        """Scores of the images of some splits; `right` is by how much the logit of an image's nature is larger."""
        images = pd.concat([self.images[self.images["split"] == split] for split in splits])
        random = np.random.default_rng([sum(map(ord, str(key))), len(images)])
        logits = random.normal(size=(len(images), 3)) + right * np.eye(3)[measured.class_index(images["nature"])]
        return measured.score_table(images, logits, **{"temperature": 1.0, "backbone": "resnet18"} | how)

    def finish(self, run: str, tables: dict, *, settings: dict, metrics: dict, notebook: str) -> None:
        """What Run and execute leave beside scores."""
        folder = self.root / run
        (folder / "tables").mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            table.to_csv(folder / "tables" / f"{name}.csv", index=False)
        environment = {
            "device": "cpu",
            "threads": 2,
            "commit": "abc",
            "code": "c",
            "date": "2026-01-02",
            "packages": {"torch": "2.15"},
        }
        records = {"settings": settings | {"manifest_hash": self.hash}, "environment": environment}
        records["metrics"] = {"manifest_hash": self.hash, "seconds": 3.0} | metrics
        for name, content in records.items():
            (folder / f"{name}.json").write_text(json.dumps(content, default=str))
        vouch(folder, {"notebook": notebook, "code": f"code of {notebook}", "parameters": {}}, seconds=12.0)

    def _plant_manifest(self) -> dict[str, pd.DataFrame]:
        parts = ["complete_select", "complete_calibrate", "test", "unseen"]
        fitted = {
            name: self.scores(parts, name, right=right, backbone="none", variant=name)
            for name, right in BASELINES.items()
        }
        every = pd.concat(fitted.values(), ignore_index=True)
        measured.write_scores(every, self.root / "manifest" / "scores.parquet")
        found = three_way_accuracy({name: tested(table) for name, table in fitted.items()}, resamples=RESAMPLES)
        self.candidates = mark_candidates(every, resamples=RESAMPLES)
        self.mark = self.candidates["method"][0]
        counts = pd.DataFrame({"nature": ["real"], "all": [9]})
        tables = {"baselines": found, "mark": self.candidates, "counts": counts}
        settings = {"unseen": [], "resamples": RESAMPLES, "demo_scenes": self.demo_scenes}
        self.finish("manifest", tables, settings=settings, metrics={"images": 9}, notebook="00.ipynb")
        return fitted

    def _plant_detectors(self) -> dict[str, pd.DataFrame]:
        """What other people's detectors say: one of the three natures, one of real and fake alone."""
        found = {}
        for name, right in (("of three", 0.9), ("of two", 0.5)):
            table = self.scores(["test", "unseen"], name, right=right, backbone="none", variant=name)
            found[name] = table.assign(source="set_a")
        found["of two"][[*measured.LOGITS, "p_dm", "p_gan"]] = np.nan
        return found

    def _plant_seed(self, seed: int) -> dict[str, pd.DataFrame]:  # test scores by method
        for nature in CLASSES:
            self._plant_base(nature, seed)
        own = {c.OURS: self._plant_model("complete", "", seed, right=1.2)}
        for number, name in enumerate(VARIANTS):
            own[name] = self._plant_model(f"variant/{name}", name, seed, right=1.0 + number / 10)
        self._plant_robustness(seed)
        self._plant_generalization(seed)
        return own

    def _plant_base(self, nature: str, seed: int) -> None:
        task = self.images[self.images["split"] == "base_valid"].assign(is_main=lambda t: (t["nature"] == nature) * 1)
        random = np.random.default_rng([seed, CLASSES.index(nature)])
        logits = random.normal(size=(len(task), 2)).astype(np.float32) + np.eye(2)[task["is_main"]]
        table = measured.base_scores(task, logits)
        tables = {"valid_scores": table, "history": pd.DataFrame({"epoch": [0], "valid_loss": [0.5]})}
        settings = SETTINGS | {"nature": nature, "seed": seed, "epochs": 3, "main_share": 0.5}
        run, metrics = f"base/resnet18/{nature}/seed{seed}", measured.summarise_base(table)
        self.finish(run, tables, settings=settings, metrics=metrics, notebook="10.ipynb")

    def _plant_model(self, step: str, variant: str, seed: int, *, right: float) -> pd.DataFrame:
        run = f"{step}/resnet18/seed{seed}"
        how = {"seed": seed, "variant": variant or "deepfeaturex", "right": right}
        splits = ["complete_select", "complete_calibrate", "test", *(["unseen"] if variant else [])]
        raw = self.scores(splits, step, seed, **how)
        rows = raw[raw["split"] == "complete_calibrate"]
        calibration = measured.calibrate(rows[measured.LOGITS].to_numpy(), rows)
        scores = measured.with_probabilities(raw, temperature=calibration["temperature"])
        (self.root / run).mkdir(parents=True)
        measured.write_scores(scores, self.root / run / "scores.parquet")
        (self.root / run / "calibration.json").write_text(json.dumps(calibration))
        test = tested(scores)
        summary = measured.summarise(test, calibration, resamples=RESAMPLES)
        own = measured.three_way_rows(summary, method=f"{variant or c.OURS} (resnet18)")
        metrics = {"test_balanced_accuracy": own["value"].iloc[0]}
        tables = {"summary": summary}
        settings = SETTINGS | {"seed": seed, "variant": variant, "grid": [{"batch_size": 32}], "resamples": RESAMPLES}
        if variant != "three":
            settings["head"] = "linear" if variant else "conv"
            tables["confusion"] = measured.confusion(test).reset_index()
            chosen_on = rows[measured.LOGITS].to_numpy(), rows
            tables["trade"] = trade_table(*chosen_on, test, calibration, resamples=RESAMPLES)
        if not variant:
            fitted = {name: tested(table) for name, table in self.fitted.items()}
            tables["methods"] = pd.concat([own, three_way_accuracy(fitted, resamples=RESAMPLES)])
            _, found = c.compare({c.OURS: [test], self.mark: [fitted[self.mark]]}, resamples=RESAMPLES)
            difference = found[["value", "low", "high"]].iloc[0].tolist()
            metrics |= {"mark": self.mark, "minus_mark": difference, "chosen_cell": {"batch_size": 32}}
        self.finish(
            run, tables, settings=settings, metrics=metrics, notebook="15.ipynb" if variant == "three" else "20.ipynb"
        )
        return test

    def _plant_robustness(self, seed: int) -> None:
        calibration = read(self.root / f"complete/resnet18/seed{seed}/calibration.json")
        how = {"temperature": calibration["temperature"], "seed": seed}
        scores = {
            name: self.scores(["test"], name, seed, right=1.2 - place, condition=name, **how)
            for place, name in enumerate(CONDITIONS)
        }
        run = f"robustness/resnet18/seed{seed}"
        (self.root / run).mkdir(parents=True)
        measured.write_scores(pd.concat(scores.values(), ignore_index=True), self.root / run / "scores.parquet")
        table = measured.robustness_table(scores, calibration, resamples=RESAMPLES)
        every = pd.concat(scores.values())
        unsure = unsure_table(every, calibration, caught(every), by="condition", resamples=RESAMPLES)
        settings = SETTINGS | {"seed": seed, "conditions": [{"condition": name} for name in CONDITIONS]}
        settings |= {"resamples": RESAMPLES}
        tables = {"robustness": table, "verdicts": measured.verdict_shares(scores), "unsure": unsure}
        tables["field"] = by_condition(
            {f"{c.OURS} (resnet18)": every} | self.detectors, [*CONDITIONS], resamples=RESAMPLES
        )
        tables["thresholds"] = at_frozen_thresholds(every, calibration, resamples=RESAMPLES)
        self.finish(run, tables, settings=settings, metrics={"small": {"blur_k3": 0.25}}, notebook="30.ipynb")

    def _plant_generalization(self, seed: int) -> None:
        calibration = read(self.root / f"complete/resnet18/seed{seed}/calibration.json")
        how = {"calibration": calibration, "resamples": RESAMPLES}
        scores = self.scores(
            ["test", "unseen"], "g", seed, right=0.9, seed=seed, temperature=calibration["temperature"]
        )
        run = f"generalization/resnet18/seed{seed}"
        (self.root / run).mkdir(parents=True)
        measured.write_scores(scores, self.root / run / "scores.parquet")
        means = averages(scores, **how)
        mark = self.fitted[self.mark].query("split in ('test', 'unseen')")
        seen = seen_against_unseen({f"{c.OURS} (resnet18)": means, self.mark: averages(mark, **how)})
        sources = scores["path"].map(self.images.set_index("path")["source"])
        methods = {f"{c.OURS} (resnet18)": scores.assign(source=sources)} | self.detectors
        field = [field_table(each, method=name, resamples=RESAMPLES) for name, each in methods.items()]
        tables = {
            "by_architecture": by_architecture(scores, **how),
            "averages": means,
            "seen_unseen": seen,
            "field": pd.concat(field, ignore_index=True),
            "by_source": by_source(scores, sources, **how),
            "confidence": proper_scores(scores, **how),
            "reliability": reliability_table(scores, calibration),
            "unsure": unsure_table(scores, unlike=caught(scores), **how),
        }
        recalls = seen.set_index(["method", "nature", "split"])["recall"]
        metrics = {"recall": {" ".join(key): value for key, value in recalls.items()}}
        settings = SETTINGS | {"seed": seed, "resamples": RESAMPLES}
        self.finish(run, tables, settings=settings, metrics=metrics, notebook="40.ipynb")

    def _plant_comparison(self, own: dict[str, list[pd.DataFrame]]) -> None:
        for name, members in ENSEMBLES.items():
            own[name] = [c.ensemble(list(each), name=name) for each in zip(*(own[member] for member in members))]
        fitted = {name: [tested(table)] for name, table in self.fitted.items()}
        methods, differences = c.compare(own | fitted, resamples=RESAMPLES)
        content = self.images.set_index("path")["content"]
        inside = inside_contents(own | fitted, content, resamples=RESAMPLES).assign(backbone="resnet18")
        methods["method"] = [name if name in fitted else f"{name} (resnet18)" for name in methods["method"]]
        differences = c.decide(differences.assign(backbone="resnet18"))
        differences["mcnemar_p_holm"] = stats.holm(differences["mcnemar_p"].to_numpy())
        answers = {"resnet18": c.answer(differences, c.rivals(VARIANTS, ENSEMBLES))}
        settings = {"backbones": ["resnet18"], "seeds": list(self.seeds), "variants": VARIANTS}
        settings |= {"ensembles": ENSEMBLES, "resamples": RESAMPLES}
        metrics = {"seeds": len(self.seeds), "answers": answers, "mark": self.mark}
        tables = {"methods": methods, "differences": differences, "mark": self.candidates, "contents": inside}
        tables["detectors"], tables["detector_differences"] = compare_detectors(
            {"resnet18": own[c.OURS]}, self.detectors, resamples=RESAMPLES
        )
        (self.root / "baselines").mkdir()
        theirs = pd.concat(self.detectors.values(), ignore_index=True)
        measured.write_scores(theirs, self.root / "baselines" / "external.parquet")
        self.finish("baselines", tables, settings=settings, metrics=metrics, notebook="50.ipynb")

    def _plant_report(self) -> None:
        place = str(self.root)
        runs, _ = report.collect_runs(place, backbones=["resnet18"], seeds=list(self.seeds), variants=list(VARIANTS))
        records = report.read_records(place, runs)
        tables = report.gather_tables(place, runs) | {
            "main": report.compared(place, "methods"),
            "difference": report.compared(place, "differences"),
            "mark": report.compared(place, "mark"),
            "contents": report.compared(place, "contents"),
            "detector_methods": report.compared(place, "detectors"),
            "detector_differences": report.compared(place, "detector_differences"),
            "base_models": report.base_table(records),
            "settings": report.settings_table(records),
            "cost": report.cost_table(runs),
            "shortcuts": pd.DataFrame({"method": ["bytes"], "sentence": ["Knowing only the size tells nothing."]}),
            "runs": runs,
        }
        settings = {"question": "Does it work?", "runs": runs["run"].tolist(), "left_out": []}
        self.finish("report", tables, settings=settings, metrics={"runs": len(runs)}, notebook="90.ipynb")


def planted_images() -> pd.DataFrame:
    """Manifest rows of scenes of two images: every part that is scored."""
    parts = {"base_valid": 48, "complete_select": 24, "complete_calibrate": 120, "test": 72, "unseen": 24}
    split = np.repeat(list(parts), list(parts.values()))
    images = rows(len(split), per_group=2).assign(split=split, source="set_a")
    images.loc[images["split"] == "unseen", "architecture"] += "_new"
    shows = np.where(images.index % 12 < 6, "face", "object")  # two groups of each nature by turns
    images = images.assign(width=32, height=32, bytes=1000, content=shows)
    return images.assign(**{name: "" for name in COLUMNS if name not in images})


def caught(scores: pd.DataFrame) -> np.ndarray:  # [N] 1 or 0
    """Which images features would call unlike the training data; no score tells."""
    return (np.arange(len(scores)) % 7 == 0).astype(float)


def tested(scores: pd.DataFrame) -> pd.DataFrame:
    return scores[scores["split"] == "test"].sort_values(["variant", "path"], ignore_index=True)


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def rewrite(folder: Path, record: str, **changes: object) -> None:
    """Change what a finished run says of itself, and vouch for it again."""
    path = folder / f"{record}.json"
    path.write_text(json.dumps(read(path) | changes))
    _vouch_again(folder)


def draw(folder: Path, **figures: bool) -> None:
    """Give a finished run figures by name, which show pictures or do not, and vouch for it again."""
    (folder / "figures").mkdir(exist_ok=True)
    for name, pictures in figures.items():
        figure, axis = plt.subplots(figsize=(1, 1))
        if pictures:
            axis.imshow(np.zeros((2, 2, 3)))
        save_files(figure, folder / "figures" / f"{name}.png")
        plt.close(figure)
    _vouch_again(folder)


def _vouch_again(folder: Path) -> None:
    done = read(folder / DONE)
    vouch(folder, {name: done[name] for name in ("notebook", "code", "parameters")}, seconds=done["seconds"])
