"""Strict decoding: a file becomes RGB pixels by stated rules, or a problem with a reason.

Rules, the same for training, testing and detection; a manifest names those that were applied to
an image in its column `conversion`:

- grey (`1`, `L`), palette (`P`) and CMYK become RGB by Pillow's conversion; colour profiles are
  not applied;
- alpha (`LA`, `PA`, `RGBA`, transparent palettes and colours) is dropped and the stored colours
  stay, which is what the reference's `convert("RGB")` does;
- 16-bit grey keeps its high byte; 16-bit RGB is reduced the same way by Pillow's decoder;
- of a multi-picture JPEG (MPO: a phone's preview or gain map rides along) the first picture counts;
- EXIF rotation is applied; animations, truncated files, decompression bombs and files of another
  format than their suffix says are problems.
"""

import errno
import hashlib
import io
import os
import stat
import struct
import sys
from bisect import bisect_right
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import PIL.ImageFile
from PIL import Image, ImageOps, JpegImagePlugin, features
from scipy.fft import dctn

from dfxlib.system.files import sha256_bytes

if TYPE_CHECKING:  # processes that decode need neither, and start sooner
    import pandas as pd
    import pyarrow as pa

#: Largest picture that is decoded, in pixels; above it a file counts as a decompression bomb.
PIXEL_LIMIT = 100_000_000

#: Number of the rules by which a file becomes pixels and facts. Raise it whenever one of them changes: all that was
#: stored by the old rules is then made anew. tests/test_decode_rules.py pins what these give.
RULES = 2

#: Side of the grey picture by which near copies are recognised, in pixels.
THUMBNAIL = 16

_JPEG = features.version("libjpeg_turbo") or features.version("jpg")

#: What pixels and facts depend on besides the file; what another decoder left is made anew.
DECODER = f"pillow {PIL.__version__}, jpeg {_JPEG}, rules {RULES}"

_DIRECT_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}

_SIXTEEN_BIT_MODES = {"I;16", "I;16B", "I;16L"}

_ORIENTATION = 0x0112  # EXIF tag

# What Pillow's decoders and its EXIF reader raise for damaged data, found by flipping bytes.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error)

# Annex K of ITU-T T.81 (1992), table K.1: the luminance table that quality settings scale.
_ANNEX_K_LUMINANCE = np.array(
    [16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55]
    + [14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62]
    + [18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92]
    + [49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99]
)


class ImageProblem(ValueError):
    """Why a file is not a usable image, in a few words."""


class ImageFile(NamedTuple):
    """Where the bytes of one image lie: in a file, or in a row of a Parquet file."""

    path: Path
    sha256: str = ""  # of these bytes, as the manifest says; empty: not proved when read
    container: Path | None = None  # the Parquet file
    row: int = -1


class ImageFacts(NamedTuple):
    """What a manifest says about one file; fields are empty where `problem` prevents them."""

    sha256: str = ""
    pixel_sha256: str = ""
    phash: str = ""
    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    jpeg_quality: float = float("nan")
    jpeg_subsampling: str = ""
    bytes: int = 0
    problem: str = ""
    conversion: str = ""
    thumbnail: str = ""  # THUMBNAIL x THUMBNAIL grey levels, row by row, two hexadecimal digits each; in no manifest


def image_files(rows: "pd.DataFrame", root: Path) -> list[ImageFile]:
    """The files behind rows of a manifest or a listing, in order; a listing has no sha256."""
    root = Path(root)
    digests = rows["sha256"] if "sha256" in rows else [""] * len(rows)
    return [
        ImageFile(root / path, digest, root / container if container else None, int(row) if container else -1)
        for path, digest, container, row in zip(rows["path"], digests, rows["container"], rows["row"])
    ]


def read_image(file: ImageFile) -> Image.Image:  # RGB
    """Decode a file; where its sha256 is given, also prove that it is still the file of the manifest."""
    return read_with_format(file)[0]


