"""Which formats are opened, and whether all data of a file arrived, where Pillow does not say.

Pillow fills what is missing of a JPEG with grey and hides libjpeg's warning, and it compares no checksum of a PNG's
pixels. Sources: ITU-T T.81 for JPEG, W3C PNG (third edition) section 5, Google's WebP container specification.
"""

import struct
import zlib
from contextlib import suppress

import simplejpeg
from PIL import Image, features

#: Formats that are opened, by Pillow's names (its JPEG opens MPO too); with the extra `heic`, HEIF as well. None of
#: them starts another program.
FORMATS = ["BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TIFF", "WEBP", "XBM"]
if features.check("avif"):
    FORMATS.append("AVIF")
with suppress(ModuleNotFoundError):
    from pillow_heif import register_heif_opener

    register_heif_opener()
    FORMATS.append("HEIF")

#: Beginnings of files that are pictures, but of no format that is opened here.
_OTHERS = {
    b"%!PS": "PostScript",
    b"%PDF": "PDF",
    b"8BPS": "Photoshop",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"v/1\x01": "OpenEXR",
    b"<svg": "SVG",
    b"#?RADIANCE": "Radiance HDR",
}

# libjpeg's warnings that mean lost data; others, as of extraneous bytes, stand in sound files too.
_LOSSES = ("premature end", "bad huffman code", "bad arithmetic code", "instead of rst")


class ImageProblem(ValueError):
    """Why a file is not a usable image, in a few words."""


def name_unsupported(data: bytes) -> str:
    """The problem of a picture whose format is not opened here; empty where the bytes are no known picture."""
    if data[4:8] == b"ftyp":
        brand = data[8:12].decode("latin-1").strip("\x00 ")
        if brand in ("heic", "heix", "heim", "heis", "hevc", "mif1", "msf1"):
            return "unsupported format: HEIC; it is read with the extra heic (pip install 'dfxlib[heic]')"
        if brand in ("avif", "avis"):
            return "unsupported or damaged AVIF"
    for start, name in _OTHERS.items():
        if data.startswith(start):
            return f"unsupported format: {name}"
    return ""


def require_whole(data: bytes, image: Image.Image) -> None:
    """Raise ImageProblem where a decoded file lacks data; formats without a check pass."""
    checks = {"JPEG": _require_whole_jpeg, "MPO": _require_whole_jpeg, "PNG": _require_whole_png}
    checks |= {"WEBP": _require_whole_webp}
    if image.format in checks:
        checks[image.format](data, image)


def _require_whole_jpeg(data: bytes, image: Image.Image) -> None:
    """libjpeg-turbo decodes once more, at an eighth of the size, and its first warning is an error here.

    What TurboJPEG does not take (unusual sampling, 12 bits) stays unchecked.
    """
    colours = "CMYK" if image.mode == "CMYK" else "GRAY"
    try:
        simplejpeg.decode_jpeg(data, colorspace=colours, fastdct=True, min_height=1, min_width=1)
    except ValueError as error:
        if any(loss in str(error).lower() for loss in _LOSSES):
            raise ImageProblem(f"truncated or damaged: {error}") from error


def _require_whole_png(data: bytes, _: Image.Image) -> None:
    """Every chunk up to the end chunk is there and has its checksum; what follows the end chunk is not looked at."""
    place = 8
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        end = place + 12 + length
        kind = data[place + 4 : place + 8]
        if end > len(data):
            break
        (stated,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(memoryview(data)[place + 4 : end - 4]) != stated:
            name = kind.decode() if kind.isalpha() else "without a name"  # such bytes could steer a terminal
            raise ImageProblem(f"truncated or damaged: checksum of the PNG chunk {name}")
        if kind == b"IEND":
            return
        place = end
    raise ImageProblem("truncated or damaged: the PNG ends before its end chunk")


def _require_whole_webp(data: bytes, _: Image.Image) -> None:
    """As many bytes as the container states."""
    (stated,) = struct.unpack_from("<I", data, 4)
    if stated + 8 > len(data):
        raise ImageProblem(f"truncated or damaged: {len(data)} of the {stated + 8} bytes of the WebP")
