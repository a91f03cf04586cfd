"""Procedural scenes without end: occluding shapes and lines, 1/f texture, gradients of light.

A scene is linear light on a canvas four times finer than the photographs, in the manner of the
dead-leaves image model (Lee, Mumford and Huang, IJCV 2001). It has no pixels of its own yet:
cameras make them.
"""

from __future__ import annotations

import zlib

import numpy as np

OVERSAMPLING = 4

PHOTO_SIZE = 76  # pixels a side; delivery rescales and crops to 64, so that no border is left

CANVAS = PHOTO_SIZE * OVERSAMPLING

PURPOSES = {"study": 0, "training": 1}  # first word of every seed: the two never meet


def random_stream(purpose: str, seed: int, scene: int, what: str) -> np.random.Generator:
    """The random numbers of one thing in one scene, the same in any order and any process."""
    return np.random.default_rng([PURPOSES[purpose], seed, scene, zlib.crc32(what.encode())])


def render_scene(
    rng: np.random.Generator,
) -> np.ndarray:  # [CANVAS, CANVAS, 3] float64, linear light, about 0.005 to 1
    """One scene: background, large leaves, then many small ones on top, then light."""
    palette = _palette(rng)
    fields = [_texture(rng, slope) for slope in (1.0, 1.4)]
    canvas = np.empty((CANVAS, CANVAS, 3))
    canvas[:] = palette[0]
    canvas *= 1 + 0.25 * fields[1][..., None]
    large = np.exp(rng.uniform(np.log(36), np.log(150), size=rng.integers(14, 28)))
    # density of radii r**-3 between 7 and 60 canvas pixels: that of objects in photographs
    share = rng.uniform(size=rng.integers(50, 110))
    small = (7.0**-2 + share * (60.0**-2 - 7.0**-2)) ** -0.5
    for radius in (*large, *small):
        _paint_leaf(canvas, rng, radius, palette, fields)
    canvas *= _light(rng)[..., None]
    return np.clip(canvas, 0.004, 1.2)


def _palette(rng: np.random.Generator) -> np.ndarray:  # [5, 3] linear colours
    """Five colours that go together: one scene-wide tint, different lightness, mild saturation."""
    tint = rng.dirichlet((6, 6, 6)) * 3
    own = rng.dirichlet((5, 5, 5), size=5) * 3
    lightness = np.exp(rng.uniform(np.log(0.05), np.log(0.55), size=(5, 1)))
    return lightness * (0.5 * tint + 0.5 * own)


def _texture(rng: np.random.Generator, slope: float) -> np.ndarray:  # [CANVAS, CANVAS], std 1
    """Random field with amplitude 1/f**slope."""
    across, down = np.fft.rfftfreq(CANVAS), np.fft.fftfreq(CANVAS)
    frequency = np.hypot(across[None, :], down[:, None])
    frequency[0, 0] = 1.0
    shape = frequency.shape
    spectrum = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / frequency**slope
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, s=(CANVAS, CANVAS))
    return field / field.std()


def _light(rng: np.random.Generator) -> np.ndarray:  # [CANVAS, CANVAS] factor around 1
    """A linear fall of light and a soft spot."""
    y, x = np.mgrid[-1 : 1 : CANVAS * 1j, -1 : 1 : CANVAS * 1j]
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.45)
    spot_y, spot_x = rng.uniform(-1, 1, size=2)
    spot = np.exp(-((x - spot_x) ** 2 + (y - spot_y) ** 2) / rng.uniform(0.3, 1.5))
    return 1 + strength * (np.cos(angle) * x + np.sin(angle) * y) + rng.uniform(0, 0.4) * spot


def _paint_leaf(
    canvas: np.ndarray,  # [CANVAS, CANVAS, 3], painted in place
    rng: np.random.Generator,
    radius: float,
    palette: np.ndarray,
    fields: list[np.ndarray],
) -> None:
    """One opaque shape: ellipse, rectangle, triangle, bar or ring, with fill and texture."""
    centre_y, centre_x = rng.uniform(0, CANVAS, size=2)
    kind, angle, aspect = rng.integers(5), rng.uniform(0, np.pi), rng.uniform(0.35, 1.0)
    colour = palette[rng.integers(len(palette))] * np.exp(rng.normal(0, 0.25, size=3) * 0.5)
    slope, shift = rng.uniform(-0.35, 0.35, size=2), rng.integers(0, CANVAS, size=2)
    strength = rng.choice((0.0, 0.06, 0.15, 0.3))
    stripes, pitch = rng.uniform() < 0.2, rng.uniform(6, 24)

    top, left = max(int(centre_y - radius), 0), max(int(centre_x - radius), 0)
    bottom, right = int(centre_y + radius) + 2, int(centre_x + radius) + 2
    window = canvas[top:bottom, left:right]
    rows, columns = window.shape[:2]
    y = (np.arange(top, top + rows)[:, None] - centre_y) / radius
    x = (np.arange(left, left + columns)[None, :] - centre_x) / radius
    u = np.cos(angle) * x + np.sin(angle) * y
    v = np.cos(angle) * y - np.sin(angle) * x
    # Only what the shape covers is shaded: less than half of its window.
    row, column = np.nonzero(_inside(kind, u, v, aspect))
    u, v = u[row, column], v[row, column]

    field = fields[rng.integers(2)]
    texture = field[(row + shift[0]) % CANVAS, (column + shift[1]) % CANVAS]
    shade = (1 + slope[0] * u + slope[1] * v) * (1 + strength * texture)
    if stripes:
        shade *= 1 + 0.35 * np.sign(np.sin(2 * np.pi * u * radius / pitch))
    window[row, column] = np.maximum(shade, 0.1)[:, None] * colour


def _inside(kind: int, u: np.ndarray, v: np.ndarray, aspect: float) -> np.ndarray:  # bool
    """Where the unit shape covers its window; u and v are its own axes."""
    if kind == 0:
        return u**2 + (v / aspect) ** 2 < 1
    if kind == 1:
        return (np.abs(u) < 0.7) & (np.abs(v) < 0.7 * aspect)
    if kind == 2:
        return (v > -0.5 * aspect) & (v < aspect - 1.8 * aspect * np.abs(u))
    if kind == 3:
        return (np.abs(u) < 0.95) & (np.abs(v) < 0.12 * aspect)
    distance = u**2 + v**2
    return (distance < 0.95) & (distance > 0.55 * aspect)
