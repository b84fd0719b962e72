"""What one run does to one output: what it held, what it will hold, and how that is made its published state."""

from __future__ import annotations

import itertools
import logging
import os
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from .._version import __version__
from ..backbones import MODULE, Backbone, default_layer
from ..errors import ANOTHER_OUTPUT, DamagedRowsError, Note, Remedy, StoreError, StoreFormatError
from ..folders import is_url
from ..images import Source, public
from ..pipeline import Destination, Outcome
from ..store import (
    DTYPES,
    DUPLICATE,
    FAILED,
    INDEX,
    KEPT,
    Columns,
    Far,
    FeatureStore,
    Ledger,
    Place,
    ShardCache,
    Summary,
    is_store_file,
    parts_folder,
    publish,
    publish_index,
    salvage_columns,
)
from ..wording import count
from .rows import (
    Old,
    check_contents_leaving,
    check_sizes_leaving,
    keep_known,
    nothing_readable,
    recall_hashes,
    removed_paths,
    rows_and_ledger,
    up_to_date,
)

logger = logging.getLogger(__name__)


class Update:
    """One output of a run: opened, filled, published.

    Parameters
    ----------
    target : Path or Far
        A store file, or the folder of a folder store. The caller holds its lock.
    backbone : Backbone
    listing : Source
    replace, refresh, dtype
        As in :func:`extract`.
    followed : bool
        Whether the layer is that of the rows that were there, and not one that was asked for.

    Attributes
    ----------
    destination : Destination
        For :func:`fill`.

    Raises
    ------
    FeatureSpaceError, StoreError
        If the output holds something else, or rows of it would leave that should not.
    """

    def __init__(
        self,
        target: Place,
        backbone: Backbone,
        listing: Source,
        *,
        replace: bool,
        refresh: bool,
        dtype: str | None,
        followed: bool,
    ) -> None:
        self.target = target
        self._state = _far_state(target)
        self._listing = listing
        self._replace, self._followed = replace, followed
        self._old = old = _read_old(target, refresh)
        self._cache = ShardCache(
            parts_folder(target), backbone.space, old.store, root=listing.root, dtype=_dtype(old.store, dtype)
        )
        self._gone, self._removed = removed_paths(old, listing, replace)
        check_sizes_leaving(old, listing, replace)
        self._began = datetime.now(UTC).isoformat("T", "seconds")
        self._damaged = old.damaged
        self._deep: set[str] = set()  # paths of images of which 8 of more bits were kept
        self._changed = False
        self._again = False
        self.destination = Destination(backbone, self._cache, None if refresh else self._cache.signatures())

    def publish(self, outcomes: Sequence[Outcome], verify: bool) -> bool:
        """Make the rows of these outcomes the published state; False if some turned out damaged and are missing now."""
        old, listing, cache, target = self._old, self._listing, self._cache, self.target
        deep = (item.path for item, outcome in zip(listing.items, outcomes, strict=True) if outcome.deep)
        self._deep.update(deep)  # it may be called again with what was missing
        kept: dict[int, str] = {}
        if not self._replace:
            outcomes, kept = keep_known(listing.items, outcomes, old, listing, cache, self._began)
        columns, ledger = rows_and_ledger(listing.items, outcomes, self._gone, kept, listing.splits)
        recall_hashes(columns, outcomes, cache)
        if not len(columns):
            raise nothing_readable(ledger, listing)
        parts = parts_folder(target)
        check_contents_leaving(old, listing, columns, self._replace, parts if self._has_own(parts) else None)
        self._changed = self._damaged or not up_to_date(old, listing, columns, ledger)
        try:
            if verify and (not self._changed or not is_store_file(target)):
                cache.check()
            if self._changed:
                self._check_alone()
                _publish(target, self.destination.backbone, cache, self._provenance(), columns, ledger)
        except DamagedRowsError as error:
            dropped = cache.drop_damaged()
            if not dropped and self._again:
                raise
            if dropped:
                logger.warning("%d rows of %s were damaged and are computed again", dropped, target)
            else:
                logger.warning("%s", error)
            self._damaged = self._again = True
            return False
        self._columns, self._ledger = columns, ledger
        return True

    def _has_own(self, parts: Place) -> bool:
        """Tell whether there are computed rows in a folder that holds nothing else."""
        return parts != self.target and isinstance(parts, Path) and parts.exists()

    def _check_alone(self) -> None:
        """Behind a URL nothing is locked, so another machine may have published meanwhile."""
        if _far_state(self.target) != self._state:
            raise StoreError(
                f"another command has written to {self.target} meanwhile, and that is kept as it is. So are the rows "
                "that were computed here: run the same command again when the other one is done."
            )

    def finish(self, started: float) -> FeatureStore:
        """The published store, opened for reading, with what the run that began at `started` did."""
        if self._old.store is not None:
            self._old.store.close()
        store = FeatureStore(self.target)
        parts = parts_folder(self.target)
        if self._changed or (isinstance(parts, Path) and parts.exists()):
            self._cache.discard_published(store)
        counts = self._ledger.counts()
        duplicates, failed, kept = (counts.get(status, 0) for status in (DUPLICATE, FAILED, KEPT))
        images, computed = len(self._listing.items), self.destination.computed
        store.summary = Summary(
            images=images,
            computed=computed,
            reused=images - computed - duplicates - failed - kept,
            duplicates=duplicates,
            failed=failed,
            kept=kept,
            removed=self._removed,
            seconds=time.perf_counter() - started,
            notes=(*_notes(self._old, self._listing, self._columns, self._deep), *self._layer_notes()),
            runtime=self.destination.runtime,
            fidelity=self.destination.fidelity,
        )
        return store

    def _layer_notes(self) -> list[Note]:
        """Say it where the rows are not of the layer that a new store would take."""
        backbone = self.destination.backbone
        usual = default_layer(backbone) if self._followed else backbone.layer
        if usual == backbone.layer:
            return []
        said = f"{self.target} holds the layer {backbone.layer} and keeps it; a new store takes {usual}."
        return [Note(said, [Remedy("extract that into a store of its own", "layer")])]

    def _provenance(self) -> dict[str, str]:
        backbone, listing = self.destination.backbone, self._listing
        library = [] if backbone.spec.library == MODULE else [backbone.spec.library]
        packages = ("torch", *library, "numpy", "pillow", "h5py")
        before = self._old.store.provenance if self._old.store is not None else {}
        # Where nothing was computed now, what was said then still holds.
        fidelity = self.destination.fidelity or before.get("fidelity", "")
        decoder = self.destination.decoder or before.get("decoder", "")
        return {
            "created": datetime.now(UTC).isoformat("T", "seconds"),
            "source": _named(listing.called),
            "kind": listing.kind,
            "root": listing.root,
            "place": listing.place,
            "runtime": self._cache.runtimes,
            **({"weights_file": os.path.abspath(str(backbone.weights_path))} if backbone.found_in == "file" else {}),
            **({"decoder": str(decoder)} if decoder else {}),
            **({"fidelity": str(fidelity)} if fidelity else {}),
            "version_featurekit": __version__,
            "version_python": platform.python_version(),
            **{f"version_{name}": metadata.version(name) for name in packages},
        }


