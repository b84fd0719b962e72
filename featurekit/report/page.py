"""A comparison as one HTML page that needs nothing else: no network, no files beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .._version import __version__
from ..advisor import Advice
from ..bootstrap import interval_text, points_text, range_text
from ..comparison import Compared, Comparison
from ..errors import FeaturekitError
from ..escapes import escape
from ..folders import on_disk
from ..outputs import write_output
from ..store import FAILED, FeatureStore
from .advice import advice_sections
from .charts import Axes, Point, bars, growing, heat_map, interval_or_point
from .order import natural_order
from .style import SCRIPT, STYLE
from .thumbnails import thumbnail

PAGE_MARK = b"<title>featurekit: "
"""What a page holds."""

_WORST = 12
_BINS = 10
_MOST_CLASSES = 60


def write_page(
    comparison: Comparison,
    path: str | os.PathLike[str],
    *,
    advice: Advice | None = None,
    images: str | os.PathLike[str] | None = None,
) -> Path:
    """Write the page.

    Parameters
    ----------
    comparison : Comparison
    path : path
        The ``.html`` file; its folder is made.
    advice : Advice, optional
        What the comparison was made for: it comes first.
    images : path or URL, optional
        Folder of the images, for thumbnails of mistakes: only what lies below it is opened, wherever a store says that
        its images are. Default: no thumbnails.

    Returns
    -------
    Path

    Raises
    ------
    FeaturekitError
        If the file cannot be written.

    Examples
    --------
    >>> from featurekit import compare
    >>> result = compare(getfixture("digits_store"), heads=["centroid", "knn"])
    >>> write_page(result, getfixture("tmp_path") / "report.html").stat().st_size > 5000
    True
    """
    target = on_disk(path)
    body = "\n".join(_sections(comparison, None if images is None else os.fspath(images)))
    if advice is not None:
        body = "\n".join(["<h2>Advice</h2>", *advice_sections(advice), "<h2>Heads</h2>", body])
    title = f"{comparison.n} images, {len(comparison.best.evaluation.classes)} classes"
    text = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>featurekit: {title}</title><style>{STYLE}</style></head>'
        f"<body><main>\n<h1>Comparison on {title}</h1>\n{body}\n</main><script>{SCRIPT}</script></body></html>\n"
    )
    # Names of files that are not UTF-8 hold what no page can.
    # The folder may be a symbolic link: unlike a store's, it is of the user's own choice.
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FeaturekitError(f"cannot write {target}: {error.strerror}") from error
    write_output(target.parent.resolve() / target.name, text.encode("utf-8", "backslashreplace"), PAGE_MARK)
    return target


def _sections(c: Comparison, images: str | None) -> Iterator[str]:
    best, names = c.best, [_name(line) for line in c.results]
    e = best.evaluation
    yield (
        f"<p>Best: <b>{escape(names[0])}</b>, accuracy {e.accuracy:.3f} ({interval_text(e.low, e.high, '.3f')}), "
        f"by {c.folds}-fold cross-validation{f', drawn {c.repeats} times' if c.repeats > 1 else ''}."
        f"{_equals(c)} {_duplicates(c)}</p>"
    )
    if e.interval_note:
        yield f"<p>{escape(e.interval_note)}.</p>"
    yield f"<h2>Results</h2>{_table(c)}"
    yield (
        "<p class='note'>Differences are in points of accuracy, paired on the same images. Fit: of one fold. "
        f"The best of {len(names)} is chosen for its score, which is therefore a little too good.</p>"
    )
    if said := c.labels.sentences():
        yield "".join(f"<p>{escape(sentence)}.</p>" for sentence in said)
    if c.failures:
        lines = "".join(f"<li>{escape(f'{features} {head}: {why}')}</li>" for features, head, why in c.failures)
        yield f"<p>Not there:</p><ul>{lines}</ul>"
    yield f"<div class='charts'>{_figure('Accuracy against the time of a fit', _cost(c))}"
    if e.log_loss is not None:
        yield _figure(f"Calibration of {names[0]}", _calibration(best))
    if c.curve:
        yield _figure(f"Learning curve of {names[0]}", growing(c.curve, "Accuracy over the number of training images"))
    if c.importance:
        drawn = bars(
            [(each.layer, each.drop, each.low, each.high) for each in c.importance],
            "Points of accuracy lost on held-out images when the numbers of one layer are shuffled among them",
        )
        yield _figure(f"Importance of each layer to {names[0]}", drawn)
    yield "</div>"
    if c.importance:
        yield (
            "<p class='note'>Importance of a layer: points of accuracy lost on held-out images when its numbers are "
            "shuffled among them, with 95% intervals. Layers that say the same stand in for each other, so that each "
            "may look unimportant.</p>"
        )
    if len(e.classes) <= _MOST_CLASSES:
        order = natural_order(e.classes)
        classes = [e.classes[i] for i in order]
        recalls = [[_recall(line, label) for line in c.results] for label in classes]
        yield "<h2>Recall of each class</h2>" + _wide(heat_map(classes, names, recalls, ".2f"))
        counts = np.array(e.confusion_matrix, dtype=float)[np.ix_(order, order)]
        shares = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).tolist()
        cells = [[share or None for share in line] for line in shares]
        yield (
            f"<h2>Confusion of {escape(names[0])}</h2><p class='note'>Rows: the true class; columns: the predicted "
            f"one; shares of the true class.</p>{_wide(heat_map(classes, classes, cells, '.2f'))}"
        )
    yield f"<h2>Worst mistakes of {escape(names[0])}</h2>{_mistakes(c, images)}"
    yield f"<h2>Images</h2>{_ledger(c.stores[0])}"
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in c.seconds.items())
    yield f"<h2>How it was made</h2>{_provenance(c)}<p class='note'>featurekit {__version__}; {escape(seconds)}.</p>"


def _name(line: Compared) -> str:
    return f"{line.features} {line.head}"


def _equals(c: Comparison) -> str:
    if len(c.results) < 2:
        return ""
    equal = ", ".join(escape(_name(line)) for line in c.equals)
    return f" Not to be told apart from it: {equal}." if equal else " It is ahead of all others."


def _duplicates(c: Comparison) -> str:
    return escape(c.groups.sentence()) + "." if c.groups.notable else "No duplicates were found."


def _table(c: Comparison) -> str:
    columns = [
        "features", "head", "accuracy", "95% interval", "minus best", "balanced", "macro F1", "top-k",
        "log loss", "calibration", "fit, s", "predict, µs", "d", "bytes a row",
    ]  # fmt: skip
    lines = []
    for line in c.results:
        e, (difference, low, high) = line.evaluation, line.difference
        behind = f"{100 * difference:+.1f} ({points_text(low, high)})"
        values: list[tuple[float | str | None, str]] = [
            (line.features, line.features),
            (line.head, line.head),
            (e.accuracy, f"{e.accuracy:.3f}"),
            (e.low, range_text(e.low, e.high, ".3f")),
            (difference, "best" if line is c.best else behind),
            (e.balanced_accuracy, f"{e.balanced_accuracy:.3f}"),
            (e.macro_f1, f"{e.macro_f1:.3f}"),
            (e.top_k_accuracy, "" if e.top_k_accuracy is None else f"{e.top_k_accuracy:.3f} (k = {e.top_k})"),
            (e.log_loss, "" if e.log_loss is None else f"{e.log_loss:.3f}"),
            (e.calibration_error, "" if e.calibration_error is None else f"{e.calibration_error:.3f}"),
            (line.folded.fit_seconds, f"{line.folded.fit_seconds:.2f}"),
            (line.folded.predict_seconds, f"{1e6 * line.folded.predict_seconds:.0f}"),
            (line.dim, str(line.dim)),
            (4 * line.dim, str(4 * line.dim)),
        ]
        cells = "".join(f'<td data-v="{escape(str(value))}">{escape(text)}</td>' for value, text in values)
        lines.append(f"<tr>{cells}</tr>")
    head = "".join(f'<th scope="col"><button type="button">{escape(name)}</button></th>' for name in columns)
    return _wide(f'<table class="sortable"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>')


def _wide(table: str) -> str:
    """What may be wider than a telephone scrolls by itself; with the keyboard, too."""
    return f'<div class="wide" tabindex="0" role="region" aria-label="table">{table}</div>'


def _figure(caption: str, picture: str) -> str:
    return f"<figure><figcaption>{escape(caption)}</figcaption>{picture}</figure>"


def _cost(c: Comparison) -> str:
    kinds = list(dict.fromkeys(line.features for line in c.results))
    points = [
        Point(
            max(line.folded.fit_seconds, 1e-3),
            line.evaluation.accuracy,
            *interval_or_point(line.evaluation.accuracy, line.evaluation.low, line.evaluation.high),
            f"{_name(line)}: {line.evaluation.accuracy:.3f}, {line.folded.fit_seconds:.2f} s",
            kinds.index(line.features),
        )
        for line in c.results
    ]
    ends = [value for p in points for value in (p.low, p.high)]
    axes = Axes([p.x for p in points], ends, "seconds of a fit", "accuracy", logarithmic=True)
    axes.points(points)
    legend = " ".join(f'<span class="c{i % 6}">● {escape(name)}</span>' for i, name in enumerate(kinds))
    said = "; ".join(p.title for p in points)
    return axes.draw(f"Accuracy with its interval against seconds of a fit. {said}") + f'<p class="legend">{legend}</p>'


def _calibration(line: Compared) -> str:
    folded = line.folded
    assert folded.probabilities is not None
    surest = folded.probabilities.max(axis=2).ravel().astype(float)
    hit = (folded.predictions == folded.y).ravel()
    bins = np.minimum((surest * _BINS).astype(int), _BINS - 1)
    points = []
    for b in np.unique(bins):
        mine = bins == b
        share, n = float(hit[mine].mean()), int(mine.sum())
        half = 1.96 * float(np.sqrt(max(share * (1 - share), 0.01) / n))
        says = f"{n} predictions with probability {surest[mine].mean():.2f}: {share:.2f} right"
        points.append(Point(float(surest[mine].mean()), share, max(share - half, 0), min(share + half, 1), says))
    axes = Axes([0, 1], [0, 1], "probability of the predicted class", "share that is right")
    axes.line([0, 1], [0, 1], "ideal")
    axes.points(points)
    error = line.evaluation.calibration_error
    return axes.draw(f"Calibration, error {error:.3f}. " + "; ".join(p.title for p in points))


def _recall(line: Compared, label: str) -> float | None:
    found = [score.recall for score in line.evaluation.per_class if score.label == label and score.support]
    return found[0] if found else None


def _mistakes(c: Comparison, images: str | None) -> str:
    folded, store = c.best.folded, c.stores[[s.fingerprint for s in c.stores].index(c.best.fingerprint)]
    first = folded.predictions[0]
    wrong = np.flatnonzero(first != folded.y)
    if not len(wrong):
        return "<p>There are none.</p>"
    rows = np.flatnonzero(store.columns.label != b"")
    sure = np.ones(len(first)) if folded.probabilities is None else folded.probabilities[0].max(axis=1)
    order = wrong[np.argsort(-sure[wrong], kind="stable")][:_WORST]
    paths, root = store.paths, str(store.provenance.get("root", ""))
    tiles = []
    for i in order:
        row = int(rows[i])
        says = f"{paths[row]}: {folded.y[i]}, taken for {first[i]}"
        if folded.probabilities is not None:
            says += f" with probability {sure[i]:.2f}"
        picture = "" if images is None else thumbnail(images, root, paths[row], store.columns.sha256[row].tobytes())
        shown = (
            f'<img src="{picture}" alt="{escape(says)}">'
            if picture
            else f'<span class="missing">{"there is no such file now" if images else "not shown"}</span>'
        )
        tiles.append(
            f"<figure>{shown}<figcaption><b>{escape(str(folded.y[i]))}</b> taken for "
            f"<b>{escape(str(first[i]))}</b>{f', {sure[i]:.2f}' if folded.probabilities is not None else ''}"
            f"<br><small>{escape(paths[row])}</small></figcaption></figure>"
        )
    hint = "" if images else " Pictures are shown if their folder is named: --images DIR, or images= in Python."
    note = f"{len(wrong)} of {len(first)} are wrong. The surest ones come first: often it is the label that is wrong."
    return f"<p class='note'>{note}{hint}</p><div class='tiles'>{''.join(tiles)}</div>"


def _ledger(store: FeatureStore) -> str:
    counts = ", ".join(f"{number} {status}" for status, number in store.ledger_counts.items())
    failed = store.ledger.where(FAILED)
    lines = "".join(f"<li>{escape(entry.path)}: {escape(entry.reason)}</li>" for entry in failed[:50])
    more = f"<li>and {len(failed) - 50} more, in the ledger</li>" if len(failed) > 50 else ""
    return f"<p>{escape(counts)}.</p>" + (f"<ul>{lines}{more}</ul>" if lines else "")


def _provenance(c: Comparison) -> str:
    lines = []
    for store in c.stores:
        space, made = store.space, store.provenance
        lines.append(
            f"<li><b>{escape(space.backbone)}</b>, layer {escape(space.layer)}, {space.dim} numbers in a row; "
            f"{escape(str(made.get('runtime', '')))}; {escape(str(made.get('source', '')))} "
            f"({escape(str(made.get('created', '')))}); store {escape(str(store.path))}</li>"
        )
    return f"<ul>{''.join(lines)}</ul>"
