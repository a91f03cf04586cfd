"""Strict decoding: a file becomes RGB pixels by stated rules, or a problem with a reason.

Rules, the same for training, testing and detection; a manifest names those that were applied to
an image in its column `conversion`:

- grey (`1`, `L`), palette (`P`) and CMYK become RGB by Pillow's conversion; colour profiles are
  not applied;
- alpha (`LA`, `PA`, `RGBA`, transparent palettes and colours) is dropped and the stored colours
  stay, which is what the reference's `convert("RGB")` does;
- grey of more than 8 bits keeps the 8 highest of the bits that the file states (of a TIFF in 16 bits, those of its
  MaxSampleValue where that is all ones); colours of more than 8 bits are reduced by Pillow's decoder, which keeps the
  highest too, and rounds in PPM and AVIF;
- of TIFF, what Pillow would take for something else is not read (`wholeness.require_readable`), nor is any file with
  the suffix of a camera raw format, since many of them are TIFF whose first page is a thumbnail;
- of a multi-picture JPEG (MPO: a phone's preview or gain map rides along) the first picture counts;
- EXIF rotation is applied; animations, truncated files, those above a limit and files of another
  format than their suffix says are problems. "Unsupported" is a picture that is not read here, "too large" one above
  a limit of ours, "truncated or damaged" one of a format that is read.

Only the formats in `wholeness.FORMATS` are opened, so that no other program is ever started. Decoded means that all
data arrived: `wholeness.require_whole` asks where Pillow stays silent. Whatever a file raises is a problem of it alone.
"""

import errno
import hashlib
import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import PIL.ImageFile
from PIL import Image, ImageOps, features
from scipy.fft import dctn

from dfxlib.data.jpeg import jpeg_settings
from dfxlib.data.limits import exceeded, one_at_a_time, own_limits
from dfxlib.data.members import read_member
from dfxlib.data.walk import CAMERA_RAW
from dfxlib.data.wholeness import FORMATS, ImageProblem, name_unopened, require_readable, require_whole
from dfxlib.system.files import sha256_bytes
from dfxlib.system.shown import shown

if TYPE_CHECKING:  # processes that decode need neither, and start sooner
    import pandas as pd

#: Largest picture that is decoded, in pixels; a small file may promise any size.
PIXEL_LIMIT = 250_000_000

#: Number of the rules by which a file becomes pixels and facts. Raise it whenever one of them changes: all that was
#: stored by the old rules is then made anew. tests/test_decode_rules.py pins what these give.
RULES = 9

#: Side of the grey picture by which near copies are recognised, in pixels.
THUMBNAIL = 16

_JPEG = features.version("libjpeg_turbo") or features.version("jpg")

#: What pixels and facts depend on besides the file; what another decoder left is made anew.
DECODER = f"pillow {PIL.__version__}, jpeg {_JPEG}, rules {RULES}" + (", heif" if "HEIF" in FORMATS else "")

_DIRECT_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}

_SIXTEEN_BIT_MODES = {"I;16", "I;16B", "I;16L"}

_BITS_PER_SAMPLE, _MAX_SAMPLE = 258, 281  # TIFF tags

_ORIENTATION = 0x0112  # EXIF tag


class _Stored(NamedTuple):
    """What only the file tells: after decoding neither the mode nor the tags of the picture do."""

    bits: int  # of a sample
    turn: int  # EXIF orientation that the decoder applies itself, as Pillow's TIFF does; 1: none


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


def read_with_format(
    file: ImageFile,
    *,
    pixel_limit: int | None = None,  # None: any size for a file of a manifest, which its study admitted
) -> tuple[Image.Image, str]:  # RGB, format as Pillow names it
    """`read_image`, and what kind of file it is, whatever its suffix says."""
    try:
        data = read_bytes(file)
    except Exception as error:
        cure = "; restore it or prepare the data set again" if file.sha256 else ""
        raise ImageProblem(f"{shown(file.path)} cannot be read ({_reason(error)}){cure}") from error
    if file.sha256 and sha256_bytes(data) != file.sha256:
        raise ImageProblem(f"{shown(file.path)} changed since the manifest was made; prepare the data set again")
    pixel_limit = pixel_limit or (sys.maxsize if file.sha256 else PIXEL_LIMIT)
    try:
        with _decoded(data, file, pixel_limit=pixel_limit) as (image, stored):
            return _to_rgb(image, stored), image.format or ""
    except ImageProblem as problem:
        raise ImageProblem(f"{shown(file.path)}: {problem}") from problem


