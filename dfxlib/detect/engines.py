"""What computes a model's answers: onnxruntime on a processor, or torch there and on a GPU."""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dfxlib.detect.folder import GRAPH, WEIGHTS, Folder, read_folder
from dfxlib.detect.plain import require_plain
from dfxlib.names import CLASSES, require_name
from dfxlib.system.parallel import usable_cores

if TYPE_CHECKING:
    import torch

    from dfxlib.detect.export import Opened

ENGINES = ("auto", "onnx", "torch")

_PASS = 2**18  # pixels that onnxruntime takes at once: four of 256 px a side; with more, caches are too small


class Judge(NamedTuple):
    """A model that is ready to judge, whatever computes it."""

    score: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    """[B, S, S, 3] uint8 to features [B, 3, D] and calibrated probabilities [B, 3], float64."""
    settings: dict
    calibration: dict
    reference: dict[str, np.ndarray] | None  # of `unlike`; None: nothing is known of the training data
    engine: str  # onnx or torch


def open_judge(path: Path, *, engine: str = "auto", backbone: str = "", device: str = "auto") -> Judge:
    """Open an exported folder, or a checkpoint of the reference code, whose `backbone` must be named.

    `auto` takes onnxruntime, unless the model is a checkpoint, or a GPU is there (or asked for by `device`) and torch
    is installed: it starts seconds sooner than torch. Which of the two judges more pictures a second depends on the
    model, its side and the batch (benchmarks/detect_folder.py measures it). Raises ValueError for an engine that
    cannot do what `device` asks for, ModuleNotFoundError for one that is not installed, and what `open_model` raises.
    """
    require_name(engine, ENGINES, what="engine")
    if engine == "auto":
        on_gpu = device.startswith("cuda") or (device == "auto" and _has_gpu() and find_spec("torch") is not None)
        engine = "torch" if path.is_file() or on_gpu or find_spec("onnxruntime") is None else "onnx"
    if engine == "onnx":
        if device not in ("auto", "cpu"):
            raise ValueError(f"device {device!r} needs the engine torch; onnxruntime runs on the processor here")
        if path.is_file():
            raise ValueError(f"checkpoint {path} has no graph; give the engine torch, or a folder of dfx export")
        if not path.is_dir():
            raise FileNotFoundError(f"model {path} is missing; expected a folder that `dfx export` wrote")
        return onnx_judge(read_folder(path))
    from dfxlib.detect.export import open_model
    from dfxlib.models.networks import resolve_device

    return torch_judge(open_model(path, backbone=backbone), resolve_device(device))


def onnx_judge(folder: Folder) -> Judge:
    """Open the graph of a folder; raises ValueError for one that is not plain, or does not fit its description."""
    require_plain(folder.path / GRAPH, folder.path / WEIGHTS)
    # Else onnxruntime, from 1.29 on, tells its makers which models run here. It asks for this once, when imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    threads = os.environ.get("OMP_NUM_THREADS", "")  # which torch obeys, and onnxruntime does not
    options.intra_op_num_threads = int(threads) if threads.isdecimal() else usable_cores()
    options.log_severity_level = 4  # what goes wrong is raised, and told once
    # Threads that wait must not take time from the processes that decode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(str(folder.path / GRAPH), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own have no common name
        raise ValueError(f"onnxruntime cannot open {folder.path / GRAPH} ({_first_words(error)})") from error
    side = folder.settings["image_size"]
    shapes = [place.shape[1:] for place in (*session.get_inputs(), *session.get_outputs())]
    if len(shapes) != 3 or shapes[:2] != [[side, side, 3], [len(CLASSES)]] or shapes[2][:1] != [len(CLASSES)]:
        raise ValueError(f"{folder.path / GRAPH} takes or gives other things than the folder states; export it again")
    (pictures,), outputs = session.get_inputs(), [place.name for place in session.get_outputs()]

    def score(squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = np.array_split(squares, max(1, min(len(squares), len(squares) * side**2 // _PASS)))
        try:
            p, features = map(np.concatenate, zip(*[session.run(outputs, {pictures.name: part}) for part in parts]))
        except Exception as error:
            said = _first_words(error)
            if "alloc" in said:
                cure = f"try batch_size {max(1, len(squares) // 2)}"
                raise MemoryError(f"detect: out of memory with {len(squares)} squares at once; {cure}") from error
            raise ValueError(f"onnxruntime cannot run {folder.path / GRAPH} ({said})") from error
        return features, p.astype(np.float64)

    return Judge(score, folder.settings, folder.calibration, folder.reference, "onnx")


def torch_judge(opened: "Opened", device: "torch.device") -> Judge:
    """The same answers by torch, on a device of its own."""
    import torch

    from dfxlib.training.fit import memory_advice, to_input

    model = opened.model.to(device)

    @torch.inference_mode()
    def score(squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with memory_advice("detect", len(squares)):
            features = model.features(to_input(squares, device))  # [B, 3, D]
            logits = model.head(features).double() / opened.calibration["temperature"]
        return features.float().cpu().numpy(), torch.softmax(logits, dim=1).cpu().numpy()

    return Judge(score, opened.settings, opened.calibration, opened.reference, "torch")


def _has_gpu() -> bool:
    """Whether NVIDIA's driver is there; torch would take seconds to tell."""
    return Path("/proc/driver/nvidia/version").exists()


def _first_words(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
