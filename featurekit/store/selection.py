"""Some rows of a store, as a store."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from .reader import FeatureStore
from .schema import Columns, Ledger, Places, Rows
from .shards import OpenShards
from .texts import counts_of

T = TypeVar("T")
_READ_AGAIN = frozenset({"columns", "ledger", "places"})


class StoreSelection(FeatureStore):
    """Some rows of a store, in a chosen order, for everything that takes a store. No row is copied.

    :meth:`FeatureStore.select` makes it. Its ledger holds the images of the selected rows. Closing it closes the files
    of the store that it was selected from; reading opens them again.

    Parameters
    ----------
    store : FeatureStore
    rows : ndarray of int
        Numbers of rows, from 0.
    """

    def __init__(self, store: FeatureStore, rows: NDArray[np.intp]) -> None:
        self._of, self._rows = store, rows
        self.path, self.space, self.provenance = store.path, store.space, store.provenance
        self.is_folder, self._home = store.is_folder, store._home
        self._length, self.summary = len(rows), None

    def __repr__(self) -> str:
        return f"<{len(self)} rows of {self._of!r}>"

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Of the rows: float32, or float16."""
        return self._of.dtype

    @cached_property
    def columns(self) -> Columns:
        """Everything about the selected rows but the rows themselves."""
        return self._of.columns.take(self._rows)

    @cached_property
    def ledger(self) -> Ledger:
        """The images of the selected rows, in the order of the source."""
        whole = self._of.ledger
        place = np.full(len(self._of), -1, dtype=np.int64)
        place[self._rows[::-1]] = np.arange(len(self._rows))[::-1]  # of a row that is there twice, the first place
        kept = np.flatnonzero((whole.row >= 0) & (place[whole.row] >= 0))
        reason = {new: whole.reason[old] for new, old in enumerate(kept.tolist()) if old in whole.reason}
        return Ledger(whole.path[kept], whole.status[kept], reason, place[whole.row[kept]])

    @cached_property
    def places(self) -> Places:
        """Where the selected rows of a folder store lie."""
        shards, shard, row = self._of.places
        return Places(shards, shard[self._rows], row[self._rows])

    @property
    def class_counts(self) -> dict[str, int]:
        """Selected rows of each label, sorted by label; unlabelled rows are left out."""
        return dict(sorted((label, count) for label, count in counts_of(self.columns.label).items() if label))

    @property
    def ledger_counts(self) -> dict[str, int]:
        """Images of each status."""
        return self.ledger.counts()

    def find(self, path: str) -> int:
        """The selected row of an image, by its path as the source names it; raises KeyError if there is none."""
        found = np.flatnonzero(self.columns.path == path.encode("utf-8", "surrogateescape"))
        if not len(found):
            raise KeyError(f"none of the selected rows of {self.path} has the path {path!r}")
        return int(found[0])

    def close(self) -> None:
        """Close the files of the store. Reading rows opens them again."""
        self._of.close()

    def release(self) -> None:
        """Close the files of the store, and forget what was read of them."""
        self._of.release()
        for name in _READ_AGAIN:
            self.__dict__.pop(name, None)

    def shards(self) -> OpenShards:
        """Of a folder store."""
        return self._of.shards()

    def check_unchanged(self) -> None:
        """Raise StoreFormatError if the store was written anew since it was opened here."""
        self._of.check_unchanged()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _READ_AGAIN}

    def _gather(self, index: NDArray[np.integer[Any]]) -> Rows:
        return self._of._gather(self._rows[index])

    def _file(self) -> h5py.File:
        return self._of._file()

    def _read(self, part: Callable[[h5py.File], T]) -> T:
        return self._of._read(part)
