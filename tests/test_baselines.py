"""Baselines: features against cases whose answer is known, and a fit that keeps groups whole."""

import time

import numpy as np
import pandas as pd
import pytest
from samples import rows

from dfxlib.measure import baselines
from dfxlib.measure.scores import said_natures

NATURES = ("dm_generated", "gan_generated", "real")


def cosine_image(cycles: float, size: int = 64) -> np.ndarray:  # [size, size, 3] uint8
    wave = np.cos(np.pi * cycles * (np.arange(size) + 0.5) / size)
    grey = 128 + 60 * np.broadcast_to(wave, (size, size))
    return np.repeat(grey[..., None], 3, axis=2).round().astype(np.uint8)


def table(images: int, *, shift: float, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    natures = np.array(NATURES)[np.arange(images) % 3]
    features = rng.normal(size=(images, 96))
    features[:, 5] += shift * (np.arange(images) % 3)
    return pd.DataFrame(features), natures, np.arange(images) // 3


@pytest.mark.parametrize("size", [32, 64, 100])
def test_spectrum_peaks_where_the_wave_is(size: int) -> None:
    cycles = size // 2  # half of the highest frequency along one side: radius 0.5 / sqrt(2)
    spectrum = baselines.radial_spectrum(cosine_image(cycles, size))
    assert spectrum.shape == (96,) and np.isfinite(spectrum).all()
    assert abs(int(spectrum[:32].argmax()) - int(32 * 0.5 / np.sqrt(2))) <= 1
    assert spectrum[:32].max() - np.median(spectrum[:32]) > 5
    assert spectrum[32:].max() < 1  # a grey image has no chroma


def test_spectrum_ignores_the_mean() -> None:
    rng = np.random.default_rng(0)
    dark = rng.integers(40, 80, size=(64, 64, 3), dtype=np.uint8)
    dark[..., :] = dark[..., :1]
    np.testing.assert_allclose(baselines.radial_spectrum(dark), baselines.radial_spectrum(dark + 90), atol=1e-6)


def test_scalars_follow_what_they_measure() -> None:
    rng = np.random.default_rng(0)
    flat = np.full((64, 64, 3), (100, 120, 140), np.uint8)
    noisy = np.clip(flat + rng.normal(0, 8, (64, 64, 1)), 0, 255).astype(np.uint8)
    blocks = np.kron(rng.integers(0, 255, (8, 8)), np.ones((8, 8)))[..., None].repeat(3, 2)
    names = dict(zip(baselines.SCALAR_NAMES, range(6), strict=True))
    plain, loud, blocky = (baselines.scalar_features(pixels) for pixels in (flat, noisy, blocks.astype(np.uint8)))
    np.testing.assert_allclose(plain[:3], (100, 120, 140))
    assert loud[names["laplacian_energy"]] > plain[names["laplacian_energy"]] + 5
    assert np.exp(loud[names["wavelet_hh_noise"]]) == pytest.approx(8, rel=0.15)
    assert blocky[names["blockiness"]] > 3 > 0.2 > abs(loud[names["blockiness"]])


@pytest.mark.parametrize("bad", [np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3), np.float32)])
def test_wrong_arrays_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="decode as RGB"):
        baselines.radial_spectrum(bad)
    with pytest.raises(ValueError, match="at least 32"):
        baselines.radial_spectrum(np.zeros((16, 64, 3), np.uint8))


def test_fit_learns_a_shift_quickly_and_orders_the_classes() -> None:
    features, natures, groups = table(3000, shift=1.5)
    start = time.process_time()
    fitted = baselines.fit_baseline(features, natures, groups=groups)
    assert time.process_time() - start < 20
    assert tuple(fitted.classes_) == NATURES
    assert fitted.predict_proba(features).shape == (3000, 3)
    fresh, truth, _ = table(600, shift=1.5, seed=1)
    assert 0.6 < np.mean(fitted.predict(fresh) == truth) < 0.85


def test_metadata_uses_sizes_and_survives_unseen_categories() -> None:
    sizes = {"dm_generated": 512, "gan_generated": 216, "real": 300}
    rows = [
        {"format": "JPEG" if n == "real" else "PNG", "mode": "RGB", "width": sizes[n],
         "height": sizes[n], "jpeg_quality": 90 if n == "real" else None, "nature": n}
        for n in NATURES for _ in range(20)
    ]  # fmt: skip
    manifest = pd.DataFrame(rows)
    features = baselines.metadata_features(manifest)
    fitted = baselines.fit_baseline(features, manifest["nature"], groups=np.arange(60))
    assert (fitted.predict(features) == manifest["nature"]).all()
    unseen = manifest.head(1).assign(format="WEBP", width=77)
    assert fitted.predict(baselines.metadata_features(unseen)).shape == (1,)


def test_too_few_groups_is_said() -> None:
    features, natures, _ = table(30, shift=0.0)
    with pytest.raises(ValueError, match="groups for 3 folds"):
        baselines.fit_baseline(features, natures, groups=np.zeros(30))


def test_the_size_of_a_file_counts_by_itself_and_by_the_pixel() -> None:
    manifest = pd.DataFrame({"bytes": [1024, 4096, 0], "width": [32, 64, 32], "height": [32, 64, 32]})
    features = baselines.byte_features(manifest)
    assert features["bytes"].tolist() == [10, 12, 0] and features["bits"].tolist()[:2] == [3, 3]
    np.testing.assert_array_equal(features["bits_squared"], features["bits"] ** 2)


def test_a_nature_of_middling_files_is_told_from_smaller_and_larger_ones() -> None:
    natures = np.resize(["dm_generated", "real", "gan_generated", "real"], 120)
    size = np.resize([1_000, 4_000, 16_000, 4_100], 120)
    features = baselines.byte_features(pd.DataFrame({"bytes": size, "width": 64, "height": 64}))
    fitted = baselines.fit_baseline(features, np.where(natures == "real", "real", "fake"), groups=np.arange(120))
    assert (fitted.predict(features) == np.where(natures == "real", "real", "fake")).all()


def test_a_baseline_is_fitted_on_training_splits_and_scores_the_others() -> None:
    images = rows(240, per_group=3)
    images["split"] = np.array(["base_train", "complete_train", "test", "unseen"])[np.arange(240) // 60]
    natures = np.array(NATURES)[np.arange(240) % 3]
    features = pd.DataFrame(np.random.default_rng(0).normal(size=(240, 3)) + 3 * np.eye(3)[np.arange(240) % 3])
    result = baselines.baseline_scores(features, images, variant="spectrum")
    assert result["path"].tolist() == images["path"][120:].tolist() and set(result["variant"]) == {"spectrum"}
    assert np.mean(said_natures(result) == natures[120:]) > 0.8
    spoiled = features.copy()
    spoiled[120:] = 0  # what is scored must not reach the fit
    assert baselines.baseline_scores(spoiled, images, variant="spectrum")["logit_dm"].nunique() == 1
