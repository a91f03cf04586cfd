"""A study file: completed from the demonstration's, checked in an instant, and turned into parameters of notebooks.

Everything here is plain data; no notebook reads a study file behind its reader's back.
"""

import re
from pathlib import Path
from typing import Any

from dfxlib import names
from dfxlib.data.descriptions import is_month, require_layout
from dfxlib.data.perturb import require_conditions
from dfxlib.models.zoo import FRONT_ENDS, check_backbone, find_backbone, require_pretrained, weights_address
from dfxlib.study.own_names import check_ensembles, check_external, names_a_folder
from dfxlib.study.run_folder import check_places
from dfxlib.system.files import project_path, require_place, safe_name

#: What belongs to the demonstration's data and start, so that every other study must state its own.
STATED = ("study", "data_root", "demo_scenes", "unseen", "group_pattern", "weights")

_SECTIONS = ("base", "complete")  # trainings: a study file, or a variant, names only what it changes in them
_DATA: tuple[str, ...] = ("layout", "columns", "group_pattern", "demo_scenes", "unseen", "use_declared", "split_seed")
_DATA += ("unseen_families", "unseen_after", "near_duplicates", "pixel_limit", "strict", "audit_images", "untouched")
_MODEL = ("weights", "image_size", "crop_size", "crops", "resize_mode", "front_end", "stem")
_PLACE = ("data_root", "cache_root", "device", "workers")

#: What a variant may change. The first three are no keys of a study: a study's own models are what they say here.
_OWN = {"task": "base", "train_on": "complete", "seed_offset": 0}
_VARIED = (*_OWN, *_MODEL, "main_share", *_SECTIONS)

#: Keys whose value is one of a few names, at the top or in a section.
_NAMED = {
    "task": names.TASKS,
    "train_on": names.TRAINED_ON,
    "resize_mode": names.RESIZE_MODES,
    "front_end": FRONT_ENDS,
    "augment": names.AUGMENTATIONS,
    "head": names.HEADS,
    "precision": names.PRECISIONS,
}


def complete_study(
    given: dict,  # the study file, and what the command line adds
    demo: dict,  # studies/demo.yaml, which holds every key
) -> dict:
    """The study with every key that it leaves to the demonstration's file.

    The sections `base` and `complete` are completed key by key; any other value, also one that holds names,
    is the study's own or the demonstration's as a whole. Raises ValueError for a key that the demonstration lacks, and
    where the study does not state what is true of the demonstration's data alone.
    """
    if not given:
        raise ValueError("no study given; call snakemake with --configfile studies/NAME.yaml")
    unknown = [key for key in given if key not in demo]
    if unknown:
        raise ValueError(f"study key {unknown[0]!r} is unknown; expected among {', '.join(demo)}")
    missing = [key for key in STATED if key not in given]
    if missing:
        raise ValueError(
            f"the study file lacks {', '.join(missing)}; "
            "those of studies/demo.yaml fit the demonstration alone, state your own"
        )
    sections = {name: _merge(f"study key {name}", demo[name], given.get(name, {})) for name in _SECTIONS}
    return demo | {"question": ""} | given | sections  # nobody else asks what the demonstration asks


def _merge(where: str, values: dict, changes: object) -> dict:
    """A section with what is changed in it."""
    if not isinstance(changes, dict):
        raise ValueError(f"{where} is {changes!r}; expected names with values, among {', '.join(values)}")
    unknown = [name for name in changes if name not in values]
    if unknown:
        raise ValueError(f"{where} has {unknown[0]!r}, which is unknown; expected among {', '.join(values)}")
    return values | changes


def check_study(study: dict) -> dict:
    """A whole study with lists as lists; one sentence for the first mistake.

    Raises ValueError, FileNotFoundError for pretrained weights that are not at hand, and
    ModuleNotFoundError for a network of timm without timm.
    """
    lists = ("backbones", "seeds", "unseen", "unseen_families", "conditions")
    study = study | {key: as_list(study[key]) for key in lists}
    _check_names(study)
    _check_kinds(study)
    _check_texts_and_mappings(study)
    _check_lists(study)
    study["seeds"] = [int(seed) for seed in study["seeds"]]
    _check_variants(study)
    for variant in ("", *study["variants"]):
        _check_kinds(vary(study, variant))
        _check_texts_and_mappings(vary(study, variant))
        _check_training(vary(study, variant))
    check_ensembles(study)
    check_external(study)
    _check_models(study)
    require_pretrained(study["untouched"])
    require_layout(study["layout"])
    require_conditions(study["conditions"])
    # A demonstration set is made by the first notebook; any other must be there already.
    if study["demo_scenes"]:
        require_place(project_path(study["data_root"]), what=f"data_root {study['data_root']}")
    elif not project_path(study["data_root"]).is_dir():
        raise ValueError(f"data root {Path(study['data_root'])} is missing; check data_root")
    check_places(study | {"run_root": f"runs/{study['study']}"})
    return study


