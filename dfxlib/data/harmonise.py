"""A new tree in which all classes are stored alike; the source is read and never touched.

Differences of format, size and compression between natures are shortcuts (see `audit`). Where a
data set has them, its images are re-encoded, and cropped or resized, by one recipe. Traces that an
earlier JPEG or resize left inside the pixels stay there: audit the new tree as well.
"""

import json
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from dfxlib.data.decode import ImageFile, image_files, read_image
from dfxlib.data.manifest import read_manifest
from dfxlib.data.squares import to_square
from dfxlib.system.files import load_json, require_place, require_space, sha256_bytes, write_atomic, write_text_atomic
from dfxlib.system.parallel import map_processes
from dfxlib.system.shown import shown

#: The record of a harmonised tree, and its table for `--layout csv`.
RECORD, TABLE = "harmonised.json", "images.csv"

SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")

_LONG = 230  # bytes of a name; with a hash and a suffix a file system takes it

_JPEG_SIDE = 65_500  # pixels that libjpeg writes


class Recipe(NamedTuple):
    """What is done to every image alike."""

    format: str = "png"  # or jpeg
    quality: int = 0  # of JPEG, 1 to 100; 0: PNG has none
    subsampling: str = ""  # of JPEG, one of SUBSAMPLINGS
    resize: int = 0  # pixels a side of the square to which pictures are resized; 0: size is kept
    crop: int = 0  # pixels a side of the central square that is kept; 0: all


def harmonise(
    manifest_path: Path, root: Path, out: Path, *, recipe: Recipe, workers: int | None = None
) -> pd.DataFrame:  # rows of images.csv
    """Write out/nature/architecture/NAME for every usable image of the manifest.

    `images.csv` names for each new file what it was made from; its `pair` is the group and its
    `declared_split` the split of the source, so that both survive. `harmonised.json` records
    recipe, source and versions, and says `finished` at the end. Each file is whole or absent, and a
    call that was stopped continues. Raises ValueError for a recipe that does not suit the images and for an
    `out` that lies in `root`, holds other files or another harmonisation, and OSError where the
    disk is too small.
    """
    manifest, digest = read_manifest(manifest_path)
    usable = manifest[manifest["problem"] == ""]
    _require_recipe(recipe, usable)
    root, out = Path(root).resolve(), Path(out).resolve()
    record = {
        "source": {"manifest": digest, "images": len(usable), "left_out": len(manifest) - len(usable)},
        "recipe": recipe._asdict(),
        "versions": {name: version(name) for name in ("dfxlib", "pillow")},
    }
    if not root.is_dir():
        raise ValueError(f"data root {root} is missing; give the folder that {manifest_path} describes")
    require_place(out, what=str(out), apart=[root])
    _require_own(out, record)
    table = _table(usable, recipe)
    missing = (~table["path"].map(lambda path: (out / path).exists())).to_numpy()
    out.mkdir(parents=True, exist_ok=True)
    require_space(out, _bytes_needed(usable[missing], recipe))
    write_text_atomic(out / RECORD, json.dumps(record | {"finished": False}, indent=1) + "\n")
    items = zip(image_files(usable[missing], root), table["path"][missing])
    work = partial(_write_image, out=out, recipe=recipe)
    for _ in map_processes(work, items, workers=workers, label="harmonising images"):
        pass
    for torn in out.glob("*/*/.*.partial.*"):
        torn.unlink()  # of a call that was killed
    write_atomic(out / TABLE, lambda part: table.to_csv(part, index=False, lineterminator="\n"))
    write_text_atomic(out / RECORD, json.dumps(record | {"finished": True}, indent=1) + "\n")
    return table


def _write_image(item: tuple[ImageFile, str], *, out: Path, recipe: Recipe) -> None:
    file, target = item
    # Only pixels travel: a colour profile or a resolution in the header would be a shortcut again.
    image = Image.fromarray(np.asarray(_reshape(read_image(file), recipe)))
    options = {"quality": recipe.quality, "subsampling": recipe.subsampling} if recipe.format == "jpeg" else {}
    write_atomic(out / target, lambda part: image.save(part, recipe.format.upper(), **options))


