"""The comparison of a fine-tuned with the frozen network on too few validation images for an interval."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
from featurekit_cli.finetune import verdict

from featurekit.finetune.inputs import compared

TRUTH = np.array([0, 1, 0, 1])
RIGHT, FROZEN = np.eye(2)[TRUTH], np.eye(2)[[0, 0, 0, 1]]


def told(comparison, best_epoch=1):
    """The verdict on a model of this comparison."""
    return verdict(SimpleNamespace(comparison_=comparison, best_epoch_=best_epoch, moved_={"head": 0.1}))


def test_four_validation_images_have_no_interval():
    found = json.loads(json.dumps(compared(TRUTH, RIGHT, FROZEN)))
    assert (found["difference"], found["low"], found["high"]) == (0.25, None, None)
    assert found["interval_note"] == "4 images are too few for 95% intervals; at least 6 are needed"


def test_many_validation_images_in_five_groups_have_no_interval():
    groups = np.arange(40) % 5
    found = compared(np.tile(TRUTH, 10), np.tile(RIGHT, (10, 1)), np.tile(FROZEN, (10, 1)), groups)
    assert (found["low"], found["high"]) == (None, None)
    assert found["interval_note"] == "5 groups of images are too few for 95% intervals; at least 6 are needed"


def test_verdict_says_that_there_is_no_interval_and_why():
    lines = told(compared(TRUTH, RIGHT, FROZEN)).splitlines()
    assert lines[0].endswith("frozen 0.7500: +25.0 points (no interval, paired)")
    assert lines[1] == "4 images are too few for 95% intervals; at least 6 are needed"
    assert not any("the interval includes 0" in line for line in lines)


def test_verdict_on_a_frozen_network_that_was_kept_says_that_there_is_no_interval():
    tried = compared(TRUTH, RIGHT, FROZEN) | {"epoch": 2}
    text = told(compared(TRUTH, FROZEN, FROZEN) | {"tried": tried}, best_epoch=0)
    assert "+25.0 points (no interval, paired)\n4 images are too few" in text


def test_verdict_on_many_images_has_an_interval_and_no_further_note():
    found = compared(np.tile(TRUTH, 10), np.tile(RIGHT, (10, 1)), np.tile(FROZEN, (10, 1)))
    assert found["interval_note"] == ""
    assert "(95% interval +" in told(found)
    assert "intervals" not in told(found)
