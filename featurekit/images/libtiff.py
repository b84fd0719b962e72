"""Keep libtiff from printing its own lines."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import _imaging

_lock = threading.Lock()
_silent = 0  # how many callers want silence now
_before: Any = None  # libtiff's own handler, while there are any


@contextmanager
def silent_libtiff() -> Iterator[None]:
    """Keep Pillow's libtiff from printing errors to standard error; the reason of a failure is raised all the same.

    This concerns the whole process, since libtiff has one handler of errors. It comes back when the last of several
    callers that overlap leaves. Where a build of Pillow does not show that library, nothing is changed.
    """
    global _silent, _before
    try:
        set_handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
    except (OSError, AttributeError, TypeError):
        yield
        return
    set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    with _lock:
        _silent += 1
        if _silent == 1:
            _before = set_handler(None)
    try:
        yield
    finally:
        with _lock:
            _silent -= 1
            if not _silent:
                set_handler(_before)
