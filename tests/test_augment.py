"""Reading examples: augmentation depends on (seed, epoch, row) alone, and on nothing that a restart changes."""

import io

import numpy as np
import pytest
from PIL import Image
from samples import squares
from scipy.ndimage import gaussian_filter

from dfxlib.data.perturb import jpeg
from dfxlib.training import augment as a


def smooth(count: int, side: int = 32) -> np.ndarray:  # [count, side, side, 3] uint8
    noise = squares(count, side=side).astype(float)
    return gaussian_filter(noise, (0, 2, 2, 0)).astype(np.uint8)


def test_plain_examples_are_the_rows_themselves() -> None:
    array, rows = squares(9), np.array([3, 3, 8])
    np.testing.assert_array_equal(a.plain(array, rows, seed=0, epoch=0), array[rows])


def test_an_augmented_picture_depends_on_seed_epoch_and_row_and_not_on_its_batch() -> None:
    array, rows = squares(40), np.arange(40)
    whole = a.jpeg_blur(array, rows, seed=1, epoch=2)
    assert whole.shape == array.shape and whole.dtype == np.uint8
    backwards = np.concatenate([a.jpeg_blur(array, rows[[row]], seed=1, epoch=2) for row in rows[::-1]])[::-1]
    np.testing.assert_array_equal(backwards, whole)
    for other in ({"seed": 1, "epoch": 3}, {"seed": 2, "epoch": 2}):
        changed = (a.jpeg_blur(array, rows, **other) != whole).any((1, 2, 3))
        assert changed.mean() > 0.5


def test_half_of_the_pictures_are_blurred_and_half_compressed_each_by_itself() -> None:
    """A blurred picture loses its noise; a compressed one is unchanged by what its own encoder would do again."""
    array = squares(400, side=16)
    seen = a.jpeg_blur(array, np.arange(400), seed=0, epoch=0)
    untouched = (seen == array).all((1, 2, 3)).mean()
    assert untouched == pytest.approx(0.25, abs=0.07)  # neither of the two
    roughness = np.abs(np.diff(seen.astype(float), axis=1)).mean((1, 2, 3))
    before = np.abs(np.diff(array.astype(float), axis=1)).mean((1, 2, 3))
    assert (roughness < 0.6 * before).mean() == pytest.approx(0.45, abs=0.08)  # sigma above a third of a pixel


def test_qualities_span_30_to_100_and_both_subsamplings_occur(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def watch(image: Image.Image, *, quality: int, subsampling: str) -> Image.Image:
        drawn.append((quality, subsampling))
        return jpeg(image, quality=quality, subsampling=subsampling)

    monkeypatch.setattr(a, "jpeg", watch)
    a.jpeg_blur(squares(600, side=8), np.arange(600), seed=0, epoch=0)
    qualities = np.array([quality for quality, _ in drawn])
    assert 240 < len(drawn) < 360 and 30 <= qualities.min() < 36 and 94 < qualities.max() <= 100
    assert np.mean(qualities) == pytest.approx(65, abs=4)
    assert np.mean([name == "4:2:0" for _, name in drawn]) == pytest.approx(0.5, abs=0.1)


def test_a_compressed_picture_is_what_pillow_makes_of_it() -> None:
    array = smooth(60)
    seen = a.jpeg_blur(array, np.arange(60), seed=0, epoch=0)
    found = 0
    for picture, result in zip(array, seen):
        for quality in range(30, 101):
            for subsampling in (0, 2):
                buffer = io.BytesIO()
                Image.fromarray(picture).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
                if (np.asarray(Image.open(buffer)) == result).all():
                    found += 1
                    break
            else:
                continue
            break
        if found >= 3:
            return
    raise AssertionError("no picture was only compressed")


def test_in_eight_epochs_each_picture_takes_each_of_its_eight_poses_once() -> None:
    array, rows = squares(3, side=5), np.array([2, 0])
    epochs = np.stack([a.dihedral(array, rows, seed=4, epoch=epoch) for epoch in range(3, 11)])
    for position, row in enumerate(rows):
        square = Image.fromarray(array[row])
        poses = {square.tobytes()} | {square.transpose(way).tobytes() for way in Image.Transpose}
        assert len(poses) == 8
        assert {pose.tobytes() for pose in epochs[:, position]} == poses


def test_pictures_do_not_take_their_poses_in_one_order() -> None:
    array = np.repeat(squares(1), 64, axis=0)  # one picture 64 times: what differs is the pose
    seen = a.dihedral(array, np.arange(64), seed=0, epoch=0)
    assert len({picture.tobytes() for picture in seen}) == 8
    assert (a.dihedral(array, np.arange(64), seed=1, epoch=0) != seen).any()
    np.testing.assert_array_equal(a.dihedral(array, np.array([9, 5]), seed=0, epoch=0), seen[[9, 5]])


def test_every_epoch_draws_one_stored_copy_of_each_image() -> None:
    array = np.arange(4)[:, None] * 100 + np.arange(50)[None]  # [copies, images]: value 100 * copy + image
    rows = np.array([7, 0, 49, 7])
    read = a.stored_copy(array, rows, seed=0, epoch=0)
    assert (read % 100 == rows).all() and read[0] == read[3]
    epochs = np.stack([a.stored_copy(array, np.arange(50), seed=0, epoch=epoch) // 100 for epoch in range(40)])
    assert np.bincount(epochs.ravel(), minlength=4) == pytest.approx(500, abs=80)
    assert (epochs[0] != epochs[1]).any() and len(set(epochs[0])) == 4
    np.testing.assert_array_equal(
        read, np.concatenate([a.stored_copy(array, rows[[i]], seed=0, epoch=0) for i in range(4)])
    )


def test_one_stored_copy_is_the_array_itself() -> None:
    array, rows = np.random.default_rng(0).normal(size=(1, 9, 3, 5)), np.array([8, 2])
    np.testing.assert_array_equal(a.stored_copy(array, rows, seed=3, epoch=5), array[0][rows])


def test_a_random_part_is_cut_after_the_augmentation_and_stands_elsewhere_in_another_epoch() -> None:
    array, rows = squares(60, side=16), np.arange(60)
    parts = a.reader("dihedral", crop_size=6)(array, rows, seed=1, epoch=2)
    assert parts.shape == (60, 6, 6, 3)
    places = [
        place_of(part, square) for part, square in zip(parts, a.dihedral(array, rows, seed=1, epoch=2), strict=True)
    ]
    tops, lefts = np.transpose(places)
    assert {0, 10} <= set(tops) and {0, 10} <= set(lefts) and abs(np.corrcoef(tops, lefts)[0, 1]) < 0.4
    alone = a.reader("dihedral", crop_size=6)(array, rows[[7]], seed=1, epoch=2)
    np.testing.assert_array_equal(alone[0], parts[7])
    later = a.reader("none", crop_size=6)(array, rows, seed=1, epoch=3)
    moved = [place_of(part, square) != place for part, square, place in zip(later, array, places, strict=True)]
    assert np.mean(moved) > 0.9


def place_of(part: np.ndarray, square: np.ndarray) -> tuple[int, int]:  # top, left
    last = len(square) - len(part) + 1
    places = [(top, left) for top in range(last) for left in range(last)]
    return next(p for p in places if (square[p[0] : p[0] + len(part), p[1] : p[1] + len(part)] == part).all())


def test_without_a_crop_size_pictures_are_read_whole() -> None:
    assert a.reader("jpeg_blur") is a.jpeg_blur
