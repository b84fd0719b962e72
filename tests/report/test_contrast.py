"""Shaded cells can be read, whatever their share: WCAG AA asks for a contrast of 4.5."""

from __future__ import annotations

import re

import pytest

from featurekit.report.style import STYLE


def luminance(color):
    parts = [value / 255 for value in color]
    parts = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def from_hex(text):
    text = text if len(text) == 6 else "".join(2 * digit for digit in text)
    return [int(text[i : i + 2], 16) for i in (0, 2, 4)]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_a_full_cell_of_a_heat_map_can_be_read(theme):
    page, text = (from_hex(re.findall(rf"--{name}: #(\w+)", STYLE)[theme]) for name in ("page", "text"))
    heat = [int(value) for value in re.findall(r"--heat: (\d+), (\d+), (\d+)", STYLE)[theme]]
    share = float(re.search(r"var\(--v, 0%\) \* ([.\d]+)", STYLE)[1])
    ground = [share * a + (1 - share) * b for a, b in zip(heat, page, strict=True)]
    low, high = sorted(map(luminance, (text, ground)))
    assert (high + 0.05) / (low + 0.05) >= 4.5
