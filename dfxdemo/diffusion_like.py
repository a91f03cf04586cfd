"""Diffusion-like reconstructors: a photograph is partly noised, then denoised step by step.

The reconstruction idea of DRCT (Chen et al., ICML 2024) and B-Free (Guillaro et al., CVPR 2025)
at small scale. With an angle t, x_t = cos(t) x_0 + sin(t) n; the flow model mixes linearly. The
architectures differ by what the network predicts, by the sampler and by the network itself; the
latent one works on the code of its own autoencoder, whose decoder is GAN-like.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfxdemo.gan_like import GanLike, StripConv2d, upsample

SETTINGS = {
    "dmlike_epsilon_ddim": {"predicts": "epsilon", "sampler": "ddim", "upsampling": "nearest"},
    "dmlike_epsilon_ancestral": {
        "predicts": "epsilon", "sampler": "ancestral", "upsampling": "bilinear",
    },
    "dmlike_velocity_ddim": {
        "predicts": "velocity", "sampler": "ddim", "upsampling": "transposed42",
    },
    "dmlike_latent_ddim": {
        "predicts": "epsilon", "sampler": "ddim", "upsampling": "pixelshuffle", "latent": True,
        "start": (0.15, 0.35),
    },
    "dmlike_flow_euler": {"predicts": "flow", "sampler": "euler", "upsampling": "pixelshuffle"},
}  # fmt: skip

STEPS = 5

END = 0.005  # noise that is left in the end, about 0.6 grey levels

LEAST = 0.012  # least time in training


class Denoiser(nn.Module):
    """U-net of one stage with the time as input; predicts epsilon, the velocity or the flow."""

    def __init__(self, *, channels: int, upsampling: str, width: int = 12) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(2, 32), nn.SiLU(), nn.Linear(32, 5 * width))
        self.first = StripConv2d(channels, width, 3, padding=1)
        self.down = StripConv2d(width, 2 * width, 4, stride=2, padding=1)
        self.middle = nn.ModuleList(StripConv2d(2 * width, 2 * width, 3, padding=1) for _ in "123")
        self.up = upsample(upsampling, 2 * width, width)
        self.last = StripConv2d(width, channels, 3, padding=1)

    def forward(self, noisy: Tensor, time: Tensor) -> Tensor:  # [B, C, H, W], [B] -> [B, C, H, W]
        width = self.first.out_channels
        embedded = self.time(torch.stack([time.log() / 2 + 1, 4 * time], dim=1))
        bias = embedded[:, :, None, None].split((width, 2 * width, 2 * width), dim=1)
        fine = F.silu(self.first(noisy) + bias[0])
        x = F.silu(self.down(fine) + bias[1])
        for layer in self.middle:
            x = x + F.silu(layer(x) + bias[2])
        return self.last(F.silu(self.up(x)) + fine)


class DiffusionLike(nn.Module):
    """Partial noising and denoising of photographs, on pixels or on a code of its own."""

    def __init__(
        self,
        *,
        predicts: str,
        sampler: str,
        upsampling: str,
        latent: bool = False,
        start: tuple[float, float] = (0.06, 0.15),  # where denoising starts, drawn per image
    ) -> None:
        super().__init__()
        self.predicts, self.sampler, self.start = predicts, sampler, start
        self.autoencoder = GanLike(upsampling=upsampling) if latent else None
        self.denoiser = Denoiser(
            channels=32 if latent else 3,
            upsampling="nearest" if latent else upsampling,
            width=20 if latent else 12,
        )
        # noise of the photograph's level, coloured by a learned filter: modelled after the camera
        self.grain = StripConv2d(3, 3, 3, padding=1, bias=False)
        self.register_buffer("spread", torch.ones(1))  # standard deviation of the latent code

    def coefficients(self, time: Tensor) -> tuple[Tensor, Tensor]:  # [B] -> signal, noise
        """Shares of signal and noise at a time, shaped to multiply [B, C, H, W]."""
        time = time[:, None, None, None]
        return (1 - time, time) if self.predicts == "flow" else (time.cos(), time.sin())

    def target(self, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """What the network learns to predict."""
        if self.predicts == "epsilon":
            return noise
        if self.predicts == "flow":
            return noise - clean
        signal, amount = self.coefficients(time)
        return signal * noise - amount * clean

    def split(self, noisy: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """The clean image and the noise that the network sees in a noisy one."""
        said = self.denoiser(noisy, time)
        signal, amount = self.coefficients(time)
        if self.predicts == "epsilon":
            return (noisy - amount * said) / signal, said
        if self.predicts == "flow":
            return noisy - amount * said, noisy + signal * said
        return signal * noisy - amount * said, amount * noisy + signal * said

    def sample(
        self,
        clean: Tensor,  # [B, C, H, W]
        start: Tensor,  # [B] times
        noise: Tensor,  # [STEPS + 1, B, C, H, W] standard normal
    ) -> Tensor:  # [B, C, H, W]
        """Noise up to `start`, then STEPS steps of denoising down to END, then the clean part."""
        signal, amount = self.coefficients(start)
        x = signal * clean + amount * noise[0]
        for step in range(STEPS):
            now, after = (start * (END / start) ** ((step + further) / STEPS) for further in (0, 1))
            guess, seen = self.split(x, now)
            signal, amount = self.coefficients(after)
            if self.sampler == "ancestral":
                # the variance of the DDPM posterior: part of the seen noise is drawn anew
                fresh = (1 - (after / now)[:, None, None, None] ** 2).sqrt()
                seen = (1 - fresh**2).sqrt() * seen + fresh * noise[step + 1]
            x = signal * guess + amount * seen
        return x

    def forward(
        self,
        photos: Tensor,  # [B, 3, H, W] in -1..1
        grain: Tensor,  # [B, 3, H, W] standard normal times the photograph's noise level
        *,
        start: Tensor,  # [B] in 0..1, where in self.start the denoising begins
        noise: Tensor,  # [STEPS + 1, B, C, h, w], shape by `noise_shape`
    ) -> Tensor:  # [B, 3, H, W]
        start = self.start[0] + (self.start[1] - self.start[0]) * start
        if self.autoencoder is None:
            return self.sample(photos, start, noise) + self.grain(grain)
        code = self.autoencoder.encode(photos) / self.spread
        code = self.sample(code, start, noise) * self.spread
        return self.autoencoder.decode(code, grain) + self.grain(grain)

    def noise_shape(self, size: int) -> tuple[int, int, int, int]:
        """[STEPS + 1, C, h, w] of the noise that one photograph of this size needs."""
        if self.autoencoder is None:
            return STEPS + 1, 3, size, size
        return STEPS + 1, 32, size // 2, size // 2
