"""Near copies of a picture: re-encoded, slightly resized or mirrored; recognised on small grey pictures.

Signs of low frequencies propose pairs, and the pixels of the small pictures decide. Every number here is exact in
float64, so that every machine finds the same sets.
"""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dfxlib.data.decode import THUMBNAIL

#: Bits of the 63 in which the hashes of near copies may differ. Measured on photographs and outputs of GANs and
#: diffusion models of 32 and 128 px: JPEG 75 and a resize to 75% followed by JPEG 90 change at most four.
NEAR = 4

#: Largest root mean square difference of near copies, as a share of their detail. The same changes made at most
#: 0.17, and no two different ones of 4,438 such pictures came below 0.45 with hashes within 12 bits.
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
    sets, waiting = np.arange(len(known)), np.empty((2, 0), dtype=np.int64)
    for pair in close_pairs(perceptual_hashes(small), sets, distance=NEAR):
        pair = pair[:, sets[pair[0]] != sets[pair[1]]]
        waiting = np.concatenate([waiting, pair[:, _agree(small, detail, *pair)]], axis=1)
        if waiting.shape[1] > len(sets) // 50:
            sets[:], waiting = join_sets(sets, waiting), waiting[:, :0]
    found = np.full(len(values), -1)
    found[known] = join_sets(sets, waiting)
    return found[row.ravel()]


def perceptual_hashes(thumbnails: np.ndarray) -> np.ndarray:  # [N, THUMBNAIL, THUMBNAIL] uint8 -> [N] uint64
    """Signs of the 8 x 8 lowest frequencies but the mean, row by row. Mirroring flips MIRRORED and nothing else."""
    bits = [(_COSINES @ block @ _COSINES.T).reshape(-1, 64) > 0 for block in _blocks(thumbnails)]
    signs = np.concatenate(bits)
    signs[:, 0] = False
    return np.packbits(signs, axis=1).view(">u8").ravel().astype(np.uint64)


def close_pairs(hashes: np.ndarray, sets: np.ndarray, *, distance: int) -> Iterator[np.ndarray]:  # [2, P] positions
    """All pairs of different sets whose hashes differ in at most `distance` bits, directly or mirrored.

    `hashes` [N] are uint64, `sets` [N] numbers of sets: the caller may join sets meanwhile, in this array. A pair may
    come several times.

    Of distance + 1 bands of bits at least one agrees in such a pair (multi-index hashing, Norouzi
    and others, CVPR 2012), so only neighbours in the order of some band are compared, not all with all. A band
    and its mirror image count as one. The nearest neighbours come first: a crowd of copies that the caller joins by
    them is not compared in full.
    """
    for most, band in product((1, len(hashes)), range(distance + 1)):
        # every (distance + 1)-th bit: neighbouring bits are neighbouring frequencies and depend on each other
        mask = np.uint64(sum(1 << bit for bit in range(band, 64, distance + 1)))
        key = np.minimum(hashes & mask, (hashes ^ MIRRORED) & mask)
        order = np.lexsort((sets, key))
        key, own, bits = key[order], sets[order], hashes[order]
        ends = np.flatnonzero(np.append((key[1:] != key[:-1]) | (own[1:] != own[:-1]), True)) + 1
        after = np.repeat(ends, np.diff(ends, prepend=0))  # [N] the first place behind those of the same set and band
        live = np.arange(len(order))  # places whose neighbours so far all agree in the band
        for step in range(most):
            live = live[after[live] + step < len(order)]
            live = live[key[live] == key[after[live] + step]]
            if len(live) == 0:
                break
            differ = bits[live] ^ bits[after[live] + step]
            near = live[np.minimum(np.bitwise_count(differ), np.bitwise_count(differ ^ MIRRORED)) <= distance]
            yield np.stack([order[near], order[after[near] + step]])


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
    rows, columns = grey.mean(axis=2, keepdims=True), grey.mean(axis=1, keepdims=True)
    return ((grey - rows - columns + rows.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2))


def join_sets(sets: np.ndarray, pairs: np.ndarray) -> np.ndarray:  # [N], [2, P] positions -> [N]
    """Numbers of sets after the sets of both positions of every pair became one."""
    first, second = sets[pairs]
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(len(sets), len(sets)))
    return connected_components(graph, directed=False)[1][sets]


def _blocks(values: np.ndarray) -> list[np.ndarray]:  # along the first axis; one block at least
    return np.array_split(values, len(values) // _BLOCK + 1)
