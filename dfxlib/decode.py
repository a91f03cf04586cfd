"""Strict decoding: a file becomes RGB pixels by stated rules, or a problem with a reason.

Rules, the same for training, testing and detection:

- grey (`1`, `L`), palette (`P`) and CMYK become RGB by Pillow's conversion;
- alpha (`LA`, `PA`, `RGBA`, transparent palettes) is dropped and the stored colours stay, which
  is what the reference's `convert("RGB")` does;
- 16-bit grey keeps its high byte; 16-bit RGB is reduced the same way by Pillow's decoder;
- of a multi-picture JPEG (MPO: a phone's preview or gain map rides along) the first picture counts;
- EXIF rotation is applied; animations, truncated files and decompression bombs are problems.
"""

import io
import struct
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, JpegImagePlugin
from scipy.fft import dctn

from dfxlib.files import sha256_bytes

#: Largest picture that is decoded, in pixels; above it a file counts as a decompression bomb.
PIXEL_LIMIT = 100_000_000

_DIRECT_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
_SIXTEEN_BIT_MODES = {"I;16", "I;16B", "I;16L"}

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


@dataclass(frozen=True)
class ImageFacts:
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


def decode_image(data: bytes, *, pixel_limit: int = PIXEL_LIMIT) -> Image.Image:  # RGB
    """Decode the bytes of an image file completely. Raises ImageProblem with the reason."""
    return _to_rgb(_open_strictly(data, pixel_limit=pixel_limit))


def read_image(path: Path, *, sha256: str = "") -> Image.Image:  # RGB
    """Decode a file; with `sha256` also prove that it is still the file of the manifest."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        cure = "restore it or prepare the data set again"
        raise ImageProblem(f"{path} cannot be read ({error.strerror}); {cure}") from error
    if sha256 and sha256_bytes(data) != sha256:
        raise ImageProblem(f"{path} changed since the manifest was made; prepare the data set again")
    try:
        return decode_image(data)
    except ImageProblem as problem:
        raise ImageProblem(f"{path}: {problem}") from problem


def inspect_file(path: Path) -> dict:  # fields of ImageFacts
    """Decode one file once and describe it; a problem is a value here, not an exception."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        return asdict(ImageFacts(problem=f"unreadable: {error.strerror}"))
    found = {"sha256": sha256_bytes(data), "bytes": len(data)}
    try:
        image = _open_strictly(data, pixel_limit=PIXEL_LIMIT)
        pixels = np.asarray(_to_rgb(image))
    except ImageProblem as problem:
        return asdict(ImageFacts(**found, problem=str(problem)))
    quality, subsampling = _jpeg_settings(image)
    facts = ImageFacts(
        **found,
        pixel_sha256=sha256_bytes(repr(pixels.shape).encode() + pixels.tobytes()),
        phash=perceptual_hash(pixels),
        format=image.format or "",
        mode=image.mode,
        width=image.width,
        height=image.height,
        jpeg_quality=quality,
        jpeg_subsampling=subsampling,
    )
    return asdict(facts)


def perceptual_hash(pixels: np.ndarray) -> str:  # [H, W, 3] uint8 -> 16 hexadecimal digits
    """64-bit DCT hash: signs of the low frequencies of the grey picture against their median."""
    grey = Image.fromarray(pixels).convert("L").resize((32, 32), Image.Resampling.BOX)
    low = dctn(np.asarray(grey, dtype=np.float64), norm="ortho")[:8, :8].ravel()
    bits = low > np.median(low)
    return np.packbits(bits).tobytes().hex()


def _open_strictly(data: bytes, *, pixel_limit: int) -> Image.Image:
    if not data:
        raise ImageProblem("empty file")
    try:
        with warnings.catch_warnings():
            # Pillow only warns between its limit and twice that; our own limit decides below.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
        if image.width * image.height > pixel_limit:
            raise ImageProblem(f"decompression bomb: {image.width} x {image.height} pixels")
        if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
            raise ImageProblem(f"animated: {image.n_frames} frames")
        image.load()
    except Image.DecompressionBombError as error:
        raise ImageProblem(f"decompression bomb: {error}") from error
    except Image.UnidentifiedImageError as error:
        raise ImageProblem("not an image") from error
    except ImageProblem:
        raise
    except _DAMAGE as error:
        raise ImageProblem(f"truncated or damaged: {error}") from error
    if image.mode not in _DIRECT_MODES | _SIXTEEN_BIT_MODES:
        raise ImageProblem(f"unsupported mode {image.mode}")
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    try:
        upright = ImageOps.exif_transpose(image)
    except _DAMAGE as error:
        raise ImageProblem(f"damaged EXIF block: {error}") from error
    if upright.mode in _SIXTEEN_BIT_MODES:
        high_byte = (np.asarray(upright).astype(np.uint16) >> 8).astype(np.uint8)
        upright = Image.fromarray(high_byte)
    return upright.convert("RGB")


def _jpeg_settings(image: Image.Image) -> tuple[float, str]:
    """Quality (1 to 100, the nearest standard table) and chroma subsampling of a JPEG."""
    if image.format not in ("JPEG", "MPO") or not getattr(image, "quantization", None):
        return float("nan"), ""
    table = np.array(image.quantization[0])
    distances = [np.abs(table - _standard_table(quality)).sum() for quality in range(1, 101)]
    names = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
    subsampling = names.get(JpegImagePlugin.get_sampling(image), "other")
    return float(np.argmin(distances) + 1), subsampling


def _standard_table(quality: int) -> np.ndarray:  # [64]
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    return np.clip((_ANNEX_K_LUMINANCE * scale + 50) // 100, 1, 255)
