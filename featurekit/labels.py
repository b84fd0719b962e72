"""Labels as users give them: missing values, one picture under two labels, and names that differ in form only."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import FeaturekitError, HeadError, LabelWarning

LABELS_COME_FROM = "Labels come from class folders, or from the column 'label' of a manifest."
"""What a message says where labels are missing."""

_SHOWN = 3
_NUMBER = re.compile(r"[+-]?0*\d{1,20}(\.\d{0,8})?", re.ASCII)
_MISSING_NAMES = frozenset({"nan", "none", "null", "na", "n/a", "<na>", "?", "unknown"})


def is_missing(value: object) -> bool:
    """Whether a value stands for "no value": None, NaN, or pandas' NA and NaT.

    Examples
    --------
    >>> [is_missing(value) for value in (None, float("nan"), "", 0)]
    [True, True, False, False]
    """
    return value is None or type(value).__name__ in {"NAType", "NaTType"} or bool(value != value)


def values_of(given: Any, what: str = "y", error: type[FeaturekitError] = HeadError) -> list[Any] | NDArray[Any]:
    """Return what was given for the images: an array as it is, anything else as a list, missing values kept.

    Parameters
    ----------
    given : sequence, array, Series, Categorical or table
        A table with one column counts as that column.
    what : str
        What it is called in a message.
    error : type
        What is raised if it is no sequence.
    """
    is_array = hasattr(given, "__array__")
    if not is_array and isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping | AbstractSet):
        return list(given)
    array: NDArray[Any] = np.asarray(given) if is_array else np.empty(())
    if not array.ndim:
        shown = f"{type(given).__name__}: {given!r:.80}"
        raise error(f"{what} must be a sequence with one value for each image, got {shown}")
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 and array.dtype.kind in "OUT" else array


def as_array(given: Any, what: str = "y") -> NDArray[Any]:
    """Return one value, or one row of values, for each image as an array in which missing values stay missing.

    Equal values give equal arrays, whether they come in a list, an array, a Series, a Categorical or a table. An array
    that holds missing values among others has the dtype object.

    Parameters
    ----------
    given : sequence, array, Series, Categorical or table
    what : str
        What it is called in a message.

    Returns
    -------
    ndarray, shape (n,) or (n, k)

    Raises
    ------
    HeadError
        If it is no sequence, or its rows have different lengths.

    Examples
    --------
    >>> as_array(["cat", None, "dog"]).tolist(), as_array([1, 2]).dtype.kind
    (['cat', None, 'dog'], 'i')
    """
    values = values_of(given, what)
    if isinstance(values, np.ndarray):
        if values.dtype.kind == "T":
            return values.astype(object) if any(map(is_missing, values)) else values.astype(np.str_)
        if values.dtype != object:
            return values
        values = values.tolist()
    lengths = {len(value) for value in values if isinstance(value, list | tuple | np.ndarray) and np.ndim(value)}
    if len(lengths) > 1 or (lengths and not all(isinstance(value, list | tuple | np.ndarray) for value in values)):
        raise HeadError(
            f"{what} must hold one value for each image, or rows of equal length; got rows of "
            f"{' and '.join(map(str, sorted(lengths)[:_SHOWN]))} values. Several labels of an image are one text with "
            "';' between them, or a table of 0 and 1 with a column for each label"
        )
    flat = [each for value in values for each in value] if lengths else values
    if any(map(is_missing, flat)) or len({isinstance(value, str) for value in flat}) > 1:
        kept: NDArray[Any] = np.empty((len(values), *lengths), dtype=object)
        for place, value in enumerate(values):
            kept[place] = value
        return kept
    return np.asarray(values)


def complete(given: Any, what: str = "labels", *, empty: bool = False) -> NDArray[Any]:
    """Return what :func:`as_array` returns; raise HeadError if a value is missing.

    Parameters
    ----------
    given : sequence, array, Series, Categorical or table
    what : str
        What its values are.
    empty : bool
        Whether text of blanks only is allowed.
    """
    array = as_array(given)
    places = _missing(array, empty)
    if len(places):
        raise HeadError(f"{len(places)} of {len(array)} {what} are missing or empty, the first at position {places[0]}")
    return array


def _missing(array: NDArray[Any], empty: bool) -> NDArray[np.intp]:
    """Positions of what is missing."""
    if array.dtype.kind == "f":
        missing = np.isnan(array)
    elif array.dtype.kind in "mM":
        missing = np.isnat(array)
    elif array.dtype.kind in "SU" and not empty:
        missing = np.strings.str_len(np.strings.strip(array)) == 0
    elif array.dtype == object:
        blank = [isinstance(value, str) and not (empty or value.strip()) for value in array.ravel()]
        missing = np.array([is_missing(value) for value in array.ravel()], dtype=bool) | np.array(blank, dtype=bool)
        missing = missing.reshape(array.shape)
    else:
        return np.empty(0, dtype=np.intp)
    return np.flatnonzero(missing.any(axis=1) if missing.ndim > 1 else missing)


@dataclass(frozen=True, slots=True)
class Contradiction:
    """One picture that has different labels.

    Attributes
    ----------
    paths, labels : tuple of str
        Of each of its images, in the order of the rows.
    """

    paths: tuple[str, ...]
    labels: tuple[str, ...]

    def __str__(self) -> str:
        """Name one image for each label first."""
        first = [self.labels.index(label) for label in dict.fromkeys(self.labels)]
        order = first + [i for i in range(len(self.paths)) if i not in first]
        named = ", ".join(f"{self.paths[i]} ({self.labels[i]})" for i in order[:_SHOWN])
        return named + (f" and {len(order) - _SHOWN} more" if len(order) > _SHOWN else "")

    def to_dict(self) -> dict[str, list[str]]:
        """Return plain Python objects, ready for JSON."""
        return {"paths": list(self.paths), "labels": list(self.labels)}


@dataclass(frozen=True, slots=True)
class LabelFindings:
    """What looks wrong with labels.

    Attributes
    ----------
    contradictions : tuple of Contradiction
        Equal files that are there under more than one label.
    near : tuple of Contradiction
        Near duplicates, which look the same in different files, under more than one label.
    alike : tuple of tuple of str
        Classes whose names differ only in case, blanks or Unicode form, or are one number in two spellings.
    odd : tuple of str
        Classes that are called as missing values are.
    """

    contradictions: tuple[Contradiction, ...] = ()
    near: tuple[Contradiction, ...] = ()
    alike: tuple[tuple[str, ...], ...] = ()
    odd: tuple[str, ...] = ()

    def sentences(self) -> list[str]:
        """Say what was found; an empty list if nothing was."""
        said = []
        if self.contradictions:
            images = sum(len(each.paths) for each in self.contradictions)
            said.append(
                f"{images} images are there under more than one label (equal files): "
                f"{_some(map(str, self.contradictions))}. Nothing can learn both labels of a picture: mend these first"
            )
        if self.near:
            images = sum(len(each.paths) for each in self.near)
            said.append(
                f"{images} images look like one under another label (near duplicates): "
                f"{_some(map(str, self.near))}. Look at them: if they show the same thing, mend the labels"
            )
        if self.alike:
            named = _some(" and ".join(map(_spelled, names)) for names in self.alike)
            said.append(
                "the names of some classes differ only in case, blanks or Unicode form, or in how a number is written, "
                f"and they count as different classes: {named}"
            )
        if self.odd:
            said.append(f"a class is called {' or '.join(map(repr, self.odd))}: is that a missing label?")
        return said

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python objects, ready for JSON; every file is named."""
        return {
            "contradictions": [each.to_dict() for each in self.contradictions],
            "near_contradictions": [each.to_dict() for each in self.near],
            "alike_labels": [list(names) for names in self.alike],
        }

    def warn(self, stacklevel: int = 2) -> None:
        """Issue a LabelWarning for each sentence."""
        for sentence in self.sentences():
            warnings.warn(sentence, LabelWarning, stacklevel=stacklevel + 1)


