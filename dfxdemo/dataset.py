"""The embedded demonstration set: real, GAN-like and diffusion-like images made on the spot.

`render_demo` writes it; nothing is downloaded. Photographs of procedural scenes by simulated
cameras stand for reality, small trained networks that reconstruct such photographs stand for
generators, and one common delivery (rescale, noise, JPEG) for what happens to images on their
way. Numbers on this set show the method at work and say nothing about detection in the wild.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from dfxdemo.design import ARCHITECTURES, shown_by
from dfxlib.system.parallel import map_processes

VERSION = 2  # raise it when code changes what is rendered

MARKER, UNFINISHED = "demo.json", "demo.unfinished.json"

CHUNK = 20  # scenes that a worker renders at a time


#: Seed of the scenes that a study shows. Those of 0 to 2 served to choose generators and recipe.
SEED = 3


def render_demo(root: Path | str, *, scenes: int, seed: int = SEED, workers: int | None = None) -> None:
    """Write root/<nature>/<architecture>/scene000123.png: 64 x 64 RGB, three files a scene.

    Scene numbers stand for content: each scene is shown once by an architecture of each nature.
    Every fifth scene belongs to the unseen architectures, so that these share no scene with any
    other. Images depend on (seed, scene, architecture) alone: fewer scenes give a subset, workers
    change nothing. A finished set with the same settings is kept as it is; a torn one or one with
    other settings is completed or replaced. `workers` defaults to the cores of this process.
    Raises ValueError where `root` holds files that are not of a demonstration set.
    """
    root = Path(root)
    if scenes < 1 or seed < 0:
        raise ValueError(f"scenes is {scenes} and seed {seed}; expected at least 1 and 0")
    settings = _settings(seed)
    expected = expected_files(scenes)
    found = _own_files(root)
    marker = _read(root / MARKER)
    if marker == {**settings, "scenes": scenes, **_census(root, found)} and found == set(expected):
        return
    root.mkdir(parents=True, exist_ok=True)
    same = {**settings}.items() <= (marker or _read(root / UNFINISHED) or {}).items()
    (root / MARKER).unlink(missing_ok=True)
    _write(root / UNFINISHED, settings)  # says whose files these are if we die here
    for name in sorted(found):
        if not same or name not in expected or not _is_whole(root / name):
            (root / name).unlink()
    missing = [scene for name, scene in expected.items() if not (root / name).exists()]
    if missing:
        _render(root, sorted(set(missing)), seed=seed, workers=workers)
    _write(root / MARKER, {**settings, "scenes": scenes, **_census(root, set(expected))})
    (root / UNFINISHED).unlink()


def expected_files(scenes: int) -> dict[str, int]:  # path relative to the root -> scene
    """All files of a set, with forward slashes."""
    return {
        f"{nature}/{architecture}/scene{scene:06d}.png": scene
        for scene in range(scenes)
        for nature, architecture in shown_by(scene).items()
    }


def _settings(seed: int) -> dict:
    from dfxdemo.reconstruct import weights_digest

    return {"demo": "dfxlib", "version": VERSION, "weights": weights_digest(), "seed": seed}


def _own_files(root: Path) -> set[str]:
    """The images of any demonstration set under root; ValueError if there is anything else."""
    if root.exists() and not root.is_dir():
        raise ValueError(f"{root} is a file, expected a folder for the demonstration set")
    pattern = re.compile("(" + "|".join(f"{n}/{a}" for a, n in ARCHITECTURES.items()) + r")/scene\d{6}\.png")
    own, torn = set(), []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            relative = (Path(folder) / name).relative_to(root).as_posix()
            if pattern.fullmatch(relative):
                own.add(relative)
            elif pattern.fullmatch(relative.removesuffix(".partial")):
                torn.append(root / relative)  # ours, from a run that died while writing
            elif relative not in (MARKER, UNFINISHED) and not name.startswith("."):
                raise ValueError(
                    f"{root} holds {relative}, which is not of a demonstration set; give an empty or a new folder"
                )
    if own and not any((root / name).exists() for name in (MARKER, UNFINISHED)):
        raise ValueError(
            f"{root} holds images but no {MARKER}, so they may not be of a demonstration set; "
            "give an empty or a new folder"
        )
    for path in torn:
        path.unlink()
    return own


def _census(root: Path, names: set[str]) -> dict:
    """Number and total size of files: enough to notice one that was lost or cut."""
    return {"files": len(names), "bytes": sum((root / name).stat().st_size for name in names)}


def _is_whole(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError):  # Pillow raises either for a damaged PNG
        return False
    return image.size == (64, 64) and image.mode == "RGB"


def _read(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _write(path: Path, content: dict) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(partial, path)


def _render(root: Path, scenes: list[int], *, seed: int, workers: int | None) -> None:
    """Render scenes in chunks over processes; bars and batch logs as everywhere in the study."""
    from dfxdemo.render import render_chunk

    jobs = [(root, scenes[start : start + CHUNK], seed) for start in range(0, len(scenes), CHUNK)]
    for _ in map_processes(render_chunk, jobs, workers=workers, chunk=1, label="demo scenes"):
        pass
