"""Results as text and pictures for people."""

from __future__ import annotations

from .advice import advice_text
from .figures import draw_confusion_matrix, draw_history
from .page import write_page
from .text import comparison_text, evaluation_text, failures_text, table

__all__ = [
    "advice_text",
    "comparison_text",
    "draw_confusion_matrix",
    "draw_history",
    "evaluation_text",
    "failures_text",
    "table",
    "write_page",
]
