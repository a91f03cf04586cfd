"""Why a verdict came out: votes of the base models, sensitivity to pixels, and what random weights make of it."""

import copy

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from dfxlib.models.networks import CPU, DeepFeatureXNet
from dfxlib.training.fit import to_input

_ALIKE = 0.5  # rank correlation above which a map counts as the same


def sensitivity_maps(model: DeepFeatureXNet, images: Tensor) -> np.ndarray:  # [B, 3, S, S] uint8 -> [B, 3, S, S]
    """Size of the gradient of each nature's logit by the pixels, through that nature's base model alone.

    One map a nature, in logits a grey level: the largest of the three channels (Simonyan,
    Vedaldi and Zisserman, ICLR workshop 2014). The other two base models' features are held
    fixed. A map says where a small change would move the logit, not what is wrong there.
    """
    fixed, maps = model.features(images), []  # [B, 3, D]
    for nature, base in enumerate(model.each_base_model()):
        pixels = images.float().requires_grad_()
        own = base.crop_features(pixels).flatten(1)[:, None]  # [B, 1, D]
        features = torch.cat([fixed[:, :nature], own, fixed[:, nature + 1 :]], dim=1)  # [B, 3, D]
        (gradient,) = torch.autograd.grad(model.head(features)[:, nature].sum(), pixels)  # [B, 3, S, S]
        maps.append(gradient.abs().amax(dim=1))
    return torch.stack(maps, dim=1).cpu().numpy()


def randomised(model: DeepFeatureXNet, *, seed: int = 0) -> DeepFeatureXNet:
    """The same network with the entries of each weight tensor shuffled: it has learned nothing.

    Maps that look the same for it show the picture's edges and not the model (Adebayo et al.,
    NeurIPS 2018).
    """
    ignorant, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    for tensor in ignorant.parameters():
        order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
        tensor.data = tensor.data.flatten()[order].view_as(tensor)
    return ignorant


def smooth(maps: np.ndarray) -> np.ndarray:  # [..., S, S] -> [..., S, S]
    """Maps as they are shown: averaged over a thirty-second of the side, since single pixels mean little."""
    radius = max(1.0, maps.shape[-1] / 32)
    return gaussian_filter(maps, sigma=radius, axes=(-2, -1))


def agreement(maps: np.ndarray, others: np.ndarray) -> np.ndarray:  # [B, K, S, S] twice -> [B, K]
    """Rank correlation of maps with others, pixel by pixel: 1 means the same map, 0 nothing in common."""
    found = np.empty(maps.shape[:2])
    for place in np.ndindex(found.shape):
        found[place] = spearmanr(maps[place], others[place], axis=None).statistic
    return found


def learned(alike: np.ndarray) -> np.ndarray:  # [B, K] from `agreement`, with maps of shuffled weights -> [B, K] bool
    """Which maps show more than the picture: those unlike the maps of shuffled weights; a flat map shows nothing."""
    return np.isfinite(alike) & (alike <= _ALIKE)


def judge(alike: np.ndarray) -> str:  # [B, K] from `agreement`, with maps of shuffled weights
    """How many maps are not shown, and why, as a sentence."""
    left_out = f"{alike.size - int(learned(alike).sum())} of {alike.size} maps are not shown"
    return f"{left_out}: what looks like maps of shuffled weights, or is flat, shows the picture, not what was learned."


@torch.no_grad()
def votes(model: DeepFeatureXNet, images: Tensor) -> np.ndarray:  # [B, 3, S, S] uint8 -> [B, 3]
    """What each base model says by itself: its probability of its own nature, uncalibrated.

    Undefined (NaN) for a reference checkpoint, whose base models come without their last layer.
    """
    said = []
    for base in model.each_base_model():
        p = torch.softmax(base(images), dim=1)[:, 1]
        said.append(p if base.classifier.weight.any() else torch.full_like(p, torch.nan))
    return torch.stack(said, dim=1).cpu().numpy()


def nearest(
    model: DeepFeatureXNet,
    squares: np.ndarray,  # [N, S, S, 3] uint8
    known: np.ndarray,  # [M, S, S, 3] uint8, training images
    *,
    count: int = 5,
    device: torch.device = CPU,
) -> np.ndarray:  # [N, at most count] positions in `known`, the nearest first
    """The known images whose features are most like each picture's, by cosine distance."""

    def features(images: np.ndarray) -> np.ndarray:  # [n, 3 * D]
        parts = to_input(images, device).split(32)
        return np.concatenate([model.features(part).flatten(1).cpu().numpy() for part in parts])

    neighbours = NearestNeighbors(n_neighbors=min(count, len(known)), metric="cosine").fit(features(known))
    return neighbours.kneighbors(features(squares), return_distance=False)
