"""Extraction: the network runs once over every image whose row is not there yet."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from ._version import __version__
from .backbones import DEFAULT_BACKBONE, Backbone, find
from .errors import SourceError, StoreError
from .images import Item, Source, read_source
from .pipeline import Outcome, check_counts, columns_of, fill, progress_bar
from .store import (
    DUPLICATE,
    FAILED,
    REMOVED,
    STORED,
    Columns,
    FeatureStore,
    LedgerEntry,
    ShardCache,
    Summary,
    WriteLock,
    parts_folder,
    publish,
)


def extract(
    source: Any,
    *,
    output: str | os.PathLike[str],
    backbone: str = DEFAULT_BACKBONE,
    weights: str | os.PathLike[str] | None = None,
    labels: Sequence[object] | None = None,
    groups: Sequence[object] | None = None,
    root: str | os.PathLike[str] | None = None,
    replace: bool = False,
    batch_size: int = 32,
    workers: int | None = None,
    device: str = "auto",
    offline: bool | None = None,
    progress: bool = False,
) -> FeatureStore:
    """Run a frozen backbone over the images of a source and keep the rows in an HDF5 store.

    Rows that the store has already are not computed again, whatever the file is called now; an
    interrupted run goes on where it stopped. An image that cannot be read never stops the run: the ledger
    names it and the reason.

    Parameters
    ----------
    source : path or sequence
        A folder of class folders, a flat folder, a CSV or Parquet manifest (``path,label[,group]``), or a
        sequence of paths, PIL images and uint8 arrays.
    output : path
        The ``.h5`` file to write. It always holds the last complete state; work in progress lives beside
        it, in ``<output>.parts``.
    backbone : str
        Its name; ``featurekit models`` lists them.
    weights : path, optional
        A local weight file instead of the default weights.
    labels, groups : sequence, optional
        One for each image, if the source is a sequence.
    root : path, optional
        Folder that the paths of a manifest are relative to. Default: the manifest's folder.
    replace : bool
        Allow rows of images that are not in this source to leave the store, when it was written from
        another place.
    batch_size : int
        Images in one call of the network. The rows do not depend on it.
    workers : int, optional
        Threads that decode images. Default: the number of processors.
    device : str
        ``"auto"``, or a torch device such as ``"cpu"`` or ``"cuda:0"``.
    offline : bool, optional
        Forbid downloading weights. Default: the environment variable ``FEATUREKIT_OFFLINE``.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    FeatureStore
        Opened for reading; its ``summary`` says what this run did and its ``ledger`` what became of every
        image.

    Raises
    ------
    SourceError
        If the source cannot be used, or not one of its images can be read.
    BackboneError, WeightsError
        If the backbone or its weights cannot be had.
    FeatureSpaceError
        If the output holds rows of another feature space; the message says what differs.
    StoreLockedError
        If another process is writing to the output.
    StoreError
        If the output cannot be written.

    Examples
    --------
    >>> from featurekit import extract
    >>> folder, target = getfixture("digits_folder"), getfixture("tmp_path") / "digits.h5"
    >>> store = extract(folder, output=target)
    >>> store.X.shape, store.summary.computed, store.summary.failed
    ((60, 1280), 60, 0)
    >>> extract(folder, output=target).summary.computed
    0
    """
    started = time.perf_counter()
    check_counts(batch_size, workers)
    listing = read_source(source, labels=labels, groups=groups, root=root)
    target = _check_target(Path(output))
    found = find(backbone, weights, offline=offline)
    with WriteLock(target.with_name(target.name + ".lock")):
        base = FeatureStore(target) if target.exists() else None
        cache = ShardCache(parts_folder(target), found.space, base, root=listing.root)
        gone = _removed(base, listing, replace)
        with progress_bar(len(listing.items), progress) as advance:
            filled = fill(
                listing.items,
                found,
                cache,
                batch_size=batch_size,
                workers=workers,
                device=device,
                signatures=cache.signatures(),
                advance=advance,
            )
        columns, ledger = _rows_and_ledger(listing.items, filled.outcomes)
        if not columns.path:
            raise _nothing_readable(ledger)
        ledger += [LedgerEntry(path, REMOVED, "no longer in the source", -1) for path in gone]
        contents = [bytes(content) for content in columns.sha256]
        if base is not None and not replace:
            # Another folder may well hold other images under the same names (train/001.jpg, test/001.jpg).
            kept = set(contents)
            rows = zip(base.columns.path, map(bytes, base.columns.sha256), strict=True)
            _check_leaving(base, listing, [path for path, content in rows if content not in kept])
        if base is None or not _up_to_date(base, listing, columns, ledger):
            provenance = _provenance(source, listing, found, cache.runtimes)
            publish(target, found.space, provenance, columns, ledger, cache.blocks(contents))
        if base is not None:
            base.close()
        cache.discard_published(set(contents))
        store = FeatureStore(target)
    statuses = [entry.status for entry in ledger]
    duplicates, failed = statuses.count(DUPLICATE), statuses.count(FAILED)
    images = len(listing.items)
    store.summary = Summary(
        images=images,
        computed=filled.computed,
        reused=images - filled.computed - duplicates - failed,
        duplicates=duplicates,
        failed=failed,
        removed=len(gone),
        seconds=time.perf_counter() - started,
        notes=tuple(listing.notes),
    )
    return store


def _rows_and_ledger(items: Sequence[Item], outcomes: Sequence[Outcome]) -> tuple[Columns, list[LedgerEntry]]:
    first: dict[bytes, str] = {}
    rows: list[tuple[str, str, str, Outcome]] = []
    ledger: list[LedgerEntry] = []
    for item, outcome in zip(items, outcomes, strict=True):
        if outcome.reason:
            ledger.append(LedgerEntry(item.path, FAILED, outcome.reason, -1))
            continue
        status = DUPLICATE if outcome.content in first else STORED
        ledger.append(LedgerEntry(item.path, status, first.get(outcome.content, ""), len(rows)))
        first.setdefault(outcome.content, item.path)
        rows.append((item.path, item.label, item.group, outcome))
    return columns_of(rows), ledger


def _removed(base: FeatureStore | None, listing: Source, replace: bool) -> list[str]:
    """Paths that had a row, now or before, and are not in the source; raise if that looks like a mistake."""
    if base is None or replace:
        return []
    here = {item.path for item in listing.items}
    leaving = [path for path in base.columns.path if path not in here]
    _check_leaving(base, listing, leaving)
    before = [entry.path for entry in base.ledger if entry.status == REMOVED and entry.path not in here]
    return sorted({*leaving, *before})


def _check_leaving(base: FeatureStore, listing: Source, leaving: Sequence[str]) -> None:
    root = base.provenance.get("root", "")
    if leaving and root != listing.root:
        raise StoreError(
            f"{base.path} was written from {root or 'a list of images'}, and the images of {len(leaving)} of its "
            f"{len(base)} rows (such as {leaving[0]}) are not in {listing.root or 'this list of images'}: they would "
            "leave the store. Nothing was changed. Choose another output, or let them go (replace=True, --replace)."
        )


def _up_to_date(base: FeatureStore, listing: Source, columns: Columns, ledger: list[LedgerEntry]) -> bool:
    return base.provenance.get("root", "") == listing.root and base.columns.same_as(columns) and base.ledger == ledger


def _nothing_readable(ledger: Sequence[LedgerEntry]) -> SourceError:
    shown = "\n".join(f"  {entry.path}: {entry.reason}" for entry in ledger[:10])
    more = f"\n  ... and {len(ledger) - 10} more" if len(ledger) > 10 else ""
    return SourceError(f"none of the {len(ledger)} images could be read, so no store was written:\n{shown}{more}")


def _provenance(source: Any, listing: Source, backbone: Backbone, runtime: str) -> dict[str, str]:
    packages = ("torch", backbone.spec.library, "numpy", "pillow", "h5py")
    versions = {f"version_{name}": metadata.version(name) for name in packages}
    return {
        "created": datetime.now(UTC).isoformat("T", "seconds"),
        "source": os.fspath(source) if isinstance(source, str | os.PathLike) else "images from Python",
        "kind": listing.kind,
        "root": listing.root,
        "runtime": runtime,
        "version_featurekit": __version__,
        "version_python": platform.python_version(),
        **versions,
    }


def _check_target(target: Path) -> Path:
    if target.suffix.lower() not in {".h5", ".hdf5"}:
        raise StoreError(f"the output must be the name of an .h5 file, got {target}")
    if target.is_symlink():
        raise StoreError(f"{target} is a symbolic link; name the file that it leads to ({target.resolve()})")
    if target.is_dir():
        raise StoreError(f"{target} is a folder; expected the name of an .h5 file")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {target.parent}: {error.strerror}") from error
    return target
