from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from featurekit.advisor.belief import SPREAD, USUAL, believed


@pytest.mark.parametrize(("error", "pilot"), [(0.1, (0.05, 0.02)), (0.3, (-0.01, 0.01)), (0.02, (0.0, 0.03))])
def test_it_is_bayes(error, pilot):
    x = np.linspace(-1, 1, 200_001)
    density = norm.pdf(x, USUAL * error, max(SPREAD * error, 0.01)) * norm.pdf(pilot[0], x, pilot[1])
    density /= density.sum()
    found = believed(error, 0.005, pilot)
    mean = float((x * density).sum())
    assert found.expected == pytest.approx(mean, abs=1e-4)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * np.sqrt(((x - mean) ** 2 * density).sum()), abs=1e-3)
    assert found.worth_it == pytest.approx(density[x > 0.005].sum(), abs=1e-3)


def test_a_sharp_pilot_decides():
    assert believed(0.1, 0.005, (0.0, 0.001)).worth_it < 0.01
    assert believed(0.1, 0.005, (0.06, 0.001)).expected == pytest.approx(0.06, abs=1e-3)
