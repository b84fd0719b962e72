"""Words that many messages share."""

from __future__ import annotations


def count(number: int, thing: str, things: str = "") -> str:
    """Spell a number of things.

    Parameters
    ----------
    number : int
    thing, things : str
        Words for one and for several. Default for several: those for one, and an "s".

    Examples
    --------
    >>> count(1, "equal file"), count(2, "equal file"), count(2, "class", "classes")
    ('1 equal file', '2 equal files', '2 classes')
    """
    return f"{number} {thing if number == 1 else things or thing + 's'}"
