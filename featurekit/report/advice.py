"""Advice as text, and as a part of the HTML page."""

from __future__ import annotations

from collections.abc import Iterator

from ..advisor import Advice
from ..advisor.result import FINE_TUNE, LABELS, NOTHING, SCRATCH, TRANSFER, UNSURE
from ..escapes import escape, printable
from .charts import growing

_HEADLINES = {
    TRANSFER: "Transfer: frozen features with a head on top",
    FINE_TUNE: "Fine-tune the network's upper stages",
    SCRATCH: "Train from scratch",
    LABELS: "More labels",
    NOTHING: "There is nothing to learn here",
    UNSURE: "Cannot tell",
}


def advice_text(advice: Advice) -> str:
    """Advice as text: the verdict, its reasons, costs, what was not tested, and the next command.

    Parameters
    ----------
    advice : Advice

    Returns
    -------
    str
    """
    lines = [f"{headline(advice)}.", "", *(f"- {reason}" for reason in advice.reasons)]
    if costs := _costs(advice):
        lines += ["", f"On this machine, roughly: {costs}."]
    if advice.evidence.untested:
        lines += ["", "Not tested:", *(f"- {each}" for each in advice.evidence.untested)]
    if advice.command:
        lines += ["", f"Next: {advice.command}"]
    lines.append(f"(This took {advice.seconds:.0f} s of {advice.budget:.0f}.)")
    return "\n".join(printable(line) for line in lines)


def headline(advice: Advice) -> str:
    """The verdict in a few words, and how sure it is."""
    headlines = dict(_HEADLINES)
    if advice.options.get("unfreeze") == "all":
        headlines[FINE_TUNE] = "Fine-tune the whole network"
    said = headlines[advice.verdict]
    if advice.do and advice.do != advice.verdict and advice.verdict != NOTHING:
        said += f"; meanwhile: {headlines[advice.do][0].lower()}{headlines[advice.do][1:]}"
    return f"{said} ({advice.sure})"


def advice_sections(advice: Advice) -> Iterator[str]:
    """Advice as parts of an HTML page."""
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in advice.reasons)
    yield f"<p><b>{escape(headline(advice))}.</b></p><ul>{reasons}</ul>"
    if advice.evidence.untested:
        untested = "".join(f"<li>{escape(each)}</li>" for each in advice.evidence.untested)
        yield f"<p>Not tested:</p><ul>{untested}</ul>"
    if costs := _costs(advice):
        yield f"<p class='note'>On this machine, roughly: {escape(costs)}.</p>"
    if advice.command:
        yield f"<p>Next: <code>{escape(advice.command)}</code></p>"
    growth, similar = advice.evidence.growth, advice.evidence.similarity
    if growth is not None and growth.points:
        drawn = growing(growth.points, "Learning curve of the frozen features")
        yield f"<figure><figcaption>Learning curve, three seeds</figcaption>{drawn}</figure>"
    if similar is not None and similar.shift:
        rows = "".join(
            f"<tr><th scope='row'>{escape(stage)}</th><td>{shift:.3f}</td></tr>"
            for stage, shift in similar.shift.items()
        )
        yield (
            "<figure><figcaption>Shift of the statistics of each stage against its source, in squared spreads"
            f"</figcaption><table>{rows}</table></figure>"
        )


def _costs(advice: Advice) -> str:
    said = []
    for way, minutes in advice.minutes.items():
        room = f", {advice.disk[way] / 1e6:.0f} MB" if way in advice.disk else ""
        said.append(f"{way} {minutes:.1f} minutes{room}")
    return "; ".join(said)
