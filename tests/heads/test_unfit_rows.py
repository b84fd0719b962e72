"""Rows on which no head can be fitted: the message says what is wrong with them."""

from __future__ import annotations

import numpy as np
import pytest

from featurekit.errors import HeadError
from featurekit.heads.named import fit_head, make_head

Y = np.array(["a", "b"] * 30)


def test_equal_rows_are_named_as_the_reason():
    rows = np.ones((60, 1280), dtype=np.float32)
    with pytest.raises(HeadError, match="all 60 rows are equal"):
        fit_head(make_head("lda", Y), rows, Y)


@pytest.mark.parametrize("head", ["logreg", "lda", "svm", "knn", "ridge", "centroid", "linear-svm"])
def test_rows_that_are_not_finite_are_counted(head):
    rows = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    rows[7:9, 2] = np.nan
    with pytest.raises(HeadError) as error:
        fit_head(make_head(head, Y), rows, Y)
    assert str(error.value).endswith("2 of 60 rows hold numbers that are not finite, the first at position 7")
