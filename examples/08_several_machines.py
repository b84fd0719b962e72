"""Extraction and a search on a Ray cluster, or the search on one of Dask: here of this machine alone.

    pip install 'featurekit[ray]'
    python 08_several_machines.py [dask]        # pip install distributed

On real machines: ``ray start --head`` on one, ``ray start --address=HOST:6379`` on the others, images and output where
all of them see them (a disk, ``s3://``), and ``ray.init("auto")`` below; of Dask, ``Client("tcp://SCHEDULER:8786")``.
"""

import io
import logging
import sys
import tempfile
import zipfile
from pathlib import Path

import joblib
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from featurekit import extract


def write_photos(path: Path) -> None:
    """Class folders in an archive; a folder or ``s3://bucket/photos`` would do as well."""
    digits = load_digits()
    with zipfile.ZipFile(path, "w") as archive:
        for i, label in enumerate(digits.target[:120]):
            file = io.BytesIO()
            Image.fromarray((digits.images[i] * 15).astype(np.uint8)).save(file, "PNG")
            archive.writestr(f"{label}/{i:03d}.png", file.getvalue())


def connect(cluster: str) -> None:
    """Make scikit-learn's searches run there."""
    if cluster == "dask":
        from dask.distributed import Client

        Client(n_workers=2, threads_per_worker=1, dashboard_address=None)
    else:
        import ray
        from ray.util.joblib import register_ray

        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        register_ray()


def main(cluster: str) -> None:
    """Extract, and search."""
    connect(cluster)
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "photos.zip")
        write_photos(photos)
        store = extract(
            photos, output=Path(folder, "rows"), engine="ray" if cluster == "ray" else "local", image_size=64
        )
        print(f"{store.summary.computed} rows by {store.summary.runtime}")

        with joblib.parallel_backend(cluster):
            search = GridSearchCV(LogisticRegression(max_iter=300), {"C": [0.001, 0.01, 0.1]}, cv=3)
            search.fit(store.X[:], store.y)
        score = search.best_score_
        print(f"{search.n_splits_} folds on {cluster}: best C = {search.best_params_['C']}, accuracy {score:.3f}")
        store.close()


if __name__ == "__main__":  # Dask's workers import this file
    main(sys.argv[1] if len(sys.argv) > 1 else "ray")
