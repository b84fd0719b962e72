from __future__ import annotations

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from featurekit.advisor.neighbours import nearest_neighbour


def test_the_nearest_neighbour_is_scored_leaving_one_out():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 90)
    X = rng.normal(size=(90, 8)) + 0.8 * rng.normal(size=(3, 8))[y]
    right = 0
    for i in range(90):
        others = np.arange(90) != i
        nearest = KNeighborsClassifier(1, metric="cosine").fit(X[others], y[others])
        right += int(nearest.predict(X[i : i + 1])[0] == y[i])
    accuracy, low, high = nearest_neighbour(X, y)
    assert accuracy == right / 90
    assert low < accuracy < high


def test_rows_of_few_groups_have_no_interval():
    X = np.random.default_rng(0).normal(size=(20, 3))
    assert nearest_neighbour(X, np.arange(20) % 2, np.arange(20) // 2 % 5)[1:] == (None, None)


def test_members_of_a_group_are_no_neighbours():
    X = np.repeat(np.random.default_rng(0).normal(size=(10, 6)), 2, axis=0)
    y = np.repeat(np.arange(10), 2)
    assert nearest_neighbour(X, y)[0] == 1
    assert nearest_neighbour(X, y, np.repeat(np.arange(10), 2))[0] == 0
