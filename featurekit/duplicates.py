"""Images that are there twice: equal files, and the same picture in another file.

A picture that lies in the training part and, saved again or cropped a little, in the test part as well makes every
score too good. Both become groups, which no split separates. Perceptual hashes tell: a property of
the images, which neither the backbone nor the classifier changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .images import PERCEPTUAL_BYTES, has_hash
from .labels import connected_ids, content_ids
from .near_duplicates import NEAR_DISTANCE, hash_distance, near_pairs
from .store import FeatureStore
from .wording import count

__all__ = ["NEAR_DISTANCE", "Groups", "find_duplicates", "group_rows", "hash_distance"]


_Ends = tuple[NDArray[np.intp], NDArray[np.intp]]
_searched: WeakKeyDictionary[FeatureStore, dict[tuple[bytes, int], _Ends]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Groups:
    """Which images belong together.

    Attributes
    ----------
    ids : ndarray of int, shape (n,)
        Images with the same number belong together; most have one of their own.
    exact : int
        Images whose file is byte for byte that of an earlier one.
    near : int
        Images, not counted in `exact`, that are near duplicates of another.
    pairs : list of (int, int)
        Near duplicates as row numbers, the nearest first: enough pairs to connect each image with its group, not all.
    distance : int
        Bits of 255 in which the perceptual hashes of near duplicates differ at most.
    given : int
        Groups that the source named.
    kept : bool
        Whether all near duplicates are in one group. Those of a class that would be left with a single group are not.
    unknown : int
        Images without a perceptual hash, among which only equal files are found: blank pictures, pictures of less than
        16 pixels on a side, and rows that an older version of featurekit stored.
    """

    ids: NDArray[np.intp]
    exact: int
    near: int
    pairs: list[tuple[int, int]]
    distance: int
    given: int
    kept: bool = True
    unknown: int = 0

    @property
    def any(self) -> bool:
        """Whether any two images belong together, or do and are not kept together."""
        return not self.kept or len(np.unique(self.ids)) < len(self.ids)

    @property
    def notable(self) -> bool:
        """Whether there is anything to tell: images that belong together, or that could not be compared."""
        return self.any or self.unknown > 0

    def shared(self, fitted: NDArray[np.intp], scored: NDArray[np.intp]) -> tuple[int, int]:
        """Count the scored images that belong together with an image that a head is fitted on, and all scored images.

        Parameters
        ----------
        fitted, scored : ndarray of int
            Numbers of images.
        """
        return int(np.isin(self.ids[scored], self.ids[fitted]).sum()), len(scored)

    def pairs_among(self, chosen: NDArray[np.bool_]) -> list[tuple[int, int]] | None:
        """List the near duplicates among some of the images, numbered anew, where groups are chosen as a whole.

        Parameters
        ----------
        chosen : ndarray of bool, shape (n,)
            With an image, all that have its number in `ids` must be chosen.

        Returns
        -------
        list of (int, int), or None
            None if near duplicates were separated (`kept` is false): those that are left may be connected otherwise.
        """
        if not self.kept:
            return None
        number = np.cumsum(chosen) - 1
        return [(int(number[a]), int(number[b])) for a, b in self.pairs if chosen[a] and chosen[b]]

    def sentence(self, shared: tuple[int, int] | None = None) -> str:
        """Describe what was found, for people.

        Parameters
        ----------
        shared : (int, int), optional
            Where a given split is followed: what :meth:`shared` says of it. Default: no split separates a group.
        """
        found = [count(self.exact, "equal file"), count(self.near, "near duplicate")]
        if self.given:
            found.append(f"{count(self.given, 'group')} of the source")
        lacking = (
            f"{self.unknown} of {len(self.ids)} images have no perceptual hash (blank, smaller than 16 pixels, or "
            "stored by an older version and not read again since): near duplicates of them are not found"
        )
        if not self.any and self.unknown:
            return lacking
        sentence = f"{', '.join(found)}: "
        if shared is None:
            sentence += "kept on one side of every split"
        elif shared[0]:
            sentence += shared_sentence(*shared)
        else:
            sentence += "none of them is on both sides of the split that is given"
        if not self.kept and shared is None:
            sentence += ", except near duplicates of a class that is a single picture: its scores are too good"
        if self.unknown:
            sentence += f". {lacking}"
        return sentence


def shared_sentence(shared: int, scored: int) -> str:
    """Say that a split that is given is followed, though it separates images that belong together.

    Parameters
    ----------
    shared, scored : int
        As :meth:`Groups.shared` counts them.

    Examples
    --------
    >>> shared_sentence(1, 9)[:83]
    'the split that is given is followed, and 1 of 9 scored images is a duplicate of ima'
    """
    verb = "is a duplicate" if shared == 1 else "are duplicates"
    return (
        f"the split that is given is followed, and {shared} of {count(scored, 'scored image')} {verb} of images that "
        "the head is fitted on, or of a group with them. Scores on new images will be lower"
    )


def group_rows(
    stores: FeatureStore | Sequence[FeatureStore],
    chosen: NDArray[Any] | None = None,
    *,
    classes: bool = True,
    distance: int = NEAR_DISTANCE,
    pairs: Sequence[tuple[int, int]] | None = None,
) -> Groups:
    """Find the rows of a store that belong together: duplicates, and the groups that its source named.

    The search for near duplicates takes the longest. As long as the store is in use, its result is kept, so that
    several steps that look at the same rows cost one search.

    Parameters
    ----------
    stores : FeatureStore, or a sequence of them
        Several are of the same images: a hash that one of them lacks is taken from another.
    chosen : ndarray of int or bool, optional
        Which rows are looked at. Default: all.
    classes : bool
        Whether the labels are classes, each of which must be in two groups or more to be split; otherwise near
        duplicates are kept together whatever their labels say.
    distance : int
        As in :func:`find_duplicates`.
    pairs : sequence of (int, int), optional
        Near duplicates among the chosen rows, enough to connect each with its group, if they are known: see
        :meth:`Groups.pairs_among`.

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
    hashes = columns.perceptual[rows]
    for other in several[1:]:
        lacking = np.flatnonzero(~has_hash(hashes))
        hashes[lacking] = other.columns.perceptual[rows[lacking]]
    found = _searched.setdefault(several[0], {})

    def search(table: NDArray[np.uint8]) -> _Ends:
        key = hashlib.sha256(table.tobytes()).digest(), distance
        if key not in found:
            found[key] = near_pairs(table, distance)[:2]
        return found[key]

    return _grouped(
        hashes,
        contents=columns.sha256[rows],
        groups=several[0].groups[rows],
        labels=columns.label[rows] if classes else None,
        distance=distance,
        search=search,
        pairs=pairs,
    )


