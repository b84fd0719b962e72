"""How far the rows of one way to compute are from those of another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ENOUGH = 0.999
"""Cosine below which a user is warned."""


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How alike rows are to a reference.

    Attributes
    ----------
    cosine, mean_cosine : float
        Of a row and its reference: the smallest, and the mean.
    relative_error : float
        Largest ``norm(row - reference) / norm(reference)``.
    images : int
        How many rows were compared.

    Examples
    --------
    >>> rows = np.array([[3.0, 4.0], [0.0, 2.0]], dtype=np.float32)
    >>> print(Fidelity.of(rows * np.float32(1.5), rows))
    cosine 1.000000 or more (mean 1.000000), relative error 0.5 or less, on 2 images
    """

    cosine: float
    mean_cosine: float
    relative_error: float
    images: int

    @classmethod
    def of(cls, rows: NDArray[np.float32], reference: NDArray[np.float32]) -> Fidelity:
        """Compare rows of shape (n, d) with their reference. Rows of zeros are alike."""
        a, b = rows.astype(np.float64), reference.astype(np.float64)
        tiny = np.finfo(np.float64).tiny
        norms = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
        with np.errstate(invalid="ignore"):
            cosine = np.minimum(((a * b).sum(axis=1) + tiny) / (norms[0] * norms[1] + tiny), 1.0)
            error = np.linalg.norm(a - b, axis=1) / (norms[1] + tiny)
        # Not finite: as bad as can be, not unnoticed.
        cosine, error = np.nan_to_num(cosine, nan=-1.0), np.nan_to_num(error, nan=np.inf)
        return cls(float(cosine.min()), float(cosine.mean()), float(error.max()), len(rows))

    def __str__(self) -> str:
        return (
            f"cosine {self.cosine:.6f} or more (mean {self.mean_cosine:.6f}), "
            f"relative error {self.relative_error:.2g} or less, on {self.images} images"
        )
