"""TransferClassifier: a frozen backbone and a swappable scikit-learn head, as one classifier."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from ._version import __version__
from .backbones import DEFAULT_BACKBONE
from .bundle import read_bundle, write_bundle
from .duplicates import group_rows
from .errors import BundleError, HeadError
from .extractor import FeatureExtractor
from .fingerprint import PENULTIMATE, FeatureSpace
from .heads import fit_head, head_name, make_head
from .images import is_missing
from .metrics import Evaluation, evaluate_predictions
from .store import FeatureStore


def _head_has(method: str) -> Any:
    def check(classifier: TransferClassifier) -> bool:
        check_is_fitted(classifier, "head_")
        return hasattr(classifier.head_, method)

    return check


class TransferClassifier(ClassifierMixin, BaseEstimator):
    """Images in, classes out: a frozen backbone and a new last layer.

    Parameters
    ----------
    backbone : str, default="efficientnet_lite0"
        Its name; ``featurekit models`` lists them.
    head : str or scikit-learn classifier, default="logreg"
        The new last layer: ``"logreg"``, ``"svm"``, ``"linear-svm"``, ``"ridge"``, ``"lda"``, ``"knn"``,
        ``"centroid"``, or any classifier or pipeline, which is cloned. The named ones choose their own strength by
        cross-validation.
    layer, weights, cache, precision, decoder, batch_size, workers, device, runtime, progress
        As in :class:`FeatureExtractor`.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        The labels, sorted.
    extractor_ : FeatureExtractor
        Fitted.
    head_ : scikit-learn classifier
        Fitted on rows of shape (n, d).

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
        head: Any = "logreg",
        *,
        layer: str = PENULTIMATE,
        weights: str | os.PathLike[str] | None = None,
        cache: str | os.PathLike[str] | None = None,
        precision: str = "fp32",
        decoder: str = "auto",
        batch_size: int | None = None,
        workers: int | None = None,
        device: str = "auto",
        runtime: str = "auto",
        progress: bool = False,
    ) -> None:
        self.backbone = backbone
        self.head = head
        self.layer = layer
        self.weights = weights
        self.cache = cache
        self.precision = precision
        self.decoder = decoder
        self.batch_size = batch_size
        self.workers = workers
        self.device = device
        self.runtime = runtime
        self.progress = progress

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
            Paths, PIL images or uint8 arrays; or a store, whose rows are used as they are.
        y : array-like, shape (n,), optional
            Labels. May be left out for a store: then its own are used, and its unlabelled rows are not.
        groups : array-like, shape (n,), optional
            Images of one group stay on one side where a named head chooses its strength. Of a store without `y`, its
            own groups and duplicates are taken.
        sample_weight : array-like, shape (n,), optional
            How much each image counts, if the head knows weights.

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
        chosen: Any = slice(None)
        if y is None:
            if not isinstance(X, FeatureStore):
                raise ValueError(
                    "y is missing: a classifier needs a label for each image (only a store brings its own)"
                )
            if groups is not None or sample_weight is not None:
                raise ValueError("groups and sample_weight are for images with y; a store has its own groups")
            chosen = np.flatnonzero(X.y != "")
            y = X.y[chosen]
        labels = _as_labels(y)
        for name, given in (("groups", groups), ("sample_weight", sample_weight)):
            if given is not None and len(np.asarray(given)) != len(labels):
                raise ValueError(f"{len(labels)} labels but {len(np.asarray(given))} {name}")
        if len(labels) != len(X) and isinstance(chosen, slice):
            raise ValueError(f"{len(X)} images but {len(labels)} labels")
        head = make_head(self.head, labels)
        # Before anything slow: `make_head` has found what is wrong with the labels.
        self.extractor_ = self._new_extractor().fit(X)
        rows = self.extractor_.transform(X)[chosen]
        if not isinstance(chosen, slice):
            groups = group_rows(X, chosen).ids
        self.head_ = fit_head(head, rows, labels, groups=groups, sample_weight=sample_weight)
        self.classes_ = self.head_.classes_
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Predicted labels, shape (n,).

        Parameters
        ----------
        X : sequence of images, or FeatureStore
        """
        rows = self._rows(X)
        labels: NDArray[Any] = self.head_.predict(rows)
        return labels

    @available_if(_head_has("predict_proba"))
    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Probability of each class, shape (n, n_classes), in the order of `classes_`.

        There for every named head (if each class has at least 2 images), and for any other classifier that has it.

        Parameters
        ----------
        X : sequence of images, or FeatureStore
        """
        rows = self._rows(X)
        probabilities: NDArray[Any] = self.head_.predict_proba(rows)
        return probabilities

    @available_if(_head_has("decision_function"))
    def decision_function(self, X: Any) -> NDArray[Any]:
        """Decision values of the head, where it has them.

        Parameters
        ----------
        X : sequence of images, or FeatureStore
        """
        rows = self._rows(X)
        values: NDArray[Any] = self.head_.decision_function(rows)
        return values

    @property
    def space_(self) -> FeatureSpace:
        """The feature space of the rows that the head was fitted on."""
        check_is_fitted(self, "head_")
        space: FeatureSpace = self.extractor_.space_
        return space

    def save(self, path: str | os.PathLike[str], *, notes: dict[str, Any] | None = None) -> Path:
        """Save as a folder without pickle: JSON, a skops file and a model card.

        Parameters
        ----------
        path : path
            The folder. An older model in it is replaced once the new one is complete.
        notes : dict, optional
            Further JSON values to keep, such as scores.

        Returns
        -------
        Path

        Raises
        ------
        BundleError
            If something else is there, or it cannot be written.
        """
        check_is_fitted(self, "head_")
        manifest = {
            "featurekit": __version__,
            "space": json.loads(self.space_.to_json()),
            "fingerprint": self.space_.fingerprint,
            "head": head_name(self.head),
            "classes": [str(label) for label in self.classes_],
            "settings": {
                "backbone": self.backbone,
                "weights": None if self.weights is None else str(Path(self.weights).resolve()),
            },
            "notes": notes or {},
        }
        return write_bundle(path, manifest, self.head_, _card(manifest))

    def _new_extractor(self) -> FeatureExtractor:
        parameters = self.get_params(deep=False)
        del parameters["head"]
        return FeatureExtractor(**parameters)

    def _rows(self, X: Any) -> NDArray[np.float32]:
        check_is_fitted(self, "head_")
        # Made anew, so that set_params(cache=..., device=...) after fit takes effect.
        extractor = self._new_extractor()
        extractor.space_ = self.space_
        return extractor.transform(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.no_validation = True
        return tags


def load_model(
    path: str | os.PathLike[str], *, weights: str | os.PathLike[str] | None = None, trusted: Sequence[str] = ()
) -> TransferClassifier:
    """Load a model that :meth:`TransferClassifier.save` wrote.

    Parameters
    ----------
    path : path
        The folder.
    weights : path, optional
        The weight file of its backbone, where that lies elsewhere now.
    trusted : sequence of str
        Names of types that the head may hold beyond those that featurekit knows.

    Returns
    -------
    TransferClassifier
        Fitted. Its backbone is loaded when it first sees an image, and must have the same weights.

    Raises
    ------
    BundleError
        If there is no model, it is damaged, too new, or holds types that are not trusted.
    """
    manifest, head = read_bundle(path, trusted)
    try:
        space = FeatureSpace.from_json(json.dumps(manifest["space"]))
        settings = manifest["settings"]
        classifier = TransferClassifier(
            backbone=str(settings["backbone"]),
            head=str(manifest["head"]),
            weights=weights if weights is not None else settings["weights"],
            **space.options,
        )
        if space.fingerprint != manifest["fingerprint"]:
            raise ValueError("the fingerprint is not that of the feature space")
        width = getattr(head, "n_features_in_", space.dim)
        if width != space.dim:
            raise ValueError(f"the head takes rows of {width} numbers and the backbone gives {space.dim}")
        classifier.classes_ = head.classes_
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"the model in {path} is damaged: {error}") from error
    classifier.head_ = head
    classifier.extractor_ = classifier._new_extractor()
    classifier.extractor_.space_ = space
    return classifier