def rgb_of(image: Image.Image) -> Image.Image:  # RGB, upright
    """A picture that was opened elsewhere, by the rules of this module; raises ImageProblem where they refuse it."""
    with _named("truncated or damaged"):
        require_readable(image)
        image.load()
    bits = _bits(image, b"") if image.format == "TIFF" else 16 if image.mode in _SIXTEEN_BIT_MODES else 8
    return _to_rgb(image, _Stored(bits, 1))


def file_sha256(file: ImageFile) -> str | None:  # None: missing; empty: unreadable
    """Hash of the bytes of a file or member as they are now."""
    try:
        return sha256_bytes(read_bytes(file))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        return ""


def inspect_file(file: ImageFile, *, pixel_limit: int = PIXEL_LIMIT) -> dict:  # fields of ImageFacts
    """Decode one file once and describe it; a problem is a value here, not an exception."""
    try:
        data = read_bytes(file)
    except Exception as error:
        return ImageFacts(problem=exceeded(error) or f"unreadable: {_reason(error)}")._asdict()
    facts = ImageFacts(sha256=sha256_bytes(data), bytes=len(data))
    try:
        with _decoded(data, file, pixel_limit=pixel_limit) as (image, stored):
            return _described(image, stored, facts, file)._asdict()
    except ImageProblem as problem:
        return facts._replace(problem=str(problem))._asdict()
    except MemoryError as error:
        return facts._replace(problem=exceeded(error))._asdict()


def _described(image: Image.Image, stored: _Stored, facts: ImageFacts, file: ImageFile) -> ImageFacts:
    upright = _to_rgb(image, stored)
    quality, subsampling = jpeg_settings(image)
    grey = upright.convert("L")
    return facts._replace(
        pixel_sha256=_pixel_sha256(np.asarray(upright)),
        phash=perceptual_hash(grey),
        format=image.format or "",
        mode=image.mode,
        width=image.height if stored.turn > 4 else image.width,  # as stored, whoever turned it
        height=image.width if stored.turn > 4 else image.height,
        jpeg_quality=quality,
        jpeg_subsampling=subsampling,
        problem=_wrong_suffix(file.path, image.format) if file.container is None else "",
        conversion=_conversion(image, stored),
        thumbnail=_thumbnail(grey),
    )


def perceptual_hash(grey: Image.Image) -> str:  # mode L -> 16 hexadecimal digits
    """64-bit DCT hash: signs of the low frequencies of the grey picture against their median."""
    small = grey.resize((32, 32), Image.Resampling.BOX)
    low = dctn(np.asarray(small, dtype=np.float64), norm="ortho")[:8, :8].ravel()
    bits = low > np.median(low)
    return np.packbits(bits).tobytes().hex()


def _thumbnail(grey: Image.Image) -> str:
    # Triangles instead of boxes: of small pictures, boxes catch another number of pixels after a slight resize.
    return grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR, reducing_gap=2.0).tobytes().hex()


def read_bytes(file: ImageFile) -> bytes:
    """Bytes of a file or member. Raises OSError, or ValueError for a damaged Parquet file."""
    if file.container is not None:
        return read_member(file.container, file.row)
    if not stat.S_ISREG(os.stat(file.path).st_mode):  # opening a pipe would wait for ever
        raise OSError(errno.EINVAL, "not a regular file")
    return Path(file.path).read_bytes()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split())


