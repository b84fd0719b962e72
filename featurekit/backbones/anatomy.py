"""What a network is made of: its layers with shapes and costs, and the stages they form. No torch in here."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

LAYOUTS = ("map", "map-last", "tokens", "vector")
"""(channels, height, width); (height, width, channels); (tokens, channels); (length,)."""

# A container that does so much of the work is the trunk, and its children are the stages.
_MOST_OF_IT = 0.75


@dataclass(frozen=True, slots=True)
class Layer:
    """A module of a network, as it ran.

    Attributes
    ----------
    name, kind : str
        Of the module, and of its class.
    shape : tuple of int
        Of its output, of one image; empty if that is no single tensor of one entry an image.
    layout : str
        How the shape is to be read: one of `LAYOUTS`, or empty.
    prefix : int
        Of tokens, those that come before the tokens of the image's places.
    parameters, multiply_adds : int
        Of it with all modules in it.
    field : int or None
        Pixels that a place of its output sees (the theoretical receptive field); None where a place sees the whole
        image, or there are no places. What squeeze-and-excitation sees beside is not counted.
    stride : int or None
        Pixels from a place to the next.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    layout: str
    prefix: int
    parameters: int
    multiply_adds: int
    field: int | None
    stride: int | None

    @property
    def channels(self) -> int:
        """Length of the row of a place."""
        return self.shape[0] if self.layout in {"map", "vector"} else self.shape[-1]


@dataclass(frozen=True, slots=True)
class Anatomy:
    """All layers of a network.

    Attributes
    ----------
    side : int
        Pixels of a side of the images.
    layers : tuple of Layer
        In the order in which they run, a container before what is in it.
    classifier : str
        Name of the last layer, which is removed; empty if there is none.
    parameters, multiply_adds : int
        Of all.
    output : tuple of int
        Shape of what the whole network puts out for an image.
    """

    side: int
    layers: tuple[Layer, ...]
    classifier: str
    parameters: int
    multiply_adds: int
    output: tuple[int, ...]

    def layer(self, name: str) -> Layer | None:
        """The layer of this name."""
        return next((layer for layer in self.layers if layer.name == name), None)

    @property
    def usable(self) -> list[str]:
        """Names of the layers that rows can be taken of."""
        return [layer.name for layer in self.layers if layer.layout]

    def near(self, name: str, n: int = 5) -> list[str]:
        """The usable names that look most like one that does not exist."""
        return difflib.get_close_matches(name, self.usable, n=n, cutoff=0.4)

    @property
    def stages(self) -> tuple[Layer, ...]:
        """The parts of the trunk, one after the other: where there are blocks these, else single layers with weights.

        The trunk is the network itself, or, as long as one container does most of the work, that.
        """
        trunk, children = "", self._children("")
        while children:
            largest = max(children, key=lambda layer: layer.multiply_adds)
            within = self._children(largest.name)
            if not within or largest.multiply_adds < _MOST_OF_IT * self._work(trunk):
                break
            if not any(self._is_place(layer) for layer in within):
                break
            trunk, children = largest.name, within
        trained = [layer for layer in children if layer.parameters and self._is_place(layer)]
        blocks = [layer for layer in trained if self._children(layer.name)]
        return tuple(blocks or trained)

    @property
    def stem(self) -> Layer | None:
        """The layer whose output the first stage reads; None where that is the image itself."""
        if not self.stages:
            return None
        first = self.stages[0]
        before = [
            layer
            for layer in self.layers[: self.layers.index(first)]
            if layer.layout in {"map", "map-last", "tokens"} and not first.name.startswith(f"{layer.name}.")
        ]
        if not before:
            return None
        last = before[-1].name
        return next(layer for layer in before if last == layer.name or last.startswith(f"{layer.name}."))

    def with_classes(self, classifiers: Sequence[str], classes: int) -> Self:
        """Return the same network with another number of classes.

        Parameters
        ----------
        classifiers : sequence of str
            Names of its last layers.
        classes : int
            0: without these layers.
        """
        old = {name: layer for name in classifiers if (layer := self.layer(name)) is not None}
        if not old:
            return self

        def scaled(amount: int, layer: Layer) -> int:
            return amount * classes // layer.channels

        def change(what: str, inside: str = "") -> int:
            within = [layer for name, layer in old.items() if not inside or name.startswith(f"{inside}.")]
            return sum(scaled(getattr(layer, what), layer) - getattr(layer, what) for layer in within)

        top = min(self.layers.index(layer) for layer in old.values())
        layers = []
        for number, layer in enumerate(self.layers):
            after = number >= top or any(name.startswith(f"{layer.name}.") for name in old)
            shape = layer.shape
            if after and shape and shape[0] == self.output[0]:
                shape = (classes, *shape[1:])
                if not classes:
                    continue
            costs = [
                scaled(getattr(layer, what), layer)
                if layer.name in old
                else getattr(layer, what) + change(what, layer.name)
                for what in ("parameters", "multiply_adds")
            ]
            layers.append(replace(layer, shape=shape, parameters=costs[0], multiply_adds=costs[1]))
        return replace(
            self,
            layers=tuple(layers),
            classifier=self.classifier if classes else "",
            parameters=self.parameters + change("parameters"),
            multiply_adds=self.multiply_adds + change("multiply_adds"),
            output=(classes, *self.output[1:]) if classes else (),
        )

    def _work(self, name: str) -> int:
        layer = self.layer(name)
        return self.multiply_adds if layer is None else layer.multiply_adds

    def _children(self, name: str) -> list[Layer]:
        start = f"{name}." if name else ""
        inner = [layer for layer in self.layers if layer.name.startswith(start)]
        direct = {start + layer.name[len(start) :].partition(".")[0] for layer in inner}
        ran = [layer for layer in inner if layer.name in direct]
        # A list of modules does not run by itself: its parts count as children.
        silent = direct - {layer.name for layer in ran}
        more = [child for each in sorted(silent) for child in self._children(each)]
        return sorted([*ran, *more], key=self.layers.index)

    def _is_place(self, layer: Layer) -> bool:
        """Whether it lies before the image becomes one vector."""
        return layer.layout in {"map", "map-last", "tokens"} and not self._is_top(layer.name)

    def _is_top(self, name: str) -> bool:
        return bool(self.classifier) and (name == self.classifier or self.classifier.startswith(f"{name}."))

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote."""
        layers = tuple(Layer(**(layer | {"shape": tuple(layer["shape"])})) for layer in data["layers"])
        return cls(**(data | {"layers": layers, "output": tuple(data["output"])}))
