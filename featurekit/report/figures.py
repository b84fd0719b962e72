"""Results as pictures. matplotlib is imported only when one is drawn."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np

from ..errors import FeaturekitError
from ..metrics import Evaluation
from ..outputs import write_output

PICTURE_MARK = b"featurekit, a confusion matrix"
"""What a picture of it holds."""

_MOST_NUMBERS = 30


def draw_confusion_matrix(evaluation: Evaluation, path: str | os.PathLike[str], *, title: str = "") -> Path:
    """Draw the confusion matrix as a picture.

    Colours show the fraction of each true class; the numbers are counts.

    Parameters
    ----------
    evaluation : Evaluation
    path : path
        The file; its ending (``.png``, ``.svg``, ``.pdf``) decides the format.
    title : str
        Above the picture.

    Returns
    -------
    Path

    Raises
    ------
    FeaturekitError
        If the file cannot be written.
    """
    # The object interface with its own canvas: no window system, and no state shared with the user's plots.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = np.array(evaluation.confusion_matrix)
    # Labels from files that are not UTF-8 hold what no font can draw.
    names = [name.encode("utf-8", "backslashreplace").decode() for name in evaluation.classes]
    k = len(names)
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(24.0, 2.8 + 0.5 * k)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(k), names, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(range(k), names, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    score = f"accuracy {evaluation.accuracy:.3f} ({evaluation.low:.3f} to {evaluation.high:.3f}), n = {evaluation.n}"
    axes.set_title(f"{title}\n{score}" if title else score, fontsize=11, parse_math=False)
    if k <= _MOST_NUMBERS:
        for i, j in zip(*np.nonzero(counts), strict=True):
            shade = "white" if fractions[i, j] > 0.5 else "black"
            axes.text(j, i, str(counts[i, j]), ha="center", va="center", color=shade, fontsize=9)
    figure.colorbar(image, ax=axes, label="fraction of the true class", shrink=0.8)
    target = Path(path)
    ending = target.suffix.lower().removeprefix(".")
    data = io.BytesIO()
    try:
        figure.savefig(data, format=ending or "png", dpi=120, metadata=_metadata(ending))
    except ValueError as error:  # a format that matplotlib does not write
        raise FeaturekitError(f"cannot write the picture {target}: {error}") from error
    return write_output(target, data.getvalue(), PICTURE_MARK)


def _metadata(ending: str) -> dict[str, str] | None:
    """Where each format says what made a picture."""
    key = {"png": "Software", "": "Software", "svg": "Creator", "pdf": "Creator"}.get(ending)
    return None if key is None else {key: PICTURE_MARK.decode()}
