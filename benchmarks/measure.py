"""What the benchmarks share: a table of figures against their limits, and a file that keeps it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dfxlib.study.runs import describe_environment
from dfxlib.system.files import write_text_atomic

RESULTS = Path(__file__).parent / "results"


def noisy_picture(random: np.random.Generator, side: int) -> Image.Image:
    """Between smooth and noisy, so that it takes as long to decode and encode as a photograph."""
    smooth = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((side, side))
    noisy = np.asarray(smooth) + random.normal(scale=4, size=(side, side, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def report(name: str, figures: dict[str, tuple[float, str, float]], **details: object) -> bool:
    """Print figures given as name: (value, "<=" or ">=", limit), keep them, say whether all limits are held."""
    rows = {}
    for title, (value, relation, limit) in figures.items():
        held = bool(value <= limit if relation == "<=" else value >= limit)  # JSON knows no bool of numpy
        rows[title] = {"value": round(value, 4), "limit": f"{relation} {limit}", "held": held}
        outcome = "held" if held else "MISSED"
        print(f"{title:<58} {value:10.3f}   {relation} {limit:<6} {value / limit:7.1%} of the limit   {outcome}")
    content = {"figures": rows, "details": details, "environment": describe_environment(torch.device("cpu"))}
    write_text_atomic(RESULTS / f"{name}.json", json.dumps(content, indent=1) + "\n")
    return all(row["held"] for row in rows.values())
