"""How long a manifest takes to read, and how much memory; the paper's size and a million rows.

    python benchmarks/manifest_read.py

Each size is read in a process of its own, so that its peak of memory is its own. Beside it, in the
same process, the plain things it cannot do without: hashing the file and parsing it with pandas.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from dfxlib.data.manifest import COLUMNS, read_manifest, write_manifest
from dfxlib.data.splits import assign_splits
from dfxlib.names import CLASSES

SIZES = {"paper": 72_334, "million": 1_000_000}


def synthetic(count: int) -> pd.DataFrame:
    """Rows as long as those of a real data set: distinct paths and hashes, some ten architectures."""
    rng = np.random.default_rng(0)
    number = np.arange(count)
    nature = np.array(CLASSES)[number % 3]
    architecture = np.array([f"generator_{index:02d}" for index in range(18)])[number % 18]
    digests = [rng.bytes(32).hex() for _ in range(count)]
    table = pd.DataFrame({"nature": nature, "architecture": architecture, "sha256": digests})
    table["path"] = [f"{n}/{a}/image_{i:07d}.png" for n, a, i in zip(nature, architecture, number)]
    table["pixel_sha256"], table["phash"] = table["sha256"].str[::-1], table["sha256"].str[:16]
    table = table.assign(group=table["path"], format="PNG", mode="RGB", width=256, height=256, bytes=number + 10_000)
    table = table.assign(jpeg_quality=np.nan, content="unknown").reindex(columns=COLUMNS, fill_value="")
    return table.assign(split=assign_splits(table))


def measure_read(path: Path) -> dict:
    """Seconds of reading and of the plain parts, peak of memory in GB; of this process."""
    read_manifest(path.with_name("small.csv"))  # imports and first calls
    started = time.perf_counter()
    manifest, _ = read_manifest(path)
    seconds = time.perf_counter() - started
    # Not getrusage: its peak is inherited from the process that started this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) / 1e6
    rows = len(manifest)
    del manifest
    started = time.perf_counter()
    pd.read_csv(path, dtype=str, keep_default_na=False)
    return {"rows": rows, "seconds": seconds, "pandas_seconds": time.perf_counter() - started, "peak_gb": peak}


def main() -> int:
    """Without an argument, measure; with one, be the process that is measured."""
    if sys.argv[1:]:
        print(json.dumps(measure_read(Path(sys.argv[1]))))
        return 0
    from measure import report  # brings torch, whose memory is none of a manifest's

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        write_manifest(synthetic(100), Path(folder) / "small.csv")
        for name, count in SIZES.items():
            path = Path(folder) / f"{name}.csv"
            table = synthetic(count)
            started = time.perf_counter()
            assign_splits(table)
            split_seconds = time.perf_counter() - started
            started = time.perf_counter()
            write_manifest(table, path)
            write_seconds = time.perf_counter() - started
            del table
            printed = subprocess.run([sys.executable, __file__, str(path)], check=True, capture_output=True, text=True)
            found[name] = json.loads(printed.stdout) | {"split_seconds": split_seconds, "write_seconds": write_seconds}
            found[name]["megabytes"] = path.stat().st_size / 1e6
    figures = {
        "seconds to read 72,334 rows": (found["paper"]["seconds"], "<=", 1.0),
        "seconds to read 1,000,000 rows": (found["million"]["seconds"], "<=", 15.0),
        "peak of memory then, GB": (found["million"]["peak_gb"], "<=", 1.5),
        "seconds to read them, share of plain pandas": (
            found["million"]["seconds"] / found["million"]["pandas_seconds"],
            "<=",
            2.0,
        ),
    }
    print(json.dumps(found, indent=1))
    return 0 if report("manifest_read", figures, **found) else 1


if __name__ == "__main__":
    sys.exit(main())
