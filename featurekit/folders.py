"""Where featurekit keeps what it can make again, and how store files are called."""

from __future__ import annotations

import os
import sys
from pathlib import Path


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
