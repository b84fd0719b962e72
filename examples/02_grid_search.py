"""Search over heads with images as input: the network runs once for each image, not once for each fold."""

import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.svm import SVC

from featurekit import FeatureExtractor

digits = load_digits()
images = (digits.images[:150] * 15).astype(np.uint8)  # arrays of shape (n, height, width) are images, too
labels = digits.target[:150]

cache = Path(tempfile.mkdtemp())
pipeline = make_pipeline(FeatureExtractor(cache=cache), Normalizer(), SVC())
search = GridSearchCV(pipeline, {"svc__C": [0.1, 1, 10, 100]}, cv=3)

started = time.perf_counter()
search.fit(images, labels)
first = time.perf_counter() - started
started = time.perf_counter()
search.fit(images, labels)
print(f"4 candidates x 3 folds: best C = {search.best_params_['svc__C']}, accuracy {search.best_score_:.3f}")
print(f"the second search, from the cache, took {(time.perf_counter() - started) / first:.2f} of the time of the first")
