from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from featurekit.bootstrap import resampled
from featurekit.metrics import _Scores, evaluate_predictions, paired_difference
from featurekit.proportions import wilson_interval


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


def test_scores_of_probabilities_equal_scikit_learns():
    rng = np.random.default_rng(0)
    labels = list("abcdefg")
    true, p = rng.choice(labels, 300), rng.dirichlet(np.ones(7), 300)
    order = rng.permutation(7)  # columns in any order
    e = evaluate_predictions(true, np.array(labels)[p.argmax(axis=1)], p[:, order], np.array(labels)[order])
    assert e.log_loss == pytest.approx(reference.log_loss(true, p, labels=labels))
    assert e.top_k == 5
    assert e.top_k_accuracy == pytest.approx(reference.top_k_accuracy_score(true, p, k=5, labels=labels))
    surest, hit = p.max(axis=1), np.array(labels)[p.argmax(axis=1)] == true
    bins = (surest * 15).astype(int)
    gaps = [(bins == b).mean() * abs(surest[bins == b].mean() - hit[bins == b].mean()) for b in np.unique(bins)]
    assert e.calibration_error == pytest.approx(sum(gaps))
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "calibration_error", "top_k_accuracy"):
        low, high = e.intervals[name]
        assert low < high
        assert low <= getattr(e, name) <= high
    assert (e.low, e.high) == e.intervals["accuracy"]
    assert evaluate_predictions(true, true).log_loss is None


def test_a_class_that_was_never_learnt_has_no_probability():
    e = evaluate_predictions(["a", "z"], ["a", "b"], [[0.9, 0.1], [0.3, 0.7]], ["a", "b"])
    assert e.log_loss == pytest.approx((-np.log(0.9) - np.log(1e-15)) / 2)
    assert e.top_k_accuracy == 0.5
    with pytest.raises(ValueError, match=r"expected probabilities of shape \(2, 2\), got \(1, 2\)"):
        evaluate_predictions(["a", "b"], ["a", "b"], [[1, 0]], ["a", "b"])


def test_copies_make_no_interval_narrower():
    """Each image five times: with groups the interval is that of the images, without it is too narrow."""
    rng = np.random.default_rng(0)
    true, predicted = rng.choice(["a", "b"], 100), rng.choice(["a", "b"], 100)
    single = evaluate_predictions(true, predicted)
    copies = [np.repeat(values, 5) for values in (true, predicted, np.arange(100))]
    grouped, naive = evaluate_predictions(*copies[:2], groups=copies[2]), evaluate_predictions(*copies[:2])
    assert (grouped.low, grouped.high) == pytest.approx((single.low, single.high))
    for name, interval in single.intervals.items():
        assert grouped.intervals[name] == pytest.approx(interval)
    assert naive.high - naive.low < 0.5 * (single.high - single.low)
    other = rng.choice(["a", "b"], 100)
    plain = paired_difference(true, predicted, other)
    assert paired_difference(*copies[:2], np.repeat(other, 5), groups=copies[2]) == pytest.approx(plain)


def test_bootstrap_intervals_cover_about_what_they_say():
    rng = np.random.default_rng(0)

    def draw(n):
        true = rng.choice(3, n, p=[0.5, 0.3, 0.2])
        p = rng.dirichlet(np.ones(3), n) + 1.5 * np.eye(3)[true]
        p /= p.sum(axis=1, keepdims=True)
        return evaluate_predictions(true, p.argmax(axis=1), p, [0, 1, 2])

    truth, samples = draw(20_000), [draw(150) for _ in range(100)]
    for score in ("balanced_accuracy", "macro_f1", "log_loss"):
        low, high = np.array([sample.intervals[score] for sample in samples]).T
        value = getattr(truth, score)
        assert 0.85 < np.mean((low <= value) & (value <= high)) <= 1


def test_a_difference_that_never_varies_is_no_certainty():
    assert paired_difference([1] * 8, [1] * 8, [1] * 8) == (0, 0, 0)
    difference, low, high = paired_difference([1] * 8, [1] * 8, [0] * 8)
    assert (difference, high - low) == (1, pytest.approx(2 * 1.96 / 8, abs=1e-3))
    copies = paired_difference([1] * 16, [1] * 16, [0] * 16, groups=np.repeat(np.arange(8), 2))
    assert copies == pytest.approx((difference, low, high))


