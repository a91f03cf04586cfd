"""The card of an exported model, in the form that model hubs read, filled in from its run."""

from pathlib import Path

import pandas as pd

from dfxlib.detect.folder import REFERENCE
from dfxlib.detect.unlike import load_reference
from dfxlib.measure.band import promise
from dfxlib.measure.cuts import never_said
from dfxlib.study.reading import for_readers, reader_markdown
from dfxlib.system.files import load_json, safe_name


def model_card(run: Path, settings: dict, calibration: dict) -> str:  # Markdown
    """What the model is, what it was trained on, what was measured, and what was not; text in model_card.md."""
    made, cuts = load_json(run / "environment.json"), calibration.items()
    bounded = ["value", "low", "high"]
    recall = ["nature", "architecture", "split", "images", "recall", "recall_low", "recall_high"]
    # Other runs of the same study, backbone and seed.
    study, place = run.absolute().parents[2], Path(safe_name(settings["backbone"]), f"seed{settings['seed']}", "tables")
    known = load_reference(run / REFERENCE)
    template = Path(__file__).with_name("model_card.md").read_text(encoding="utf-8")
    return template.format(
        **settings,
        **{name: made[name] for name in ("date", "device", "commit")},
        versions=", ".join(f"{name} {made['packages'][name]}" for name in ("torch", "torchvision", "pillow")),
        trained_on=f"{', '.join(known['formats'])}; {known['sides'][0]} to {known['sides'][1]}",
        natures=", ".join(settings["classes"]),
        never=never_said(calibration) or "none",
        promise=promise(calibration),
        calibration=", ".join(f"{name} {value:.4g}" for name, value in cuts if name != "unsure_promise"),
        test=_table(run / "tables" / "summary.csv", ["verdict", "metric", *bounded, "images"]),
        architectures=_table(study / "generalization" / place / "by_architecture.csv", recall),
        robustness=_table(study / "robustness" / place / "robustness.csv", ["condition", "metric", *bounded]),
    )


def _table(path: Path, columns: list[str]) -> str:
    return reader_markdown(for_readers(pd.read_csv(path)[columns])) if path.is_file() else "Not measured so far."
