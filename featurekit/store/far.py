"""Stores behind URLs: where they lie, how their files are read in parts, and how whole files get there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ..errors import SourceError, StoreError
from ..folders import is_url
from ..images import public
from ..images.remote import delete, file_info, send, sizes

# Where a file that is written is there as a whole, or not at all: what is read meanwhile is never half of one.
_OBJECTS = frozenset("s3 s3a gs gcs az abfs abfss adl oss oci memory".split())


class Far:
    """A file or folder behind a URL. What it has in common with a `pathlib.Path` is called the same.

    Parameters
    ----------
    url : str
        As fsspec knows it: ``s3://bucket/features``.

    Raises
    ------
    SourceError
        If it holds a password.

    Examples
    --------
    >>> place = Far("s3://bucket/features/") / "index.h5"
    >>> str(place), place.name, place.suffix, str(place.parent)
    ('s3://bucket/features/index.h5', 'index.h5', '.h5', 's3://bucket/features')
    """

    def __init__(self, url: str) -> None:
        self.url = public(url).rstrip("/")

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"Far({self.url!r})"

    def __fspath__(self) -> str:
        return self.url

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Far) and other.url == self.url

    def __hash__(self) -> int:
        return hash(self.url)

    def __truediv__(self, name: str) -> Far:
        return Far(f"{self.url}/{name}")

    @property
    def name(self) -> str:
        """What follows the last slash."""
        return self.url.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        """The ending of the name."""
        return os.path.splitext(self.name)[1]

    @property
    def parent(self) -> Far:
        """What it lies in."""
        return Far(self.url.rpartition("/")[0])

    def exists(self) -> bool:
        """Whether there is such a file.

        Raises
        ------
        StoreError
            If that cannot be found out.
        """
        try:
            self.state()
        except FileNotFoundError:
            return False
        return True

    def state(self) -> tuple[int, int]:
        """Bytes, and a number that changes when the file is written anew.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        StoreError
            If that cannot be found out.
        """
        try:
            info = file_info(self.url)
        except SourceError as error:
            if str(error).endswith(": no such file"):
                raise FileNotFoundError(f"no such store: {self.url}") from error
            raise StoreError(str(error)) from error
        if info is None:
            raise StoreError(f"{self.url}: its server does not say how large it is, or in which state")
        return info

    def sizes(self) -> dict[str, int]:
        """The files of a folder, by name, with their bytes; those of folders in it are left out.

        Raises
        ------
        StoreError
            If it cannot be listed.
        """
        try:
            return sizes(self.url)
        except SourceError as error:
            if str(error).endswith(": no such file"):
                return {}
            raise StoreError(str(error)) from error

    def check_writable(self) -> None:
        """Raise StoreError if this is no kind of URL that whole files can be written to in one step."""
        kind = self.url.partition("://")[0].lower()
        if kind in {"file", "local"}:
            raise StoreError(f"{self.url} lies on this machine: name it without {kind}://")
        if kind not in _OBJECTS or "::" in self.url:
            raise StoreError(
                f"{self.url} cannot be written to: of {kind}:// files are only read. Stores are written to object "
                "stores (s3, gs, az, ...), where a file is there as a whole or not at all, and to folders."
            )

    def write(self, data: bytes | memoryview | Path) -> None:
        """Write a whole file in one step: from memory, or a file here.

        Raises
        ------
        StoreError
            If it cannot be written; what was there is as it was.
        """
        try:
            send(self.url, data)
        except SourceError as error:
            raise StoreError(
                f"{error}. What was complete before is kept; mend that, or choose another output, and run the same "
                "command again."
            ) from error

    def delete(self) -> None:
        """Delete the file, if it is there.

        Raises
        ------
        StoreError
            If it cannot be deleted.
        """
        try:
            delete(self.url)
        except SourceError as error:
            raise StoreError(str(error)) from error


Place = Path | Far
"""Where a store lies."""


def place_of(path: str | os.PathLike[str]) -> Place:
    """A path here, or behind a URL."""
    text = os.fspath(path)
    if not is_url(text):
        if is_url(text.replace(":/", "://", 1)):
            raise StoreError(f"{text} has lost a slash in a pathlib.Path: give the URL as text")
        return Path(text)
    if "?" in text:
        raise StoreError(
            f"{public(text)}?...: what follows a question mark would be left out; stores are named without"
        )
    kind, _, rest = text.partition("://")
    if not rest.partition("/")[0] and kind.lower() not in {"file", "local", "memory"}:
        raise StoreError(f"{text} names no {'host' if kind.lower() in {'http', 'https', 'ftp', 'sftp'} else 'bucket'}")
    return Far(f"{kind.lower()}://{rest}")


def lock_name(place: Far) -> str:
    """A name of its own for what belongs to a place, here."""
    return hashlib.sha256(place.url.encode()).hexdigest()[:32]
