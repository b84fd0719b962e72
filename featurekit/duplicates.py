"""Images that are there twice: equal files, and the same picture in another file. Sees rows, never a network.

A picture that lies in the training part and, saved again or cropped a little, in the test part as well makes
every score too good. So both become groups, which no split separates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .store import FeatureStore

CLOSENESS = 0.1
_BLOCK = 2048
_PAIRS = 20_000
_MOST_ROWS = 100_000  # every pair is compared: minutes on two cores


@dataclass(frozen=True, slots=True)
class Groups:
    """Which rows belong together.

    Attributes
    ----------
    ids : ndarray of int, shape (n,)
        Rows with the same number belong together; most have one of their own.
    exact : int
        Rows whose image file is byte for byte that of an earlier row.
    near : int
        Rows, not counted in `exact`, that are near duplicates of another.
    pairs : list of (int, int)
        The near duplicates, as row numbers, the nearest first.
    threshold : float
        The cosine from which on two rows are near duplicates.
    given : int
        Groups that the source named.
    kept : bool
        Whether all near duplicates are in one group. Those of a class that would be left with a single group are not.
    searched : bool
        Whether near duplicates were looked for: among more than 100,000 rows they are not.
    """

    ids: NDArray[np.intp]
    exact: int
    near: int
    pairs: list[tuple[int, int]]
    threshold: float
    given: int
    kept: bool = True
    searched: bool = True

    @property
    def any(self) -> bool:
        """Whether any two rows belong together, or do and are not kept together."""
        return not self.kept or len(np.unique(self.ids)) < len(self.ids)

    def sentence(self) -> str:
        """What was found, for people."""
        found = [f"{self.exact} equal files"]
        if self.searched:
            found.append(f"{self.near} near duplicates (cosine of {self.threshold:.3f} or more)")
        if self.given:
            found.append(f"{self.given} groups of the source")
        sentence = f"{', '.join(found)}: kept on one side of every split"
        if not self.searched:
            sentence += f". Near duplicates were not looked for: there are more than {_MOST_ROWS} images"
        if not self.kept:
            sentence += ", but for near duplicates of a class that is a single picture: its scores are too good"
        return sentence


def group_rows(
    stores: FeatureStore | Sequence[FeatureStore],
    chosen: NDArray[Any] | None = None,
    *,
    classes: bool = True,
    closeness: float = CLOSENESS,
) -> Groups:
    """Find the rows of a store that belong together: duplicates, and the groups that its source named.

    Among more than 100,000 rows, near duplicates are not looked for.

    Parameters
    ----------
    stores : FeatureStore, or a sequence of them
        Several are of the same images: what is near in one of them belongs together.
    chosen : ndarray of int or bool, optional
        Which rows are looked at. Default: all.
    classes : bool
        Whether the labels are classes, each of which must be in two groups or more to be split; else near duplicates
        are kept together whatever their labels say.
    closeness : float
        As in :func:`find_duplicates`.

    Returns
    -------
    Groups
        Of the chosen rows.

    Examples
    --------
    >>> found = group_rows(getfixture("digits_store"))
    >>> found.exact, found.near, found.any
    (0, 0, False)
    """
    several = [stores] if isinstance(stores, FeatureStore) else list(stores)
    columns = several[0].columns
    rows = np.arange(len(columns)) if chosen is None else np.arange(len(columns))[chosen]
    contents, groups = columns.sha256[rows], several[0].groups[rows]
    labels = columns.label[rows] if classes else None
    if len(rows) > _MOST_ROWS:
        return replace(_find([], len(rows), contents, groups, closeness), searched=False)
    return _find((store.X[rows] for store in several), len(rows), contents, groups, closeness, labels)


def find_duplicates(
    X: ArrayLike,
    *,
    contents: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    closeness: float = CLOSENESS,
) -> Groups:
    """Find the rows that belong together.

    Two rows are near duplicates if the distance ``1 - cosine`` between them is at most `closeness` times that of
    two random rows (the median over pairs). So what counts as near follows the data: 0.93 among photographs of
    clothes, 0.98 among photographs of hands before one wall. At the default, a photograph that was saved again,
    mirrored, brightened, turned by 2 degrees or cropped by a twentieth is nearly always found, a halved one two times
    of three, and 4 of 4.7 million pairs of 3,068 different photographs are. That is of photographs of 400 x 533 pixels.
    Of images of 100 x 100 hardly any but equal rows are found, because what JPEG does to so small an image moves its
    row a quarter of the usual distance (``tests/benchmarks/duplicates.py``): name their groups, if you know them.
    Each pair of rows is compared: the time grows with n^2.

    Parameters
    ----------
    X : array-like, shape (n, d)
        Rows.
    contents : array-like of uint8, shape (n, 32), optional
        Hashes of the image files.
    groups : array-like of str, shape (n,), optional
        Groups that are known already; empty text is none.
    closeness : float
        0 finds equal rows only.

    Returns
    -------
    Groups

    Examples
    --------
    >>> X = np.eye(4)[[0, 1, 2, 0]] + 1e-3
    >>> find_duplicates(X).ids
    array([0, 1, 2, 0])
    """
    n = len(np.asarray(X))
    for name, given in (("contents", contents), ("groups", groups)):
        if given is not None and len(np.asarray(given)) != n:
            raise ValueError(f"{n} rows but {len(np.asarray(given))} {name}")
    return _find([X], n, contents, groups, closeness)


def _find(
    spaces: Iterable[ArrayLike],
    n: int,
    contents: ArrayLike | None,
    groups: ArrayLike | None,
    closeness: float,
    labels: NDArray[Any] | None = None,
) -> Groups:
    """Find what belongs together among `n` images, of which each of the spaces has a row."""
    same = np.arange(n) if contents is None else _first_of_equal(_hashes(contents))
    named = np.full(n, "") if groups is None else np.asarray(groups).astype(str)
    members = np.flatnonzero(named != "")
    known = [(np.arange(n), same), (members, members[_first_of_equal(named[members])])]
    pairs: dict[tuple[int, int], None] = {}  # without repetitions, in this order
    threshold = 1.0
    for X in spaces:
        unit = _unit(X)
        at_least = 1 - closeness * _usual_distance(unit)
        first, second, cosines = _near(unit, at_least)
        apart = same[first] != same[second]
        order = np.argsort(-cosines[apart], kind="stable")
        pairs.update(dict.fromkeys(zip(first[apart][order].tolist(), second[apart][order].tolist(), strict=True)))
        threshold = min(threshold, at_least)
    ends = np.array(list(pairs), dtype=np.intp).reshape(-1, 2)
    near = np.unique(ends)
    ids = _connected(n, [*known, (ends[:, 0], ends[:, 1])])
    stuck = np.zeros(n, dtype=bool)  # rows of classes that could not be split
    if labels is not None and len(pairs):
        for label in np.unique(labels[labels != b""]):
            stuck |= (labels == label) & (len(np.unique(ids[labels == label])) < 2)
    among = stuck[ends].any(axis=1)
    if among.any():
        ids = _connected(n, [*known, (ends[~among, 0], ends[~among, 1])])
    return Groups(
        ids=ids,
        exact=int(np.sum(same != np.arange(n))),
        near=int(np.sum(same[near] == near)),
        pairs=list(pairs),
        threshold=threshold,
        given=len(np.unique(named[members])),
        kept=not among.any(),
    )


def _unit(X: ArrayLike) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = np.asarray(X, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _usual_distance(unit: NDArray[np.float32]) -> float:
    if len(unit) < 2:
        return 0.0
    a, b = np.random.default_rng(0).integers(0, len(unit), (2, _PAIRS))
    a, b = a[a != b], b[a != b]
    cosines = np.concatenate(
        [np.einsum("ij,ij->i", unit[a[i : i + _BLOCK]], unit[b[i : i + _BLOCK]]) for i in range(0, len(a), _BLOCK)]
    )
    return float(np.median(1 - cosines))


def _near(
    unit: NDArray[np.float32], threshold: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Pairs of rows, the earlier one first, with a cosine of at least `threshold`, and the cosines."""
    rounding = 1e-6
    first, second, cosines = [], [], []
    for start in range(0, len(unit), _BLOCK):
        block = unit[start : start + _BLOCK]
        similar = block @ unit[start:].T
        a, b = np.nonzero(similar >= threshold - rounding)
        later = b > a
        first.append(a[later] + start)
        second.append(b[later] + start)
        cosines.append(similar[a[later], b[later]])
    empty = np.empty(0, dtype=np.intp)
    return (
        np.concatenate([empty, *first]),
        np.concatenate([empty, *second]),
        np.concatenate([np.empty(0, dtype=np.float32), *cosines]),
    )


def _hashes(contents: ArrayLike) -> NDArray[np.uint64]:
    """64 bits of each hash: among a million files, two are taken for equal with a chance of 3 in 100 million."""
    front = np.ascontiguousarray(np.asarray(contents, dtype=np.uint8)[:, :8])
    return front.view(np.uint64)[:, 0]


def _first_of_equal(values: NDArray[Any]) -> NDArray[np.intp]:
    """Of each element, the number of the first one that equals it."""
    _, index, inverse = np.unique(values, return_index=True, return_inverse=True)
    return index[inverse]


def _connected(n: int, links: list[tuple[NDArray[Any], NDArray[Any]]]) -> NDArray[np.intp]:
    """Numbers of the connected components."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    ends = [np.concatenate([np.empty(0, dtype=np.intp), *side]) for side in zip(*links, strict=True)]
    graph = coo_matrix((np.ones(len(ends[0]), dtype=np.int8), (ends[0], ends[1])), shape=(n, n))
    ids: NDArray[np.intp] = connected_components(graph, directed=False)[1].astype(np.intp)
    return ids
