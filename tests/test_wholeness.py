"""Decoded means that all data arrived, unsupported is another word than damaged, and no file ends the work."""

import fcntl
import io
import os
import random
import resource
import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import accumulate, pairwise
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features
from samples import noise

from dfxlib.data import limits
from dfxlib.data.decode import ImageFile, ImageProblem, inspect_file, read_image, rgb_of
from dfxlib.data.walk import IMAGE_SUFFIXES, SUFFIXES
from dfxlib.data.wholeness import FORMATS


def encoded(kind: str, *, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or noise(0, width=80, height=64)).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture()
def inspected(tmp_path: Path) -> Callable[..., dict]:
    """What the reader says of these bytes under a name; a verdict must say the same."""

    def inspect(data: bytes, name: str) -> dict:
        (tmp_path / name).write_bytes(data)
        file = ImageFile(tmp_path / name)
        facts = inspect_file(file)
        if facts["problem"] and not facts["problem"].startswith("wrong extension"):
            with pytest.raises(ImageProblem):
                read_image(file)
        return facts

    return inspect


def scan_start(data: bytes) -> int:
    """Place of the first entropy-coded byte of a JPEG."""
    place = data.index(b"\xff\xda")
    return place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")


def end_marker_after_half(data: bytes) -> bytes:
    return data[: (scan_start(data) + len(data)) // 2] + b"\xff\xd9"


def zeros_in_second_half(data: bytes) -> bytes:
    half = (scan_start(data) + len(data)) // 2
    return data[:half] + bytes(len(data) - half)


def zeros_before_the_end(data: bytes) -> bytes:
    return zeros_in_second_half(data)[:-2] + b"\xff\xd9"


def hole_in_the_middle(data: bytes) -> bytes:
    start = scan_start(data)
    fifth = (len(data) - start) // 5
    return data[: start + 2 * fifth] + bytes(fifth) + data[start + 3 * fifth :]


def random_second_half(data: bytes) -> bytes:
    half = (scan_start(data) + len(data)) // 2
    return data[:half] + random.Random(1).randbytes(len(data) - half - 2).replace(b"\xff", b"\xfe") + data[-2:]


def stretch_cut_out(data: bytes) -> bytes:
    half = (scan_start(data) + len(data)) // 2
    return data[: half - 300] + data[half:]


def strange_bytes_before_a_table(data: bytes) -> bytes:
    """What libjpeg warns of in a sound file, and what would hide its warning of lost pixels."""
    table = data.index(b"\xff\xdb")
    return data[:table] + bytes(4) + data[table:]


def one_bad_byte(data: bytes) -> bytes:
    half = (scan_start(data) + len(data)) // 2
    return data[:half] + b"\xff\x01" * 8 + data[half:]


SOUND_JPEGS = [
    {"quality": quality, "subsampling": subsampling, "progressive": progressive, "optimize": progressive}
    for quality in (5, 50, 95, 100)
    for subsampling in (0, 1, 2)
    for progressive in (False, True)
]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_sound_jpegs_raise_no_alarm(inspected: Callable[..., dict], mode: str) -> None:
    for number, options in enumerate(SOUND_JPEGS):
        for width, height in ((1, 1), (17, 9), (80, 64)):
            image = noise(number, width=width, height=height).convert(mode)
            assert inspected(encoded("JPEG", image=image, **options), "a.jpg")["problem"] == "", options


def test_sound_jpegs_of_another_encoder_with_restart_markers_raise_none(inspected: Callable[..., dict]) -> None:
    pixels = np.asarray(noise(3, width=90, height=70))
    for interval in (0, 1, 5):
        for progressive in (0, 1):
            options = [cv2.IMWRITE_JPEG_RST_INTERVAL, interval, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
            data = cv2.imencode(".jpg", pixels, options)[1].tobytes()
            assert inspected(data, "a.jpg")["problem"] == ""


def test_bytes_after_the_end_of_a_jpeg_are_no_damage(inspected: Callable[..., dict]) -> None:
    assert inspected(encoded("JPEG") + b"a trailer of a telephone", "a.jpg")["problem"] == ""


DAMAGES = [end_marker_after_half, zeros_in_second_half, zeros_before_the_end, hole_in_the_middle, one_bad_byte]
DAMAGES += [random_second_half, stretch_cut_out]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("options", [*SOUND_JPEGS[2::5], {"quality": 85, "restart_marker_rows": 1}], ids=str)
def test_a_jpeg_that_lacks_data_is_damaged(inspected: Callable[..., dict], damage: Callable, options: dict) -> None:
    data = damage(encoded("JPEG", image=noise(7, width=160, height=120), **options))
    for damaged in (data, strange_bytes_before_a_table(data)):
        assert inspected(damaged, "a.jpg")["problem"].startswith("truncated or damaged: ")


def test_strange_bytes_before_the_tables_of_a_sound_jpeg_are_no_damage(inspected: Callable[..., dict]) -> None:
    assert inspected(strange_bytes_before_a_table(encoded("JPEG")), "a.jpg")["problem"] == ""


def test_a_sequential_jpeg_need_not_state_its_coefficients(inspected: Callable[..., dict]) -> None:
    """Some encoders leave them empty; all 64 are there."""
    data = bytearray(encoded("JPEG"))
    assert data[scan_start(bytes(data)) - 3 :][:3] == b"\0\x3f\0"
    data[scan_start(bytes(data)) - 2] = 0
    assert inspected(bytes(data), "a.jpg")["problem"] == ""


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_progressive_jpeg_has_all_its_scans(inspected: Callable[..., dict], mode: str) -> None:
    data = encoded("JPEG", image=noise(5, width=80, height=64).convert(mode), progressive=True, quality=90)
    scans = [place for place in range(len(data)) if data[place : place + 2] == b"\xff\xda"]
    assert len(scans) > 3
    for before, place in pairwise(scans):
        table = data.rfind(b"\xff\xc4", before, place)
        ended = data[: table if table > 0 else place] + b"\xff\xd9"
        assert "scans, and lacks some" in inspected(ended, "a.jpg")["problem"]


#: A small Huffman table (T.81, annex C): how many codes of each length there are, and what they stand for.
DIFFERENCES, COEFFICIENTS = ((0, 1, 5, 1, 1, 1, 1), range(10)), ((0, 2, 1), range(3))


def codes(counts: tuple[int, ...], values: range) -> dict[int, str]:
    found, code, place = {}, 0, iter(values)
    for length, count in enumerate(counts, start=1):
        for _ in range(count):
            found[next(place)] = f"{code:0{length}b}"
            code += 1
        code <<= 1
    return found


def sampled_jpeg(factors: list[tuple[int, int]], *, width: int = 70, height: int = 50) -> bytes:
    """A sound sequential JPEG of any sampling (across, down; one pair a component), which Pillow cannot write."""
    rng, bits = random.Random(0), ""
    differences, coefficients = codes(*DIFFERENCES), codes(*COEFFICIENTS)
    across, down = (8 * max(sides) for sides in zip(*factors))
    blocks = sum(a * b for a, b in factors)
    for _ in range(-(-width // across) * -(-height // down) * blocks):
        size = rng.randrange(4)
        bits += differences[size] + "".join(rng.choices("01", k=size))
        bits += "".join(coefficients[1] + rng.choice("01") for _ in range(5)) + coefficients[0]
    bits += "1" * (-len(bits) % 8)
    scan = bytes(int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    parts = [(n, across << 4 | down, 0) for n, (across, down) in enumerate(factors)]
    segments = {0xDB: bytes([0, *[4] * 64]), 0xC0: struct.pack(">BHHB", 8, height, width, len(factors))}
    segments[0xC0] += b"".join(map(bytes, parts))
    tables = [
        bytes([place << 4, *counts, *bytes(16 - len(counts)), *values])
        for place, (counts, values) in enumerate((DIFFERENCES, COEFFICIENTS))
    ]
    segments |= {0xC4: b"".join(tables), 0xDA: bytes([len(factors)]) + bytes(v for n, _, _ in parts for v in (n, 0))}
    segments[0xDA] += b"\0\x3f\0"
    head = b"".join(bytes([255, code]) + struct.pack(">H", len(part) + 2) + part for code, part in segments.items())
    return b"\xff\xd8" + head + scan + b"\xff\xd9"


ONE = (1, 1)

#: By across x down of each component: those whose pixels TurboJPEG counts, and those that it refuses.
COUNTED = [
    [ONE] * 3,
    [(2, 1), ONE, ONE],
    [(1, 2), ONE, ONE],
    [(2, 2), ONE, ONE],
    [(4, 1), ONE, ONE],
    [(1, 4), ONE, ONE],
]
COUNTED += [[(2, 2), (2, 1), (2, 1)], [(2, 2), (1, 2), (1, 2)], [ONE] * 4, [(2, 2), ONE, ONE, (2, 2)]]
UNCOUNTED = [
    [(3, 1), ONE, ONE],
    [(4, 2), ONE, ONE],
    [(2, 1), (2, 1), ONE],
    [ONE, (2, 2), (2, 2)],
    [(2, 2), ONE, ONE, ONE],
]


@pytest.mark.parametrize("factors", [*COUNTED, *UNCOUNTED], ids=str)
def test_pixels_are_counted_at_every_sampling_that_turbojpeg_knows_and_no_sound_one_is_refused(
    inspected: Callable[..., dict], factors: list
) -> None:
    data = sampled_jpeg(factors)
    assert inspected(data, "a.jpg")["problem"] == ""
    told = [inspected(damage(data), "a.jpg")["problem"] for damage in (end_marker_after_half, one_bad_byte)]
    assert all(problem.startswith("truncated or damaged: ") for problem in told) == (factors in COUNTED), told


@pytest.mark.parametrize("mode", ["L", "RGB", "YCbCr", "CMYK"])
@pytest.mark.parametrize("quality", [30, 95])
def test_every_strip_of_jpeg_inside_a_tiff_is_whole(inspected: Callable[..., dict], mode: str, quality: int) -> None:
    image = noise(4, width=200, height=200).convert(mode)
    data = encoded("TIFF", image=image, compression="jpeg", quality=quality, strip_size=20_000)
    tags = Image.open(io.BytesIO(data)).tag_v2
    places = list(zip(tags[273], tags[279]))
    assert len(places) > 1 and inspected(data, "a.tif")["problem"] == ""
    for start, length in (places[0], places[-1]):
        half = start + length // 2
        holed = data[:half] + bytes(start + length - 2 - half) + data[start + length - 2 :]
        assert inspected(holed, "a.tif")["problem"].startswith("truncated or damaged: ")


def test_quality_comes_from_the_table_that_the_first_component_uses(inspected: Callable[..., dict]) -> None:
    """The tables of a sound JPEG may have any of four numbers."""
    data = bytearray(encoded("JPEG", quality=85))
    frame = data.index(b"\xff\xc0")
    for component in range(3):
        data[frame + 12 + 3 * component] += 1
    place = -1
    while (place := data.find(b"\xff\xdb", place + 1)) >= 0:
        data[place + 4] += 1
    facts = inspected(bytes(data), "a.jpg")
    assert (facts["problem"], facts["jpeg_quality"]) == ("", 85)


def test_every_chunk_of_a_png_keeps_its_checksum(inspected: Callable[..., dict]) -> None:
    data = encoded("PNG")
    place = data.index(b"IDAT")
    (length,) = struct.unpack(">I", data[place - 4 : place])
    wrong = bytearray(data)
    wrong[place + 4 + length] ^= 1
    assert inspected(bytes(wrong), "a.png")["problem"] == "truncated or damaged: checksum of the PNG chunk IDAT"
    assert "the PNG ends before its end chunk" in inspected(data[:-12], "a.png")["problem"]
    assert inspected(data + b"trailer", "a.png")["problem"] == ""


def png(width: int, height: int, *, colour: int, depth: int, interlaced: int, pixels: bytes) -> bytes:
    data = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    for kind, content in ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")):
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return data


#: Pixels that each pass of Adam7 (PNG, section 8.1) takes of 8 x 8: the first row and column, and their steps.
ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]


def grey_lines(values: np.ndarray, *, depth: int, interlaced: bool) -> bytes:  # [H, W] of 0 and 1
    """The unfiltered lines of a grey PNG that is black and white."""
    lines = b""
    for top, left, down, across in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        part = values[top::down, left::across]
        for row in part if part.shape[1] else []:
            lines += b"\0" + (np.packbits(row).tobytes() if depth == 1 else (row * 255).astype(np.uint8).tobytes())
    return lines


@pytest.mark.parametrize("depth", [1, 8])
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 9), (24, 17)])
def test_the_pixels_of_a_png_have_the_length_that_its_header_needs(
    inspected: Callable[..., dict], tmp_path: Path, depth: int, interlaced: bool, size: tuple[int, int]
) -> None:
    values = np.random.default_rng(0).integers(0, 2, (size[1], size[0]))
    lines = grey_lines(values, depth=depth, interlaced=interlaced)

    def problem(stream: bytes) -> str:
        made = png(*size, colour=0, depth=depth, interlaced=int(interlaced), pixels=stream)
        return inspected(made, "a.png")["problem"]

    assert problem(zlib.compress(lines)) == ""
    np.testing.assert_array_equal(np.asarray(read_image(ImageFile(tmp_path / "a.png")))[..., 0], values * 255)
    for stream in (zlib.compress(lines[:-1]), zlib.compress(lines)[:-4], zlib.compress(lines)[:-1] + b"~"):
        assert problem(stream).startswith("truncated or damaged: ")


def test_a_webp_has_as_many_bytes_as_it_states(inspected: Callable[..., dict]) -> None:
    for lossless in (False, True):
        data = encoded("WEBP", lossless=lossless)
        assert inspected(data, "a.webp")["problem"] == ""
        assert inspected(data[:-20], "a.webp")["problem"].startswith("truncated or damaged: ")


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
@pytest.mark.parametrize("part", [2, 5])
def test_what_was_fetched_in_part_and_filled_with_zeros_is_damaged(
    inspected: Callable[..., dict], kind: str, part: int
) -> None:
    data = encoded(kind, image=noise(3, width=200, height=160), quality=80)
    lost = len(data) // part
    assert inspected(data, f"a.{kind}")["problem"] == ""
    assert inspected(data[:-lost] + bytes(lost), f"a.{kind}")["problem"].startswith("truncated or damaged: ")


def exif_with_zeros() -> Image.Exif:
    """EXIF with the padding that Windows leaves in it (tag 0xEA1C)."""
    exif = Image.Exif()
    exif[0xEA1C] = bytes(3000)
    return exif


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_zeros_in_metadata_or_behind_the_picture_are_no_damage(inspected: Callable[..., dict], kind: str) -> None:
    data = encoded(kind, image=noise(3, width=60, height=50), exif=exif_with_zeros())
    for sound in (data, data + bytes(20_000)):
        assert inspected(sound, f"a.{kind}")["problem"] == ""


def test_zeros_in_the_picture_are_damage_whatever_follows_it(inspected: Callable[..., dict]) -> None:
    for lossless in (False, True):
        data = encoded("WEBP", image=noise(3, width=90, height=80), exif=exif_with_zeros(), lossless=lossless)
        place = data.index(b"VP8L" if lossless else b"VP8 ") + 8
        size = int.from_bytes(data[place - 4 : place], "little")
        lost = data[: place + size // 2] + bytes(size - size // 2) + data[place + size :]
        assert inspected(lost, "a.webp")["problem"].startswith("truncated or damaged: the WEBP ends in ")
    for options in ({}, {"quality_mode": "rates", "quality_layers": [20]}):
        data = encoded("JPEG2000", image=noise(3, width=90, height=80), **options)
        half = len(data) // 2
        for lost in (data[:half] + bytes(len(data) - half), data[:half] + bytes(len(data) - half - 2) + b"\xff\xd9"):
            assert inspected(lost, "a.jp2")["problem"].startswith("truncated or damaged: ")


def test_a_qoi_lacks_nothing(inspected: Callable[..., dict]) -> None:
    data = encoded("QOI", image=noise(3, width=90, height=80))
    assert inspected(data, "a.qoi")["problem"] == ""
    assert inspected(data[:2000] + bytes(len(data) - 2000), "a.qoi")["problem"].startswith("truncated or damaged: ")


@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "JPEG2000", "QOI"])
@pytest.mark.parametrize("grey", [0, 255])
@pytest.mark.parametrize("rows", [1, 30])
def test_flat_pictures_end_in_zeros_and_are_whole(
    inspected: Callable[..., dict], kind: str, grey: int, rows: int
) -> None:
    image = Image.new("RGB", (900, 900), (grey, grey, grey))
    image.paste(noise(1, width=900, height=rows), (0, 0))
    several = [{}, {"quality": 1}, {"lossless": True}] if kind == "WEBP" else [{}]
    for options in several if kind != "JPEG2000" else [{}, {"tile_size": (64, 64)}, {"precinct_size": (64, 64)}]:
        assert inspected(encoded(kind, image=image, **options), f"a.{kind}")["problem"] == "", options


