"""Stores made from stores: several joined, or some rows taken out. No network, no image is needed."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Remedy, StoreError
from .cache import check_space
from .copies import delete_damaged
from .far import Far, Place, place_of
from .lock import WriteLock
from .reader import FeatureStore
from .schema import (
    DTYPES,
    DUPLICATE,
    INDEX,
    KEPT,
    REMOVED,
    SPLIT,
    STORED,
    Columns,
    Ledger,
    Places,
    Rows,
)
from .texts import Text, concatenated, decode, encode, texts_of
from .verification import damaged_rows, salvage_columns
from .writer import (
    check_target,
    discard_temporaries,
    is_store_file,
    lock_file,
    publish,
    publish_index,
    write_shard,
)

_BLOCK_ROWS = 4096
_NAMED_SOURCES = 10


def merge(
    sources: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str], *, dtype: str | None = None
) -> FeatureStore:
    """Join stores of one feature space into a new one; with one source, copy it into the other kind of store.

    Rows keep the order of the sources. Where the sources were extracted from different folders, paths are
    written relative to the folder that these have in common (``train/a.jpg`` and ``test/a.jpg``), so that
    extracting that folder into the result goes on from it. An image that comes twice under one path is
    kept once.

    Parameters
    ----------
    sources : sequence of path
        Stores; they stay as they are.
    output : path
        A new ``.h5`` file, or a new folder.
    dtype : {"float32", "float16"}, optional
        Of the rows. Default: float16 if all sources have it, else float32.

    Returns
    -------
    FeatureStore
        The new store.

    Raises
    ------
    StoreError
        If the output is there already, or one path has different images or labels in two sources.
    FeatureSpaceError
        If the sources are not all of one feature space.

    Examples
    --------
    >>> from featurekit.store import merge
    >>> folder = getfixture("tmp_path") / "copy"
    >>> merge([getfixture("digits_store_path")], folder).is_folder
    True
    """
    _refuse_text(sources=sources)
    if not sources:
        raise ValueError("expected at least one store to merge, got none")
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    stores = [FeatureStore(source) for source in sources]
    for store in stores[1:]:
        check_space(store, stores[0].space, [Remedy("merge stores of one feature space only")])
    kind = DTYPES[dtype] if dtype else np.result_type(*(store.dtype for store in stores))
    root, prefixes = _common_root([str(store.provenance.get("root", "")) for store in stores])
    parts = [_prefixed(store.columns, prefix) for store, prefix in zip(stores, prefixes, strict=True)]
    columns = Columns.concatenate(parts)
    starts = np.cumsum([0, *map(len, parts)])
    # A copy of one store is a copy, even if a manifest named an image twice.
    kept = np.ones(len(columns), dtype=np.bool_)
    if len(stores) > 1:
        ends = starts[1:]
        kept = _first_of_each_path(columns, lambda row: stores[int(np.searchsorted(ends, row, side="right"))].path)
    masks = [kept[start:stop] for start, stop in pairwise(starts)]
    columns = columns.take(kept)
    ledger = _joined_ledger(stores, prefixes, masks, columns)
    places = {str(store.provenance.get("place", root)) for store in stores}
    runtimes = [part for store in stores for part in str(store.provenance.get("runtime", "")).split("; ")]
    provenance = stores[0].provenance | {
        "root": root,
        "place": places.pop() if len(places) == 1 else root,
        "source": ", ".join(str(store.path) for store in stores[:_NAMED_SOURCES])
        + (f" and {len(stores) - _NAMED_SOURCES} more" if len(stores) > _NAMED_SOURCES else ""),
        "kind": "merged stores",
        "runtime": "; ".join(dict.fromkeys(runtimes)),
    }
    rows = [np.flatnonzero(mask) for mask in masks]
    blocks = (block for store, mine in zip(stores, rows, strict=True) for block in _blocks(store, mine))
    target = check_target(place_of(output))
    with WriteLock(lock_file(target), of=target):
        if (target if is_store_file(target) else target / INDEX).exists():
            raise StoreError(f"{target} is there already. Nothing was changed. Choose a new name for the merged store.")
        _write(target, stores[0], provenance, columns, ledger, blocks, kind)
    for store in stores:
        store.close()
    return FeatureStore(target)


def remove(
    path: str | os.PathLike[str],
    patterns: Sequence[str] = (),
    *,
    labels: Sequence[str] = (),
    damaged: bool = False,
    dry_run: bool = False,
) -> list[str]:
    """Take every row out of a store that one of the arguments names. The ledger keeps their paths, as removed.

    An image that is still in its source comes back when that is extracted again. In a folder store, the
    rows leave the index; :func:`merge` into a new store leaves them out of its shards, too.

    Parameters
    ----------
    path : path
        Of the store.
    patterns : sequence of str
        Paths of images as the store has them, or patterns such as ``"dress/*"`` (``*`` stands for any
        text, slashes included).
    labels : sequence of str
        All rows of these labels.
    damaged : bool
        All rows that do not match their checksums: for a store whose images are gone. (Where they are not,
        extracting again computes such rows anew.)
    dry_run : bool
        Change nothing.

    Returns
    -------
    list of str
        The paths of the rows that were removed, or would be.

    Raises
    ------
    StoreError
        If a pattern or label has no row, or none would be left; then nothing was changed.
    StoreLockedError
        If another process is writing to the store.

    Examples
    --------
    >>> from featurekit.store import merge, remove
    >>> copy = getfixture("tmp_path") / "copy.h5"
    >>> store = merge([getfixture("digits_store_path")], copy)
    >>> remove(copy, ["0/00*.png"])[:2], len(FeatureStore(copy))
    (['0/000.png', '0/001.png'], 50)
    """
    _refuse_text(patterns=patterns, labels=labels)
    target = place_of(path)
    FeatureStore(target).close()  # before a lock is made beside something else
    check_target(target)
    with WriteLock(lock_file(target), of=target), FeatureStore(target) as store:
        chosen = np.zeros(len(store), dtype=np.bool_)
        if damaged:
            store.columns, chosen = salvage_columns(store)
            chosen |= damaged_rows(store)
        paths, known = store.paths, store.columns.label
        for wanted in patterns:
            matches = store.columns.path == encode([wanted])[0]
            if not matches.any():
                hits = set(fnmatch.filter(paths, wanted))
                matches = np.fromiter((name in hits for name in paths), np.bool_, len(paths))
            chosen |= _some(matches, f"no row has a path like {wanted!r}", target)
        for label in labels:
            chosen |= _some(known == encode([label])[0], f"no row has the label {label!r}", target)
        if chosen.all():
            raise StoreError(f"no row of {target} would be left. Nothing was changed; delete the store instead.")
        if chosen.any() and not dry_run:
            _remove(store, target, chosen)
    return [paths[i] for i in np.flatnonzero(chosen).tolist()]


def _refuse_text(**arguments: object) -> None:
    for name, value in arguments.items():
        if isinstance(value, str | os.PathLike):
            raise ValueError(f"{name} must be a sequence, got {value!r}; put it into a list: [{value!r}]")


def _some(matches: NDArray[np.bool_], otherwise: str, target: Place) -> NDArray[np.bool_]:
    if not matches.any():
        raise StoreError(f"{otherwise} in {target}. Nothing was changed.")
    return matches


def _remove(store: FeatureStore, target: Place, chosen: NDArray[np.bool_]) -> None:
    kept = np.flatnonzero(~chosen)
    columns = store.columns.take(kept)
    old = store.ledger
    gone = (old.row >= 0) & chosen[old.row]
    reasons = {i: reason for i, reason in old.reason.items() if not gone[i]}
    reasons |= dict.fromkeys(np.flatnonzero(gone).tolist(), "removed by hand")
    status = np.where(gone, REMOVED.encode(), old.status)
    row = np.where(gone, -1, old.row)
    row[row >= 0] = (np.cumsum(~chosen) - 1)[row[row >= 0]]
    ledger = _with_duplicates(Ledger(old.path, status, reasons, row), columns)
    if store.is_folder:
        used, shard = np.unique(store.places.shard[kept], return_inverse=True)
        names = [store.places.shards[number] for number in used.tolist()]
        places = Places(names, shard.astype(np.int32), store.places.row[kept])
        if isinstance(target, Far):
            store.check_unchanged()  # nothing is locked there
        publish_index(target, store.space, store.provenance, columns, ledger, places)
        if isinstance(target, Far):
            delete_damaged(target, sorted({*store.places.shards} - {*names}))
    elif is_store_file(target):
        publish(target, store.space, store.provenance, columns, ledger, _blocks(store, kept), store.dtype)


def _write(
    target: Place,
    like: FeatureStore,
    provenance: dict[str, Any],
    columns: Columns,
    ledger: Ledger,
    blocks: Iterator[Rows],
    dtype: np.dtype[Any],
) -> None:
    if is_store_file(target):
        publish(target, like.space, provenance, columns, ledger, blocks, dtype)
        return
    names: dict[str, int] = {}
    shard, row = np.empty(len(columns), np.int32), np.empty(len(columns), np.int32)
    start = 0
    for block in blocks:
        here = slice(start, start + len(block))
        path = write_shard(target, like.space, provenance, columns.take(here), block, dtype)
        shard[here] = names.setdefault(path.name, len(names))
        row[here] = np.arange(len(block))
        start += len(block)
    publish_index(target, like.space, provenance, columns, ledger, Places(list(names), shard, row))
    discard_temporaries(target)


def _blocks(store: FeatureStore, rows: NDArray[np.intp]) -> Iterator[Rows]:
    for start in range(0, len(rows), _BLOCK_ROWS):
        yield store.X[rows[start : start + _BLOCK_ROWS]]


def _common_root(roots: list[str]) -> tuple[str, list[str]]:
    """The folder that all roots have in common, and what each path below them has to be prefixed with."""
    if not all(roots) or len(set(roots)) == 1:
        return (roots[0] if len(set(roots)) == 1 else ""), [""] * len(roots)
    try:
        common = os.path.commonpath(roots)
    except ValueError:  # of different machines, say: C:\\photos and /photos
        return "", [""] * len(roots)
    prefixes = [os.path.relpath(root, common).replace(os.sep, "/") for root in roots]
    return common, ["" if prefix == "." else f"{prefix}/" for prefix in prefixes]


def _prefixed(columns: Columns, prefix: str) -> Columns:
    return replace(columns, path=_prefix(columns.path, prefix)) if prefix else columns


def _prefix(paths: Text, prefix: str) -> Text:
    head = prefix.encode("utf-8", "surrogateescape")
    return texts_of([head + path for path in paths.tolist()]) if prefix else paths


def _first_of_each_path(columns: Columns, store_of: Callable[[int], Place]) -> NDArray[np.bool_]:
    """Which rows to keep: the first of each path. Raise if a later one says something else."""
    _, first, inverse = np.unique(columns.path, return_index=True, return_inverse=True)
    first = first[inverse]
    again = np.flatnonzero(first != np.arange(len(first)))
    for name in ("sha256", "label", "group", SPLIT):
        values = getattr(columns, name)
        differs = values[again] != values[first[again]]
        bad = again[differs.any(axis=1) if differs.ndim > 1 else differs]
        if len(bad):
            i, j, what = int(first[bad[0]]), int(bad[0]), "image" if name == "sha256" else name
            raise StoreError(
                f"{decode(columns.path[j])} has another {what} in {store_of(j)} than in {store_of(i)} "
                f"({len(bad)} such paths). Nothing was written. Remove the wrong rows first: featurekit store remove"
            )
    kept = np.ones(len(first), dtype=np.bool_)
    kept[again] = False
    return kept


def _joined_ledger(
    stores: Sequence[FeatureStore], prefixes: Sequence[str], masks: Sequence[NDArray[np.bool_]], columns: Columns
) -> Ledger:
    paths, statuses, rows = [], [], []
    reasons: dict[int, str] = {}
    entries = offset = 0
    there = set(columns.path.tolist())
    for store, prefix, mask in zip(stores, prefixes, masks, strict=True):
        old = store.ledger
        number = np.where(mask, np.cumsum(mask) - 1 + offset, -1)
        row = np.where(old.row >= 0, number[old.row] if len(number) else -1, -1)
        path = _prefix(old.path, prefix)
        # A row that was dropped, and an image that failed here and has a row from elsewhere, are not named twice.
        stay = np.where(old.row >= 0, row >= 0, [name not in there for name in path.tolist()])
        position = np.cumsum(stay) - 1 + entries
        reasons |= {int(position[i]): reason for i, reason in old.reason.items() if stay[i]}
        paths.append(path[stay])
        statuses.append(old.status[stay])
        rows.append(row[stay])
        entries += int(stay.sum())
        offset += int(mask.sum())
    ledger = Ledger(concatenated(paths), np.concatenate(statuses), reasons, np.concatenate(rows))
    return _with_duplicates(_each_path_once(ledger), columns)


def _each_path_once(ledger: Ledger) -> Ledger:
    """The ledger without the later ones of entries of one path that have no row."""
    _, first, inverse = np.unique(ledger.path, return_index=True, return_inverse=True)
    stay = (ledger.row >= 0) | (first[inverse] == np.arange(len(ledger)))
    position = np.cumsum(stay) - 1
    reasons = {int(position[i]): reason for i, reason in ledger.reason.items() if stay[i]}
    return Ledger(ledger.path[stay], ledger.status[stay], reasons, ledger.row[stay])


def _with_duplicates(ledger: Ledger, columns: Columns) -> Ledger:
    """The ledger, with what is a duplicate of what said anew."""
    contents = np.ascontiguousarray(columns.sha256).view(f"S{columns.sha256.shape[1]}")[:, 0]
    _, first, inverse = np.unique(contents, return_index=True, return_inverse=True)
    original = first[inverse]
    has_row = np.flatnonzero(ledger.row >= 0)
    row = ledger.row[has_row]
    status = ledger.status.astype("S9")
    kept = status[has_row] == KEPT.encode()
    duplicate = (original[row] != row) & ~kept
    status[has_row] = np.where(kept, KEPT.encode(), np.where(duplicate, DUPLICATE.encode(), STORED.encode()))
    reason = {i: text for i, text in ledger.reason.items() if ledger.row[i] < 0 or status[i] == KEPT.encode()}
    of = columns.path[original[row[duplicate]]]
    reason |= dict(zip(has_row[duplicate].tolist(), decode(of), strict=True))
    return Ledger(ledger.path, status, reason, ledger.row)
