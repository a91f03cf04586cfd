"""A study file: checked in an instant, and turned into the parameters of each notebook.

Everything here is plain data; no notebook reads a study file behind its reader's back.
"""

import re
from pathlib import Path

from dfxlib.data.descriptions import require_layout
from dfxlib.data.perturb import require_conditions
from dfxlib.models.zoo import FRONT_ENDS, check_backbone, find_backbone, weights_address
from dfxlib.names import (
    AUGMENTATIONS,
    CLASSES,
    HEADS,
    RESIZE_MODES,
    TASKS,
    TRAINED_ON,
    TRAINING,
    require_name,
    require_training,
)
from dfxlib.system.files import project_path, safe_name

#: Keys of a study file, and the notebooks whose parameters they become.
_DATA = ("layout", "columns", "group_pattern", "demo_scenes", "unseen", "use_declared", "split_seed")

_DATA += ("pixel_limit", "strict", "audit_images")

_MODEL = ("weights", "image_size", "resize_mode", "front_end", "stem")

_PLACE = ("data_root", "cache_root", "device", "workers")

_LOOP = ("patience", "clip_norm")

BASE_KEYS = ("epochs", "batch_size", "learning_rate", "weight_decay", "step_size", "gamma", "augment", *_LOOP)

_GRID = ("batch_sizes", "learning_rates", "weight_decays", "gammas", "step_sizes")

COMPLETE_KEYS = ("epochs", *_GRID, "head", "without", "augment", "copies", *_LOOP)

_STUDY = ("study", "backbones", "seeds", "threads", "gpus_per_job", "main_share", "base", "complete", "deterministic")

_VARIANTS = ("task", "train_on", "seed_offset")  # what only a variant may set

KEYS = (*_STUDY, "variants", "ensembles", *_PLACE, *_DATA, *_MODEL, "conditions", "resamples")


def check_study(config: dict) -> dict:
    """The study with lists as lists; one sentence for the first mistake.

    Raises ValueError, FileNotFoundError for pretrained weights that are not at hand, and
    ModuleNotFoundError for a network of timm without timm.
    """
    missing = [key for key in KEYS if key not in config]
    if missing == list(KEYS):
        raise ValueError("no study given; call snakemake with --configfile studies/NAME.yaml")
    if missing:
        raise ValueError(f"the study file lacks {', '.join(missing)}; compare it with studies/demo.yaml")
    unknown = [key for key in config if key not in KEYS]
    if unknown:
        raise ValueError(f"study key {unknown[0]!r} is unknown; expected among {', '.join(KEYS)}")
    study = config | {key: as_list(config[key]) for key in ("backbones", "seeds", "unseen", "conditions")}
    _check_kinds(study)
    study["seeds"] = [int(seed) for seed in study["seeds"]]
    _check_models(study)
    require_layout(study["layout"])
    require_conditions(study["conditions"])
    # A demonstration set is made by the first notebook; any other must be there already.
    if not study["demo_scenes"] and not project_path(study["data_root"]).is_dir():
        raise ValueError(f"data root {Path(study['data_root'])} is missing; check data_root")
    return study


def _check_models(study: dict) -> None:
    """Every backbone as the study and its variants take it; pretrained weights that are missing come all at once."""
    absent = {}
    for backbone in study["backbones"]:
        for variant in ("", *study["variants"]):
            try:
                _check_model(vary(study, variant), str(backbone))
            except FileNotFoundError as error:
                absent[backbone] = str(error)
    if absent:
        first, *others = absent
        more = ", ".join(weights_address(find_backbone(backbone)) for backbone in others)
        raise FileNotFoundError(absent[first] + (f"; as missing are {more}" if more else ""))


def _check_model(study: dict, backbone: str) -> None:
    check_backbone(backbone, weights=study["weights"], stem=study["stem"], image_size=study["image_size"])
    require_name(study["resize_mode"], RESIZE_MODES, what="resize_mode")
    require_name(study["front_end"], FRONT_ENDS, what="front_end")
    require_name(study["task"], TASKS, what="task")
    require_name(study["train_on"], TRAINED_ON, what="train_on")
    require_name(study["complete"]["head"], HEADS, what="head")
    if study["complete"]["without"]:
        require_name(study["complete"]["without"], CLASSES, what="without")
    for part in ("base", "complete"):
        require_name(study[part]["augment"], AUGMENTATIONS, what="augment")


def _check_kinds(study: dict) -> None:
    if not re.fullmatch(r"\w[\w.+-]*", str(study["study"])):
        raise ValueError(f"study name {study['study']!r} names a folder; expected letters, digits, '.', '_', '+', '-'")
    at_least = {"demo_scenes": 0, "split_seed": 0, "gpus_per_job": 0}
    at_least |= dict.fromkeys(("image_size", "audit_images", "resamples", "threads", "workers", "pixel_limit"), 1)
    for key, least in at_least.items():
        if type(study[key]) is not int or study[key] < least:
            raise ValueError(f"study key {key} is {study[key]!r}; expected a whole number of at least {least}")
    for key, kind in {"use_declared": bool, "strict": bool, "columns": dict, "deterministic": bool}.items():
        if type(study[key]) is not kind:
            expected = "names as manifest column: header" if kind is dict else "true or false"
            raise ValueError(f"study key {key} is {study[key]!r}; expected {expected}")
    if study["gpus_per_job"] > 1:
        raise ValueError(f"study key gpus_per_job is {study['gpus_per_job']}; expected 0 or 1, no notebook uses more")
    if not isinstance(study["variants"], dict):
        raise ValueError(f"study key variants is {study['variants']!r}; expected names, each with what it changes")
    for variant, changes in study["variants"].items():
        _check_changes(variant, changes)
    for variant in ("", *study["variants"]):
        _check_training(vary(study, variant))
    _check_ensembles(study)
    for key in ("backbones", "seeds", "conditions"):
        if not study[key]:
            raise ValueError(f"study key {key} is empty; expected at least one value")
        if len(set(map(str, study[key]))) < len(study[key]):
            raise ValueError(f"study key {key} holds a value twice: {study[key]}")
    if not isinstance(study["weights"], str):
        raise ValueError(f"study key weights is {study['weights']!r}; expected imagenet, none, a file or a folder")
    # By name only: the machine that plans a study need not have the GPU that runs it.
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(study["device"])):
        raise ValueError(f"study key device is {study['device']!r}; expected auto, cpu, cuda or cuda:NUMBER")
    for seed in study["seeds"]:
        if not str(seed).isdigit():
            raise ValueError(f"study key seeds holds {seed!r}; expected whole numbers")


