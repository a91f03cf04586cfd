"""Study files: completed from the demonstration's, every mistake one clear sentence, each step its parameters."""

import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import yaml
from pipeline import snakemake

from dfxlib.models.zoo import find_backbone, hub_checkpoints
from dfxlib.study.settings import (
    STATED,
    as_list,
    backbone_folders,
    base_variant,
    check_study,
    complete_study,
    is_three_way,
    place,
    science,
)

STUDIES = Path(__file__).parents[1] / "studies"
STEPS = (
    "manifest",
    "base",
    "three_way",
    "complete",
    "robustness",
    "generalization",
    "detection",
    "baselines",
    "report",
)


OTHER = {"study": "other", "demo_scenes": 0, "unseen": [], "group_pattern": "", "weights": "none"}


@pytest.fixture()
def demo() -> dict:
    return yaml.safe_load((STUDIES / "demo.yaml").read_text())


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_studies_of_the_repository_are_whole(
    path: Path, demo: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    study = complete_study(yaml.safe_load(path.read_text()), demo)
    hub_checkpoints().mkdir(parents=True)
    for backbone in study["backbones"]:
        (hub_checkpoints() / find_backbone(backbone).file).touch()
    assert list(check_study(study | {"data_root": str(tmp_path)})) == list(demo)


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_study_file_names_only_what_differs_from_the_demonstration(path: Path, demo: dict) -> None:
    own = yaml.safe_load(path.read_text())
    repeated = {key for key in own if own[key] == demo[key]} - set(STATED)
    for section in {"base", "complete"} & set(own):
        repeated |= {f"{section}: {key}" for key in own[section] if own[section][key] == demo[section][key]}
    assert path.stem == "demo" or not repeated


def test_the_study_at_the_papers_scale_has_the_papers_settings(demo: dict) -> None:
    """Also where it takes them from the demonstration, whose own may change."""
    paper = complete_study(yaml.safe_load((STUDIES / "deepfeaturex.yaml").read_text()), demo)
    assert len(paper["backbones"]) == 14
    expected = {"weights": "imagenet", "image_size": 256, "resize_mode": "resize", "front_end": "rgb"}
    expected |= {"stem": "imagenet", "main_share": 0.9}
    assert {key: paper[key] for key in expected} == expected
    loop = {"augment": "none", "patience": 0, "clip_norm": 0.0}
    steps = {"batch_size": 32, "learning_rate": 1e-4, "weight_decay": 1e-3, "step_size": 10, "gamma": 1.0}
    assert paper["base"] == {"epochs": 50} | steps | loop
    grid = {"batch_sizes": [16, 32], "learning_rates": [1e-3, 1e-4], "weight_decays": [1e-3, 1e-4]}
    grid |= {"gammas": [0.9, 0.6, 0.3], "step_sizes": [10, 15]}
    head = {"head": "conv", "without": "", "copies": 4}
    assert paper["complete"] == {"epochs": 30} | grid | head | loop


def test_a_training_is_completed_name_by_name_and_what_holds_names_is_replaced(demo: dict) -> None:
    stated = {key: demo[key] for key in STATED}
    full = demo | {"variants": {"a": {"stem": "full"}}, "columns": {"path": "file"}}
    study = complete_study(stated | {"base": {"epochs": 3}, "variants": {}}, full)
    assert study["base"] == demo["base"] | {"epochs": 3} and study["complete"] == demo["complete"]
    assert study["variants"] == {} and study["columns"] == {"path": "file"}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"backbones": ["resnet999"]}, "backbone 'resnet999' is unknown; expected one of densenet121, "),
        ({"backbones": ["timm:vit_bse"]}, "backbone timm:vit_bse cannot be had from timm "),
        (
            {"backbones": ["vit_b_16"], "stem": "full"},
            "stem 'full' opens a strided first .*, and none is known of vit_b_16",
        ),
        ({"backbones": ["vit_b_16"], "image_size": 18}, "backbone vit_b_16 needs squares of at least 19 px"),
        (
            {"external": ["a.csv"]},
            "study key external is .*; expected names of detectors, each with its file of scores",
        ),
        ({"untouched": "resnet18"}, "study key untouched is 'resnet18'; expected networks, each with its pretrained"),
        ({"untouched": {"resnet18": "none"}}, "untouched network resnet18: weights are 'none'; expected 'imagenet'"),
        ({"external": {"a/b": "x.csv"}}, "external detector 'a/b' needs a name of its own"),
        ({"external": {"threeway": "x.csv"}}, "external detector 'threeway' needs a name of its own"),
        ({"external": {"efficientnet_lite0": "x.csv"}}, "external detector 'efficientnet_lite0' needs a name of its"),
        ({"external": {"spectrum": "x.csv"}}, "external detector 'spectrum' needs a name of its own"),
        ({"external": {"a": 3}}, "external a is 3; expected the path of a CSV file"),
        ({"external": {"a": "{x}.csv"}}, "external a is '{x}.csv'; expected the path of a CSV file, without braces"),
        ({"weights": None}, "study key weights is None; expected imagenet, none, a file or a folder"),
        ({"device": "gpu"}, "study key device is 'gpu'; expected auto, cpu, cuda or cuda:NUMBER"),
        ({"layout": "cifar"}, "layout 'cifar' is unknown; expected one of folders, csv, parquet, "),
        ({"resize_mode": "stretch"}, "resize_mode 'stretch' is unknown; expected one of resize, crop, nearest"),
        ({"front_end": "dct"}, "front_end 'dct' is unknown; expected one of rgb, residual"),
        (
            {"variants": {"a": {"resize_mode": "nearest", "front_end": "residual", "complete": {"augment": "none"}}}},
            "resize_mode nearest does not suit residual; choose crop and stem full",
        ),
        ({"stem": "wide"}, "stem 'wide' is unknown; expected one of imagenet, full, enlarged"),
        ({"conditions": ["raw", "blur"]}, "condition 'blur' is unknown; expected one of raw, "),
        ({"conditions": ["jpeg444_q90"]}, "conditions lack 'raw', .*; add it"),
        ({"epochs": 3}, "study key 'epochs' is unknown; expected among study, question, "),
        ({"seeds": ["a"]}, "study key seeds holds 'a'; expected whole numbers"),
        ({"seeds": []}, "study key seeds is empty; expected at least one value"),
        ({"backbones": None}, "study key backbones is empty"),
        ({"image_size": "64px"}, "study key image_size is '64px'; expected a whole number"),
        ({"gpus_per_job": 2}, "study key gpus_per_job is 2; expected 0 or 1"),
        ({"resamples": 1.5}, r"study key resamples is 1\.5; expected a whole number"),
        ({"pixel_limit": 0}, "study key pixel_limit is 0; expected a whole number of at least 1"),
        ({"strict": "yes"}, "study key strict is 'yes'; expected true or false"),
        ({"use_declared": 1}, "study key use_declared is 1; expected true or false"),
        ({"near_duplicates": "yes"}, "study key near_duplicates is 'yes'; expected true or false"),
        ({"columns": "a"}, "study key columns is 'a'; expected names as manifest column: header"),
        ({"base": 10}, "study key base is 10; expected names with values, among epochs, batch_size"),
        ({"study": 202411}, r"study key study holds 202411, which was read as a int and .*: study='\"NAME\"'\)"),
        ({"unseen": 1.5}, "study key unseen holds 1.5, which was read as a float and not as a name; put it in quotes"),
        ({"unseen": ["a", True]}, "study key unseen holds True, which was read as a bool"),
        ({"variants": {202411: {"stem": "full"}}}, "study key variants holds 202411, which was read as a int"),
        ({"ensembles": {1.5: ["a", "b"]}}, "study key ensembles holds 1.5, which was read as a float"),
        ({"unseen": [date(2024, 1, 1)]}, "study key unseen holds datetime.date.2024, 1, 1., which was read as a date"),
        ({"precision": "bf16"}, "precision 'bf16' is unknown; expected one of auto, fp32"),
        ({"deterministic": 1}, "study key deterministic is 1; expected true or false"),
        ({"variants": ["linear"]}, r"study key variants is \['linear'\]; expected names, each with what it changes"),
        ({"variants": {"a/b": {"stem": "full"}}}, "variant 'a/b' names a folder; expected letters"),
        ({"variants": {"a": {"seeds": [1]}}}, r"variant a is {'seeds': \[1\]}; expected changes of task, train_on, "),
        ({"variants": {"a": {}}}, "variant a is {}; expected changes of task, "),
        ({"variants": {"a": {"complete": 3}}}, "variant a: complete is 3; expected names with values, among epochs, "),
        (
            {"variants": {"a": {"base": {"epoch": 3}}}},
            "variant a: base has 'epoch', which is unknown; expected among epochs, ",
        ),
        ({"variants": {"a": {"stem": "wide"}}}, "stem 'wide' is unknown; expected one of imagenet, full, enlarged"),
        ({"variants": {"a": {"task": "two"}}}, "task 'two' is unknown; expected one of base, threeway"),
        (
            {"variants": {"a": {"task": "threeway", "train_on": "all"}}},
            r"train_on 'all' is unknown; expected one of complete, base\+complete",
        ),
        (
            {"variants": {"a": {"complete": {"head": "mlp"}}}},
            "head 'mlp' is unknown; expected one of conv, linear, per",
        ),
        (
            {"variants": {"a": {"base": {"augment": "flip"}}}},
            "augment 'flip' is unknown; expected one of none, jpeg_blur, dihedral",
        ),
        ({"variants": {"a": {"complete": {"without": "fake"}}}}, "without 'fake' is unknown; expected one of dm_gen"),
        (
            {"variants": {"a": {"train_on": "complete"}}},
            "variant a sets train_on, which task base never reads; take it",
        ),
        (
            {"variants": {"a": {"task": "threeway", "main_share": 0.9}}},
            "variant a sets main_share, which task threeway never reads; take it out or set another",
        ),
        (
            {"variants": {"a": {"task": "threeway", "complete": {"head": "linear"}}}},
            "variant a sets complete, which task threeway never reads",
        ),
        ({"variants": {"a": {"seed_offset": 1.5}}}, r"seed_offset is 1\.5; expected a whole number of at least 0"),
        ({"ensembles": ["a"]}, r"study key ensembles is \['a'\]; expected names, each with its variants"),
        ({"ensembles": {"e": ["a", "b"]}}, r"ensemble e is \['a', 'b'\]; expected at least two variants of this study"),
        ({"variants": {"a": {"main_share": 2}}}, "study key main_share is 2; expected a share between 0 and 1"),
        ({"data_root": None}, "study key data_root is None; expected a folder"),
        ({"layout": 5}, "study key layout is 5; expected the name of a layout, or a description's file"),
        ({"group_pattern": None}, "study key group_pattern is None; expected a regular expression, or"),
        ({"group_pattern": "("}, r"study key group_pattern is '\(', no regular expression: missing \)"),
        ({"study": None}, "study name None names a folder; expected letters"),
        ({"variants": {"a": {"weights": None}}}, "study key weights is None; expected imagenet, none, a file or a fo"),
        ({"variants": {"a": {"image_size": 32.5}}}, r"study key image_size is 32\.5; expected a whole number of at le"),
        ({"variants": {"a": {"complete": {"without": None}}}}, "without None is unknown; expected one of dm_gen"),
        (
            {"variants": {"a": {"stem": "full"}}, "ensembles": {"e": ["a", "a"]}},
            r"ensemble e is \['a', 'a'\]; expected at least two variants of this study",
        ),
        ({"ensembles": {"e": [["a"], "a"]}}, "ensemble e is .*; expected at least two variants of this study"),
        ({"demo_scenes": 0, "data_root": "/no/where"}, "data root /no/where is missing; check data_root"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_it(demo: dict, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        check_study(complete_study(demo | change, demo))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "part, change, message",
    [
        ("base", {"epochs": 0}, "study key base: epochs is 0; expected a whole number of at least 1"),
        ("base", {"epochs": "3"}, "study key base: epochs is '3'; expected a whole number of at least 1"),
        ("base", {"batch_size": 1}, "study key base: batch_size is 1; expected a whole number of at least 2"),
        ("base", {"learning_rate": "1e-3"}, "study key base: learning_rate is '1e-3'; expected a number above 0"),
        ("base", {"weight_decay": -1.0}, r"study key base: weight_decay is -1\.0; expected a number from 0"),
        ("base", {"step_size": 0}, "study key base: step_size is 0; expected a whole number of at least 1"),
        ("base", {"gamma": -0.1}, r"study key base: gamma is -0\.1; expected a number above 0"),
        ("base", {"clip_norm": -1}, "study key base: clip_norm is -1; expected a number from 0"),
        ("complete", {"patience": -1}, "study key complete: patience is -1; expected a whole number of at least 0"),
        ("complete", {"gammas": [0.5, 0]}, "study key complete: gamma is 0; expected a number above 0"),
        ("complete", {"step_sizes": []}, r"study key complete: step_sizes is \[\]; expected a list of at least one"),
        ("complete", {"batch_sizes": 32}, "study key complete: batch_sizes is 32; expected a list of at least one"),
        ("complete", {"copies": 0}, "study key complete: copies is 0; expected a whole number of at least 1"),
    ],
)
def test_a_setting_that_no_training_can_have_fails_before_hours_of_work(
    demo: dict, part: str, change: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        check_study(demo | {part: demo[part] | change})
    own = demo | {"variants": {"a": {part: change}}}
    with pytest.raises(ValueError, match=f"^{message}"):
        check_study(own)


@pytest.mark.parametrize(
    "weights, message",
    [
        (
            "imagnet",
            "weights imagnet are missing; expected 'imagenet', 'none', a file, or a folder that holds resnet18-",
        ),
        ("imagenet", r"pretrained weights of resnet18 are not at .*/resnet18-f37072fd\.pth; fetch https://.* to that"),
    ],
)
def test_missing_weights_are_told_before_anything_runs(
    demo: dict, weights: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=message):
        check_study(demo | {"backbones": ["resnet18"], "weights": weights})


def test_all_missing_weights_are_told_at_once(demo: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError) as caught:
        check_study(demo | {"weights": "imagenet", "backbones": ["resnet18", "resnet50", "vit_b_16"]})
    for backbone in ("resnet18", "resnet50", "vit_b_16"):
        assert str(caught.value).count(f"/{find_backbone(backbone).file}") >= 1
    assert "\n" not in str(caught.value)


def test_a_detector_without_its_file_is_told_before_anything_runs(demo: dict) -> None:
    with pytest.raises(FileNotFoundError, match=r"external a: no file nowhere.csv; check the path"):
        check_study(demo | {"external": {"a": "nowhere.csv"}})


def test_an_untouched_network_without_its_weights_is_told_before_anything_runs(demo: dict) -> None:
    with pytest.raises(FileNotFoundError, match=r"weights nowhere\.pth are missing"):
        check_study(demo | {"untouched": {"resnet18": "nowhere.pth"}})


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1"])
def test_a_device_need_not_be_at_hand_where_a_study_is_planned(demo: dict, device: str) -> None:
    assert check_study(demo | {"device": device})["device"] == device


def test_checking_a_study_imports_no_torch() -> None:
    """It happens at every call of snakemake."""
    code = "import sys, yaml; from dfxlib.study.settings import check_study; "
    code += f"check_study(yaml.safe_load(open({str(STUDIES / 'demo.yaml')!r}))); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=STUDIES.parent, check=False).returncode == 0


def test_a_network_of_timm_lies_in_a_folder_of_its_own(demo: dict) -> None:
    study = check_study(demo | {"backbones": ["resnet18", "timm:test_vit.r160_in1k"], "weights": "none"})
    folders = backbone_folders(study)
    assert folders == {"resnet18": "resnet18", "timm.test_vit.r160_in1k": "timm:test_vit.r160_in1k"}
    parameters = science(study, "base", backbone="timm.test_vit.r160_in1k", nature="real")
    assert parameters["backbone"] == "timm:test_vit.r160_in1k"


@pytest.mark.parametrize("key", STATED)
def test_what_fits_the_demonstration_alone_must_be_stated(demo: dict, key: str) -> None:
    message = f"the study file lacks {key}; those of studies/demo.yaml fit the demonstration alone, state your own"
    with pytest.raises(ValueError, match=message):
        complete_study({name: demo[name] for name in STATED if name != key}, demo)


def test_no_study_at_all_says_how_to_call(demo: dict) -> None:
    with pytest.raises(ValueError, match=r"no study given; call snakemake with --configfile studies/NAME.yaml"):
        complete_study({}, demo)


@pytest.mark.parametrize(
    "given, expected",
    [("a,b, c", ["a", "b", "c"]), ("a", ["a"]), ("", []), (None, []), (3, [3]), ([1, 2], [1, 2]), ((1,), [1])],
)
def test_lists_come_as_lists_single_values_or_text_of_the_command_line(given: object, expected: list) -> None:
    assert as_list(given) == expected


def test_a_checked_study_has_lists_and_numbers(demo: dict) -> None:
    study = check_study(demo | {"backbones": "resnet18,resnet50", "weights": "none", "seeds": "0,1", "unseen": "a,b"})
    assert (study["backbones"], study["seeds"], study["unseen"]) == (["resnet18", "resnet50"], [0, 1], ["a", "b"])
    assert demo["seeds"] == [0]  # the argument is left alone


def test_the_place_of_a_run_is_no_science(demo: dict) -> None:
    moved = demo | {"data_root": "/elsewhere", "cache_root": "/c", "device": "cuda", "workers": 9, "threads": 9}
    for step in STEPS:
        assert science(demo, step, nature="real") == science(moved, step, nature="real")
    assert place(moved, "base")["device"] == "cuda" and place(moved, "base")["run_root"] == "runs/demo"


@pytest.mark.parametrize(
    "change, steps",
    [
        ({"split_seed": 1}, {"manifest"}),
        ({"unseen_families": ["WGAN"]}, {"manifest"}),
        ({"unseen_after": "2022-08"}, {"manifest"}),
        ({"use_declared": True}, {"manifest"}),
        ({"untouched": {"resnet18": "resnet18.pth"}}, {"manifest"}),
        ({"near_duplicates": False}, {"manifest"}),
        ({"image_size": 128}, {"base", "three_way"}),
        ({"main_share": 0.9}, {"base"}),
        ({"conditions": ["raw"]}, {"robustness"}),
        ({"seeds": [0, 1]}, {"baselines", "report"}),
        ({"external": {"a": "a.csv"}}, {"robustness", "generalization", "baselines", "report"}),
        ({"resamples": 10}, {"manifest", "three_way", "complete", "robustness", "generalization", "baselines"}),
    ],
)
def test_a_change_reaches_the_steps_that_use_it(demo: dict, change: dict, steps: set) -> None:
    other = demo | change
    assert {step for step in STEPS if science(demo, step) != science(other, step)} == steps


def test_a_base_run_gets_its_nature_backbone_and_seed(demo: dict) -> None:
    parameters = science(demo, "base", backbone="resnet18", nature="real", seed="2")
    assert (parameters["natures"], parameters["backbone"], parameters["seed"]) == (["real"], "resnet18", 2)
    assert parameters["epochs"] == demo["base"]["epochs"] and parameters["main_share"] == demo["main_share"]


VARIANTS = {
    "threeway": {"task": "threeway", "train_on": "base+complete"},
    "linear": {"complete": {"head": "linear"}},
    "balanced": {"main_share": 0.25},
    "blur": {"base": {"augment": "jpeg_blur"}, "complete": {"augment": "jpeg_blur"}},
    "without_gan": {"complete": {"without": "gan_generated"}},
    "second": {"task": "threeway", "seed_offset": 1000},
}


@pytest.fixture()
def varied(demo: dict) -> dict:
    return check_study(demo | {"variants": VARIANTS})


def test_a_variant_changes_what_it_names_and_nothing_else(varied: dict) -> None:
    expected = {
        "base": {"balanced": {"main_share": 0.25}, "blur": {"augment": "jpeg_blur"}},
        "three_way": {"threeway": {"train_on": "base+complete"}, "second": {"seed_offset": 1000}},
        "complete": {
            "linear": {"head": "linear"},
            "balanced": {"base_variant": "balanced"},
            "blur": {"augment": "jpeg_blur", "base_variant": "blur"},
            "without_gan": {"without": "gan_generated"},
        },
    }
    for step, changes in expected.items():
        own = science(varied, step, backbone="resnet18", seed=0)
        for variant, changed in changes.items():
            parameters = science(varied, step, backbone="resnet18", seed=0, variant=variant)
            assert parameters == own | changed | {"variant": variant}


def test_a_variant_has_base_models_of_its_own_only_where_it_changes_how_they_are_made(varied: dict) -> None:
    assert {name: base_variant(varied, name) for name in ("", *VARIANTS)} == {
        "": "", "threeway": "", "linear": "", "balanced": "balanced", "blur": "blur", "without_gan": "",
        "second": "second",
    }  # fmt: skip
    assert [name for name in VARIANTS if is_three_way(varied, name)] == ["threeway", "second"]


def test_naming_a_variant_reruns_only_what_compares_runs(demo: dict, varied: dict) -> None:
    assert {step for step in STEPS if science(demo, step) != science(varied, step)} == {"baselines", "report"}


def test_an_unknown_step_is_refused(demo: dict) -> None:
    with pytest.raises(ValueError, match="step 'paint' is unknown"):
        science(demo, "paint")


@pytest.mark.parametrize("inside", ["cache_root", "study"])
def test_a_study_never_writes_into_the_images_that_it_reads(
    demo: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    """Its runs go to runs/STUDY, so the project's own folder is no data root."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    root, cache = {"cache_root": ("images", "images/cache"), "study": (".", "../cache")}[inside]
    named = {"cache_root": "cache_root images/cache", "study": "run_root runs/demo"}[inside]
    with pytest.raises(ValueError, match=rf"{named} lies in {tmp_path}.*, which is only read; name a place outside it"):
        check_study(demo | {"demo_scenes": 0, "data_root": root, "cache_root": cache})
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_a_demonstration_set_that_cannot_be_written_is_told(demo: dict, tmp_path: Path) -> None:
    (tmp_path / "words").write_text("no folder")
    with pytest.raises(
        OSError, match=r"cannot write data_root .*/words/demo: Not a directory; mend that, or name anot"
    ):
        check_study(demo | {"data_root": str(tmp_path / "words" / "demo")})


def test_braces_in_the_name_of_a_data_root_are_no_wildcards(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "a{b}").mkdir()
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(OTHER | {"data_root": str(tmp_path / "a{b}")}))
    plan = snakemake(clone, "--configfile", str(tmp_path / "study.yaml"), "-n")
    assert plan.returncode == 0, plan.stdout + plan.stderr


def test_a_key_that_a_study_file_sets_twice_is_told(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(OTHER) + "unseen: []\nunseen: [x]\n")
    plan = snakemake(clone, "--configfile", str(tmp_path / "study.yaml"), "-n")
    said = f"study file {tmp_path}/study.yaml: key 'unseen' stands twice in what begins in line 1; name it once"
    assert plan.returncode != 0 and said in plan.stderr


@pytest.mark.slow
def test_an_error_of_snakemake_is_seen_where_it_is_to_be_quiet(clone: Path, tmp_path: Path) -> None:
    own = tmp_path / "clone"
    shutil.copytree(clone, own, ignore=shutil.ignore_patterns("runs", "data", ".snakemake"))
    (own / "notebooks" / "30_jpeg_robustness.ipynb").unlink()
    result = snakemake(own, "--configfile", "studies/smoke.yaml")
    assert result.returncode != 0 and "notebooks/30_jpeg_robustness.ipynb" in result.stderr
