"""What a label may say: the class of an image, several labels, or a number."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .errors import HeadError
from .labels import complete

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
        If a text is missing or names a label that is none of `columns`; or all together name less than two.

    Examples
    --------
    >>> found = label_table(["red;round", ";", "round"])
    >>> found.columns, found.table.tolist()
    (['red', 'round'], [[1, 1], [0, 0], [0, 1]])
    """
    given = complete(texts, empty=True)
    if given.ndim != 1:
        raise HeadError(
            f"expected one text for each image, with {SEPARATOR!r} between its labels, got an array of shape "
            f"{given.shape}"
        )
    sets = [{name.strip() for name in str(text).split(SEPARATOR)} - {""} for text in given]
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
        If one is missing, or is no finite number.

    Examples
    --------
    >>> numbers(["3", "-1.5e3"])
    array([    3., -1500.])
    """
    given = complete(texts, "numbers", empty=True)
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


def as_classes(y: Any) -> NDArray[Any]:
    """Return classes, or a table of labels, that an estimator may learn or be scored on.

    Parameters
    ----------
    y : sequence, array, Series, Categorical or table
        The class of each image; or 0 and 1, with a column for each label that an image may have beside others.

    Returns
    -------
    ndarray, shape (n,); or of int8, shape (n, k)

    Raises
    ------
    HeadError
        If a value is missing or infinite, or text and numbers are mixed; or a table holds other numbers.

    Examples
    --------
    >>> as_classes(["cat", "dog"]).tolist()
    ['cat', 'dog']
    """
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import column_or_1d

    given = complete(y)
    if given.dtype.kind == "f" and np.isinf(given).any():
        raise HeadError("labels are names or whole numbers, and one of these is infinite")
    if is_table(given):
        return given.astype(np.int8)
    labels: NDArray[Any] = column_or_1d(given, warn=True)
    if labels.dtype == object and len({isinstance(label, str) for label in labels}) > 1:
        raise HeadError("labels are all names or all numbers, and these are mixed: turn the numbers into text")
    with warnings.catch_warnings():
        # Many classes of few images are no reason to think of regression.
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        check_classification_targets(labels)
    return labels


def as_numbers(y: Any) -> NDArray[Any]:
    """Return numbers that an estimator may learn or be scored on.

    Parameters
    ----------
    y : sequence, array, Series or table
        A number for each image, or a row of them.

    Returns
    -------
    ndarray of numbers, shape (n,) or (n, t)

    Raises
    ------
    HeadError
        If a number is missing, infinite or too large, or something is no number.

    Examples
    --------
    >>> as_numbers([1, 2.5])
    array([1. , 2.5])
    """
    given = complete(y, "numbers")
    if given.dtype.kind not in "biuf":
        wrong = next((value for value in given.ravel().tolist() if not hasattr(value, "__float__")), None)
        if wrong is not None:
            raise HeadError(f"expected a number for each image, got {type(wrong).__name__}: {wrong!r:.80}")
        given = given.astype(np.float64)
    if given.dtype.kind == "f" and np.isinf(given).any():
        raise HeadError("expected finite numbers, and one of these is infinite")
    check_range(given)
    return given


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
