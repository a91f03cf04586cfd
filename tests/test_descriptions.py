"""Descriptions of public data sets: every one built as a small tree, and every mistake one sentence."""

import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from dfxlib.data.descriptions import (
    LAYOUTS,
    REFERENCES,
    citation,
    compile_pattern,
    expected_counts,
    read_description,
    require_layout,
)
from dfxlib.data.layouts import list_images
from dfxlib.names import NATURES

MANIFESTS = Path(__file__).parents[1] / "data_manifests"
NAMED = [layout for layout in LAYOUTS if layout not in ("folders", "csv", "parquet")]

DM, GAN, REAL, OTHER, FAKE = NATURES[0], NATURES[1], NATURES[2], NATURES[3], NATURES[4]

#: path, nature, architecture, source, declared split and, where there is one, pair.
TREES = {
    "deepfeaturex": [
        ("dm_generated/DALL-E 2/1.png", DM, "DALL-E 2", "", ""),
        ("gan_generated/AttGAN/a.b.png", GAN, "AttGAN", "", ""),
        ("real/real/x.png", REAL, "real", "", ""),
    ],
    "deepfeaturex-generalization": [
        ("inner_gan/0_real/1.png", REAL, "real", "inner_gan", "test"),
        ("io_gan/1_fake/1.png", GAN, "io_gan", "io_gan", "test"),
        ("outer_dm/1_fake/1.png", DM, "outer_dm", "outer_dm", "test"),
        ("all/1_fake/1.png", FAKE, "all", "all", "test"),
        ("outer_all/1_fake/deeper/1.png", FAKE, "outer_all", "outer_all", "test"),
    ],
    "deepfeaturex-robustness": [
        ("testing_dset-jpegQF90/real/CelebA/1.png", REAL, "CelebA", "jpegQF90", "test", "real/CelebA/1"),
        ("testing_dset-rot-45/real/CelebA/1.png", REAL, "CelebA", "rot-45", "test", "real/CelebA/1"),
        (
            "testing_dset-GaussNoise-3/dm_generated/Glide/2.png",
            DM,
            "Glide",
            "GaussNoise-3",
            "test",
            "dm_generated/Glide/2",
        ),
    ],
    "forensynths": [
        ("test/biggan/0_real/1.png", REAL, "ImageNet", "biggan", "test"),
        ("test/biggan/1_fake/1.png", GAN, "biggan", "biggan", "test"),
        ("test/deepfake/1_fake/1.png", OTHER, "deepfake", "deepfake", "test"),
        ("test/progan/airplane/0_real/1.png", REAL, "LSUN", "progan", "test"),
        ("test/cyclegan/horse/1_fake/1.png", GAN, "cyclegan", "cyclegan", "test"),
        ("train/cat/0_real/1.png", REAL, "LSUN", "progan", "train"),
        ("val/cat/1_fake/1.png", GAN, "progan", "progan", "valid"),
    ],
    "universalfakedetect": [
        ("imagenet/0_real/1.png", REAL, "imagenet", "imagenet", "test"),
        ("guided/1_fake/1.png", DM, "guided", "imagenet", "test"),
        ("dalle/1_fake/1.png", DM, "dalle", "laion", "test"),
    ],
    "genimage": [
        ("ADM/imagenet_ai_0508_adm/train/ai/1.PNG", DM, "ADM", "ADM", "train"),
        ("BigGAN/imagenet_ai_0419_biggan/val/ai/1.png", GAN, "BigGAN", "BigGAN", "test"),
        ("BigGAN/imagenet_ai_0419_biggan/val/nature/1.JPEG", REAL, "ImageNet", "BigGAN", "test"),
    ],
    "diffusionforensics": [
        ("images/train/imagenet/real/n01440764/1.JPEG", REAL, "imagenet", "imagenet", "train"),
        ("images/val/lsun_bedroom/adm/1.png", DM, "adm", "lsun_bedroom", "valid"),
        ("images/test/lsun_bedroom/stylegan_official/1.png", GAN, "stylegan_official", "lsun_bedroom", "test"),
        ("images/test/celebahq/if/1.png", DM, "if", "celebahq", "test"),
    ],
    "synthbuster": [
        ("dalle2/r00a1t.png", DM, "dalle2", "RAISE-1k", "", "r00a1t"),
        ("stable-diffusion-xl/r00a1t.png", DM, "stable-diffusion-xl", "RAISE-1k", "", "r00a1t"),
    ],
    "cifake": [
        ("train/REAL/0001 (2).jpg", REAL, "CIFAR-10", "", "train"),
        ("test/FAKE/1.jpg", DM, "stable-diffusion-1-4", "", "test"),
    ],
    "drct": [
        ("MSCOCO/val2017/1.jpg", REAL, "MSCOCO", "MSCOCO", "test"),
        ("images/sd-turbo/train2017/1.png", DM, "sd-turbo", "MSCOCO", "train"),
    ],
    "chameleon": [
        ("test/0_real/1.jpg", REAL, "real", "", "test"),
        ("test/1_fake/1.jpg", FAKE, "unknown", "", "test"),
    ],
    "wildrf": [
        ("train/0_real/1.jpg", REAL, "real", "", "train"),
        ("val/1_fake/1.jpg", FAKE, "unknown", "", "valid"),
        ("test/reddit/0_real/1.jpg", REAL, "real", "reddit", "test"),
        ("test/twitter/1_fake/1.jpg", FAKE, "unknown", "twitter", "test"),
    ],
    "raid": [
        ("original/real/1.jpg", REAL, "real", "original", "test"),
        ("original/gen_0/1.png", FAKE, "gen_0", "original", "test"),
        ("epsilon32/real/1.png", REAL, "real", "epsilon32", "test"),
        ("epsilon32/gen_3/1.png", FAKE, "gen_3", "epsilon32", "test"),
    ],
    "truefake": [
        ("PreSocial/Real/FFHQ/00001.png", REAL, "FFHQ", "PreSocial", "", "FFHQ/00001"),
        ("Telegram/Real/FORLAB/a.jpg", REAL, "FORLAB", "Telegram", "", "FORLAB/a"),
        ("PreSocial/Fake/StyleGAN2/conf-f-psi-0.5/7.png", GAN, "StyleGAN2", "PreSocial", "", "StyleGAN2/7"),
        ("Facebook/Fake/StyleGAN2/conf-f-psi-0.5/7.jpg", GAN, "StyleGAN2", "Facebook", "", "StyleGAN2/7"),
        ("X/Fake/FLUX.1/faces/1.jpg", DM, "FLUX.1", "X", "", "FLUX.1/1"),
        ("Twitter/Fake/StableDiffusion1.5/1.jpg", DM, "StableDiffusion1.5", "X", "", "StableDiffusion1.5/1"),
    ],
    "itw-sm": [
        ("0_real/Facebook_real_1042.jpg", REAL, "real", "", "test"),
        ("1_fake/instagram_1030.jpg", FAKE, "unknown", "", "test"),
    ],
    "aigibench": [
        ("train/car/0_real/1.png", REAL, "LSUN", "ProGAN", "train"),
        ("val/horse/1_fake/1.png", GAN, "ProGAN", "ProGAN", "valid"),
        ("train/sdv1.4/1_fake/1.png", DM, "sdv1.4", "sdv1.4", "train"),
        ("train/sdv1.4/0_real/1.png", REAL, "ImageNet", "sdv1.4", "train"),
        ("test/InSwap/1_fake/1.png", OTHER, "InSwap", "InSwap", "test"),
        ("test/SocialRF/1_fake/1.png", FAKE, "SocialRF", "SocialRF", "test"),
        ("test/R3GAN/0_real/1.png", REAL, "real", "R3GAN", "test"),
    ],
}


