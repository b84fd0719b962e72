"""What estimators of a frozen backbone and a head have in common."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils.validation import check_is_fitted

from .._version import __version__
from ..backbones import DEFAULT_BACKBONE, named
from ..bundle import NETWORK, is_bundle, write_bundle
from ..duplicates import find_duplicates, group_rows
from ..errors import BundleError, HeadError
from ..extractor import FeatureExtractor
from ..fingerprint import FeatureSpace
from ..folders import open_regular
from ..heads import DEFAULT_HEAD, fit_head, fit_head_in_batches, fits_in_batches, head_name, set_blocks
from ..images import check_sequence
from ..labels import LABELS_COME_FROM, values_of
from ..store import FeatureStore
from .card import model_card
from .seen import sketch_of

_MOST_BYTES = 2**29  # of float32 rows: more are fitted a part at a time, if the head can
_BLOCK = 16_384  # rows of a store that are predicted at once


class TransferEstimator(BaseEstimator):
    """A frozen backbone and a head. Subclasses say what is learned, and call it `target_`."""

    training_: dict[str, Any] | None = None  # how the network was trained, if it is a loaded model's own
    seen_: Sequence[str] = ()  # the images that it learned from, see sketch_of

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
        self.backbone = backbone
        self.head = head
        self.layer = layer
        self.pooling = pooling
        self.weights = weights
        self.cache = cache
        self.precision = precision
        self.decoder = decoder
        self.image_size = image_size
        self.crop = crop
        self.flip = flip
        self.l2 = l2
        self.batch_size = batch_size
        self.workers = workers
        self.device = device
        self.runtime = runtime
        self.progress = progress

    def _fit_head(
        self,
        head: Any,
        X: Any,
        targets: NDArray[Any],
        chosen: NDArray[Any] | None,
        groups: ArrayLike | None,
        sample_weight: ArrayLike | None,
    ) -> tuple[Any, list[tuple[int, int]] | None]:
        """Compute the rows that are not in the cache and fit the head on all, or on the chosen ones of a store.

        Returns
        -------
        contents : ndarray of uint8
            Content hashes of the images that it was fitted on.
        pairs : list of (int, int), or None
            The near duplicates among these; None if they were not looked for.
        """
        self.extractor_ = self._new_extractor().fit(X)
        set_blocks(head, self.extractor_.space_.widths)
        of_classes = is_classifier(head) and np.ndim(targets) == 1
        pairs = None
        if chosen is not None:
            found = group_rows(X, chosen, classes=of_classes)
            groups, pairs = found.ids, found.pairs
        if isinstance(X, FeatureStore) and is_large(X) and fits_in_batches(head):
            if chosen is not None:
                place = np.zeros(len(X), dtype=np.intp)
                place[chosen] = np.arange(len(chosen))
                sample_weight = np.isin(np.arange(len(X)), chosen).astype(float)
                targets, groups = targets[place], np.asarray(groups)[place]
            self.head_ = fit_head_in_batches(head, X.X, targets, groups=groups, sample_weight=sample_weight)
            contents: Any = X.columns.sha256
        else:
            if isinstance(X, FeatureStore):
                rows, contents = self.extractor_.transform(X), X.columns.sha256
            else:
                features = self.extractor_._features(X)
                rows, contents = features.rows, features.contents
                found = find_duplicates(features.perceptual, contents=contents, labels=targets if of_classes else None)
                groups, pairs = found.ids if groups is None else groups, found.pairs
            rows = rows if chosen is None else rows[chosen]
            self.head_ = fit_head(head, rows, targets, groups=groups, sample_weight=sample_weight)
        contents = contents if chosen is None else contents[chosen]
        self.seen_ = sketch_of(contents)
        return contents, pairs

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
        if not isinstance(self.backbone, str):
            raise BundleError(
                "the backbone is a network of your own, which no file can describe: keep the code that makes it, and "
                "save this with joblib.dump; or name its architecture and weight file"
            )
        backbone, weights = named(self.backbone, self.weights)
        network = self._own_network() or _of_bundle(weights)
        manifest = {
            "featurekit": __version__,
            "space": json.loads(self.space_.to_json()),
            "fingerprint": self.space_.fingerprint,
            "head": head_name(self.head),
            "target": self.target_,
            "classes": [str(label) for label in getattr(self, "classes_", [])],
            "settings": {
                "backbone": backbone,
                "weights": None if network or weights is None else _absolute(weights),
            },
            "notes": notes or {},
            "seen": list(self.seen_),
            **self._more_to_save(),
        }
        return write_bundle(path, manifest, self.head_, model_card(manifest, self.head_), network)

    def _own_network(self) -> bytes:
        """The weights of a network that was trained here."""
        return b""

    def _more_to_save(self) -> dict[str, Any]:
        return {} if self.training_ is None else {"training": self.training_}

    def _new_extractor(self) -> FeatureExtractor:
        parameters = self.get_params(deep=False)
        del parameters["head"]
        return FeatureExtractor(**parameters)

    def _say(self, method: str, X: Any) -> NDArray[Any]:
        """What the head says of the images."""
        return np.concatenate([say(self.head_, method, rows) for rows in self._blocks(X)])

    def _blocks(self, X: Any) -> Iterator[NDArray[np.float32]]:
        """Rows of the images; of a store, a part at a time."""
        extractor = self._fitted_extractor()
        if not isinstance(X, FeatureStore):
            yield extractor.transform(X)
            return
        extractor.check_store(X)
        if not len(X):
            raise nothing_to_learn(X)
        for start in range(0, len(X), _BLOCK):
            yield X.X[start : start + _BLOCK].astype(np.float32, copy=False)

    def _fitted_extractor(self) -> FeatureExtractor:
        """An extractor of the rows that the head knows; made anew, so that set_params(cache=...) takes effect."""
        check_is_fitted(self, "head_")
        extractor = self._new_extractor()
        extractor.space_ = self.space_
        return extractor

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.no_validation = True
        return tags


def _of_bundle(weights: str | os.PathLike[str] | None) -> bytes:
    """The weights, where they came with a saved model: they go with this one, too."""
    if weights is None or Path(weights).name != NETWORK or not is_bundle(Path(weights).parent):
        return b""
    with open_regular(weights) as file:
        return file.read()


def _absolute(weights: str | os.PathLike[str]) -> str:
    """A file by its whole path; the name of weights of a library as it is."""
    return str(Path(weights).resolve()) if os.path.exists(weights) else os.fspath(weights)


def say(head: Any, method: str, rows: Any) -> NDArray[Any]:
    """What a head says of rows, as one table.

    Of labels, some of scikit-learn's classifiers give a list: for each label the probabilities of 0 and of 1.
    """
    said = getattr(head, method)(rows)
    if isinstance(said, list):
        columns = [
            table @ (np.asarray(classes) == 1).astype(table.dtype)
            for table, classes in zip(said, head.classes_, strict=True)
        ]
        said = np.stack(columns, axis=1)
    return np.asarray(said)


def is_large(store: FeatureStore) -> bool:
    """Whether the rows of a store are better not all in memory."""
    return len(store) * store.space.dim * 4 > _MOST_BYTES


def nothing_to_learn(store: FeatureStore) -> HeadError:
    """Make the error for a store none of whose rows has a label, or for a selection that has no rows."""
    if not len(store):
        return HeadError(f"the selection of {store.path} has no rows")
    return HeadError(f"none of the {len(store)} rows of {store.path} has a label. {LABELS_COME_FROM}")


def given_or_stored(
    X: Any, y: Any, groups: ArrayLike | None, sample_weight: ArrayLike | None
) -> tuple[Any, NDArray[Any] | None]:
    """The targets, and if they are those of a store, which of its rows have any."""
    if not isinstance(X, FeatureStore):
        check_sequence(X)
    if y is not None:
        labels = len(values_of(y))
        for name, given in (("groups", groups), ("sample_weight", sample_weight)):
            if given is not None and (n := len(values_of(given, name))) != labels:
                raise ValueError(f"{labels} labels but {n} {name}")
        if labels != len(X):
            raise ValueError(f"{len(X)} images but {labels} labels")
        return y, None
    if not isinstance(X, FeatureStore):
        raise ValueError(
            "y is missing: fitting requires y to be passed, but the target y is None. Each image needs a label (only a "
            "store brings its own)"
        )
    if groups is not None or sample_weight is not None:
        raise ValueError("groups and sample_weight are for images with y; a store has its own groups")
    chosen = np.flatnonzero(X.columns.label != b"")
    if not len(chosen):
        raise nothing_to_learn(X)
    return X.y[chosen], chosen