NO_FINDINGS = LabelFindings()
"""Nothing looks wrong."""


def find_contradictions(ids: ArrayLike, labels: ArrayLike, paths: Sequence[str]) -> tuple[Contradiction, ...]:
    """Find images of one group that have different labels.

    Parameters
    ----------
    ids : array-like, shape (n,)
        Images with the same id show the same picture: ids of equal contents (:func:`content_ids`), or of near
        duplicates.
    labels : array-like, shape (n,)
    paths : sequence of str, length n

    Returns
    -------
    tuple of Contradiction
        In the order of their first images.

    Examples
    --------
    >>> found = find_contradictions([0, 1, 0], ["hat", "hat", "dress"], ["a.jpg", "b.jpg", "c.jpg"])
    >>> [str(each) for each in found]
    ['a.jpg (hat), c.jpg (dress)']
    """
    members = np.unique(np.asarray(ids), return_inverse=True)[1].reshape(-1)
    texts = np.asarray(labels).astype(str)
    codes = np.unique(texts, return_inverse=True)[1].reshape(-1)
    pairs = np.unique(np.stack([members, codes], axis=1), axis=0) if len(members) else np.empty((0, 2), dtype=np.intp)
    mixed = np.bincount(pairs[:, 0]) > 1
    rows: dict[int, list[int]] = {}
    for row in np.flatnonzero(mixed[members]).tolist() if len(members) else ():
        rows.setdefault(int(members[row]), []).append(row)
    return tuple(
        Contradiction(tuple(str(paths[row]) for row in each), tuple(str(texts[row]) for row in each))
        for each in rows.values()
    )


