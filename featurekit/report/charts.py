"""Charts as SVG, in colours of the page's theme: they scale, need no script, and say in words what they show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..escapes import escape

_WIDTH, _HEIGHT = 360, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 10, 40


class Point(NamedTuple):
    """A point, its interval, what is said of it, and the number of its colour."""

    x: float
    y: float
    low: float
    high: float
    title: str
    colour: int = 0


class Axes:
    """A frame with ticks; x may be logarithmic. Marks are added, and the whole is drawn at the end."""

    def __init__(
        self, xs: Sequence[float], ys: Sequence[float], xlabel: str, ylabel: str, *, logarithmic: bool = False
    ) -> None:
        self._log = logarithmic
        self._x = _range([math.log10(x) for x in xs] if logarithmic else xs)
        self._y = _range(ys)
        self._xlabel, self._ylabel = xlabel, ylabel
        self._marks: list[str] = []

    def across(self, x: float) -> float:
        """Where a value lies, in units of the picture."""
        low, high = self._x
        return _LEFT + ((math.log10(x) if self._log else x) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def down(self, y: float) -> float:
        """Where a value lies, in units of the picture."""
        low, high = self._y
        return _HEIGHT - _BOTTOM - (y - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    def points(self, points: Iterable[Point]) -> None:
        """Dots with their intervals."""
        for p in points:
            x, y, low, high = self.across(p.x), self.down(p.y), self.down(p.low), self.down(p.high)
            self._marks.append(
                f'<g class="c{p.colour % 6}"><line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{escape(p.title)}</title></circle></g>'
            )

    def line(self, xs: Sequence[float], ys: Sequence[float], kind: str = "c0") -> None:
        """A line through points."""
        places = " ".join(f"{self.across(x):.1f},{self.down(y):.1f}" for x, y in zip(xs, ys, strict=True))
        self._marks.append(f'<polyline class="{kind}" points="{places}"/>')

    def draw(self, alternative: str) -> str:
        """The SVG; `alternative` says in words what it shows."""
        parts = []
        for value in _ticks(*self._y):
            y = self.down(value)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{_number(value)}</text>')
        for at in _powers(*self._x) if self._log else _ticks(*self._x):
            x = self.across(at)
            parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{_number(at)}</text>')
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        parts.append(
            f'<text x="{middle:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(self._xlabel)}</text>'
            f'<text transform="translate(11 {(_HEIGHT - _BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle">'
            f"{escape(self._ylabel)}</text>"
        )
        return (
            f'<svg role="img" aria-label="{escape(alternative)}" viewBox="0 0 {_WIDTH} {_HEIGHT}">'
            f"{''.join(parts)}{''.join(self._marks)}</svg>"
        )


def interval_or_point(y: float, low: float | None, high: float | None) -> tuple[float, float]:
    """The ends of an interval, or the point itself where there is none."""
    return y if low is None else low, y if high is None else high


def growing(curve: Iterable[tuple[float, float, float | None, float | None]], said: str) -> str:
    """A learning curve: rows, accuracy and its interval; `said` is what it is, in words."""
    points = [
        Point(rows, accuracy, *interval_or_point(accuracy, low, high), f"{rows:.0f} images: {accuracy:.3f}")
        for rows, accuracy, low, high in curve
    ]
    ends = [value for p in points for value in (p.low, p.high)]
    axes = Axes([p.x for p in points], ends, "training images", "accuracy", logarithmic=True)
    axes.line([p.x for p in points], [p.y for p in points])
    axes.points(points)
    return axes.draw(f"{said}. " + "; ".join(p.title for p in points))


def bars(named: Sequence[tuple[str, float, float | None, float | None]], said: str) -> str:
    """A horizontal bar for each name and value, with its interval; `said` is what they are, in words."""
    left, right, step = min(210, 14 + 6.2 * max(len(name) for name, *_ in named)), 52, 24
    ends = [0.0, *(end for _, value, low, high in named for end in interval_or_point(value, low, high))]
    smallest, largest = min(ends), max(ends)
    span = (largest - smallest) or 1.0

    def across(value: float) -> float:
        return left + (value - smallest) / span * (_WIDTH - left - right)

    marks = []
    for number, (name, value, low, high) in enumerate(named):
        middle = step * number + step / 2
        begin, end = sorted((across(0), across(value)))
        width = max(end - begin, 1)
        first, last = (across(each) for each in interval_or_point(value, low, high))
        marks.append(
            f'<text x="{left - 6}" y="{middle + 4:.0f}" text-anchor="end">{escape(name)}</text>'
            f'<g class="c0"><rect x="{begin:.1f}" y="{middle - 7:.0f}" width="{width:.1f}" height="14"/></g>'
            f'<g class="c1"><line x1="{first:.1f}" x2="{last:.1f}" y1="{middle:.0f}" y2="{middle:.0f}"/></g>'
            f'<text x="{_WIDTH - right + 6}" y="{middle + 4:.0f}">{100 * value:+.1f}</text>'
        )
    words = "; ".join(f"{name}: {100 * value:+.1f}" for name, value, _, _ in named)
    return (
        f'<svg role="img" aria-label="{escape(f"{said}. {words}")}" viewBox="0 0 {_WIDTH} {step * len(named) + 4}">'
        f"{''.join(marks)}</svg>"
    )


def heat_map(rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[float | None]], text: str) -> str:
    """A table whose cells are shaded by their value, 0 to 1; None is left empty. `text` formats a value."""
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in columns)
    body = []
    for name, line in zip(rows, cells, strict=True):
        shaded = "".join(
            "<td></td>"
            if value is None
            else f'<td style="--v:{100 * min(max(value, 0), 1):.0f}%">{escape(format(value, text))}</td>'
            for value in line
        )
        body.append(f'<tr><th scope="row">{escape(name)}</th>{shaded}</tr>')
    return f'<table class="heat"><thead><tr><td></td>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 0.1
    return low - margin, high + margin


def _ticks(low: float, high: float, number: int = 5) -> list[float]:
    """Round values between the ends."""
    rough = (high - low) / number
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    first = math.ceil(low / step)
    return [round(step * i, 10) for i in range(first, math.floor(high / step) + 1)]


def _powers(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between the ends, which are logarithms; not more than fit."""
    found = [f * 10.0**e for e in range(math.floor(low), math.floor(high) + 1) for f in (1, 2, 5)]
    inside = [value for value in found if low <= math.log10(value) <= high]
    if len(inside) < 2:
        return _ticks(10**low, 10**high, 3)
    return inside if len(inside) <= 6 else [value for value in inside if math.log10(value) % 1 < 1e-9]


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
