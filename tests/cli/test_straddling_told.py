"""A split that is followed although it separates a group is told in the same words by every verb."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
from featurekit_cli import _splits
from featurekit_cli.finetune import _followed, _Image

from featurekit.duplicates import Groups, shared_sentence


def test_finetune_tells_groups_on_both_sides_as_the_other_verbs_do(capsys):
    parts = {"a": "train", "b": "train", "c": "validation", "d": "validation"}
    groups = {"a": "patient 1", "b": "", "c": "patient 1", "d": ""}
    images = [_Image(path, path, "x", groups[path]) for path in parts]
    arguments = Namespace(quiet=False, validation=None, validation_share=None)
    trained, others = _followed(arguments, images, _splits.Split("the column 'split'", parts, []))
    assert ([image.path for image in trained], [image.path for image in others]) == (["a", "b"], ["c", "d"])
    assert shared_sentence(1, 2) in " ".join(capsys.readouterr().err.split())


def test_groups_of_a_store_say_the_same():
    found = Groups(np.array([0, 1, 0, 2]), exact=0, near=0, pairs=[], distance=36, given=1)
    shared = found.shared(np.array([0, 1]), np.array([2, 3]))
    assert found.sentence(shared).endswith(f"1 group of the source: {shared_sentence(*shared)}")
