"""Words that many messages share."""

from __future__ import annotations


def count(number: int, thing: str) -> str:
    """Spell a number of things; the plural ends in "s".

    Examples
    --------
    >>> count(1, "equal file"), count(2, "equal file")
    ('1 equal file', '2 equal files')
    """
    return f"{number} {thing}{'' if number == 1 else 's'}"
