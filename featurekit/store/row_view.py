"""The rows of a store as an array."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .schema import Rows

if TYPE_CHECKING:
    from .joined import JoinedStores
    from .reader import FeatureStore

_SLAB_ROWS = 4096  # read at once, at most


class RowView:
    """The rows of a store as an array that is read only where it is indexed.

    NumPy and scikit-learn take it for an array (``np.asarray(view)`` reads everything). Indexing with a
    slice, an integer, a list, or a boolean mask reads no more than those rows need.

    Examples
    --------
    >>> store = getfixture("digits_store")
    >>> store.X.shape == (len(store), 816)
    True
    >>> store.X[2:5].shape, store.X[[7, 3, 3]].shape
    ((3, 816), (3, 816))
    """

    def __init__(self, store: FeatureStore | JoinedStores) -> None:
        self._store = store
        self.shape = (len(store), store.space.dim)
        self.dtype = store.dtype
        self.ndim = 2

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<rows {self.shape[0]} x {self.shape[1]} {self.dtype} of {self._store!r}>"

    def __getitem__(self, key: Any) -> Rows:
        if isinstance(key, tuple):
            if not key:
                return self[...]
            rows, *columns = key
            lists = [part for part in key if not isinstance(part, slice | int | np.integer) and part is not Ellipsis]
            if len(lists) > 1:
                raise IndexError("lists of rows and of columns together are not supported; write X[rows][:, columns]")
            picked = self[rows]
            result: Rows = picked[(slice(None), *columns)] if picked.ndim == 2 else picked[tuple(columns)]
            return result
        if key is Ellipsis:
            key = slice(None)
        index = row_numbers(key, len(self))
        return self._store._gather(index) if index.ndim else self._store._gather(index[np.newaxis])[0]

    def __iter__(self) -> Iterator[Rows]:
        for start in range(0, len(self), _SLAB_ROWS):
            yield from self[start : start + _SLAB_ROWS]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("the rows lie on the disk: they cannot be had without a copy")
        return self[...] if dtype is None else self[...].astype(dtype, copy=False)


def row_numbers(key: Any, n: int) -> NDArray[np.intp]:
    """Return the numbers of the rows, from 0, that a slice, an integer, a list or a mask picks among `n`.

    Raises
    ------
    IndexError
        If it picks none that is there, or is of another kind.
    """
    if isinstance(key, slice):
        return np.arange(*key.indices(n))
    index = np.asarray(key)
    if index.dtype == np.bool_:
        if index.shape != (n,):
            raise IndexError(f"a mask of {index.shape} does not fit {n} rows")
        index = np.flatnonzero(index)
    elif not index.size:
        index = index.astype(np.intp)
    if index.dtype.kind not in "iu" or index.ndim > 1:
        raise IndexError(f"rows are indexed with integers, slices, or lists or masks of them, not {key!r:.80}")
    index = index.astype(np.intp)
    index = np.where(index < 0, index + n, index)
    if index.size and (index.min() < 0 or index.max() >= n):
        raise IndexError(f"row {key!r:.80} is out of range: there are {n}")
    return index
