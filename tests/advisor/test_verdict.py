from __future__ import annotations

from types import SimpleNamespace

import pytest

from featurekit.advisor.belief import believed
from featurekit.advisor.result import Evidence
from featurekit.advisor.verdict import decide

MARGIN = 0.005


def evidence(error, images, distance, pilot=None):
    """Of a set where nothing else is left to say."""
    size = SimpleNamespace(images=images, classes=10, smallest=images // 10, contradicting=0)
    evaluation = SimpleNamespace(accuracy=1 - error, low=1 - error - 0.03)
    comparison = SimpleNamespace(best=SimpleNamespace(head="lda", evaluation=evaluation))
    similarity = SimpleNamespace(distance=distance, nearer_than=(3, 7))
    gain = believed(error, images, MARGIN, distance=distance, pilot=pilot)
    tried = None if pilot is None else SimpleNamespace(scored=240, low=pilot[0] - 0.06, high=pilot[0] + 0.06)
    return Evidence(size=size, comparison=comparison, beats_chance=True, similarity=similarity, gain=gain, pilot=tried)


def test_to_train_is_not_advised_before_it_was_tried():
    e = evidence(error=0.095, images=400, distance=0.57)
    assert e.gain.low < 0 < e.gain.expected
    verdict, do, sure, why = decide(e, MARGIN)
    assert (verdict, do, sure) == ("cannot tell", "fine-tune", "unsure")
    assert "it was not tried here" in why[0]
    assert "with a longer budget it is tried" in why[-1]


@pytest.mark.parametrize(("difference", "way"), [(0.02, "fine-tune"), (-0.02, "transfer")])
def test_an_undecided_verdict_names_the_better_bet_and_its_expected_loss(difference, way):
    e = evidence(error=0.2, images=400, distance=0.28, pilot=(difference, 0.03))
    verdict, do, sure, why = decide(e, MARGIN)
    assert (verdict, do, sure) == ("cannot tell", way, "unsure")
    assert f"the better bet is to {way}: on average that loses {100 * e.gain.at_stake:.1f} points" in why[-1]
