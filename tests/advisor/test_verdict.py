from __future__ import annotations

from types import SimpleNamespace

import pytest

from featurekit.advisor.belief import believed
from featurekit.advisor.result import Evidence
from featurekit.advisor.verdict import decide

MARGIN = 0.005


def evidence(error, images, distance, pilot=None, **more):
    """Of a set where nothing else is left to say."""
    size = SimpleNamespace(images=images, classes=10, smallest=images // 10, contradicting=0)
    evaluation = SimpleNamespace(accuracy=1 - error, low=1 - error - 0.03)
    comparison = SimpleNamespace(best=SimpleNamespace(head="lda", evaluation=evaluation))
    similarity = SimpleNamespace(distance=distance, nearer_than=(3, 7))
    gain = believed(error, images, MARGIN, distance=distance, pilot=pilot)
    tried = None if pilot is None else SimpleNamespace(scored=240)
    return Evidence(
        size=size, comparison=comparison, beats_chance=True, similarity=similarity, gain=gain, pilot=tried, **more
    )


def test_to_train_is_not_advised_before_it_was_tried():
    e = evidence(error=0.095, images=400, distance=0.57)
    assert e.gain.low < 0 < e.gain.expected
    verdict, do, sure, why = decide(e, MARGIN)
    assert (verdict, do, sure) == ("cannot tell", "fine-tune", "unsure")
    assert "it was not tried here" in why[0]
    assert "with a longer budget it is tried" in why[-1]


@pytest.mark.parametrize(("error", "distance", "sure"), [(0.2, 0.28, "unsure"), (0.3, 0.57, "likely")])
def test_what_takes_no_longer_than_a_try_is_the_try(error, distance, sure):
    e = evidence(error, 400, distance, training_seconds=66.0)
    verdict, do, said, why = decide(e, MARGIN)
    assert (verdict, do, said) == ("cannot tell" if sure == "unsure" else "fine-tune", "fine-tune", sure)
    assert "training takes no longer (some 1.1 minutes), and it keeps the frozen network unless" in why[0]
    assert (why[-1] == "that may as well be nothing: the training will tell") == (sure == "unsure")


def test_more_labels_and_a_try():
    growth = SimpleNamespace(doubled=(0.04, 0.02, 0.06))
    few = {"error": 0.25, "images": 60, "distance": 0.28, "growth": growth}
    e = evidence(**few)
    assert e.gain.expected < MARGIN
    assert decide(e, MARGIN)[:3] == ("more labels", "transfer", "likely")
    assert decide(evidence(**few, training_seconds=20.0), MARGIN)[:3] == ("more labels", "fine-tune", "likely")


@pytest.mark.parametrize(("difference", "way"), [(0.02, "fine-tune"), (-0.02, "transfer")])
def test_where_it_cannot_be_told_the_bet_has_its_price(difference, way):
    e = evidence(error=0.2, images=400, distance=0.28, pilot=(difference, 0.03))
    verdict, do, sure, why = decide(e, MARGIN)
    assert (verdict, do, sure) == ("cannot tell", way, "unsure")
    assert f"the better bet is to {way}: on average that loses {100 * e.gain.at_stake:.1f} points" in why[-1]
