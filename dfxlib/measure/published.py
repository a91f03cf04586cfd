"""The scores of all runs of a study as one compressed table: what its published numbers are computed from."""

from pathlib import Path, PurePosixPath, PureWindowsPath

import pandas as pd

from dfxlib.measure.scores import LOGITS, read_scores, with_probabilities, write_scores
from dfxlib.names import SPLITS

#: Its name in a folder of published results.
SCORES = "scores.parquet"

#: Of a base model: whether an image is of its main class, and the probability that it gives to that.
_BASE = ["is_main", "p_main"]

#: The run that holds the scores of other people's detectors, each a variant; of most of them p_fake is all there is.
EXTERNAL = "external"

#: What only the manifest says of an image. Results of earlier versions hold no content.
_OF_MANIFEST = ["source", "content"]

_TEXTS = ["run", "path", "nature", "architecture", *_OF_MANIFEST, "group", "split", "condition", "backbone", "variant"]

_COLUMNS = [*_TEXTS, "seed", *LOGITS, *_BASE, "p_fake"]


def join_scores(
    tables: dict[str, pd.DataFrame],  # by run: those of `score_table`, or of `base_scores`
    manifest: pd.DataFrame,  # by path: the set that an image comes from, and what it shows
) -> pd.DataFrame:  # one row a run, image and condition
    """The scores of several runs in one table, without what follows from the rest: probabilities, from the logits.

    Images are told apart by their names in the manifest, which count from the data set's folder. Raises ValueError
    for a name that shows a folder of this machine.
    """
    joined = pd.concat([table.assign(run=run) for run, table in tables.items()], ignore_index=True)
    joined[_OF_MANIFEST] = manifest.reindex(index=joined["path"], columns=_OF_MANIFEST).to_numpy()
    joined = joined.reindex(columns=_COLUMNS)
    joined["p_fake"] = joined["p_fake"].where(joined["run"] == EXTERNAL)
    for path in pd.unique(joined["path"]):
        if PurePosixPath(path).is_absolute() or PureWindowsPath(path).drive or ".." in PurePosixPath(path).parts:
            raise ValueError(f"the scores of {path} show a folder of this machine; expected a name below data_root")
    return joined


def write_published(scores: pd.DataFrame, folder: Path) -> None:
    """Write the table; neighbouring rows are one image in all runs, which is the order that compresses best."""
    scores = scores.sort_values(["path", "run", "variant", "condition"], ignore_index=True)
    scores = scores.astype(dict.fromkeys(_TEXTS, "category"))
    encoded = dict.fromkeys([*LOGITS, "p_main", "p_fake"], "BYTE_STREAM_SPLIT")
    how = {"compression": "zstd", "compression_level": 19, "use_dictionary": _TEXTS}
    write_scores(scores, folder / SCORES, column_encoding=encoded, **how)


def read_published(folder: Path) -> pd.DataFrame:
    """The table of published results; raises FileNotFoundError where they came without it.

    A column that an earlier version did not publish is empty.
    """
    if not (folder / SCORES).is_file():
        raise FileNotFoundError(f"{folder} holds no {SCORES}; publish the study again, with a dfxlib that writes it")
    scores = read_scores(folder / SCORES).reindex(columns=_COLUMNS)
    return scores.assign(**{name: scores[name].astype(object) for name in _TEXTS})


def scores_of_run(scores: pd.DataFrame, run: str, *, temperature: float) -> pd.DataFrame:
    """The scores of one run as its notebook had them, but for checksums: parts in the order of SPLITS, then by path."""
    own = scores[scores["run"] == run]
    own = own.assign(_part=own["split"].map(SPLITS.index)).sort_values(["_part", "path"], kind="stable")
    return with_probabilities(own[[*_TEXTS, "seed", *LOGITS]].reset_index(drop=True), temperature=temperature)


def detectors_of(scores: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The scores of other people's detectors by name."""
    theirs = scores[scores["run"] == EXTERNAL].groupby("variant")
    return {str(name): own.reset_index(drop=True) for name, own in theirs}


def base_scores_of_run(scores: pd.DataFrame, run: str) -> pd.DataFrame:
    """The validation scores of one base model."""
    return scores.loc[scores["run"] == run, ["path", "nature", "architecture", "group", *_BASE]].reset_index(drop=True)
