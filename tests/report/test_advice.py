from __future__ import annotations

import pytest

from featurekit.advisor import Advice
from featurekit.advisor.result import Evidence
from featurekit.report.advice import headline


@pytest.mark.parametrize(
    ("verdict", "do", "options", "said"),
    [
        ("fine-tune", "fine-tune", {"unfreeze": 2}, "Fine-tune the network's upper stages (likely)"),
        ("fine-tune", "fine-tune", {"unfreeze": "all"}, "Fine-tune the whole network (likely)"),
        (
            "cannot tell",
            "fine-tune",
            {"unfreeze": "all"},
            "Cannot tell; meanwhile: fine-tune the whole network (likely)",
        ),
        ("nothing to learn", "transfer", {}, "There is nothing to learn here (likely)"),
    ],
)
def test_the_headline_is_that_of_the_command(verdict, do, options, said):
    advice = Advice(verdict, do, "likely", [], "", options, {}, {}, Evidence(), 1.0, 600.0)
    assert headline(advice) == said