def _check_names(study: dict) -> None:
    """Names that YAML or Snakemake took for numbers have lost signs already: 2024_11 is 202411, 1.50 is 1.5."""
    mappings = ("columns", "variants", "ensembles", "external", "untouched")
    for key in ("study", "data_root", "cache_root", "backbones", "unseen", "unseen_families", *mappings):
        for value in study[key] if isinstance(study[key], list | dict) else [study[key]]:
            if not isinstance(value, str | None):
                raise ValueError(
                    f"study key {key} holds {value!r}, which was read as a {type(value).__name__} and not as a name; "
                    f"put it in quotes (after --config in two kinds: {key}='\"NAME\"')"
                )


def _check_kinds(study: dict) -> None:
    if not names_a_folder(study["study"]):
        raise ValueError(f"study name {study['study']!r} names a folder; expected letters, digits, '.', '_', '+', '-'")
    at_least = {"demo_scenes": 0, "split_seed": 0, "gpus_per_job": 0, "crop_size": 0, "crops": 1}
    at_least |= dict.fromkeys(("image_size", "audit_images", "resamples", "threads", "workers", "pixel_limit"), 1)
    for key, least in at_least.items():
        if type(study[key]) is not int or study[key] < least:
            raise ValueError(f"study key {key} is {study[key]!r}; expected a whole number of at least {least}")
    if study["gpus_per_job"] > 1:
        raise ValueError(f"study key gpus_per_job is {study['gpus_per_job']}; expected 0 or 1, no notebook uses more")
    for key in ("near_duplicates", "use_declared", "strict", "deterministic"):
        if type(study[key]) is not bool:
            raise ValueError(f"study key {key} is {study[key]!r}; expected true or false, after --config True or False")
    # By name only: the machine that plans a study need not have the GPU that runs it.
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(study["device"])):
        raise ValueError(f"study key device is {study['device']!r}; expected auto, cpu, cuda or cuda:NUMBER")


def _check_texts_and_mappings(study: dict) -> None:
    texts = {
        "question": "a sentence",
        "data_root": "a folder",
        "cache_root": "a folder",
        "layout": "the name of a layout, or a description's file",
        "group_pattern": 'a regular expression, or "" for none',
        "weights": "imagenet, none, a file or a folder",
    }
    mappings = {
        "columns": "names as manifest column: header",
        "variants": "names, each with what it changes",
        "ensembles": "names, each with its variants",
        "external": "names of detectors, each with its file of scores",
        "untouched": "networks, each with its pretrained weights",
    }
    for kind, keys in ((str, texts), (dict, mappings)):
        for key, expected in keys.items():
            if not isinstance(study[key], kind):
                raise ValueError(f"study key {key} is {study[key]!r}; expected {expected}")
    if study["unseen_after"] != "" and not is_month(str(study["unseen_after"])):
        raise ValueError(f'study key unseen_after is {study["unseen_after"]!r}; expected YEAR-MONTH, or "" for none')
    try:
        re.compile(study["group_pattern"])
    except re.error as error:
        raise ValueError(
            f"study key group_pattern is {study['group_pattern']!r}, no regular expression: {error}"
        ) from error


def _check_lists(study: dict) -> None:
    for key in ("backbones", "seeds", "conditions"):
        if not study[key]:
            raise ValueError(f"study key {key} is empty; expected at least one value")
        if len(set(map(str, study[key]))) < len(study[key]):
            raise ValueError(f"study key {key} holds a value twice: {study[key]}")
    if strange := [seed for seed in study["seeds"] if not str(seed).isdigit()]:
        raise ValueError(f"study key seeds holds {strange[0]!r}; expected whole numbers")


def _check_variants(study: dict) -> None:
    """A variant names what it changes, and nothing that its task never reads."""
    for variant, changes in study["variants"].items():
        if not names_a_folder(variant):
            raise ValueError(f"variant {variant!r} names a folder; expected letters, digits, '.', '_', '+', '-'")
        if not isinstance(changes, dict) or not changes or not set(changes) <= set(_VARIED):
            raise ValueError(f"variant {variant} is {changes!r}; expected changes of {', '.join(_VARIED)}")
        for name in _SECTIONS:
            _merge(f"variant {variant}: {name}", study[name], changes.get(name, {}))
        task = changes.get("task", _OWN["task"])
        unread = {"main_share", "complete"} if task == "threeway" else {"train_on"}
        for key in sorted(unread & set(changes)):
            raise ValueError(f"variant {variant} sets {key}, which task {task} never reads; take it out or set another")


def _check_training(study: dict) -> None:
    """The settings of a study, or of one of its variants, that say how models are trained."""
    for key, allowed in _NAMED.items():
        for values in (study, *(study[section] for section in _SECTIONS)):
            if key in values:
                names.require_name(values[key], allowed, what=key)
    looks = {study["front_end"], study["base"]["augment"], study["complete"]["augment"]} & {"residual", "jpeg_blur"}
    if looks and study["resize_mode"] == "nearest":  # which enlarges first: edges of its blocks would be looked at
        raise ValueError(f"resize_mode nearest does not suit {', '.join(sorted(looks))}; choose crop and stem full")
    if study["complete"]["without"] != "":
        names.require_name(study["complete"]["without"], names.CLASSES, what="without")
    if type(study["seed_offset"]) is not int or study["seed_offset"] < 0:
        raise ValueError(f"seed_offset is {study['seed_offset']!r}; expected a whole number of at least 0")
    if not isinstance(study["main_share"], float) or not 0 < study["main_share"] < 1:
        raise ValueError(f"study key main_share is {study['main_share']!r}; expected a share between 0 and 1")
    for section in _SECTIONS:
        for name, value in study[section].items():
            _check_numbers(f"study key {section}", name, value)


