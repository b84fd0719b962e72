"""Names of classes in a table: their order, and short forms of them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence


def natural_order(names: Sequence[str]) -> list[int]:
    """Return the places of names in their natural order: numbers by their value, also inside of text.

    Examples
    --------
    >>> names = ["1", "10", "2"]
    >>> [names[i] for i in natural_order(names)]
    ['1', '2', '10']
    """
    values = [_number(name) for name in names]
    if all(value is not None for value in values):
        return sorted(range(len(names)), key=lambda i: (values[i], names[i]))
    return sorted(range(len(names)), key=lambda i: (_parts(names[i]), names[i]))


def short_forms(names: Sequence[str], width: int) -> list[str]:
    """Return names of at most `width` characters, all different: of long ones the beginning, or beginning and end.

    Parameters
    ----------
    names : sequence of str
        All different.
    width : int
        4 or more.

    Examples
    --------
    >>> short_forms(["cat", "labrador retriever", "golden retriever"], 8)
    ['cat', 'labrado~', 'goldenr~']
    """
    for tail in range(width // 2 + 1):
        forms = [_cut(name, width, tail) for name in names]
        if len(set(forms)) == len(forms):
            return forms
    # Equal at both ends: the place in the table tells them apart.
    return [form if forms.count(form) == 1 else _numbered(form, i, width) for i, form in enumerate(forms)]


def _cut(name: str, width: int, tail: int) -> str:
    if len(name) <= width:
        return name
    letters = "".join(name.split())  # a blank in a heading would look like the end of its column
    return letters[: width - 1 - tail] + "~" + (letters[-tail:] if tail else "")


def _numbered(form: str, place: int, width: int) -> str:
    end = f"~{place + 1}"
    return form[: max(0, width - len(end))] + end


def _number(name: str) -> float | None:
    try:
        value = float(name)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _parts(name: str) -> list[tuple[int, int, str]]:
    """Text and whole numbers in turn, in a form that can be compared."""
    parts = [part for part in re.split(r"([0-9]+)", name) if part]
    return [(0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part.casefold()) for part in parts]
