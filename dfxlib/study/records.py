"""What every run says of itself, read from its folder, or from the one table `runs.csv` of a published study."""

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd

from dfxlib.study.run_folder import DONE, verify
from dfxlib.system.files import load_json, write_atomic

#: Records by run: of each name below a dictionary; a run that trains nothing has no calibration.
Records = dict[str, dict[str, dict]]

RECORDS = ("settings", "metrics", "environment", "calibration")

#: The name of the table in a folder of published results.
RUNS = "runs.csv"

_FACTS = ("run", "notebook", "code", "seconds", "device", "threads", "commit", "manifest", "files")


def describe_run(root: Path, run: str) -> dict[str, Any]:
    """Notebook, time, device, commit and manifest of a finished run, and whether its files are as vouched."""
    folder = root / run
    environment, metrics = (load_json(folder / f"{name}.json") for name in ("environment", "metrics"))
    done = load_json(folder / DONE) if (folder / DONE).is_file() else {}
    return {
        "run": run,
        "notebook": done.get("notebook", "stepped through by hand"),
        "code": done.get("code", "unknown"),
        "seconds": done.get("seconds", metrics["seconds"]),
        "device": environment["device"],
        "threads": environment["threads"],
        "commit": environment["commit"],
        "manifest": metrics.get("manifest_hash", "")[:12],
        "files": "; ".join(verify(folder)) or "as vouched",
    }


def read_run(folder: Path) -> dict[str, dict]:
    """The records of one run."""
    return {name: load_json(folder / f"{name}.json") for name in RECORDS if (folder / f"{name}.json").is_file()}


def write_runs(runs: pd.DataFrame, records: Records, path: Path) -> None:
    """Write runs and their records, one row a run, one column a field: `settings.epochs`, `environment.commit`.

    Text stands as it is, all else as JSON; what a run does not have is empty.
    """
    rows = []
    for facts in runs[list(_FACTS)].astype(object).to_dict("records"):
        own = {f"{name}.{key}": value for name, each in records[facts["run"]].items() for key, value in each.items()}
        rows.append({name: _told(value) for name, value in (facts | own).items()})
    own_columns = {name: None for row in rows for name in row if name not in _FACTS}
    columns = [*_FACTS, *sorted(own_columns, key=lambda name: RECORDS.index(name.partition(".")[0]))]
    table = pd.DataFrame(rows, columns=columns).fillna("")
    write_atomic(path, lambda partial: table.to_csv(partial, index=False, lineterminator="\n"))


def read_runs(folder: Path) -> tuple[pd.DataFrame, Records]:
    """What `write_runs` wrote; raises FileNotFoundError where a folder of results has no such table."""
    path = folder / RUNS
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no {RUNS}; publish the study again, with a dfxlib that writes it")
    facts, records = [], {}
    with open(path, encoding="utf-8", newline="") as handle:
        csv.field_size_limit(10_000_000)  # a setting may hold a long list
        for row in csv.DictReader(handle):
            told = {name: _meant(text) for name, text in row.items() if text}
            facts.append({name: told.pop(name) for name in _FACTS})
            own: dict[str, dict] = {}
            for name, value in told.items():
                record, _, key = name.partition(".")
                own.setdefault(record, {})[key] = value
            records[facts[-1]["run"]] = own
    return pd.DataFrame(facts), records


def _told(value: object) -> str:
    """As a cell; text that would read as JSON is put into quotes, or the number of a commit would lose its zeros."""
    if isinstance(value, str) and value and _meant(value) == value:
        return value
    return json.dumps(value, default=str)


def _meant(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
