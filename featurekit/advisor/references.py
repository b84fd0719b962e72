"""Distances of known data sets from ImageNet, by network: what a distance is compared with.

Made by ``python tests/benchmarks/advisor_references.py``.
"""

from __future__ import annotations

REFERENCES: dict[str, tuple[float, ...]] = {}
