"""Caches of rows by content hash: the network never runs twice over one image."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import FeatureSpaceError, StoreFormatError
from ..fingerprint import FeatureSpace
from .lock import WriteLock
from .reader import FeatureStore
from .schema import Columns
from .writer import make_folder, write_shard

logger = logging.getLogger(__name__)

_BLOCK_ROWS = 1024


class RowCache(Protocol):
    """Rows of one feature space, found by content hash."""

    def __contains__(self, content: bytes) -> bool: ...

    def begin(self) -> None:
        """Called before the first row is computed: wait for the right to write, look again what is there."""
        ...

    def add(self, columns: Columns, rows: NDArray[np.float32], runtime: str) -> None:
        """Keep rows, of which ``columns.sha256`` holds the content hashes and `runtime` says what computed them."""
        ...

    def gather(self, contents: Sequence[bytes]) -> NDArray[np.float32]:
        """The rows of these hashes, in this order; each must be in the cache."""
        ...


class MemoryCache:
    """Keeps rows in memory, for one call.

    Parameters
    ----------
    dim : int
        Length of a row.
    """

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._rows: dict[bytes, NDArray[np.float32]] = {}

    def __contains__(self, content: bytes) -> bool:
        return content in self._rows

    def begin(self) -> None:
        """Nothing to wait for."""

    def add(self, columns: Columns, rows: NDArray[np.float32], runtime: str) -> None:
        """Keep rows."""
        self._rows.update(zip(map(bytes, columns.sha256), rows, strict=True))

    def gather(self, contents: Sequence[bytes]) -> NDArray[np.float32]:
        """The rows of these hashes, in this order."""
        out = np.empty((len(contents), self._dim), dtype=np.float32)
        for i, content in enumerate(contents):
            out[i] = self._rows[content]
        return out


class ShardCache:
    """Keeps rows on the disk: a published store, if there is one, and immutable shards beside it.

    Parameters
    ----------
    folder : Path
        Where shards are read and written. Made when the first is written.
    space : FeatureSpace
        Of all rows.
    base : FeatureStore, optional
        A published store to look in as well.
    root : str
        Where the paths of the rows to be added start; their signatures are believed below it only.
    lock : WriteLock, optional
        Taken by :meth:`begin` and given back by :meth:`close`. None if the caller holds it.

    Raises
    ------
    FeatureSpaceError
        If the store or a shard holds rows of another feature space.
    """

    def __init__(
        self,
        folder: Path,
        space: FeatureSpace,
        base: FeatureStore | None = None,
        *,
        root: str = "",
        lock: WriteLock | None = None,
    ) -> None:
        self.folder = folder
        self.space = space
        self._root = root
        self._lock = lock
        self._locked = False
        self._files: list[FeatureStore] = []
        self._seen: set[str] = set()
        self._where: dict[bytes, tuple[int, int]] = {}
        if base is not None:
            check_space(base, space)
            self._include(base)
        self.refresh()

    def refresh(self) -> None:
        """Take in shards that another process has written meanwhile."""
        for path in self.shards():
            if path.name in self._seen:
                continue
            self._seen.add(path.name)
            try:
                shard = FeatureStore(path)
            except (StoreFormatError, FileNotFoundError) as error:
                # Work in progress can always be done again; say so and go on.
                logger.warning("Left out a damaged shard, its rows are computed again: %s", error)
                continue
            check_space(shard, self.space)
            self._include(shard)

    @property
    def runtimes(self) -> str:
        """What computed the rows, as their files say; more than one are joined by semicolons."""
        return "; ".join(dict.fromkeys(str(file.provenance.get("runtime", "")) for file in self._files))

    def shards(self) -> list[Path]:
        """The shards on the disk, sorted by name."""
        return sorted(self.folder.glob("rows-*.h5"))

    def __contains__(self, content: bytes) -> bool:
        return content in self._where

    def begin(self) -> None:
        """Take the lock, if there is one, and take in what others wrote while it was awaited."""
        if self._lock is not None and not self._locked:
            make_folder(self.folder)
            self._lock.__enter__()
            self._locked = True
            self.refresh()

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None and self._locked:
            self._lock.__exit__(None, None, None)
            self._locked = False

    def add(self, columns: Columns, rows: NDArray[np.float32], runtime: str) -> None:
        """Write rows as a new shard; they are safe on the disk when this returns."""
        path = write_shard(self.folder, self.space, {"root": self._root, "runtime": runtime}, columns, rows)
        self._seen.add(path.name)
        self._include(FeatureStore(path))

    def gather(self, contents: Sequence[bytes]) -> NDArray[np.float32]:
        """The rows of these hashes, in this order."""
        out = np.empty((len(contents), self.space.dim), dtype=np.float32)
        places = np.array([self._where[content] for content in contents], dtype=np.intp).reshape(-1, 2)
        for number in np.unique(places[:, 0]):
            chosen = np.flatnonzero(places[:, 0] == number)
            file = self._files[number]
            out[chosen] = file.X[places[chosen, 1]]
            file.close()  # there may be more shards than a process may open files
        return out

    def blocks(self, contents: Sequence[bytes]) -> Iterator[NDArray[np.float32]]:
        """The rows of these hashes, in this order, a bounded number at a time."""
        for start in range(0, len(contents), _BLOCK_ROWS):
            yield self.gather(contents[start : start + _BLOCK_ROWS])

    def signatures(self) -> dict[str, tuple[int, int, bytes]]:
        """Size, modification time and content hash of the files below the root that are known, by path."""
        known: dict[str, tuple[int, int, bytes]] = {}
        for file in self._files:
            if self._root and file.provenance.get("root") == self._root:
                c = file.columns
                values = zip(c.path, c.size.tolist(), c.mtime_ns.tolist(), map(bytes, c.sha256), strict=True)
                known.update((path, (size, mtime, content)) for path, size, mtime, content in values)
                file.close()
        return known

    def discard_published(self, contents: Container[bytes]) -> None:
        """Delete the shards of which every row is in `contents`, and the folder if it is empty then."""
        for file in self._files:
            if file.path.parent == self.folder and all(bytes(content) in contents for content in file.columns.sha256):
                file.close()
                file.path.unlink(missing_ok=True)
        for leftover in self.folder.glob("*.tmp"):
            leftover.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    def _include(self, file: FeatureStore) -> None:
        number = len(self._files)
        self._files.append(file)
        for row, content in enumerate(map(bytes, file.columns.sha256)):
            self._where.setdefault(content, (number, row))
        file.close()


def check_space(store: FeatureStore, space: FeatureSpace) -> None:
    """Raise `FeatureSpaceError` unless the rows of `store` are of the feature space `space`."""
    if store.fingerprint != space.fingerprint:
        raise FeatureSpaceError(
            f"{store.path} holds rows of another feature space, and rows of two are never mixed. "
            f"It holds {'; '.join(store.space.differences(space))}. Nothing was changed. "
            "Choose another output, or delete the old one first."
        )
