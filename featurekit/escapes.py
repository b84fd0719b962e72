"""Text that may hold what a terminal obeys, made harmless."""

from __future__ import annotations

import html
import unicodedata


def printable(text: str, keep: str = "") -> str:
    r"""Show control characters, marks of writing direction and the like as escapes.

    Parameters
    ----------
    text : str
        Such as a file name or a label.
    keep : str
        Characters that stay as they are.

    Returns
    -------
    str
        Bytes of names that are not UTF-8 are left as they are: the stream that the text goes to decides about them.

    Examples
    --------
    >>> printable("red\x1b[31m, left\u202e, café")
    'red\\x1b[31m, left\\u202e, café'
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep or _is_harmless(c) else repr(c)[1:-1] for c in text)


def escape(text: str) -> str:
    r"""Text for a page or a picture: what neither HTML nor XML can hold becomes an escape that a reader can see.

    Examples
    --------
    >>> escape("a<b & \x1bc")
    'a&lt;b &amp; \\x1bc'
    """
    return html.escape(printable(text, keep="\n"))


def _is_harmless(c: str) -> bool:
    return c.isprintable() or "\udc80" <= c <= "\udcff" or unicodedata.category(c) == "Zs"
