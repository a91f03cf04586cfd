"""Images that lie in the rows of Parquet files.

pyarrow is imported where it is used: most data sets need none of it, and processes that decode start sooner.
"""

import errno
import os
from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def read_member(container: Path, row: int) -> bytes:
    """Bytes of one image of a Parquet file; raises OSError, or ValueError for a damaged file."""
    status = os.stat(container)
    stamp = (status.st_size, status.st_mtime_ns, status.st_ino)  # a file that changed is opened anew
    starts, column = _row_groups(container, stamp)
    if not 0 <= row < starts[-1]:
        raise FileNotFoundError(errno.ENOENT, f"no row {row} in {container.name}")
    group = bisect_right(starts, row) - 1
    value = _read_row_group(container, stamp, group, column)[row - starts[group]].as_py()
    data = value.get("bytes") if isinstance(value, dict) else value
    if data is None:
        raise ValueError("the row holds no bytes")
    return data


@lru_cache(maxsize=1)
def _read_row_group(container: Path, stamp: tuple, group: int, column: str) -> "pa.ChunkedArray":
    """The image column of one row group; the last one is kept, because rows are asked for in order."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(container).read_row_group(group, columns=[column]).column(0)


@lru_cache(maxsize=64)
def _row_groups(container: Path, stamp: tuple) -> tuple[list[int], str]:
    """First row of every row group and the number of rows, and the column that holds the images.

    pyarrow is imported here: most data sets need none of it.
    """
    import pyarrow.parquet as pq

    file = pq.ParquetFile(container)
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    return [0, *accumulate(sizes)], image_column(file.schema_arrow, container.name)


def image_column(schema: "pa.Schema", name: str) -> str:
    """The column that holds the images: bytes, or a struct with a field `bytes` as the `datasets` library has it.

    Of several it is the one called `image`. Raises pyarrow's ArrowInvalid where there is none, and ValueError where
    several could be meant, or where the bytes lie deeper than that.
    """
    import pyarrow as pa

    found = [field for field in schema if field.name == "image" or _may_hold_bytes(field.type)]
    if not found:
        raise pa.ArrowInvalid("no column holds the bytes of images")
    few = [field for field in found if field.name == "image"] or found
    if len(few) > 1:
        raise ValueError(f"{name}: {' and '.join(f.name for f in few)} could both be the image; call one of them image")
    column, kind = few[0].name, few[0].type
    if not holds_bytes(kind):
        raise ValueError(f"{name}: {column} holds images as {kind}; expected bytes, or a struct with a field bytes")
    return f"{column}.bytes" if pa.types.is_struct(kind) else column


def _may_hold_bytes(kind: "pa.DataType") -> bool:
    """Whether bytes lie anywhere in values of this type: in a list, a dictionary, a struct."""
    inner = [kind.field(place).type for place in range(kind.num_fields)]
    inner += [kind.value_type] if hasattr(kind, "value_type") else []
    return holds_bytes(kind) or str(kind) == "binary_view" or any(map(_may_hold_bytes, inner))


def holds_bytes(kind: "pa.DataType") -> bool:
    """Whether values of this type can be the bytes of images."""
    fields = [kind.field(place) for place in range(kind.num_fields)]
    return str(kind) in ("binary", "large_binary") or any(f.name == "bytes" and holds_bytes(f.type) for f in fields)