def _check_numbers(where: str, name: str, value: Any) -> None:
    """A number of a training; a list of the grid is called by the plural of what it lists."""
    single = name.removesuffix("s")
    if name in names.TRAINING:
        names.require_training(where, **{name: value})
    elif single in names.TRAINING:
        if not isinstance(value, list) or not value:
            raise ValueError(f"{where}: {name} is {value!r}; expected a list of at least one number")
        for each in value:
            names.require_training(where, **{single: each})


def _check_models(study: dict) -> None:
    """Every backbone as the study and its variants take it; pretrained weights that are missing come all at once."""
    absent = {}
    for backbone in study["backbones"]:
        for variant in ("", *study["variants"]):
            model = {key: vary(study, variant)[key] for key in ("weights", "stem", "image_size", "crop_size", "crops")}
            try:
                check_backbone(str(backbone), **model)
            except FileNotFoundError as error:
                absent[backbone] = str(error)
    if absent:
        first, *others = absent
        more = ", ".join(weights_address(find_backbone(backbone)) for backbone in others)
        raise FileNotFoundError(absent[first] + (f"; as missing are {more}" if more else ""))


def vary(study: dict, variant: str) -> dict:
    """The study as one of its variants has it: a variant names only what it changes. "" is the study's own."""
    changes = study["variants"][variant] if variant else {}
    sections = {name: study[name] | changes[name] for name in _SECTIONS if name in changes}
    return study | _OWN | changes | sections


def is_three_way(study: dict, variant: str) -> bool:
    """Whether a variant is a backbone that learns the three natures at once (notebook 15)."""
    return vary(study, variant)["task"] == "threeway"


def base_variant(study: dict, variant: str) -> str:
    """The variant whose base models a variant reads: its own where it changes how they are made."""
    changes = study["variants"][variant] if variant else {}
    return variant if {*_MODEL, "main_share", "base", "seed_offset"} & set(changes) else ""


def as_list(value: object) -> list:
    """A list from a list, from one value, or from `a,b,c` as the command line gives it."""
    if value is None:
        return []
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return list(value) if isinstance(value, (list, tuple)) else [value]


def backbone_folders(study: dict) -> dict[str, str]:
    """Backbones by the names of their folders: timm:NAME lies in timm.NAME."""
    return {safe_name(backbone): backbone for backbone in study["backbones"]}


def place(study: dict, step: str) -> dict:
    """Parameters that say where a run happens and change no number in it."""
    unused = {"manifest": ("device",), "detection": ("cache_root",), "baselines": _PLACE, "report": _PLACE}
    used = [key for key in _PLACE if key not in unused.get(step, ())]
    return {key: study[key] for key in used} | {"run_root": f"runs/{study['study']}"}


def science(
    study: dict,
    step: str,
    *,
    backbone: str = "",  # by the name of its folder, as Snakemake's wildcards have it
    nature: str = "",
    seed: int = 0,
    variant: str = "",
) -> dict:
    """Parameters of one run of a notebook; a change of any of them makes it run again."""
    study = vary(study, variant)
    run = {"backbone": backbone_folders(study).get(backbone, backbone), "seed": int(seed)}
    training = run | {"variant": variant} | {key: study[key] for key in ("deterministic", "precision")}
    model = {key: study[key] for key in _MODEL}
    if step == "manifest":
        return {key: study[key] for key in (*_DATA, "resamples")}
    if step == "base":
        task = {"main_share": study["main_share"], "seed_offset": study["seed_offset"]}
        return training | {"natures": [nature] if nature else []} | model | task | study["base"]
    if step == "three_way":
        task = {"train_on": study["train_on"], "seed_offset": study["seed_offset"]}
        return training | model | task | {"resamples": study["resamples"]} | study["base"]
    if step == "complete":
        base = {"base_variant": base_variant(study, variant), "resamples": study["resamples"]}
        return training | base | study["complete"]
    if step == "robustness":
        return run | {key: study[key] for key in ("conditions", "external", "resamples")}
    if step == "generalization":
        return run | {key: study[key] for key in ("external", "resamples")}
    if step == "detection":
        return run | {"model_path": "", "images": [], "shown": 2}
    if step == "baselines":
        return {key: study[key] for key in ("backbones", "seeds", "variants", "ensembles", "external", "resamples")}
    if step == "report":
        which = {key: study[key] for key in ("question", "backbones", "seeds", "external")}
        return which | {"variants": list(study["variants"])}
    raise ValueError(f"step {step!r} is unknown")
