from __future__ import annotations

import numpy as np
import pytest

from featurekit.advisor.growth import fit_power_law, growth


def blobs(each, k=4, spread=1.6, seed=0):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(k), each)
    return (rng.normal(size=(k, 30))[y] + spread * rng.normal(size=(k * each, 30))).astype(np.float32), y


def test_a_power_law_is_recovered_from_its_points():
    n = np.array([40, 80, 160, 320, 640.0])
    for limit, scale, exponent in ((0.0, 1.5, 0.35), (0.08, 3.0, 0.7), (0.2, 0.0, 1.0)):
        found = fit_power_law(n, limit + scale * n**-exponent, np.full(5, 0.01))
        assert found[0] + found[1] * 1280.0 ** -found[2] == pytest.approx(limit + scale * 1280.0**-exponent, abs=2e-3)


@pytest.mark.slow
def test_the_prediction_for_twice_the_images_holds():
    """Drawn from the same source: what twice as many really bring lies in the interval."""
    X, y = blobs(60)
    found = growth(X, y, "lda")
    assert [point[0] for point in found.points] == sorted(point[0] for point in found.points)
    assert len(found.points) == 5
    gain, low, high = found.doubled
    assert low <= gain <= high
    more, labels = blobs(400, seed=0)
    few = growth(*blobs(120), "lda")
    assert low - 0.02 <= few.points[-1][1] - found.points[-1][1] <= high + 0.02
    assert "twice the images" in found.sentence()
    assert found.to_dict()["doubled"] == found.doubled
    flat = growth(more, labels, "lda").doubled
    assert flat[0] < gain + 0.01


def test_with_few_images_it_does_not_extrapolate():
    X, y = blobs(6)
    found = growth(X, y, "centroid")
    assert found.doubled is None
    assert "fewer than three sizes" in found.sentence()
    lone = growth(X[:4], np.arange(4), "centroid")
    assert lone.points == []
    assert "too few images" in lone.reason
