"""Where featurekit keeps what it can make again, how store files are called, and what is a path at all."""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import sys
from pathlib import Path

from .errors import FeaturekitError

# Of one letter it would be a disk of Windows. In a pathlib.Path two slashes become one.
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/(/?)", re.IGNORECASE)


def is_url(text: object) -> bool:
    r"""Whether a text names something by a URL, and no file here.

    Examples
    --------
    >>> is_url("s3://bucket/photos"), is_url("ab::c.png"), is_url("C:\\photos"), is_url("photos/a.jpg")
    (True, False, False, False)
    """
    found = _URL.match(text) if isinstance(text, str) else None
    return found is not None and found[1] == "/"


def on_disk(path: str | os.PathLike[str]) -> Path:
    """What is read and written on this machine only: models, tables, pictures, pages.

    Raises
    ------
    FeaturekitError
        If it is a URL, which would become a folder called ``s3:``.
    """
    found = _URL.match(os.fspath(path))
    if found is None:
        return Path(path)
    kind = found[0].partition(":")[0]
    raise FeaturekitError(
        f"a {kind}:// URL cannot be used here: only images and stores of features may lie behind one. Name a file or "
        "folder on this machine, and copy it."
    )


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader | io.BytesIO:
    """Open a file for reading, but no pipe, device or folder: to open or read one may take for ever.

    The opened file itself is looked at, so that nothing can take its place in between.

    Raises
    ------
    OSError
        If it cannot be opened, or is no regular file.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or not found.st_size:
        os.close(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        return io.BytesIO()  # such as /proc/kmsg, whose content never ends
    return open(descriptor, "rb")


def check_regular(path: str | os.PathLike[str]) -> None:
    """Raise as :func:`open_regular` does, or if it is empty; for files that a library opens by their names."""
    with open_regular(path) as file:
        if not file.read(1):
            raise OSError(errno.ENODATA, "empty file", os.fspath(path))


def is_store_name(name: str | os.PathLike[str]) -> bool:
    """Whether a name ends as that of a store file does; any other is that of a folder.

    Examples
    --------
    >>> is_store_name("photos.h5"), is_store_name("photos")
    (True, False)
    """
    return os.path.splitext(name)[1].lower() in {".h5", ".hdf5"}


def cache_folder() -> Path:
    """``FEATUREKIT_CACHE``, or ``featurekit`` in the user's caches."""
    named = os.environ.get("FEATUREKIT_CACHE")
    if named:
        return Path(os.path.expanduser(named))
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(base), "featurekit")