def test_groups_that_all_have_the_mean_share():
    e = evaluate_predictions([0, 1] * 6, [0, 0] * 6, groups=np.repeat(np.arange(6), 2))
    assert (e.low, e.high) == pytest.approx(wilson_interval(0.5, 6))


def test_labels_of_any_type_and_bad_lengths():
    assert evaluate_predictions([1, 2], ["1", "3"]).accuracy == 0.5
    for bad in (([], []), ([1], [1, 2]), ([[1]], [[1]])):
        with pytest.raises(ValueError, match="equally long"):
            evaluate_predictions(*bad)


def test_wilson_interval_covers_what_it_says():
    rng = np.random.default_rng(0)
    for p in (0.5, 0.9, 0.98):
        hits = rng.binomial(100, p, 4000)
        covered = [low <= p <= high for low, high in (wilson_interval(h / 100, 100) for h in hits)]
        assert 0.92 < np.mean(covered) < 0.98
    assert wilson_interval(0.0, 10)[0] == 0
    assert wilson_interval(1.0, 10)[1] == pytest.approx(1)


def test_paired_difference_covers_what_it_says():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(2000):
        first = rng.random(300) < 0.9
        second = np.where(rng.random(300) < 0.8, first, rng.random(300) < 0.7)  # mostly right and wrong together
        _, low, high = paired_difference(np.ones(300), first.astype(int), second.astype(int))
        covered.append(low <= 0.2 * (0.9 - 0.7) <= high)
    assert 0.93 < np.mean(covered) < 0.97


@pytest.mark.parametrize("in_groups", [False, True])
def test_scores_of_a_draw_are_those_of_its_images(in_groups):
    rng = np.random.default_rng(2)
    n, labels = 40, np.array(list("abc"))
    true, p = rng.choice(labels, n), rng.dirichlet(np.ones(3), n)
    predicted = labels[p.argmax(axis=1)]
    ids = rng.permutation(np.arange(n) // 3) if in_groups else np.arange(n)
    scores = _Scores(true, predicted, p, labels)
    times = resampled(np.eye(ids.max() + 1)).astype(int)  # how often each group is drawn: the same draws
    found = scores.of(resampled(scores.table, ids))
    for draw in range(5):
        images = np.repeat(np.arange(n), times[draw, ids])
        e = evaluate_predictions(true[images], predicted[images], p[images], labels)
        for name, values in found.items():
            assert values[draw] == pytest.approx(getattr(e, name)), name


@pytest.mark.slow
def test_intervals_of_calibration_error_and_top_k_cover_about_what_they_say():
    """Percentiles of the bootstrap held 0 to 60% of the true calibration errors of real heads."""
    rng = np.random.default_rng(0)

    def draw(n, sureness):
        p = rng.dirichlet(np.full(4, 0.5), n)
        true = (p.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)  # p is what the labels are drawn from
        p = p**sureness
        return evaluate_predictions(true, p.argmax(axis=1), p / p.sum(axis=1, keepdims=True), np.arange(4))

    for sureness in (1, 2):
        truth, samples = draw(200_000, sureness), [draw(200, sureness) for _ in range(200)]
        for score in ("calibration_error", "top_k_accuracy"):
            low, high = np.array([sample.intervals[score] for sample in samples]).T
            value = getattr(truth, score)
            assert 0.9 < np.mean((low <= value) & (value <= high)) <= 1, (sureness, score)


def test_no_hit_missing_is_no_certainty():
    e = evaluate_predictions(["a", "b"] * 5, ["a", "b"] * 5, [[0.9, 0.1], [0.2, 0.8]] * 5, ["a", "b"])
    assert e.top_k_accuracy == 1
    assert e.intervals["top_k_accuracy"] == pytest.approx(wilson_interval(1, 10))


def test_perfect_probabilities_have_no_calibration_error():
    e = evaluate_predictions(["a", "b"] * 3, ["a", "b"] * 3, [[1, 0], [0, 1]] * 3, ["a", "b"])
    assert (e.calibration_error, e.intervals["calibration_error"]) == (0, (0, 0))