def find_near_contradictions(
    pairs: Sequence[tuple[int, int]], labels: ArrayLike, paths: Sequence[str]
) -> tuple[Contradiction, ...]:
    """Find images that have another label than a near duplicate of theirs, which `pairs` holds as row numbers.

    Examples
    --------
    >>> found = find_near_contradictions([(0, 1), (1, 2)], ["hat", "hat", "dress"], ["a.jpg", "b.jpg", "c.jpg"])
    >>> [str(each) for each in found]
    ['b.jpg (hat), c.jpg (dress)']
    """
    texts = np.asarray(labels).astype(str)
    ends = np.asarray(pairs, dtype=np.intp).reshape(-1, 2)
    rows, places = np.unique(ends[texts[ends[:, 0]] != texts[ends[:, 1]]], return_inverse=True)
    places = places.reshape(-1, 2)
    ids = connected_ids(len(rows), [(places[:, 0], places[:, 1])])
    return find_contradictions(ids, texts[rows], [paths[row] for row in rows.tolist()])


def connected_ids(n: int, links: Iterable[tuple[NDArray[np.intp], NDArray[np.intp]]]) -> NDArray[np.intp]:
    """Number `n` images so that those that links connect, directly or through others, get the same number.

    Each element of `links` holds the first and the second ends of several.

    Examples
    --------
    >>> connected_ids(4, [(np.array([0, 3]), np.array([3, 2]))])
    array([0, 1, 0, 0])
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = [np.concatenate([np.empty(0, dtype=np.intp), *side]) for side in zip(*links, strict=True)]
    graph = coo_array((np.ones(len(ends[0]), dtype=np.int8), (ends[0], ends[1])), shape=(n, n))
    ids: NDArray[np.intp] = connected_components(graph, directed=False)[1].astype(np.intp)
    return ids


def content_ids(contents: NDArray[np.uint8] | Sequence[bytes]) -> NDArray[np.intp]:
    """Number images by their content hashes: equal files get the same number.

    Compares 64 bits of each hash: among a million files, two are taken for equal with a chance of 3 in 100 million.

    Parameters
    ----------
    contents : ndarray of uint8, shape (n, 32), or sequence of bytes
    """
    if not len(contents):
        return np.empty(0, dtype=np.intp)
    table = contents if isinstance(contents, np.ndarray) else np.frombuffer(b"".join(contents), dtype=np.uint8)
    front = np.ascontiguousarray(table.reshape(len(contents), -1)[:, :8]).view(np.uint64)[:, 0]
    ids: NDArray[np.intp] = np.unique(front, return_inverse=True)[1].astype(np.intp)
    return ids


def find_alike(names: Collection[str]) -> tuple[tuple[str, ...], ...]:
    """Find names that differ only in case, blanks or Unicode form, or are one number in two spellings.

    Parameters
    ----------
    names : collection of str

    Examples
    --------
    >>> find_alike(["dress", "hat", "Dress "])
    (('Dress ', 'dress'),)
    >>> find_alike(["2", "02", "20"])
    (('02', '2'),)
    """
    forms: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        form = unicodedata.normalize("NFC", "".join(name.split())).casefold()
        if _NUMBER.fullmatch(form):
            form = str((Decimal(form) + 0).normalize())
        forms.setdefault(unicodedata.normalize("NFC", form), []).append(name)
    return tuple(tuple(same) for same in forms.values() if len(same) > 1)


def find_problems(
    labels: ArrayLike,
    ids: ArrayLike | None = None,
    paths: Sequence[str] = (),
    *,
    pairs: Sequence[tuple[int, int]] = (),
    separator: str = "",
    numbers: bool = False,
) -> LabelFindings:
    """Look for contradictions and for suspicious names among the labels of images.

    Parameters
    ----------
    labels : array-like, shape (n,)
    ids : array-like, shape (n,), optional
        As in :func:`find_contradictions`. Default: contradictions are not looked for.
    paths : sequence of str, length n
    pairs : sequence of (int, int)
        Near duplicates, as row numbers. Numbers as labels of these may well differ, and are not compared.
    separator : str
        What stands between several labels of one image, if they may have several.
    numbers : bool
        Whether labels are numbers, whose names are not looked at.

    Returns
    -------
    LabelFindings
    """
    texts = np.asarray(labels).astype(str)
    different, codes = np.unique(texts, return_inverse=True)
    compared, names = different.tolist(), different.tolist()
    if separator:
        sets = [sorted({name.strip() for name in text.split(separator)} - {""}) for text in compared]
        compared, names = [separator.join(each) for each in sets], [name for each in sets for name in each]
    elif numbers:
        compared, names = [str(float(text)) for text in compared], []
    contradicting: tuple[Contradiction, ...] = ()
    near: tuple[Contradiction, ...] = ()
    if len(texts):
        compared_texts = np.array(compared)[codes.reshape(-1)]
        contradicting = () if ids is None else find_contradictions(ids, compared_texts, paths)
        near = () if numbers else find_near_contradictions(pairs, compared_texts, paths)
    odd = sorted({name for name in names if name.strip().lower() in _MISSING_NAMES})
    return LabelFindings(contradicting, near, find_alike(names), tuple(odd))


def _some(named: Iterable[str]) -> str:
    every = list(named)
    return "; ".join(every[:_SHOWN]) + (f"; and {len(every) - _SHOWN} more" if len(every) > _SHOWN else "")


def _spelled(name: str) -> str:
    """A name in quotes, with escapes where another form of it would look the same."""
    return repr(name) if name.isascii() else f"{name!r} ({name!a})"
