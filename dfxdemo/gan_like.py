"""GAN-like reconstructors: small encoder-decoders trained adversarially on photographs.

After the simulator of Zhang, Karaman and Chang (AutoGAN, WIFS 2019): what a GAN leaves in an
image comes mostly from its upsampling, so a network that only reconstructs a photograph leaves
the same kind of trace. The architectures differ by upsampling, by adversarial loss and by depth.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SETTINGS = {
    "ganlike_transposed42_lsgan": {"upsampling": "transposed42", "loss": "lsgan"},
    "ganlike_transposed32_hinge": {"upsampling": "transposed32", "loss": "hinge"},
    "ganlike_nearest_lsgan": {"upsampling": "nearest", "loss": "lsgan"},
    "ganlike_bilinear_hinge": {"upsampling": "bilinear", "loss": "hinge"},
    "ganlike_twostage_nonsaturating": {
        "upsampling": "nearest", "loss": "nonsaturating", "stages": 2, "width": 20,
    },
    "ganlike_pixelshuffle_lsgan": {"upsampling": "pixelshuffle", "loss": "lsgan"},
}  # fmt: skip


class StripConv2d(nn.Conv2d):
    """A convolution that works, in double precision, on four rows of its output at a time.

    torch unfolds its input to do so, and four rows of that stay in the processor's cache: the same
    sums in half the time or less. Training is in single precision, where torch has better means.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.float64:
            return super().forward(x)
        kernel, stride, rows = self.kernel_size[0], self.stride[0], 4
        padded = F.pad(x, 4 * (self.padding[0],))
        height = (padded.shape[2] - kernel) // stride + 1
        strips = []
        for top in range(0, height, rows):
            last = min(top + rows, height) - 1
            strip = padded[:, :, top * stride : last * stride + kernel]
            strips.append(F.conv2d(strip, self.weight, self.bias, self.stride))
        return torch.cat(strips, dim=2)


def upsample(kind: str, inputs: int, outputs: int) -> nn.Module:
    """Twice the size, [B, inputs, H, W] -> [B, outputs, 2 H, 2 W], in one of five ways."""
    if kind == "transposed42":
        return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
    if kind == "transposed32":
        return nn.ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
    if kind == "pixelshuffle":
        return nn.Sequential(StripConv2d(inputs, 4 * outputs, 3, padding=1), nn.PixelShuffle(2))
    smooth = {"align_corners": False} if kind == "bilinear" else {}
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode=kind, **smooth),
        StripConv2d(inputs, outputs, 3, padding=1),
    )


class GanLike(nn.Module):
    """Photograph and noise in, reconstruction out; no skip connection, so all is upsampled."""

    def __init__(self, *, upsampling: str, loss: str = "lsgan", stages: int = 1, width: int = 16) -> None:
        super().__init__()
        self.loss = loss
        widths = [width * 2**stage for stage in range(stages)] + [width * 2 + 8 * (stages - 1)]
        self.first = StripConv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(StripConv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        self.middle = nn.ModuleList(StripConv2d(widths[-1], widths[-1], 3, padding=1) for _ in "12")
        self.up = nn.ModuleList(upsample(upsampling, b, a) for a, b in reversed(list(pairwise(widths))))
        self.last = StripConv2d(width, 3, 3, padding=1)
        self.noise = nn.Parameter(0.1 * torch.ones(width))

    def forward(
        self,
        photos: Tensor,  # [B, 3, H, W] in -1..1
        noise: Tensor,  # [B, 3, H, W] standard normal times the photograph's noise level
    ) -> Tensor:  # [B, 3, H, W]
        return self.decode(self.encode(photos), noise)

    def encode(self, photos: Tensor) -> Tensor:  # [B, 3, H, W] -> [B, C, H/2, W/2] (one stage)
        x = F.leaky_relu(self.first(photos), 0.2)
        for layer in self.down[:-1]:
            x = F.leaky_relu(layer(x), 0.2)
        return self.down[-1](x)

    def decode(self, code: Tensor, noise: Tensor) -> Tensor:  # -> [B, 3, H, W]
        x = F.leaky_relu(code, 0.2)
        for layer in self.middle:
            x = x + F.leaky_relu(layer(x), 0.2)
        for layer in self.up:
            x = F.leaky_relu(layer(x), 0.2)
        # every channel gets noise: its own multiple of one of the three maps
        maps = noise[:, torch.arange(x.shape[1], device=x.device) % 3]
        return self.last(x + self.noise[:, None, None] * maps)
