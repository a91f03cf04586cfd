"""Near copies: found whatever the format, size or side, and nothing else, by a rule that no order changes."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter
from samples import noise
from scipy.fft import dctn
from scipy.sparse.csgraph import connected_components

from dfxlib.data import duplicates
from dfxlib.data.decode import ImageFile, inspect_file
from dfxlib.data.duplicates import MIRRORED, close_pairs, copy_sets, perceptual_hashes, stack_thumbnails


def scene(seed: int, *, width: int = 96, height: int = 64) -> Image.Image:
    """A dozen overlapping shapes before a gradient, softened, with noise: no two seeds alike."""
    random = np.random.default_rng(seed)
    sky = np.linspace(random.integers(120, 250, 3), random.integers(20, 200, 3), height)
    image = Image.fromarray(np.repeat(sky[:, None], width, axis=1).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for number in range(12):
        left, top = random.integers(-10, width), random.integers(-10, height)
        box = [left, top, left + random.integers(8, width // 2), top + random.integers(8, height // 2)]
        shape = draw.ellipse if number % 2 else draw.rectangle
        shape([int(place) for place in box], fill=tuple(random.integers(0, 256, 3).tolist()))
    return with_noise(image.filter(ImageFilter.GaussianBlur(1)), seed)


def with_noise(image: Image.Image, seed: int) -> Image.Image:
    grains = np.random.default_rng(seed).normal(scale=4, size=(image.height, image.width, 3))
    return Image.fromarray((np.asarray(image) + grains).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def sets_of(folder: Path, *files: bytes) -> list[int]:
    """Sets of near copies among files with these bytes."""
    found = []
    for number, data in enumerate(files):
        (folder / f"{number}").write_bytes(data)
        found.append(inspect_file(ImageFile(folder / f"{number}"))["thumbnail"])
    return copy_sets(stack_thumbnails(pd.Series(found))).tolist()


def resized(image: Image.Image, share: float) -> Image.Image:
    return image.resize([round(side * share) for side in image.size], Image.Resampling.BICUBIC)


CHANGES = {
    "JPEG 95": lambda image: encoded(image, "JPEG", quality=95),
    "JPEG 75": lambda image: encoded(image, "JPEG", quality=75),
    "WebP": lambda image: encoded(image, "WEBP", quality=80),
    "mirrored": lambda image: encoded(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    "mirrored JPEG 95": lambda image: encoded(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "JPEG", quality=95),
    "resized to 90%": lambda image: encoded(resized(image, 0.9)),
    "resized to 130% as JPEG 90": lambda image: encoded(resized(image, 1.3), "JPEG", quality=90),
    "grey": lambda image: encoded(image.convert("L")),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("side", [(32, 32), (97, 130)])
def test_a_changed_copy_is_in_the_set_of_its_picture_and_in_no_other(tmp_path: Path, change: str, side: tuple) -> None:
    images = [scene(seed, width=side[0], height=side[1]) for seed in range(4)]
    found = sets_of(tmp_path, *map(encoded, images), *map(CHANGES[change], images))
    assert found[:4] == found[4:] and len(set(found)) == 4 and -1 not in found


def flat(seed: int) -> Image.Image:
    return with_noise(Image.new("RGB", (64, 64), (90, 140, 220)), seed)


def sky(seed: int) -> Image.Image:
    """Bright below, dark above, with a horizon: the same for every seed, but for the noise."""
    rows = np.concatenate([np.geomspace(60, 230, 48), np.full(16, 40)])
    return with_noise(
        Image.fromarray(np.repeat(rows[:, None, None], 64, axis=1).repeat(3, axis=2).astype(np.uint8)), seed
    )


def portrait(seed: int) -> Image.Image:
    """A head in the middle before the same wall; hair, face, clothes and light differ, and places by some pixels."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (64, 64), (225, 225, 230))
    draw = ImageDraw.Draw(image)

    def shape(form: str, box: list[int], brightest: int) -> None:
        places = np.add(box, random.integers(-3, 4, 4)).tolist()
        getattr(draw, form)(places, fill=tuple(random.integers(0, brightest, 3).tolist()))

    shape("rectangle", [12, 46, 52, 64], 256)
    shape("ellipse", [16, 6, 48, 44], 200)
    shape("ellipse", [20, 14, 44, 50], 256)
    for left in (24, 36):
        shape("ellipse", [left, 26, left + 8, 34], 60)
    shape("ellipse", [26, 38, 38, 46], 120)
    light = np.linspace(random.uniform(0.5, 1), random.uniform(0.5, 1), 64)[:, None]
    lit = Image.fromarray((np.asarray(image.filter(ImageFilter.GaussianBlur(1))) * light).astype(np.uint8))
    return with_noise(lit, seed)


