"""Train the generators of the demonstration set, once; their weights are kept in `dfxdemo/weights/`.

    python tools/train_demo_generators.py   # all, about 20 minutes on one core
    python tools/train_demo_generators.py --only dmlike_flow_euler --effort 0.1

Scenes come from the seeds of the purpose "training", which the study's scenes never use. The log
beside this file says what was reached. Training is seeded, but its last digits depend on the
machine: the weights are the reference, not this script's output elsewhere.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from dfxdemo import diffusion_like, gan_like
from dfxdemo.cameras import CAMERAS, photograph
from dfxdemo.reconstruct import WEIGHTS, build
from dfxdemo.scenes import random_stream, render_scene

LOG = Path(__file__).with_name("training_log.csv")

COLUMNS = ("architecture", "phase", "step", "seconds", "content", "spread", "adversarial",
           "critic", "denoising")  # fmt: skip

CROP, BATCH = 40, 16

CONTENT, ADVERSARIAL = 20.0, 0.3  # weights of the reconstructors' losses

# GAN-like networks stop early on purpose: after 900 steps their traces were so faint that the
# spectrum baseline fell to 0.52 after delivery (bounds: 0.60 to 0.90); content is as sharp.
GAN_RUN = {"steps": 260, "spread_weight": 1.0, "critic_width": 24}

AUTOENCODER_RUN = {"steps": 900, "spread_weight": 2.0, "critic_width": 16}

DENOISER_STEPS, GRAIN_STEPS = 1600, 300


class Critic(nn.Module):
    """Patch discriminator on the image and its high-pass residual; used in training only."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(6, width, 3, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 3, padding=1),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:  # [B, 3, H, W] -> [B, 1, H/2, W/2]
        residual = images - F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
        return self.layers(torch.cat([images, 6 * residual], dim=1))


def critic_loss(kind: str, real: Tensor, fake: Tensor) -> Tensor:
    """What the critic minimises, from its scores of photographs and of reconstructions."""
    if kind == "lsgan":
        return ((real - 1) ** 2).mean() + (fake**2).mean()
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def adversarial_loss(kind: str, fake: Tensor) -> Tensor:
    """What the reconstructor minimises, from the critic's scores of its output."""
    if kind == "lsgan":
        return ((fake - 1) ** 2).mean()
    return -fake.mean() if kind == "hinge" else F.softplus(-fake).mean()


