"""Names of files that are written in more than one way."""

from __future__ import annotations

import os
import unicodedata


def spelled_otherwise(path: str) -> str:
    r"""Find a file whose name is that of a missing one in another spelling.

    With ``/`` for ``\``, another Unicode form, or the ending in the other case.

    Parameters
    ----------
    path : str

    Returns
    -------
    str
        A path, or nothing.
    """
    found = {path}
    found |= {name.replace("\\", "/") for name in found}
    found |= {unicodedata.normalize(form, name) for name in found for form in ("NFC", "NFD")}
    stems = [os.path.splitext(name) for name in found]
    found |= {stem + ending for stem, suffix in stems for ending in (suffix.lower(), suffix.upper())}
    return next((name for name in sorted(found - {path}) if os.path.isfile(name)), "")