def _check_changes(variant: str, changes: object) -> None:
    if not re.fullmatch(r"\w[\w.+-]*", str(variant)):
        raise ValueError(f"variant {variant!r} names a folder; expected letters, digits, '.', '_', '+', '-'")
    allowed = (*_VARIANTS, *_MODEL, "main_share", "base", "complete")
    if not isinstance(changes, dict) or not changes or not set(changes) <= set(allowed):
        raise ValueError(f"variant {variant} is {changes!r}; expected changes of {', '.join(allowed)}")
    for key in {"base", "complete"} & set(changes):
        if not isinstance(changes[key], dict):
            raise ValueError(f"variant {variant} has {key} {changes[key]!r}; expected names with values")
    task = changes.get("task", "base")
    for key in sorted(set(changes) & ({"main_share", "complete"} if task == "threeway" else {"train_on"})):
        raise ValueError(f"variant {variant} sets {key}, which task {task} never reads; take it out or set another")


def _check_ensembles(study: dict) -> None:
    """An ensemble averages variants that tell the three natures apart; it trains nothing itself."""
    if not isinstance(study["ensembles"], dict):
        raise ValueError(f"study key ensembles is {study['ensembles']!r}; expected names, each with its variants")
    for name, members in study["ensembles"].items():
        known = isinstance(members, list) and set(members) <= set(study["variants"])
        if not known or len(members) < 2 or name in study["variants"]:
            raise ValueError(
                f"ensemble {name} is {members!r}; expected at least two variants of this study, under a name of its own"
            )


def _check_training(study: dict) -> None:
    if type(study["seed_offset"]) is not int or study["seed_offset"] < 0:
        raise ValueError(f"seed_offset is {study['seed_offset']!r}; expected a whole number of at least 0")
    if not isinstance(study["main_share"], float) or not 0 < study["main_share"] < 1:
        raise ValueError(f"study key main_share is {study['main_share']!r}; expected a share between 0 and 1")
    for key, names in {"base": BASE_KEYS, "complete": COMPLETE_KEYS}.items():
        if not isinstance(study[key], dict) or set(study[key]) != set(names):
            raise ValueError(f"study key {key} is {study[key]!r}; expected exactly the names {', '.join(names)}")
        for name, value in study[key].items():
            _check_setting(f"study key {key}", name, value)


def _check_setting(where: str, name: str, value: object) -> None:
    """A number of a training, or the list of a grid; patience and clip_norm may be 0, for none."""
    if name in _GRID and (not isinstance(value, list) or not value):
        raise ValueError(f"{where}: {name} is {value!r}; expected a list of at least one number")
    name, values = (name.removesuffix("s"), value) if name in _GRID else (name, [value])
    for each in values if name in TRAINING else ():
        require_training(where, **{name: each})


def vary(study: dict, variant: str) -> dict:
    """The study as one of its variants has it: a variant names only what it changes. "" is the study's own."""
    changes = study["variants"][variant] if variant else {}
    own = {"task": "base", "train_on": "complete", "seed_offset": 0}
    # A section that is no dictionary is told by the check of kinds.
    merged = {
        key: study[key] | value if isinstance(value, dict) and isinstance(study[key], dict) else value
        for key, value in changes.items()
    }
    return study | own | merged


def is_three_way(study: dict, variant: str) -> bool:
    """Whether a variant is a backbone that learns the three natures at once (notebook 10 alone)."""
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
    training = run | {"variant": variant, "deterministic": study["deterministic"]}
    if step == "manifest":
        return {key: study[key] for key in (*_DATA, "resamples")}
    if step == "base":
        model = {key: study[key] for key in (*_MODEL, "main_share", *_VARIANTS)}
        return training | {"natures": [nature] if nature else []} | model | study["base"]
    if step == "complete":
        base = {"base_variant": base_variant(study, variant), "resamples": study["resamples"]}
        return training | base | study["complete"]
    if step == "robustness":
        return run | {"conditions": study["conditions"], "resamples": study["resamples"]}
    if step == "generalization":
        return run | {"resamples": study["resamples"]}
    if step == "detection":
        return run | {"model_path": "", "images": [], "shown": 2}
    if step == "baselines":
        return {key: study[key] for key in ("backbones", "seeds", "variants", "ensembles", "resamples")}
    if step == "report":
        return {"backbones": study["backbones"], "seeds": study["seeds"], "variants": list(study["variants"])}
    raise ValueError(f"step {step!r} is unknown")
