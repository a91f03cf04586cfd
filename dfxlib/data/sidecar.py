"""What was read of every file, kept beside the study so that unchanged files are not read again.

A file counts as unchanged while its size, its times of modification and of change, and its inode
are the same; for a member of a Parquet file, those of that file. That is what is known without
reading. Whoever must be sure compares checksums (`dfx manifest ROOT --verify FILE`),
and every reader of pixels proves a file's sha256 anyway.
"""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dfxlib.data.decode import DECODER, ImageFacts, image_files, inspect_file
from dfxlib.data.limits import NO_MEMORY
from dfxlib.system.files import sha256_bytes, vouched_sha256, write_vouched
from dfxlib.system.parallel import map_processes

BLOCK = 20_000  # images after which the sidecar is written, so that a killed build goes on from there

_STAMPS = ("stamp_size", "stamp_modified", "stamp_changed", "stamp_inode")

_ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64()}

_FACTS = pa.schema([(name, _ARROW[kind]) for name, kind in ImageFacts.__annotations__.items()])

_SCHEMA = pa.schema([("path", pa.string()), *((name, pa.int64()) for name in _STAMPS), *_FACTS])


def read_facts(
    rows: pd.DataFrame,  # a listing: path, container, row
    root: Path,
    *,
    pixel_limit: int,
    workers: int | None = None,
    sidecar: Path | None = None,  # folder that keeps the facts; None: every file is read
) -> pd.DataFrame:  # columns of ImageFacts, rows as in `rows`
    """Decode every file that is new or changed, take the others' facts from the sidecar.

    A sidecar that is damaged, or of another decoder or pixel limit, is not trusted: all is read.
    """
    key = {"decoder": DECODER, "pixel_limit": str(pixel_limit)}
    path = None if sidecar is None else sidecar_path(sidecar, root)
    stamps = _stamp_files(rows, root)
    facts, place = _take_known(path, key, rows, stamps)
    unread = np.flatnonzero(place < 0)
    read = partial(inspect_file, pixel_limit=pixel_limit)
    for start in range(0, len(unread), BLOCK):
        block = unread[start : start + BLOCK]
        label = f"reading images {start + 1} to {start + len(block)} of {len(unread)}"
        found = map_processes(read, image_files(rows.iloc[block], root), workers=workers, label=label)
        new = pa.Table.from_pylist(list(found), schema=_FACTS)
        place[block] = facts.num_rows + np.arange(len(block))
        facts = pa.concat_tables([facts, new])
        if path is not None:
            _write(path, key, rows, stamps, facts, place)
    return facts.take(place).to_pandas()


def sidecar_path(folder: Path, root: Path) -> Path:
    """One file a root, because the paths in it are relative."""
    return Path(folder) / f"files-{sha256_bytes(os.path.realpath(root).encode(errors='surrogateescape'))[:16]}.parquet"


def _stamp_files(rows: pd.DataFrame, root: Path) -> np.ndarray:  # [N, 4] int64; -1 where nothing is
    """Size, times and inode of every file; a Parquet file is asked once for all of its members."""
    files = rows["path"].where(rows["container"] == "", rows["container"]).tolist()
    asked = {file: _stamp(f"{root}/{file}") for file in dict.fromkeys(files)}
    return np.array([asked[file] for file in files], dtype=np.int64).reshape(len(rows), len(_STAMPS))


def _stamp(path: str) -> tuple[int, int, int, int]:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return (-1, -1, -1, -1)
    inode = status.st_ino & (2**63 - 1)  # some file systems use all 64 bits
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, inode)


def _take_known(
    path: Path | None, key: dict, rows: pd.DataFrame, stamps: np.ndarray
) -> tuple[pa.Table, np.ndarray]:  # facts, and the row of them that belongs to each of `rows`; -1: none
    place = np.full(len(rows), -1, dtype=np.int64)
    if path is None or not vouched_sha256(path):
        return _FACTS.empty_table(), place
    known = pq.read_table(path)
    own = {name.encode(): value.encode() for name, value in key.items()}
    if not own.items() <= (known.schema.metadata or {}).items() or known.schema.names != _SCHEMA.names:
        return _FACTS.empty_table(), place
    position = pd.Index(known["path"].to_pandas()).get_indexer(pd.Index(rows["path"]))
    was = np.stack([known[name].to_numpy() for name in _STAMPS], axis=1)
    same = (position >= 0) & (stamps[:, 1] >= 0)
    same[same] = (was[position[same]] == stamps[same]).all(axis=1)
    place[same] = np.arange(same.sum())
    return known.select(_FACTS.names).take(position[same]).cast(_FACTS), place


def _write(path: Path, key: dict, rows: pd.DataFrame, stamps: np.ndarray, facts: pa.Table, place: np.ndarray) -> None:
    # What memory or a disk did not give may be had the next time.
    lasting = pc.and_(pc.not_equal(facts["problem"], NO_MEMORY), pc.not_equal(facts["sha256"], "")).to_numpy()
    known = np.flatnonzero((place >= 0) & lasting[place])
    columns = [pa.array(rows["path"].iloc[known], pa.string()), *(pa.array(column) for column in stamps[known].T)]
    table = pa.Table.from_arrays([*columns, *facts.take(place[known]).columns], schema=_SCHEMA.with_metadata(key))
    write_vouched(path, lambda partial: pq.write_table(table, partial, compression="zstd"))