def plant(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def told(rows: pd.DataFrame) -> dict[str, tuple]:
    columns = ["nature", "architecture", "source", "declared_split", "pair", "problem"]
    return {path: tuple(said) for path, *said in rows[["path", *columns]].to_numpy().tolist()}


def test_every_description_has_a_tree_or_a_table_here() -> None:
    assert set(NAMED) == set(TREES) | {"artifact", "wildfake", "community-forensics", "openfake", "deepfake-eval-2024"}


@pytest.mark.parametrize("layout", TREES)
def test_a_tree_of_the_published_shape_is_read_as_its_authors_mean_it(tmp_path: Path, layout: str) -> None:
    clutter = [".DS_Store", "__MACOSX/._1.png", ".ipynb_checkpoints/1.png"]
    rows = list_images(plant(tmp_path, *[row[0] for row in TREES[layout]], *clutter), layout=layout)
    assert told(rows) == {path: (*said[:4], said[4] if len(said) > 4 else "", "") for path, *said in TREES[layout]}


@pytest.mark.parametrize("layout", TREES)
def test_every_name_in_a_description_is_a_folder_that_it_reads(tmp_path: Path, layout: str) -> None:
    """The tree is built from the description: each pattern with each of its names."""
    description, paths = read_description(layout), set()
    for number, rule in enumerate(description.rules):
        lookups = [value for value in rule.fields.values() if isinstance(value, dict)]
        # Spellings that differ by case only stand for one folder.
        tables = {
            part: list({n.lower(): n for n in names}.values()) for value in lookups for part, names in value.items()
        }
        longest = max((len(names) for names in tables.values()), default=1)
        for turn in range(longest):
            folder = re.sub(r"\*", "any", rule.path)
            for part in compile_pattern(rule.path, below=False).groupindex:
                names = tables.get(part, [f"some_{part}"])
                folder = folder.replace(f"{{{part}}}", names[turn % len(names)])
            paths.add(f"{folder}/{number}_{turn}.png")
    rows = list_images(plant(tmp_path, *paths), layout=layout)
    assert len(rows) == len(paths) and set(rows["problem"]) == {""}
    assert set(rows["nature"]) <= set(NATURES) and "" not in set(rows["architecture"])


@pytest.mark.parametrize("layout", TREES)
def test_a_folder_that_a_description_does_not_know_is_a_problem(tmp_path: Path, layout: str) -> None:
    known = TREES[layout][0][0]
    rows = told(list_images(plant(tmp_path, known, "surprise/deep/er/1.png"), layout=layout))
    assert rows[known][-1] == "" and rows["surprise/deep/er/1.png"][-1] != ""


def test_the_working_folder_of_the_reference_is_a_root_as_well(tmp_path: Path) -> None:
    plant(tmp_path, "datasets/real/real/1.png", "models/net.pt", "testing_robustness/a/real/x/1.png")
    assert told(list_images(tmp_path, layout="deepfeaturex")) == {
        "datasets/real/real/1.png": (REAL, "real", "", "", "", "")
    }


def test_masks_and_reconstructions_are_no_data(tmp_path: Path) -> None:
    plant(tmp_path / "a", "images/sd-turbo/val2017/1.png", "images/sd-turbo/masks/val2017/1.png")
    assert len(list_images(tmp_path / "a", layout="drct")) == 1
    plant(tmp_path / "b", "images/test/imagenet/real/1.png", "recons/test/imagenet/real/1.png", "dire/x/1.png")
    assert len(list_images(tmp_path / "b", layout="diffusionforensics")) == 1


def test_lists_beside_the_images_are_no_data(tmp_path: Path) -> None:
    plant(tmp_path / "a", "0_real/X_real_1.jpg", "metadata.csv", "README.md", "LICENSE")
    assert len(list_images(tmp_path / "a", layout="itw-sm")) == 1
    plant(tmp_path / "b", "PreSocial/Real/FFHQ/1.png", "split.json")
    assert len(list_images(tmp_path / "b", layout="truefake")) == 1


def test_truefake_reads_no_network_or_generator_that_it_does_not_know(tmp_path: Path) -> None:
    plant(tmp_path, "X/Real/FFHQ/1.png", "Other/Fake/FLUX.1/1.png", "X/Fake/FFHQ/1.png", "X/Real/FLUX.1/1.png")
    assert {path: said[-1] for path, said in told(list_images(tmp_path, layout="truefake")).items()} == {
        "X/Real/FFHQ/1.png": "",
        "Other/Fake/FLUX.1/1.png": "network 'Other' has no source in the layout",
        "X/Fake/FFHQ/1.png": "generator 'FFHQ' has no nature in the layout",
        "X/Real/FLUX.1/1.png": "origin 'FLUX.1' has no nature in the layout",
    }


def test_faces_and_objects_are_told_where_the_description_knows(tmp_path: Path) -> None:
    plant(tmp_path, "images/test/celebahq/real/1.png", "images/test/imagenet/adm/1.png")
    assert list_images(tmp_path, layout="diffusionforensics")["content"].tolist() == ["face", "object"]


# Tables


def test_artifact_is_read_from_the_metadata_of_each_source(tmp_path: Path) -> None:
    header = "filename,image_path,target,category\n"
    rows = {
        "coco": "a.jpg,coco2017/a.jpg,0,misc\n",
        "cycle_gan": "b.jpg,horse2zebra/b.jpg,0,horse\nc.jpg,horse2zebra/c.jpg,6,horse\n",
        "stable_diffusion": "d.jpg,d.jpg,6,face\n",
        "new_model": "e.jpg,e.jpg,6,face\n",
    }
    for folder, lines in rows.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "metadata.csv").write_text(header + lines)
    assert told(list_images(tmp_path, layout="artifact")) == {
        "coco/coco2017/a.jpg": (REAL, "coco", "", "", "", ""),
        "cycle_gan/horse2zebra/b.jpg": (REAL, "cycle_gan", "", "", "", ""),
        "cycle_gan/horse2zebra/c.jpg": (GAN, "cycle_gan", "", "", "", ""),
        "stable_diffusion/d.jpg": (DM, "stable_diffusion", "", "", "", ""),
        "new_model/e.jpg": ("", "new_model", "", "", "", "folder 'new_model' has no nature in the layout"),
    }


