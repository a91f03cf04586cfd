"""Publish a finished study for review: its tables, small figures and environments, and the README's tables of it.

python tools/publish.py runs/STUDY results/STUDY
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import pandas as pd

from dfxlib.measure.band import ON_AVERAGE
from dfxlib.measure.compare import describe
from dfxlib.measure.scores import markdown
from dfxlib.study.run_folder import DONE, verify
from dfxlib.system.files import project_root, require_own, write_text_atomic

_RECORDS = ("settings.json", "environment.json", "metrics.json", "calibration.json")

#: Column of the README's table: what it shows of the band, one after the other.
_RISKS = {
    "decided at the frozen band": ["decided"],
    "of all real called fake": ["real called fake"],
    "of all fakes called real": ["fake called real"],
    "real among those called fake, as here and at half": [
        "wrong among called fake",
        "wrong among called fake at one half",
    ],
    "fakes among those called real, as here and at half": [
        "wrong among called real",
        "wrong among called real at one half",
    ],
}

_ACCURACY = "three-way balanced accuracy (95% interval)"

_BASE = {
    "main share": "{main_share:g}",
    "validation AUC (95% interval)": "{valid_auc:.3f} ({valid_auc_low:.3f} to {valid_auc_high:.3f})",
    "images: own + other": "{main_images} + {other_images}",
}

#: Figures above this size stay in the run's folder and out of the repository.
LARGEST_FIGURE = 350_000  # bytes

#: The mark of what is published. A target without it is not replaced.
MARK = ".published"


def publish(run_root: Path, target: Path, *, figures: bool = True) -> list[Path]:
    """Copy tables, settings, environments and small figures of the runs that the report names, for review.

    Tables are copied of all, figures of the first of several seeds and of no variant. Some figures show pictures of
    the data set: where those must not be passed on, leave figures out.
    """
    report = Path(run_root, "report")
    if not (report / DONE).is_file():
        raise FileNotFoundError(f"{run_root} holds no finished report of a batch run; run make study first")
    names = [*json.loads((report / "settings.json").read_text())["runs"], "report"]
    for name in names:
        if problems := verify(Path(run_root, name)):
            raise ValueError(f"{run_root}/{name}: {problems[0]}; run its notebook again before publishing")
    require_own(target, MARK)
    shutil.rmtree(target, ignore_errors=True)
    copied, drawn = [], set()
    for name in names:
        folder, model = Path(run_root, name), name.rpartition("/seed")[0] or name
        wanted = [folder / own for own in _RECORDS if (folder / own).is_file()] + [*folder.glob("tables/*.csv")]
        if figures and model not in drawn and not name.startswith("variant/"):
            wanted += [path for path in folder.glob("figures/*.png") if path.stat().st_size <= LARGEST_FIGURE]
        drawn.add(model)
        for path in wanted:
            copied.append(target / path.relative_to(run_root))
            copied[-1].parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copied[-1])
    write_text_atomic(target / MARK, "written by tools/publish.py, which may replace this folder\n")
    return copied


def update_readme(readme: Path, results: Path) -> bool:  # whether the text changed
    """Put the tables of published results between the README's marks for them."""
    text = before = readme.read_text(encoding="utf-8")
    for mark, table in README_TABLES.items():
        opening, closing = f"<!-- {mark}:{results.name} -->", f"<!-- /{mark} -->"
        if opening in text:
            head, rest = text.split(opening, 1)
            if closing not in rest:
                raise ValueError(f"{readme} has {opening} without {closing} after it; add the closing mark")
            text = f"{head}{opening}\n{table(results)}\n{closing}{rest.split(closing, 1)[1]}"
    write_text_atomic(readme, text)
    return text != before


def results_table(results: Path) -> str:  # Markdown
    """Methods, base models, and what is left unsure."""
    tables = (_methods(results), _base_models(results), _unsure(results))
    return "\n\n".join(markdown(pd.DataFrame(rows)) for rows in tables if rows)


def methods_table(results: Path) -> str:  # Markdown
    """Every method with its interval, and its spread over seeds."""
    return markdown(pd.DataFrame(_methods(results)))


def differences_table(results: Path) -> str:  # Markdown
    """DeepFeatureX Net minus every other method on the same images, with the decision."""
    table = pd.read_csv(results / "baselines" / "tables" / "differences.csv")
    said = {"DeepFeatureX Net minus": table["method"], "three-way balanced accuracy": table.apply(describe, axis=1)}
    return markdown(pd.DataFrame(said))


#: Kinds of tables in the README, by the name in their marks.
README_TABLES = {"results": results_table, "methods": methods_table, "differences": differences_table}


def _methods(results: Path) -> list[dict]:
    rows = []
    for row in pd.read_csv(results / "report" / "tables" / "main.csv").to_dict("records"):
        spread = ", {seeds} seeds, sd {seed_sd:.3f}" if row["seeds"] > 1 else ""
        said = ("{value:.3f} ({low:.3f} to {high:.3f})" + spread).format(**row)
        rows.append({"method": row["method"], _ACCURACY: said, "images": row["images"]})
    return rows


def _base_models(results: Path) -> list[dict]:
    rows = []
    for folder in sorted(results.glob("base/*/*/seed*")):
        facts = json.loads((folder / "settings.json").read_text()) | json.loads((folder / "metrics.json").read_text())
        told = {title: text.format(**facts) for title, text in _BASE.items()}
        rows.append({"base model": folder.parent.name} | told)
    return rows


def _unsure(results: Path) -> list[dict]:
    rows = []
    for path in sorted(results.glob("generalization/*/seed*/tables/unsure.csv")):
        for split, part in pd.read_csv(path).groupby("split", sort=False):
            risk = part.set_index("metric")
            row = {"images": f"{split} ({risk.loc['decided', 'images']})"}
            for title, metrics in _RISKS.items():
                if found := [_share(risk.loc[metric]) for metric in metrics if metric in risk.index]:
                    row[title] = "; ".join(found)
            promise = risk.loc["real called fake"].get("promise", ON_AVERAGE)  # results of before did not say
            kept = f"{risk['promised'].max():.0%} {promise}" if split == "test" else "nothing"  # those of unlike images
            rows.append(row | {"promised of either": kept})
    return rows


def _share(row: pd.Series) -> str:
    return "undefined" if pd.isna(row["value"]) else "{value:.1%} ({value_low:.1%} to {value_high:.1%})".format(**row)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="copy tables, small figures and environments for review")
    parser.add_argument("run", type=Path, help="runs/STUDY")
    parser.add_argument("results", type=Path, help="results/STUDY")
    parser.add_argument("--no-figures", action="store_true", help="where its pictures must not be passed on")
    options = parser.parse_args(arguments)
    try:
        copied = publish(options.run, options.results, figures=not options.no_figures)
        print(f"{len(copied)} files copied to {options.results}")
        if update_readme(project_root() / "README.md", options.results):
            print("README.md: tables of results renewed")
    except (ValueError, OSError) as error:
        print(f"publish: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