def read_with_format(file: ImageFile) -> tuple[Image.Image, str]:  # RGB, format as Pillow names it
    """`read_image`, and what kind of file it is, whatever its suffix says."""
    try:
        data = _read_bytes(file)
    except (OSError, ValueError) as error:
        cure = "restore it or prepare the data set again"
        raise ImageProblem(f"{file.path} cannot be read ({_reason(error)}); {cure}") from error
    if file.sha256 and sha256_bytes(data) != file.sha256:
        raise ImageProblem(f"{file.path} changed since the manifest was made; prepare the data set again")
    # A file of the manifest was admitted under the limit of its study.
    pixel_limit = sys.maxsize if file.sha256 else PIXEL_LIMIT
    try:
        image, _ = _open_strictly(data, pixel_limit=pixel_limit)
        return _to_rgb(image), image.format or ""
    except ImageProblem as problem:
        raise ImageProblem(f"{file.path}: {problem}") from problem


def file_sha256(file: ImageFile) -> str | None:  # None: missing; empty: unreadable
    """Hash of the bytes of a file or member as they are now."""
    try:
        return sha256_bytes(_read_bytes(file))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        return ""


def inspect_file(file: ImageFile, *, pixel_limit: int = PIXEL_LIMIT) -> dict:  # fields of ImageFacts
    """Decode one file once and describe it; a problem is a value here, not an exception."""
    try:
        data = _read_bytes(file)
    except (OSError, ValueError) as error:
        return ImageFacts(problem=f"unreadable: {_reason(error)}")._asdict()
    facts = ImageFacts(sha256=sha256_bytes(data), bytes=len(data))
    try:
        image, sixteen_bit = _open_strictly(data, pixel_limit=pixel_limit)
        upright = _to_rgb(image)
    except ImageProblem as problem:
        return facts._replace(problem=str(problem))._asdict()
    quality, subsampling = _jpeg_settings(image)
    grey = upright.convert("L")
    facts = facts._replace(
        pixel_sha256=_pixel_sha256(np.asarray(upright)),
        phash=perceptual_hash(grey),
        format=image.format or "",
        mode=image.mode,
        width=image.width,
        height=image.height,
        jpeg_quality=quality,
        jpeg_subsampling=subsampling,
        problem=_wrong_suffix(file.path, image.format) if file.container is None else "",
        conversion=_conversion(image, sixteen_bit=sixteen_bit),
        thumbnail=_thumbnail(grey),
    )
    return facts._asdict()


def perceptual_hash(grey: Image.Image) -> str:  # mode L -> 16 hexadecimal digits
    """64-bit DCT hash: signs of the low frequencies of the grey picture against their median."""
    small = grey.resize((32, 32), Image.Resampling.BOX)
    low = dctn(np.asarray(small, dtype=np.float64), norm="ortho")[:8, :8].ravel()
    bits = low > np.median(low)
    return np.packbits(bits).tobytes().hex()


def _thumbnail(grey: Image.Image) -> str:
    # Triangles instead of boxes: of small pictures, boxes catch another number of pixels after a slight resize.
    return grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR, reducing_gap=2.0).tobytes().hex()


def _read_bytes(file: ImageFile) -> bytes:
    """Bytes of a file or member. Raises OSError, or ValueError for a damaged Parquet file."""
    if file.container is not None:
        return _read_member(file.container, file.row)
    if not stat.S_ISREG(os.stat(file.path).st_mode):  # opening a pipe would wait for ever
        raise OSError(errno.EINVAL, "not a regular file")
    return Path(file.path).read_bytes()


def _read_member(container: Path, row: int) -> bytes:
    """Bytes of one image of a Parquet file."""
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

    It is the first column of bytes, or of a struct with a field `bytes`, as data sets of the
    `datasets` library have it. pyarrow is imported here: most data sets need none of it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(container)
    starts = [0]
    for group in range(file.num_row_groups):
        starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
    for field in file.schema_arrow:
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            return starts, field.name
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            return starts, f"{field.name}.bytes"
    raise ValueError(f"{container.name} has no column of image bytes")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split())


