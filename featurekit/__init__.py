"""Transfer learning with frozen CNN features, cached in HDF5, and scikit-learn heads.

>>> from featurekit import extract, TransferClassifier, FeatureExtractor, FeatureStore, load_model

Names are imported when they are first used: ``import featurekit`` alone loads neither torch nor
scikit-learn.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__

__all__ = [
    "FeatureExtractor",
    "FeatureStore",
    "FeaturekitError",
    "FineTuneClassifier",
    "TransferClassifier",
    "TransferRegressor",
    "__version__",
    "advise",
    "compare",
    "evaluate",
    "extract",
    "load_model",
    "run_demo",
]

_HOME = {
    "FeatureExtractor": "extractor",
    "FeatureStore": "store",
    "FeaturekitError": "errors",
    "FineTuneClassifier": "finetune",
    "TransferClassifier": "transfer",
    "TransferRegressor": "transfer",
    "advise": "advisor",
    "compare": "comparison",
    "evaluate": "transfer",
    "extract": "extraction",
    "load_model": "transfer",
    "run_demo": "demo",
}

if TYPE_CHECKING:
    from .advisor import advise
    from .comparison import compare
    from .demo import run_demo
    from .errors import FeaturekitError
    from .extraction import extract
    from .extractor import FeatureExtractor
    from .finetune import FineTuneClassifier
    from .store import FeatureStore
    from .transfer import TransferClassifier, TransferRegressor, evaluate, load_model


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
