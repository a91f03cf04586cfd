"""Which formats are opened, and whether all data of a file arrived, where Pillow does not say.

Pillow fills what is missing of a JPEG with grey and hides libjpeg's warning, and of a PNG it compares neither a
checksum nor the length of the pixels. Sources: ITU-T T.81 for JPEG, W3C PNG (third edition) sections 5 and 8, Google's
WebP container specification.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

import simplejpeg
from PIL import Image, features

from dfxlib.data.walk import SUFFIXES

#: Formats that are opened, by Pillow's names (its JPEG opens MPO too); with the extra `heic`, HEIF as well. None of
#: them starts another program.
FORMATS = [kind for kind in SUFFIXES if kind not in ("AVIF", "HEIF")]
if features.check("avif"):
    FORMATS.append("AVIF")
with suppress(ModuleNotFoundError):
    from pillow_heif import register_heif_opener

    register_heif_opener()
    FORMATS.append("HEIF")

#: Beginnings of files that are pictures, but of no format that is opened here nor known to Pillow by its beginning.
_OTHERS = {b"%!PS": "PostScript", b"\xc5\xd0\xd3\xc6": "PostScript", b"%PDF": "PDF", b"8BPS": "Photoshop"}
_OTHERS |= {b"\xff\x0a": "JPEG XL", b"\0\0\0\x0cJXL ": "JPEG XL", b"II\xbc\x01": "JPEG XR", b"v/1\x01": "OpenEXR"}
_OTHERS |= {b"#?RADIANCE": "Radiance HDR", b"II*\0\x10\0\0\0CR": "camera raw", b"FUJIFILMCCD-RAW": "camera raw"}
_OTHERS |= dict.fromkeys((b"IIRO", b"IIRS", b"MMOR", b"IIU\0"), "camera raw")

# libjpeg's warnings that mean lost data; in what `_scans_alone` leaves, extraneous bytes are pixels that went astray.
_LOSSES = ("Corrupt JPEG data", "Premature end", "Inconsistent progression")

# A marker of a JPEG that begins a segment or ends the picture: no stuffed byte, no fill byte, no restart.
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")

_FRAMES, _PROGRESSIVE = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}, {0xC2, 0xCA}  # by Huffman or arithmetic coding

_COMPRESSION, _JPEG_INSIDE, _TABLES = 259, 7, 347  # of TIFF: a tag, its value, a tag

# Offset and step, in columns and in rows, of the passes of an interlaced PNG.
_PASSES = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2))


class ImageProblem(ValueError):
    """Why a file is not a usable image, in a few words."""


def name_unopened(data: bytes) -> str:
    """Why no decoder took these bytes: a format that is not opened here, damage to one that is, or no picture."""
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if brand[:3] in (b"hei", b"hev", b"mif", b"msf") and "HEIF" not in FORMATS:
        return "unsupported format: HEIC; it is read with the extra heic (pip install 'dfxlib[heic]')"
    others = [name for start, name in _OTHERS.items() if data.startswith(start)]
    text = data.lstrip(b"\xef\xbb\xbf \r\n\t")
    if b"<svg" in data[:1000] and text.startswith((b"<?xml", b"<svg", b"<!--", b"<!DOC")):
        others.append("SVG")
    others += ["camera raw"] * (brand == b"crx ") + ["TGA"] * (data[-18:-2] == b"TRUEVISION-XFILE")
    Image.init()  # Pillow knows more formats by their beginnings; nothing is opened
    known = [kind for kind in Image.OPEN if _begins_as(kind, data)]
    damaged = [kind for kind in known if kind in FORMATS]
    if damaged and not others:
        return f"truncated or damaged: the {damaged[0]} does not open, or is of a kind that is not read"
    return f"unsupported format: {(others + known)[0]}" if others + known else "not an image"


def _begins_as(kind: str, data: bytes) -> bool:
    accept = Image.OPEN[kind][1]
    with suppress(SyntaxError, IndexError, TypeError, struct.error):  # of too few bytes, as Pillow's own loop expects
        return bool(accept and accept(data[:16]))
    return False


def require_whole(data: bytes, image: Image.Image) -> None:
    """Raise ImageProblem, or whatever damage makes a parser raise, where a decoded file lacks data.

    Formats without a check pass.
    """
    checks = {"JPEG": _require_whole_jpeg, "MPO": _require_whole_jpeg, "PNG": _require_whole_png}
    checks |= {"WEBP": _require_whole_webp, "TIFF": _require_whole_tiff}
    if image.format in checks:
        checks[image.format](data, image)


def _require_whole_jpeg(data: bytes, image: Image.Image) -> None:
    """libjpeg-turbo decodes once more, at an eighth of the size, and a warning is an error here; no scan is missing.

    What TurboJPEG does not take (CMYK at 4:2:0 and other unusual sampling, 12 bits) keeps the second check only.
    """
    scans = _scans_alone(data)
    try:
        colours = "CMYK" if image.mode == "CMYK" else "GRAY"
        simplejpeg.decode_jpeg(scans, colorspace=colours, fastdct=True, min_height=1, min_width=1)
    except ValueError as error:
        if str(error).startswith(_LOSSES):
            raise ImageProblem(f"truncated or damaged: {error}") from error


def _require_whole_tiff(data: bytes, image: Image.Image) -> None:
    """Every strip or tile of JPEG data, behind the tables that all share (TIFF Technical Note 2); others pass."""
    tags = image.tag_v2  # type: ignore[attr-defined] # of Pillow's TIFF alone
    if tags.get(_COMPRESSION) == _JPEG_INSIDE:
        starts, lengths = (tags.get(strips) or tags[tiles] for strips, tiles in ((273, 324), (279, 325)))
        for start, length in zip(starts, lengths):
            part = data[start : start + length]
            _require_whole_jpeg(part[:2] + tags.get(_TABLES, b"")[2:-2] + part[2:], image)


def _scans_alone(data: bytes) -> bytes:
    """The JPEG without what no scan needs, so that the one warning that TurboJPEG keeps speaks of pixels.

    Raises ImageProblem where a coefficient of a component lacks its last bit: a progressive file without all scans.
    """
    head, scans, place, progressive = b"\xff\xd8", 0, 0, False
    missing: dict[int, set[int]] = {}  # coefficients by component
    for code, start, end in _segments(data):
        segment = data[start:end]
        if code in _FRAMES and not missing:
            progressive = code in _PROGRESSIVE
            missing = {component: set(range(64)) for component in segment[10::3]}
        if code == 0xDA:
            first, last, bits = segment[-3:] if progressive else b"\0\x3f\0"  # some encoders leave them empty
            segment, scans, place = segment[:-3] + bytes((first, last, bits)), scans + 1, place or end
            for component in segment[5:-3:2] if bits & 15 == 0 else b"":
                missing.get(component, set()).difference_update(range(first, last + 1))
        if code < 0xE0 and (not scans or place == end):
            head += segment
    if any(missing.values()):
        raise ImageProblem(f"truncated or damaged: the JPEG ends after {scans} scans, and lacks some")
    return head + data[place:]


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of every segment up to the end of the first picture; of a scan, that of its header."""
    place = 2
    while (found := _MARKER.search(data, place)) and found[1] != b"\xd9":
        place = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
        yield found[1][0], found.start(), place


