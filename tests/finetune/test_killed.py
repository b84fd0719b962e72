from __future__ import annotations

import killed
import pytest


@pytest.mark.slow
def test_killed_trainings_end_as_if_nothing_had_happened(digits_folder, tmp_path):
    """More kills by hand: python tests/finetune/killed.py --kills 30 FOLDER."""
    counts = killed.run(digits_folder, tmp_path, kills=1, seed=0, epochs=8)
    assert counts["kills"] == 1
