"""Advice: do frozen features suffice, and what would help?"""

import tempfile

import numpy as np
from sklearn.datasets import load_digits

from featurekit import advise

digits = load_digits()
images, labels = list((digits.images[:120] * 15).astype(np.uint8)), digits.target[:120].tolist()

with tempfile.TemporaryDirectory() as folder:
    advice = advise(images, labels=labels, output=folder, budget=10, image_size=64)

print(f"{advice.verdict} ({advice.sure}); now: {advice.do}")
print(*advice.reasons, sep="\n")
print(f"expected gain of fine-tuning: {advice.evidence.gain}")
print("not tested:", *advice.evidence.untested, sep="\n  ")
