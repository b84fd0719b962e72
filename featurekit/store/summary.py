"""What a run of extraction did."""

from __future__ import annotations

from dataclasses import dataclass

from ..fidelity import Fidelity


@dataclass(frozen=True, slots=True)
class Summary:
    """What one run of extraction did; ``images = computed + reused + duplicates + failed + kept``.

    Attributes
    ----------
    images : int
        Images in the source.
    computed : int
        Images that the network ran over.
    reused : int
        Images whose row was there already.
    duplicates : int
        Images with the same content as one before them in the source; they share its computation.
    failed : int
        Images that could not be read and have no row.
    kept : int
        Images that could not be read just now, whose rows of an earlier run were kept.
    removed : int
        Rows of an earlier run that left the store, because their image left the source.
    seconds : float
        Duration of the run.
    notes : tuple of str
        What was noticed about the source.
    runtime : str
        What ran the network: library, version, device and precision. Empty if nothing was computed.
    fidelity : Fidelity, optional
        How the rows of the first images compared with those of exact float32 on Pillow's pixels, where precision or
        decoder can make a difference.
    """

    images: int
    computed: int
    reused: int
    duplicates: int
    failed: int
    removed: int
    seconds: float
    notes: tuple[str, ...] = ()
    runtime: str = ""
    fidelity: Fidelity | None = None
    kept: int = 0

    @property
    def images_per_second(self) -> float:
        """Images of the source, computed or not, per second of the run."""
        return self.images / self.seconds if self.seconds > 0 else 0.0
