"""Which formats are opened, and whether all data of a file arrived, where Pillow does not say.

Pillow fills what is missing of a JPEG with grey and hides libjpeg's warning, and of a PNG it compares neither a
checksum nor the length of the pixels. Sources: ITU-T T.81 for JPEG, W3C PNG (third edition) sections 5 and 8, Google's
WebP container specification.
"""

import io
import re
import struct
import sys
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice

import numpy as np
import simplejpeg
from PIL import Image, TiffImagePlugin, features

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
_OTHERS |= {b"#?R": "Radiance HDR", b"II*\0\x10\0\0\0CR": "camera raw", b"FUJIFILMCCD-RAW": "camera raw"}
_OTHERS |= dict.fromkeys((b"IIRO", b"IIRS", b"MMOR", b"IIU\0"), "camera raw")

# libjpeg's warnings that mean lost data; in what `_scans_alone` leaves, extraneous bytes are pixels that went astray.
_LOSSES = ("Corrupt JPEG data", "Premature end", "Inconsistent progression")

# A marker of a JPEG that begins a segment or ends the picture: no stuffed byte, no fill byte, no restart.
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")

_FRAMES, _PROGRESSIVE = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}, {0xC2, 0xCA}  # by Huffman or arithmetic coding
_OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}  # lossless, hierarchical, JPEG-LS

# Tags of TIFF (6.0, sections 3 to 8 and 15) and values of them.
_PAGE_KIND, _BITS, _COMPRESSION, _ZERO, _FILL_ORDER, _SAMPLES, _PLANES = 254, 258, 259, 262, 266, 277, 284
_MAX_SAMPLE, _SAMPLE_FORMAT, _TABLES = 281, 339, 347
_JPEG_INSIDE, _DEFLATE = 7, (8, 32946)

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
    others += ["SVG"] * (b"<svg" in data[:1000] and text.startswith((b"<?xml", b"<svg", b"<!--", b"<!DOC")))
    others += ["camera raw"] * (brand == b"crx ") + ["TGA"] * (data[-18:-2] == b"TRUEVISION-XFILE")
    Image.init()  # Pillow knows more formats by their beginnings; nothing is opened
    known = [kind for kind in Image.OPEN if _begins_as(kind, data)]
    damaged = [kind for kind in known if kind in FORMATS]
    if damaged and not others:
        return _unread_tiff(data) or _unread_jpeg(data) or f"truncated or damaged: the {damaged[0]} does not open"
    return f"unsupported format: {(others + known)[0]}" if others + known else "not an image"


def _begins_as(kind: str, data: bytes) -> bool:
    accept = Image.OPEN[kind][1]
    with suppress(SyntaxError, IndexError, TypeError, struct.error):  # of too few bytes, as Pillow's own loop expects
        return bool(accept and accept(data[:16]))
    return False


def require_whole(data: bytes, image: Image.Image) -> None:
    """Raise ImageProblem, or whatever damage makes a parser raise, where a decoded file lacks data.

    Formats without a check pass. What was fetched in pieces is often as long as the whole, and ends in zeros; where a
    coder packs densely, at most a thirteenth of a sound picture did.
    """
    coded = _coded(data, image.format)
    zeros = len(coded) - len(coded.rstrip(b"\0"))
    if zeros > 64 + len(coded) // 8:
        raise ImageProblem(f"truncated or damaged: the {image.format} ends in {zeros} bytes of zero")
    checks = {"JPEG": _require_whole_jpeg, "MPO": _require_whole_jpeg, "PNG": _require_whole_png}
    checks |= {"WEBP": _require_whole_webp, "TIFF": _require_whole_tiff}
    if image.format in checks:
        checks[image.format](data, image)


def _coded(data: bytes, kind: str | None) -> bytes:  # empty: of a coder that may end a sound picture in zeros
    """The coded picture of a file, without what may follow it: metadata, or padding."""
    if kind == "WEBP":  # the chunk of the picture: its length, and so much
        chunk = re.split(rb"VP8[ L]", data, maxsplit=1)[-1]
        return chunk[4:][: int.from_bytes(chunk[:4], "little")]
    if kind in ("AVIF", "HEIF"):  # the box of media data (ISO 14496-12, section 8.1.1)
        place = data.find(b"mdat") + 4
        return data[place:][: int.from_bytes(data[place - 8 : place - 4]) - 8]
    end = {"JPEG2000": b"\xff\xd9", "QOI": bytes(7) + b"\1"}.get(kind or "", b"")
    return data[: data.rfind(end)] if end else b""


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


def require_readable(image: Image.Image) -> None:
    """Raise ImageProblem for a TIFF that Pillow would read as another picture than it is."""
    tags = image.tag_v2 if image.format == "TIFF" and hasattr(image, "tag_v2") else {}
    wide, largest = max(tags.get(_BITS, (1,))) > 8, int(np.max(tags.get(_MAX_SAMPLE, 0)))
    few = 255 < largest < 2**15 and not largest & (largest + 1)  # of colours Pillow keeps the high bytes alone: black
    misread = {
        "the first page is a reduced image, such as the thumbnail of a camera raw file": tags.get(_PAGE_KIND, 0) & 1,
        "grey of more than 8 bits in a TIFF that does not say that 0 is black": wide and tags.get(_ZERO, 0) == 0,
        "colours of more than 8 bits in planes": wide and (tags.get(_PLANES), tags.get(_COMPRESSION, 1)) == (2, 1),
        f"a colour TIFF of samples up to {largest} in 16 bits": wide and few and image.mode[0] != "I",
        "a TIFF of signed samples": image.mode == "L" and 2 in tags.get(_SAMPLE_FORMAT, ()),
    }
    for kind in (kind for kind, met in misread.items() if met):
        raise ImageProblem(f"unsupported: {kind}")


