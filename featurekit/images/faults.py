"""Faults of servers, and of libraries that talk to them: which of them last, and how they are told."""

from __future__ import annotations

from ..errors import ImageError, UnavailableError
from .urls import public, timeout

_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotImplementedError, ValueError, ImportError)
_OF_A_MOMENT = {408, 429}  # answers below 500 that another try may change
_OF_THE_EXTRA = frozenset({"s3fs", "gcsfs", "aiohttp"})


class NoSuchFileError(ImageError):
    """There is no such file: what holds it says so."""

    def __init__(self) -> None:
        super().__init__("no such file")

    def __reduce__(self) -> tuple[type[NoSuchFileError], tuple[()]]:
        return type(self), ()


def is_lasting(error: Exception) -> bool:
    """Tell whether another try would end in the same way: no such file, no permission, no such address.

    Examples
    --------
    >>> is_lasting(FileNotFoundError()), is_lasting(TimeoutError())
    (True, False)
    """
    status = getattr(error, "status", None)
    is_refusal = isinstance(status, int) and status < 500 and status not in _OF_A_MOMENT and not _is_garbled(error)
    return isinstance(error, _LASTING) or is_refusal


def _is_garbled(error: Exception) -> bool:
    """Tell whether an answer could not be understood: aiohttp gives it the status 400, which no server answered."""
    return hasattr(error, "status") and hasattr(error.__cause__, "code")


def lasting_fault(error: Exception, url: str) -> ImageError:
    """Make the error to raise for a lasting fault: a missing file, or a server that refuses."""
    cause = error.__cause__ if isinstance(error, FileNotFoundError) else error  # fsspec raises it for much else
    answer = getattr(cause, "response", None)  # of an object store
    code = answer.get("Error", {}).get("Code") if isinstance(answer, dict) else getattr(cause, "status", None)
    gone = cause is None or isinstance(cause, FileNotFoundError) or code in {404, 410, "404", "NoSuchKey"}
    return NoSuchFileError() if gone else UnavailableError(reason_of(error, url))


def reason_of(error: Exception, url: str) -> str:
    """An error in a few words, without what may be secret in a URL."""
    if isinstance(error, ImageError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        cause = error.__cause__  # fsspec calls much by this name
        if not isinstance(cause, Exception) or getattr(cause, "status", None) == 404:
            return "no such file"
        return reason_of(cause, url)
    if isinstance(error, ImportError):
        return _what_is_missing(error, url.partition("://")[0].lower())
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout():g} s (FEATUREKIT_TIMEOUT)"
    status = getattr(error, "status", None)
    if status is not None:
        message = " ".join(str(getattr(error, "message", "")).split())
        said = "what the server answered is no HTTP:" if _is_garbled(error) else f"the server answered {status}"
        return f"{said} {message}".rstrip()
    text = " ".join(str(error).split()).replace(url, public(url))[:300]
    if "credential" in f"{type(error).__name__} {text}".lower():
        text += " (its library looks for them in the environment and in profiles)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _what_is_missing(error: ImportError, kind: str) -> str:
    """Say why the package that reads a kind of URL cannot be imported: it may be missing, or there and broken."""
    cause = error.__cause__ if isinstance(error.__cause__, ImportError) else error
    if not isinstance(cause, ModuleNotFoundError):
        return f"what reads {kind}:// is installed and cannot be used: {cause}"
    if (package := (cause.name or "").partition(".")[0]) in _OF_THE_EXTRA:
        return f"{kind}:// needs the package {package}: pip install 'featurekit[remote]'"
    return f"{kind}:// needs the package {package}, which is not installed: pip install {package}"
