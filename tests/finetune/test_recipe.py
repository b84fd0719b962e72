from __future__ import annotations

import pytest

from featurekit.errors import TrainingError
from featurekit.finetune import Recipe


def test_defaults_depend_on_where_training_starts():
    tuned, scratch = Recipe().complete(scratch=False), Recipe().complete(scratch=True)
    assert (tuned.epochs, tuned.augment, tuned.batch_norm, tuned.stage_decay) == (12, "flip", "frozen", 2.6)
    assert (scratch.epochs, scratch.augment, scratch.batch_norm, scratch.stage_decay) == (60, "trivial", "trained", 1)
    assert Recipe(epochs=3, augment="none").complete(scratch=True).epochs == 3
    assert None not in [getattr(tuned, name) for name in ("epochs", "learning_rate", "weight_decay", "patience")]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("epochs", 0, "epochs must be a whole number from 1, got 0"),
        ("epochs", 2.5, "epochs must be a whole number from 1"),
        ("epochs", True, "epochs must be a whole number from 1"),
        ("batch_size", 1, "batch_size must be a whole number from 2"),
        ("learning_rate", 0, "learning_rate must be a number above 0"),
        ("learning_rate", float("nan"), "learning_rate must be a number above 0"),
        ("learning_rate", float("inf"), "learning_rate must be a number above 0"),
        ("learning_rate", 1e300, "learning_rate must be a number above 0"),
        ("accumulate", 10**20, "accumulate must be a whole number from 1"),
        ("seed", 2**64, "seed must be a whole number from 0"),
        ("learning_rate", "0.1", "learning_rate must be a number above 0"),
        ("warm_up", 1, "warm_up must be a number from 0 to below 1"),
        ("label_smoothing", -0.1, "label_smoothing must be a number from 0 to below 1"),
        ("augment", "blur", "augment must be one of"),
        ("average", "swa", "average must be one of"),
        ("precision", "float32", "precision must be one of"),
        ("trunk_cache", True, "trunk_cache must be one of"),
    ],
)
def test_impossible_recipes_are_refused(option, value, message):
    with pytest.raises(TrainingError, match=message):
        Recipe(**{option: value}).complete(scratch=False)


def test_recipes_that_exclude_each_other_are_refused():
    with pytest.raises(TrainingError, match="exclude each other"):
        Recipe(mix="mixup", balance="weights").complete(scratch=False)