def _named(called: str) -> str:
    return (public(called) if is_url(called) else called) or "images from Python"


def _far_state(target: Place) -> tuple[int, int] | None:
    with suppress(FileNotFoundError):
        return (target / INDEX).state() if isinstance(target, Far) else None
    return None


def _read_old(target: Place, refresh: bool) -> Old:
    published = target if is_store_file(target) else target / INDEX
    if not published.exists():
        return Old(None)
    try:
        store = FeatureStore(target)
        if store.is_folder:
            _ = store.places
    except StoreFormatError as error:
        if not refresh:
            way = "set this file aside" if isinstance(published, Path) else "have it replaced"
            raise StoreFormatError(
                f"{error}\nNothing was changed.",
                remedies=[ANOTHER_OUTPUT, Remedy(f"{way} and compute what is missing", "refresh", True)],
            ) from error
        if isinstance(published, Path):
            aside = _free_name(published.with_name(published.name + ".damaged"))
            os.replace(published, aside)
            logger.warning("Set aside what cannot be read: %s (%s)", aside, error)
        else:
            logger.warning("What cannot be read will be replaced: %s (%s)", published, error)
        return Old(None)
    columns, bad = salvage_columns(store)
    ledger: Ledger | None = None
    try:
        ledger = store.ledger
    except StoreFormatError as error:
        logger.warning("%s", error)
    if bad.any():
        logger.warning("%s: paths, labels or hashes of %d rows were damaged", target, bad.sum())
    return Old(store, columns, ledger, ledger is None or bool(bad.any()))


def _free_name(path: Path) -> Path:
    names = (path if not i else path.with_name(f"{path.name}.{i}") for i in itertools.count())
    return next(name for name in names if not name.exists())


def _dtype(base: FeatureStore | None, asked: str | None) -> np.dtype[Any]:
    if asked is not None and asked not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {asked!r}")
    if base is None:
        return DTYPES[asked or "float32"]
    if asked is not None and DTYPES[asked] != base.dtype:
        raise StoreError(
            f"{base.path} holds rows of {base.dtype}, not {asked}. Nothing was changed.",
            remedies=[
                ANOTHER_OUTPUT,
                Remedy(f"convert it: featurekit store merge {base.path} -o OTHER.h5 --dtype {asked}"),
            ],
        )
    return base.dtype


def _publish(
    target: Place, backbone: Backbone, cache: ShardCache, provenance: dict[str, str], columns: Columns, ledger: Ledger
) -> None:
    if is_store_file(target):
        blocks = cache.blocks(columns.sha256)
        publish(target, backbone.space, provenance, columns, ledger, blocks, cache.dtype)
    else:
        publish_index(target, backbone.space, provenance, columns, ledger, cache.places(columns.sha256))


def _notes(old: Old, listing: Source, columns: Columns, deep: set[str]) -> tuple[str, ...]:
    """Note what is odd about the source and its images, and what it does to the store."""
    lost = [
        f"The rows had {name}s, and this source has none: they are gone from the store."
        for name in ("label", "group", "split")
        if old.columns is not None and any(getattr(old.columns, name)) and not any(getattr(columns, name))
    ]
    reduced = []
    if deep:
        have = count(len(deep), "image has", "images have")
        kept = "8 are kept, which is what the network takes"
        reduced = [f"{have} more than 8 bits for each value (such as {min(deep)}): {kept}."]
    return (*listing.notes, *lost, *reduced)
