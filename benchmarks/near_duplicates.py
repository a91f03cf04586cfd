"""Sets of near copies among the paper's number of pictures, against comparing every hash with every other.

    python benchmarks/near_duplicates.py [PICTURES]

The small pictures are synthetic: spectra like those of photographs before a common vignette, one in fifty without
detail, one in ten a changed copy of another, half of these mirrored. The plain pass compares all pairs of hashes,
directly and mirrored, and no pixels; it is timed on a share of the rows.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from dfxlib.data.decode import THUMBNAIL
from dfxlib.data.duplicates import MIRRORED, NEAR, copy_sets, perceptual_hashes

PAPER = 72_334  # images

ROWS = 1000  # of the plain pass


def pictures(count: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:  # [N, 16, 16] uint8, [N] own or source
    """Small pictures, and for each the number of that which it was copied from; -1 where it has no detail."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(THUMBNAIL)[:, None], np.fft.rfftfreq(THUMBNAIL)[None])
    frequency[0, 0] = 1
    place = np.linspace(-1, 1, THUMBNAIL)
    vignette = 128 - 30 * (place[:, None] ** 2 + place[None] ** 2)
    small, source = np.empty((count, THUMBNAIL, THUMBNAIL), dtype=np.uint8), np.arange(count)
    for block in np.array_split(np.arange(count), count // 20_000 + 1):
        waves = np.fft.rfft2(random.normal(size=(len(block), THUMBNAIL, THUMBNAIL))) / frequency
        grey = np.fft.irfft2(waves, s=(THUMBNAIL, THUMBNAIL))
        contrast = random.uniform(15, 50, (len(block), 1, 1)) / grey.std(axis=(1, 2), keepdims=True)
        small[block] = (vignette + contrast * grey).clip(0, 255)
    kind = random.integers(0, 100, count)
    flat, copied = np.flatnonzero(kind < 2), np.flatnonzero(kind >= 90)
    small[flat] = random.integers(60, 200, (len(flat), 1, 1)) + random.integers(0, 3, (len(flat), THUMBNAIL, 1))
    source[flat] = -1
    source[copied] = random.choice(np.flatnonzero((kind >= 2) & (kind < 90)), len(copied))
    turned = np.where((copied % 2 == 0)[:, None, None], small[source[copied]], small[source[copied]][:, :, ::-1])
    changed = turned + random.normal(scale=0.7, size=turned.shape)
    small[copied] = np.rint(changed).clip(0, 255)
    return small, source


def seconds_of_all_pairs(hashes: np.ndarray, rows: int) -> float:
    """Time of the plain pass over all pairs, from `rows` rows of it."""
    started = time.perf_counter()
    for value in hashes[:rows]:
        differ = hashes ^ value
        np.count_nonzero(np.minimum(np.bitwise_count(differ), np.bitwise_count(differ ^ MIRRORED)) <= NEAR)
    return (time.perf_counter() - started) / rows * len(hashes) / 2  # every pair once


def measure(count: int, *, rows: int = ROWS) -> dict[str, float]:
    """Seconds of both ways, the share of planted copies found, and that of the other pictures left apart."""
    small, source = pictures(count)
    started = time.perf_counter()
    hashes = perceptual_hashes(small)
    hashing = time.perf_counter() - started
    started = time.perf_counter()
    sets = copy_sets(small)
    grouping = time.perf_counter() - started
    copies = np.flatnonzero((source >= 0) & (source != np.arange(count)))
    found = sets[copies] == sets[source[copies]]
    own = np.flatnonzero(source == np.arange(count))
    wrong = len(own) - len(np.unique(sets[own])) + int((sets[source < 0] >= 0).sum())
    plain = seconds_of_all_pairs(hashes, min(rows, count))
    right = 1 - wrong / (count - len(copies))
    return {"hashing": hashing, "grouping": grouping, "plain": plain, "found": found.mean(), "right": right}


def main() -> int:
    from measure import report

    count = int(sys.argv[1]) if sys.argv[1:] else PAPER
    found = measure(count)
    figures = {
        f"seconds to group {count:,} pictures": (found["grouping"], "<=", 60 * max(1, count / PAPER)),
        "times faster than comparing all pairs of hashes": (found["plain"] / found["grouping"], ">=", 1.0),
        "share of planted copies found": (found["found"], ">=", 0.99),
        "share of other pictures left apart": (found["right"], ">=", 1.0),
    }
    details = {name: round(float(value), 3) for name, value in found.items()}
    print(details)
    return 0 if report("near_duplicates", figures, pictures=count, measured=details) else 1


if __name__ == "__main__":
    sys.exit(main())
