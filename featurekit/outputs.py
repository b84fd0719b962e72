"""Tables, pictures and pages that a user asked for: written in one step, and never over somebody else's file."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import FeaturekitError, StoreError
from .folders import on_disk, open_regular
from .store.atomic import replace_file


def check_output(path: str | os.PathLike[str], mark: bytes) -> Path:
    """Raise if a file is there that is no earlier output of the same kind.

    Parameters
    ----------
    path : path
    mark : bytes
        What such an output holds, and other files do not.

    Returns
    -------
    Path

    Raises
    ------
    FeaturekitError
        If it is another file: perhaps labels, a photo, or a store, and the name was mistyped. Or there is no such
        folder.
    """
    target = on_disk(path)
    if not target.parent.is_dir():
        raise FeaturekitError(f"cannot write {target}: there is no folder {target.parent}")
    if target.is_dir():
        raise FeaturekitError(f"cannot write {target}: it is a folder. Choose the name of a file.")
    if target.is_file() and (data := _content(target)) and mark not in data:
        raise FeaturekitError(
            f"{target} exists and is no earlier output of this kind, so it was not overwritten. Choose another name, "
            "or delete it."
        )
    return target


def _content(path: Path) -> bytes:
    with open_regular(path) as file:
        return file.read()


def write_output(path: str | os.PathLike[str], data: bytes, mark: bytes) -> Path:
    """Write a file as a whole, after :func:`check_output`.

    Raises
    ------
    FeaturekitError
        As there, or if it cannot be written; what was there is as it was.
    """
    target = check_output(path, mark)
    try:
        if target.exists() and not target.is_file():  # a pipe or a terminal
            with target.open("wb") as out:
                out.write(data)
        else:
            replace_file(target.resolve() if target.is_symlink() else target, data)
    except (OSError, StoreError) as error:
        cause = error.__cause__ or error
        raise FeaturekitError(f"cannot write {target}: {getattr(cause, 'strerror', None) or cause}") from error
    return target
