"""Rows of several layers in one pass: on images unlike photographs, an earlier layer can serve better than the last."""

import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from featurekit import extract
from featurekit.evaluation import cross_validate_head

digits = load_digits()
images = list((digits.images[:200] * 15).astype(np.uint8))
layers = ["blocks.1", "blocks.4", "penultimate"]

# Each image is decoded once, the network runs once over it, and each layer gets a store of its own.
stores = extract(
    images,
    labels=digits.target[:200],
    output=Path(tempfile.mkdtemp(), "digits.{layer}.h5"),
    layer=layers,
    image_size=96,
    runtime="torch",  # to convert a network for OpenVINO takes longer than these few images
)
for store in stores:
    result = cross_validate_head(store.X, store.y, "logreg", cv=3)
    print(f"{store.space.layer:12s} d = {store.space.dim:4d}   accuracy {result.mean:.3f} ({result.std:.3f})")
