"""Comparison of backbones and heads on the same folds: which works on these images, and how sure is that."""

from __future__ import annotations

from .result import Compared, Comparison
from .run import DEFAULT_HEADS, compare

__all__ = ["DEFAULT_HEADS", "Compared", "Comparison", "compare"]