def test_wildfake_is_read_from_its_tables_and_each_image_counts_once(tmp_path: Path) -> None:
    header = "Generator,Architecture,Weight,Category,IsAdvanced,IsFake,Image_path,Num\n"
    (tmp_path / "label_csv_files").mkdir()
    rows = {
        "ddim": "Diffusion_based,DDIM,DDIM,DDIM,0,1,./Diffusion_based/DDIM/0.png,1\n" * 2,
        "gans": "GAN_based,StyleGAN,a,b,0,1,./GAN_based/s/0.png,1\n",
        "other": "Other_based,VQVAE,a,b,0,1,./Other_based/v/0.png,1\n",
        "real_coco": "Real,coco,coco,coco,0,0,./Real/coco/0.jpg,1\n",
    }
    for name, lines in rows.items():
        (tmp_path / "label_csv_files" / f"{name}.csv").write_text(header + lines)
    assert told(list_images(tmp_path, layout="wildfake")) == {
        "Images/Diffusion_based/DDIM/0.png": (DM, "DDIM", "", "", "", ""),
        "Images/GAN_based/s/0.png": (GAN, "StyleGAN", "", "", "", ""),
        "Images/Other_based/v/0.png": (OTHER, "VQVAE", "", "", "", ""),
        "Images/Real/coco/0.jpg": (REAL, "coco", "", "", "", ""),
    }


