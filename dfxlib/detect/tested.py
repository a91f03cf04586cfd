"""The model that notebooks 30 and 40 test: the study's own, or one that is given by its path."""

from typing import NamedTuple

import numpy as np

from dfxlib.detect.export import model_name, open_model
from dfxlib.detect.folder import REFERENCE
from dfxlib.detect.unlike import distances, least_side, load_reference
from dfxlib.models.networks import DeepFeatureXNet
from dfxlib.models.saved import load_complete_model, require_same_manifest
from dfxlib.study.runs import read_json, run_folder
from dfxlib.system.files import project_path


class Tested(NamedTuple):
    """A trained model, and where results of its tests belong."""

    model: DeepFeatureXNet  # in evaluation mode, on the CPU
    settings: dict  # of the model, its own backbone and seed among them
    calibration: dict
    reference: dict[str, np.ndarray] | None  # of `unlike`; None: nothing is known of the training data
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
        return Tested(model, settings, calibration, load_reference(folder / REFERENCE), (step, backbone, f"seed{seed}"))
    path = project_path(model_path)
    opened = open_model(path, backbone=backbone)
    if opened.settings["manifest_hash"] != manifest_hash:
        print(
            "This model was not trained on this study's manifest: images of the test part may have trained it,",
            "and `unseen` says what this study held out, not what the model has seen.",
        )
    return Tested(*opened, ("exported", model_name(path), step))


def unlike_images(tested: Tested, features: np.ndarray, sizes: np.ndarray) -> np.ndarray:  # [N] 1 or 0
    """Which images `detect` would leave unsure as unlike the training data; tests report the band without that rule.

    `features` [N, 3, D] are those of pictures as they were judged, `sizes` [N, 2] their widths and heights. NaN where
    nothing is known of the training data.
    """
    if tested.reference is None:
        return np.full(len(features), np.nan)
    parts = np.array_split(features, 1 + len(features) // 1000)  # as float64 they take twice the space
    far = ~(np.concatenate([distances(part, tested.reference) for part in parts]) <= 1)
    return (far | (sizes.min(axis=1) < least_side(tested.reference, tested.settings["image_size"]))).astype(float)