def find_duplicates(
    hashes: ArrayLike,
    *,
    contents: NDArray[np.uint8] | Sequence[bytes] | None = None,
    groups: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    distance: int = NEAR_DISTANCE,
) -> Groups:
    """Find the images that belong together.

    Two images are near duplicates if their perceptual hashes differ in at most `distance` of 255 bits. A photograph
    that was saved again, scaled, mirrored, brightened, or cropped by a twentieth is found, one that was turned by 2
    degrees often is not. ``tests/benchmarks/duplicates.py`` measures how many, and how many different photographs are
    taken for one. The time grows with n, not with n^2 (``tests/benchmarks/duplicate_search.py``).

    Parameters
    ----------
    hashes : array-like of uint8, shape (n, 64)
        Perceptual hashes (:func:`featurekit.images.perceptual_hash`); rows of zeros where none is known.
    contents : ndarray of uint8, shape (n, 32), or sequence of bytes, optional
        Hashes of the image files.
    groups : array-like of str, shape (n,), optional
        Groups that are known already; empty text is none.
    labels : array-like, shape (n,), optional
        Classes. Near duplicates are not kept together where that would leave a class with a single group, which could
        not be split; a class of one image is no reason. Default: they are always kept together.
    distance : int
        0 finds equal hashes only.

    Returns
    -------
    Groups

    Raises
    ------
    ValueError
        If the arguments differ in length.

    Examples
    --------
    >>> hashes = np.random.default_rng(0).integers(0, 256, (4, 64), dtype=np.uint8)
    >>> find_duplicates(hashes[[0, 1, 2, 0]]).ids
    array([0, 1, 2, 0])
    """

    def search(table: NDArray[np.uint8]) -> _Ends:
        return near_pairs(table, distance)[:2]

    return _grouped(hashes, contents=contents, groups=groups, labels=labels, distance=distance, search=search)


def _grouped(
    hashes: ArrayLike,
    *,
    contents: NDArray[np.uint8] | Sequence[bytes] | None,
    groups: ArrayLike | None,
    labels: ArrayLike | None,
    distance: int,
    search: Callable[[NDArray[np.uint8]], _Ends],
    pairs: Sequence[tuple[int, int]] | None = None,
) -> Groups:
    table = np.asarray(hashes, dtype=np.uint8).reshape(-1, PERCEPTUAL_BYTES)
    n = len(table)
    for name, given in (("contents", contents), ("groups", groups), ("labels", labels)):
        if given is not None and len(np.asarray(given)) != n:
            raise ValueError(f"{n} hashes but {len(np.asarray(given))} {name}")
    same = np.arange(n) if contents is None else _first_of_equal(content_ids(contents))
    named = np.full(n, "") if groups is None else np.asarray(groups).astype(str)
    members = np.flatnonzero(named != "")
    known = [(np.arange(n), same), (members, members[_first_of_equal(named[members])])]

    # Equal files are one picture: the first stands for all of them.
    if pairs is None:
        first, second = search(np.where((same != np.arange(n))[:, None], np.uint8(0), table))
    else:
        first, second = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    ends = np.stack([first, second], axis=1)
    ids = connected_ids(n, [*known, (first, second)])
    stuck = np.zeros(n, dtype=bool)
    if labels is not None and len(ends):
        classes, codes, sizes = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
        groups_in = np.bincount(np.unique(codes * n + ids) // n, minlength=len(classes))
        named_class = np.array([each not in {"", b""} for each in classes.tolist()])
        stuck = (named_class & (sizes > 1) & (groups_in < 2))[codes]
    among = stuck[ends].any(axis=1)
    if among.any():
        # The first search gives enough pairs to connect pictures, not all: without those that are separated now, others
        # may need pairs that it passed over.
        left, right = search(np.where((stuck | (same != np.arange(n)))[:, None], np.uint8(0), table))
        ids = connected_ids(n, [*known, (left, right)])
    return Groups(
        ids=ids,
        exact=int(np.sum(same != np.arange(n))),
        near=len(np.unique(ends)),
        pairs=list(map(tuple, ends.tolist())),
        distance=distance,
        given=len(np.unique(named[members])),
        kept=not among.any(),
        unknown=int(np.sum(~has_hash(table))),
    )


def _first_of_equal(values: NDArray[Any]) -> NDArray[np.intp]:
    """For each element, the number of the first one that equals it."""
    _, index, inverse = np.unique(values, return_index=True, return_inverse=True)
    return index[inverse]
