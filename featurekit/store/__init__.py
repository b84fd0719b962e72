"""The store: rows of one feature space in HDF5, with labels, hashes, ledger and provenance. No torch."""

from __future__ import annotations

from .cache import ShardCache, check_space, held_layer, held_space
from .editing import merge, remove
from .exporting import export
from .far import Far, Place, place_of
from .index import HashIndex
from .joined import JoinedStores
from .lock import WriteLock
from .reader import FeatureStore
from .row_cache import MemoryCache, RowCache
from .row_view import RowView
from .schema import (
    DTYPES,
    DUPLICATE,
    FAILED,
    INDEX,
    KEPT,
    REMOVED,
    STORED,
    Columns,
    Ledger,
    LedgerEntry,
    Places,
    Rows,
)
from .signatures import Signatures
from .summary import Summary
from .texts import MAX_TEXT, Text, decode, encode
from .verification import Verification, salvage_columns, verify
from .writer import check_target, is_store_file, lock_file, parts_folder, publish, publish_index, write_shard

__all__ = [
    "DTYPES",
    "DUPLICATE",
    "FAILED",
    "INDEX",
    "KEPT",
    "MAX_TEXT",
    "REMOVED",
    "STORED",
    "Columns",
    "Far",
    "FeatureStore",
    "HashIndex",
    "JoinedStores",
    "Ledger",
    "LedgerEntry",
    "MemoryCache",
    "Place",
    "Places",
    "RowCache",
    "RowView",
    "Rows",
    "ShardCache",
    "Signatures",
    "Summary",
    "Text",
    "Verification",
    "WriteLock",
    "check_space",
    "check_target",
    "decode",
    "encode",
    "export",
    "held_layer",
    "held_space",
    "is_store_file",
    "lock_file",
    "merge",
    "parts_folder",
    "place_of",
    "publish",
    "publish_index",
    "remove",
    "salvage_columns",
    "verify",
    "write_shard",
]
