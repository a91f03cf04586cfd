"""Models, loops and records of the DeepFeatureX study; `load` opens a trained model."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from dfxlib.detect.model import Model

__version__ = "0.2.0"


def load(path: "str | os.PathLike", *, engine: str = "auto", backbone: str = "", device: str = "auto") -> "Model":
    """A trained model from the folder that `dfx export` wrote; `load(folder).detect(picture)` is its verdict.

    `engine` is onnx, torch or auto, `device` auto, cpu or cuda; `backbone` names the network of a checkpoint of the
    reference code. Raises FileNotFoundError and ValueError, each with the cure.
    """
    from dfxlib.detect.model import load as open_folder  # here, so that to import dfxlib takes no time

    return open_folder(path, engine=engine, backbone=backbone, device=device)
