"""A store through its life: images come, move and rot on the disk; stores are joined, pruned and exported.

Cuts the two photographs that scikit-learn ships into pieces. Only what changed is ever computed.
"""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images
from sklearn.linear_model import SGDClassifier

from featurekit import FeatureStore, extract
from featurekit.store import export, merge, remove, verify

home = Path(tempfile.mkdtemp())
for name, pixels in zip(("palace", "flower"), load_sample_images().images, strict=True):
    photo = Image.fromarray(pixels)
    (home / "photos" / name).mkdir(parents=True)
    for i in range(12):
        left, top = 90 * (i % 4), 60 * (i // 4)
        photo.crop((left, top, left + 300, top + 220)).save(home / "photos" / name / f"{i:02d}.jpg")


def run(what: str) -> None:
    """Extract again and say what was computed."""
    s = extract(home / "photos", output=home / "photos.h5").summary
    print(f"{what}: {s.images} images, {s.computed} computed, {s.reused} reused, {s.removed} removed")


run("the first run")
run("again")
(home / "photos/palace/00.jpg").rename(home / "photos/flower/moved.jpg")
run("an image moved to another class")
photo.rotate(90, expand=True).save(home / "photos/flower/new.jpg")
run("an image added")

# A bit flips on the disk. The rows beside it share its checksum.
data = bytearray((home / "photos.h5").read_bytes())
row = FeatureStore(home / "photos.h5").X[7].tobytes()
data[data.index(row) + 40] ^= 1
(home / "photos.h5").write_bytes(data)
found = verify(home / "photos.h5")
print(f"verify: {len(found.damaged)} of {found.rows} rows damaged, row 7 among them: {7 in found.damaged}")
run("damaged rows")
print("verify:", "all as it was written" if verify(home / "photos.h5").ok else "damaged")

# The same rows as a folder of shards with half the bytes, without some, and for another program.
folder = merge([home / "photos.h5"], home / "folder", dtype="float16")
print("removed:", remove(home / "folder", ["palace/1*"]))
with np.load(export(home / "folder", home / "photos.npz")) as file:
    print("exported:", {name: file[name].shape for name in ("X", "label")})

# Rows of any number are learned from in a part of the memory.
head = SGDClassifier(random_state=0)
for X, y in FeatureStore(home / "folder").iter_batches(8):
    head.partial_fit(X, y, classes=["flower", "palace"])
print("classes:", head.classes_.tolist())
