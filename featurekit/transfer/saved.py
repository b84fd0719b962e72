"""Loading a saved model."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_regressor

from ..bundle import NETWORK, read_bundle
from ..errors import BundleError
from ..fingerprint import FeatureSpace, file_sha256
from .classifier import TransferClassifier
from .regressor import TransferRegressor
from .seen import checked_sketch


def load_model(
    path: str | os.PathLike[str], *, weights: str | os.PathLike[str] | None = None, trusted: Sequence[str] = ()
) -> TransferClassifier | TransferRegressor:
    """Load a model that was saved: of :class:`TransferClassifier`, `TransferRegressor`, or `FineTuneClassifier`.

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
    TransferClassifier or TransferRegressor
        Fitted. Its backbone is loaded when it first sees an image, and must have the same weights. What was fine-tuned
        is a `TransferClassifier` from then on, whose network is the model's own.

    Raises
    ------
    BundleError
        If there is no model, it is damaged, too new, or holds types that are not trusted.
    """
    manifest, head = read_bundle(path, trusted)
    try:
        space = FeatureSpace.from_json(json.dumps(manifest["space"]))
        settings, target = manifest["settings"], manifest.get("target", "class")
        own = Path(path, NETWORK)
        if own.exists() and weights is None:
            if file_sha256(own) != space.weights:
                raise ValueError(f"{NETWORK} is not the network that was saved")
            weights = own
        if not isinstance(settings["weights"], str | None):
            raise ValueError(f"its weights are {settings['weights']!r:.50}")
        if target not in {"class", "labels", "number"}:
            raise ValueError(f"it predicts {target!r:.50}")
        if is_regressor(head) != (target == "number"):
            raise ValueError(f"its head does not predict {target!r}")
        model = (TransferRegressor if target == "number" else TransferClassifier)(
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
        for name in ("coef_", "intercept_"):
            numbers = np.asarray(getattr(head, name, 0.0))
            if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
                raise ValueError(f"{name} of its head holds what is no number")
            if name == "coef_" and numbers.ndim and numbers.shape[-1] != space.dim:
                raise ValueError(f"its head is of rows of {numbers.shape[-1]} numbers, not of {space.dim}")
        model.seen_ = checked_sketch(manifest.get("seen", []))
        if isinstance(model, TransferClassifier):
            model.multilabel_ = target == "labels"
            model.classes_ = _classes(manifest["classes"], head, labels=model.multilabel_)
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"the model in {path} is damaged: {error}") from error
    model.head_ = head
    model.extractor_ = model._new_extractor()
    model.extractor_.space_ = space
    if isinstance(manifest.get("training"), dict):
        model.training_ = manifest["training"]
    return model


def _classes(named: Any, head: Any, *, labels: bool) -> NDArray[Any]:
    """The classes, or the names of the labels; raises ValueError where they are not those of the head."""
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise ValueError("the classes are no list of names")
    if bool(getattr(head, "multilabel_", labels)) != labels:
        raise ValueError(f"its head {'learned classes' if labels else 'learned labels beside each other'}")
    if len(named) != len(head.classes_) or len(set(named)) < len(named):
        raise ValueError(f"{len(set(named))} classes have names, and the head knows {len(head.classes_)}")
    if labels:
        return np.array(named)
    if named != [str(label) for label in head.classes_]:
        raise ValueError("the classes are not those of its head")
    known: NDArray[Any] = head.classes_
    return known
