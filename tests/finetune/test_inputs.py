from __future__ import annotations

import numpy as np
import pytest

from featurekit import FineTuneClassifier, TransferClassifier
from featurekit.finetune.inputs import beyond_chance, compared


@pytest.mark.parametrize(
    ("won", "lost", "expected"),
    [(0, 0, False), (1, 0, False), (2, 0, True), (3, 1, False), (4, 1, True), (1, 4, False), (30, 22, True)],
)
def test_a_gain_is_counted_from_images_won_and_lost(won, lost, expected):
    truth = np.zeros(100, dtype=np.intp)
    right, wrong = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    before = np.array([wrong] * won + [right] * (100 - won))
    after = np.array([right] * (100 - lost) + [wrong] * lost)
    comparison = compared(truth, after, before)
    assert (comparison["won"], comparison["lost"]) == (won, lost)
    assert comparison["difference"] == pytest.approx((won - lost) / 100)
    assert beyond_chance(comparison) == expected


def test_a_gain_of_accuracy_by_less_sure_classes_is_none():
    """Three of 20 images won: but most are barely told any more, however that is calibrated."""
    truth = np.zeros(20, dtype=np.intp)
    before = np.array([[4.0, 0.0]] * 17 + [[-0.1, 0.0]] * 3)
    barely = np.array([[8.0, 0.0], [0.1, 0.0], [0.1, 0.0], [0.1, 0.0], [0.1, 0.0]] * 4)
    comparison = compared(truth, barely, before)
    assert (comparison["won"], comparison["lost"]) == (3, 0)
    assert comparison["log_loss"] > comparison["frozen_log_loss"]
    assert not beyond_chance(comparison)
    assert beyond_chance(compared(truth, np.array([[4.0, 0.0]] * 20), before))


@pytest.mark.slow
def test_a_tuned_model_remembers_the_images_of_its_start(digits_folder, small_weights):
    paths = sorted(digits_folder.glob("*/*.png"))
    labels = [path.parent.name for path in paths]
    options = {"backbone": "mobilenet_v3_small", "weights": small_weights, "image_size": 64}
    start = TransferClassifier(head="logreg", layer="penultimate", runtime="torch", **options).fit(
        paths[::2], labels[::2]
    )
    tuned = FineTuneClassifier(start=start, epochs=1, runtime="torch", **options).fit(paths[1::2], labels[1::2])
    assert len(tuned.seen_) == len({path.read_bytes() for path in paths})