def evaluate(classifier: Any, X: Any, y: ArrayLike | None = None) -> Evaluation:
    """Score a fitted classifier on labelled images.

    Parameters
    ----------
    classifier : fitted classifier
        Such as a `TransferClassifier`.
    X : sequence of images, or FeatureStore
    y : array-like, shape (n,), optional
        True labels. May be left out for a store: then its own are used, and its unlabelled rows are not.

    Returns
    -------
    Evaluation

    Raises
    ------
    HeadError
        If there is no label.

    Examples
    --------
    >>> from featurekit import TransferClassifier, evaluate
    >>> store = getfixture("digits_store")
    >>> evaluate(TransferClassifier(head="knn").fit(store), store).accuracy
    1.0
    """
    if y is not None:
        return evaluate_predictions(y, *_predicted(classifier, X))
    if not isinstance(X, FeatureStore):
        raise ValueError("y is missing: scoring needs the true label of each image (only a store brings its own)")
    labelled = X.y != ""
    if not labelled.any():
        raise HeadError(
            "none of these images has a label to score against; labels come from class folders or a manifest"
        )
    predictions, probabilities, classes = _predicted(classifier, X)
    return evaluate_predictions(
        X.y[labelled],
        predictions[labelled],
        None if probabilities is None else probabilities[labelled],
        classes,
        group_rows(X, labelled).ids,
    )