def test_deepfake_eval_2024_is_read_from_the_table_of_its_images(tmp_path: Path) -> None:
    header = "Filename,Ground Truth,Finetuning Set\n"
    rows = "a.jpg,Real,Train\nb.webp,Fake,Test\nc.png,fake,test\n"
    rows += "#NAME?,Fake,Train\nd.png,Unknown,Test\ne.png,Real,\n"
    (tmp_path / "image-metadata-publish.csv").write_text(header + rows)
    (tmp_path / "image-metadata-publish-with-links.csv").write_text("Filename,Link\na.jpg,x\n")
    (tmp_path / "audio-metadata-publish.csv").write_text(header + "a.mp3,Real,train\n")
    assert told(list_images(tmp_path, layout="deepfake-eval-2024")) == {
        "image-data/a.jpg": (REAL, "real", "", "train", "", ""),
        "image-data/b.webp": (FAKE, "unknown", "", "test", "", ""),
        "image-data/c.png": (FAKE, "unknown", "", "test", "", ""),
        "image-data/#NAME?": (FAKE, "unknown", "", "train", "", "suffix '' is no image's"),
        "image-data/d.png": ("", "unknown", "", "test", "", "Ground Truth 'Unknown' has no nature in the layout"),
        "image-data/e.png": (REAL, "real", "", "", "", "Finetuning Set '' has no declared_split in the layout"),
    }


