"""The whole network in one row: all stages side by side, read in the same pass, and the best of three heads on them."""

import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from featurekit import extract
from featurekit.evaluation import cross_validate_head

digits = load_digits()
images = list((digits.images[:200] * 15).astype(np.uint8))

# Two stores from one pass: the classical row, and the row of the whole network.
penultimate, stages = extract(
    images,
    labels=digits.target[:200],
    output=Path(tempfile.mkdtemp(), "digits.{layer}.h5"),
    layer=["penultimate", "stages"],
    image_size=96,
    runtime="torch",  # to convert a network for OpenVINO takes longer than these few images
)
for layer, columns in stages.space.columns.items():
    print(f"{layer:9s} columns {columns.start:3d} to {columns.stop - 1}")

for store in (penultimate, stages):
    # Told the widths of the layers, a head scales the columns of each layer apart from the others.
    result = cross_validate_head(store.X, store.y, "lda", cv=3, blocks=store.space.widths)
    print(f"{store.space.layer:12s} d = {store.space.dim:4d}   accuracy {result.mean:.3f} ({result.std:.3f})")
