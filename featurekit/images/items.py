"""Items: images of a source that are not yet opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import SourceError
from ..labels import is_missing
from ..wording import count
from .remote import FileInfo

IMAGE_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jif .jfif .mpo .png .apng .webp .gif .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm .avif".split()
    + ".jp2 .j2k .j2c .jpc .jpf .jpx".split()
)
"""File name endings, lower case, of the formats that can be read."""

LISTED_SUFFIXES = IMAGE_SUFFIXES | frozenset(
    ".heic .heif .hif .heics .heifs .jxl .jxr .dcm .dicom .psd .psb .svg .eps .exr .hdr .fits .ico .tga .pcx".split()
    + ".dng .cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .orf .rw2 .rwl .raf .pef .srw .x3f .mrw .kdc .dcr .erf".split()
    + ".3fr .fff .iiq .mef .mos .gpr .raw".split()
)
"""File name endings, lower case, that make a file in a folder an image: also those of formats that cannot be read, so
that each such file fails with its reason instead of being left out. The content decides."""

MAX_CHARACTERS = 8192
"""Characters of a path, label or group that a source names, at most."""


class Unlisted(str):
    """The problem of an item that stands for a folder, or the rest of an archive, whose images are not known."""

    __slots__ = ()

    def __new__(cls, why: object) -> Self:
        """Say why."""
        return super().__new__(cls, f"the folder cannot be listed: {why}")

    def __getnewargs__(self) -> tuple[str]:
        return (self.partition(": ")[2],)


@dataclass(frozen=True, slots=True)
class Drawn:
    """An image that a data set object gives when it is asked for one.

    Attributes
    ----------
    dataset : object
    index : int
    draw : callable
        Of both: the bytes of a file, or the picture.
    """

    dataset: Any
    index: int
    draw: Callable[[Any, int], bytes | Image.Image | NDArray[np.uint8]]

    def __call__(self) -> bytes | Image.Image | NDArray[np.uint8]:
        """The bytes of a file, or the picture."""
        return self.draw(self.dataset, self.index)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive, by its place.

    Attributes
    ----------
    file : str
        The archive: an absolute path, or a URL.
    start, end : int
        Its bytes there; of a ZIP file with its header.
    zipped, deflated : bool
        Whether it is one of a ZIP file, and whether it is compressed.
    packed, size, checksum : int
        Of one of a ZIP file: bytes as they are there, bytes of the image, and their CRC-32.
    state : FileInfo or None
        Of a tar file, which has no checksums, when its names were read.
    """

    file: str
    start: int
    end: int
    zipped: bool = False
    deflated: bool = False
    packed: int = 0
    size: int = 0
    checksum: int = 0
    state: FileInfo | None = None


Origin = str | bytes | Image.Image | NDArray[np.uint8] | Drawn | Member


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a source, not yet opened.

    Attributes
    ----------
    path : str
        The name of its row: the path relative to the folder, as the manifest spells it, or as given.
    origin : str or bytes or PIL.Image.Image or ndarray of uint8 or Drawn or Member
        The file to open (a path or a URL), its bytes, the pixels, what gives them, or a place in an archive.
    label, group : str
        Empty where there is none.
    problem : str
        Not empty if it is known, before opening it, that it cannot be used; then this is the reason.
    info : FileInfo, optional
        State of a file that is not on this machine by itself, as it was listed.
    """

    path: str
    origin: Origin
    label: str = ""
    group: str = ""
    problem: str = ""
    info: FileInfo | None = None

    @property
    def has_name(self) -> bool:
        """Tell whether it is a file, whose name tells the user which one."""
        return isinstance(self.origin, str | Member)

    def shown(self, index: int) -> str:
        """Name it in a message on a list of images, in which it has this index."""
        return self.path if self.has_name else f"image {index} of the list"


@dataclass(slots=True)
class Ignored:
    """Files of a folder or an archive that are not taken for images.

    Attributes
    ----------
    endings : dict of str to int
        How many there are of each ending, in lower case.
    hidden : int
        How many files and folders are hidden, whatever their endings.
    """

    endings: dict[str, int] = field(default_factory=dict)
    hidden: int = 0

    def add(self, name: str) -> None:
        """Count a file by its name."""
        if is_hidden(name):
            self.hidden += 1
            return
        _, dot, ending = name.rpartition("/")[2].rpartition(".")
        suffix = (dot + ending).lower()
        self.endings[suffix if dot else ""] = self.endings.get(suffix if dot else "", 0) + 1

    def __bool__(self) -> bool:
        return bool(self.endings) or self.hidden > 0

    def __str__(self) -> str:
        hidden = [self._hidden()] if self.hidden else []
        return ", ".join([*([self._named()] if self.endings else []), *hidden])

    def notes(self) -> list[str]:
        """Say what was left out."""
        notes = [f"Ignored {self._named()}: not image file names."] if self.endings else []
        return [*notes, f"Ignored {self._hidden()}."] if self.hidden else notes

    def _named(self) -> str:
        names = [f"{number} x {suffix or '(no ending)'}" for suffix, number in sorted(self.endings.items())]
        return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")

    def _hidden(self) -> str:
        return count(self.hidden, "hidden file or folder", "hidden files and folders")


@dataclass(slots=True)
class Source:
    """A list of items and what was noticed while making it.

    Attributes
    ----------
    items : list of Item
        In source order: folders sorted by name, everything else in the order given.
    kind : str
        What the source was taken for.
    root : str
        Absolute path or URL that the items' paths are relative to; empty for Python objects.
    place : str
        Absolute path of what was listed: the folder, or the manifest; empty for Python objects.
    notes : list of str
        Sentences for the user: what was left out, what looks like a mistake.
    splits : list of str
        Of each item, what the manifest says of its split; empty where no column does.
    called : str
        The path or URL that was given; empty for Python objects.
    """

    items: list[Item]
    kind: str
    root: str = ""
    place: str = ""
    notes: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    called: str = ""


def as_text(value: object) -> str:
    """A label, group or path as text; "no value" is empty."""
    if isinstance(value, bytes | list | tuple | dict | set | np.ndarray):
        raise SourceError(f"expected one label or group for each image, got a {type(value).__name__}: {value!r:.80}")
    text = "" if is_missing(value) else str(value)
    if "\0" in text:
        raise SourceError(f"a path, label or group holds a null character: {text!r:.80}")
    if len(text) > MAX_CHARACTERS:
        raise SourceError(f"a path, label or group has {len(text)} characters; at most {MAX_CHARACTERS} are kept")
    return text


def as_label(value: object) -> str:
    """A label or group as text without the blanks around it: a table's ``"dress "`` is no class beside ``"dress"``."""
    return as_text(value).strip()


def is_image(name: str) -> bool:
    """Tell whether a name is that of an image file, readable or not, that is not hidden."""
    _, dot, ending = name.rpartition("/")[2].rpartition(".")
    return not is_hidden(name) and bool(dot) and f".{ending.lower()}" in LISTED_SUFFIXES


def is_hidden(name: str) -> bool:
    """Tell whether a file, or a folder above it, is hidden, or made by macOS beside what was packed."""
    return name.startswith((".", "__MACOSX/")) or "/." in name
