"""Decoding: every rule of decode.py's docstring, and every kind of damage a named problem."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from samples import noise

from dfxlib.data import decode
from dfxlib.data.decode import (
    ImageFile,
    ImageProblem,
    file_sha256,
    image_files,
    inspect_file,
    perceptual_hash,
    read_image,
    read_with_format,
)
from dfxlib.system.files import sha256_bytes


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises width x height pixels and holds none."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0\0\0\0IDAT"


Decode = Callable[[bytes], Image.Image]


@pytest.fixture
def decoded(tmp_path: Path) -> Decode:
    """`read_image` of a file that holds given bytes."""

    def read(data: bytes) -> Image.Image:
        (tmp_path / "picture").write_bytes(data)
        return read_image(ImageFile(tmp_path / "picture"))

    return read


def inspected(folder: Path, data: bytes, name: str = "a.png") -> dict:
    (folder / name).write_bytes(data)
    return inspect_file(ImageFile(folder / name))


@pytest.mark.parametrize("kind, options", [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_give_the_stored_pixels(kind: str, options: dict, decoded: Decode) -> None:
    image = noise(0)
    assert decoded(encoded(image, kind, **options)).tobytes() == image.tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_grey_palette_and_cmyk_become_rgb_as_pillow_converts_them(mode: str, decoded: Decode) -> None:
    image = noise(0).convert(mode)
    found = decoded(encoded(image, "TIFF"))
    assert found.mode == "RGB" and found.tobytes() == image.convert("RGB").tobytes()


def test_a_cmyk_jpeg_is_decoded(decoded: Decode) -> None:
    data = encoded(noise(0).convert("CMYK"), "JPEG")
    assert decoded(data).tobytes() == Image.open(io.BytesIO(data)).convert("RGB").tobytes()


def test_a_format_whose_decoder_is_told_nothing_is_decoded(decoded: Decode) -> None:
    image = noise(0).convert("1")
    assert decoded(encoded(image, "XBM")).tobytes() == image.convert("RGB").tobytes()


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_dropped_and_the_stored_colours_stay(mode: str, decoded: Decode) -> None:
    image = noise(0).convert(mode)
    image.putalpha(0)  # fully transparent: a viewer shows nothing, we keep the colours
    assert decoded(encoded(image, "PNG")).tobytes() == noise(0).convert(mode).convert("RGB").tobytes()


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_a_transparent_palette_keeps_its_colours(decoded: Decode) -> None:
    image = noise(0).convert("P")
    data = encoded(image, "PNG", transparency=bytes(range(256)))
    assert decoded(data).tobytes() == image.convert("RGB").tobytes()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_high_byte(kind: str, decoded: Decode) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (8, 9), dtype=np.uint16)
    found = np.asarray(decoded(encoded(Image.fromarray(deep), kind)))
    np.testing.assert_array_equal(found, np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, axis=2))


def test_sixteen_bit_rgb_keeps_its_high_bytes(decoded: Decode) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (4, 5, 3), dtype=np.uint16)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in deep)
    chunks = {b"IHDR": struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0), b"IDAT": zlib.compress(lines), b"IEND": b""}
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks.items():
        data += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    np.testing.assert_array_equal(np.asarray(decoded(data)), deep >> 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation: int, decoded: Decode) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = noise(0, width=12, height=7)
    turns = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }  # fmt: skip
    expected = image if turns[orientation] is None else image.transpose(turns[orientation])
    found = decoded(encoded(image, "PNG", exif=exif))
    assert found.size == expected.size and found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
def test_a_turn_is_recorded_and_the_size_is_the_stored_one_whoever_turns_it(kind: str, tmp_path: Path) -> None:
    """Pillow turns TIFF while it decodes, and leaves the others to its caller."""
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        file = ImageFile(tmp_path / f"{orientation}.{kind.lower()}")
        noise(0, width=12, height=7).save(file.path, exif=exif)
        found, upright = inspect_file(file), read_image(file).size
        assert found["conversion"] == (f"exif orientation {orientation}" if orientation > 1 else "")
        assert (found["width"], found["height"]) == (12, 7)
        assert upright == ((7, 12) if orientation > 4 else (12, 7))


def test_zero_bytes_are_an_empty_file(decoded: Decode) -> None:
    with pytest.raises(ImageProblem, match=r": empty file$"):
        decoded(b"")


def test_text_called_png_is_not_an_image(decoded: Decode) -> None:
    with pytest.raises(ImageProblem, match=r": not an image$"):
        decoded(b"these are words\n" * 100)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_file_is_a_problem_and_never_grey_blocks(kind: str, share: float, decoded: Decode) -> None:
    data = encoded(noise(0, width=200, height=200), kind)
    with pytest.raises(ImageProblem):
        decoded(data[: int(share * len(data))])


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_a_problem_that_counts_its_frames(kind: str, decoded: Decode) -> None:
    data = encoded(noise(0), kind, save_all=True, append_images=[noise(1), noise(2)])
    with pytest.raises(ImageProblem, match=r": animated: 3 frames$"):
        decoded(data)


def test_of_a_multi_picture_jpeg_the_first_counts(tmp_path: Path, decoded: Decode) -> None:
    data = encoded(noise(0), "MPO", save_all=True, append_images=[noise(1)], quality=83)
    facts = inspected(tmp_path, data, "phone.jpg")
    assert (facts["problem"], facts["format"], facts["jpeg_quality"]) == ("", "MPO", 83)
    assert decoded(data).tobytes() == decoded(encoded(noise(0), "JPEG", quality=83)).tobytes()


def test_a_still_gif_is_an_image(decoded: Decode) -> None:
    assert decoded(encoded(noise(0), "GIF")).size == (32, 32)


@pytest.mark.parametrize("side", [15_812, 60_000])
def test_a_picture_above_the_limit_is_refused_by_its_header(side: int, decoded: Decode) -> None:
    with pytest.raises(ImageProblem, match="too large: "):
        decoded(png_header(side, side))


def test_the_pixel_limit_is_the_largest_size_that_is_decoded(tmp_path: Path) -> None:
    file = ImageFile(tmp_path / "a.png")
    noise(0).save(file.path)
    assert inspect_file(file, pixel_limit=32 * 32)["problem"] == ""
    problem = inspect_file(file, pixel_limit=32 * 32 - 1)["problem"]
    assert problem == "too large: 32 x 32 pixels, above pixel_limit 1023"


def test_floating_point_pictures_are_refused_by_mode(decoded: Decode) -> None:
    with pytest.raises(ImageProblem, match="unsupported mode: F"):
        decoded(encoded(Image.fromarray(np.ones((4, 4), dtype=np.float32)), "TIFF"))


@pytest.mark.filterwarnings("ignore")  # Pillow warns of damaged metadata
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_flipped_bytes_end_in_a_picture_or_a_named_problem(kind: str, decoded: Decode) -> None:
    exif, dice = Image.Exif(), random.Random(0)
    exif[0x0112], exif[0x010E] = 6, "a description"
    data = encoded(noise(0, width=20, height=24), kind, exif=exif)
    for _ in range(600):
        damaged = bytearray(data)
        for _ in range(dice.choice([1, 1, 4])):
            damaged[dice.randrange(dice.choice([60, 200, len(data)]) % len(data) or len(data))] = dice.randrange(256)
        try:
            assert decoded(bytes(damaged)).mode == "RGB"
        except ImageProblem as problem:
            assert str(problem)


def test_a_damaged_exif_block_is_a_problem(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(noise(0), "WEBP", exif=exif).replace(b"EXIF\x1a\x00\x00\x00MM", b"EXIF\x1a\x00\x00\x00\xffM")
    data = data if b"\xffM\x00*" in data else data.replace(b"MM\x00*", b"\xffM\x00*")
    assert inspected(tmp_path, data)["problem"].startswith("damaged EXIF block")


@pytest.mark.parametrize("quality", range(1, 101))
def test_jpeg_quality_is_what_pillow_was_asked_for(tmp_path: Path, quality: int) -> None:
    facts = inspected(tmp_path, encoded(noise(0), "JPEG", quality=quality), "a.jpg")
    assert facts["jpeg_quality"] == quality


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_subsampling_is_what_pillow_was_asked_for(tmp_path: Path, subsampling: str, progressive: bool) -> None:
    data = encoded(noise(0), "JPEG", subsampling=subsampling, progressive=progressive)
    assert inspected(tmp_path, data)["jpeg_subsampling"] == subsampling


def test_a_png_has_no_jpeg_settings(tmp_path: Path) -> None:
    facts = inspected(tmp_path, encoded(noise(0), "PNG"))
    assert np.isnan(facts["jpeg_quality"]) and facts["jpeg_subsampling"] == ""


def test_facts_describe_the_file_and_a_suffix_that_lies_is_a_problem(tmp_path: Path) -> None:
    data = encoded(noise(0, width=20, height=10).convert("L"), "JPEG")
    facts = inspected(tmp_path, data, "a.png")
    assert facts["problem"] == "wrong extension: JPEG named .png"
    assert facts["sha256"] == sha256_bytes(data) and facts["bytes"] == len(data)
    assert [facts[name] for name in ("format", "mode", "width", "height")] == ["JPEG", "L", 20, 10]


def test_a_problem_is_a_value_that_keeps_hash_and_size(tmp_path: Path) -> None:
    facts = inspected(tmp_path, b"words")
    assert facts["problem"] == "not an image" and facts["bytes"] == 5 and facts["sha256"] == sha256_bytes(b"words")
    assert facts["pixel_sha256"] == "" and facts["phash"] == ""


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    assert inspect_file(ImageFile(tmp_path / "gone.png"))["problem"] == "unreadable: No such file or directory"


def test_equal_pixels_have_one_pixel_hash_in_any_format(tmp_path: Path) -> None:
    one, other = inspected(tmp_path, encoded(noise(0), "PNG")), inspected(tmp_path, encoded(noise(0), "BMP"))
    assert one["pixel_sha256"] == other["pixel_sha256"] and one["sha256"] != other["sha256"]


def test_the_pixel_hash_knows_the_shape(tmp_path: Path) -> None:
    wide, high = Image.new("RGB", (8, 4)), Image.new("RGB", (4, 8))
    hashes = {inspected(tmp_path, encoded(image, "PNG"))["pixel_sha256"] for image in (wide, high)}
    assert len(hashes) == 2


def test_the_perceptual_hash_survives_compression_and_tells_scenes_apart(decoded: Decode) -> None:
    smooth = [noise(seed, width=6, height=6).resize((64, 64)) for seed in (0, 1)]
    again = decoded(encoded(smooth[0], "JPEG", quality=50))
    one, two, other = (int(perceptual_hash(image.convert("L")), 16) for image in (smooth[0], again, smooth[1]))
    assert (one ^ two).bit_count() <= 6 < 16 <= (one ^ other).bit_count()


def test_reading_proves_that_the_file_is_the_manifests(tmp_path: Path) -> None:
    path, data = tmp_path / "a.png", encoded(noise(0), "PNG")
    path.write_bytes(data)
    assert read_image(ImageFile(path, sha256_bytes(data))).tobytes() == noise(0).tobytes()
    path.write_bytes(encoded(noise(1), "PNG"))
    with pytest.raises(ImageProblem, match=r"a\.png changed since the manifest was made; prepare the data set again"):
        read_image(ImageFile(path, sha256_bytes(data)))


def test_reading_names_the_file_that_is_damaged_or_gone(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"words")
    with pytest.raises(ImageProblem, match=r"a\.png: not an image"):
        read_image(ImageFile(tmp_path / "a.png"))
    with pytest.raises(ImageProblem, match=r"b\.png cannot be read \(No such file or directory\); restore it"):
        read_image(ImageFile(tmp_path / "b.png", sha256_bytes(b"as it was")))


def test_a_file_that_may_not_be_read_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> object:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(decode.os, "stat", refuse)  # the superuser, who runs many tests, may read everything
    assert inspect_file(ImageFile(tmp_path / "a.png"))["problem"] == "unreadable: Permission denied"


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.jpe", "a.png.jpg", "a", "a.dat", "a.v1"])
def test_a_suffix_that_agrees_or_promises_nothing_is_no_problem(tmp_path: Path, name: str) -> None:
    assert inspected(tmp_path, encoded(noise(0), "JPEG"), name)["problem"] == ""


def test_sixteen_bit_rgb_is_recorded(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (4, 5, 3), dtype=np.uint16)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in deep)
    chunks = {b"IHDR": struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0), b"IDAT": zlib.compress(lines), b"IEND": b""}
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks.items():
        data += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    facts = inspected(tmp_path, data)
    assert (facts["mode"], facts["conversion"]) == ("RGB", "16 bit: high byte")


def test_a_limit_above_pillows_own_is_the_one_that_counts(monkeypatch: pytest.MonkeyPatch, decoded: Decode) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow refuses above twice that
    assert decoded(encoded(noise(0), "PNG")).size == (32, 32)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_a_file_of_the_manifest_was_admitted_under_the_limit_of_its_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(noise(0), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    known = ImageFile(tmp_path / "a.png", sha256_bytes(data))
    monkeypatch.setattr(decode, "PIXEL_LIMIT", 1000)
    assert read_with_format(known)[0].size == (32, 32)
    for file, limit in ((ImageFile(tmp_path / "a.png"), None), (known, 1000)):  # a limit that is given holds for all
        with pytest.raises(ImageProblem, match="too large: "):
            read_with_format(file, pixel_limit=limit)


def parquet(path: Path, images: list[bytes | None], *, struct: bool = False, group: int = 3) -> Path:
    column = [{"bytes": data, "path": "x.png"} for data in images] if struct else pa.array(images, pa.binary())
    table = pa.table({"label": list(range(len(images))), "name": ["n"] * len(images), "image": column})
    pq.write_table(table, path, row_group_size=group)
    return path


def member(container: Path, row: int, sha256: str = "") -> ImageFile:
    return ImageFile(container / f"{row:06d}", sha256, container, row)


@pytest.mark.parametrize("struct", [False, True])
def test_members_of_a_parquet_file_are_read_like_files(tmp_path: Path, struct: bool) -> None:
    images = [encoded(noise(seed), "PNG") for seed in range(8)]
    container = parquet(tmp_path / "a.parquet", images, struct=struct)
    for row in (0, 2, 3, 7, 1):  # over the borders of row groups, and back
        file = member(container, row, sha256_bytes(images[row]))
        assert read_image(file).tobytes() == noise(row).tobytes()
        assert inspect_file(file)["pixel_sha256"] == inspected(tmp_path, images[row])["pixel_sha256"]


def test_a_member_that_is_damaged_empty_or_not_there_is_a_problem(tmp_path: Path) -> None:
    container = parquet(tmp_path / "a.parquet", [encoded(noise(0), "PNG")[:90], None, b""])
    assert inspect_file(member(container, 0))["problem"].startswith("truncated or damaged")
    assert inspect_file(member(container, 1))["problem"] == "unreadable: the row holds no bytes"
    assert inspect_file(member(container, 2))["problem"] == "empty file"
    assert inspect_file(member(container, 3))["problem"] == "unreadable: no row 3 in a.parquet"
    assert file_sha256(member(container, 3)) is None and file_sha256(member(tmp_path / "b.parquet", 0)) is None
    with pytest.raises(ImageProblem, match=r"a\.parquet/000001 cannot be read \(the row holds no bytes\); restore it"):
        read_image(member(container, 1)._replace(sha256=sha256_bytes(b"as it was")))


@pytest.mark.parametrize("content", ["words", "no images"])
def test_a_container_that_cannot_be_read_is_a_problem_of_its_members(tmp_path: Path, content: str) -> None:
    container = tmp_path / "a.parquet"
    container.write_text("words")
    if content == "no images":
        pq.write_table(pa.table({"label": [1, 2]}), container)
    problem = inspect_file(member(container, 0))["problem"]
    assert problem.startswith("unreadable: ")
    assert ("no column holds the bytes of images" in problem) == (content == "no images")


def test_a_container_that_changed_is_read_anew(tmp_path: Path) -> None:
    container = parquet(tmp_path / "a.parquet", [encoded(noise(0), "PNG")])
    assert read_image(member(container, 0)).tobytes() == noise(0).tobytes()
    parquet(container, [encoded(noise(1), "PNG"), encoded(noise(2), "PNG")])
    assert read_image(member(container, 0)).tobytes() == noise(1).tobytes()


def test_rows_become_files_and_members() -> None:
    rows = pd.DataFrame({"path": ["a.png", "b.parquet/000012"], "container": ["", "b.parquet"], "row": ["", "12"]})
    root = Path("/data")
    member_file = ImageFile(root / "b.parquet/000012", "", root / "b.parquet", 12)
    assert image_files(rows, root) == [ImageFile(root / "a.png"), member_file]
    assert image_files(rows.assign(sha256=["x", "y"]), root)[1] == member_file._replace(sha256="y")
