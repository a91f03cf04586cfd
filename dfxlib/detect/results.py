"""Where rows go as they come: lines for people or programs, a CSV, a page; and how many there were of each kind."""

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from dfxlib.data.walk import EMPTY
from dfxlib.detect.find import OTHER
from dfxlib.detect.page import Page
from dfxlib.detect.verdicts import COLUMNS, UNLIKE, describe
from dfxlib.system.files import atomic


def save_rows(
    rows: Iterable[dict],
    *,
    table: Path | None = None,
    page: Path | None = None,
    model: str = "",  # as the page calls it
    lines: str = "",  # text or json: on the screen as they come, the second as one object a line; empty: none
) -> Counter:
    """Write rows as they come, and count the verdicts.

    The files appear whole when the last row is written, or not at all. Of a table that is interrupted the finished
    rows stay, as NAME.partial.csv, which the exception then names.
    """
    counts: Counter = Counter()
    with ExitStack() as stack:
        # A table or a page that nobody asked for is written into nothing.
        table_partial = stack.enter_context(atomic(table)) if table else os.devnull
        page_partial = stack.enter_context(atomic(page)) if page else os.devnull
        table_file = stack.enter_context(open(table_partial, "w", encoding="utf-8", newline=""))
        page_file = stack.enter_context(open(page_partial, "w", encoding="utf-8", newline=""))
        writer = csv.DictWriter(table_file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        shown_page = Page(page_file, model)
        try:
            for row in rows:
                writer.writerow({name: f"{v:.6f}" if isinstance(v, float) else v for name, v in row.items()})
                if lines:
                    tqdm.write(as_json(row) if lines == "json" else describe(row))  # above the progress bar
                shown_page.add(row)
                count(row, counts)
        except KeyboardInterrupt as stop:
            told = f"{str(stop) or 'interrupted'} after {summary(counts)}"  # Ctrl-C itself says nothing
            if table:
                left = Path(table_partial).rename(table.with_suffix(f".partial{table.suffix}"))
                told += f"; see {left}"
            raise type(stop)(told) from stop
        shown_page.end(summary(counts))
    return counts


def as_json(row: dict) -> str:
    """A row as one line of JSON with the names of COLUMNS; null where nothing is known."""
    numbers = {name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()}
    # NaN, which equals nothing, is no JSON: a distance from unknown training data is unknown.
    unknown = {name for name, value in numbers.items() if value == "" or value != value}
    return json.dumps({name: None if name in unknown else numbers[name] for name in COLUMNS})


def count(row: dict, counts: Counter) -> None:
    """Add a row to the counts: by its verdict, or why there is none (`problem` of an image, `other` of no image)."""
    if row["verdict"]:
        counts[row["verdict"]] += 1
        counts["unlike"] += row["reason"] == UNLIKE
    else:
        counts["other" if row["problem"].endswith((OTHER, EMPTY)) else "problem"] += 1


def summary(counts: Counter) -> str:
    """How many images got each verdict, as a sentence's part: `5 images: 1 fake, 1 real, 3 unsure, 2 of them ...`."""
    images = sum(counts[name] for name in ("fake", "real", "unsure", "problem"))
    told = [f"{counts[name]} {name}" for name in ("fake", "real", "unsure") if counts[name]]
    for name, words in {"unlike": f"of them {UNLIKE}", "problem": "with a problem"}.items():
        if counts[name]:
            told.append(f"{counts[name]} {words}")
    if counts["other"]:
        told.append(f"{counts['other']} other {'file' if counts['other'] == 1 else 'files'}")
    head = "1 image" if images == 1 else f"{images} images"
    return f"{head}: {', '.join(told)}" if told else head
