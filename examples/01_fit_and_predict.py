"""Fit a classifier on a few photos, save it, load it, predict: the scikit-learn way.

Takes two photographs that scikit-learn ships, cuts each into pieces, and learns to tell the pieces apart.
"""

import tempfile
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_sample_images

from featurekit import TransferClassifier, load_model

folder = Path(tempfile.mkdtemp())
paths, labels = [], []
for name, pixels in zip(("palace", "flower"), load_sample_images().images, strict=True):
    photo = Image.fromarray(pixels)
    for i in range(16):
        left, top = 90 * (i % 4), 60 * (i // 4)
        path = folder / f"{name}-{i:02d}.jpg"
        photo.crop((left, top, left + 300, top + 220)).save(path)
        paths.append(path)
        labels.append(name)

# Images in, classes out. Each image goes through the network once; its features are kept in the cache.
classifier = TransferClassifier(head="logreg", cache=folder / "cache").fit(paths[::2], labels[::2])
print("accuracy on the other half:", classifier.score(paths[1::2], labels[1::2]))

# A saved model is a folder of JSON and skops files: no pickle.
classifier.save(folder / "model")
again = load_model(folder / "model")
for path, probabilities in zip(paths[1::14], again.predict_proba(paths[1::14]), strict=True):
    print(path.name, dict(zip(again.classes_.tolist(), probabilities.round(3).tolist(), strict=True)))
