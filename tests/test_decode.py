"""Decoding: every rule of decode.py's docstring, and every kind of damage a named problem."""

import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import noise

from dfxlib.decode import ImageFile, ImageProblem, decode_image, inspect_file, perceptual_hash, read_image
from dfxlib.files import sha256_bytes


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises width x height pixels and holds none."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0\0\0\0IDAT"


def inspected(folder: Path, data: bytes, name: str = "a.png") -> dict:
    (folder / name).write_bytes(data)
    return inspect_file(ImageFile(folder / name))


@pytest.mark.parametrize("kind, options", [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_give_the_stored_pixels(kind: str, options: dict) -> None:
    image = noise(0)
    assert decode_image(encoded(image, kind, **options)).tobytes() == image.tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK"])
def test_grey_palette_and_cmyk_become_rgb_as_pillow_converts_them(mode: str) -> None:
    image = noise(0).convert(mode)
    decoded = decode_image(encoded(image, "TIFF"))
    assert decoded.mode == "RGB" and decoded.tobytes() == image.convert("RGB").tobytes()


def test_a_cmyk_jpeg_is_decoded() -> None:
    data = encoded(noise(0).convert("CMYK"), "JPEG")
    assert decode_image(data).tobytes() == Image.open(io.BytesIO(data)).convert("RGB").tobytes()


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_is_dropped_and_the_stored_colours_stay(mode: str) -> None:
    image = noise(0).convert(mode)
    image.putalpha(0)  # fully transparent: a viewer shows nothing, we keep the colours
    assert decode_image(encoded(image, "PNG")).tobytes() == noise(0).convert(mode).convert("RGB").tobytes()


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
def test_a_transparent_palette_keeps_its_colours() -> None:
    image = noise(0).convert("P")
    data = encoded(image, "PNG", transparency=bytes(range(256)))
    assert decode_image(data).tobytes() == image.convert("RGB").tobytes()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_high_byte(kind: str) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (8, 9), dtype=np.uint16)
    decoded = np.asarray(decode_image(encoded(Image.fromarray(deep), kind)))
    np.testing.assert_array_equal(decoded, np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, axis=2))


def test_sixteen_bit_rgb_keeps_its_high_bytes() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (4, 5, 3), dtype=np.uint16)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in deep)
    chunks = {b"IHDR": struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0), b"IDAT": zlib.compress(lines), b"IEND": b""}
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks.items():
        data += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    np.testing.assert_array_equal(np.asarray(decode_image(data)), deep >> 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = noise(0, width=12, height=7)
    turns = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }  # fmt: skip
    expected = image if turns[orientation] is None else image.transpose(turns[orientation])
    decoded = decode_image(encoded(image, "PNG", exif=exif))
    assert decoded.size == expected.size and decoded.tobytes() == expected.tobytes()


def test_zero_bytes_are_an_empty_file() -> None:
    with pytest.raises(ImageProblem, match=r"^empty file$"):
        decode_image(b"")


def test_text_called_png_is_not_an_image() -> None:
    with pytest.raises(ImageProblem, match=r"^not an image$"):
        decode_image(b"these are words\n" * 100)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_truncated_file_is_a_problem_and_never_grey_blocks(kind: str, share: float) -> None:
    data = encoded(noise(0, width=200, height=200), kind)
    with pytest.raises(ImageProblem):
        decode_image(data[: int(share * len(data))])


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_a_problem_that_counts_its_frames(kind: str) -> None:
    data = encoded(noise(0), kind, save_all=True, append_images=[noise(1), noise(2)])
    with pytest.raises(ImageProblem, match=r"^animated: 3 frames$"):
        decode_image(data)


def test_of_a_multi_picture_jpeg_the_first_counts(tmp_path: Path) -> None:
    data = encoded(noise(0), "MPO", save_all=True, append_images=[noise(1)], quality=83)
    facts = inspected(tmp_path, data, "phone.jpg")
    assert (facts["problem"], facts["format"], facts["jpeg_quality"]) == ("", "MPO", 83)
    assert decode_image(data).tobytes() == decode_image(encoded(noise(0), "JPEG", quality=83)).tobytes()


def test_a_still_gif_is_an_image() -> None:
    assert decode_image(encoded(noise(0), "GIF")).size == (32, 32)


@pytest.mark.parametrize("side", [10_001, 60_000])
def test_a_bomb_is_refused_by_its_header(side: int) -> None:
    with pytest.raises(ImageProblem, match="decompression bomb"):
        decode_image(png_header(side, side))


def test_the_pixel_limit_is_the_largest_size_that_is_decoded() -> None:
    data = encoded(noise(0), "PNG")
    assert decode_image(data, pixel_limit=32 * 32).size == (32, 32)
    with pytest.raises(ImageProblem, match="decompression bomb: 32 x 32 pixels"):
        decode_image(data, pixel_limit=32 * 32 - 1)


def test_floating_point_pictures_are_refused_by_mode() -> None:
    with pytest.raises(ImageProblem, match="unsupported mode: F"):
        decode_image(encoded(Image.fromarray(np.ones((4, 4), dtype=np.float32)), "TIFF"))


@pytest.mark.filterwarnings("ignore")  # Pillow warns of damaged metadata
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_flipped_bytes_end_in_a_picture_or_a_named_problem(kind: str) -> None:
    exif, dice = Image.Exif(), random.Random(0)
    exif[0x0112], exif[0x010E] = 6, "a description"
    data = encoded(noise(0, width=20, height=24), kind, exif=exif)
    for _ in range(600):
        damaged = bytearray(data)
        for _ in range(dice.choice([1, 1, 4])):
            damaged[dice.randrange(dice.choice([60, 200, len(data)]) % len(data) or len(data))] = dice.randrange(256)
        try:
            assert decode_image(bytes(damaged)).mode == "RGB"
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


def test_the_perceptual_hash_survives_compression_and_tells_scenes_apart() -> None:
    smooth = [np.asarray(noise(seed, width=6, height=6).resize((64, 64))) for seed in (0, 1)]
    again = np.asarray(decode_image(encoded(Image.fromarray(smooth[0]), "JPEG", quality=50)))
    one, two, other = (int(perceptual_hash(pixels), 16) for pixels in (smooth[0], again, smooth[1]))
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
        read_image(ImageFile(tmp_path / "b.png"))
