"""What looks wrong with the labels of images: found here for everything that learns from them or is scored on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..duplicates import group_rows
from ..images import items_from
from ..labels import LabelFindings, content_ids, find_problems
from ..store import FeatureStore
from ..targets import SEPARATOR


def label_findings(
    X: Any,
    labels: Any,
    contents: NDArray[np.uint8] | Sequence[bytes] | None = None,
    chosen: NDArray[np.intp] | None = None,
    *,
    pairs: Sequence[tuple[int, int]] | None = None,
    target: str = "class",
) -> LabelFindings:
    """Look for equal files and near duplicates under several labels, and for names of classes that differ in form only.

    Parameters
    ----------
    X : sequence of images, or FeatureStore
        Where the paths are.
    labels : array-like, shape (n,), or (n, k)
        Of the chosen images: classes, texts with labels, numbers, or a table of 0 and 1 (with `columns`, if its labels
        have names).
    contents : ndarray of uint8, shape (n, 32), or sequence of bytes, optional
        Content hashes of the chosen images. Default: those of the store.
    chosen : ndarray of int, optional
        Which of the images of `X` they are. Default: all.
    pairs : sequence of (int, int), optional
        Near duplicates among the chosen images, as :attr:`featurekit.duplicates.Groups.pairs`. Default: those of the
        store; of images, none.
    target : {"class", "labels", "number"}
        What the labels say.

    Returns
    -------
    LabelFindings

    Examples
    --------
    >>> store = getfixture("digits_store")
    >>> label_findings(store, store.y).sentences()
    []
    """
    if contents is None:
        contents = X.columns.sha256 if chosen is None else X.columns.sha256[chosen]
    texts = np.asarray(labels)
    if texts.ndim == 2 and target == "labels":
        names = [str(name) for name in getattr(labels, "columns", range(texts.shape[1]))]
        texts = np.array([SEPARATOR.join(names[i] for i in np.flatnonzero(row)) for row in texts])
    elif texts.ndim == 2:
        return LabelFindings()
    form: dict[str, Any] = {"separator": SEPARATOR if target == "labels" else "", "numbers": target == "number"}
    ids = content_ids(contents)
    if pairs is None:
        pairs = group_rows(X, chosen).pairs if isinstance(X, FeatureStore) and target != "number" else ()
    if len(np.unique(ids)) == len(ids) and not pairs:  # no picture is there twice, so that no path is needed
        return find_problems(texts, **form)
    paths = X.paths if isinstance(X, FeatureStore) else [item.shown(index) for index, item in enumerate(items_from(X))]
    if chosen is not None:
        paths = [paths[row] for row in chosen.tolist()]
    return find_problems(texts, ids, paths, pairs=pairs, **form)
