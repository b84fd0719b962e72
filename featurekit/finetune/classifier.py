"""FineTuneClassifier: images in, classes out, with a network of which some stages are trained."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from ..backbones import DEFAULT_BACKBONE, Backbone, described, find
from ..errors import HeadError
from ..extractor import FeatureExtractor, ImageFeatures
from ..fingerprint import PENULTIMATE
from ..folders import is_store_name, on_disk
from ..heads.layer import calibrate, head_of, layer_of
from ..images import Item
from ..splits import holdout
from ..transfer import TransferClassifier, label_findings, load_model, sketch_of
from .inputs import (
    beyond_chance,
    check_backbone,
    check_start,
    checked,
    checked_share,
    checked_validation,
    compared,
    first_head,
    hashes_of,
    seen_twice,
    settings_of,
    start_notes,
    starting_classifier,
    together,
    usual_size,
    why_a_new_head,
)
from .recipe import Recipe, plain_number
from .weights import weights_file


class FineTuneClassifier(TransferClassifier):
    """Images in, classes out: a network whose upper stages are trained, with a new last layer.

    Where cached features of a frozen network prove insufficient. It starts as the frozen network with logistic
    regression, which is what you get unless training gains more than chance on validation images. Once fitted it is a
    backbone with weights of its own and a linear head, and does all that a `TransferClassifier` does.

    Parameters
    ----------
    backbone : str, default="efficientnet_lite0"
        Its name; ``featurekit models`` lists them.
    unfreeze : int or str, default=2
        What is trained, beside the last layer: so many stages from the top, ``"all"``, or the name of the lowest stage.
    pretrained : bool, default=True
        False: from scratch, with random weights and another default recipe.
    start : TransferClassifier or path, optional
        A fitted classifier, or the folder of a saved one; see :meth:`from_transfer`.
    validation : float, default=0.2
        Share of the images that are kept aside to choose the best epoch, if `fit` is given none.
    checkpoint : path, optional
        A folder for the state after each epoch, and for the trunk cache. A training that was killed goes on from there
        and ends as it would have. Each training (of other images, labels or options) has a folder of its own in there,
        in which its last checkpoint stays. None: nothing is kept.
    epochs, learning_rate, stage_decay, gradual, warm_up, augment, mix, label_smoothing, balance, weight_decay, clip, \
