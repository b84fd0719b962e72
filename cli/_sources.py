"""What SOURCE names, and what is called by its name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def default_store(source: str, backbone: str, layer: str, weights: Any = None) -> Path:
    """Where the rows of SOURCE go if nobody says: ``<name>.<backbone>[.<layer>].h5`` in the current folder.

    A saved model as a backbone is called by the name of its folder; weights of the user's own by that of their file.
    """
    from featurekit.backbones import short_name

    name = short_name(backbone)
    if isinstance(weights, str | os.PathLike):
        from featurekit.bundle import NETWORK

        path = Path(weights).resolve()
        name = path.parent.name if path.name == NETWORK else f"{name}-{path.stem}"
    return Path(".".join([default_name(source), name, *([] if layer == "penultimate" else [layer]), "h5"]))


def default_name(source: str) -> str:
    """What is made of SOURCE is called by its name."""
    from featurekit.images import public

    path = Path(public(source))
    return (path.resolve().name if path.is_dir() else path.stem) or "images"


def is_store(source: str) -> bool:
    """Whether SOURCE names a store: an .h5 file, or a folder with an index; here, or behind a URL."""
    from featurekit.folders import is_store_name

    path, is_file = Path(source), is_store_name(source)
    if "://" not in source or is_file:
        return (path / "index.h5").is_file() if path.is_dir() else is_file
    from featurekit.errors import FeaturekitError
    from featurekit.store import place_of

    try:
        return (place_of(source) / "index.h5").exists()
    except FeaturekitError:
        return False  # what is wrong with it is said when it is read
