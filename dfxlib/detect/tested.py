"""The model that notebooks 30 and 40 test: the study's own, or one that is given by its path."""

from typing import NamedTuple

from dfxlib.detect.export import model_name, open_model
from dfxlib.models.networks import DeepFeatureXNet
from dfxlib.models.saved import load_complete_model, require_same_manifest
from dfxlib.study.runs import read_json, run_folder
from dfxlib.system.files import project_path


class Tested(NamedTuple):
    """A trained model, and where results of its tests belong."""

    model: DeepFeatureXNet  # in evaluation mode, on the CPU
    settings: dict  # of the model, its own backbone and seed among them
    calibration: dict
    parts: tuple[str, ...]  # of the run's folder below run_root


def open_tested(
    run_root: str,
    step: str,  # folder of this kind of test: robustness or generalization
    *,
    model_path: str,  # an exported folder or a reference checkpoint of `backbone`; empty: the study's own model
    backbone: str,
    seed: int,
    manifest_hash: str,  # of the study
) -> Tested:
    """Open a model for a test on this study's images.

    The study's own must have been trained on its manifest: ValueError otherwise. Of one that was made elsewhere,
    a printed sentence says what its test cannot promise.
    """
    if not model_path:
        folder = run_folder(run_root, "complete", backbone, f"seed{seed}")
        model, settings = load_complete_model(folder / "model.safetensors")
        calibration = read_json(folder / "calibration.json", needs="20_train_complete_model")
        require_same_manifest(settings, manifest_hash)
        return Tested(model, settings, calibration, (step, backbone, f"seed{seed}"))
    path = project_path(model_path)
    opened = open_model(path, backbone=backbone)
    if opened.settings["manifest_hash"] != manifest_hash:
        print(
            "This model was not trained on this study's manifest: images of the test part may have trained it,",
            "and `unseen` says what this study held out, not what the model has seen.",
        )
    return Tested(opened.model, opened.settings, opened.calibration, ("exported", model_name(path), step))
