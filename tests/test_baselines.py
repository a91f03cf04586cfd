"""Baselines: features against brute force and known answers, a fit that keeps groups whole, and the mark to pass."""

import time
import warnings
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from samples import noise, rows
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dfxlib.data.residual import HIGH_PASS
from dfxlib.measure import baselines
from dfxlib.measure.mark import READINGS, linear_readings, mark_candidates, three_way_accuracy
from dfxlib.measure.scores import said_natures, score_table
from dfxlib.names import SPLITS

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


def test_a_thumbnail_is_the_mean_of_each_of_its_squares() -> None:
    pixels = np.asarray(noise(0, width=64, height=32))
    by_hand = pixels.reshape(8, 4, 8, 8, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(baselines.thumbnail_features(pixels).reshape(8, 8, 3), by_hand, atol=1)  # two roundings


def test_content_is_a_shortcut_where_the_data_set_says_it() -> None:
    facts = {"format": "PNG", "mode": "RGB", "width": 32, "height": 32, "jpeg_quality": np.nan, "bytes": 900}
    images = rows(6).assign(content="unknown", **facts)
    measured = {"scalars": pd.DataFrame({"mean": np.arange(5)}, index=images.index[:5])}
    assert set(baselines.shortcut_features(images, **measured)) == {"metadata", "bytes", "scalars", "all shortcuts"}
    images.loc[2, "content"] = "face"
    found = baselines.shortcut_features(images, **measured)
    assert found["content"]["content"].tolist() == ["unknown"] * 2 + ["face"] + ["unknown"] * 3
    assert len(found["all shortcuts"]) == 5 and "content" in found["all shortcuts"], "where all are known"


def test_the_shape_of_the_noise_is_that_of_the_diagonal_haar_band() -> None:
    pixels = np.asarray(noise(0, width=33, height=20))  # an odd column stays over
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    band = [
        (luma[y, x] - luma[y, x + 1] - luma[y + 1, x] + luma[y + 1, x + 1]) / 2
        for y in range(0, 20, 2)
        for x in range(0, 32, 2)
    ]
    level, rms = np.median(np.abs(band)) / 0.6745, np.sqrt(np.mean(np.square(band)))
    assert baselines.noise_shape(pixels) == pytest.approx([np.log((level + 0.1) / (rms + 0.1))])


def test_gaussian_noise_has_shape_0_and_noise_with_outliers_less() -> None:
    rng = np.random.default_rng(0)
    gaussian = rng.normal(128, 9, (256, 256))
    spiked = gaussian + (rng.random((256, 256)) < 0.02) * rng.choice([-90, 90], (256, 256))
    pictures = [np.clip(grey, 0, 255).round().astype(np.uint8)[..., None].repeat(3, 2) for grey in (gaussian, spiked)]
    even, heavy = (baselines.noise_shape(pixels)[0] for pixels in pictures)
    assert abs(even) < 0.03 and heavy < -0.3


def triples_by_brute_force(plane: np.ndarray) -> dict[tuple[int, ...], float]:
    """Shares of triples in rows and columns, by loops over pixels; mirrored and negated triples under one name."""
    padded = np.pad(plane, 2, mode="reflect")
    level = np.empty(plane.shape, dtype=int)
    for y, x in np.ndindex(plane.shape):
        residual = sum(HIGH_PASS[i, j] * padded[y + i, x + j] for i, j in np.ndindex(5, 5))
        level[y, x] = min(max(round(residual), -2), 2)
    triples = [tuple(line[at : at + 3]) for line in (*level, *level.T) for at in range(len(line) - 2)]
    named = [min(t, t[::-1], n, n[::-1]) for t in triples if (n := tuple(-value for value in t))]
    return {name: count / len(named) for name, count in Counter(named).items()}


def fine_noise(seed: int, *, width: int, height: int) -> np.ndarray:  # [H, W, 3] uint8, all five values in its residual
    return np.asarray(noise(seed, width=width, height=height)) // 64 + 90


def test_co_occurrences_are_those_that_counting_pixel_by_pixel_finds() -> None:
    pixels = fine_noise(0, width=24, height=17)
    red, green, blue = np.moveaxis(pixels.astype(float), 2, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    planes = [luma, 0.564334 * (blue - luma), 0.713267 * (red - luma)]  # JFIF: Y, Cb, Cr
    every = sorted({min(t, t[::-1], n, n[::-1]) for t in np.ndindex(5, 5, 5) if (n := tuple(4 - v for v in t))})
    for shares, plane in zip(baselines.co_occurrences(pixels).reshape(3, 39), planes, strict=True):
        expected = triples_by_brute_force(plane)
        assert len(expected) > 20, "or too little is compared"
        np.testing.assert_allclose(shares, [expected.get(tuple(v - 2 for v in name), 0) for name in every], atol=1e-12)


def test_co_occurrences_know_neither_direction_nor_sign_nor_size() -> None:
    pixels = fine_noise(0, width=40, height=64)
    found = baselines.co_occurrences(pixels)
    assert found.shape == (117,) and found.reshape(3, 39).sum(axis=1) == pytest.approx(1)
    for turned in (pixels[::-1], pixels[:, ::-1], pixels.swapaxes(0, 1), 255 - pixels):
        np.testing.assert_allclose(baselines.co_occurrences(turned), found, atol=1e-12)
    larger = baselines.co_occurrences(fine_noise(1, width=256, height=256))
    np.testing.assert_allclose(larger, found, atol=0.02)


def test_a_grey_picture_has_no_co_occurrences_of_colour() -> None:
    grey = fine_noise(0, width=32, height=32)[..., :1].repeat(3, axis=2)
    luma, *chroma = baselines.co_occurrences(grey).reshape(3, 39)
    assert luma.max() < 0.5 and [np.sort(shares)[-2:].tolist() for shares in chroma] == [[0, 1], [0, 1]]


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


def test_metadata_that_never_vary_say_nothing_and_warn_of_nothing() -> None:
    files = {"format": "PNG", "mode": "RGB", "width": 64, "height": 64, "jpeg_quality": np.nan}
    natures = np.array(NATURES)[np.arange(900) % 3]
    features = baselines.metadata_features(pd.DataFrame(files, index=range(900)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = baselines.fit_baseline(features, natures, groups=np.arange(900) // 3)
    np.testing.assert_allclose(fitted.predict_proba(features), 1 / 3, atol=1e-9)


def test_of_many_sizes_the_rarest_count_as_one() -> None:
    sizes = np.r_[np.repeat(np.arange(32, 128), 6), np.arange(200, 400)]
    manifest = pd.DataFrame({"format": "PNG", "mode": "RGB", "width": sizes, "height": 64, "jpeg_quality": np.nan})
    natures = np.array(NATURES)[np.arange(len(manifest)) % 3]
    fitted = baselines.fit_baseline(baselines.metadata_features(manifest), natures, groups=np.arange(len(manifest)))
    assert fitted[-1].coef_.shape[1] < baselines.CATEGORIES + 10


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


def test_the_fit_is_that_of_scikit_learns_grid_search() -> None:
    features, natures, groups = table(240, shift=1.5)
    features = features.iloc[:, :8] * 7 + 5
    folds = StratifiedGroupKFold(3, shuffle=True, random_state=0)
    plain = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=9999, tol=1e-8))
    search = GridSearchCV(
        plain, {"logisticregression__C": list(baselines.REGULARISATION)}, scoring="balanced_accuracy", cv=folds
    )
    expected = search.fit(features, natures, groups=groups)
    fitted = baselines.fit_baseline(features, natures, groups=groups)
    assert expected.best_params_["logisticregression__C"] == fitted[-1].C
    np.testing.assert_allclose(fitted.predict_proba(features), expected.predict_proba(features), atol=1e-4)


def test_a_baseline_is_fitted_on_two_splits_and_scores_what_chooses_calibrates_and_tests() -> None:
    images = rows(480, per_group=3)
    images["split"] = np.repeat(SPLITS, 60)
    natures = np.array(NATURES)[np.arange(480) % 3]
    features = pd.DataFrame(np.random.default_rng(0).normal(size=(480, 3)) + 3 * np.eye(3)[np.arange(480) % 3])
    result = baselines.baseline_scores(features, images, variant="spectrum")
    scored = images["split"].isin(["complete_select", "complete_calibrate", "test", "unseen"]).to_numpy()
    assert result["path"].tolist() == images["path"][scored].tolist() and set(result["variant"]) == {"spectrum"}
    assert np.mean(said_natures(result) == natures[scored]) > 0.8
    spoiled = features.copy()
    spoiled[~images["split"].isin(["base_train", "complete_train"])] = 0  # nothing else may reach the fit
    assert baselines.baseline_scores(spoiled, images, variant="spectrum")["logit_dm"].nunique() == 1


def test_tables_are_scored_side_by_side_as_they_are_one_by_one() -> None:
    images = rows(240, per_group=3)
    images["split"] = np.repeat(SPLITS, 30)
    draw = np.random.default_rng(1)
    tables = {name: pd.DataFrame(draw.normal(size=(240, 3))) for name in ("spectrum", "scalars")}
    tables["scalars"] = tables["scalars"].iloc[30:]
    scores = baselines.score_baselines(tables, images, workers=2)
    for name, table in tables.items():
        expected = baselines.baseline_scores(table, images.loc[table.index], variant=name)
        pd.testing.assert_frame_equal(scores[name], expected)


def test_readings_join_what_was_measured_on_the_images_that_have_it() -> None:
    scalars = pd.DataFrame({"noise": [1.0, 2.0, 3.0]}, index=[4, 5, 6])
    spectrum = pd.DataFrame({"dct_0": [7.0, 8.0]}, index=[6, 5])
    shape = pd.DataFrame({"shape": [9.0, 9.5]}, index=[5, 6])
    found = linear_readings({"scalars": scalars, "spectrum": spectrum, "noise shape": shape})
    assert set(found) == {"spectrum", "spectrum+scalars"}, "scalars alone are no reading of traces"
    assert found["spectrum+scalars"].loc[5].to_dict() == {"dct_0": 8, "noise": 2, "shape": 9}
    assert sorted(found["spectrum+scalars"].index) == [5, 6]


def reading(name: str, *, wrong: dict[str, int], images: int = 60) -> pd.DataFrame:
    """Scores of one baseline: in each split its first so many images get another nature."""
    tables = []
    for split, mistakes in wrong.items():
        own = rows(images).assign(split=split)
        said = (np.arange(images) + (np.arange(images) < mistakes)) % 3
        tables.append(score_table(own, np.eye(3)[said], temperature=1.0, backbone="none", variant=name))
    return pd.concat(tables, ignore_index=True)


class TestMark:
    def test_the_best_on_complete_select_comes_first_whatever_the_test_part_says(self) -> None:
        wrong = {"spectrum": (6, 0), "co-occurrences": (3, 30), "scalars": (0, 0)}  # the last is no reading of traces
        tables = [reading(name, wrong={"complete_select": s, "test": t}) for name, (s, t) in wrong.items()]
        found = mark_candidates(pd.concat(tables), resamples=50)
        assert found["method"].tolist() == ["co-occurrences", "spectrum"]
        assert found["value"].tolist() == pytest.approx([57 / 60, 54 / 60]) and set(found["images"]) == {60}
        assert (found["low"] < found["value"]).all() and (found["value"] < found["high"]).all()

    def test_of_equals_the_one_with_fewer_numbers_comes_first(self) -> None:
        names = list(READINGS)
        tables = [reading(name, wrong={"complete_select": 6}) for name in reversed(names)]
        assert mark_candidates(pd.concat(tables), resamples=50)["method"].tolist() == names

    def test_features_of_further_untouched_networks_are_candidates_too(self) -> None:
        wrong = {"timm:b features": 3, "timm:a features": 3, "spectrum": 3, "all shortcuts": 0, "ImageNet features": 9}
        tables = [reading(name, wrong={"complete_select": mistakes}) for name, mistakes in wrong.items()]
        found = mark_candidates(pd.concat(tables), resamples=50)["method"].tolist()
        assert found == ["spectrum", "timm:a features", "timm:b features", "ImageNet features"]

    def test_candidates_are_compared_on_the_images_that_all_of_them_scored(self) -> None:
        some = reading("co-occurrences", wrong={"complete_select": 12})[12:]  # without the images that it gets wrong
        every = reading("spectrum", wrong={"complete_select": 12})
        found = mark_candidates(pd.concat([every, some]), resamples=50)
        assert found["value"].tolist() == [1, 1] and found["images"].tolist() == [48, 48]

    def test_scores_without_complete_select_say_what_to_do(self) -> None:
        with pytest.raises(ValueError, match="no linear reading has scores of complete_select; run 00_prepare"):
            mark_candidates(reading("spectrum", wrong={"test": 0}))

    def test_accuracy_is_balanced_over_the_natures(self) -> None:
        scores = reading("spectrum", wrong={"test": 7})[:50]
        found = three_way_accuracy({"spectrum": scores}, resamples=50).iloc[0]
        expected = balanced_accuracy_score(scores["nature"], said_natures(scores))
        assert found["method"] == "spectrum" and found["value"] == pytest.approx(expected)