def test_community_forensics_is_read_from_parquet(tmp_path: Path) -> None:
    columns = {
        "image_name": ["1.png", "2.png", "3.png", "4.png"],
        "image_data": [b"1", b"2", b"3", b"4"],
        "model_name": ["a/b", "c", "d", ""],
        "real_source": ["LAION", "", "", "COCO"],
        "subset": ["Systematic", "Manual", "Commercial", "Manual"],
        "split": ["train", "train", "test", "train"],
        "label": [1, 1, 1, 0],
        "architecture": ["LatDiff", "GAN", "Commercial", "Real"],
    }
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "data/x.parquet")
    assert list(told(list_images(tmp_path, layout="community-forensics")).values()) == [
        (DM, "a/b", "Systematic", "train", "", ""),
        (GAN, "c", "Manual", "train", "", ""),
        (FAKE, "d", "Commercial", "test", "", ""),
        (REAL, "COCO", "Manual", "train", "", ""),
    ]


def test_openfake_takes_the_split_from_the_name_of_the_file(tmp_path: Path) -> None:
    columns = {"label": ["real", "fake"], "model": ["", "flux"]}
    images = pa.array([{"bytes": b"1", "path": ""}, {"bytes": b"2", "path": ""}])
    for name in ("data/train-00000-of-00002.parquet", "reddit/test-0.parquet"):
        (tmp_path / name).parent.mkdir()
        pq.write_table(pa.table({"image": images, **columns}), tmp_path / name)
    assert told(list_images(tmp_path, layout="openfake")) == {
        "data/train-00000-of-00002.parquet/000000": (REAL, "real", "", "train", "", ""),
        "data/train-00000-of-00002.parquet/000001": (FAKE, "flux", "", "train", "", ""),
        "reddit/test-0.parquet/000000": (REAL, "real", "", "test", "", ""),
        "reddit/test-0.parquet/000001": (FAKE, "flux", "", "test", "", ""),
    }


def test_a_table_whose_name_lacks_a_part_is_a_problem_among_others(tmp_path: Path) -> None:
    columns = {"label": ["real"], "model": [""], "image": pa.array([{"bytes": b"1", "path": ""}])}
    for name in ("train-0.parquet", "-1.parquet"):
        pq.write_table(pa.table(columns), tmp_path / name)
    assert told(list_images(tmp_path, layout="openfake")) == {
        "-1.parquet": ("", "", "", "", "", "name does not fit '**/{part}-*.parquet'"),
        "train-0.parquet/000000": (REAL, "real", "", "train", "", ""),
    }


def test_a_table_of_another_version_names_the_missing_columns(tmp_path: Path) -> None:
    (tmp_path / "glide").mkdir()
    (tmp_path / "glide/metadata.csv").write_text("filename,target\na.jpg,1\n")
    with pytest.raises(ValueError, match=r"metadata\.csv lacks the columns image_path; it has filename, target"):
        list_images(tmp_path, layout="artifact")


# What a description says besides


@pytest.mark.parametrize("layout", NAMED)
def test_a_public_data_set_has_a_homepage_a_licence_and_a_note(layout: str) -> None:
    description = read_description(layout)
    assert description.homepage.startswith("https://") and description.licence and len(description.note) > 40


