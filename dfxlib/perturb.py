"""Perturbations: what happens to a picture between its making and its analysis.

Each is a pure function on an RGB picture of the original size; resizing to the model's input
comes after it, as in the reference. Encoder: Pillow (libjpeg-turbo); its version is recorded
with every run.
"""

import io
from functools import partial

from PIL import Image


def keep(image: Image.Image) -> Image.Image:
    return image


def jpeg(image: Image.Image, *, quality: int, subsampling: str) -> Image.Image:
    """Compress and decode once. `subsampling` is 4:4:4 (the reference's) or 4:2:0 (Pillow's default)."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return Image.open(buffer).convert("RGB")


#: Perturbation by condition name, as scores and tables call it.
CONDITIONS = {"raw": keep}
for _quality in (95, 90, 80, 75, 70, 60, 50, 30):
    for _label, _subsampling in {"jpeg444": "4:4:4", "jpeg420": "4:2:0"}.items():
        CONDITIONS[f"{_label}_q{_quality}"] = partial(jpeg, quality=_quality, subsampling=_subsampling)


def require_conditions(names: list[str]) -> list[str]:
    """`names` if every condition is known, else a ValueError that lists the known ones."""
    unknown = [name for name in names if name not in CONDITIONS]
    if unknown:
        raise ValueError(f"condition {unknown[0]!r} is unknown; expected among {', '.join(CONDITIONS)}")
    return names


def describe(condition: str) -> dict:
    """Parameters of a condition, for the record beside its results."""
    function = CONDITIONS[condition]
    if isinstance(function, partial):
        return {"condition": condition, "function": function.func.__name__, **function.keywords}
    return {"condition": condition, "function": function.__name__}