def test_a_png_with_the_long_text_of_a_generator_is_read(inspected: Callable[..., dict]) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", "a node of the graph " * 120_000, zip=True)
    limits = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    assert inspected(encoded("PNG", pnginfo=text), "a.png")["problem"] == ""
    assert limits == (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY), "only while a file is read"


def twelve_bit_tiff(values: np.ndarray) -> bytes:  # [H, W] of 0..4095, W even
    """An uncompressed grey TIFF of 12 bits a sample: two values in three bytes."""
    first, second = values[:, ::2].astype(np.uint32), values[:, 1::2].astype(np.uint32)
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1).astype(np.uint8).tobytes()
    height, width = values.shape
    tags = [(256, 3, width), (257, 3, height), (258, 3, 12), (259, 3, 1), (262, 3, 1)]
    tags += [(273, 4, 8), (277, 3, 1), (278, 3, height), (279, 4, len(packed))]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_grey_of_more_than_8_bits_keeps_the_highest_that_the_file_states(
    inspected: Callable[..., dict], tmp_path: Path
) -> None:
    values = np.linspace(0, 4095, 24 * 16).astype(np.uint16).reshape(16, 24)
    facts = inspected(twelve_bit_tiff(values), "a.tif")
    assert (facts["problem"], facts["conversion"]) == ("", "12 bit: high byte; grey")
    read = np.asarray(read_image(ImageFile(tmp_path / "a.tif")))[..., 0]
    np.testing.assert_array_equal(read, values >> 4)
    with Image.open(tmp_path / "a.tif") as opened:
        np.testing.assert_array_equal(np.asarray(rgb_of(opened))[..., 0], read, "as a picture of Pillow it is the same")
    ten = (values >> 2).astype(">u2")
    facts = inspected(b"P5 24 16 1023\n" + ten.tobytes(), "a.pgm")
    assert (facts["problem"], facts["conversion"]) == ("", "10 bit: high byte; grey")
    read = np.asarray(read_image(ImageFile(tmp_path / "a.pgm")))[..., 0].astype(int)
    assert np.abs(read - (ten.astype(int) >> 2)).max() <= 1, "Pillow stretches to 16 bits first"


