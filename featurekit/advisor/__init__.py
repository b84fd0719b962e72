"""The advisor: whether frozen features suffice, by measured evidence."""

from __future__ import annotations

from .result import Advice, Alternative, Evidence
from .run import advise

__all__ = ["Advice", "Alternative", "Evidence", "advise"]
