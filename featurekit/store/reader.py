"""Reading a store: attributes at once, rows when they are asked for."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import StoreFormatError
from . import reading
from .copies import bytes_of, nearest
from .far import Far, place_of
from .guards import SHARD_NAME, identity, open_checked
from .row_view import RowView, row_numbers
from .schema import INDEX, SPLIT, Columns, Ledger, Places, Rows
from .shards import OPEN_SHARDS, OpenShards
from .summary import Summary
from .texts import Text, as_strings, counts_of, decode

T = TypeVar("T")
_READ_AGAIN = frozenset({"columns", "ledger", "places", "_hashes"})


class FeatureStore:
    """A store, opened for reading: a file, or a folder of shards. Both are used in the same way.

    Files are opened once in each process (safe to use after a fork, to pickle, and to pass to joblib or to
    the workers of a torch ``DataLoader``) and rows are read only where they are asked for. A reader of a
    file goes on seeing the state that it opened, even while a new one is published.

    Parameters
    ----------
    path : path-like, or URL
        The ``.h5`` file, or the folder, that :func:`featurekit.extract` wrote. Behind a URL (``s3://bucket/features``)
        no more is read than is asked for; shards are copied into the user's caches when their rows are, at most 20 GB
        of them (``FEATUREKIT_SHARDS_GB``).

    Attributes
    ----------
    path : Path or Far
        As given; `Far` is what lies behind a URL.
    space : FeatureSpace
        What the rows mean.
    fingerprint : str
        Hash of `space`.
    dtype : dtype
        Of the rows: float32, or float16.
    provenance : dict
        Source, date, runtime and versions of the run that wrote it.
    summary : Summary or None
        What the run that returned this object did; None for a store opened from a file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    StoreFormatError
        If it is not a store, is damaged, or is not safe to open.

    Examples
    --------
    >>> store = getfixture("digits_store")
    >>> store.X.shape[1], str(store.y[0]), store.paths[0], store.ledger[0].status
    (816, '0', '0/000.png', 'stored')
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = place_of(path)
        # Another process, or this one later, may work elsewhere.
        self._home = self.path if isinstance(self.path, Far) else Path(os.path.abspath(path))
        self._guard, self._guard_pid = threading.RLock(), os.getpid()
        file, self.space, self.provenance = open_checked(self.path)
        self._handle: h5py.File | None = file
        self._shards = OpenShards(self._home, self.space)
        self._pid = os.getpid()
        self._identity = identity(self.path, file)
        self._length: int = file["sha256"].shape[0]
        self.is_folder = "X" not in file
        if self.is_folder and (self.path.is_file() if isinstance(self.path, Path) else self.path.name == INDEX):
            raise StoreFormatError(f"{self.path} is the index of a folder store; open the folder {self.path.parent}")
        self.summary: Summary | None = None

    def __len__(self) -> int:
        return self._length

    def __repr__(self) -> str:
        return f"<FeatureStore {self.path}: {len(self)} rows of {self.space.backbone}, d={self.space.dim}>"

    @property
    def fingerprint(self) -> str:
        """Hash of the feature space."""
        return self.space.fingerprint

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Of the rows: float32, or float16."""
        if not self.is_folder:
            dtype: np.dtype[Any] = self._file()["X"].dtype
            return dtype
        for name in self._shard_names():
            with suppress(StoreFormatError, FileNotFoundError):  # damaged or lost: the others have the same
                home = self._home
                file, space, _ = open_checked(nearest(home, name) if isinstance(home, Far) else home / name)
                with file:
                    if space != self.space or "X" not in file:
                        continue
                    of_shard: np.dtype[Any] = file["X"].dtype
                    return of_shard
        return np.dtype(np.float32)

    def _shard_names(self) -> list[str]:
        """Of the shards that hold its rows, without reading where each row lies."""
        return self._checked_names(decode(self._text("shards"))) if self.is_folder else []

    def _checked_names(self, names: list[str]) -> list[str]:
        """Raise StoreFormatError if a name is not that of a shard, or leads elsewhere."""
        home = self._home
        for name in names:
            if not SHARD_NAME.fullmatch(name) or (isinstance(home, Path) and (home / name).is_symlink()):
                raise StoreFormatError(
                    f"{self.path / INDEX} names the shard {name!r:.100}, which no store does (refused, not opened)"
                )
        return names

    @property
    def shard_count(self) -> int:
        """Shards that hold its rows; 0 of a store that is one file."""
        return reading.count_of(self._file()["shards"]) if self.is_folder else 0

    @property
    def X(self) -> RowView:
        """The rows, shape (n, d), in source order; read where indexed."""
        return RowView(self)

    @property
    def y(self) -> NDArray[np.str_]:
        """The labels, shape (n,); empty text where there is none."""
        return as_strings(self.columns.label)

    @property
    def paths(self) -> list[str]:
        """The path of each row's image, as the source names it."""
        return decode(self.columns.path)

    @property
    def groups(self) -> NDArray[np.str_]:
        """The groups, shape (n,); empty text where there is none."""
        return as_strings(self.columns.group)

    @property
    def has_splits(self) -> bool:
        """Tell whether the source named a part of a split for some rows, without reading these."""
        return self._read(lambda file: SPLIT in file)

    @property
    def split_counts(self) -> dict[str, int]:
        """Rows of each part of the split, as the source spells it; empty if it has none."""
        return counts_of(self.columns.split) if self.has_splits else {}

    @property
    def splits(self) -> NDArray[np.str_]:
        """The part of a split that the source names for each row, shape (n,), as it spells it; empty where none."""
        return as_strings(self.columns.split)

    @cached_property
    def columns(self) -> Columns:
        """Everything about the rows but the rows themselves."""
        return self._read(reading.read_columns)

    @cached_property
    def ledger(self) -> Ledger:
        """What became of every image, in source order."""
        return self._read(reading.read_ledger)

    @cached_property
    def places(self) -> Places:
        """Where the rows of a folder store lie."""
        places = self._read(reading.read_places)
        self._checked_names(places.shards)
        rows = (places.shard.min(initial=0), places.row.min(initial=0))
        if min(rows) < 0 or places.shard.max(initial=-1) >= len(places.shards):
            raise StoreFormatError(f"{self.path / INDEX} has rows that lie in no shard, which no store does (refused)")
        return places

    @cached_property
    def _hashes(self) -> NDArray[np.uint8]:
        """All content hashes: behind a URL, rows here and there are too many requests."""
        return self._read(lambda file: reading.read_dataset(file["sha256"]))

    def find(self, path: str) -> int:
        """The row of an image, by its path as the source names it. Reads no more than a part of the paths at a time.

        Raises
        ------
        KeyError
            If no row has this path.

        Examples
        --------
        >>> store = getfixture("digits_store")
        >>> store.find("1/003.png"), store.paths[23]
        (23, '1/003.png')
        """
        row = self._read(lambda file: reading.find_text(file["path"], path.encode("utf-8", "surrogateescape")))
        if row is None:
            raise KeyError(f"no row of {self.path} has the path {path!r}")
        return row

    def select(self, rows: Any) -> FeatureStore:
        """Return some of the rows as a store, for everything that takes a store. Nothing is copied.

        Parameters
        ----------
        rows : mask, list or array of numbers, or slice
            As for an array: a boolean mask with an entry for each row, or numbers of rows in any order.

        Returns
        -------
        FeatureStore
            It cannot be written; it reads what it is asked for from this store.

        Raises
        ------
        IndexError
            If a row is not there, or a mask has another length.

        Examples
        --------
        >>> store = getfixture("digits_store")
        >>> ones = store.select(store.y == "1")
        >>> len(ones), ones.class_counts, ones.X.shape
        (20, {'1': 20}, (20, 816))
        """
        from .selection import StoreSelection

        return StoreSelection(self, np.atleast_1d(row_numbers(rows, len(self))))

    @property
    def class_counts(self) -> dict[str, int]:
        """Rows of each label, sorted by label; unlabelled rows are left out."""
        text = self.columns.label if "columns" in self.__dict__ else self._text("label")
        return dict(sorted((label, count) for label, count in counts_of(text).items() if label))

    @property
    def ledger_counts(self) -> dict[str, int]:
        """Images of each status."""
        return self.ledger.counts() if "ledger" in self.__dict__ else counts_of(self._text("ledger/status"))

    @property
    def nbytes(self) -> int:
        """Bytes on the disk, shards included."""
        home = self._home
        if not self.is_folder:
            return home.state()[0] if isinstance(home, Far) else home.stat().st_size
        names = [INDEX, *self._shard_names()]
        if isinstance(home, Far):
            return bytes_of(home, names)
        return sum((home / name).stat().st_size for name in names if (home / name).exists())

    def iter_batches(
        self, batch_size: int = 1024, *, seed: int | None = None
    ) -> Iterator[tuple[Rows, NDArray[np.str_]]]:
        """All rows and their labels, a bounded number at a time.

        Parameters
        ----------
        batch_size : int
            Rows in a batch; the last may have fewer.
        seed : int, optional
            Shuffle the rows. Without it they come in source order, which for class folders means class by
            class: learning in one pass needs them shuffled. Behind a URL, shards are shuffled, and the rows of 64
            of them at a time, so that each is fetched once.

        Yields
        ------
        X : ndarray, shape (b, d)
        y : ndarray of str, shape (b,)

        Raises
        ------
        ValueError
            If `batch_size` is not a whole number from 1.

        Examples
        --------
        >>> from sklearn.naive_bayes import GaussianNB
        >>> store, head = getfixture("digits_store"), GaussianNB()
        >>> for X, y in store.iter_batches(16, seed=0):
        ...     head = head.partial_fit(X, y, classes=["0", "1", "2"])
        >>> head.score(store.X, store.y) > 0.9
        True
        """
        if not hasattr(batch_size, "__index__") or batch_size < 1:
            raise ValueError(f"batch_size must be a whole number from 1, got {batch_size!r}")
        order = np.arange(len(self)) if seed is None else self._shuffled(np.random.default_rng(seed))
        names = np.unique(self.columns.label)
        labels = np.array(decode(names), dtype=np.str_)
        for start in range(0, len(self), batch_size):
            rows = order[start : start + batch_size]
            yield self._gather(rows), labels[np.searchsorted(names, self.columns.label[rows])]

    def _shuffled(self, rng: np.random.Generator) -> NDArray[np.intp]:
        if not self.is_folder or isinstance(self._home, Path):
            return rng.permutation(len(self))
        shard = self.places.shard
        rank = rng.permutation(len(self.places.shards))
        order = np.argsort(rank[shard], kind="stable")
        window = rank[shard[order]] // OPEN_SHARDS
        return order[np.lexsort((rng.random(len(order)), window))]

    def close(self) -> None:
        """Close the files. Reading rows opens them again."""
        with self._own_guard():
            if self._pid == os.getpid():
                self._shards.close()
                if self._handle is not None:
                    self._handle.close()
            self._handle, self._shards = None, OpenShards(self._home, self.space)

    def release(self) -> None:
        """Close the files, and forget what was read of them. It is read again when it is asked for."""
        self.close()
        for name in _READ_AGAIN:
            self.__dict__.pop(name, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        # What was read of it stays here: a search sends the store with every task, and the others can read it, too.
        kept = {name: value for name, value in self.__dict__.items() if name not in _READ_AGAIN}
        shards = OpenShards(self._home, self.space)
        return kept | {"_handle": None, "_shards": shards, "_guard": None, "_guard_pid": -1}

    def _file(self) -> h5py.File:
        # HDF5 handles must not be shared with the parent of a fork: each process opens its own.
        if self._handle is None or self._pid != os.getpid():
            self.check_unchanged()
            self._handle, _, _ = open_checked(self._home)
            self._shards = OpenShards(self._home, self.space)
            self._pid = os.getpid()
        return self._handle

    def shards(self) -> OpenShards:
        """Of a folder store."""
        self._file()  # after a fork, nothing that the parent opened is used
        return self._shards

    def _read(self, part: Callable[[h5py.File], T]) -> T:
        """A part of the file. All must be of one state; a file here that is open stays as it is."""
        with self._own_guard():  # no other thread may close the file meanwhile
            if isinstance(self._home, Path):
                return part(self._file())
            try:
                value = part(self._file())
            except StoreFormatError:  # half of another state looks like damage
                self.check_unchanged()
                raise
            self.check_unchanged()
            return value

    def _text(self, name: str) -> Text:
        return self._read(lambda file: reading.read_text(file[name]))

    def check_unchanged(self) -> None:
        """Raise StoreFormatError if the store was written anew since it was opened here."""
        if identity(self._home) != self._identity:
            raise StoreFormatError(f"{self.path} was written anew since it was opened here; open it again")

    def _gather(self, index: NDArray[np.integer[Any]]) -> Rows:
        """Rows by number, in the order asked."""
        with self._own_guard():  # threads: none may close a file that another reads
            return self._gather_alone(index)

    def _own_guard(self) -> threading.RLock:
        if self._guard_pid != os.getpid():  # a thread of the parent may have held it at the fork
            self._guard, self._guard_pid = threading.RLock(), os.getpid()
        return self._guard

    def _gather_alone(self, index: NDArray[np.integer[Any]]) -> Rows:
        file = self._file()
        out = np.empty((len(index), self.space.dim), dtype=self.dtype)
        if not self.is_folder:
            reading.read_into(out, np.arange(len(index)), file["X"], index)
            reading.check_rows(file, index, out, None)
            return out
        sha256 = reading.read_rows(file["sha256"], index) if isinstance(self._home, Path) else self._hashes[index]
        self._shards.rows(out, self.places, index, sha256)
        return out
