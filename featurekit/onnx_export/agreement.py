"""Whether an ONNX file computes what featurekit computes: both run on the same pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..backbones import Backbone
from ..errors import BundleError
from ..fidelity import Fidelity
from ..fingerprint import Preprocessing
from ..images import prepare
from ..runtime import load_runtime
from .graph import require_onnx

TOLERANCE = 1e-4
"""The largest difference that is rounding.

Measured with twelve heads on EfficientNet-Lite0: 2.5e-6 in rows, 1.5e-6 in decision values, 3.4e-6 in probabilities. A
wrong normalisation, layer or order of the classes moves them by percents.
"""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the outputs of a file are from featurekit's own.

    Attributes
    ----------
    images : int
        How many were compared.
    features : float
        Relative error of the rows: length of the difference over length of the row, the largest.
    decisions : float
        Largest difference of a decision value, over the largest decision value.
    probabilities : float or None
        Largest difference of a probability; None where the head gives none.
    same_labels : bool
        Whether both name the same class for every image.
    """

    images: int
    features: float
    decisions: float
    probabilities: float | None
    same_labels: bool

    def check(self) -> None:
        """Raise an error unless all of it is rounding.

        Raises
        ------
        BundleError
        """
        differences = (self.features, self.decisions, self.probabilities or 0.0)
        # Written so that NaN is not within it.
        if not (self.same_labels and all(difference <= TOLERANCE for difference in differences)):
            raise BundleError(
                f"the ONNX file does not compute what featurekit does, and was not written. Of {self.images} images: "
                f"{self}; expected differences of at most {TOLERANCE:g} and equal labels. Please report this with the "
                "versions of torch, onnxscript and onnxruntime; another version of them may do."
            )


def compare_with_own(data: bytes, backbone: Backbone, head: Any, device: str, runtime: str) -> Agreement:
    """Run a file and featurekit itself on the same images.

    Parameters
    ----------
    data : bytes
        Of the ONNX file.
    backbone : Backbone
    head : fitted classifier
    device, runtime : str
        As for :func:`featurekit.runtime.load_runtime`.

    Returns
    -------
    Agreement
    """
    pixels = sample_images(backbone.spec.preprocessing)
    session = require_onnx("onnxruntime").InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    # One alone and the others together: the number of images must be free.
    parts = [session.run(names, {"pixels": part}) for part in (pixels[:1], pixels[1:])]
    got = {name: np.concatenate(both) for name, both in zip(names, zip(*parts, strict=True), strict=True)}

    rows = load_runtime(backbone, device, runtime).submit(pixels).result()
    decisions = head.decision_function(rows).reshape(len(rows), -1)
    probabilities = None
    if "probabilities" in got:
        probabilities = float(np.abs(got["probabilities"] - head.predict_proba(rows)).max())
    return Agreement(
        images=len(pixels),
        features=Fidelity.of(got["features"], rows).relative_error,
        decisions=float(np.abs(got["decisions"] - decisions).max() / max(np.abs(decisions).max(), 1e-30)),
        probabilities=probabilities,
        same_labels=bool((_labels(got, head) == head.predict(rows)).all()),
    )


def _labels(outputs: dict[str, NDArray[np.float32]], head: Any) -> NDArray[Any]:
    """The labels that a user of the file reads off it."""
    values, classes = outputs.get("probabilities", outputs["decisions"]), head.classes_
    if getattr(head, "multilabel_", False):
        return (outputs["decisions"] > 0).astype(int)
    labels: NDArray[Any] = classes[(values[:, 0] > 0).astype(int) if values.shape[1] == 1 else values.argmax(axis=1)]
    return labels


def sample_images(preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Two photographs, noise, black and white, the same each time; shape (6, crop, crop, 3)."""
    from sklearn.datasets import load_sample_images

    pre = preprocessing
    photos = [
        prepare(Image.fromarray(picture), pre.resize, pre.crop, pre.interpolation, squash=pre.squash)
        for picture in load_sample_images().images
    ]
    shape = (pre.crop, pre.crop, 3)
    noise = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    return np.stack([*photos, *noise, np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)])
