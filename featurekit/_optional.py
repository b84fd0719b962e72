"""Import an optional dependency, or say which extra brings it."""

from __future__ import annotations

import importlib
from types import ModuleType

from .errors import MissingExtraError

_DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn"}  # where the name to install is another


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import `module`, or raise an error that names the extra to install.

    Parameters
    ----------
    module : str
        Name to import.
    extra : str
        The extra of featurekit that installs it.
    purpose : str
        What it is needed for, in a few words.

    Raises
    ------
    MissingExtraError
        If `module` is not installed.

    Examples
    --------
    >>> from featurekit._optional import require
    >>> require("json", extra="parquet", purpose="the example").__name__
    'json'
    """
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} needs the package '{package}', which is not installed. "
            f"Install it with: pip install {_DISTRIBUTIONS.get(package, package)} (featurekit's extra {extra!r})"
        ) from error
