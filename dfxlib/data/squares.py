"""Pictures as model input: squares of uint8, stored once a study or streamed under perturbations."""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dfxlib.data.decode import DECODER, ImageFile, image_files, read_image
from dfxlib.data.perturb import CONDITIONS
from dfxlib.names import RESIZE_MODES, require_name
from dfxlib.system.files import new_array, require_place, source_hash, stored_array
from dfxlib.system.parallel import map_processes

if TYPE_CHECKING:  # processes that decode need none of it, and start sooner
    import pandas as pd

_CODE = source_hash(sys.modules[__name__])  # what stored squares depend on here


def to_square(
    image: Image.Image,
    *,
    image_size: int = 256,  # pixels
    resize_mode: str = "resize",
) -> np.ndarray:  # [image_size, image_size, 3] uint8
    """A picture as square model input.

    `resize`: bilinear with antialiasing, the aspect is not kept (the reference). `crop`: the
    centre, unscaled; what a smaller picture lacks is mirrored at its borders. `nearest`: enlarged
    or thinned by nearest neighbour. The last two keep traces that interpolation smooths away.
    """
    require_name(resize_mode, RESIZE_MODES, what="resize_mode")
    if resize_mode == "crop":
        return _centre_crop(np.asarray(image), image_size)
    kind = Image.Resampling.NEAREST if resize_mode == "nearest" else Image.Resampling.BILINEAR
    return np.asarray(image.resize((image_size, image_size), kind))


def _centre_crop(pixels: np.ndarray, size: int) -> np.ndarray:  # [H, W, 3] -> [size, size, 3]
    missing = [max(0, size - extent) for extent in pixels.shape[:2]]
    if any(missing):
        borders = [(extent // 2, extent - extent // 2) for extent in missing]
        pixels = np.pad(pixels, [*borders, (0, 0)], mode="symmetric")
    top, left = ((extent - size) // 2 for extent in pixels.shape[:2])
    return pixels[top : top + size, left : left + size]


def pixel_store(
    manifest: "pd.DataFrame",
    *,
    manifest_hash: str,
    data_root: Path,
    cache_root: Path,
    image_size: int = 256,
    resize_mode: str = "resize",
    workers: int | None = None,
) -> np.ndarray:  # [N, image_size, image_size, 3] uint8, memory-mapped; row i is manifest row i
    """Every usable image decoded and resized once; later calls open the stored file.

    Keyed by manifest, transform with its code, and decoder, verified by checksum. Rows with a problem
    stay zero. Raises ImageProblem when a file is no longer what the manifest says, and ValueError where `cache_root`
    lies among the images.
    """
    require_place(cache_root, what=f"cache_root {cache_root}", apart=[data_root])
    key = [manifest_hash, image_size, resize_mode, DECODER, _CODE]
    shape = (len(manifest), image_size, image_size, 3)
    squares = _squares(manifest, data_root, ["raw"], image_size, resize_mode, workers)
    return stored_array(cache_root, "pixels", key, lambda path: _fill(path, shape, squares))


def perturbed_squares(
    manifest: "pd.DataFrame",  # rows to read; index = position in the study's manifest
    conditions: list[str],
    *,
    data_root: Path,
    image_size: int = 256,
    resize_mode: str = "resize",
    batch_size: int = 256,  # images
    workers: int | None = None,
) -> Iterator[np.ndarray]:  # [B, conditions, image_size, image_size, 3] uint8
    """Batches of the same images under every condition, in the manifest's order.

    A file is read and decoded once; each condition is applied to the raw picture, then the
    picture becomes a square. Nothing is written to disk.
    """
    for name in conditions:
        require_name(name, tuple(CONDITIONS), what="condition")
    stream = _squares(manifest, data_root, conditions, image_size, resize_mode, workers)
    while batch := [squares for _, squares in islice(stream, batch_size)]:
        yield np.stack(batch)


def map_pixels(
    functions: dict[Callable, "pd.DataFrame"],  # of [H, W, 3] uint8 -> [k]; and its manifest rows
    *,
    data_root: Path,
    workers: int | None = None,
) -> dict[Callable, np.ndarray]:  # by function, [N, k] in the order of its rows
    """Functions of the raw pixels, at each picture's own size; a picture is decoded once for all of them.

    They are functions of a module, which travel to processes by name; their rows have no problem. Raises ValueError for
    a function without rows.
    """
    import pandas as pd

    for function, rows in functions.items():
        if rows.empty:
            raise ValueError(f"no image for {function.__name__}; it needs pictures of at least 32 pixels a side")
    every = pd.concat(functions.values())
    every = every[~every.index.duplicated()]
    wanted = [[f for f, rows in functions.items() if row in rows.index] for row in every.index]
    jobs = list(zip(image_files(every, data_root), wanted, strict=True))
    found = map_processes(_apply_to_file, jobs, workers=workers, label="pixels")
    values = dict(zip(every.index, found, strict=True))
    return {f: np.stack([values[row][f] for row in rows.index]) for f, rows in functions.items()}


def _apply_to_file(job: tuple[ImageFile, list[Callable]]) -> dict[Callable, np.ndarray]:
    file, functions = job
    pixels = np.asarray(read_image(file))
    return {function: function(pixels) for function in functions}


def read_squares(file: ImageFile, *, conditions: list[str], image_size: int, resize_mode: str) -> np.ndarray:
    """One file under several conditions: [conditions, image_size, image_size, 3] uint8."""
    image = read_image(file)
    versions = (CONDITIONS[condition](image) for condition in conditions)
    return np.stack([to_square(v, image_size=image_size, resize_mode=resize_mode) for v in versions])


def _squares(
    manifest: "pd.DataFrame",
    data_root: Path,
    conditions: list[str],
    image_size: int,
    resize_mode: str,
    workers: int | None,
) -> Iterator[tuple[int, np.ndarray]]:  # position among the rows, squares
    usable = np.flatnonzero((manifest["problem"] == "").to_numpy())
    files = image_files(manifest.iloc[usable], data_root)
    read = partial(read_squares, conditions=conditions, image_size=image_size, resize_mode=resize_mode)
    return zip(usable, map_processes(read, files, workers=workers, label="decoding images"))


def _fill(path: Path, shape: tuple[int, ...], squares: Iterator[tuple[int, np.ndarray]]) -> None:
    store = new_array(path, dtype=np.uint8, shape=shape)
    for position, square in squares:
        store[position] = square[0]
    store.flush()
