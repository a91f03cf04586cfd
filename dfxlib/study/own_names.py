"""What a study names itself: ensembles of its variants, and detectors of others."""

import re

from dfxlib.measure.mark import READINGS
from dfxlib.system.files import project_path, safe_name


def names_a_folder(name: object) -> bool:
    """Whether a name can be that of a folder on every system."""
    return name is not None and re.fullmatch(r"\w[\w.+-]*", str(name)) is not None


def check_ensembles(study: dict) -> None:
    """An ensemble averages variants that tell the three natures apart; it trains nothing itself."""
    for name, members in study["ensembles"].items():
        known = isinstance(members, list) and all(str(member) in study["variants"] for member in members)
        if not known or len(set(members)) < max(2, len(members)) or name in study["variants"]:
            raise ValueError(
                f"ensemble {name} is {members!r}; expected at least two variants of this study, under a name of its own"
            )


def check_external(study: dict) -> None:
    """Detectors of others: a name that no method and no backbone of the study has, and a file that is there."""
    taken = {*study["variants"], *study["ensembles"], *map(safe_name, study["backbones"]), *READINGS}
    for name, file in study["external"].items():
        if not isinstance(name, str) or not names_a_folder(name) or name in taken:
            raise ValueError(
                f"external detector {name!r} needs a name of its own of letters, digits, '.', '_', '+', '-'"
            )
        if not isinstance(file, str) or set("{}") & set(file):  # Snakemake takes braces for wildcards
            raise ValueError(f"external {name} is {file!r}; expected the path of a CSV file, without braces")
        if not project_path(file).is_file():
            raise FileNotFoundError(f"external {name}: no file {file}; check the path, or take the detector out")
