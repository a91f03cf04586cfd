"""Perturbations: what happens to a picture between its making and its analysis.

Each is a pure function on an RGB picture of the original size; resizing to the model's input
comes after it, as in the reference. `describe` records parameters, and encoders with versions.
OpenCV's arithmetic, which the reference used, is followed to within rounding.
"""

import hashlib
import io
from functools import partial

import numpy as np
import PIL
from PIL import Image, features
from scipy.ndimage import correlate1d

from dfxlib.data.limits import own_limits
from dfxlib.names import require_name

_REFERENCE_SIGMA = 4.0  # pixels: the reference passes cv2.BORDER_DEFAULT, which is 4, where sigma belongs


def keep(image: Image.Image) -> Image.Image:
    """The condition `raw`: the picture as it is."""
    return image


def jpeg(image: Image.Image, *, quality: int, subsampling: str) -> Image.Image:
    """Compress and decode once. `subsampling` is 4:4:4 (the reference's) or 4:2:0 (Pillow's default)."""
    return _encoded(image, "JPEG", quality=quality, subsampling=subsampling)


def webp(image: Image.Image, *, quality: int, method: int = 4) -> Image.Image:
    """Lossy WebP, whose chroma is always 4:2:0. `method` is the encoder's effort, 4 its default."""
    return _encoded(image, "WEBP", quality=quality, method=method)


def avif(image: Image.Image, *, quality: int) -> Image.Image:
    """Lossy AVIF, chroma 4:2:0, in one thread: the encoder's bytes depend on how many it has."""
    return _encoded(image, "AVIF", quality=quality, subsampling="4:2:0", max_threads=1)


def blur(image: Image.Image, *, kernel: int, sigma: float) -> Image.Image:
    """Gaussian blur cut to `kernel` pixels; borders are reflected without the edge (cv2's default)."""
    distance = np.arange(kernel) - kernel // 2
    weights = np.exp(-(distance**2) / (2 * sigma**2))
    pixels = np.asarray(image, dtype=np.float32)
    for axis in (0, 1):
        pixels = correlate1d(pixels, weights / weights.sum(), axis=axis, mode="mirror")
    return _picture(pixels)


def scale(image: Image.Image, *, percent: int) -> Image.Image:
    """cv2.resize with INTER_AREA: the mean over each new pixel's area.

    Where it enlarges by a whole factor, INTER_AREA repeats pixels, and so does this. Parts of a pixel
    are cut off, as the reference does (half of 219 is 109); no side falls below one pixel.
    """
    size = [max(1, side * percent // 100) for side in image.size]
    if percent >= 100:
        return image.resize(size, Image.Resampling.NEAREST)
    # Colour by colour, since the sums of a large picture take eight bytes a pixel.
    bands = [_area_means(_area_means(np.asarray(band), size[1]).T, size[0]).T for band in image.split()]
    return _picture(np.stack(bands, axis=-1))


def shrink(image: Image.Image, *, side: int) -> Image.Image:
    """The longer side brought down to `side` pixels, antialiased (Lanczos), as services do; smaller pictures stay."""
    longest = max(image.size)
    if longest <= side:
        return image
    return image.resize([max(1, round(old * side / longest)) for old in image.size], Image.Resampling.LANCZOS)


def mirror(image: Image.Image) -> Image.Image:
    """Mirrored on both axes."""
    return image.transpose(Image.Transpose.ROTATE_180)


def rotate(image: Image.Image, *, degrees: int) -> Image.Image:
    """Turned counter-clockwise, bilinear, on the same canvas with black corners.

    The reference turns around pixel (w/2, h/2), half a pixel beyond the middle of the picture. Pillow counts
    from the corner of a pixel and OpenCV from its middle, which is another half.
    """
    around = (image.width / 2 + 0.5, image.height / 2 + 0.5)
    return image.rotate(degrees, Image.Resampling.BILINEAR, center=around)


def noise(image: Image.Image, *, sigma: float) -> Image.Image:
    """Gaussian noise of `sigma` grey levels, seeded by the picture itself: its copies get the same."""
    seed = int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:8])
    pixels = np.asarray(image, dtype=np.float64)
    return _picture(pixels + np.random.default_rng(seed).normal(scale=sigma, size=pixels.shape))


