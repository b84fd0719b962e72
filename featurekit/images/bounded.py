"""HTTP sessions for fsspec that bound what a server may send, and where it may send a request on to."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urljoin, urlsplit

from ..errors import ImageError, UnavailableError

MAX_LISTING = 2**28
"""Bytes of the page in which a server lists a folder."""

MAX_REDIRECTS = 9
"""Redirects that are followed for one request; aiohttp ends at the tenth by itself."""

_OPEN_LINKS = 16
_USUAL_PORTS = {"http": 80, "https": 443}
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
            most = _most.get()
            if "Content-Encoding" not in self.headers and (self.content_length or 0) > most:
                raise too_long(most)
            self.content = _Body(self.content, most)  # type: ignore[assignment]
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
        found = io.BytesIO()  # it gives away its bytes without a copy
        async for part in self._stream.iter_any():
            if found.tell() + len(part) > self._most:
                raise too_long(self._most)
            found.write(part)
        return found.getvalue()


async def _check_redirect(session: Any, context: Any, sent: Any) -> None:
    """Refuse a redirect that leads away from HTTP, in a circle, or to another server where that is not allowed."""
    context.redirects = getattr(context, "redirects", 0) + 1
    if reason := _why_not(context.redirects, str(sent.response.url), sent.response.headers):
        sent.response.close()
        raise UnavailableError(reason)


def _why_not(count: int, here: str, headers: Mapping[str, str]) -> str:
    """Reason why a redirect is not followed; empty if it is."""
    try:
        there = urljoin(here, headers.get("Location") or headers.get("URI") or "")
        address = urlsplit(there)
        _ = address.port  # a ValueError where it is no number
    except ValueError:
        return "its server redirects to what is no address"
    if address.scheme not in _USUAL_PORTS:
        return f"its server redirects to an address of {address.scheme}:, and only http and https are followed"
    if _confined.get() and not _same_server(here, there):
        return (
            f"its server redirects to another one, {address.netloc.rpartition('@')[2]}; what a server lists must lie "
            "on that server: name the other one yourself"
        )
    return f"its server redirects more than {MAX_REDIRECTS} times" if count > MAX_REDIRECTS else ""


def _same_server(here: str, there: str) -> bool:
    """Whether two URLs are of one host and port; from http to https of it is allowed, too."""
    a, b = urlsplit(here), urlsplit(there)
    if a.hostname != b.hostname:
        return False
    ports = [part.port or _USUAL_PORTS[part.scheme] for part in (a, b)]
    return ports[0] == ports[1] or ports == [80, 443]
