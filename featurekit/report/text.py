"""Results as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..bootstrap import interval_text, points_text, range_text
from ..comparison import Comparison
from ..escapes import printable
from ..metrics import Evaluation
from ..target_metrics import LabelEvaluation, NumberEvaluation
from .order import natural_order, short_forms

_WIDEST_MATRIX = 25
_WIDTH, _NARROWEST = 100, 4  # characters of a line, and of the name over a column


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """Align columns with spaces: the first `left` to the left, numbers after them to the right.

    Examples
    --------
    >>> print(table(["class", "n"], [["cat", "12"], ["dog", "7"]]))
    class   n
    cat    12
    dog     7
    """
    lines = [[printable(cell) for cell in line] for line in (header, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def evaluation_text(evaluation: Evaluation | LabelEvaluation | NumberEvaluation) -> str:
    """An evaluation as text: the scores; a line for each class or label; of classes, the confusion matrix."""
    if isinstance(evaluation, NumberEvaluation):
        scores = _with_intervals(evaluation, "r2", "mean_absolute_error", "root_mean_squared_error")
        return scores + _note(evaluation.interval_note)
    if isinstance(evaluation, LabelEvaluation):
        return _labels_text(evaluation)
    e = evaluation
    scores = (
        f"accuracy           {e.accuracy:.4f}  ({interval_text(e.low, e.high)}, n = {e.n})\n"
        f"balanced accuracy  {e.balanced_accuracy:.4f}\n"
        f"macro F1           {e.macro_f1:.4f}\n"
        f"commonest class    {max(c.support for c in e.per_class) / e.n:.4f}  (the accuracy of naming it always)"
    )
    if e.log_loss is not None:
        scores += (
            f"\ntop-{e.top_k} accuracy     {e.top_k_accuracy:.4f}\n"
            f"log loss           {e.log_loss:.4f}\n"
            f"calibration error  {e.calibration_error:.4f}"
        )
    if (a := e.abstention) is not None:
        scores += f"\nanswered           {a.answered:.4f}  (abstained where the probability is below {a.below:g})"
        if a.accuracy is not None:
            scores += f"\n  accuracy there   {a.accuracy:.4f}  ({interval_text(a.low, a.high)})"
    scores += _note(e.interval_note)
    order = natural_order(e.classes)
    per_class = table(
        ["class", "precision", "recall", "F1", "images"],
        [
            [c.label, f"{c.precision:.3f}", f"{c.recall:.3f}", f"{c.f1:.3f}", str(c.support)]
            for c in (e.per_class[i] for i in order)
        ],
    )
    if len(e.classes) > _WIDEST_MATRIX:
        wide = f"(the confusion matrix of {len(e.classes)} classes is too wide for text; draw it as a picture)"
        return f"{scores}\n\n{per_class}\n\n{wide}"
    return f"{scores}\n\n{per_class}\n\n{_matrix_text(e, order)}"


def _matrix_text(e: Evaluation, order: Sequence[int]) -> str:
    """The confusion matrix; long names of classes are cut over the columns, so that it fits a terminal."""
    names = [printable(e.classes[i]) for i in order]
    first = max(len("true \\ predicted"), *map(len, names))
    width = min(max((_WIDTH - first) // len(names) - 2, _NARROWEST), max(map(len, names)))
    header = ["true \\ predicted", *short_forms(names, max(width, _NARROWEST))]
    return table(header, [[e.classes[i], *(str(e.confusion_matrix[i][j]) for j in order)] for i in order])


def _labels_text(e: LabelEvaluation) -> str:
    scores = _with_intervals(e, "exact_match", "label_accuracy", "micro_f1", "macro_f1", "log_loss")
    if e.mean_average_precision is not None:
        scores += f"\nmean average precision   {e.mean_average_precision:.4f}"
    scores += _note(e.interval_note)
    per_label = table(
        ["label", "precision", "recall", "F1", "average precision", "images"],
        [
            [
                label.label,
                f"{label.precision:.3f}",
                f"{label.recall:.3f}",
                f"{label.f1:.3f}",
                "" if label.average_precision is None else f"{label.average_precision:.3f}",
                str(label.support),
            ]
            for label in e.per_label
        ],
    )
    return f"{scores}\n\n{per_label}"


def _with_intervals(e: LabelEvaluation | NumberEvaluation, *names: str) -> str:
    lines = []
    for name in names:
        if (value := getattr(e, name)) is not None:
            low, high = e.intervals[name]
            said = name.replace("_", " ").replace("r2", "R squared")
            lines.append(f"{said:24} {value:.4f}  ({interval_text(low, high)})")
    return "\n".join([f"images                   {e.n}", *lines])


def _note(said: str) -> str:
    """A line of its own for what is to be said of intervals."""
    return f"\n{said}" if said else ""


def comparison_text(comparison: Comparison) -> str:
    """A comparison as text: the table, the best first, and what can be told apart."""
    c, several = comparison, len({line.features for line in comparison.results})
    lines = []
    for line in c.results:
        e, (difference, low, high) = line.evaluation, line.difference
        lines.append(
            [
                line.features,
                line.head,
                f"{e.accuracy:.3f}",
                range_text(e.low, e.high, ".3f"),
                "" if line is c.best else f"{100 * difference:+.1f} ({points_text(low, high)})",
                f"{e.macro_f1:.3f}",
                "" if e.log_loss is None else f"{e.log_loss:.3f}",
                "" if e.calibration_error is None else f"{e.calibration_error:.3f}",
                f"{line.folded.fit_seconds:.1f} s",
                f"{1e6 * line.folded.predict_seconds:.0f} us",
                str(line.dim),
            ]
        )
    header = ["features", "head", "accuracy", "95% interval", "minus best", "macro F1", "log loss", "calibration"]
    text = table([*header, "fit", "predict", "d"], lines, left=2)
    drawn = f", drawn {c.repeats} times" if c.repeats > 1 else ""
    text += (
        f"\n\n{c.n} images, {c.folds} folds{drawn}, the same for every line. Differences are paired, in points of "
        "accuracy; fit: of one fold; predict: of one row."
    )
    text += _note(c.best.evaluation.interval_note)
    for features, head, reason in c.failures:
        text += f"\nNot there: {features} {head}: {printable(reason)}"
    if c.groups.notable:
        text += f"\n{c.groups.sentence()}."
    if len(c.results) > 1:
        equal = ", ".join(f"{line.features} {line.head}" if several > 1 else line.head for line in c.equals)
        text += (
            f"\nNot to be told apart from the best: {equal}." if equal else "\nThe best is ahead of all others."
        ) + (
            f" (Each pair by itself: of {len(c.results)} lines some seem apart by chance. The best is the best of "
            f"{len(c.results)}, so its score is a little too good.)"
        )
    counts = [score.support for score in c.best.evaluation.per_class]
    text += f"\nTo name the commonest class always would be {max(counts) / sum(counts):.3f}."
    return text


def failures_text(failures: Sequence[tuple[str, str]], limit: int = 20) -> str:
    """Paths and reasons, one a line, at most `limit` of them."""
    lines = [f"  {printable(path)}: {printable(reason)}" for path, reason in failures[:limit]]
    if len(failures) > limit:
        lines.append(f"  ... and {len(failures) - limit} more; all are in the ledger")
    return "\n".join(lines)