def test_a_tiff_that_uses_fewer_bits_than_it_stores_says_so_by_a_largest_value_of_ones(
    inspected: Callable[..., dict], tmp_path: Path
) -> None:
    values = np.linspace(0, 4095, 24 * 16).astype(np.uint16).reshape(16, 24)
    for largest, bits in ((4095, 12), (65535, 16), (4000, 16)):  # a largest value that was merely met says nothing
        inspected(encoded("TIFF", image=Image.fromarray(values), tiffinfo={281: largest}), "a.tif")
        read = np.asarray(read_image(ImageFile(tmp_path / "a.tif")))[..., 0]
        np.testing.assert_array_equal(read, values >> bits - 8)


def rgb_tiff(values: np.ndarray, *, largest: int) -> bytes:  # [H, W, 3] uint16
    """A colour TIFF of 16 bits a sample that states its largest value."""
    height, width, _ = values.shape
    start, triple = 8 + 2 + 12 * 9 + 4, struct.pack("<3H", 16, 16, 16)
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, start), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 1, start + 12), (277, 3, 1, 3), (279, 4, 1, values.nbytes), (281, 3, 3, start + 6)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + struct.pack("<I", 0)
    return head + triple + struct.pack("<3H", *[largest] * 3) + values.astype("<u2").tobytes()


