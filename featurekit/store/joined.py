"""Several stores read as one, where they are too large to be merged."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import Remedy
from .cache import check_space
from .reader import FeatureStore
from .row_view import RowView
from .schema import Rows

T = TypeVar("T")
_OPEN_STORES = 8  # of 64 shards each: a process may have about a thousand files open


class JoinedStores:
    """Stores of one feature space, one after another, as if they were one. Nothing is copied.

    Of very many images, parts are extracted apart: each part by a run of its own, into a store of its own.

    Parameters
    ----------
    stores : sequence of path, URL or FeatureStore
        In this order. An image that two of them hold comes twice.

    Attributes
    ----------
    stores : list of FeatureStore
    space : FeatureSpace
        Of all rows.
    dtype : dtype
        Of the rows: float16 if all have it.

    Raises
    ------
    FeatureSpaceError
        If they are not all of one feature space.
    FileNotFoundError, StoreFormatError
        As :class:`FeatureStore`.

    Examples
    --------
    >>> from featurekit.heads import LDAPath
    >>> from featurekit.store import JoinedStores
    >>> path = getfixture("digits_store_path")
    >>> parts = JoinedStores([path, path])
    >>> parts.X.shape, parts.X[[0, 60]].shape
    ((120, 816), (2, 816))
    >>> LDAPath().fit_batches(parts.X, parts.y).score(parts.X, parts.y) > 0.9
    True
    """

    def __init__(self, stores: Sequence[str | os.PathLike[str] | FeatureStore]) -> None:
        if isinstance(stores, str | os.PathLike) or not stores:
            raise ValueError(f"expected a list of one or more stores, got {stores!r}")
        self.stores: list[FeatureStore] = []
        self._used: dict[int, None] = {}
        for number, each in enumerate(stores):
            self.stores.append(each if isinstance(each, FeatureStore) else FeatureStore(each))
            check_space(self.stores[number], self.stores[0].space, [Remedy("extract all parts with the same options")])
            self._keep_open(number)
        self.space = self.stores[0].space
        self.dtype: np.dtype[np.floating] = np.result_type(*self._of_each(lambda store: store.dtype))
        self._ends = np.cumsum([len(store) for store in self.stores])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __repr__(self) -> str:
        return f"<{len(self.stores)} stores: {len(self)} rows of {self.space.backbone}, d={self.space.dim}>"

    @property
    def X(self) -> RowView:
        """The rows, shape (n, d); read where indexed."""
        return RowView(self)

    @cached_property
    def y(self) -> NDArray[np.str_]:
        """The labels, shape (n,)."""
        return np.concatenate(self._of_each(lambda store: store.y))

    @cached_property
    def groups(self) -> NDArray[np.str_]:
        """The groups, shape (n,)."""
        return np.concatenate(self._of_each(lambda store: store.groups))

    @cached_property
    def splits(self) -> NDArray[np.str_]:
        """The part of a split that the source names for each row, shape (n,)."""
        return np.concatenate(self._of_each(lambda store: store.splits))

    def _gather(self, index: NDArray[np.integer]) -> Rows:
        out: Rows = np.empty((len(index), self.space.dim), dtype=self.dtype)
        holder = np.searchsorted(self._ends, index, side="right")
        for number in np.unique(holder).tolist():
            chosen = np.flatnonzero(holder == number)
            start = int(self._ends[number]) - len(self.stores[number])
            out[chosen] = self.stores[number].X[index[chosen] - start]
            self._keep_open(number)
        return out

    def _of_each(self, part: Callable[[FeatureStore], T]) -> list[T]:
        parts = []
        for number, store in enumerate(self.stores):
            parts.append(part(store))
            self._keep_open(number)
        return parts

    def _keep_open(self, number: int) -> None:
        """Of the stores that were used, close those that were not for longest: each may have many files open."""
        self._used.pop(number, None)
        self._used[number] = None
        if len(self._used) > _OPEN_STORES:
            oldest = next(iter(self._used))
            self._used.pop(oldest, None)
            self.stores[oldest].release()
