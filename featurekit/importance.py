"""Importance of the layers of a row: the accuracy that is lost when the numbers of one layer are shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .heads import DEFAULT_HEAD, fit_head, make_head
from .metrics import paired_difference
from .splits import holdout


class LayerImportance(NamedTuple):
    """Accuracy that a head loses when the numbers of one layer are shuffled among the images.

    Attributes
    ----------
    layer : str
    columns : int
        How many numbers of a row come from it.
    drop : float
        Accuracy with the numbers in their places, minus accuracy with them shuffled; a share.
    low, high : float or None
        Its 95% interval, over the held-out images; None with fewer than 6 groups of images.
    """

    layer: str
    columns: int
    drop: float
    low: float | None
    high: float | None


def layer_importance(
    X: ArrayLike,
    y: ArrayLike,
    layers: Sequence[tuple[str, int]],
    head: Any = DEFAULT_HEAD,
    *,
    test_size: float = 0.3,
    repeats: int = 5,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> list[LayerImportance]:
    """Compute the permutation importance of each layer of rows that hold several.

    The head is fitted once on a part of the rows. On the others, the columns of one layer at a time are shuffled
    together among the rows. Layers that say the same stand in for each other, so that each of them may look
    unimportant.

    Parameters
    ----------
    X : array-like, shape (n, d)
        Rows.
    y : array-like, shape (n,)
        Labels.
    layers : sequence of (str, int)
        Names of the layers and the numbers of their columns, as in :attr:`featurekit.FeatureSpace.blocks`.
    head : str or scikit-learn classifier
        As in :func:`featurekit.heads.make_head`.
    test_size, seed, groups
        As in :func:`featurekit.splits.holdout`.
    repeats : int
        Shufflings of each layer.

    Returns
    -------
    list of LayerImportance
        One for each layer, in the order of `layers`.

    Raises
    ------
    ValueError
        If the columns of the layers are not those of the rows.
    HeadError
        If the head cannot be fitted, or nothing can be held out.

    References
    ----------
    L. Breiman, "Random forests", Machine Learning 45 (2001), section 10.

    Examples
    --------
    >>> store = getfixture("digits_store")
    >>> found = layer_importance(store.X, store.y, store.space.blocks, "centroid")
    >>> [each.layer for each in found][:2], max(each.drop for each in found) > 0
    (['bn1', 'blocks.0'], True)
    """
    rows, labels = np.asarray(X), np.asarray(y)
    widths = [width for _, width in layers]
    if rows.ndim != 2 or sum(widths) != rows.shape[1]:
        raise ValueError(f"the layers have {sum(widths)} columns, and the rows have the shape {rows.shape}")
    ids = np.arange(len(labels)) if groups is None else np.asarray(groups)
    train, test = holdout(labels, test_size, seed, groups)
    unfitted = make_head(head, labels[train], blocks=widths)
    fitted = fit_head(unfitted, rows[train], labels[train], groups=None if groups is None else ids[train])
    truth, known, tested = np.tile(labels[test], repeats), np.tile(ids[test], repeats), rows[test]
    usual = np.tile(fitted.predict(tested), repeats)
    found, start = [], 0
    for layer, width in layers:
        part, rng = slice(start, start + width), np.random.default_rng(seed)
        shuffled = []
        for _ in range(repeats):
            mixed = tested.copy()
            mixed[:, part] = rng.permutation(tested[:, part])
            shuffled.append(fitted.predict(mixed))
        found.append(LayerImportance(layer, width, *paired_difference(truth, usual, np.concatenate(shuffled), known)))
        start += width
    return found
