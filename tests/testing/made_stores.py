"""Stores whose rows are made up: real files, no network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from featurekit.backbones import find
from featurekit.store import (
    STORED,
    Columns,
    Ledger,
    LedgerEntry,
    ShardCache,
    decode,
    encode,
    publish,
    publish_index,
)

SPACE = replace(find("efficientnet_lite0").space, dim=16)
OTHER = replace(SPACE, layer="stage3")


def make_rows(n, seed=0):
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 256, (n, 32), dtype=np.uint8)
    names = [f"classe-é/{seed}-{i}.jpg" for i in range(n)]
    labels = [f"label {i % 3}" for i in range(n)]
    sizes = np.arange(n, dtype=np.int64)
    rows = rng.normal(size=(n, 16)).astype(np.float32)
    return Columns(encode(names), encode(labels), encode([""] * n), hashes, sizes, sizes + 1), rows


def keys(columns):
    return [bytes(content) for content in columns.sha256]


def write(path, n=2500, seed=0, space=SPACE):
    columns, rows = make_rows(n, seed)
    ledger = Ledger.of(LedgerEntry(name, STORED, "", i) for i, name in enumerate(decode(columns.path)))
    publish(path, space, {"root": "/x"}, columns, ledger, [rows[:1000], rows[1000:]])
    return columns, rows


def write_folder(path, n=2500, seed=0, shard_rows=1000):
    """The same rows as `write`, in a folder store."""
    columns, rows = make_rows(n, seed)
    cache = ShardCache(path, SPACE)
    for start in range(0, n, shard_rows):
        here = slice(start, start + shard_rows)
        cache.add(columns.take(here), rows[here], "test")
    ledger = Ledger.of(LedgerEntry(name, STORED, "", i) for i, name in enumerate(decode(columns.path)))
    publish_index(path, SPACE, {"root": "/x"}, columns, ledger, cache.places(columns.sha256))
    return columns, rows


def flip(path, offset, bit=0):
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)
