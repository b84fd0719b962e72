"""Reading a store: attributes at once, rows when they are asked for."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import StoreError
from .schema import Columns, LedgerEntry, open_checked, read_columns, read_dataset, read_ledger

_SLAB_ROWS = 2048


@dataclass(frozen=True, slots=True)
class Summary:
    """What one run of extraction did; ``images = computed + reused + duplicates + failed``.

    Attributes
    ----------
    images : int
        Images in the source.
    computed : int
        Images that the network ran over.
    reused : int
        Images whose row was there already.
    duplicates : int
        Images with the same content as one before them in the source; they share its computation.
    failed : int
        Images that could not be read.
    removed : int
        Rows of an earlier run that left the store, because their image left the source.
    seconds : float
        Duration of the run.
    notes : tuple of str
        What was noticed about the source.
    """

    images: int
    computed: int
    reused: int
    duplicates: int
    failed: int
    removed: int
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def images_per_second(self) -> float:
        """Images of the source, computed or not, per second of the run."""
        return self.images / self.seconds if self.seconds > 0 else 0.0


class RowView:
    """The rows of a store as an array that is read only where it is indexed.

    NumPy and scikit-learn take it for an array (``np.asarray(view)`` reads everything). Indexing with a
    slice, an integer, a list, or a boolean mask reads no more than those rows need.

    Examples
    --------
    >>> store = getfixture("digits_store")
    >>> store.X.shape == (len(store), 1280)
    True
    >>> store.X[2:5].shape, store.X[[7, 3, 3]].shape
    ((3, 1280), (3, 1280))
    """

    def __init__(self, store: FeatureStore, shape: tuple[int, int]) -> None:
        self._store = store
        self.shape = shape
        self.dtype = np.dtype(np.float32)
        self.ndim = 2

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<rows {self.shape[0]} x {self.shape[1]} {self.dtype} of {self._store.path}>"

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        if isinstance(key, tuple):
            rows, *rest = key
            picked: NDArray[np.float32] = self[rows][(slice(None), *rest)]
            return picked
        dataset = self._store._file()["X"]
        if key is Ellipsis or (isinstance(key, slice) and (key.step is None or key.step > 0)):
            return read_dataset(dataset, key)
        if isinstance(key, slice):
            return self[np.arange(len(self))[key]]
        index = np.asarray(key)
        if index.dtype == np.bool_:
            if index.shape != (len(self),):
                raise IndexError(f"a mask of {index.shape} does not fit {len(self)} rows")
            index = np.flatnonzero(index)
        elif not index.size:
            index = index.astype(np.intp)
        if index.dtype.kind not in "iu" or index.ndim > 1:
            raise IndexError(f"rows are indexed with integers, slices, or lists or masks of them, not {key!r:.80}")
        index = np.where(index < 0, index + len(self), index)
        if index.size and (index.min() < 0 or index.max() >= len(self)):
            raise IndexError(f"row {key!r:.80} is out of range: there are {len(self)}")
        return self._gather(index) if index.ndim else self._gather(index[np.newaxis])[0]

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(self), _SLAB_ROWS):
            yield from self[start : start + _SLAB_ROWS]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("the rows lie on the disk: they cannot be had without a copy")
        return self[...] if dtype is None else self[...].astype(dtype, copy=False)

    def _gather(self, index: NDArray[np.intp]) -> NDArray[np.float32]:
        """Rows by number, in the order asked: each slab of the file is read at most once."""
        dataset = self._store._file()["X"]
        out = np.empty((len(index), self.shape[1]), dtype=np.float32)
        order = np.argsort(index, kind="stable")
        slabs = index[order] // _SLAB_ROWS
        for part in np.split(order, np.flatnonzero(np.diff(slabs)) + 1) if len(order) else []:
            wanted = index[part]
            low, high = int(wanted[0]), int(wanted[-1]) + 1
            out[part] = read_dataset(dataset, slice(low, high))[wanted - low]
        return out


class FeatureStore:
    """A store, opened for reading.

    The HDF5 file is opened once in each process (safe to use after a fork, to pickle, and to pass to
    joblib) and rows are read only where they are asked for. A reader goes on seeing the state that it
    opened, even while a new one is published.

    Parameters
    ----------
    path : path-like
        The ``.h5`` file that :func:`featurekit.extract` wrote.

    Attributes
    ----------
    path : Path
        Of the file.
    space : FeatureSpace
        What the rows mean.
    fingerprint : str
        Hash of `space`.
    provenance : dict
        Source, date, runtime and versions of the run that wrote the file.
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
    (1280, '0', '0/000.png', 'stored')
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        file, self.space, self.provenance = open_checked(self.path)
        self._handle: h5py.File | None = file
        self._pid = os.getpid()
        self._identity = _identity(self.path)
        self._shape: tuple[int, int] = file["X"].shape
        self.summary: Summary | None = None

    def __len__(self) -> int:
        return self._shape[0]

    def __repr__(self) -> str:
        return f"<FeatureStore {self.path}: {len(self)} rows of {self.space.backbone}, d={self.space.dim}>"

    @property
    def fingerprint(self) -> str:
        """Hash of the feature space."""
        return self.space.fingerprint

    @property
    def X(self) -> RowView:
        """The rows, shape (n, d), float32, in source order; read where indexed."""
        return RowView(self, self._shape)

    @property
    def y(self) -> NDArray[np.str_]:
        """The labels, shape (n,); empty text where there is none."""
        return np.array(self.columns.label, dtype=np.str_)

    @property
    def paths(self) -> list[str]:
        """The path of each row's image, as the source names it."""
        return list(self.columns.path)

    @property
    def groups(self) -> NDArray[np.str_]:
        """The groups, shape (n,); empty text where there is none."""
        return np.array(self.columns.group, dtype=np.str_)

    @cached_property
    def columns(self) -> Columns:
        """Everything about the rows but the rows themselves."""
        return read_columns(self._file())

    @cached_property
    def ledger(self) -> list[LedgerEntry]:
        """What became of every image, in source order."""
        return read_ledger(self._file())

    @property
    def class_counts(self) -> dict[str, int]:
        """Rows of each label, sorted by label; unlabelled rows are left out."""
        return dict(sorted(Counter(label for label in self.columns.label if label).items()))

    @property
    def ledger_counts(self) -> dict[str, int]:
        """Images of each status."""
        return dict(sorted(Counter(entry.status for entry in self.ledger).items()))

    def close(self) -> None:
        """Close the file. Reading rows opens it again."""
        if self._handle is not None and self._pid == os.getpid():
            self._handle.close()
        self._handle = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_handle": None}

    def _file(self) -> h5py.File:
        # HDF5 handles must not be shared with the parent of a fork: each process opens its own.
        if self._handle is None or self._pid != os.getpid():
            if _identity(self.path) != self._identity:
                raise StoreError(f"{self.path} was written anew since it was opened here; open it again")
            self._handle, _, _ = open_checked(self.path)
            self._pid = os.getpid()
        return self._handle


def _identity(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