accumulate, average, batch_norm, precision, patience, trunk_cache, head_start, damp, seed, batch_size
        As in :class:`featurekit.finetune.Recipe`, where the defaults are.
    weights, cache, decoder, image_size, crop, workers, device, runtime, progress
        As in :class:`FeatureExtractor`.
    devices : int, default=1
        Processes that train together, each on a GPU of its own, or on its share of the processors. Each takes its part
        of every batch, and gradients are added up, so that the result is the same to rounding (BatchNorm's statistics,
        if they are trained, are of the part). Needs Accelerate.
    say : callable, optional
        Called with what is being done, and with a line after each epoch; such as `print`.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
    head_ : LogisticRegressionPath
        The last layer, its probabilities calibrated on the validation images.
    extractor_ : FeatureExtractor
        Of the trained network.
    history_ : list of dict
        Of each epoch: ``epoch`` (0: before the first step), ``loss``, ``accuracy`` and ``log_loss`` on the validation
        images, ``rates`` (learning rate of each stage), ``seconds``.
    best_epoch_ : int
        Whose state was kept: the most accurate on the validation images, and of equals that of the lowest log loss.
        0: training gained nothing beyond chance (McNemar's statistic at most 1, or no less log loss), and this is the
        frozen network with logistic regression on all images.
    comparison_ : dict
        On the validation images: ``n``, ``accuracy``, ``frozen_accuracy``, ``log_loss``, ``frozen_log_loss`` (both
        calibrated), the paired ``difference`` with its 95% interval ``low``, ``high`` (None below 6 images or groups;
        ``interval_note`` says so); images ``won``, ``lost``. The best epoch is a little too good. ``tried``: the same
        where the frozen network was kept.
    moved_ : dict of str to float
        Of each trained stage, how long the change of its parameters is, relative to these; the head's with its damping.
    trained_ : list of str
        Names of the network's parameters that were trained.
    stopped_ : str
        Why training ended early; empty if it did not.
    work_ : str or None
        The folder of this training in `checkpoint`.

    References
    ----------
    A. Kumar et al., "Fine-tuning can distort pretrained features and underperform out-of-distribution", 2022.

    Examples
    --------
    >>> from featurekit import FineTuneClassifier
    >>> paths = sorted(getfixture("digits_folder").glob("*/*.png"))
    >>> y = [path.parent.name for path in paths]
    >>> tuned = FineTuneClassifier(unfreeze=1, epochs=1).fit(paths, y)
    >>> tuned.predict(paths[:1]).tolist(), [record["epoch"] for record in tuned.history_]
    (['0'], [0, 1])
    """

    def __init__(
        self,
        backbone: str = DEFAULT_BACKBONE,
        *,
        unfreeze: int | str = 2,
        pretrained: bool = True,
        start: Any = None,
        validation: float = 0.2,
        checkpoint: str | os.PathLike[str] | None = None,
        epochs: int | None = None,
        batch_size: int = 32,
        learning_rate: float | None = None,
        stage_decay: float | None = None,
        gradual: int = 0,
        warm_up: float = 0.1,
        augment: str | None = None,
        mix: str | None = None,
        label_smoothing: float = 0.1,
        balance: str | None = None,
        weight_decay: float | None = None,
        clip: float = 1.0,
        accumulate: int = 1,
        average: str | None = "ema",
        batch_norm: str | None = None,
        precision: str = "fp32",
        patience: int | None = None,
        trunk_cache: str = "auto",
        head_start: str = "fitted",
        damp: float = 0.125,
        seed: int = 0,
        weights: str | os.PathLike[str] | None = None,
        cache: str | os.PathLike[str] | None = None,
        decoder: str = "auto",
        image_size: int | None = None,
        crop: float | None = None,
        workers: int | None = None,
        device: str = "auto",
        runtime: str = "auto",
        devices: int = 1,
        progress: bool = False,
        say: Callable[[str], object] | None = None,
    ) -> None:
        self.backbone = backbone
        self.unfreeze = unfreeze
        self.pretrained = pretrained
        self.start = start
        self.validation = validation
        self.checkpoint = checkpoint
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.stage_decay = stage_decay
        self.gradual = gradual
        self.warm_up = warm_up
        self.augment = augment
        self.mix = mix
        self.label_smoothing = label_smoothing
        self.balance = balance
        self.weight_decay = weight_decay
        self.clip = clip
        self.accumulate = accumulate
        self.average = average
        self.batch_norm = batch_norm
        self.precision = precision
        self.patience = patience
        self.trunk_cache = trunk_cache
        self.head_start = head_start
        self.damp = damp
        self.seed = seed
        self.weights = weights
        self.cache = cache
        self.decoder = decoder
        self.image_size = image_size
        self.crop = crop
        self.workers = workers
        self.device = device
        self.runtime = runtime
        self.devices = devices
        self.progress = progress
        self.say = say

    head = "logreg"  # what it starts as, and is in the end

    @classmethod
    def from_transfer(cls, classifier: TransferClassifier | str | os.PathLike[str], **parameters: Any) -> Self:
        """Start at a fitted classifier: its backbone, and its head where that can be the last layer.

        A head can be if it is logistic regression on the penultimate layer (``TransferClassifier(head="logreg",
        layer="penultimate")``, or a fine-tuned network), for the same classes. Otherwise the network is taken with a
        new last layer, and a warning says so.

        Where `fit` is given validation images, the network's predictions before the first step are those of the
        classifier. Where it keeps some of the images aside, the head is fitted again, with the same settings, without
        these: scores on images that it has seen would be too good to choose by.

        Parameters
        ----------
        classifier : TransferClassifier or path
            Fitted, or the folder of a saved one.
        **parameters
            Of this class.

        Returns
        -------
        FineTuneClassifier
            Not fitted.
        """
        if isinstance(classifier, str | os.PathLike):
            return cls(**({"start": classifier} | settings_of(load_model(classifier)) | parameters))
        check_is_fitted(classifier, "head_")
        return cls(**({"start": FrozenEstimator(classifier)} | settings_of(classifier) | parameters))

    def fit(  # type: ignore[override]
        self,
        X: Any,
        y: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        validation: tuple[Any, ArrayLike] | None = None,
    ) -> Self:
        """Fit the frozen classifier, then train from there.

        Parameters
        ----------
        X : sequence of images
            Paths, PIL images or uint8 arrays.
        y : array-like, shape (n,)
            The class of each image.
        groups : array-like, shape (n,), optional
            Images of one group are all trained on or all kept aside. So are equal files and near duplicates.
        validation : (X, y), optional
            Other images, by which the best epoch is chosen. Default: a share of `X`, stratified.

        Returns
        -------
        self

        Raises
        ------
        ImageError
            If an image cannot be read.
        HeadError
            If the labels have fewer than two classes.
        TrainingError
            If an option cannot be, the trunk cache not be written, or the checkpoint is of another job.
        BackboneError, WeightsError
            As in :class:`FeatureExtractor`.
        """
        recipe = Recipe(**{each.name: getattr(self, each.name) for each in fields(Recipe)})
        recipe = recipe.complete(scratch=not self.pretrained)
        check_backbone(self.backbone)
        start = starting_classifier(self.start, self.backbone, pretrained=self.pretrained)
        items, labels = checked(X, y)
        classes, codes = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise HeadError(f"a classifier needs at least two classes, and the labels hold one class: {classes[0]}")
        others: list[Item] = []
        other_codes = np.empty(0, dtype=np.intp)
        if validation is not None:
            others, other_codes = checked_validation(validation, classes)
        backbone, fault = self._find() if self.pretrained else None, ""
        spec = backbone.spec if backbone else described(self.backbone, image_size=self.image_size, crop=self.crop)
        if start is not None and backbone is not None:
            check_start(start, backbone.space)
            fault = why_a_new_head(start, backbone.space, classes)
            for note in start_notes(start, fault, splits=validation is None):
                self._warn(note)
        rows = None
        if backbone is None:
            contents, perceptual = hashes_of([*items, *others], self.decoder)
        else:
            features = self._frozen_features([*items, *others])
            rows, contents, perceptual = features.rows, features.contents, features.perceptual
        if equal := seen_twice(contents, len(items)):
            self._warn(f"{equal} of {len(others)} validation images are training images, too: scores are too good")
        found = together(len(items), contents, perceptual, labels, groups)
        ids = found.ids
        for sentence in label_findings(X, labels, contents[: len(items)], pairs=found.pairs).sentences():
            self._warn(sentence)
        if validation is None:
            train, kept = self._split(labels, ids)
        else:
            train, kept = np.arange(len(items)), np.arange(len(items), len(items) + len(others))
        everything, all_codes = [*items, *others], np.concatenate([codes, other_codes])
        head, layer, frozen = None, None, None
        if rows is not None:
            first = None if fault else start
            head = first_head(first, rows[train], classes, all_codes[train], ids[train], exact=validation is not None)
            layer = layer_of(head)
            frozen = rows[kept] @ layer[0].T + layer[1]
        from .job import Job, run_job, silent  # torch

        result = run_job(
            Job(
                spec=spec,
                backbone=backbone,
                recipe=recipe,
                unfreeze=plain_number(self.unfreeze) if self.pretrained else "all",
                train=[everything[i] for i in train],
                validation=[everything[i] for i in kept],
                train_codes=all_codes[train],
                validation_codes=all_codes[kept],
                contents=contents[np.concatenate([train, kept])],
                classes=len(classes),
                layer=None if recipe.head_start == "random" else layer,
                scale=1.0 if rows is None else usual_size(rows[train]),
                folder=None if self.checkpoint is None else on_disk(self.checkpoint),
                decoder=self.decoder,
                device=self.device,
                runtime=self.runtime,
                devices=plain_number(self.devices),
                workers=self.workers,
                progress=self.progress,
                say=self.say or silent,
            )
        )
        trained = result.trained
        assert trained.decisions is not None
        self.classes_, self.multilabel_ = classes, False
        self.history_, self.best_epoch_, self.stopped_ = trained.history, trained.best, trained.stopped
        self.moved_, self.trained_ = result.moved, result.names
        truth = all_codes[kept]
        own_groups = ids[kept] if validation is None else None
        self.comparison_ = compared(truth, trained.decisions, frozen, own_groups)
        if rows is not None and head is not None and frozen is not None and not beyond_chance(self.comparison_):
            # Nothing was gained: the frozen network, and what it can learn from all images.
            self.network_, self.best_epoch_ = b"", 0
            tried = self.comparison_ | {"epoch": trained.best}
            self.comparison_ = compared(truth, frozen, frozen, own_groups) | {"tried": tried}
            known = rows[: len(items)]
            self.head_ = head if validation is not None else clone(head).fit(known, labels, groups=ids)
        else:
            self.network_ = result.network
            self.head_ = calibrate(head_of(result.weight, result.bias, classes), trained.decisions, truth)
        self.seen_ = sketch_of(contents, () if start is None else start.seen_)
        self.work_ = None if result.folder is None else str(result.folder)
        self.extractor_ = self._new_extractor().fit(X)
        return self

    def _frozen_features(self, items: Sequence[Item]) -> ImageFeatures:
        extractor = FeatureExtractor(
            self.backbone, layer=PENULTIMATE, weights=self.weights, cache=self.cache, **self._shared()
        )
        origins = [item.origin for item in items]
        return extractor.fit(origins)._features(origins)

    def _split(self, labels: NDArray[Any], groups: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Images to train on, and images to choose the best epoch by."""
        return holdout(labels, checked_share(self.validation), plain_number(self.seed), groups)

    def _warn(self, text: str) -> None:
        """By `say` if there is one."""
        if self.say is None:
            warnings.warn(text, UserWarning, stacklevel=3)
        else:
            self.say(f"note: {text}")

    def _find(self) -> Backbone:
        return find(self.backbone, self.weights, decoder=self.decoder, image_size=self.image_size, crop=self.crop)

    def _new_extractor(self) -> FeatureExtractor:
        weights = weights_file(self.network_) if self.network_ else None
        cache = self.cache
        if weights is not None and cache is not None and is_store_name(cache):
            cache = None  # a store of the frozen network's rows
        return FeatureExtractor(
            self.backbone,
            layer=PENULTIMATE,
            weights=self.weights if weights is None else weights,
            cache=cache,
            **self._shared(),
        )

    def _shared(self) -> dict[str, Any]:
        names = ("decoder", "image_size", "crop", "workers", "device", "runtime", "progress")
        return {name: getattr(self, name) for name in names}

    def _own_network(self) -> bytes:
        return self.network_

    def _more_to_save(self) -> dict[str, Any]:
        recipe = {field.name: getattr(self, field.name) for field in fields(Recipe)}
        return {
            "training": {
                "unfreeze": self.unfreeze if self.pretrained else "all",
                "pretrained": self.pretrained,
                "recipe": asdict(Recipe(**recipe).complete(scratch=not self.pretrained)),
                "best_epoch": self.best_epoch_,
                "comparison": self.comparison_,
                "moved": self.moved_,
                "stopped": self.stopped_,
                "history": self.history_,
            }
        }
