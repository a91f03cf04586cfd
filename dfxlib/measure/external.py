"""Scores of other people's detectors: read, checked against the manifest, and compared with ours.

No code of theirs runs here. A detector is a CSV file: one row an image, its `path` in the manifest or its `sha256`,
and `p_fake`; where it tells the three natures apart, `p_dm`, `p_gan` and `p_real` as well.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from dfxlib.data.perturb import require_conditions
from dfxlib.measure.compare import OURS, compare, decide, test_part
from dfxlib.measure.scores import LOGITS, PROBABILITIES, SCORE_COLUMNS
from dfxlib.system.files import project_path
from dfxlib.system.shown import shown

#: Parts on which a detector may be scored.
SCORED = ("test", "unseen")

_TOLERANCE = 1e-3  # of probabilities that were written with few digits

_SMALLEST = np.finfo(np.float32).tiny  # a probability of 0 has no logarithm


def read_detectors(files: dict[str, str], manifest: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The scores of several detectors, each image of `test` and maybe of `unseen` once a condition.

    `files` are CSV by name of the detector; a relative path counts from the project's folder. The tables have the
    columns SCORE_COLUMNS and source, and rows by condition, in the manifest's order.
    `condition` is `raw` where the file has no such column. Of a detector that gives `p_fake` alone, logits, `p_dm` and
    `p_gan` are NaN: it has no three-way verdict. Raises FileNotFoundError, and ValueError with the name of the first
    image for scores that are no probabilities, of unknown images, of another split, twice, or incomplete.
    """
    return {name: _read_detector(name, project_path(file), manifest) for name, file in files.items()}


def _read_detector(name: str, file: Path, manifest: pd.DataFrame) -> pd.DataFrame:
    where = f"scores of {name} ({file.name})"
    if not file.is_file():
        raise FileNotFoundError(f"{where} are missing: no file {file}; check `external` of the study")
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{where}: no CSV in UTF-8 with a header ({str(error).splitlines()[0]})") from error
    key = next((column for column in ("path", "sha256") if column in table), "")
    if not key or "p_fake" not in table or table.empty:
        raise ValueError(f"{where}: columns {', '.join(table)}; expected path or sha256, and p_fake, an image a row")
    table = table.assign(condition=table.get("condition", "raw"))
    table[key] = table[key].str.lower() if key == "sha256" else table[key].str.removeprefix("./")
    try:
        require_conditions(list(pd.unique(table["condition"])))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    rows = _rows_of(table, key, manifest, where)
    numbers = _probabilities(rows, key, where)
    rows = rows.drop(columns=[*PROBABILITIES, "p_fake"], errors="ignore").join(numbers)
    rows[LOGITS] = np.log(rows[PROBABILITIES].to_numpy().clip(_SMALLEST)).astype(np.float32)
    rows.loc[rows["p_dm"].isna(), LOGITS] = np.nan
    rows = rows.assign(backbone="none", variant=name, seed=0)
    _require_whole(rows, manifest, where)
    return rows.sort_values(["condition", "row"], ignore_index=True)[[*SCORE_COLUMNS, "source"]]


def _rows_of(table: pd.DataFrame, key: str, manifest: pd.DataFrame, where: str) -> pd.DataFrame:
    """The manifest's rows behind the scores, with their place in it as `row`; copies of a file share a sha256."""
    images = manifest[["sha256", "path", "nature", "architecture", "group", "split", "source"]]
    unknown = ~table[key].isin(images[key])
    if unknown.any():
        first, known = (shown(names.iloc[0]) for names in (table.loc[unknown, key], images[key]))
        raise ValueError(f"{where}: {unknown.sum()} images are not in the manifest, first {first}; it has {known}")
    wanted = [key, "condition", "p_fake", *(column for column in PROBABILITIES if column in table)]
    rows = images.assign(row=np.arange(len(images))).merge(table[wanted], on=key)
    scored = rows["split"].isin(SCORED)
    other = rows[~rows[key].isin(rows.loc[scored, key])]  # an excluded copy of a tested file is no other image
    if len(other):
        first = other.iloc[0]
        raise ValueError(
            f"{where}: {len(other)} images are of other parts than {' and '.join(SCORED)}, first "
            f"{shown(first['path'])} of {first['split']}; take them out, or name the file of this study"
        )
    twice = rows.duplicated(["path", "condition"])
    if twice.any():
        raise ValueError(f"{where}: {shown(rows.loc[twice, 'path'].iloc[0])} is scored twice; keep one row of it")
    return rows[scored]


