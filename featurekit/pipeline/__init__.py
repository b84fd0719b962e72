"""The pipeline: read, hash, decode what is missing, run the networks, hand the rows to caches."""

from __future__ import annotations

from .filling import check_counts, fill
from .looking import unchanged
from .progress import progress_bar
from .records import Destination, Outcome, columns_of

__all__ = ["Destination", "Outcome", "check_counts", "columns_of", "fill", "progress_bar", "unchanged"]
