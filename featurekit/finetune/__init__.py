"""Fine-tuning: train the upper stages of a network, all of them, or from scratch."""

from __future__ import annotations

from .classifier import FineTuneClassifier
from .recipe import Recipe

__all__ = ["FineTuneClassifier", "Recipe"]
