"""Near copies of a picture: re-encoded, slightly resized or mirrored; recognised on small grey pictures.

Signs of low frequencies propose pairs, and the pixels of the small pictures decide. Every number here is exact in
float64, so that every machine finds the same sets.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dfxlib.data.decode import THUMBNAIL

#: Bits of the 63 in which the hashes of near copies may differ. Measured on photographs and outputs of GANs and
#: diffusion models of 32 and 128 px: JPEG 75 and a resize to 75% followed by JPEG 90 change at most four.
NEAR = 4

#: Largest root mean square difference of near copies, as a share of their detail; the same changes made at most 0.16.
TOLERANCE = 0.2

#: Least detail of a picture that can be recognised, in grey levels: what is left of the small picture without the
#: means of its rows and columns. A sky has none, whatever its gradient, nor has a horizon.
LEAST_DETAIL = 2.0

#: Bits of a hash that turn when the picture is mirrored: those of odd horizontal frequencies.
MIRRORED = np.uint64(0x5555555555555555)

_PIXELS = THUMBNAIL**2

_BLOCK = 20_000  # pictures, or pairs, that are worked on at once

# Rows of the discrete cosine transform as whole numbers: sums of their products with grey levels are exact.
_COSINES = np.rint(128 * np.cos(np.pi * np.outer(np.arange(8), 2 * np.arange(THUMBNAIL) + 1) / (2 * THUMBNAIL)))


def stack_thumbnails(thumbnails: pd.Series) -> np.ndarray:  # [N, THUMBNAIL, THUMBNAIL] uint8
    """The column `thumbnail` of facts as one array; files without a picture are black, and so like nothing."""
    joined = "".join(digits or "00" * _PIXELS for digits in thumbnails)
    return np.frombuffer(bytes.fromhex(joined), dtype=np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL)


def copy_sets(thumbnails: np.ndarray) -> np.ndarray:  # [N, THUMBNAIL, THUMBNAIL] uint8 -> [N] number of the set
    """Sets of near copies; -1 where a picture has too little detail to be recognised.

    Two pictures are near copies where their hashes, or that of one and of the other's mirror image, differ in at most
    NEAR bits, and their small pictures by at most TOLERANCE of the lesser detail. Single linkage: a chain of near
    copies is one set. The order of the pictures changes no set.
    """
    values, row = np.unique(thumbnails.reshape(-1, _PIXELS).view(f"V{_PIXELS}").ravel(), return_inverse=True)
    small = values.view(np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL)
    detail = np.concatenate([_squared_detail(block) for block in _blocks(small)])
    known = np.flatnonzero(detail >= _PIXELS * LEAST_DETAIL**2)
    small, detail = small[known], detail[known]
    sets, waiting, count = np.arange(len(known)), [np.empty((2, 0), dtype=np.int64)], 0
    for pair in close_pairs(perceptual_hashes(small), distance=NEAR):
        pair = pair[:, sets[pair[0]] != sets[pair[1]]]
        waiting.append(pair[:, _agree(small, detail, *pair)])
        count += waiting[-1].shape[1]
        if count > _BLOCK:  # what is joined already need not be compared: a crowd of copies stays cheap
            sets, waiting, count = _join(sets, waiting), waiting[:1], 0
    found = np.full(len(values), -1)
    found[known] = _join(sets, waiting)
    return found[row.ravel()]


def perceptual_hashes(thumbnails: np.ndarray) -> np.ndarray:  # [N, THUMBNAIL, THUMBNAIL] uint8 -> [N] uint64
    """Signs of the 8 x 8 lowest frequencies but the mean, row by row. Mirroring flips MIRRORED and nothing else."""
    bits = [(_COSINES @ block @ _COSINES.T).reshape(-1, 64) > 0 for block in _blocks(thumbnails)]
    signs = np.concatenate(bits)
    signs[:, 0] = False
    return np.packbits(signs, axis=1).view(">u8").ravel().astype(np.uint64)


def close_pairs(
    hashes: np.ndarray,  # [N] uint64
    *,
    distance: int,  # bits
) -> Iterator[np.ndarray]:  # [2, P] positions; a pair may come once for each band
    """All pairs that differ in at most `distance` bits, directly or mirrored, without comparing all pairs.

    Of distance + 1 bands of bits at least one agrees in such a pair (multi-index hashing, Norouzi
    and others, CVPR 2012), so only neighbours in the order of some band are compared. A band and its
    mirror image count as one.
    """
    for band in range(distance + 1):
        # every (distance + 1)-th bit: neighbouring bits are neighbouring frequencies and depend on each other
        mask = np.uint64(sum(1 << bit for bit in range(band, 64, distance + 1)))
        key = np.minimum(hashes & mask, (hashes ^ MIRRORED) & mask)
        order = np.argsort(key, kind="stable")
        key = key[order]
        live, step = np.arange(len(order)), 0  # places whose next `step` neighbours all agree in the band
        while len(live):
            step += 1
            live = live[live + step < len(order)]
            live = live[key[live] == key[live + step]]
            first, second = order[live], order[live + step]
            differ = hashes[first] ^ hashes[second]
            near = np.minimum(np.bitwise_count(differ), np.bitwise_count(differ ^ MIRRORED)) <= distance
            yield np.stack([first[near], second[near]])


def _agree(small: np.ndarray, detail: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:  # [P] bool
    """Whether the pixels of pairs, or of one and of the other's mirror image, differ little beside their detail."""
    found = []
    for one, other in zip(_blocks(first), _blocks(second)):
        left, right = small[one].astype(np.int32), small[other].astype(np.int32)
        squares = [((left - each) ** 2).sum(axis=(1, 2)) for each in (right, right[:, :, ::-1])]
        found.append(np.minimum(*squares) <= TOLERANCE**2 * np.minimum(detail[one], detail[other]))
    return np.concatenate(found)


def _squared_detail(small: np.ndarray) -> np.ndarray:  # [N, 16, 16] -> [N], summed over the pixels
    grey = small.astype(np.float64)
    rows, columns = grey.sum(axis=2), grey.sum(axis=1)
    means = ((rows**2).sum(axis=1) + (columns**2).sum(axis=1)) / THUMBNAIL - rows.sum(axis=1) ** 2 / _PIXELS
    return (grey**2).sum(axis=(1, 2)) - means


def _join(sets: np.ndarray, pairs: list[np.ndarray]) -> np.ndarray:  # [N] -> [N]
    first, second = sets[np.concatenate(pairs, axis=1)]
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(len(sets), len(sets)))
    return connected_components(graph, directed=False)[1][sets]


def _blocks(values: np.ndarray) -> list[np.ndarray]:  # along the first axis; one block at least
    return np.array_split(values, len(values) // _BLOCK + 1)
