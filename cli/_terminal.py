"""The streams that everything is printed to: no text that came from files reaches a terminal unescaped."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from featurekit.escapes import printable

_CURSOR_UP = "\x1b[A"
_BARS = "tqdm.utils"
"""The module through which bars write, also those of other libraries that use tqdm; ``tqdm.write`` is in another."""


class SafeStream:
    """A text stream that shows control characters and marks of writing direction as escapes.

    Parameters
    ----------
    stream : TextIO
        Standard output or standard error.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write `text`; progress bars may move the cursor up and return to the start of their line."""
        start = ""
        if sys._getframe(1).f_globals.get("__name__") == _BARS:
            start = text if not text.replace(_CURSOR_UP, "").strip("\n") else "\r" * text.startswith("\r")
        text = start + printable(text.removeprefix(start), keep="\n")
        self.stream.write(text)
        return len(text)

    def write_data(self, text: str) -> None:
        """Write data for other programs: byte for byte, unless a person watches."""
        buffer = getattr(self.stream, "buffer", None)
        if self.stream.isatty():
            self.write(text)
        elif buffer is None:  # a stream of a caller from Python
            self.stream.write(text)
        else:
            self.stream.flush()
            buffer.write(text.encode("utf-8", "surrogateescape"))
            buffer.flush()

    def writelines(self, lines: list[str]) -> None:
        """Write each of the lines."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def safe_streams() -> Iterator[None]:
    """Make standard output and standard error safe, and give them back at the end."""
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure"):
            # A file name need not be valid text; print it rather than fail on it.
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = (cast("TextIO", SafeStream(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def say(text: str) -> None:
    """Print a message of the command on standard error."""
    print(as_message(text), file=sys.stderr)


def as_message(text: str) -> str:
    """Mark a text as a message of the command.

    Lines after the first are indented, so that a name with a line break in it cannot pass for a message.
    """
    return "featurekit: " + text.replace("\n", "\n  ")


def write_data(text: str) -> None:
    """Write data to standard output, as :meth:`SafeStream.write_data` does."""
    assert isinstance(sys.stdout, SafeStream)
    sys.stdout.write_data(text)
