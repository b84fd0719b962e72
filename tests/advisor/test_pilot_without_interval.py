"""A pilot that scored images of fewer than six groups could not tell anything, and the verdict says so."""

from __future__ import annotations

from types import SimpleNamespace

from featurekit.advisor.belief import believed
from featurekit.advisor.pilot import Pilot
from featurekit.advisor.result import Evidence
from featurekit.advisor.verdict import decide


def evidence(error, distance):
    """Four hundred images, and a pilot without an interval."""
    pilot = Pilot(2, 300, 100, 1, 0, 0.8, 0.9, 0.1, None, None, 1.0)
    measured = (pilot.difference, pilot.standard_error)
    evaluation = SimpleNamespace(accuracy=1 - error, low=1 - error - 0.03)
    return Evidence(
        size=SimpleNamespace(images=400, classes=10, smallest=40, contradicting=0),
        comparison=SimpleNamespace(best=SimpleNamespace(head="lda", evaluation=evaluation)),
        similarity=SimpleNamespace(distance=distance, nearer_than=(3, 7)),
        pilot=pilot,
        gain=believed(error, 400, 0.005, distance=distance, pilot=measured),
    )


def test_verdict_says_that_the_pilot_could_not_tell():
    _, _, _, why = decide(evidence(error=0.2, distance=0.28), 0.005)
    assert "the pilot could not tell: it scored images of fewer than 6 groups" in why[0]
    assert "not tried" not in why[0]


def test_training_is_not_advised_for_sure_by_a_pilot_that_could_not_tell():
    verdict, do, sure, why = decide(evidence(error=0.095, distance=0.57), 0.005)
    assert (verdict, do, sure) == ("cannot tell", "fine-tune", "unsure")
    assert why[-1] == "that may as well be nothing: a pilot needs 6 groups or more"


def test_no_number_of_further_images_is_derived_from_it():
    _, _, _, why = decide(evidence(error=0.2, distance=0.28), 0.005)
    assert not any("more labelled images would tell" in each for each in why)