def training_photos(scenes: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """[N, 3, 76, 76] in -1..1 and [N] noise levels: two cameras on every training scene."""
    names, photos, levels = list(CAMERAS), [], []
    for scene in tqdm(range(scenes), desc="training photographs", mininterval=5):
        light = render_scene(random_stream("training", seed, scene, "scene"))
        for turn in range(2):
            camera = names[(scene + turn * (1 + scene // 4 % 3)) % len(names)]
            rng = random_stream("training", seed, scene, camera)
            pixels, level = photograph(light, rng, **CAMERAS[camera])
            photos.append(pixels)
            levels.append(level)
    images = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return images, torch.tensor(levels, dtype=torch.float32)


def batch_of(photos: Tensor, levels: Tensor, *, crop: int = CROP) -> tuple[Tensor, Tensor]:
    """[BATCH, 3, crop, crop] crops at any offset, and noise of their photographs' level."""
    chosen = torch.randint(len(photos), (BATCH,))
    corners = torch.randint(photos.shape[-1] - crop + 1, (BATCH, 2)).tolist()
    crops = torch.stack(
        [photos[i, :, y : y + crop, x : x + crop]
         for i, (y, x) in zip(chosen.tolist(), corners, strict=True)]
    )  # fmt: skip
    return crops, torch.randn_like(crops) * levels[chosen, None, None, None]


def spreads(images: Tensor) -> Tensor:  # [B, 3, H, W] -> [B, 12] log standard deviations
    """Per image, the spread of four high-pass residuals of luma and of two colour differences."""
    red, green, blue = images.unbind(1)
    planes = torch.stack([0.3 * red + 0.6 * green + 0.1 * blue, red - green, blue - green], 1)
    across = planes[..., :, 1:] - planes[..., :, :-1]
    down = planes[..., 1:, :] - planes[..., :-1, :]
    residuals = (
        across[..., 1:] - across[..., :-1],
        down[..., 1:, :] - down[..., :-1, :],
        across[..., 1:, :] - across[..., :-1, :],
        planes - F.avg_pool2d(planes, 3, stride=1, padding=1, count_include_pad=False),
    )
    return torch.cat([(r.flatten(2).var(2) + 1e-5).log() / 2 for r in residuals], dim=1)


def floors(images: Tensor) -> Tensor:  # [B, 3, H, W] -> [B, 3] logs
    """Per image and channel, the diagonal residual where it is small: noise, hardly any edges."""
    diagonal = images[..., 1:, 1:] - images[..., :-1, 1:] - images[..., 1:, :-1]
    diagonal = diagonal + images[..., :-1, :-1]
    return (diagonal.abs() + 0.01).log().flatten(2).mean(2)


def smooth(images: Tensor) -> Tensor:
    """Averages over 3 x 3 pixels: content is held to these, so fine grain stays free."""
    return F.avg_pool2d(images, 3, stride=1)


def cosine(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=2e-5)


def train_gan_like(
    network: gan_like.GanLike,
    photos: Tensor,
    levels: Tensor,
    *,
    steps: int,
    spread_weight: float,
    critic_width: int,
    log: Callable[..., None],
) -> None:
    """Content on 3 x 3 averages, the spread of residuals, and an adversarial loss."""
    critic = Critic(critic_width)
    ours = torch.optim.Adam(network.parameters(), lr=2e-3, betas=(0.5, 0.99))
    theirs = torch.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.5, 0.99))
    schedules = cosine(ours, steps), cosine(theirs, steps)
    for step in range(steps):
        real, noise = batch_of(photos, levels)
        fake = network(real, noise)
        # the critic sees other photographs than those reconstructed, and joins after a quarter
        other, _ = batch_of(photos, levels)
        judged = critic_loss(network.loss, critic(other), critic(fake.detach()))
        theirs.zero_grad()
        judged.backward()
        theirs.step()
        content = F.l1_loss(smooth(fake), smooth(real))
        spread = F.l1_loss(spreads(fake), spreads(real))
        fooled = adversarial_loss(network.loss, critic(fake))
        weight = ADVERSARIAL if step > steps // 4 else 0.0
        ours.zero_grad()
        (CONTENT * content + spread_weight * spread + weight * fooled).backward()
        ours.step()
        for schedule in schedules:
            schedule.step()
        log(step, content=content, spread=spread, adversarial=fooled, critic=judged)


def train_denoiser(
    network: diffusion_like.DiffusionLike,
    photos: Tensor,
    levels: Tensor,
    *,
    steps: int,
    log: Callable[..., None],
) -> None:
    """Mean squared error of what the network predicts, at times up to the largest start."""
    optimizer = torch.optim.Adam(network.denoiser.parameters(), lr=2e-3)
    schedule = cosine(optimizer, steps)
    least, most = np.log(diffusion_like.LEAST), np.log(network.start[1])
    for step in range(steps):
        clean, _ = batch_of(photos, levels)
        if network.autoencoder is not None:
            with torch.no_grad():
                clean = network.autoencoder.encode(clean) / network.spread
        time_ = (least + (most - least) * torch.rand(BATCH)).exp()
        noise = torch.randn_like(clean)
        signal, amount = network.coefficients(time_)
        said = network.denoiser(signal * clean + amount * noise, time_)
        loss = F.mse_loss(said, network.target(clean, noise, time_))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        log(step, denoising=loss)


def fit_grain(
    network: diffusion_like.DiffusionLike,
    photos: Tensor,
    levels: Tensor,
    *,
    steps: int,
    log: Callable[..., None],
) -> None:
    """Fit the noise that is added last: its filter, so that residuals spread as photographs' do."""
    optimizer = torch.optim.Adam(network.grain.parameters(), lr=3e-3)
    torch.nn.init.normal_(network.grain.weight, std=0.005)
    with torch.no_grad():
        pool = []
        for _ in range(16):
            real, noise = batch_of(photos, levels)
            shape = network.noise_shape(CROP)
            drawn = torch.randn(shape[0], BATCH, *shape[1:])
            base = network(real, noise, start=torch.rand(BATCH), noise=drawn)
            pool.append((real, noise, base - network.grain(noise)))
    for step in range(steps):
        real, noise, base = pool[step % len(pool)]
        made = base + network.grain(noise)
        loss = F.l1_loss(spreads(made), spreads(real)) + F.l1_loss(floors(made), floors(real))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        log(step, spread=loss)


def train(
    architecture: str,
    photos: Tensor,
    levels: Tensor,
    *,
    effort: float,  # factor on all numbers of steps
    seed: int,
    rows: list[dict],
) -> None:
    """Train one architecture, append to `rows` what was reached, write its weights."""
    torch.manual_seed(1000 * seed + sum(map(ord, architecture)))
    network, began = build(architecture), time.monotonic()

    def logger(phase: str, total: int) -> Callable[..., None]:
        return progress(rows, architecture, phase, total=total, began=began)

    def adversarially(reconstructor: gan_like.GanLike, run: dict) -> None:
        run = {**run, "steps": round(run["steps"] * effort)}
        train_gan_like(reconstructor, photos, levels, **run, log=logger("gan", run["steps"]))

    if architecture in gan_like.SETTINGS:
        adversarially(network, GAN_RUN)
    else:
        if network.autoencoder is not None:
            adversarially(network.autoencoder, AUTOENCODER_RUN)
            with torch.no_grad():
                network.spread[:] = network.autoencoder.encode(photos[:64]).std()
        steps = round(DENOISER_STEPS * effort)
        train_denoiser(network, photos, levels, steps=steps, log=logger("denoiser", steps))
        fit_grain(network, photos, levels, steps=GRAIN_STEPS, log=logger("grain", GRAIN_STEPS))
    store(network, architecture)
    print(f"{architecture}: {time.monotonic() - began:.0f} s, {rows[-1]}", flush=True)


def progress(rows: list[dict], architecture: str, phase: str, *, total: int, began: float) -> Callable[..., None]:
    """A function that appends twenty rows of the log over a phase of `total` steps."""

    def log(step: int, **losses: Tensor) -> None:
        if (step + 1) % max(total // 20, 1) == 0:
            reached = {name: f"{value.item():.4f}" for name, value in losses.items()}
            spent = round(time.monotonic() - began)
            rows.append({"architecture": architecture, "phase": phase, "step": step + 1,
                         "seconds": spent, **reached})  # fmt: skip

    return log


def store(network: torch.nn.Module, architecture: str) -> None:
    """Write weights in half precision."""
    WEIGHTS.mkdir(exist_ok=True)
    stored = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    save_file(stored, WEIGHTS / f"{architecture}.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[*gan_like.SETTINGS, *diffusion_like.SETTINGS])
    parser.add_argument("--effort", type=float, default=1.0, help="factor on all steps")
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)  # sums in one order
    photos, levels = training_photos(args.scenes, seed=args.seed)
    kept = []
    if LOG.exists():
        with LOG.open(newline="") as file:
            kept = [row for row in csv.DictReader(file) if row["architecture"] not in args.only]
    for architecture in args.only:
        train(architecture, photos, levels, effort=args.effort, seed=args.seed, rows=kept)
        with LOG.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(kept)


if __name__ == "__main__":
    main()
