"""One chunk of scenes from light to files; the work of one process."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dfxdemo.cameras import CAMERAS, photograph
from dfxdemo.delivery import deliver
from dfxdemo.design import ARCHITECTURES, shown_by
from dfxdemo.reconstruct import reconstruct
from dfxdemo.scenes import random_stream, render_scene

Job = tuple[Path, list[int], int]  # root, scenes, seed


def render_chunk(job: Job) -> int:
    """Render the three images of each scene and write them; returns the number of scenes."""
    root, scenes, seed = job
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the pool has a process per core; sums keep one order
    try:
        for (nature, architecture, scene), pixels in undelivered(scenes, seed=seed).items():
            delivery = random_stream("study", seed, scene, f"{architecture} delivery")
            path = root / nature / architecture / f"scene{scene:06d}.png"
            write_png(path, deliver(pixels, delivery))
    finally:
        torch.set_num_threads(threads)
    return len(scenes)


def undelivered(
    scenes: list[int],
    *,
    seed: int,
    architectures: tuple[str, ...] = (),  # that show every scene; none: those of `shown_by`
) -> dict[tuple[str, str, int], np.ndarray]:  # (nature, architecture, scene) -> [76, 76, 3]
    """Photographs and reconstructions before delivery, where their traces are clean."""
    images, work = {}, {}
    for scene in scenes:
        light = render_scene(random_stream("study", seed, scene, "scene"))
        for architecture in architectures or shown_by(scene).values():
            nature = ARCHITECTURES[architecture]
            stream = random_stream("study", seed, scene, architecture)
            # any camera may have taken what a generator reconstructs, unseen ones included
            camera = architecture
            if nature != "real":
                camera = str(stream.choice(list(CAMERAS)))
            photo, level = photograph(light, stream, **CAMERAS[camera])
            images[nature, architecture, scene] = photo
            if nature != "real":
                work.setdefault((nature, architecture), []).append((scene, photo, level, stream))
    for (nature, architecture), items in work.items():
        numbers, photos, levels, streams = (list(column) for column in zip(*items, strict=True))
        made = reconstruct(architecture, photos, levels, streams)
        for scene, pixels in zip(numbers, made, strict=True):
            images[nature, architecture, scene] = pixels
    return images


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    Image.fromarray(pixels).save(partial, "PNG")
    os.replace(partial, path)
