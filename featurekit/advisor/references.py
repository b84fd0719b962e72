"""Distances of known data sets from ImageNet, by network: what a distance is compared with.

Made by ``python tests/benchmarks/advisor_references.py``.
"""

from __future__ import annotations

REFERENCES: dict[str, tuple[float, ...]] = {
    "efficientnet_lite0": (
        0.278,  # clothing
        0.391,  # clothing-grey
        0.560,  # signs
        0.660,  # clothing-blur
        0.750,  # digits
        0.770,  # signs-blur
        0.864,  # noise
    ),
}
