"""A frozen backbone and a swappable scikit-learn head, as one estimator: of classes, of labels, of numbers."""

from __future__ import annotations

from .base import is_large, nothing_to_learn
from .classifier import TransferClassifier
from .regressor import TransferRegressor
from .saved import load_model
from .scoring import check_known, evaluate
from .seen import share_seen, sketch_of
from .telling import label_findings

__all__ = [
    "TransferClassifier",
    "TransferRegressor",
    "check_known",
    "evaluate",
    "is_large",
    "label_findings",
    "load_model",
    "nothing_to_learn",
    "share_seen",
    "sketch_of",
]