@contextmanager
def _decoded(data: bytes, file: ImageFile, *, pixel_limit: int) -> Iterator[tuple[Image.Image, _Stored]]:
    """The picture of these bytes; of large ones, one at a time is decoded and used."""
    if not data:
        raise ImageProblem("empty file")
    if file.path.suffix.lower() in CAMERA_RAW:  # many are TIFF, whose first page is a thumbnail
        raise ImageProblem("unsupported format: camera raw")
    with _named("truncated or damaged"):
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        except PIL.UnidentifiedImageError as error:
            raise ImageProblem(name_unopened(data)) from error
        require_readable(image)
        if image.width * image.height > pixel_limit:
            raise ImageProblem(f"too large: {image.width} x {image.height} pixels, above pixel_limit {pixel_limit}")
        frames = getattr(image, "n_frames", 1)
        if image.format != "MPO" and frames > 1:
            raise ImageProblem(f"animated: {frames} frames")
        stored = _Stored(_bits(image, data), _orientation(image) if image.format == "TIFF" else 1)
    with one_at_a_time(image.width * image.height):
        with _named("truncated or damaged"):
            image.load()
            require_whole(data, image)
        yield image, stored


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Whatever a damaged file makes a decoder raise, as an ImageProblem; memory and limits have names of their own."""
    try:
        with own_limits():
            yield
    except ImageProblem:
        raise
    except Exception as error:
        raise ImageProblem(exceeded(error) or f"{what}: {_reason(error)}") from error


def _bits(image: Any, data: bytes) -> int:  # of a file of Pillow's
    """Bits a sample; asked before decoding, since the mode of 16-bit RGB does not tell."""
    arguments = image.tile[0].args if image.tile else None
    if image.format == "TIFF" and image.mode in _SIXTEEN_BIT_MODES:
        tags = image.tag_v2  # of Pillow's TIFF alone
        bits, largest = int(tags[_BITS_PER_SAMPLE][0]), int(np.max(tags.get(_MAX_SAMPLE, 0)))
        return largest.bit_length() if 255 < largest < 2**bits and not largest & (largest + 1) else bits
    if image.format == "JPEG2000":  # T.800, A.5.1: the first component's depth, less one, in the marker SIZ
        return (data[data.index(b"\xff\x4f\xff\x51") + 42] & 127) + 1
    if image.format == "AVIF":  # the box av1C: high_bitdepth and twelve_bit
        return 8 + 2 * (data[data.index(b"av1C") + 6] >> 5 & 3).bit_count()
    if isinstance(arguments, tuple) and image.format == "PPM":
        return int(arguments[1]).bit_length()  # of its largest value
    if not arguments:  # some decoders need to be told nothing
        return int(image.info.get("bit_depth", 8))  # of HEIF
    return 16 if ";16" in str(arguments) else 8


@_named("damaged EXIF block")
def _orientation(image: Image.Image) -> int:  # 1: upright; 2 to 8: mirrored or turned
    return image.getexif().get(_ORIENTATION, 1)


@_named("damaged EXIF block")
def _to_rgb(image: Image.Image, stored: _Stored) -> Image.Image:
    if image.mode not in _DIRECT_MODES | _SIXTEEN_BIT_MODES and (image.mode, image.format) != ("I", "PPM"):
        raise ImageProblem(f"unsupported mode: {image.mode}")
    upright = ImageOps.exif_transpose(image) if _orientation(image) != 1 else image
    if upright.mode in (*_SIXTEEN_BIT_MODES, "I"):  # Pillow has stretched the values of some to 16 bits
        surplus = 8 if image.format in ("PPM", "JPEG2000") else stored.bits - 8
        highest = np.asarray(upright).astype(np.uint32) >> surplus
        upright = Image.fromarray(highest.clip(0, 255).astype(np.uint8))
    return upright.convert("RGB")


def _conversion(image: Image.Image, stored: _Stored) -> str:
    """Names of the rules that turned the stored picture into upright 8-bit RGB."""
    mode, bits = image.mode, stored.bits
    turn = max(stored.turn, _orientation(image))  # an applied one is gone from the tags
    rules = {
        f"{bits} bit: high byte": bits > 8,
        "grey": mode in ("1", "L", "LA", "I", *_SIXTEEN_BIT_MODES),
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