def test_the_counts_of_the_paper_are_those_of_the_inventory() -> None:
    inventory = pd.read_csv(MANIFESTS / "deepfeaturex_inventory.csv")
    expected = expected_counts("deepfeaturex")
    assert expected[["nature", "architecture", "images"]].to_dict("list") == inventory[
        ["nature", "architecture", "images"]
    ].to_dict("list")
    assert expected["images"].sum() == 72334


@pytest.mark.parametrize(
    "layout, images", [("genimage", 1_350_000), ("cifake", 120_000), ("synthbuster", 9_000), ("itw-sm", 10_000)]
)
def test_stated_counts_add_up_to_the_published_totals(layout: str, images: int) -> None:
    assert expected_counts(layout)["images"].sum() == images


def test_a_citation_is_that_of_the_layout_and_of_the_folder_of_the_data(tmp_path: Path) -> None:
    assert citation("csv", tmp_path) == citation("folders", tmp_path) == ""
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(GOOD | {"cite": "@misc{described}"}))
    mine = str(tmp_path / "mine.yaml")
    assert citation(mine, tmp_path) == "@misc{described}"
    (tmp_path / REFERENCES).write_bytes(b"@misc{own, author = {Gr\xfcn}}\n")
    assert citation("csv", tmp_path) == "@misc{own, author = {Gr\ufffdn}}", "a reader sees that it is not UTF-8"
    assert citation(mine, tmp_path).splitlines() == ["@misc{described}", "@misc{own, author = {Gr\ufffdn}}"]
    (tmp_path / REFERENCES).rename(tmp_path / "elsewhere")
    (tmp_path / REFERENCES).symlink_to(tmp_path / "elsewhere")
    assert citation("csv", tmp_path) == "", "a link may lead out of the data"


def test_a_layout_without_stated_counts_expects_none() -> None:
    for layout in ("folders", "csv", "parquet", "chameleon"):
        assert expected_counts(layout).empty


@pytest.mark.parametrize("layout", TREES)
def test_expected_counts_name_what_the_rules_can_say(layout: str) -> None:
    can = {field: set() for field in ("nature", "declared_split")}
    for rule in read_description(layout).rules:
        for field, said in can.items():
            value = rule.fields.get(field, "")
            said |= {value} if isinstance(value, str) else {name for names in value.values() for name in names.values()}
    for field, said in can.items():
        assert set(expected_counts(layout)[field]) <= said | {""}


# The README


def examples() -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", (MANIFESTS / "README.md").read_text(encoding="utf-8"), re.S)


def test_the_first_example_of_the_readme_runs(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(examples()[0])
    plant(tmp_path / "data", "train/biggan/fake/1.png", "val/glide/fake/2.png", "val/glide/real/2.png", "masks/1.png")
    rows = list_images(tmp_path / "data", layout=str(tmp_path / "mine.yaml"))
    assert told(rows) == {
        "train/biggan/fake/1.png": (GAN, "biggan", "", "train", "train/1", ""),
        "val/glide/fake/2.png": (DM, "glide", "", "valid", "val/2", ""),
        "val/glide/real/2.png": (REAL, "COCO", "COCO", "valid", "val/2", ""),
    }
    assert expected_counts(str(tmp_path / "mine.yaml"))["images"].tolist() == [50000]


def test_the_second_example_of_the_readme_runs(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(examples()[1])
    (tmp_path / "glide").mkdir()
    (tmp_path / "glide/metadata.csv").write_text("image_path,target\na.jpg,0\nb.jpg,6\n")
    rows = list_images(tmp_path, layout=str(tmp_path / "mine.yaml"))
    assert rows["nature"].tolist() == [REAL, DM] and rows["path"].tolist() == ["glide/a.jpg", "glide/b.jpg"]


def test_the_description_of_a_tree_of_ones_own_names_relatives_and_months(tmp_path: Path) -> None:
    page = (MANIFESTS.parent / "docs" / "data.md").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, re.S)[1])
    plant(tmp_path / "tree", "real/camera/a.png", "gan_generated/wgan/a.png", "gan_generated/wgan_gp/a.png")
    table = list_images(tmp_path / "tree", layout=str(tmp_path / "mine.yaml")).set_index("architecture")
    assert table.loc["wgan", ["nature", "family", "released"]].tolist() == ["gan_generated", "WGAN", "2017-01"]
    assert table.loc["wgan_gp", "family"] == "WGAN" and table.loc["camera", "family"] == ""


