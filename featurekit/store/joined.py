"""Several stores read as one, where they are too large to be merged."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .cache import check_space
from .reader import FeatureStore
from .row_view import RowView
from .schema import Rows


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
    ((120, 1280), (2, 1280))
    >>> LDAPath().fit_batches(parts.X, parts.y).score(parts.X, parts.y) > 0.9
    True
    """

    def __init__(self, stores: Sequence[str | os.PathLike[str] | FeatureStore]) -> None:
        if isinstance(stores, str | os.PathLike) or not stores:
            raise ValueError(f"expected a list of one or more stores, got {stores!r}")
        self.stores = [each if isinstance(each, FeatureStore) else FeatureStore(each) for each in stores]
        self.space = self.stores[0].space
        for store in self.stores[1:]:
            check_space(store, self.space, "Extract all parts with the same options.")
        self.dtype: np.dtype[np.floating] = np.result_type(*(store.dtype for store in self.stores))
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
        return np.concatenate([store.y for store in self.stores])

    @cached_property
    def groups(self) -> NDArray[np.str_]:
        """The groups, shape (n,)."""
        return np.concatenate([store.groups for store in self.stores])

    def _gather(self, index: NDArray[np.integer]) -> Rows:
        out: Rows = np.empty((len(index), self.space.dim), dtype=self.dtype)
        holder = np.searchsorted(self._ends, index, side="right")
        for number in np.unique(holder).tolist():
            chosen = np.flatnonzero(holder == number)
            start = int(self._ends[number]) - len(self.stores[number])
            out[chosen] = self.stores[number].X[index[chosen] - start]
        return out
