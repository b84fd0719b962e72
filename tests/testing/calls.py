"""Records of the calls of a function that still runs."""

from __future__ import annotations


def lengths(monkeypatch, owner, name, argument=0):
    """Note the length of an argument of each call of `owner.name`, by its position, in the list that is returned."""
    noted = []
    original = getattr(owner, name)

    def noting(*arguments):
        noted.append(len(arguments[argument]))
        return original(*arguments)

    monkeypatch.setattr(owner, name, noting)
    return noted
