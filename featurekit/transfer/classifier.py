"""TransferClassifier: images in, classes out."""

from __future__ import annotations

import os
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if

from ..backbones import DEFAULT_BACKBONE
from ..heads import DEFAULT_HEAD, HEADS, make_head
from ..labels import as_array
from ..targets import LabelTable, as_classes, label_table
from .base import TransferEstimator, given_or_stored
from .telling import label_findings


def _head_has(method: str) -> Any:
    """Whether the fitted head has a method; before fitting, whether the one that will be fitted has it."""

    def check(classifier: TransferClassifier) -> bool:
        head = getattr(classifier, "head_", classifier.head)
        return hasattr(HEADS.get(head) if isinstance(head, str) else head, method)

    return check


class TransferClassifier(ClassifierMixin, TransferEstimator):
    """Images in, classes out: a frozen backbone and a new last layer.

    Parameters
    ----------
    backbone : str, default="efficientnet_lite0"
        Its name; ``featurekit models`` lists them.
    head : str or scikit-learn classifier, default="auto"
        The new last layer: ``"auto"`` (the best of logistic regression, SVM and LDA by cross-validation), ``"logreg"``,
        ``"svm"``, ``"linear-svm"``, ``"ridge"``, ``"lda"``, ``"knn"``, ``"centroid"``, or any classifier or pipeline,
        which is cloned. The named ones choose their own strength by cross-validation.
    layer, pooling, weights, cache, precision, decoder, image_size, crop, flip, l2, batch_size, workers, device, \
runtime, progress
        As in :class:`FeatureExtractor`.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        The classes, sorted; or the names of the labels.
    extractor_ : FeatureExtractor
        Fitted.
    multilabel_ : bool
        Whether it learned labels that do not exclude each other.
    head_ : scikit-learn classifier
        Fitted on rows of shape (n, d).
    label_findings_ : LabelFindings
        What looks wrong with the labels that it was fitted on. A saved model does not keep it.

    Examples
    --------
    >>> from featurekit import TransferClassifier
    >>> paths = sorted(getfixture("digits_folder").glob("*/*.png"))
    >>> y = [path.parent.name for path in paths]
    >>> clf = TransferClassifier(head="lda").fit(paths[::2], y[::2])
    >>> clf.classes_.tolist(), clf.predict_proba(paths[:2]).shape
    (['0', '1', '2'], (2, 3))
    """

    def __init__(
        self,
        backbone: str = DEFAULT_BACKBONE,
        head: Any = DEFAULT_HEAD,
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
        target: str = "class",
    ) -> Self:
        """Compute the rows that are not in the cache and fit the head on all.

        Parameters
        ----------
        X : sequence of images, or FeatureStore
            Paths, PIL images or uint8 arrays; or a store, whose rows are used as they are.
        y : array-like, shape (n,), or (n, k), optional
            The class of each image; or a column of 0 or 1 for each label that an image may have beside others, best
            as a data frame, whose columns have names. May be left out for a store: then its own labels are taken as
            classes, and its unlabelled rows are not used.
        groups : array-like, shape (n,), optional
            Images of one group stay on one side where a named head chooses its strength. Of a store without `y`, its
            own groups and duplicates are taken.
        sample_weight : array-like, shape (n,), optional
            How much each image counts, if the head knows weights.
        target : {"class", "labels"}, default="class"
            What `y`, or the labels of a store without `y`, say: the class of an image, or labels that may be there
            beside others, as in :func:`featurekit.targets.label_table`.

        Returns
        -------
        self

        Raises
        ------
        ImageError
            If an image cannot be read.
        HeadError
            If the head is unknown or the labels have fewer than two classes.
        BackboneError, WeightsError, FeatureSpaceError
            As in :class:`FeatureExtractor`.
        """
        if target not in {"class", "labels"}:
            raise ValueError(f"target must be 'class' or 'labels', got {target!r}")
        given, chosen = given_or_stored(X, y, groups, sample_weight)
        if target == "labels" and not hasattr(given, "columns") and as_array(given).ndim == 1:
            given = label_table(given)
        labels = as_classes(given)
        head = make_head(self.head, labels)
        # `make_head` has found what is wrong with the labels, before anything slow.
        contents, pairs = self._fit_head(head, X, labels, chosen, groups, sample_weight)
        self.classes_ = self.head_.classes_
        self.multilabel_ = labels.ndim == 2
        if self.multilabel_:
            self.classes_ = np.asarray(list(getattr(given, "columns", range(labels.shape[1]))))
            given = LabelTable(labels, self.classes_.tolist())
        self.label_findings_ = label_findings(X, given, contents, chosen, pairs=pairs, target=self.target_)
        self.label_findings_.warn()
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Predicted classes, shape (n,); of labels, 0 or 1, shape (n, n_classes).

        Parameters
        ----------
        X : sequence of images, or FeatureStore
        """
        return self._say("predict", X)

    @available_if(_head_has("predict_proba"))
    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Probability of each class, or label, shape (n, n_classes), in the order of `classes_`.

        There for every named head (if each class has at least 2 images), and for any other classifier that has it.

        Parameters
        ----------
        X : sequence of images, or FeatureStore
        """
        return self._say("predict_proba", X)

    @available_if(_head_has("decision_function"))
    def decision_function(self, X: Any) -> NDArray[Any]:
        """Decision values of the head, where it has them.

        Parameters
        ----------
        X : sequence of images, or FeatureStore
        """
        return self._say("decision_function", X)

    @property
    def target_(self) -> str:
        """What it learned: ``"class"``, one for each image, or ``"labels"``, which may be there beside others."""
        return "labels" if self.multilabel_ else "class"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