def test_the_readme_lists_every_description() -> None:
    listed = re.findall(r"\]\(([\w-]+)\.yaml\)", (MANIFESTS / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == NAMED


# Families

#: Names without signs and case, as patterns, and the family that each must have wherever it stands.
ALIASES = {
    "adm|guided.*": "ADM",
    "biggan": "BigGAN",
    "dalle2": "DALL-E 2",
    "dalle3": "DALL-E 3",
    "dalle|dallemini": "DALL-E mini",
    "i?ddpm|pndm": "DDPM",
    "glide.*": "GLIDE",
    "(ldm|latentdiffusion).*": "Latent Diffusion",
    "(sd|stablediffusion)(v?[12].*|turbo|controlnet.*|inpainting)?|lcmlorasdv?[12].*": "Latent Diffusion",
    "(stablediffusion|sd|lcmlorasd|controlnetcannysd)xl.*": "Stable Diffusion XL",
    "(diff)?projectedgan": "Projected GAN",
    "(diff)?stylegan.*|whichfaceisreal|wfir": "StyleGAN",
    "vqdm|vqdiffusion": "VQ-Diffusion",
}


def plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()


def families(layout: str) -> dict[str, str]:
    """Every generator that a description names, in its rules, counts or facts, with its family or nothing."""
    told = read_description(layout)
    names = {*told.generators, *(row["architecture"] for row in told.expected if "architecture" in row)}
    for rule in told.rules:
        nature, architecture = rule.fields["nature"], rule.fields["architecture"]
        for part, natures in nature.items() if isinstance(nature, dict) else ():
            if architecture == f"{{{part}}}":
                names |= {name for name, own in natures.items() if own != REAL}
        if isinstance(nature, str) and nature != REAL and "{" not in architecture:
            names.add(architecture)
    return {name: told.generators.get(name, {}).get("family", "") for name in names}


def test_a_generator_has_one_family_whatever_a_layout_calls_it() -> None:
    named = [(plain(name), family) for layout in NAMED for name, family in families(layout).items()]
    found: dict[str, set[str]] = {}
    for name, family in named:
        found.setdefault(name, set()).add(family)
    assert {name: own for name, own in found.items() if len(own) > 1} == {}
    for pattern, family in ALIASES.items():
        related = {name: own for name, own in named if re.fullmatch(pattern, name)}
        assert set(related.values()) == {family}, (pattern, related)


def test_the_families_of_the_layouts_are_those_of_the_readme() -> None:
    section = (MANIFESTS / "README.md").read_text(encoding="utf-8").split("## Families")[1].split("\n## ")[0]
    table = {
        family: set(re.findall("`(.+?)`", names)) for family, names in re.findall(r"\| (.+?) \| (`.+) \|", section)
    }
    found: dict[str, set[str]] = {}
    for layout in NAMED:
        for name, family in families(layout).items():
            if family:
                found.setdefault(family, set()).add(name)
    assert found == table


def test_the_robustness_sets_know_of_their_generators_what_the_data_of_the_paper_do() -> None:
    assert read_description("deepfeaturex-robustness").generators == read_description("deepfeaturex").generators


# Mistakes

GOOD = {
    "title": "T",
    "homepage": "",
    "licence": "",
    "images": [{"path": "{a}", "nature": "real", "architecture": "{a}"}],
}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"title": None}, ""),
        ({"colour": 1}, "key 'colour' is unknown; expected cite, expected, generators, guidance, homepage"),
        ({"generators": ["a"]}, "generators is .*; expected architectures, each with its facts"),
        ({"generators": {"a": {"age": 1}}}, "generator a has .*; expected some of family, released, source"),
        ({"generators": {"a": {"released": "2022-13", "source": "b"}}}, "expected released: YEAR-MONTH, and source"),
        ({"generators": {"a": {"released": "2022-08"}}}, "expected released: YEAR-MONTH, and source"),
        ({"images": []}, "images is empty"),
        ({"images": [{"path": "{a}", "nature": "real"}]}, "a rule lacks architecture"),
        ({"images": [{"nature": "real", "architecture": "x"}]}, "a rule lacks path"),
        (
            {"images": [{"path": "a", "nature": "fake", "architecture": "x"}]},
            "nature 'fake' is unknown; expected one of dm_",
        ),
        ({"images": [{"path": "{a}", "nature": {"a": {"x": "gan"}}, "architecture": "x"}]}, "nature 'gan' is unknown"),
        (
            {"images": [{"path": "{a}", "nature": "real", "architecture": "{b}"}]},
            "architecture uses 'b', which '{a}' lacks",
        ),
        ({"images": [{"path": "{a}/{a}", "nature": "real", "architecture": "x"}]}, "'{a}/{a}' is no pattern"),
        (
            {"images": [{"path": "a", "nature": "real", "architecture": "x", "colour": "y"}]},
            "rule key 'colour' is unknown",
        ),
        (
            {"images": [{"path": "a", "nature": "real", "architecture": "x", "declared_split": "later"}]},
            "declared_split 'later' is unknown",
        ),
        (
            {"images": [{"path": "{a}", "nature": {"a": {}, "b": {}}, "architecture": "x"}]},
            "nature must look up one part",
        ),
        (
            {"images": [{"path": "a", "where": {}, "nature": "real", "architecture": "x"}]},
            "rule key 'where' is unknown",
        ),
        ({"expected": [{"nature": "real", "images": "many"}]}, "expected holds .*; expected images: NUMBER"),
        ({"expected": [{"colour": "red", "images": 1}]}, "expected holds "),
    ],
)
def test_a_mistake_in_a_description_is_one_sentence(tmp_path: Path, change: dict, message: str) -> None:
    path = tmp_path / "mine.yaml"
    content = GOOD | change
    if content["title"] is None:
        del content["title"]
        message = "lacks title; compare it with data_manifests/README.md"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=message.replace("{", r"\{")) as caught:
        read_description(str(path))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("a: [", "is no YAML"),
        ("just text", "is no description"),
        ("", "is no desc"),
        ("title: a\nimages:\n- nature:\n    typ: {'0': real, '0': fake}\n", "'0' stands twice .* in line 4"),
    ],
)
def test_a_file_that_is_no_description_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_description(str(tmp_path / "mine.yaml"))
    assert "\n" not in str(caught.value)