def test_a_colour_tiff_that_uses_fewer_bits_than_it_stores_is_refused(
    inspected: Callable[..., dict], tmp_path: Path
) -> None:
    values = np.linspace(0, 4095, 24 * 16 * 3).astype(np.uint16).reshape(16, 24, 3)
    told = inspected(rgb_tiff(values, largest=4095), "a.tif")["problem"]
    assert told == "unsupported: a colour TIFF of samples up to 4095 in 16 bits"
    assert inspected(rgb_tiff(values * 16, largest=65535), "a.tif")["problem"] == ""
    np.testing.assert_array_equal(np.asarray(read_image(ImageFile(tmp_path / "a.tif"))), values >> 4)


def tiff(strips: list[bytes], **tags: object) -> bytes:
    """A small TIFF, 24 x 16, of these strips or planes; tags by number, as `t262=0`, in place of the usual ones."""
    said: dict[int, object] = {256: 24, 257: 16, 258: 8, 259: 1, 262: 1, 277: 1, 278: 16 // len(strips)}
    said |= {int(name[1:]): value for name, value in tags.items()}
    values = {tag: value if isinstance(value, tuple) else (value,) for tag, value in said.items()}
    lengths = [len(strip) for strip in strips]
    values |= {273: tuple(accumulate(lengths[:-1], initial=8)), 279: tuple(lengths)}
    body, entries = b"".join(strips), b""
    for tag, numbers in sorted(values.items()):
        content = struct.pack(f"<{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            content, body = struct.pack("<I", 8 + len(body)), body + content
        entries += struct.pack("<HHI", tag, 4, len(numbers)) + content
    return struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + struct.pack("<H", len(values)) + entries + bytes(4)


def test_a_tiff_that_pillow_would_take_for_another_picture_is_not_read(inspected: Callable[..., dict]) -> None:
    grey, wide = bytes(range(192)) * 2, bytes(24 * 16 * 2)
    assert inspected(tiff([grey]), "a.tif")["problem"] == inspected(tiff([wide], t258=16), "a.tif")["problem"] == ""
    reduced = "unsupported: the first page is a reduced image, such as the thumbnail of a camera raw file"
    assert inspected(tiff([grey], t254=1), "a.tif")["problem"] == reduced
    negative = "unsupported: grey of more than 8 bits in a TIFF that does not say that 0 is black"
    assert inspected(tiff([wide], t258=16, t262=0), "a.tif")["problem"] == negative
    planes = {"t258": (16, 16, 16), "t262": 2, "t277": 3, "t284": 2, "t278": 16}
    assert (
        inspected(tiff([wide] * 3, **planes), "a.tif")["problem"]
        == "unsupported: colours of more than 8 bits in planes"
    )
    assert inspected(tiff([grey], t339=2), "a.tif")["problem"] == "unsupported: a TIFF of signed samples"


def test_what_pillow_reads_right_of_such_tiffs_is_read(inspected: Callable[..., dict], tmp_path: Path) -> None:
    """Eight bits, whose zero may be white and whose colours may lie in planes; wide planes behind a compression."""
    grey = np.arange(24 * 16, dtype=np.uint16).reshape(16, 24) * 170
    low, planes = (grey >> 8).astype(np.uint8), [grey, grey // 2, grey // 3]
    whole = np.stack([plane >> 8 for plane in planes], axis=-1)
    colours = {"t262": 2, "t277": 3, "t284": 2, "t278": 16}
    narrow = [(plane >> 8).astype(np.uint8).tobytes() for plane in planes]
    packed = [zlib.compress(plane.tobytes()) for plane in planes]
    for data, expected in (
        (tiff([low.tobytes()], t262=0), 255 - np.stack([low] * 3, axis=-1)),
        (tiff(narrow, t258=(8, 8, 8), **colours), whole),
        (tiff(packed, t258=(16, 16, 16), t259=8, **colours), whole),
    ):
        assert inspected(data, "a.tif")["problem"] == ""
        np.testing.assert_array_equal(np.asarray(read_image(ImageFile(tmp_path / "a.tif"))), expected)


@pytest.mark.parametrize("suffix", ["dng", "NEF", "arw", "orf", "pef", "cr2"])
def test_a_camera_raw_file_is_not_read_as_its_thumbnail(inspected: Callable[..., dict], suffix: str) -> None:
    assert inspected(encoded("TIFF"), f"a.{suffix}")["problem"] == "unsupported format: camera raw"


@pytest.mark.parametrize(
    "bits, count, form", [(16, 1, 3), (64, 1, 3), (64, 1, 6), (32, 3, 3), (32, 3, 1)], ids=lambda number: str(number)
)
def test_a_sound_tiff_of_samples_that_are_not_read_is_unsupported_and_a_cut_one_is_damaged(
    inspected: Callable[..., dict], bits: int, count: int, form: int
) -> None:
    pixels = bytes(24 * 16 * count * bits // 8)
    tags = {"t258": (bits,) * count, "t277": count, "t262": 2 if count == 3 else 1, "t339": (form,) * count}
    told = inspected(tiff([pixels], **tags), "a.tif")["problem"]
    assert told == f"unsupported: a TIFF of {count} x {bits} bits, sample format {form}, compression 1"
    beyond = tiff([pixels], **tags).replace(struct.pack("<I", len(pixels)), struct.pack("<I", 2**30))
    assert inspected(beyond, "a.tif")["problem"].startswith("truncated or damaged: ")


@pytest.mark.parametrize("compression", [8, 32946])
def test_every_strip_of_deflate_inside_a_tiff_ends_with_its_sum(
    inspected: Callable[..., dict], compression: int
) -> None:
    rows = [random.Random(number).randbytes(24 * 4) for number in range(4)]
    strips = [zlib.compress(part) for part in rows]
    assert inspected(tiff(strips, t259=compression), "a.tif")["problem"] == ""
    padded = [*strips[:3], zlib.compress(rows[3])]
    assert inspected(tiff(padded, t259=compression, t257=14, t278=4), "a.tif")["problem"] == "", "a last strip in full"
    unsummed, changed = strips[2][:-4], bytearray(strips[2])
    changed[30] ^= 1  # random bytes are stored as they are: only the sum tells
    endless = zlib.compress(rows[2] + bytes(2**20))
    for damaged in (unsummed, bytes(changed), strips[2][:-1] + b"~", endless):
        told = inspected(tiff([*strips[:2], damaged, strips[3]], t259=compression), "a.tif")["problem"]
        assert told.startswith("truncated or damaged: ")


def test_a_png_without_its_palette_is_damaged(inspected: Callable[..., dict]) -> None:
    data = encoded("PNG", image=noise(0).convert("P"))
    place = data.index(b"PLTE") - 4
    (length,) = struct.unpack_from(">I", data, place)
    assert inspected(data, "a.png")["problem"] == ""
    told = inspected(data[:place] + data[place + 12 + length :], "a.png")["problem"]
    assert told.startswith("truncated or damaged: ")


def inspected_in_little_memory(path: Path) -> str:
    """The problem that is told where the process may take 100 MB more."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + 100 * 2**20, resource.RLIM_INFINITY))
    return inspect_file(ImageFile(path))["problem"]


@pytest.mark.slow
def test_a_sound_picture_for_which_memory_does_not_suffice_is_not_called_damaged(tmp_path: Path) -> None:
    Image.new("L", (8000, 8000)).save(tmp_path / "large.png", compress_level=1)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own:
        told = own.submit(inspected_in_little_memory, tmp_path / "large.png").result()
    assert told == "too large: it takes more memory than there is"


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_grey_jpeg_2000_keeps_the_highest_bits_that_its_codestream_states(
    inspected: Callable[..., dict], tmp_path: Path, bits: int
) -> None:
    """Pillow writes 16 bits only: the depth is put in by hand, and values are moved by the other level shift."""
    values = np.linspace(0, 2**bits - 1, 64 * 64).astype(int).reshape(64, 64)
    data = bytearray(encoded("JPEG2000", image=Image.fromarray((values + 2**15 - 2 ** (bits - 1)).astype(np.uint16))))
    data[data.index(b"\xff\x4f\xff\x51") + 42] = data[data.index(b"ihdr") + 14] = bits - 1
    facts = inspected(bytes(data), "a.jp2")
    assert (facts["problem"], facts["conversion"]) == ("", f"{bits} bit: high byte; grey")
    read = np.asarray(read_image(ImageFile(tmp_path / "a.jp2")))[..., 0]
    np.testing.assert_array_equal(read, values >> bits - 8)


@pytest.mark.parametrize("largest, rule", [(255, ""), (1023, "10 bit: high byte"), (65535, "16 bit: high byte")])
def test_colours_of_a_ppm_are_reduced_and_the_rule_is_named(
    inspected: Callable[..., dict], tmp_path: Path, largest: int, rule: str
) -> None:
    values = np.random.default_rng(0).integers(0, largest + 1, (6, 5, 3))
    data = b"P6 5 6 %d\n" % largest + values.astype(">u2" if largest > 255 else "u1").tobytes()
    facts = inspected(data, "a.ppm")
    assert (facts["problem"], facts["conversion"]) == ("", rule)
    read = np.asarray(read_image(ImageFile(tmp_path / "a.ppm")))
    np.testing.assert_allclose(read, values / largest * 255, atol=0.51)


@pytest.mark.skipif(not features.check("avif"), reason="Pillow without AVIF")
@pytest.mark.parametrize("bits, rule", [(8, ""), (10, "10 bit: high byte"), (12, "12 bit: high byte")])
def test_the_bits_of_an_avif_are_named(inspected: Callable[..., dict], bits: int, rule: str) -> None:
    kind = np.uint8 if bits == 8 else np.uint16
    pixels = np.full((32, 32, 3), 2 ** (bits - 1), kind)
    data = cv2.imencode(".avif", pixels, [cv2.IMWRITE_AVIF_DEPTH, bits])[1].tobytes()
    facts = inspected(data, "a.avif")
    assert (facts["problem"], facts["conversion"]) == ("", rule)


@pytest.mark.parametrize(
    "data, named",
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "unsupported format: PostScript"),
        (b"8BPS\0\1" + bytes(40), "unsupported format: Photoshop"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "unsupported format: JPEG XL"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "unsupported format: HEIC; it is read with the extra heic"),
        (b"\0\0\0\x18ftyphevx" + bytes(40), "unsupported format: HEIC; it is read with the extra heic"),
        (b"\0\0\0\x18ftypcrx " + bytes(40), "unsupported format: camera raw"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(40), "unsupported format: camera raw"),
        (b"\xc5\xd0\xd3\xc6" + bytes(40), "unsupported format: PostScript"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported format: SVG"),
        (b"<!DOCTYPE html><html>404", "not an image"),
        (b"\0\0\0\x18ftypisom" + bytes(40), "not an image"),
        (b"just words", "not an image"),
        *((encoded(kind), f"unsupported format: {kind}") for kind in ("ICO", "TGA", "SGI", "DDS", "ICNS", "PCX")),
    ],
)
def test_what_is_not_read_is_named_and_starts_no_other_program(
    inspected: Callable[..., dict], monkeypatch: pytest.MonkeyPatch, data: bytes, named: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr("subprocess.check_call", refuse)
    monkeypatch.setattr("subprocess.Popen", refuse)
    assert inspected(data, "figure.png")["problem"].startswith(named)


def test_large_pictures_are_decoded_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process decodes a large one, this one waits; small ones go on."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(limits, "_LARGE", 1000)
    noise(0, width=10, height=10).save(tmp_path / "small.png")
    noise(0, width=40, height=30).save(tmp_path / "large.png")
    read_image(ImageFile(tmp_path / "large.png"))
    (lock,) = tmp_path.glob("*.lock")
    with ThreadPoolExecutor(1) as other, open(lock) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = other.submit(read_image, ImageFile(tmp_path / "large.png"))
        read_image(ImageFile(tmp_path / "small.png"))
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.3)
        fcntl.flock(held, fcntl.LOCK_UN)
        assert waiting.result(timeout=60).size == (40, 30)


@pytest.mark.parametrize("plant", ["link", "folder", "pipe"])
def test_what_lies_under_the_name_of_the_lock_harms_nothing_and_is_not_harmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(limits, "_LARGE", 1000)
    noise(0, width=40, height=30).save(tmp_path / "large.png")
    lock = tmp_path / f"dfxlib-large-{os.getuid()}.lock"
    (tmp_path / "letter.txt").write_text("not to be emptied")
    {"link": lambda: lock.symlink_to("letter.txt"), "folder": lock.mkdir, "pipe": lambda: os.mkfifo(lock)}[plant]()
    assert inspect_file(ImageFile(tmp_path / "large.png"))["problem"] == ""
    assert (tmp_path / "letter.txt").read_text() == "not to be emptied"


@pytest.mark.parametrize("frame, bits, said", [(0xC1, 12, "12 bits in a frame of kind C1"), (0xF7, 8, "kind F7")])
def test_a_jpeg_of_another_kind_is_unsupported_and_not_damaged(
    inspected: Callable[..., dict], frame: int, bits: int, said: str
) -> None:
    data = bytearray(encoded("JPEG"))
    place = data.index(b"\xff\xc0")
    data[place + 1], data[place + 4] = frame, bits
    problem = inspected(bytes(data), "a.jpg")["problem"]
    assert problem.startswith("unsupported: a JPEG of ") and problem.endswith(said)


def test_a_picture_of_a_format_that_is_read_is_damaged_where_it_does_not_open(inspected: Callable[..., dict]) -> None:
    wrong = bytearray(encoded("PNG"))
    wrong[8 + 8 + 13] ^= 1  # the checksum of its header
    assert inspected(bytes(wrong), "a.png")["problem"].startswith("truncated or damaged: the PNG does not open")
    tiff = encoded("TIFF", image=noise(0, width=200, height=200), compression="tiff_lzw")
    assert inspected(tiff[: len(tiff) // 2], "a.tif")["problem"].startswith("truncated or damaged: ")


def test_texts_and_profiles_above_the_limit_are_too_large(
    inspected: Callable[..., dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    text, several = PngImagePlugin.PngInfo(), PngImagePlugin.PngInfo()
    text.add_text("workflow", "node " * 500, zip=True)
    for number in range(3):
        several.add_text(f"part{number}", "node " * 150, zip=True)
    files = [encoded("PNG", pnginfo=text), encoded("PNG", pnginfo=several), encoded("PNG", icc_profile=bytes(2000))]
    assert [inspected(data, "a.png")["problem"] for data in files] == ["", "", ""]
    monkeypatch.setattr(limits, "_TEXT_LIMIT", 1000)
    said = "too large: a text or colour profile of more than 1000 bytes"
    assert [inspected(data, "a.png")["problem"] for data in files] == [said, said, said]


def test_the_suffixes_of_images_are_those_of_the_formats_that_are_opened() -> None:
    registered = Image.registered_extensions()
    opened = {suffix for suffix, kind in registered.items() if kind in (*FORMATS, "MPO")} - {".pfm"}  # of no mode here
    assert opened == {suffix for suffix in IMAGE_SUFFIXES if registered.get(suffix) in (*FORMATS, "MPO")}
    assert {".qoi", ".xbm", ".j2k", ".hif"} <= IMAGE_SUFFIXES
    assert set(FORMATS) <= set(SUFFIXES)


def test_pillows_warnings_of_a_file_are_not_told(
    inspected: Callable[..., dict], recwarn: pytest.WarningsRecorder
) -> None:
    tiff = encoded("TIFF", image=noise(0, width=200, height=200), compression="tiff_lzw")
    inspected(tiff[: len(tiff) // 2], "a.tif")
    inspected(encoded("PNG", image=noise(0).convert("P"), transparency=bytes(range(256))), "a.png")
    assert [str(warning.message) for warning in recwarn] == []


def test_nothing_that_readers_of_tiff_tell_of_a_file_reaches_the_terminal(
    inspected: Callable[..., dict], capfd: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    for mode, kind in (("1", "group4"), ("RGB", "tiff_lzw"), ("RGB", "tiff_adobe_deflate"), ("RGB", "jpeg")):
        data = bytearray(encoded("TIFF", image=noise(0, width=200, height=200).convert(mode), compression=kind))
        start = Image.open(io.BytesIO(data)).tag_v2[273][0]
        data[start + 20 : start + 60] = bytes(range(200, 240))
        inspected(bytes(data), "a.tif")
    samples = (277).to_bytes(2, "little") + b"\x03\0\x01\0\0\0"  # tag, kind, count; then the number of them
    data = encoded("TIFF").replace(samples + b"\x03", samples + b"\x09")
    assert inspected(data, "a.tif")["problem"]
    assert capfd.readouterr().err == "" and caplog.messages == []


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, cut out, doubled or cut off."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(changed))
        match rng.randrange(5):
            case 0 | 1:
                changed[place] = rng.randrange(256)
            case 2:
                del changed[place : place + rng.randint(1, 20)]
            case 3:
                changed[place:place] = changed[place : place + rng.randint(1, 20)]
            case 4:
                del changed[max(20, place) :]
        if len(changed) < 20:
            break
    return bytes(changed)


def whole_files() -> dict[str, bytes]:
    """One small file of every format that is opened, by its suffix."""
    kinds = {"bmp": "BMP", "gif": "GIF", "jpg": "JPEG", "jp2": "JPEG2000", "png": "PNG", "ppm": "PPM", "qoi": "QOI"}
    kinds |= {"tif": "TIFF", "webp": "WEBP", "avif": "AVIF"}
    if not features.check("avif"):
        del kinds["avif"]
    files = {suffix: encoded(kind) for suffix, kind in kinds.items()}
    files["xbm"] = encoded("XBM", image=noise(0, width=32, height=16).convert("1"))
    files["prog.jpg"] = encoded("JPEG", progressive=True)
    turned = Image.Exif()
    turned[0x0112] = 6
    files["exif.jpg"] = encoded("JPEG", exif=turned)
    files["lzw.tif"] = encoded("TIFF", compression="tiff_lzw")
    return files


def read_mutated(folder: Path, count: int) -> tuple[int, float]:  # problems told, megabytes that the process grew by
    """Read many mutated files, each once."""
    warnings.simplefilter("ignore")  # Pillow warns of what it skips
    rng, files = random.Random(0), whole_files()
    names = sorted(files)
    problems, before = 0, 0
    for number in range(count):
        name = names[number % len(names)]
        path = folder / f"a.{name}"
        path.write_bytes(mutated(files[name], rng))
        problems += inspect_file(ImageFile(path), pixel_limit=2**20)["problem"] != ""
        if number == len(names):  # every decoder was loaded
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return problems, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


@pytest.mark.parametrize("count", [600, pytest.param(20_000, marks=pytest.mark.faults)])
def test_not_one_exception_leaves_the_reader_and_memory_stays_bounded(tmp_path: Path, count: int) -> None:
    known = Image.registered_extensions()
    assert {known[f".{name.split('.')[-1]}"] for name in whole_files()} == set(FORMATS)
    # In a process of its own: a worker that ran other tests has had its peak already.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own:
        problems, grown = own.submit(read_mutated, tmp_path, count).result()
    assert problems > count / 3, "otherwise the mutations say nothing"
    assert grown < 100, "one picture of 2**20 pixels has 3 MB in RGB"