def _reshape(image: Image.Image, recipe: Recipe) -> Image.Image:
    if recipe.resize:
        return Image.fromarray(to_square(image, image_size=recipe.resize))
    if not recipe.crop:
        return image
    # The corner is a multiple of 8, so that blocks of an earlier JPEG lie alike whatever the size was.
    left, top = ((side - recipe.crop) // 2 // 8 * 8 for side in image.size)
    return image.crop((left, top, left + recipe.crop, top + recipe.crop))


def _table(usable: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    """The rows of images.csv, in the order of the manifest; every new path is unique, whatever the case."""
    suffix = {"png": ".png", "jpeg": ".jpg"}[recipe.format]
    # A backslash in a path of images.csv would be read as Windows writes a slash.
    folder = usable["architecture"].str.replace(r"^\.|[/\\\0]", "_", regex=True).replace("", "unnamed")
    stem = usable["path"].map(lambda path: Path(path).stem).str.replace("\\", "_", regex=False)
    folder = folder.map(lambda name: name if len(name.encode()) < _LONG else _with_hash(name, name))
    folder = usable["nature"] + "/" + folder + "/"
    twice = (folder + stem).str.lower().duplicated(keep=False)
    path = folder + stem.where(~twice, [_with_hash(name, source) for name, source in zip(stem, usable["path"])])
    split = usable["declared_split"].where(usable["declared_split"] != "", usable["split"])
    table = usable[["path", "nature", "architecture", "source", "group", "declared_split", "content"]]
    table = table.rename(columns={"group": "pair"}).assign(path=path + suffix, declared_split=split)
    return table.assign(made_from=usable["path"], made_from_sha256=usable["sha256"])


def _with_hash(stem: str, source: str) -> str:
    """A stem of its own for each source, cut so that a file system takes it: 255 bytes with the suffix."""
    return stem.encode()[:_LONG].decode(errors="ignore") + "-" + sha256_bytes(source.encode())[:12]


def _require_recipe(recipe: Recipe, usable: pd.DataFrame) -> None:
    if recipe.format not in ("png", "jpeg"):
        raise ValueError(f"format {recipe.format!r} is unknown; expected png or jpeg")
    if recipe.format == "png" and (recipe.quality or recipe.subsampling):
        raise ValueError("quality and subsampling belong to JPEG; leave them out or choose the format jpeg")
    if recipe.format == "jpeg" and not (1 <= recipe.quality <= 100 and recipe.subsampling in SUBSAMPLINGS):
        raise ValueError(
            f"JPEG of quality {recipe.quality} and subsampling {recipe.subsampling!r}; "
            f"expected a quality from 1 to 100 and one of {', '.join(SUBSAMPLINGS)}"
        )
    if min(recipe.resize, recipe.crop) < 0 or (recipe.resize and recipe.crop):
        raise ValueError(f"resize {recipe.resize} and crop {recipe.crop}; expected one of them, in pixels, or neither")
    large = usable[usable[["width", "height"]].max(axis=1) > _JPEG_SIDE]
    if recipe.format == "jpeg" and not (recipe.resize or recipe.crop) and len(large):
        raise ValueError(
            f"JPEG has at most {_JPEG_SIDE} pixels a side, {shown(large['path'].iloc[0])} more; choose png"
        )
    small = usable[usable[["width", "height"]].min(axis=1) < recipe.crop]
    if len(small):
        raise ValueError(
            f"crop {recipe.crop}: {len(small)} images are smaller, first {shown(small['path'].iloc[0])}; "
            f"choose at most {usable[['width', 'height']].min(axis=None)}, or leave them out of the data set"
        )


def _require_own(out: Path, record: dict) -> None:
    """Raise ValueError unless `out` is new, empty, or holds this very harmonisation."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / RECORD).is_file():
        raise ValueError(f"{out} is not empty and holds no {RECORD}; give an empty or a new folder")
    there = load_json(out / RECORD)
    if differing := [key for key in record if there.get(key) != record[key]]:
        raise ValueError(
            f"{out} holds a harmonisation with another {' and '.join(differing)} "
            f"({there.get(differing[0])}); give a new folder"
        )


def _bytes_needed(usable: pd.DataFrame, recipe: Recipe) -> int:
    """Cautiously: PNG as large as the pixels, JPEG a half of that, and a disk block a file."""
    side = recipe.resize or recipe.crop
    pixels = len(usable) * side**2 if side else int((usable["width"] * usable["height"]).sum())
    return 3 * pixels // (2 if recipe.format == "jpeg" else 1) + 4096 * len(usable)