def test_known_layouts_pass_and_others_are_refused(tmp_path: Path) -> None:
    assert all(require_layout(layout) == layout for layout in LAYOUTS)
    with pytest.raises(
        ValueError, match="layout 'folder' is unknown; expected one of folders, csv, parquet, aigibench"
    ):
        require_layout("folder")
    with pytest.raises(ValueError, match=r"layout /no/where\.yaml is missing"):
        require_layout("/no/where.yaml")


@pytest.mark.parametrize(
    "pattern, path, found",
    [
        ("{a}/*/b", "x/y/b", {"a": "x"}),
        ("{a}/*/b", "x/y/z/b", None),
        ("{a}-*.parquet", "train-0-of-1.parquet", {"a": "train"}),
        ("**/{a}.csv", "x.csv", {"a": "x"}),
        ("**/{a}.csv", "p/q/x.csv", {"a": "x"}),
        ("a.b", "aXb", None),
        ("{a}", "new\nline", {"a": "new\nline"}),
    ],
)
def test_a_pattern_stands_for_these_paths(pattern: str, path: str, found: dict | None) -> None:
    match = compile_pattern(pattern, below=False).fullmatch(path)
    assert (match and match.groupdict()) == found


def test_what_lies_below_a_folder_belongs_to_it() -> None:
    match = compile_pattern("{a}/b", below=True).fullmatch("x/b/c/d\ne")
    assert match[1] == "x/b" and compile_pattern("{a}/b", below=True).fullmatch("x/bc") is None
