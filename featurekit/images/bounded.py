"""HTTP sessions for fsspec that bound what a server may send, and where it may send a request on to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urljoin, urlsplit

from ..errors import ImageError, UnavailableError

MAX_LISTING = 2**28
"""Bytes of the page in which a server lists a folder."""

_OPEN_LINKS = 16
# fsspec runs requests in a thread of its own, in a copy of the context of the thread that asks.
_most: ContextVar[int] = ContextVar("_most", default=MAX_LISTING)
_confined: ContextVar[bool] = ContextVar("_confined", default=False)


@contextmanager
def bounds(most: int, confined: bool) -> Iterator[None]:
    """Bound the requests that are made in this block.

    Parameters
    ----------
    most : int
        Bytes of a body, after decompression.
    confined : bool
        Whether a redirect to another server is refused.
    """
    marks = _most.set(most), _confined.set(confined)
    try:
        yield
    finally:
        _most.reset(marks[0])
        _confined.reset(marks[1])


class TooLongError(UnavailableError):
    """A body or file is longer than allowed."""


def too_long(most: int) -> TooLongError:
    """The error of a body or file of more than so many bytes."""
    return TooLongError(f"more than {most:,} bytes")


async def bounded_client(**settings: Any) -> Any:
    """Make an ``aiohttp.ClientSession`` that keeps to :func:`bounds`; fsspec's ``get_client``."""
    import aiohttp

    class Response(aiohttp.ClientResponse):
        async def read(self) -> bytes:
            if self.status >= 400:
                return b""  # its page says nothing that is kept
            self.content = _Body(self.content, _most.get())  # type: ignore[assignment]
            return await super().read()

        async def text(self, encoding: str | None = None, errors: str = "strict") -> str:
            page = await super().text(encoding, errors)
            # fsspec's pattern for links takes quadratic time where they are not closed.
            if any(part.count("<a") + part.count("<A") > _OPEN_LINKS for part in page.split(">")):
                raise ImageError("its listing is no page of links")
            return page

    traces = aiohttp.TraceConfig()
    traces.on_request_redirect.append(_check_redirect)
    return aiohttp.ClientSession(response_class=Response, trace_configs=[traces], **settings)


class _Body:
    """A response's stream that ends in an error where it is too long; all else is the stream's own."""

    def __init__(self, stream: Any, most: int) -> None:
        self._stream, self._most = stream, most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def read(self) -> bytes:
        found = bytearray()
        async for part in self._stream.iter_any():
            found += part
            if len(found) > self._most:
                raise too_long(self._most)
        return bytes(found)


async def _check_redirect(session: Any, context: Any, sent: Any) -> None:
    """Refuse a redirect that leads to another server."""
    headers = sent.response.headers
    here = str(sent.response.url)
    there = urljoin(here, headers.get("Location") or headers.get("URI") or "")
    if _confined.get() and not _same_server(here, there):
        sent.response.close()
        raise ImageError(
            f"its server redirects to another one, {urlsplit(there).netloc}; what a server lists must lie on that "
            "server: name the other one yourself"
        )


def _same_server(here: str, there: str) -> bool:
    """Whether two URLs are of one host and port; from http to https of it is allowed, too."""
    usual = {"http": 80, "https": 443}
    a, b = urlsplit(here), urlsplit(there)
    if a.hostname != b.hostname or b.scheme not in usual:
        return False
    ports = [part.port or usual[part.scheme] for part in (a, b)]
    return ports[0] == ports[1] or ports == [80, 443]
