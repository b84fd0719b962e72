"""Trained networks as weight files, where no saved model holds them."""

from __future__ import annotations

import hashlib
import tempfile
from contextlib import suppress
from pathlib import Path

from ..errors import TrainingError
from ..fingerprint import file_sha256
from ..folders import cache_folder
from ..store.atomic import replace_file


def weights_file(network: bytes) -> Path:
    """A network as a file, written where it is not there (another machine, an emptied cache).

    Parameters
    ----------
    network : bytes
        Its state dict as a safetensors file.

    Raises
    ------
    TrainingError
        If it can be written nowhere.
    """
    name = f"{hashlib.sha256(network).hexdigest()}.safetensors"
    for folder in (cache_folder() / "trained", Path(tempfile.gettempdir()) / "featurekit-trained"):
        path = folder / name
        with suppress(OSError):
            if file_sha256(path) == path.stem:
                return path
        try:
            folder.mkdir(parents=True, exist_ok=True)
            replace_file(path, network)
        except Exception:  # noqa: S112 (the next folder is tried)
            continue
        return path
    raise TrainingError("the trained network can be written neither to featurekit's cache nor to the temporary folder")
