from __future__ import annotations

from types import SimpleNamespace

import pytest

from featurekit.advisor.costs import costs, seconds_of_a_fold
from featurekit.advisor.pilot import MOST
from featurekit.advisor.result import Evidence
from featurekit.backbones import find


def advised(unfreeze, pilot=None, images=400):
    material = SimpleNamespace(sampled_from=0, rate=50.0, find=find)
    best = SimpleNamespace(backbone="efficientnet_lite0", dim=1280, folded=SimpleNamespace(fit_seconds=0.5))
    e = Evidence(size=SimpleNamespace(images=images), similarity=object(), pilot=pilot)
    return costs(e, SimpleNamespace(best=best), material, unfreeze)


def test_all_stages_take_longer_and_need_no_trunk_cache():
    (last, last_disk), (whole, whole_disk) = advised(2), advised("all")
    assert last["transfer"] == whole["transfer"] < last["fine-tune"] < whole["fine-tune"] < whole["from scratch"]
    assert whole_disk["fine-tune"] == whole_disk["transfer"] == last_disk["transfer"] < last_disk["fine-tune"]


def test_a_pilot_that_took_twice_as_long_says_so_of_training():
    guess = seconds_of_a_fold(320, 80, rate=50.0)
    pilot = SimpleNamespace(learned=320, scored=80, folds=1, seconds=2 * guess)
    (expected, _), (found, _) = advised(2), advised(2, pilot)
    assert found["fine-tune"] - found["transfer"] == pytest.approx(2 * (expected["fine-tune"] - expected["transfer"]))


def test_a_fold_learns_from_so_many_at_most():
    assert seconds_of_a_fold(10 * MOST, 80, rate=50.0) == seconds_of_a_fold(MOST, 80, rate=50.0)