def crop(image: Image.Image, *, percent: int) -> Image.Image:
    """The centre, with `percent` of each side."""
    width, height = (max(1, round(side * percent / 100)) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def chain(image: Image.Image, *, steps: tuple[str, ...]) -> Image.Image:
    """Conditions one after the other."""
    for name in steps:
        image = CONDITIONS[name](image)
    return image


#: Perturbation by condition name, as scores and tables call it.
CONDITIONS = {"raw": keep}

for _quality in (95, 90, 80, 75, 70, 60, 55, 50, 40, 30):
    for _label, _subsampling in {"jpeg444": "4:4:4", "jpeg420": "4:2:0"}.items():
        CONDITIONS[f"{_label}_q{_quality}"] = partial(jpeg, quality=_quality, subsampling=_subsampling)

CONDITIONS |= {f"webp_q{quality}": partial(webp, quality=quality, method=4) for quality in (90, 75, 50)}

CONDITIONS |= {f"blur_k{kernel}": partial(blur, kernel=kernel, sigma=_REFERENCE_SIGMA) for kernel in (3, 7, 15)}

CONDITIONS |= {f"scale_{percent}": partial(scale, percent=percent) for percent in (50, 200)}

CONDITIONS |= {"mirror": mirror} | {f"rotate_{degrees}": partial(rotate, degrees=degrees) for degrees in (45, 135)}

CONDITIONS |= {f"noise_s{sigma}": partial(noise, sigma=float(sigma)) for sigma in (2, 4, 8)}

#: What a messenger and a web site do to a picture on its way.
CONDITIONS["delivery"] = partial(chain, steps=("scale_50", "jpeg420_q55", "webp_q75", "jpeg420_q80"))


CONDITIONS |= {f"side_{side}": partial(shrink, side=side) for side in (768, 512, 128)}

CONDITIONS |= {"avif": partial(avif, quality=60), "crop_80": partial(crop, percent=80)}

#: Tiers of delivery by the size that arrives: a page of the web, a strict platform, a preview.
CONDITIONS["web"] = partial(chain, steps=("side_768", "jpeg420_q60"))
CONDITIONS["hard"] = partial(chain, steps=("side_512", "jpeg420_q40"))
CONDITIONS["thumb"] = partial(chain, steps=("side_128", "jpeg420_q75"))


def sizes_after(condition: str, sizes: np.ndarray) -> np.ndarray:  # [N, 2] width and height -> the same, in pixels
    """How large pictures are after a condition, exactly as it makes them."""
    kind, how = (getattr(CONDITIONS[condition], part, {}) for part in ("func", "keywords"))
    for name in how.get("steps", ()):
        sizes = sizes_after(name, sizes)
    if kind is shrink:
        sizes = np.rint(sizes * how["side"] / np.maximum(sizes.max(axis=1, keepdims=True), how["side"]))
    if kind in (scale, crop):
        sizes = (np.rint if kind is crop else np.floor)(sizes * how["percent"] / 100)
    return np.maximum(sizes, 1)


#: What a function does beyond its parameters, for the record.
_FACTS = {
    "jpeg": {"encoder": f"libjpeg-turbo {features.version('libjpeg_turbo')}, Pillow {PIL.__version__}"},
    "webp": {"encoder": f"libwebp {features.version('webp')}, Pillow {PIL.__version__}"},
    "avif": {"encoder": f"libavif {features.version('avif')}, Pillow {PIL.__version__}", "subsampling": "4:2:0"},
    "shrink": {"interpolation": "Lanczos", "smaller pictures": "stay"},
    "blur": {"border": "reflected without the edge"},
    "scale": {"interpolation": "area; pixels are repeated when enlarging", "size": "parts of a pixel are cut off"},
    "rotate": {"interpolation": "bilinear", "corners": "black", "canvas": "same size", "around": "pixel (w/2, h/2)"},
    "noise": {"seed": "sha256 of the pixels"},
}


def require_conditions(names: list[str]) -> list[str]:
    """`names` if every condition is known and `raw` is one of them, else a ValueError."""
    for name in names:
        require_name(name, tuple(CONDITIONS), what="condition")
    if "raw" not in names:
        raise ValueError("conditions lack 'raw', with which the others are compared; add it")
    return names


def describe(condition: str) -> dict:
    """Parameters of a condition and what carried it out, for the record beside its results."""
    function = CONDITIONS[condition]
    name, parameters = getattr(function, "func", function).__name__, getattr(function, "keywords", {})
    described: dict[str, object] = {"condition": condition, "function": name, **parameters, **_FACTS.get(name, {})}
    if name == "chain":
        described["steps"] = [describe(step) for step in parameters["steps"]]
    return described


def _encoded(image: Image.Image, kind: str, **options: object) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    with own_limits():  # the size was admitted when the file was read
        return Image.open(buffer).convert("RGB")


def _picture(pixels: np.ndarray) -> Image.Image:  # [H, W, 3] float in grey levels
    return Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8))


def _area_means(pixels: np.ndarray, size: int) -> np.ndarray:  # [n, m] -> [size, m]
    """Means over `size` equal stretches of the first axis; pixels on a border count by their share."""
    below = np.zeros((len(pixels) + 1, pixels.shape[1]))
    np.cumsum(pixels, axis=0, out=below[1:])
    borders = np.linspace(0, len(pixels), size + 1)
    whole = np.floor(borders).astype(int)
    share = (borders - whole)[:, None]  # 0 at the end, beyond which there is no pixel
    sums = below[whole] + share * pixels[np.minimum(whole, len(pixels) - 1)]
    return np.diff(sums, axis=0) * size / len(pixels)
