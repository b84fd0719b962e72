"""Results as text and pictures for people."""

from __future__ import annotations

from .figures import draw_confusion_matrix
from .text import evaluation_text, failures_text, table

__all__ = ["draw_confusion_matrix", "evaluation_text", "failures_text", "table"]
