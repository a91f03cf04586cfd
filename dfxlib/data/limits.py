"""Limits of memory while a picture is decoded: ours in place of Pillow's, and one large picture at a time."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, PngImagePlugin

_LARGE = 50_000_000  # pixels above which pictures are decoded one at a time

_TEXT_LIMIT = 2**26  # bytes of one text inside a PNG, and of all; generators write their whole workflow there


@contextmanager
def one_at_a_time(pixels: int) -> Iterator[None]:
    """Of large pictures one is decoded at a time among all processes of this user, so that memory stays bounded."""
    if pixels <= _LARGE:
        yield
        return
    with open(Path(tempfile.gettempdir(), f"dfxlib-large-{os.getuid()}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def own_limits() -> Iterator[None]:
    """Pillow's limits are one for the whole process; here limits of our own decide."""
    before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    Image.MAX_IMAGE_PIXELS = None
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = _TEXT_LIMIT
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = before
