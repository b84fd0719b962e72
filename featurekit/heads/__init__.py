"""Heads: the scikit-learn estimators that take the place of the network's removed last layer.

A head sees rows of shape (n, d), never a network: nothing in here imports torch.
"""

from __future__ import annotations

from .auto import AutoHead
from .classifier import PathClassifier, PathRegressor
from .closed import LDAPath, NearestCentroid, RidgePath, RidgeRegressionPath
from .kernel import SVMPath, SVMRegressionPath
from .linear import LinearSVMPath, LogisticRegressionPath
from .named import (
    DEFAULT_HEAD,
    HEADS,
    REGRESSION_HEADS,
    fit_head,
    fit_head_in_batches,
    fits_in_batches,
    head_name,
    make_head,
    set_blocks,
)
from .neighbours import NearestNeighbours, NearestNeighboursRegression
from .on_device import OnDevice

__all__ = [
    "DEFAULT_HEAD",
    "HEADS",
    "REGRESSION_HEADS",
    "AutoHead",
    "LDAPath",
    "LinearSVMPath",
    "LogisticRegressionPath",
    "NearestCentroid",
    "NearestNeighbours",
    "NearestNeighboursRegression",
    "OnDevice",
    "PathClassifier",
    "PathRegressor",
    "RidgePath",
    "RidgeRegressionPath",
    "SVMPath",
    "SVMRegressionPath",
    "fit_head",
    "fit_head_in_batches",
    "fits_in_batches",
    "head_name",
    "make_head",
    "set_blocks",
]
