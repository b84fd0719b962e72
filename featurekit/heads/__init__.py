"""Heads: the scikit-learn classifiers that take the place of the network's removed last layer.

A head sees rows of shape (n, d), never a network: nothing in here imports torch.
"""

from __future__ import annotations

from .closed import LDAPath, NearestCentroid, RidgePath
from .kernel import SVMPath
from .linear import LinearSVMPath, LogisticRegressionPath
from .named import HEADS, fit_head, head_name, make_head
from .neighbours import NearestNeighbours
from .path import PathClassifier

__all__ = [
    "HEADS",
    "LDAPath",
    "LinearSVMPath",
    "LogisticRegressionPath",
    "NearestCentroid",
    "NearestNeighbours",
    "PathClassifier",
    "RidgePath",
    "SVMPath",
    "fit_head",
    "head_name",
    "make_head",
]
