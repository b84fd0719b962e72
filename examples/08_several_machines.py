"""Extraction and a search on a Ray cluster: here one of this machine alone, started by hand to say how large it is.

    pip install 'featurekit[ray]'

On real machines: ``ray start --head`` on one, ``ray start --address=HOST:6379`` on the others, images and output on a
disk that all of them see, and ``ray.init("auto")`` below.
"""

import io
import logging
import tempfile
import zipfile
from pathlib import Path

import joblib
import numpy as np
import ray
from PIL import Image
from ray.util.joblib import register_ray
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from featurekit import extract

digits = load_digits()
ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)

with tempfile.TemporaryDirectory() as folder:
    photos = Path(folder, "photos.zip")  # class folders in an archive; a folder or s3://bucket/photos would do as well
    with zipfile.ZipFile(photos, "w") as archive:
        for i, label in enumerate(digits.target[:200]):
            file = io.BytesIO()
            Image.fromarray((digits.images[i] * 15).astype(np.uint8)).save(file, "PNG")
            archive.writestr(f"{label}/{i:03d}.png", file.getvalue())

    store = extract(photos, output=Path(folder, "rows"), engine="ray")
    print(f"{store.summary.computed} rows by {store.summary.runtime}")

    register_ray()
    with joblib.parallel_backend("ray"):
        search = GridSearchCV(LogisticRegression(max_iter=300), {"C": [0.001, 0.01, 0.1]}, cv=3)
        search.fit(store.X[:], store.y)
    print(f"{search.n_splits_} folds on Ray: best C = {search.best_params_['C']}, accuracy {search.best_score_:.3f}")
    store.close()

ray.shutdown()