def _as_labels(y: ArrayLike) -> NDArray[Any]:
    labels = column_or_1d(y, warn=True)
    if labels.dtype.kind in "OfUT" and (
        missing := [i for i, label in enumerate(labels) if is_missing(label) or label == ""]
    ):
        raise HeadError(
            f"{len(missing)} of {len(labels)} labels are missing or empty, the first at position {missing[0]}"
        )
    if labels.dtype == object and all(isinstance(label, str) for label in labels):
        labels = labels.astype(np.str_)  # pandas' text columns: one kind of classes_ whatever they came in
    with warnings.catch_warnings():
        # Many classes of few images are no reason to think of regression.
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        check_classification_targets(labels)
    result: NDArray[Any] = labels
    return result


def _predicted(classifier: Any, X: Any) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any]]:
    """Labels, probabilities if there are any, and classes; a `TransferClassifier` looks at the images once."""
    if isinstance(classifier, TransferClassifier):
        classifier, X = classifier.head_, classifier._rows(X)
    probabilities = classifier.predict_proba(X) if hasattr(classifier, "predict_proba") else None
    return np.asarray(classifier.predict(X)), probabilities, classifier.classes_


def _card(manifest: dict[str, Any]) -> str:
    space, notes = manifest["space"], manifest["notes"]
    pre = space["preprocessing"]
    lines = [
        "# A featurekit image classifier",
        "",
        f"- Backbone: {space['backbone']}, frozen; layer {space['layer']}, {space['dim']} features",
        f"- Weights: SHA-256 {space['weights']}",
        f"- Images: shorter side to {pre['resize']} ({pre['interpolation']}), centre crop {pre['crop']}",
        f"- Head: {manifest['head']}, for {len(manifest['classes'])} classes: {', '.join(manifest['classes'])}",
        *(f"- {key}: {value}" for key, value in notes.items()),
        "",
        f"Made with featurekit {manifest['featurekit']}. Use it with:",
        "",
        "    featurekit predict PHOTOS --model THIS_FOLDER",
        "",
    ]
    return "\n".join(lines)
