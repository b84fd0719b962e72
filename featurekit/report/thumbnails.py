"""Small pictures of images, which are read only from below a folder that the caller named.

A store may come from somebody else, and says by itself where its images are: that is not believed.
"""

from __future__ import annotations

import base64
import io
import os
import stat
from collections.abc import Iterator

from ..errors import ImageError
from ..fingerprint import content_hash
from ..folders import is_url
from ..images import below, located, open_image, read_bytes

_SIDE = 160


def thumbnail(images: str, root: str, path: str, content: bytes) -> str:
    """Make a small JPEG as a data URL, or nothing: only of the file that a row was computed from.

    Parameters
    ----------
    images : str
        The folder, or its URL.
    root, path : str
        Where the store says that the image is.
    content : bytes
        The hash of its file.
    """
    for place in _places(images, root, path):
        try:
            data = read_bytes(place)[0]
            if content_hash(data) != content:
                continue
            image = open_image(data)
        except (ImageError, ValueError):
            continue
        image.thumbnail((_SIDE, _SIDE))
        file = io.BytesIO()
        image.convert("RGB").save(file, "JPEG", quality=80)
        return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
    return ""


def _places(images: str, root: str, path: str) -> Iterator[str]:
    """Where the image may be: where the store says, if that is below the folder, or at its path in the folder."""
    said = located(root, path)
    if is_url(images):
        found = [below(images, said) if is_url(said) else None, below(images, path)]
        yield from dict.fromkeys(place for place in found if place)
        return
    folder = os.path.abspath(images)
    for place in dict.fromkeys(
        os.path.abspath(os.path.join(folder, each)) for each in (said, path) if not is_url(each)
    ):
        if os.path.commonpath([folder, place]) == folder and _is_file(place):
            yield place


def _is_file(place: str) -> bool:
    """Whether there is a plain file with bytes in it; those below /proc claim to have none."""
    try:
        state = os.stat(place)
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(state.st_mode) and state.st_size > 0
