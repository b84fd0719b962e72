"""The store: rows of one feature space in HDF5, with labels, hashes, ledger and provenance. No torch."""

from __future__ import annotations

from .cache import MemoryCache, RowCache, ShardCache, check_space
from .lock import WriteLock
from .reader import FeatureStore, RowView, Summary
from .schema import DUPLICATE, FAILED, REMOVED, STORED, Columns, LedgerEntry
from .writer import parts_folder, publish

__all__ = [
    "DUPLICATE",
    "FAILED",
    "REMOVED",
    "STORED",
    "Columns",
    "FeatureStore",
    "LedgerEntry",
    "MemoryCache",
    "RowCache",
    "RowView",
    "ShardCache",
    "Summary",
    "WriteLock",
    "check_space",
    "parts_folder",
    "publish",
]
