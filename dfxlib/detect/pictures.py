"""A file, or a picture in memory, as a detector reads it: the same squares for every engine."""

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image

from dfxlib.data.declared import read_declared
from dfxlib.data.decode import PIXEL_LIMIT, ImageFile, read_with_format, rgb_of
from dfxlib.data.limits import exceeded
from dfxlib.data.squares import to_square
from dfxlib.data.wholeness import ImageProblem
from dfxlib.system.shown import shown

_THUMBNAIL = 96  # pixels, longer side


class Picture(NamedTuple):
    """One picture as a detector reads it; fields are empty where `problem` prevents them."""

    squares: np.ndarray  # [versions, image_size, image_size, 3] uint8
    format: str = ""
    width: int = 0  # pixels, of the upright picture
    height: int = 0
    thumbnail: bytes = b""  # JPEG
    problem: str = ""
    declares: str = ""


def read_picture(
    source: ImageFile | Image.Image,
    *,
    versions: tuple[Callable[[Image.Image], Image.Image], ...],  # a module's functions, or partials of them
    image_size: int,  # pixels
    resize_mode: str,
    thumbnail: bool = False,
    pixel_limit: int = PIXEL_LIMIT,  # pixels
) -> Picture:
    """One picture under several perturbations; whatever is wrong with it is a value here, not an exception."""
    small = io.BytesIO()
    try:
        if isinstance(source, Image.Image):
            image, kind = rgb_of(source), source.format or ""
            if not all(image.size):
                raise ImageProblem(f"empty picture: {image.width} x {image.height} pixels")
        else:
            image, kind = read_with_format(source, pixel_limit=pixel_limit)
        made = [to_square(v(image), image_size=image_size, resize_mode=resize_mode) for v in versions]
        width, height = image.size
        if thumbnail:
            image.thumbnail((_THUMBNAIL, _THUMBNAIL))
            image.save(small, "JPEG", quality=80)
    except ImageProblem as problem:  # without the path, which the row has
        told = str(problem).removeprefix("" if isinstance(source, Image.Image) else shown(source.path))
        return Picture(np.empty(0, np.uint8), problem=told.lstrip(": "))
    except Exception as error:  # memory's, or the encoder's: JPEG ends at 65,500 pixels a side
        told = exceeded(error) or f"cannot be delivered: {' '.join(str(error).split())}"
        return Picture(np.empty(0, np.uint8), problem=told)
    said = "" if isinstance(source, Image.Image) else read_declared(source)
    return Picture(np.stack(made), kind, width, height, small.getvalue(), declares=said)