def _require_whole_png(data: bytes, image: Image.Image) -> None:
    """Every chunk has its checksum, and the pixels have their length and theirs; what follows the end is free."""
    place, inflated, needed, inflater, palette = 8, 0, 0, zlib.decompressobj(), False
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        end = place + 12 + length
        kind, content = data[place + 4 : place + 8], data[place + 8 : end - 4]
        if end > len(data):
            break
        (stated,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(memoryview(data)[place + 4 : end - 4]) != stated:
            name = kind.decode() if kind.isalpha() else "without a name"  # such bytes could steer a terminal
            raise ImageProblem(f"truncated or damaged: checksum of the PNG chunk {name}")
        needed = _png_length(content) if kind == b"IHDR" else needed
        inflated += _inflated(inflater, content) if kind == b"IDAT" else 0
        palette |= kind == b"PLTE"
        if kind == b"IEND" and image.mode == "P" and not palette:
            raise ImageProblem("truncated or damaged: the PNG lacks its palette")
        if kind == b"IEND" and inflated + len(inflater.flush()) >= needed and inflater.eof:
            return
        if kind == b"IEND":
            raise ImageProblem(f"truncated or damaged: {inflated} of the {needed} bytes of the PNG's pixels, or no sum")
        place = end
    raise ImageProblem("truncated or damaged: the PNG ends before its end chunk")


def _png_length(header: bytes) -> int:  # bytes, with one for the filter of every row
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * {2: 3, 4: 2, 6: 4}.get(colour, 1)
    passes = _PASSES if interlaced else ((0, 1, 0, 1),)
    sizes = [(len(range(left, width, across)), len(range(top, height, down))) for left, across, top, down in passes]
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sizes if columns)


def _inflated(inflater: "zlib._Decompress", part: bytes) -> int:  # bytes
    """How much this part gives; in steps, so that nothing large is held."""
    length = 0
    while part and not inflater.eof:
        length += len(inflater.decompress(part, 2**20))
        part = inflater.unconsumed_tail
    return length


def _require_whole_webp(data: bytes, image: Image.Image) -> None:
    """As many bytes as the container states."""
    (stated,) = struct.unpack_from("<I", data, 4)
    if stated + 8 > len(data):
        raise ImageProblem(f"truncated or damaged: {len(data)} of the {stated + 8} bytes of the WebP")
