"""How training reads its examples: as they are, augmented anew in every epoch, or from stored copies.

Each reader is a pure function of (seed, epoch, row), so that a run which was killed and started
again sees the same pictures as an undisturbed one, whatever the batches and threads.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import numpy as np
from PIL import Image, ImageFilter

from dfxlib.data.perturb import jpeg
from dfxlib.names import require_name
from dfxlib.system.parallel import usable_cores

_PROBABILITY = 0.5  # of blur, and of JPEG, each by itself

_LARGEST_SIGMA = 3.0  # pixels

_QUALITIES = (30, 100)

_SUBSAMPLINGS = ("4:4:4", "4:2:0")


def plain(
    array: np.ndarray,  # [N, ...]
    rows: np.ndarray,  # [B] positions in `array`
    *,
    seed: int,
    epoch: int,
) -> np.ndarray:  # [B, ...]
    """The examples as they are."""
    return array[rows]


def jpeg_blur(
    array: np.ndarray,  # [N, S, S, 3] uint8
    rows: np.ndarray,  # [B] positions in `array`
    *,
    seed: int,
    epoch: int,
) -> np.ndarray:  # [B, S, S, 3] uint8
    """Blur and JPEG, each with probability 0.5 (Wang et al., CVPR 2020, "Blur+JPEG (0.5)").

    Gaussian blur with sigma uniform in 0 to 3 pixels, then JPEG with quality uniform in 30 to
    100; chroma subsampling, which they leave to their encoders, is drawn too. They augment the
    picture before it is cropped; ours is the stored square, so that nothing is decoded twice.
    """
    draw = partial(_jpeg_blur_one, seed=seed, epoch=epoch)
    return np.stack(list(_threads().map(draw, array[rows], rows.tolist())))


def dihedral(
    array: np.ndarray,  # [N, S, S, 3] uint8
    rows: np.ndarray,  # [B] positions in `array`
    *,
    seed: int,
    epoch: int,
) -> np.ndarray:  # [B, S, S, 3] uint8
    """Mirrored and turned by quarters: in any eight epochs in a row each picture takes each of its eight poses once.

    No pixel value changes, so a trace keeps its strength, while content is eight times as varied
    (a departure from the paper, which does not augment).
    """
    return np.stack([_pose(array[row], _poses(seed, row)[epoch % 8]) for row in rows.tolist()])


def stored_copy(
    array: np.ndarray,  # [K, N, ...] features of K augmented copies of N images
    rows: np.ndarray,  # [B] positions among the N
    *,
    seed: int,
    epoch: int,
) -> np.ndarray:  # [B, ...]
    """One of the K copies of each image, drawn anew in every epoch."""
    stored, images = array.shape[:2]
    copies = np.random.default_rng([seed, epoch, 1]).integers(stored, size=(images,))
    return array[copies[rows], rows]


#: Readers of training pictures by the name of the augmentation.
AUGMENTATIONS = {"none": plain, "jpeg_blur": jpeg_blur, "dihedral": dihedral}


def reader(augment: str, *, crop_size: int = 0) -> Callable[..., np.ndarray]:
    """How training reads pictures: augmented, and with a `crop_size` [pixels] a part of that side, drawn at random."""
    augmented = AUGMENTATIONS[require_name(augment, tuple(AUGMENTATIONS), what="augment")]
    return partial(random_crops, augmented=augmented, side=crop_size) if crop_size else augmented


def random_crops(
    array: np.ndarray,  # [N, S, S, 3] uint8
    rows: np.ndarray,  # [B] positions in `array`
    *,
    seed: int,
    epoch: int,
    augmented: Callable[..., np.ndarray],  # a reader of whole squares
    side: int,  # pixels
) -> np.ndarray:  # [B, side, side, 3] uint8
    """A part of each augmented square, at a place of its own in every epoch."""
    squares, parts = augmented(array, rows, seed=seed, epoch=epoch), []
    for square, row in zip(squares, rows.tolist(), strict=True):
        top, left = np.random.default_rng([seed, epoch, row, 2]).integers(len(square) - side, size=2, endpoint=True)
        parts.append(square[top : top + side, left : left + side])
    return np.stack(parts)


def _poses(seed: int, row: int) -> np.ndarray:  # [8] the order in which a picture takes its poses
    return np.random.default_rng([seed, row]).permutation(8)


def _pose(square: np.ndarray, pose: int) -> np.ndarray:  # [S, S, 3]
    """One of the eight symmetries of a square; pose 0 is the picture as it is."""
    return np.rot90(square[:, ::-1] if pose >= 4 else square, pose % 4)


def _jpeg_blur_one(square: np.ndarray, row: int, *, seed: int, epoch: int) -> np.ndarray:
    random = np.random.default_rng([seed, epoch, row])
    # Every number is drawn whether it is used or not, so that each has its distribution by itself.
    blurred, compressed = random.random(2) < _PROBABILITY
    sigma = random.uniform(0, _LARGEST_SIGMA)
    quality = int(random.integers(_QUALITIES[0], _QUALITIES[1], endpoint=True))
    subsampling = _SUBSAMPLINGS[random.integers(len(_SUBSAMPLINGS))]
    image = Image.fromarray(square)
    if blurred:
        image = image.filter(ImageFilter.GaussianBlur(sigma))
    if compressed:
        image = jpeg(image, quality=quality, subsampling=subsampling)
    return np.asarray(image)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(usable_cores())
