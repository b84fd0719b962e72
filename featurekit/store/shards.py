"""The shards of a folder store, opened as their rows are asked for."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import StoreFormatError
from ..fingerprint import FeatureSpace
from .copies import copied, copy_of, drop_copy, drop_damaged_copy
from .far import Far, Place
from .guards import open_checked
from .reading import check_rows, read_rows
from .schema import Places, Rows

OPEN_SHARDS = 64
"""That are open at once: a process may have about a thousand files open."""


class OpenShards:
    """The shards of one store, of which some are open. Of one behind a URL, copies are read.

    Parameters
    ----------
    home : Path or Far
        Where they lie.
    space : FeatureSpace
        Of all rows.
    """

    def __init__(self, home: Place, space: FeatureSpace) -> None:
        self._home, self._space = home, space
        self._files: OrderedDict[str, h5py.File] = OrderedDict()

    def rows(
        self,
        out: Rows,
        places: Places,
        index: NDArray[np.integer[Any]],
        sha256: NDArray[np.uint8],
    ) -> None:
        """Rows into `out`, in the order of `index`, each compared with its checksum and with its image's hash.

        Raises
        ------
        StoreFormatError
            If a shard is missing or damaged.
        StoreError
            If one cannot be had.
        """
        shard, row = places.shard[index], places.row[index]
        order = np.argsort(shard, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(shard[order])) + 1) if len(order) else []
        for start in range(0, len(parts), OPEN_SHARDS):  # of far ones no more are copied at once than are kept
            window = [(places.shards[int(shard[part[0]])], part) for part in parts[start : start + OPEN_SHARDS]]
            if isinstance(self._home, Far):
                copied(self._home, [name for name, _ in window if name not in self._files])
            for name, part in window:
                out[part] = self._rows_of(name, row[part], sha256[part])

    def _rows_of(self, name: str, rows: NDArray[np.integer[Any]], sha256: NDArray[np.uint8]) -> Rows:
        try:
            file = self.file(name)
            found = read_rows(file["X"], rows)
            check_rows(file, rows, found, sha256)
            return found
        except StoreFormatError:
            if not self._copy_dropped(name):
                raise
        return self._rows_of(name, rows, sha256)

    def file(self, name: str) -> h5py.File:
        """A shard, open. Raises StoreFormatError if it is missing, or is none of this store."""
        if name not in self._files:
            path = self.path(name)
            try:
                file, space, _ = open_checked(path)
            except FileNotFoundError as error:
                raise StoreFormatError(
                    f"{path} is missing: the store was written anew since it was opened here (open it again), "
                    "or the shard was set aside or deleted (extract again)"
                ) from error
            if space != self._space or "X" not in file:
                file.close()
                raise StoreFormatError(f"{path} holds rows of another feature space than the index beside it")
            self._files[name] = file
            if len(self._files) > OPEN_SHARDS:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(name)
        return self._files[name]

    def path(self, name: str) -> Path:
        """Where a shard lies, or its copy. Raises StoreError if it cannot be copied."""
        return copy_of(self._home, name) if isinstance(self._home, Far) else self._home / name

    def whole(self, name: str) -> Path:
        """As `path`, to be compared with its name; of a far one a new copy: the old one says nothing of the shard."""
        if isinstance(self._home, Far):
            drop_copy(name)
            self._close(name)
        return self.path(name)

    def _copy_dropped(self, name: str) -> bool:
        if not isinstance(self._home, Far) or not drop_damaged_copy(name):
            return False
        self._close(name)
        return True

    def _close(self, name: str) -> None:
        if name in self._files:
            self._files.pop(name).close()

    def close(self) -> None:
        """Close the files."""
        while self._files:
            self._files.popitem()[1].close()
