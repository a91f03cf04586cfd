"""The audit: planted faults are found and named, and sound data raise no alarm."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from samples import noise, plant_tree, rows

from dfxlib.data.descriptions import expected_counts
from dfxlib.data.manifest import build_manifest
from dfxlib.measure import audit
from dfxlib.measure.copies import read_thumbnails

INVENTORY = Path(__file__).parents[1] / "data_manifests" / "deepfeaturex_inventory.csv"


def facts(count: int = 600, **columns: object) -> pd.DataFrame:
    """Manifest rows of unequal pictures, one a group, all natures in every part."""
    table = rows(count)
    splits = np.resize(["base_train", "base_train", "complete_train", "complete_select", "test"], count)
    plain = {"split": splits, "pixel_sha256": table["sha256"],
             "format": "PNG", "mode": "RGB", "width": 256, "height": 256, "jpeg_quality": np.nan,
             "jpeg_subsampling": "", "bytes": 90_000, "container": "", "row": ""}  # fmt: skip
    return table.assign(**(plain | columns))


def grains(count: int) -> np.ndarray:  # [count, 16, 16] uint8
    """Small pictures that are unlike each other."""
    return np.random.default_rng(0).integers(0, 256, (count, 16, 16), dtype=np.uint8)


class TestInventory:
    def test_missing_and_surplus_images_are_counted_whatever_the_spelling(self) -> None:
        expected = pd.DataFrame({"nature": "real", "architecture": ["CelebA", "FFHQ", "coco"], "images": [3, 2, 1]})
        found = pd.DataFrame({"nature": "real", "architecture": ["celeb-a"] * 3 + ["coco"] * 2})
        table = audit.check_inventory(found.assign(problem=["", "", "empty file", "", ""]), expected)
        assert table["architecture"].tolist() == ["CelebA", "FFHQ", "coco"]
        assert table["found"].tolist() == [2, 0, 2] and table["difference"].tolist() == [-1, -2, 1]

    def test_the_inventory_of_the_paper_agrees_with_itself(self) -> None:
        expected = pd.read_csv(INVENTORY)
        whole = expected.loc[expected.index.repeat(expected["images"]), ["nature", "architecture"]]
        table = audit.check_inventory(whole.assign(problem=""), expected)
        assert (table["difference"] == 0).all() and table["found"].sum() == 72_334 and len(table) == 18

    def test_descriptions_of_layouts_say_what_to_expect(self) -> None:
        expected = expected_counts("cifake")
        table = audit.check_inventory(pd.DataFrame(columns=[*expected.columns, "problem"]), expected)
        assert table["difference"].tolist() == [-50_000, -10_000, -50_000, -10_000]

    def test_an_empty_field_stands_for_all_and_several_fields_must_all_agree(self) -> None:
        fields = {"nature": ["real", "dm_generated", "real", ""], "declared_split": ["train", "", "test", ""]}
        expected = pd.DataFrame(fields | {"images": [1, 2, 0, 3]})
        natures, splits = ["real", "dm_generated", "dm_generated"], ["train", "train", "test"]
        manifest = pd.DataFrame({"nature": natures, "declared_split": splits, "problem": ""})
        assert audit.check_inventory(manifest, expected)["difference"].tolist() == [0, 0, 0, 0]

    def test_the_same_name_under_two_natures_is_two_architectures(self) -> None:
        expected = pd.DataFrame({"nature": ["gan_generated", "real"], "architecture": "faces", "images": [1, 1]})
        found = pd.DataFrame({"nature": ["real"], "problem": "", "architecture": "faces"})
        assert audit.check_inventory(found, expected)["difference"].tolist() == [-1, 0]


class TestFiles:
    def test_one_row_a_nature_and_split_with_commonest_values(self) -> None:
        table = facts(30, width=[256, 178] * 15)
        table.loc[table["nature"] == "real", ["format", "jpeg_quality", "jpeg_subsampling"]] = ["JPEG", 75.0, "4:2:0"]
        table.loc[0, "problem"] = "empty file"
        found = audit.describe_files(table).set_index(["nature", "split"])
        assert len(found) == 12 and found["images"].sum() == 29
        real = found.loc[("real", "test")]
        assert (real["format"], real["jpeg_quality"], real["subsampling"]) == ("JPEG (100%)", 75, "4:2:0 (100%)")
        assert (real["size"], real["sizes"]) == ("178 x 256 (50%)", 2) or real["size"] == "256 x 256 (50%)"
        fake = found.loc[("gan_generated", "test")]
        assert fake["subsampling"] == "" and np.isnan(fake["jpeg_quality"]) and fake["median_bytes"] == 90_000
        only = table[(table["nature"] == "real") & (table["split"] == "test")]
        assert real["bits_per_pixel"] == pytest.approx((8 * 90_000 / only["width"] / 256).median())


class TestDuplicates:
    def test_planted_copies_are_found_inside_and_across_natures(self, tmp_path: Path) -> None:
        root = plant_tree(tmp_path / "images")
        noise(0).save(root / "dm_generated" / "dm_1" / "copy.png")  # of dm_0/000.png
        noise(1).save(root / "real" / "real_0" / "twin.bmp")  # of dm_0/001.png
        found = audit.equal_pictures(build_manifest(root, workers=1))
        assert found["path"].tolist() == [
            "dm_generated/dm_0/001.png", "real/real_0/twin.bmp",  # the worst first: two natures
            "dm_generated/dm_0/000.png", "dm_generated/dm_1/copy.png",
        ]  # fmt: skip
        assert found["cluster"].tolist() == [0, 0, 1, 1]
        counts = audit.count_clusters({"equal pixels": found}).iloc[0].to_dict()
        assert counts == {"kind": "equal pixels", "sets": 2, "images": 4, "across_architectures": 2,
                          "across_natures": 1, "trained_and_tested": 0}  # fmt: skip

    def test_a_recompressed_copy_is_near_and_a_copy_with_equal_pixels_is_none(self, tmp_path: Path) -> None:
        root = plant_tree(tmp_path / "images", images=20)
        source = root / "real" / "real_0" / "004.png"
        Image.open(source).save(root / "gan_generated" / "gan_0" / "copy.jpg", quality=80)
        noise(0).save(root / "real" / "real_1" / "twin.bmp")  # of dm_generated/dm_0/000.png
        manifest = build_manifest(root, workers=1)
        found = audit.near_duplicates(manifest, read_thumbnails(manifest, root, workers=1))
        assert found["path"].tolist() == ["gan_generated/gan_0/copy.jpg", "real/real_0/004.png"]
        assert found["group"].nunique() == 1

    def test_sets_across_training_and_test_come_first_and_are_counted(self) -> None:
        table, thumbnails = facts(30), grains(30)
        thumbnails[1], thumbnails[24] = thumbnails[0], thumbnails[5]
        found = audit.near_duplicates(table, thumbnails)  # of a manifest without grouping
        assert found["cluster"].tolist() == [0, 0, 1, 1]
        assert sorted(found["path"][:2]) == sorted(table["path"][[5, 24]])  # base_train and test
        counts = audit.count_clusters({"near": found}).iloc[0]
        assert (counts["sets"], counts["trained_and_tested"]) == (2, 1)

    def test_excluded_images_make_no_leak(self) -> None:
        table, thumbnails = facts(2, split=["excluded", "test"]), np.repeat(grains(1), 2, axis=0)
        near = audit.near_duplicates(table, thumbnails)
        assert len(near) == 2 and audit.count_clusters({"near": near})["trained_and_tested"].tolist() == [0]

    def test_nothing_found_is_an_empty_table(self) -> None:
        table = facts(6)
        table.loc[[0, 1], ["pixel_sha256", "problem"]] = ["", "empty file"]
        for found in (audit.equal_pictures(table), audit.near_duplicates(table, np.zeros((6, 16, 16), np.uint8))):
            assert len(found) == 0
            assert audit.count_clusters({"none": found})[["sets", "images"]].iloc[0].tolist() == [0, 0]


class TestSample:
    def test_it_is_the_same_for_any_order_and_at_most_so_many_of_each(self) -> None:
        table = facts(600)
        sample = audit.sample_images(table, per_architecture=20, least=32)
        assert sample.groupby(["nature", "architecture"]).size().eq(20).all()
        shuffled = audit.sample_images(table.sample(frac=1, random_state=0), per_architecture=20, least=32)
        assert set(sample["path"]) == set(shuffled["path"])
        assert set(sample["split"]) == set(table["split"])

    def test_small_and_excluded_images_are_left_out(self) -> None:
        table = facts(12, width=[31] * 3 + [32] * 9, split=["test"] * 6 + ["excluded"] * 6)
        assert audit.sample_images(table, per_architecture=99, least=32).index.tolist() == [3, 4, 5]


class TestShortcuts:
    def test_what_separates_is_said_with_its_figure(self) -> None:
        table = facts()
        size = pd.DataFrame({"bytes": np.where(table["nature"] == "real", 1.0, 2.0)}, index=table.index)
        found = audit.shortcut_table({"bytes": size}, table, resamples=200).iloc[0]
        assert (found["value"], found["high"]) == (1, 1) and 0.85 < found["low"] < 1  # 40 reals: not exactly 1
        expected = f"balanced accuracy 100.0% ({found['low']:.1%} to 100.0%)"
        assert found["sentence"] == f"Knowing only the size of the file separates real from fake: {expected}."

    def test_noise_is_said_to_be_no_better_than_chance(self) -> None:
        table = facts()
        noise_features = pd.DataFrame(np.random.default_rng(0).normal(size=(len(table), 3)), index=table.index)
        found = audit.shortcut_table({"processing": noise_features}, table, resamples=200).iloc[0]
        assert found["low"] <= 0.5
        assert found["sentence"].startswith(
            "Knowing only the marks of JPEG blocks and resampling is not shown to tell real from fake: "
        )

    def test_only_training_rows_teach_and_only_test_rows_count(self) -> None:
        table = facts()
        value = np.where(table["nature"] == "real", 1.0, 2.0)
        value[table["split"] == "test"] *= -1  # on the test part the rule is turned round
        features = pd.DataFrame({"x": value}, index=table.index)
        assert audit.real_or_fake(features, table, resamples=50)[0] <= 0.5

    def test_features_may_cover_a_part_of_the_manifest(self) -> None:
        table = facts()
        part = table[table["nature"] != "gan_generated"]
        features = pd.DataFrame({"x": np.where(part["nature"] == "real", 1.0, 2.0)}, index=part.index)
        assert audit.shortcut_table({"bytes": features}, table, resamples=50)["value"].tolist() == [1]

    def test_every_shortcut_has_words(self) -> None:
        by_one = {"metadata", "bytes", "processing", "scalars", "thumbnail", "content"}
        assert set(audit.SHORTCUTS) == by_one | {"all shortcuts"}

    def test_shortcuts_together_find_what_none_of_them_knows_alone(self) -> None:
        table, rng = facts(), np.random.default_rng(0)
        common = rng.normal(size=len(table)) * 5  # both numbers move with it, only their difference tells
        apart = np.where(table["nature"] == "real", 1.0, -1.0)
        parts = {
            "bytes": pd.DataFrame({"bytes": common + apart}, index=table.index),
            "scalars": pd.DataFrame({"noise": common - apart}, index=table.index),
        }
        parts["all shortcuts"] = pd.concat(parts.values(), axis=1)
        found = audit.shortcut_table(parts, table, resamples=50).set_index("method")
        assert found.loc["all shortcuts", "value"] == 1 and found.loc[["bytes", "scalars"], "value"].max() < 0.8
        assert found.loc["all shortcuts", "sentence"].startswith("Knowing all of these together separates real")

    def test_images_that_choose_and_calibrate_teach_nothing(self) -> None:
        table = facts()
        value = np.where(table["nature"] == "real", 1.0, 2.0)
        value[table["split"].isin(["base_valid", "complete_select"])] *= -100
        features = pd.DataFrame({"x": value}, index=table.index)
        assert audit.real_or_fake(features, table, resamples=50)[0] == 1
