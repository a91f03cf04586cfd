"""Limits of memory while a picture is decoded: ours in place of Pillow's, and one large picture at a time."""

import ctypes
import fcntl
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

from PIL import Image, PngImagePlugin, TiffImagePlugin, _imaging

_LARGE = 50_000_000  # pixels above which pictures are decoded one at a time

#: The problem of a picture that may be sound, and is read elsewhere.
NO_MEMORY = "too large: it takes more memory than there is"

_TEXT_LIMIT = 2**26  # bytes of one text inside a PNG, and of all; generators write their whole workflow there


@contextmanager
def one_at_a_time(pixels: int) -> Iterator[None]:
    """Of large pictures one is decoded at a time among all processes of this user, so that memory stays bounded."""
    if pixels <= _LARGE:
        yield
        return
    folder = tempfile.gettempdir()
    flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK  # anybody may plant a link or a pipe there
    try:
        lock = os.open(f"{folder}/dfxlib-large-{os.getuid()}.lock", flags, 0o600)
    except OSError:  # something else has that name, and is no matter of the picture: all users share the folder's lock
        lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def exceeded(error: Exception) -> str:  # a problem, or empty
    """Whether memory was at its end, or Pillow gave up at the limit of texts and profiles that `own_limits` sets."""
    if isinstance(error, MemoryError):
        return NO_MEMORY
    met = any(words in str(error) for words in ("too large for PngImagePlugin", "memory used in text chunks"))
    return f"too large: a text or colour profile of more than {_TEXT_LIMIT} bytes" if met else ""


@cache
def _quieten_libtiff() -> None:
    """libtiff and Pillow's own reader of TIFF tell on standard error what is wrong with a file; it is raised too."""
    TiffImagePlugin.logger.disabled = True
    with suppress(AttributeError, OSError):  # where Pillow was built without it, or shows no symbols
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


@contextmanager
def own_limits() -> Iterator[None]:
    """Pillow's limits are one for the whole process; here limits of our own decide, and its warnings are not told."""
    _quieten_libtiff()
    before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    Image.MAX_IMAGE_PIXELS = None
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = _TEXT_LIMIT
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            yield
    finally:
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = before
