"""Fine-tuning: from the frozen classifier on, keep what is best, and use the trained network as a backbone."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from featurekit import FeatureExtractor, FineTuneClassifier, TransferClassifier

digits = load_digits()
images = list((digits.images[:200] * 15).astype(np.uint8))
train, test = (images[:140], digits.target[:140]), (images[140:], digits.target[140:200])

# Images of 8 x 8 pixels need no larger ones, and to convert a network for OpenVINO takes longer than these few images.
small = {"image_size": 96, "runtime": "torch"}
frozen = TransferClassifier(head="logreg", layer="penultimate", **small).fit(*train)
tuned = FineTuneClassifier.from_transfer(frozen, unfreeze=2, epochs=4, augment="none", say=print).fit(*train)
print(f"best epoch {tuned.best_epoch_}; moved: { {name: round(share, 3) for name, share in tuned.moved_.items()} }")
print(f"test accuracy: frozen {frozen.score(*test):.3f}, fine-tuned {tuned.score(*test):.3f}")

# The trained network is a backbone as any other: rows for whatever scikit-learn has.
tuned.save("tuned")
pipe = make_pipeline(FeatureExtractor("tuned", runtime="torch"), SVC()).fit(*train)
print(f"SVC on its rows: {pipe.score(*test):.3f}")