def _open_strictly(data: bytes, *, pixel_limit: int) -> tuple[Image.Image, bool]:  # decoded, 16 bits a sample
    if not data:
        raise ImageProblem("empty file")
    try:
        image = _open_header(data)
        if image.width * image.height > pixel_limit:
            raise ImageProblem(f"decompression bomb: {image.width} x {image.height} pixels")
        frames = getattr(image, "n_frames", 1)
        if image.format != "MPO" and frames > 1:
            raise ImageProblem(f"animated: {frames} frames")
        sixteen_bit = _is_sixteen_bit(image)
        image.load()
    except PIL.UnidentifiedImageError as error:
        raise ImageProblem("not an image") from error
    except ImageProblem:
        raise
    except _DAMAGE as error:
        raise ImageProblem(f"truncated or damaged: {error}") from error
    if image.mode not in _DIRECT_MODES | _SIXTEEN_BIT_MODES:
        raise ImageProblem(f"unsupported mode: {image.mode}")
    return image, sixteen_bit


def _open_header(data: bytes) -> PIL.ImageFile.ImageFile:
    """Pillow's limit is one for the whole process; here a limit of our own decides."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return Image.open(io.BytesIO(data))
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _is_sixteen_bit(image: PIL.ImageFile.ImageFile) -> bool:
    """Whether the file stores 16 bits a sample; after decoding, the mode of 16-bit RGB no longer tells."""
    arguments = image.tile[0].args if image.tile else None
    if not arguments:  # some decoders need to be told nothing
        return False
    layout = arguments if isinstance(arguments, str) else str(arguments[0])
    return ";16" in layout


def _orientation(image: Image.Image) -> int:  # 1: upright; 2 to 8: mirrored or turned
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except _DAMAGE as error:
        raise ImageProblem(f"damaged EXIF block: {error}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    try:
        upright = ImageOps.exif_transpose(image) if _orientation(image) != 1 else image
    except _DAMAGE as error:
        raise ImageProblem(f"damaged EXIF block: {error}") from error
    if upright.mode in _SIXTEEN_BIT_MODES:
        high_byte = (np.asarray(upright).astype(np.uint16) >> 8).astype(np.uint8)
        upright = Image.fromarray(high_byte)
    return upright.convert("RGB")


def _conversion(image: Image.Image, *, sixteen_bit: bool) -> str:
    """Names of the rules that turned the stored picture into upright 8-bit RGB."""
    mode, turn = image.mode, _orientation(image)
    rules = {
        "16 bit: high byte": sixteen_bit,
        "grey": mode in ("1", "L", "LA", *_SIXTEEN_BIT_MODES),
        "palette": mode in ("P", "PA"),
        "cmyk": mode == "CMYK",
        "ycbcr": mode == "YCbCr",
        "alpha dropped": mode in ("LA", "PA", "RGBA") or "transparency" in image.info,
        f"exif orientation {turn}": turn in range(2, 9),
    }
    return "; ".join(rule for rule, applied in rules.items() if applied)


def _wrong_suffix(path: Path, kind: str | None) -> str:  # a problem, or empty
    """What the suffix promises and the bytes do not keep; an unknown suffix promises nothing."""
    promised = Image.registered_extensions().get(path.suffix.lower(), kind)
    agree = promised == kind or {promised, kind} == {"JPEG", "MPO"}
    return "" if agree else f"wrong extension: {kind} named {path.suffix}"


def _pixel_sha256(pixels: np.ndarray) -> str:
    """Hash of the shape and of the pixels, so that equal bytes of other proportions differ."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _jpeg_settings(image: Image.Image) -> tuple[float, str]:
    """Quality (1 to 100, the nearest standard table) and chroma subsampling of a JPEG."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or not image.quantization:
        return float("nan"), ""
    distances = np.abs(np.array(image.quantization[0]) - _standard_tables()).sum(axis=1)
    names = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
    subsampling = names.get(JpegImagePlugin.get_sampling(image), "other")
    return float(np.argmin(distances) + 1), subsampling


@cache
def _standard_tables() -> np.ndarray:  # [100, 64] luminance tables of the qualities 1 to 100
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    return np.clip((_ANNEX_K_LUMINANCE * scale[:, None] + 50) // 100, 1, 255)
