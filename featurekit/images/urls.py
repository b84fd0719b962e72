"""URLs of files: which are read, what is shown of them, and how long one may take."""

from __future__ import annotations

import os
import re

from ..errors import SourceError

_TIMEOUT = 60.0
_FAR = frozenset("http https s3 s3a gs gcs az abfs abfss adl wasb wasbs hf ftp sftp oss oci".split())


class Confined(str):
    """A URL that a server named, in a manifest or a listing: its server may not redirect to another one."""

    __slots__ = ()


def is_far_url(url: str) -> bool:
    """Tell whether a URL is of a kind that leads away from this machine: what a manifest from elsewhere may name."""
    return "::" not in url and url.partition("://")[0].lower() in _FAR


def public(url: str) -> str:
    """A URL without what follows ``?``, where signatures stand.

    Raises
    ------
    SourceError
        If it holds a password.

    Examples
    --------
    >>> public("https://host/a.jpg?X-Amz-Signature=123")
    'https://host/a.jpg'
    """
    shown = _without_passwords(url)
    if shown != url:
        raise SourceError(
            f"the URL {shown} holds a password, which would stand in stores and "
            "logs. Leave it out: credentials are found where their library looks for them (environment, profile)."
        )
    return url.partition("?")[0]


def _without_passwords(url: str) -> str:
    """A URL with ``...`` for what stands before an ``@``, in time proportional to its length.

    Of http, https and ftp, whatever stands there: tokens are names, too. Of others, what holds a colon that is not that
    of a port: ``container@account`` of Azure is no password. Secrets may hold slashes.
    """
    parts = re.split(r"([?#])", url)
    return "".join(_without_password(part) if "@" in part and "://" in part else part for part in parts)


def _without_password(part: str) -> str:
    """The same of a part without ``?`` and ``#``."""
    found, begin, last = "", 0, part.rfind("@")
    while (place := part.find("://", begin)) >= 0 and place + 3 <= last:
        start = place + 3
        slash = part.find("/", start)
        stop = len(part) if slash < 0 else slash
        end = part.rfind("@", start, stop)
        if not part[:place].lower().endswith(("http", "https", "ftp")) or end < 0:
            at = part.find("@", start, stop)
            _, colon, secret = part[start : stop if at < 0 else at].partition(":")
            is_port = at < 0 and secret.isdecimal() and slash >= 0
            end = last if colon and not is_port else -1
        found += part[begin:start] + ("...@" if end >= 0 else "")
        begin = end + 1 if end >= 0 else start
    return found + part[begin:]


def timeout() -> float:
    """Seconds that one file may take: ``FEATUREKIT_TIMEOUT``, or 60."""
    text = os.environ.get("FEATUREKIT_TIMEOUT", "")
    try:
        seconds = float(text or _TIMEOUT)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise SourceError(f"FEATUREKIT_TIMEOUT must be a number of seconds, got {text!r}")
    return seconds
