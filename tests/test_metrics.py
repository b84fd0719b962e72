from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from featurekit.metrics import evaluate_predictions, paired_difference, wilson_interval


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    true, predicted = rng.choice(list("abcd"), 200), rng.choice(list("abcde"), 200)
    e = evaluate_predictions(true, predicted)
    assert e.accuracy == pytest.approx(reference.accuracy_score(true, predicted))
    assert e.macro_f1 == pytest.approx(reference.f1_score(true, predicted, average="macro", zero_division=0))
    recall = reference.recall_score(true, predicted, average=None, labels=list("abcd"), zero_division=0)
    assert e.balanced_accuracy == pytest.approx(recall.mean())
    assert e.confusion_matrix == reference.confusion_matrix(true, predicted).tolist()
    assert [c.support for c in e.per_class] == [(true == label).sum() for label in e.classes]


def test_labels_of_any_type_and_bad_lengths():
    assert evaluate_predictions([1, 2], ["1", "3"]).accuracy == 0.5
    for bad in (([], []), ([1], [1, 2]), ([[1]], [[1]])):
        with pytest.raises(ValueError, match="equally long"):
            evaluate_predictions(*bad)


def test_wilson_interval_covers_what_it_says():
    rng = np.random.default_rng(0)
    for p in (0.5, 0.9, 0.98):
        hits = rng.binomial(100, p, 4000)
        covered = [low <= p <= high for low, high in (wilson_interval(int(h), 100) for h in hits)]
        assert 0.92 < np.mean(covered) < 0.98
    assert wilson_interval(0, 10)[0] == 0
    assert wilson_interval(10, 10)[1] == pytest.approx(1)


def test_paired_difference_covers_what_it_says():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(2000):
        first = rng.random(300) < 0.9
        second = np.where(rng.random(300) < 0.8, first, rng.random(300) < 0.7)  # mostly right and wrong together
        _, low, high = paired_difference(np.ones(300), first.astype(int), second.astype(int))
        covered.append(low <= 0.2 * (0.9 - 0.7) <= high)
    assert 0.93 < np.mean(covered) < 0.97
