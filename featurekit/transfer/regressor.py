"""TransferRegressor: images in, numbers out."""

from __future__ import annotations

import os
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin

from ..backbones import DEFAULT_BACKBONE
from ..heads import make_head
from ..targets import as_numbers, numbers
from .base import TransferEstimator, given_or_stored
from .telling import label_findings


class TransferRegressor(RegressorMixin, TransferEstimator):
    """Images in, numbers out: a frozen backbone and a head that learns numbers.

    Parameters
    ----------
    backbone : str, default="efficientnet_lite0"
        Its name; ``featurekit models`` lists them.
    head : str or scikit-learn regressor, default="ridge"
        ``"ridge"``, ``"svm"``, ``"knn"``, which choose their own strength by cross-validation, or any regressor or
        pipeline, which is cloned.
    layer, pooling, weights, cache, precision, decoder, image_size, crop, flip, l2, batch_size, workers, device, \
runtime, progress
        As in :class:`FeatureExtractor`.

    Attributes
    ----------
    extractor_ : FeatureExtractor
        Fitted.
    head_ : scikit-learn regressor
        Fitted on rows of shape (n, d).
    label_findings_ : LabelFindings
        What looks wrong with the numbers that it was fitted on. A saved model does not keep it.

    Examples
    --------
    >>> from featurekit import TransferRegressor
    >>> paths = sorted(getfixture("digits_folder").glob("*/*.png"))
    >>> y = [float(path.parent.name) for path in paths]
    >>> TransferRegressor().fit(paths[::2], y[::2]).score(paths[1::2], y[1::2]) > 0.7
    True
    """

    target_ = "number"

    def __init__(
        self,
        backbone: str = DEFAULT_BACKBONE,
        head: Any = "ridge",
        *,
        layer: str | None = None,
        pooling: str = "avg",
        weights: str | os.PathLike[str] | None = None,
        cache: str | os.PathLike[str] | None = None,
        precision: str = "fp32",
        decoder: str = "auto",
        image_size: int | None = None,
        crop: float | None = None,
        flip: bool = False,
        l2: bool = False,
        batch_size: int | None = None,
        workers: int | None = None,
        device: str = "auto",
        runtime: str = "auto",
        progress: bool = False,
    ) -> None:
        super().__init__(
            backbone,
            head,
            layer=layer,
            pooling=pooling,
            weights=weights,
            cache=cache,
            precision=precision,
            decoder=decoder,
            image_size=image_size,
            crop=crop,
            flip=flip,
            l2=l2,
            batch_size=batch_size,
            workers=workers,
            device=device,
            runtime=runtime,
            progress=progress,
        )

    def fit(
        self,
        X: Any,
        y: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Compute the rows that are not in the cache and fit the head on all.

        Parameters
        ----------
        X : sequence of images, or FeatureStore
            As in :meth:`TransferClassifier.fit`.
        y : array-like, shape (n,) or (n, t), optional
            Numbers. May be left out for a store: then its labels are read as numbers, and its unlabelled rows are
            not used.
        groups, sample_weight : array-like, shape (n,), optional
            As in :meth:`TransferClassifier.fit`.

        Returns
        -------
        self

        Raises
        ------
        ImageError
            If an image cannot be read.
        HeadError
            If the head is unknown, or a label is no number.
        """
        given, chosen = given_or_stored(X, y, groups, sample_weight)
        targets = numbers(given) if chosen is not None else as_numbers(given)
        head = make_head(self.head, targets, regression=True)
        contents, pairs = self._fit_head(head, X, targets, chosen, groups, sample_weight)
        self.label_findings_ = label_findings(X, targets, contents, chosen, pairs=pairs, target="number")
        self.label_findings_.warn()
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Predicted numbers, shape (n,) or (n, t).

        Parameters
        ----------
        X : sequence of images, or FeatureStore
        """
        return self._say("predict", X)
