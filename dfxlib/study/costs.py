"""How long a study takes on this machine: the committed cost of each part, times what was measured here meanwhile.

The table of costs is of the demonstration on one machine. What another study asks for is scaled by its images, epochs
and pixels; how fast this machine is comes from the runs that are finished or at work.
"""

import atexit
import csv
import sys
import threading
import time
from contextlib import ExitStack
from itertools import takewhile
from pathlib import Path

from dfxlib.models.zoo import STEMS
from dfxlib.names import CLASSES
from dfxlib.study.run_folder import DONE
from dfxlib.study.settings import backbone_folders, base_variant, is_three_way, vary
from dfxlib.system.files import load_json, project_path, project_root
from dfxlib.system.live import START, Status, describe, minutes, read_runs, say, showing

#: Seconds of each section of each notebook, made by benchmarks/study_time.py of the demonstration.
COSTS = Path("studies", "costs.csv")

_LEAST = 20.0  # seconds of work here before an estimate says anything

_ENOUGH = 40.0  # seconds of work in one notebook, from which on its own pace counts

#: Notebooks in the order of the study; those of one stage may run side by side.
_STAGES = (("00",), ("10", "15"), ("20",), ("30", "40", "60"), ("50",), ("90",))


def read_costs() -> dict[str, dict[str, float]]:  # number of a notebook -> section -> seconds
    """The committed table of costs, a row a section."""
    costs: dict[str, dict[str, float]] = {}
    with open(project_root() / COSTS, encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            costs.setdefault(row["notebook"].partition("_")[0], {})[row["section"]] = float(row["seconds"])
    return costs


def planned_runs(study: dict) -> dict[str, tuple[str, str]]:  # folder below runs/STUDY -> number of notebook, variant
    """Every run of a study, as the Snakefile plans them."""
    runs = {"manifest": ("00", ""), "baselines": ("50", ""), "report": ("90", "")}
    for backbone in backbone_folders(study):
        for seed in study["seeds"]:
            for step, number in (("robustness", "30"), ("generalization", "40"), ("detection", "60")):
                runs[f"{step}/{backbone}/seed{seed}"] = (number, "")
            for variant in ("", *study["variants"]):
                kind = f"variant/{variant}" if variant else "base"
                if variant and is_three_way(study, variant):
                    runs[f"{kind}/{backbone}/seed{seed}"] = ("15", variant)
                    continue
                complete = kind if variant else "complete"
                runs[f"{complete}/{backbone}/seed{seed}"] = ("20", variant)
                if base_variant(study, variant) == variant:
                    for nature in CLASSES:
                        runs[f"{kind}/{backbone}/{nature}/seed{seed}"] = ("10", variant)
    return runs


def relative_work(study: dict, demo: dict, number: str, *, images: int) -> float:
    """Work of a notebook as a multiple of the demonstration's. Backbones differ besides, as running tells."""
    work = images / (3 * demo["demo_scenes"])
    if number in ("10", "15", "20", "30", "40"):
        own, known = ((each["crop_size"] or each["image_size"]) * STEMS[each["stem"]] for each in (study, demo))
        work *= (own / known) ** 2
    if number in ("20", "30", "40"):
        work *= study["crops"] / demo["crops"]
    if number in ("10", "15"):
        work *= study["base"]["epochs"] / demo["base"]["epochs"]
    if number == "30":
        work *= len(study["conditions"]) / len(demo["conditions"])
    return 1.0 if number in ("50", "60", "90") else work


class Estimate:
    """What is left of a study that is at work."""

    def __init__(self, study: dict, demo: dict, *, cores: int):
        self.study, self.demo = study, demo
        self.place = f"runs/{study['study']}"
        self.costs = read_costs()
        self.runs = planned_runs(study)
        self.slots = max(1, cores // study["threads"])
        self.started = time.time()
        self._seen: dict[str, tuple[float, float]] = {}  # folder -> its share when that last grew, and when that was

    def left(self, running: list[Status], now: float) -> float | None:  # seconds; None: nothing to judge by yet
        """Seconds until the study is finished, by the pace of what was measured since it started."""
        if (images := self._images()) is None:
            return None
        parts = {folder: self._sections(folder, images) for folder in self.runs}
        at_work = {self._folder(run): run for run in running if self._folder(run) in self.runs}
        for folder, run in at_work.items():
            if (share := self._share(run, parts[folder])) > self._seen.get(folder, (-1.0, now))[0]:
                self._seen[folder] = share, now
        cost = {folder: sum(own.values()) for folder, own in parts.items()}
        if (paces := self._paces(at_work, cost)) is None:
            return None
        left = 0.0
        for stage in _STAGES:
            rest = [0.0]
            for folder, (number, _) in self.runs.items():
                if number in stage and (folder in at_work or not self._is_done(folder)):
                    share, since = self._seen[folder] if folder in at_work else (0.0, now)
                    rest.append(max(0.0, cost[folder] * paces[number] * (1 - share) - (now - since)))
            left += max(sum(rest) / self.slots, *rest)
        return left

    def finished(self, running: list[Status]) -> int:
        """Runs that are finished, by this call or an earlier one."""
        at_work = {self._folder(run) for run in running}
        return sum(folder not in at_work and self._is_done(folder) for folder in self.runs)

    def _folder(self, run: Status) -> str:  # below the study's
        return run.folder.removeprefix(f"{self.place}/")

    def _is_done(self, folder: str) -> bool:
        return (project_path(self.place) / folder / DONE).is_file()

    def _images(self) -> int | None:
        """Images of the study; those of a folder are counted by its first notebook."""
        if self.study["demo_scenes"]:
            return 3 * self.study["demo_scenes"]
        metrics = project_path(self.place) / "manifest" / "metrics.json"
        return load_json(metrics)["images"] if metrics.is_file() else None

    def _sections(self, folder: str, images: int) -> dict[str, float]:  # seconds
        """What the table says of a run. What stands before the first heading takes the same in every study."""
        number, variant = self.runs[folder]
        work = relative_work(vary(self.study, variant), self.demo, number, images=images)
        return {name: seconds * (1 if name == START else work) for name, seconds in self.costs[number].items()}

    def _share(self, run: Status, parts: dict[str, float]) -> float:
        """How much of a running notebook is over, by the costs of its sections."""
        if run.section not in parts:
            return 0.0
        before = sum(seconds for _, seconds in takewhile(lambda part: part[0] != run.section, parts.items()))
        return (before + run.fraction * parts[run.section]) / sum(parts.values())

    def _paces(self, at_work: dict[str, Status], cost: dict[str, float]) -> dict[str, float] | None:  # by notebook
        """Seconds here for a second of the table: of each notebook where enough of it has run, else of all."""
        spent, expected = dict.fromkeys(self.costs, 0.0), dict.fromkeys(self.costs, 0.0)
        for folder, (number, _) in self.runs.items():
            done = project_path(self.place) / folder / DONE
            if folder in at_work:
                share, since = self._seen[folder]
                spent[number] += since - at_work[folder].started
                expected[number] += share * cost[folder]
            elif done.is_file() and done.stat().st_mtime > self.started:
                spent[number] += load_json(done)["seconds"]
                expected[number] += cost[folder]
        if sum(spent.values()) < _LEAST or not sum(expected.values()):
            return None
        of_all = sum(spent.values()) / sum(expected.values())
        return {number: spent[number] / expected[number] if spent[number] > _ENOUGH else of_all for number in spent}


def watch(study: dict, demo: dict, *, cores: int) -> None:
    """Show until this process ends what is at work and how long the study will take; in a log, the latter once."""
    estimate, told = Estimate(study, demo, cores=cores), threading.Event()

    def line(folder: Path) -> str:
        running, now = read_runs(folder), time.time()
        left = estimate.left(running, now)
        if left is not None and not told.is_set():
            told.set()
            judged = f"judged by its first {now - estimate.started:.0f} s"
            say(f"the study will take about {minutes(left)}, {judged}", file=sys.stderr)
        about = "" if left is None else f", about {minutes(left)} left"
        said = f"{estimate.finished(running)} of {len(estimate.runs)} notebooks{about}"
        return " | ".join([said, *describe(running, now)])

    stack = ExitStack()
    stack.enter_context(showing(line))
    atexit.register(stack.close)
