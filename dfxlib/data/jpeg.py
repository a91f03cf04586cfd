"""How a JPEG was compressed, as far as its tables tell."""

from functools import cache

import numpy as np
from PIL import Image, JpegImagePlugin

# Annex K of ITU-T T.81 (1992), table K.1: the luminance table that quality settings scale.
_ANNEX_K_LUMINANCE = np.array(
    [16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55]
    + [14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62]
    + [18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92]
    + [49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99]
)


def jpeg_settings(image: Image.Image) -> tuple[float, str]:
    """Quality (1 to 100, the nearest standard table) and chroma subsampling of a JPEG."""
    # The table that the first component uses, by whatever number; layer is Pillow's list of components.
    layer = image.layer if isinstance(image, JpegImagePlugin.JpegImageFile) else []
    if not layer or not (table := getattr(image, "quantization", {}).get(layer[0][3])):
        return float("nan"), ""
    distances = np.abs(np.array(table) - _standard_tables()).sum(axis=1)
    names = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
    return float(np.argmin(distances) + 1), names.get(JpegImagePlugin.get_sampling(image), "other")


@cache
def _standard_tables() -> np.ndarray:  # [100, 64] luminance tables of the qualities 1 to 100
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    return np.clip((_ANNEX_K_LUMINANCE * scale[:, None] + 50) // 100, 1, 255)