def _unread_tiff(data: bytes) -> str:  # a problem; empty where it is damaged, or no TIFF
    """What is stored in a TIFF that does not open although all of its strips or tiles lie in the file."""
    with suppress(Exception):  # whatever damage makes of tags
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if 43 in data[2:4] else 8])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        parts = list(_parts(tags))
        if parts and all(0 < length <= len(data) - start for start, length in parts):
            samples, packing = tags.get(_SAMPLES, 1), tags.get(_COMPRESSION, 1)
            bits, kind = (max(tags.get(tag, (1,))) for tag in (_BITS, _SAMPLE_FORMAT))
            return f"unsupported: a TIFF of {samples} x {bits} bits, sample format {kind}, compression {packing}"
    return ""


def _unread_jpeg(data: bytes) -> str:  # a problem; empty where it is damaged, or no JPEG
    """What kind of JPEG does not open, by its first frame."""
    frames = ((code, data[start + 4]) for code, start, _ in _segments(data) if code in _FRAMES | _OTHER_FRAMES)
    kind, bits = next(frames, (0xC0, 8)) if data.startswith(b"\xff\xd8") else (0xC0, 8)
    return "" if kind in _FRAMES and bits == 8 else f"unsupported: a JPEG of {bits} bits in a frame of kind {kind:X}"


def _parts(tags: Mapping) -> Iterator[tuple[int, int]]:
    """Place and length of every strip or tile."""
    starts, lengths = (tags.get(strips) or tags[tiles] for strips, tiles in ((273, 324), (279, 325)))
    return zip(starts, lengths)


def _require_whole_tiff(data: bytes, image: Image.Image) -> None:
    """Every strip or tile of JPEG data, behind the tables that all share (TIFF Technical Note 2), or of Deflate."""
    tags = image.tag_v2  # type: ignore[attr-defined] # of Pillow's TIFF alone
    width, height, samples = tags[256], tags[257], tags.get(_SAMPLES, 1)
    across, down = tags.get(322, width), tags.get(323, min(tags.get(278, height), height))
    needed = -(-width // across) * -(-height // down) * (samples if tags.get(_PLANES) == 2 else 1)
    most = (across * samples * max(tags.get(_BITS, (1,))) + 7) // 8 * down
    for start, length in islice(_parts(tags), needed):
        part = data[start : start + length]
        if tags.get(_COMPRESSION) == _JPEG_INSIDE:
            _require_whole_jpeg(part[:2] + tags.get(_TABLES, b"")[2:-2] + part[2:], image)
        elif tags.get(_COMPRESSION) in _DEFLATE and tags.get(_FILL_ORDER) != 2 and _inflated(part, most=most) is None:
            raise ImageProblem("truncated or damaged: a strip or tile of the TIFF does not end with its rows")


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
    place, kind, chunks = 8, b"", defaultdict(list)
    while kind != b"IEND":
        end = place + 12 + int.from_bytes(data[place : place + 4])
        if end > len(data):
            raise ImageProblem("truncated or damaged: the PNG ends before its end chunk")
        kind = data[place + 4 : place + 8]
        if zlib.crc32(memoryview(data)[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            name = kind.decode() if kind.isalpha() else "without a name"  # such bytes could steer a terminal
            raise ImageProblem(f"truncated or damaged: checksum of the PNG chunk {name}")
        chunks[kind].append(data[place + 8 : end - 4])
        place = end
    if image.mode == "P" and b"PLTE" not in chunks:
        raise ImageProblem("truncated or damaged: the PNG lacks its palette")
    inflated, needed = _inflated(b"".join(chunks[b"IDAT"])) or 0, _png_length(chunks[b"IHDR"][0])
    if inflated < needed:
        raise ImageProblem(f"truncated or damaged: {inflated} of the {needed} bytes of the PNG's pixels, or no sum")


def _png_length(header: bytes) -> int:  # bytes, with one for the filter of every row
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = depth * {2: 3, 4: 2, 6: 4}.get(colour, 1)
    passes = _PASSES if interlaced else ((0, 1, 0, 1),)
    sizes = [(len(range(left, width, across)), len(range(top, height, down))) for left, across, top, down in passes]
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sizes if columns)


def _inflated(stream: bytes, *, most: int = sys.maxsize) -> int | None:  # bytes
    """How much a stream of zlib gives, in steps, so that nothing large is held; None where it does not end by then."""
    inflater, length = zlib.decompressobj(), 0
    while stream and length <= most and not inflater.eof:
        length += len(inflater.decompress(stream, min(most + 1 - length, 2**20)))
        stream = inflater.unconsumed_tail
    return length if inflater.eof else None


def _require_whole_webp(data: bytes, image: Image.Image) -> None:
    """As many bytes as the container states."""
    (stated,) = struct.unpack_from("<I", data, 4)
    if stated + 8 > len(data):
        raise ImageProblem(f"truncated or damaged: {len(data)} of the {stated + 8} bytes of the WebP")
