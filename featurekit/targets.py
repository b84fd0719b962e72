"""What a label may say: the class of an image, several labels, or a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .errors import HeadError

SEPARATOR = ";"
_LARGEST = 1e100


class LabelTable:
    """A column for each label that an image may have beside others, as a data frame of 0 and 1 would be.

    Parameters
    ----------
    table : array-like, shape (n, k)
        0 or 1.
    columns : sequence of str
        Names of the labels.
    """

    def __init__(self, table: ArrayLike, columns: Sequence[str]) -> None:
        self.table: NDArray[np.int8] = np.asarray(table, dtype=np.int8)
        self.columns = list(columns)

    def __len__(self) -> int:
        return len(self.table)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.table, dtype=dtype, copy=copy)


def label_table(texts: ArrayLike, columns: Sequence[str] | None = None) -> LabelTable:
    """Labels of each image, as a table.

    Parameters
    ----------
    texts : array-like of str, shape (n,)
        Labels with ``;`` between them; ``;`` alone is none.
    columns : sequence of str, optional
        The labels that there are, in this order. Default: all that occur, sorted.

    Returns
    -------
    LabelTable

    Raises
    ------
    HeadError
        If a text names a label that is none of `columns`; or all together name less than two.

    Examples
    --------
    >>> found = label_table(["red;round", ";", "round"])
    >>> found.columns, found.table.tolist()
    (['red', 'round'], [[1, 1], [0, 0], [0, 1]])
    """
    sets = [{name.strip() for name in str(text).split(SEPARATOR)} - {""} for text in np.asarray(texts)]
    names = sorted(set().union(*sets)) if columns is None else list(columns)
    if columns is None and len(names) < 2:
        raise HeadError(
            f"expected labels that images may have beside others, and they name {names[0]!r} only. That is a choice "
            "between two classes: give each image the name of one of two"
            if names
            else "expected labels that images may have beside others, and no image has any"
        )
    place = {name: number for number, name in enumerate(names)}
    table = np.zeros((len(sets), len(names)), dtype=np.int8)
    for row, labels in zip(table, sets, strict=True):
        if unknown := sorted(labels - place.keys()):
            raise HeadError(f"the label {unknown[0]!r} is none of those that the model knows: {', '.join(names)}")
        row[[place[name] for name in labels]] = 1
    return LabelTable(table, names)


def numbers(texts: ArrayLike) -> NDArray[np.float64]:
    """Labels that are numbers.

    Parameters
    ----------
    texts : array-like of str, shape (n,)

    Returns
    -------
    ndarray of float64, shape (n,)

    Raises
    ------
    HeadError
        If one is no finite number.

    Examples
    --------
    >>> numbers(["3", "-1.5e3"])
    array([    3., -1500.])
    """
    given = np.asarray(texts)
    found = np.empty(len(given))
    for i, text in enumerate(given):
        try:
            found[i] = np.nan if "_" in str(text) else float(text)  # Python reads 1_0 as 10
        except ValueError:
            found[i] = np.nan
        if not np.isfinite(found[i]):
            raise HeadError(f"expected a number as the label of each image, got {str(text)!r} (of image {i})")
    check_range(found)
    return found


def check_range(values: NDArray[Any]) -> None:
    """Raise HeadError if numbers are so large that their squares are none."""
    if values.size and np.abs(values).max() > _LARGEST:
        raise HeadError(
            f"expected numbers of at most {_LARGEST:g}, got {np.abs(values).max():g}. Give them in another unit"
        )


def is_table(y: Any) -> bool:
    """Whether targets are a column of 0 and 1 for each label.

    Raises
    ------
    HeadError
        If they have columns, and these are not of 0 and 1.
    """
    given = np.asarray(y)
    if given.ndim != 2 or given.shape[1] < 2:
        return False
    if given.dtype.kind not in "biuf" or not np.isin(given, (0, 1)).all():
        raise HeadError(
            "expected a table of 0 and 1, with a column for each label that an image may have, and it holds "
            f"{_other(given)!r}"
        )
    return True


def _other(given: NDArray[Any]) -> Any:
    values = given.ravel().tolist()
    return next(value for value in values if value not in (0, 1))
