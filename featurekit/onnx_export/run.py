"""Export: join network and head, compare the file with featurekit itself, and only then give it its name."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._version import __version__
from ..backbones import Backbone, find
from ..errors import BackboneError, BundleError, FeatureSpaceError, HeadError
from ..folders import on_disk
from ..heads import head_name
from ..store.atomic import replace_file
from ..transfer import TransferClassifier, load_model
from .agreement import Agreement, compare_with_own
from .graph import head_graph, joined, network_model, require_onnx
from .linear import read_head

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """What was exported.

    Attributes
    ----------
    path : Path
    nbytes : int
        Size of the file.
    classes : list of str
        In the order of the probabilities.
    crop : int
        Height and width of the images that it takes.
    agreement : Agreement
        How far its outputs are from featurekit's own.
    """

    path: Path
    nbytes: int
    classes: list[str]
    crop: int
    agreement: Agreement


def export_onnx(model: TransferClassifier | str | os.PathLike[str], output: str | os.PathLike[str]) -> OnnxModel:
    """Write a classifier, backbone and head, as one ONNX file.

    =================  =========================  =====================================================
    name               type                       what
    =================  =========================  =====================================================
    ``pixels``         uint8 (n, crop, crop, 3)   input: RGB, resized and cropped; any number of images
    ``features``       float32 (n, d)             rows of the backbone
    ``decisions``      float32 (n, classes)       decision values; (n, 1) for two classes
    ``probabilities``  float32 (n, classes)       calibrated; where the head gives them
    =================  =========================  =====================================================

    Properties of the file: ``target`` (``class``: one of the classes, whose probabilities add up to 1; ``labels``: each
    for itself, there from 0.5 on), ``classes`` (a JSON list, in the order of the columns), ``preprocessing`` (JSON:
    resize, crop, interpolation, and the recipe in words), ``space`` (the feature space, JSON), ``fingerprint``,
    ``head``, ``featurekit`` (the version).

    Parameters
    ----------
    model : TransferClassifier or path
        Fitted, or the folder of a saved one. Its head must be auto, logreg, svm, linear-svm, ridge, lda, centroid,
        or one of scikit-learn's, also behind StandardScaler or Normalizer in a Pipeline.
    output : path
        A new file whose name ends in ``.onnx``.

    Returns
    -------
    OnnxModel

    Raises
    ------
    HeadError
        If the head is none that is known.
    BackboneError
        If the model does not compute in float32, or its network cannot be exported.
    BundleError
        If there is no such model, `output` is there already or cannot be a file, or the file does not compute what
        featurekit does. Nothing is written then.
    FeatureSpaceError, WeightsError
        If the weights are not there, or not those that the model was fitted with.
    StoreError
        If the file cannot be written.
    MissingExtraError
        If onnx, onnxscript or onnxruntime is not installed.

    Notes
    -----
    The file runs on six images, photographs among them, and so does featurekit; a difference of more than 1e-4 in a
    probability, or another label, is an error.

    Examples
    --------
    >>> from featurekit import TransferClassifier
    >>> from featurekit.onnx_export import export_onnx
    >>> classifier = TransferClassifier(head="lda").fit(getfixture("digits_store"))
    >>> exported = export_onnx(classifier, getfixture("tmp_path") / "digits.onnx")
    >>> exported.classes, exported.agreement.probabilities < 1e-4
    (['0', '1', '2'], True)
    """
    target = _checked(on_disk(output))
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require_onnx(package)
    classifier = load_model(model) if isinstance(model, str | os.PathLike) else model
    if not isinstance(classifier, TransferClassifier):
        raise HeadError("only classifiers can be exported to ONNX, and this model predicts numbers")
    backbone = _backbone(classifier)
    graph = head_graph(read_head(classifier.head_))
    logger.info("Exporting %s to ONNX, which takes some seconds", classifier.backbone)
    data = joined(network_model(backbone), graph, _properties(classifier))
    agreement = compare_with_own(data, backbone, classifier.head_, classifier.device, classifier.runtime)
    agreement.check()
    replace_file(target, data)
    classes = [str(label) for label in classifier.classes_]
    return OnnxModel(target, len(data), classes, backbone.spec.preprocessing.crop, agreement)


def _checked(target: Path) -> Path:
    if target.suffix.lower() != ".onnx":
        raise BundleError(f"expected a name that ends in .onnx, got {target.name!r}")
    if target.exists() or target.is_symlink():
        raise BundleError(f"{target} is there already. Nothing was changed. Choose another name, or delete it first.")
    if not target.parent.is_dir():
        raise BundleError(f"no such folder: {target.parent}")
    return target


def _backbone(classifier: TransferClassifier) -> Backbone:
    space = classifier.space_
    if space.precision != "float32":
        raise BackboneError(
            f"an ONNX file computes in float32, and this model was fitted on rows of precision {space.precision}. "
            "Fit it again on rows in fp32: featurekit fit PHOTOS --precision fp32."
        )
    backbone = find(classifier.backbone, classifier.weights, **space.options)
    if backbone.space != space:
        changed = "; ".join(space.differences(backbone.space))
        raise FeatureSpaceError(f"this model was fitted in another feature space: {changed}")
    return backbone


def _properties(classifier: TransferClassifier) -> dict[str, str]:
    space = classifier.space_
    pre = space.preprocessing
    recipe: dict[str, Any] = {
        "resize": pre.resize,
        "crop": pre.crop,
        "interpolation": pre.interpolation,
        "recipe": f"Turn the image upright (EXIF), convert it to RGB, resize its "
        f"{'sides' if pre.squash else 'shorter side'} to {pre.resize} pixels "
        f"(antialiased, as Pillow does; the longer side rounded down), cut {pre.crop} x {pre.crop} out of its centre. "
        "Scaling to 0..1, mean and standard deviation are part of the graph.",
    }
    return {
        "target": classifier.target_,
        "classes": json.dumps([str(label) for label in classifier.classes_]),
        "fingerprint": space.fingerprint,
        "featurekit": __version__,
        "head": head_name(classifier.head),
        "preprocessing": json.dumps(recipe),
        "space": space.to_json(),
    }
