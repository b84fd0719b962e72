"""What a network is made of, as text and as a picture."""

from __future__ import annotations

import os
from pathlib import Path

from ..backbones import Anatomy, BackboneSpec, Layer
from .figures import save_picture
from .text import table


def anatomy_text(spec: BackboneSpec, anatomy: Anatomy, *, all_layers: bool = False, first_trained: int = 0) -> str:
    """A table of the stages, or of all layers, as a textbook draws a network.

    Parameters
    ----------
    spec : BackboneSpec
    anatomy : Anatomy
        Of it.
    all_layers : bool
        Every layer, not the stages only.
    first_trained : int
        The lowest stage that fine-tuning would train.
    """
    trained = {stage.name for stage in anatomy.stages[first_trained:]}
    rows = [["input", "image", f"3 x {anatomy.side} x {anatomy.side}", "", "", "1", "1", ""]]
    if all_layers:
        inside = [layer for layer in anatomy.layers if layer.layout]
        rows += [_row(layer, "trains" if _within(layer.name, trained) else "frozen") for layer in inside]
    else:
        rows += [_row(stage, "trains" if stage.name in trained else "frozen") for stage in anatomy.stages]
        rows.append(["rest", "stem, pooling, norms", "", *_rest(spec, anatomy), "", "", ""])
    rows.append(["penultimate", "the features", str(spec.dim()), "", "", "all", "", ""])
    rows += [_classifier_row(anatomy, name) for name in spec.classifier if anatomy.layer(name) is not None]
    header = [
        "layer",
        "kind",
        "output",
        "parameters",
        "multiply-adds",
        "sees",
        "stride",
        f"unfreeze={_k(anatomy, first_trained)}",
    ]
    share = sum(stage.parameters for stage in anatomy.stages[first_trained:])
    costs, k = _costs(anatomy), _k(anatomy, first_trained)
    return (
        f"{table(header, rows, left=3)}\n\n"
        f"{costs} for an image. {_features(spec, anatomy)}; {_said(spec.classifier)}.\n"
        f"Fine-tuning with unfreeze={k} trains {_said_stages(trained, anatomy)}, {share / 1e6:.2f} M "
        "parameters, beside the new last layer; of the rest, what lies below a stage trains with that, what lies above "
        "the last with the last.\n"
        "sees: pixels of the image that a place of the output depends on (receptive field; all: the whole image);\n"
        "stride: pixels between two places."
    )


def _features(spec: BackboneSpec, anatomy: Anatomy) -> str:
    if not anatomy.stages:
        return f"Features: the penultimate layer, {spec.dim()} numbers"
    layers = anatomy.stages if anatomy.stem is None else (anatomy.stem, *anatomy.stages)
    whole = sum(layer.channels for layer in layers)
    return f"Features: the stem and all stages, {whole} numbers (the penultimate layer alone has {spec.dim()})"


def _row(layer: Layer, trains: str) -> list[str]:
    return [
        layer.name,
        layer.kind,
        " x ".join(map(str, layer.shape)),
        f"{layer.parameters:,}",
        _amount(layer.multiply_adds),
        "all" if layer.field is None else str(layer.field),
        "" if layer.stride is None else str(layer.stride),
        trains,
    ]


def _rest(spec: BackboneSpec, anatomy: Anatomy) -> list[str]:
    """Parameters and multiply-adds of what is neither a stage nor the classifier."""
    counted = [*anatomy.stages, *(layer for name in spec.classifier if (layer := anatomy.layer(name)) is not None)]
    parameters = anatomy.parameters - sum(layer.parameters for layer in counted)
    return [f"{parameters:,}", _amount(anatomy.multiply_adds - sum(layer.multiply_adds for layer in counted))]


def _classifier_row(anatomy: Anatomy, name: str) -> list[str]:
    layer = anatomy.layer(name)
    assert layer is not None
    shape = " x ".join(map(str, layer.shape))
    return [
        name,
        f"{layer.kind}, classifier",
        shape,
        f"{layer.parameters:,}",
        _amount(layer.multiply_adds),
        "all",
        "",
        "removed",
    ]


def _within(name: str, stages: set[str]) -> bool:
    return any(name == stage or name.startswith(f"{stage}.") for stage in stages)


def _k(anatomy: Anatomy, first_trained: int) -> str:
    return "all" if first_trained == 0 else str(len(anatomy.stages) - first_trained)


def _said(classifier: tuple[str, ...]) -> str:
    return f"{' and '.join(classifier)}, which follows, is removed" if classifier else "there is no classifier"


def _said_stages(trained: set[str], anatomy: Anatomy) -> str:
    names = [stage.name for stage in anatomy.stages if stage.name in trained]
    if len(names) == len(anatomy.stages):
        return "the whole network"
    if len(names) > 3:
        return f"{names[0]} to {names[-1]}"
    return " and ".join(names) or "no stage"


def _costs(anatomy: Anatomy) -> str:
    return f"{anatomy.parameters / 1e6:.1f} M parameters, {anatomy.multiply_adds / 1e9:.2f} G multiply-adds"


def _amount(number: int) -> str:
    return f"{number / 1e6:,.1f} M"


def draw_anatomy(spec: BackboneSpec, anatomy: Anatomy, path: str | os.PathLike[str]) -> Path:
    """Draw a network as a textbook does: maps that become smaller and deeper, from the image to the classifier.

    Parameters
    ----------
    spec : BackboneSpec
    anatomy : Anatomy
        Of it.
    path : path
        The file; its ending (``.png``, ``.svg``, ``.pdf``) decides the format.

    Returns
    -------
    Path

    Raises
    ------
    FeaturekitError
        If the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stages = anatomy.stages
    figure = Figure(figsize=(2.4 + 0.95 * (len(stages) + 3), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    boxes = [("image", f"3 x {anatomy.side} x {anatomy.side}", 1.0, 0.08, "#bbbbbb")]
    deepest = max([stage.channels for stage in stages], default=1)
    for stage in stages:
        side = (stage.stride or anatomy.side / 14) ** -0.35
        boxes.append(
            (stage.name, " x ".join(map(str, stage.shape)), side, 0.08 + 0.5 * stage.channels / deepest, "#4c78a8")
        )
    boxes.append(("penultimate", str(spec.dim()), 0.5, 0.06, "#f58518"))
    boxes += [(name, f"{anatomy.output[-1]}\nremoved", 0.4, 0.06, "#dddddd") for name in spec.classifier[:1]]
    for number, (name, shape, height, width, colour) in enumerate(boxes):
        axes.barh(0, width, height, number - width / 2, color=colour, edgecolor="black", linewidth=0.5)
        axes.text(number, -height / 2 - 0.04, f"{name}\n{shape}", ha="right", va="top", fontsize=8, rotation=35)
    axes.set_xlim(-0.6, len(boxes) - 0.4)
    axes.set_ylim(-1.0, 0.6)
    axes.axis("off")
    axes.set_title(
        f"{spec.name}: {_costs(anatomy)}. Height: resolution; width: channels",
        fontsize=9,
    )
    return save_picture(figure, path)
