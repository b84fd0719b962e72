"""What libtiff prints of its own accord."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import _imaging


@contextmanager
def silent_libtiff() -> Iterator[None]:
    """Keep Pillow's libtiff from printing errors to standard error; the reason of a failure is raised all the same.

    This concerns the whole process, since libtiff has one handler of errors. Where a build of Pillow does not show that
    library, nothing is changed.
    """
    try:
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
    except (OSError, AttributeError, TypeError):
        yield
        return
    set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    before = set_handler(None)
    try:
        yield
    finally:
        set_handler(before)