@pytest.mark.parametrize("picture", [flat, sky])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_pictures_without_detail_are_like_nothing(tmp_path: Path, picture: object, kind: str) -> None:
    files = [encoded(picture(seed), kind) for seed in range(20)]
    assert sets_of(tmp_path, *files, *files) == [-1] * 40
    plain = encoded(Image.new("RGB", (64, 64), "white"), kind)
    assert sets_of(tmp_path, plain, plain) == [-1, -1]


@pytest.mark.parametrize("picture", [portrait, scene, noise])
def test_different_scenes_of_one_layout_are_different(tmp_path: Path, picture: object) -> None:
    found = sets_of(tmp_path, *(encoded(picture(seed)) for seed in range(60)))
    assert len(set(found)) == 60 and -1 not in found


def relatives(count: int, seed: int = 0) -> np.ndarray:  # [count, 16, 16] uint8
    """Small pictures of which many are changed copies of others, some mirrored, and some are flat."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (count, 16, 16)).astype(float)
    for number in range(count // 2, count):
        source = small[random.integers(0, number)][:, :: random.choice([-1, 1])]
        small[number] = source + random.normal(scale=random.choice([1, 8, 16]), size=(16, 16))
    small[:3] = 100 + random.normal(scale=1, size=(3, 16, 16))
    return small.clip(0, 255).astype(np.uint8)


def sets_of_all_pairs(small: np.ndarray) -> np.ndarray:
    """The definition, with every picture compared with every other."""
    grey = small.astype(float)
    both = (grey, grey[:, :, ::-1])
    hashes = [perceptual_hashes(side) for side in (small, small[:, :, ::-1])]
    centred = grey - grey.mean(axis=1, keepdims=True) - grey.mean(axis=2, keepdims=True)
    detail = np.sqrt(((centred + grey.mean(axis=(1, 2), keepdims=True)) ** 2).mean(axis=(1, 2)))
    bits = np.min([np.bitwise_count(hashes[0][:, None] ^ side[None]) for side in hashes], axis=0)
    apart = np.min([np.sqrt(((grey[:, None] - side[None]) ** 2).mean(axis=(2, 3))) for side in both], axis=0)
    near = (bits <= 4) & (apart <= 0.2 * np.minimum(detail[:, None], detail[None]))
    sets = connected_components(near)[1]
    return np.where(detail >= 2, sets, -1)


def partition(sets: np.ndarray) -> list[int]:
    """Sets by the place of their first picture."""
    first: dict[int, int] = {}
    return [
        -1 if number < 0 else first.setdefault(number, place) for place, number in enumerate(np.asarray(sets).tolist())
    ]


@pytest.mark.parametrize("seed", range(3))
def test_the_sets_are_those_that_comparing_all_with_all_finds(seed: int) -> None:
    small = relatives(200, seed)
    expected = partition(sets_of_all_pairs(small))
    assert partition(copy_sets(small)) == expected
    assert 20 < len(set(expected)) < 180 and expected.count(-1) >= 3


def test_the_order_of_the_pictures_changes_no_set() -> None:
    small = relatives(300)
    order = np.random.default_rng(1).permutation(300)
    mixed = np.empty(300, dtype=int)
    mixed[order] = copy_sets(small[order])
    assert partition(mixed) == partition(copy_sets(small))


def test_sets_are_joined_piece_by_piece_with_the_same_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    small = relatives(300)
    whole = copy_sets(small)
    monkeypatch.setattr(duplicates, "_BLOCK", 3)
    assert copy_sets(small).tolist() == whole.tolist()


def test_a_crowd_of_copies_is_one_set() -> None:
    """A collapsed generator. All pairs were 200 million; comparing them would take minutes."""
    random = np.random.default_rng(0)
    base = random.integers(0, 256, (2, 1, 16, 16))
    crowd = base + random.integers(-1, 2, (2, 10_000, 16, 16))
    sets = copy_sets(crowd.clip(0, 255).astype(np.uint8).reshape(-1, 16, 16)).reshape(2, 10_000)
    assert (sets == sets[:, :1]).all() and sets[0, 0] != sets[1, 0]


def test_files_without_a_picture_and_no_files_at_all_have_no_set() -> None:
    picture = relatives(9)[-1].tobytes().hex()
    assert copy_sets(stack_thumbnails(pd.Series(["", picture, "", picture]))).tolist() == [-1, 0, -1, 0]
    assert copy_sets(stack_thumbnails(pd.Series([], dtype=str))).tolist() == []


def test_a_hash_has_the_signs_of_the_low_frequencies() -> None:
    small = np.random.default_rng(0).integers(0, 256, (50, 16, 16), dtype=np.uint8)
    waves = dctn(small.astype(float), axes=(1, 2), norm="ortho")[:, :8, :8].reshape(-1, 64)
    bits = np.unpackbits(perceptual_hashes(small).astype(">u8").view(np.uint8).reshape(-1, 8), axis=1)
    clear = np.abs(waves) > 3  # grey levels: cosines are rounded to 1/128
    clear[:, 0] = False  # the mean is no sign
    assert (bits[clear] == (waves[clear] > 0)).all() and clear.mean() > 0.9 and not bits[:, 0].any()


def test_a_mirrored_picture_has_the_mirrored_hash() -> None:
    small = np.random.default_rng(0).integers(0, 256, (50, 16, 16), dtype=np.uint8)
    assert (perceptual_hashes(small[:, :, ::-1]) == perceptual_hashes(small) ^ MIRRORED).all()
    assert len(np.unique(perceptual_hashes(small))) == 50


class TestClosePairs:
    @given(
        st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=30, unique=True),
        st.lists(
            st.tuples(st.integers(0, 29), st.booleans(), st.sets(st.integers(0, 63), min_size=1, max_size=7)),
            max_size=20,
        ),
        st.integers(0, 6),
    )
    def test_they_are_those_that_comparing_all_with_all_finds(self, values: list, flips: list, distance: int) -> None:
        relatives = {
            values[place % len(values)] ^ sum(1 << bit for bit in bits) ^ (int(MIRRORED) if mirrored else 0)
            for place, mirrored, bits in flips
        }
        hashes = np.array(sorted(set(values) | relatives), dtype=np.uint64)
        differ = hashes[:, None] ^ hashes[None, :]
        apart = np.minimum(np.bitwise_count(differ), np.bitwise_count(differ ^ MIRRORED))
        expected = {tuple(pair) for pair in np.argwhere(np.triu(apart <= distance, 1)).tolist()}
        assert pairs_of(hashes, distance=distance) == expected

    def test_crowds_that_share_a_band_are_compared_too(self) -> None:
        hashes = np.arange(300, dtype=np.uint64)  # only the lowest nine bits differ
        expected = {(a, a ^ 1 << bit) for a in range(300) for bit in range(9) if a < (a ^ 1 << bit) < 300}
        assert pairs_of(hashes, distance=1) == expected


def pairs_of(hashes: np.ndarray, *, distance: int) -> set[tuple[int, int]]:
    found = np.concatenate(
        [np.empty((2, 0), dtype=int), *close_pairs(hashes, np.arange(len(hashes)), distance=distance)], axis=1
    )
    return {(min(pair), max(pair)) for pair in found.T.tolist()}
