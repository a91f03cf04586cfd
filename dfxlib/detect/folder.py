"""The folder of an exported model: its files, what must be true of them, and what can be read without torch.

A folder may come from anywhere. No code of it is run: weights are safetensors, the graph has ONNX's standard operators
only, tables are plain arrays. Sizes are compared with what is stated before memory is taken.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dfxlib.detect.unlike import load_reference
from dfxlib.names import CLASSES, RESIZE_MODES
from dfxlib.system.files import checksum_path, load_json, require_format, sha256_file

#: Version of the folder's format. Others are refused, never guessed at.
FORMAT = 4

WEIGHTS, GRAPH, DESCRIPTION, REFERENCE = "model.safetensors", "model.onnx", "model.json", "reference.npz"

#: For people: the card, and the licence of the pretrained weights where they are of a package that has one.
CARD, LICENCE = "README.md", "LICENSE.weights"

CURE = "copy the folder again, or export it again"

_LARGEST_TEXT = 2**24  # bytes of the description

_LARGEST_SIDE = 4096  # pixels of the model's input

_CALIBRATED = ("temperature", "threshold", "false_alarm_5")


class Folder(NamedTuple):
    """What an exported folder says without its network."""

    path: Path
    settings: dict  # those of MODEL_SETTINGS, and the hashes of the base models
    calibration: dict  # temperature, threshold, false_alarm_5; unsure_low, unsure_high and the rest where it has a band
    reference: dict[str, np.ndarray]  # of `unlike`


def read_folder(folder: Path) -> Folder:
    """Open an exported folder and prove its files; raises FileNotFoundError and ValueError, each with the cure."""
    if not (folder / DESCRIPTION).is_file():
        raise FileNotFoundError(f"{folder} holds no {DESCRIPTION}; make one with `dfx export RUN FOLDER`")
    checksum = checksum_path(folder / DESCRIPTION)
    _require(folder, checksum.name)
    if (folder / DESCRIPTION).stat().st_size > _LARGEST_TEXT:
        raise ValueError(f"model folder {folder}: {DESCRIPTION} is larger than any that dfx writes; {CURE}")
    _require(folder, DESCRIPTION, checksum.read_text(errors="replace")[:64])
    try:
        stated = load_json(folder / DESCRIPTION)
        version = int(stated["format"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise ValueError(f"model folder {folder}: {DESCRIPTION} states no number as its format; {CURE}") from error
    require_format(version, FORMAT, what=f"model folder {folder}", anew="export the run again")
    digests = stated.get("files")
    for name in (WEIGHTS, GRAPH, REFERENCE):
        _require(folder, name, digests.get(name, "") if isinstance(digests, dict) else "")
    settings, calibration = stated.get("settings"), stated.get("calibration")
    if fault := _fault(settings, calibration):
        raise ValueError(f"model folder {folder}: {DESCRIPTION} states {fault}; {CURE}")
    return Folder(folder, settings, calibration, load_reference(folder / REFERENCE))


def _require(folder: Path, name: str, digest: str | None = None) -> None:
    if not (folder / name).is_file():
        raise FileNotFoundError(f"model folder {folder} lacks {name}; {CURE}")
    if digest is not None and sha256_file(folder / name) != digest:
        raise ValueError(f"model folder {folder} is damaged: {name} does not match its checksum; {CURE}")


def _fault(settings: Any, calibration: Any) -> str:  # empty: none
    """What of a description cannot be worked with; it was written by whoever made the folder."""
    if not isinstance(settings, dict) or not isinstance(calibration, dict):
        return "no settings or no calibration"
    side = settings.get("image_size")
    if not isinstance(side, int) or not 0 < side <= _LARGEST_SIDE:
        return f"image_size {str(side)[:20]}, expected 1 to {_LARGEST_SIDE} pixels"
    if settings.get("resize_mode") not in RESIZE_MODES or settings.get("classes") != list(CLASSES):
        return "a resize_mode or classes that no model here has"
    texts = [settings.get(name) for name in ("backbone", "manifest_hash")]
    cuts = [*_CALIBRATED, *(name for name in ("unsure_low", "unsure_high") if name in calibration)]
    if not all(isinstance(text, str) for text in texts) or not all(_is_number(calibration.get(name)) for name in cuts):
        return "something else than a name or a number where one is expected"
    sound = calibration["temperature"] > 0 and all(abs(calibration[name]) < math.inf for name in _CALIBRATED)
    return "" if sound else "a temperature that is not above 0, or a cut that is not finite"


def _is_number(value: object) -> bool:
    # A band without an end on one side has an infinite cut.
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
