"""Results as pictures. matplotlib is imported only when one is drawn."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bootstrap import range_text
from ..errors import FeaturekitError
from ..escapes import printable
from ..metrics import Evaluation
from ..outputs import write_output
from .order import natural_order

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURE_MARK = b"drawn by featurekit"
"""What a picture holds."""

_MOST_NUMBERS = 30
_LONGEST_NAME = 32


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

    order = natural_order(evaluation.classes)
    counts = np.array(evaluation.confusion_matrix)[np.ix_(order, order)]
    names = [_drawable(evaluation.classes[i]) for i in order]
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
    interval = range_text(evaluation.low, evaluation.high, ".3f")
    score = f"accuracy {evaluation.accuracy:.3f} ({interval}), n = {evaluation.n}"
    axes.set_title(f"{_drawable(title)}\n{score}" if title else score, fontsize=11, parse_math=False)
    if k <= _MOST_NUMBERS:
        for i, j in zip(*np.nonzero(counts), strict=True):
            shade = "white" if fractions[i, j] > 0.5 else "black"
            axes.text(j, i, str(counts[i, j]), ha="center", va="center", color=shade, fontsize=9)
    figure.colorbar(image, ax=axes, label="fraction of the true class", shrink=0.8)
    return save_picture(figure, path)


def draw_history(history: Sequence[Mapping[str, Any]], path: str | os.PathLike[str], *, title: str = "") -> Path:
    """Draw what happened in each epoch of a training: loss, scores on the validation images, learning rates.

    Parameters
    ----------
    history : sequence of dict
        ``history_`` of a :class:`~featurekit.FineTuneClassifier`.
    path, title
        As in :func:`draw_confusion_matrix`.

    Returns
    -------
    Path

    Raises
    ------
    FeaturekitError
        If the file cannot be written.

    Examples
    --------
    >>> scores = {"accuracy": 0.9, "log_loss": 0.3}
    >>> first, second = {"epoch": 0, "loss": None, "rates": {}}, {"epoch": 1, "loss": 0.4, "rates": {"head": 1e-3}}
    >>> draw_history([first | scores, second | scores], getfixture("tmp_path") / "history.png").name
    'history.png'
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 8), layout="constrained")
    FigureCanvasAgg(figure)
    score, loss, rate = figure.subplots(3, sharex=True)
    epochs = [record["epoch"] for record in history]
    score.plot(epochs, [record["accuracy"] for record in history], marker="o", label="validation accuracy")
    score.axhline(history[0]["accuracy"], linestyle=":", color="grey", label="before the first step")
    loss.plot(epochs, [record["log_loss"] for record in history], marker="o", label="validation log loss")
    trained = [record for record in history if record["loss"] is not None]
    loss.plot(
        [r["epoch"] for r in trained], [r["loss"] for r in trained], marker="s", label="training loss (as trained)"
    )
    for stage in dict.fromkeys(name for record in trained for name in record["rates"]):
        rate.plot([r["epoch"] for r in trained], [r["rates"].get(stage) for r in trained], marker=".", label=stage)
    rate.set_yscale("log" if any(value > 0 for r in trained for value in r["rates"].values()) else "linear")
    for axes, label in ((score, "accuracy"), (loss, "loss"), (rate, "learning rate")):
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    rate.set_xlabel("epoch")
    rate.xaxis.set_major_locator(MaxNLocator(integer=True))
    score.set_title(_drawable(title), fontsize=11, parse_math=False)
    return save_picture(figure, path)


def _drawable(text: str) -> str:
    """Text without what no font can draw and no SVG can hold; the middle of a very long one is left out."""
    text = printable(text).encode("utf-8", "backslashreplace").decode()
    half = _LONGEST_NAME // 2
    return text if len(text) <= _LONGEST_NAME else f"{text[:half]}...{text[-half:]}"


def save_picture(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure in the format of the file's ending."""
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
