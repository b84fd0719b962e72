"""Every classification model of torchvision and a model of each family of timm, with random weights: do they work?

    python tests/benchmarks/every_backbone.py [torchvision|timm|both] [--per-family 1] [--most-parameters 700]

Each is described, built with random weights, saved, found by that file as a user's own, and run in eval mode: rows of
the penultimate layer and of three stages in one pass must have the promised lengths, be finite, and be equal the second
time. Of timm's families (its modules) the smallest models that fit are taken, of small images where they can be given.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bench

SMALL = 96


def timm_models(per_family: int) -> list[str]:
    """The smallest of the first five models of each family."""
    import timm

    from featurekit.backbones.libraries import build, timm_facts

    chosen = []
    for family in timm.list_modules():
        sizes = []
        for name in timm.list_models(module=family):
            try:
                network = build(timm_facts(f"timm/{name}", None), weightless=True)
            except Exception as error:
                print(f"  {family}: {name}: {error}"[:150])
                continue
            sizes.append((sum(parameter.numel() for parameter in network.parameters()), name))
            if len(sizes) >= 5:  # enough to find a small one
                break
        chosen += [f"timm/{name}" for _, name in sorted(sizes)[:per_family]]
    return chosen


def tried(name: str, folder: Path, most: float) -> dict[str, Any]:
    """A row of the table."""
    import torch

    from featurekit.backbones import anatomy, describe, find
    from featurekit.backbones.libraries import build
    from featurekit.backbones.network import LayerRows, load_network

    started = time.perf_counter()
    row: dict[str, Any] = {"model": name, "d": "", "stages": "", "layers": "", "pixels": "", "result": "", "s": 0.0}
    try:
        spec = describe(name)
        row |= {"d": spec.dim(), "stages": len(spec.stages), "layers": len(anatomy(spec).usable)}
        if spec.parameters > most * 1e6:
            return row | {"result": f"described; {spec.parameters / 1e6:.0f} M parameters, not run"}
        torch.manual_seed(0)
        file = folder / "w.pth"
        torch.save(build(spec).state_dict(), file)
        backbone, size = _sized(name, file)
        row["pixels"] = size
        stages = [*spec.stages[:1], *spec.stages[len(spec.stages) // 2 :][:1], *spec.stages[-1:]]
        wanted = [
            backbone.rows,
            *(find(name, file, layer=stage, image_size=size).rows for stage in dict.fromkeys(stages)),
        ]
        network = LayerRows(load_network(backbone), wanted).eval()
        images = torch.rand(2, 3, size, size)
        with torch.inference_mode():
            first, second = network(images), network(images)
        problems = [
            text
            for text, wrong in (
                (f"rows of {tuple(first.shape)}", first.shape != (2, sum(each.dim for each in wanted))),
                ("not finite", not torch.isfinite(first).all()),
                ("not the same twice", not torch.equal(first, second)),
                ("equal for two images", bool(torch.equal(first[0], first[1]))),
            )
            if wrong
        ]
        row["result"] = "; ".join(problems) or "good"
    except Exception as error:
        row["result"] = f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]
    return row | {"s": time.perf_counter() - started}


def _sized(name: str, file: Path) -> tuple[Any, int]:
    """The backbone for small images; where it does not take them, for those it was trained on."""
    from featurekit.backbones import anatomy, find
    from featurekit.errors import BackboneError

    usual = find(name, file)
    try:
        small = find(name, file, image_size=SMALL)
        anatomy(small.spec)
        return small, SMALL
    except BackboneError:
        return usual, usual.preprocessing.crop


def main(arguments: Sequence[str] | None = None) -> None:
    """Try and print."""
    parser = bench.parser(__doc__, images=2, repeats=1)
    parser.add_argument("library", nargs="?", default="both", choices=("torchvision", "timm", "both"))
    parser.add_argument("--per-family", type=int, default=1)
    parser.add_argument(
        "--most-parameters", type=float, default=700, help="in millions: larger ones are described only"
    )
    options = parser.parse_args(arguments)
    from featurekit.backbones.libraries import torchvision_names

    names = torchvision_names() if options.library != "timm" else []
    if options.library != "torchvision":
        names += timm_models(options.per_family)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            rows.append(tried(name, Path(folder), options.most_parameters))
            print(rows[-1], flush=True)
    good = sum(row["result"] == "good" for row in rows)
    report = bench.Report("every-backbone")
    report.table(f"{good} of {len(rows)} good", rows)
    report.write(options.out)


if __name__ == "__main__":
    main()