def _probabilities(rows: pd.DataFrame, key: str, where: str) -> pd.DataFrame:  # PROBABILITIES and p_fake
    """Numbers from 0 to 1; of a detector with three of them they sum to one and p_fake is the first two."""
    columns = [column for column in (*PROBABILITIES, "p_fake") if column in rows]
    if len(columns) not in (1, 4):
        raise ValueError(f"{where}: has {', '.join(columns)}; expected p_fake alone, or {', '.join(PROBABILITIES)} too")
    numbers = rows[columns].apply(pd.to_numeric, errors="coerce")
    for column in columns:
        wrong = ~numbers[column].between(0, 1)
        if wrong.any():
            first = rows[wrong].iloc[0]
            raise ValueError(
                f"{where}: {column} of {shown(first[key])} is {shown(first[column])!r}; expected a probability from 0 "
                "to 1 (of a logit x it is 1 / (1 + exp(-x)))"
            )
    if len(columns) == 1:
        return numbers.assign(p_dm=np.nan, p_gan=np.nan, p_real=1 - numbers["p_fake"])
    off = (numbers[PROBABILITIES].sum(axis=1) - 1).abs() + (numbers["p_fake"] + numbers["p_real"] - 1).abs()
    if (off > _TOLERANCE).any():
        first = rows[off > _TOLERANCE].iloc[0]
        raise ValueError(f"{where}: the probabilities of {shown(first[key])} do not sum to one, p_fake to p_dm + p_gan")
    return numbers


def _require_whole(rows: pd.DataFrame, manifest: pd.DataFrame, where: str) -> None:
    """A detector that left out what it could not judge would look better than it is."""
    for condition, part in rows.groupby("condition"):
        for split in SCORED:
            wanted = manifest.loc[manifest["split"] == split, "path"]
            missing = wanted[~wanted.isin(part["path"])]
            if len(missing) and (split == "test" or len(missing) < len(wanted)):
                raise ValueError(
                    f"{where}: {len(missing)} of {len(wanted)} {split} images have no score under {condition}, "
                    f"first {shown(missing.iloc[0])}; score all of them"
                )


def is_three_way(scores: pd.DataFrame) -> bool:
    """Whether a detector tells the three natures apart."""
    return bool(scores["logit_dm"].notna().all())


def raw_scores(detectors: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """What each detector says of the images as they are."""
    return {name: scores[scores["condition"] == "raw"].reset_index(drop=True) for name, scores in detectors.items()}


def compare_detectors(
    ours: dict[str, list[pd.DataFrame]],  # test scores by backbone, one table a seed
    detectors: dict[str, pd.DataFrame],  # raw scores
    *,
    resamples: int = 2000,
) -> tuple[pd.DataFrame, pd.DataFrame]:  # methods, differences: as of `compare.compare`, by task and backbone
    """Our model beside every detector on the test images, and its paired differences from them.

    `fake or real` calls fake what has p_fake above one half, ours too; `three-way` is there for detectors with three
    probabilities. All these differences are one family of comparisons.
    """
    theirs = {name: [test_part(scores)] for name, scores in raw_scores(detectors).items()}
    three = {name: tables for name, tables in theirs.items() if is_three_way(tables[0])}
    methods, differences = [], []
    for backbone, tables in ours.items():
        for task, others in (("fake or real", theirs), ("three-way", three)):
            if others:
                table, part = compare({OURS: tables} | others, task=task, resamples=resamples)
                table["method"] = table["method"].replace({OURS: f"{OURS} ({backbone})"})
                methods.append(table.assign(task=task))
                differences.append(part.assign(task=task, backbone=backbone))
    together = pd.concat(methods, ignore_index=True).drop_duplicates(["task", "method"], ignore_index=True)
    return together, decide(pd.concat(differences, ignore_index=True))
