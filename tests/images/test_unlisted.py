"""Folders that cannot be listed are told by their kind, not by the words of a reason."""

from __future__ import annotations

import copy
import pickle

from featurekit.images import Item, Unlisted


def test_the_kind_of_a_problem_stays_when_an_item_is_sent_to_another_process():
    item = Item("a", "/a", problem=Unlisted("Permission denied: /a"))
    for again in (pickle.loads(pickle.dumps(item)), copy.deepcopy(item)):
        assert again == item
        assert isinstance(again.problem, Unlisted)
    assert item.problem == "the folder cannot be listed: Permission denied: /a"
