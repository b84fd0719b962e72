from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from featurekit.advisor.belief import believed, kept_share


@pytest.mark.parametrize(("error", "pilot"), [(0.1, (0.05, 0.02)), (0.3, (-0.01, 0.01)), (0.02, (0.0, 0.03))])
def test_the_expected_gain_is_that_of_the_posterior_density(error, pilot):
    x = np.linspace(-1, 1, 200_001)
    before = believed(error, 500, 0.005)
    spread = (before.high - before.low) / (2 * 1.959964)
    density = norm.pdf(x, before.expected, spread) * norm.pdf(pilot[0], x, pilot[1])
    density /= density.sum()
    found = believed(error, 500, 0.005, pilot=pilot)
    mean = float((x * density).sum())
    assert found.expected == pytest.approx(mean, abs=1e-4)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * np.sqrt(((x - mean) ** 2 * density).sum()), abs=1e-3)
    assert found.worth_it == pytest.approx(density[x > 0.005].sum(), abs=1e-3)
    beyond = x - 0.005  # what fine-tuning is worth, if it brings x
    by_truth, by_belief = (np.maximum(beyond, 0) * density).sum(), max((beyond * density).sum(), 0)
    assert found.at_stake == pytest.approx(by_truth - by_belief, abs=1e-5)


def test_how_often_a_gain_is_kept():
    """Against a simulation of the rule by which fine-tuning keeps the frozen network."""
    rng = np.random.default_rng(0)
    for error, images in ((0.2, 100), (0.1, 400), (0.1, 3000)):
        m = images // 5
        kept = []
        for _ in range(4000):
            wrong = rng.random(m) < error
            won, lost = (wrong & (rng.random(m) < 0.5)).sum(), (~wrong & (rng.random(m) < 0.1 * error)).sum()
            kept.append(won - lost > np.sqrt(won + lost))
        assert kept_share(0.5 * error, images) == pytest.approx(np.mean(kept), abs=0.2)
    assert kept_share(0.1, 50) < kept_share(0.1, 100) < kept_share(0.1, 10_000)


def test_a_sharp_pilot_decides():
    assert believed(0.1, 1000, 0.005, pilot=(0.0, 0.001)).worth_it < 0.01
    assert believed(0.1, 1000, 0.005, pilot=(0.06, 0.001)).expected == pytest.approx(0.06, abs=1e-3)


def test_what_is_usual_counts_from_the_penultimate_layer():
    usual, ahead = believed(0.10, 1000, 0.005, distance=0.56), believed(0.07, 1000, 0.005, distance=0.56, ahead=0.03)
    assert ahead.expected == pytest.approx(usual.expected - 0.03)
    assert ahead.high - ahead.low == pytest.approx(usual.high - usual.low)
