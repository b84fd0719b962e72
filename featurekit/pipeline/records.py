"""What the stages of the pipeline hand to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..backbones import Backbone
from ..fidelity import Fidelity
from ..fingerprint import HASH_BYTES, Preprocessing
from ..images import PERCEPTUAL_BYTES
from ..store import Columns, RowCache, Signatures, Text

NOTHING: Mapping[Preprocessing, NDArray[np.uint8]] = {}
"""One for all, of which there may be very many."""

_REASON = 500
"""Characters of a reason, at most: a server may answer with a whole page."""

_UNKNOWN = bytes(PERCEPTUAL_BYTES)


@dataclass(slots=True)
class Outcome:
    """What became of one item: the content hash of an image that has a row, or the reason why it has none.

    Attributes
    ----------
    content : bytes
        SHA-256 of the file's bytes, or of the pixels of an image that was no file.
    size, mtime_ns : int
        State of the file; 0 if it was no file.
    reason : str
        Why it has no row; empty if it has one.
    unavailable : bool
        Whether the reason is that its bytes cannot be had just now: a row that is known of it stays good.
    pixels : mapping of Preprocessing to ndarray of uint8
        What the networks take.
    perceptual : bytes
        Perceptual hash of the decoded pixels, 64 bytes; empty where the image was not decoded.
    deep : bool
        Whether it was decoded now and has more than 8 bits for each value, of which 8 were kept.
    """

    content: bytes = b""
    size: int = 0
    mtime_ns: int = 0
    reason: str = ""
    unavailable: bool = False
    pixels: Mapping[Preprocessing, NDArray[np.uint8]] = field(default_factory=lambda: NOTHING)
    perceptual: bytes = b""
    deep: bool = False

    def fail(self, reason: str, *, unavailable: bool = False) -> None:
        """Note why the image has no row; a long reason is cut."""
        self.reason = reason if len(reason) <= _REASON else f"{reason[: _REASON - 3]}..."
        self.unavailable = unavailable


@dataclass(slots=True)
class Destination:
    """A backbone and the cache that its rows go to; and what :func:`fill` did there.

    Attributes
    ----------
    backbone : Backbone
    cache : RowCache
    signatures : Signatures, optional
        Of files that were seen before, by item path: what spares reading an unchanged file.
    hashed : bool
        Read and decode also images whose rows are known but lack a perceptual hash.
    computed : int
        How many rows the network computed.
    decoder, runtime : str
        What prepared the images, and what ran the network; empty if nothing was computed.
    fidelity : Fidelity, optional
        How rows compared with exact ones, where precision or decoder can make a difference.
    """

    backbone: Backbone
    cache: RowCache
    signatures: Signatures | None = None
    hashed: bool = True
    computed: int = 0
    decoder: str = ""
    runtime: str = ""
    fidelity: Fidelity | None = None


def columns_of(path: Text, label: Text, group: Text, outcomes: Sequence[Outcome]) -> Columns:
    """Columns of a store: the text of each row, and what its outcome knows."""
    return Columns(
        path,
        label,
        group,
        sha256=_hashes([o.content for o in outcomes], HASH_BYTES),
        size=np.array([o.size for o in outcomes], dtype=np.int64),
        mtime_ns=np.array([o.mtime_ns for o in outcomes], dtype=np.int64),
        perceptual=_hashes([o.perceptual or _UNKNOWN for o in outcomes], PERCEPTUAL_BYTES),
    )


def _hashes(values: Sequence[bytes], length: int) -> NDArray[np.uint8]:
    return np.frombuffer(bytearray().join(values), dtype=np.uint8).reshape(-1, length)
