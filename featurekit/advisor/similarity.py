"""How near images are to those that a network learned from, without these. Importing this imports torch.

Every BatchNorm layer of a pretrained network keeps the mean and the spread of its channels over the images that it
learned from. The same of new images, at the same places, give a distance for each stage.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..backbones import Backbone, Rows
from ..backbones.network import load_network
from ..errors import WeightsError
from ..finetune.pictures import Pictures, View
from ..fingerprint import OUTPUT, PENULTIMATE
from ..images import Item
from ..runtime import load_decoder
from .references import REFERENCES

IMAGES = 96
_BATCH = 16
_STEM, _TOP = "stem", "top"


@dataclass(frozen=True, slots=True)
class Similarity:
    """How near images are to the source.

    Attributes
    ----------
    shift : dict of str to float
        Of each stage: median over its BatchNorm layers of the mean over channels of ``((m' - m)^2 + (s' - s)^2) /
        s^2``, where m and s are what the layer stored, m' and s' those of these images. Empty without BatchNorm.
    probability, entropy : float or None
        Of the network's own classifier on these images: mean of the largest probability, and mean entropy in nats. None
        if it has no classifier, or the weights are without it.
    images : int
        Looked at.
    drawn : ndarray of int, shape (images,)
        Their numbers.
    probabilities : ndarray of float32, shape (images, source classes), or None
        What the classifier says of them.
    nearer_than : (int, int) or None
        Of so many data sets of known nearness, these images are nearer to the source than so many: ``(nearer, all)``.
    """

    shift: dict[str, float]
    probability: float | None
    entropy: float | None
    images: int
    nearer_than: tuple[int, int] | None
    drawn: NDArray[np.intp]
    probabilities: NDArray[np.float32] | None

    @property
    def distance(self) -> float | None:
        """One number: the mean over the stages of the square root of the shift."""
        return distance(self.shift)

    def sentence(self) -> str:
        """What it says."""
        if self.distance is None and self.probability is None:
            return "similarity to the source: not known, as this network has neither BatchNorm nor a classifier here"
        said = []
        if self.distance is not None:
            far = max(self.shift, key=lambda name: self.shift[name])
            said.append(f"statistics are {self.distance:.2f} spreads from those of the source, most of all in {far}")
        if self.probability is not None:
            said.append(f"its own classifier is sure of them by {self.probability:.2f} on average")
        if self.nearer_than is not None:
            nearer, every = self.nearer_than
            said.append(f"nearer to the source than {nearer} of {every} reference sets")
        return f"similarity to the source ({self.images} images): {'; '.join(said)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain Python objects, ready for JSON."""
        return {
            "shift": self.shift,
            "distance": self.distance,
            "probability": self.probability,
            "entropy": self.entropy,
            "images": self.images,
            "nearer_than": self.nearer_than,
        }


def distance(shift: dict[str, float]) -> float | None:
    """The mean over the stages of the square root of the shift; None if there is none."""
    return float(np.mean(np.sqrt(list(shift.values())))) if shift else None


def similarity(backbone: Backbone, items: Sequence[Item], *, seed: int = 0) -> Similarity:
    """Compare the statistics of images with those that a network stored.

    Parameters
    ----------
    backbone : Backbone
        From :func:`featurekit.backbones.find`.
    items : sequence of Item
        Images that can be read; at most 96 are drawn from them.
    seed : int
        Of the draw.

    Returns
    -------
    Similarity

    Raises
    ------
    ImageError
        If an image cannot be read.

    References
    ----------
    For another use of the stored statistics: H. Yin et al., "Dreaming to distill: data-free knowledge transfer via
    DeepInversion", 2020.

    Examples
    --------
    >>> from featurekit.backbones import find
    >>> from featurekit.images import items_from
    >>> noise = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    >>> found = similarity(find("efficientnet_lite0"), items_from(list(noise)))
    >>> list(found.shift)[:2], found.probability < 0.5
    (['stem', 'blocks.0'], True)
    """
    number = min(IMAGES, len(items))
    chosen = np.sort(np.random.default_rng(seed).choice(len(items), number, replace=False))
    drawn = [items[i] for i in chosen]
    network, classified = _with_classifier(backbone)
    norms = [(name, norm) for name, norm in network.named_modules() if getattr(norm, "running_var", None) is not None]
    sums: dict[str, list[Tensor]] = {}
    said: list[Tensor] = []
    pre = backbone.spec.preprocessing
    mean, std = (torch.tensor(values).mul(255).view(1, 3, 1, 1) for values in (pre.mean, pre.std))
    numbers = np.arange(number)
    batches = [(part, [View(pre)] * len(part)) for part in np.split(numbers, range(_BATCH, number, _BATCH))]
    with ExitStack() as stack, torch.no_grad():
        network.to(memory_format=torch.channels_last)
        for name, norm in norms:
            stack.callback(norm.register_forward_pre_hook(_adds_up(sums, name)).remove)
        pictures = stack.enter_context(Pictures(drawn, load_decoder(backbone.decoder, "cpu")))
        for pixels in pictures.batches(batches):
            images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float()
            said.append(network((images - mean) / std))
    shifts = {name: _shift(sums[name], norm) for name, norm in norms if name in sums}
    probability = entropy = likely = None
    if classified:
        logs = functional.log_softmax(torch.cat(said).flatten(1).float(), dim=1)
        likely = logs.exp().numpy()
        probability = float(likely.max(axis=1).mean())
        entropy = float(-(logs.exp() * logs).sum(1).mean())
    by_stage = _by_stage(shifts, backbone.spec.stages)
    place = _place(backbone.spec.name, distance(by_stage))
    return Similarity(by_stage, probability, entropy, number, place, chosen, likely)


def _with_classifier(backbone: Backbone) -> tuple[nn.Module, bool]:
    """The network, with its classifier if the weights hold it."""
    spec = backbone.spec
    if spec.classifier and backbone.module is None:
        try:
            return load_network(replace(backbone, rows=Rows(OUTPUT, 1))), True
        except WeightsError:
            pass
    return load_network(replace(backbone, rows=Rows(PENULTIMATE, spec.dim()))), False


def _adds_up(sums: dict[str, list[Tensor]], name: str) -> Any:
    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].detach().transpose(0, 1).flatten(1).double()
        new = [torch.tensor(float(values.shape[1])), values.sum(1), values.square().sum(1)]
        sums[name] = new if name not in sums else [a + b for a, b in zip(sums[name], new, strict=True)]

    return note


def _shift(sums: list[Tensor], norm: Any) -> float:
    count, total, squares = sums
    mean = total / count
    spread = (squares / count - mean**2).clamp(min=0).sqrt()
    stored, variance = norm.running_mean.double(), norm.running_var.double()
    alive = variance > 1e-8  # a channel that never varied says nothing
    if not alive.any():
        return 0.0
    change = (mean - stored) ** 2 + (spread - variance.sqrt()) ** 2
    return float((change[alive] / variance[alive]).mean())


def _by_stage(shifts: dict[str, float], stages: Sequence[str]) -> dict[str, float]:
    """The median of the layers of each stage; what comes before the first is the stem, what follows is the top."""
    parts: dict[str, list[float]] = defaultdict(list)
    reached = _STEM
    for name, shift in shifts.items():
        own = next((stage for stage in stages if name.startswith(f"{stage}.")), None)
        if own is None and reached != _STEM:
            own = _TOP
        reached = own or reached
        parts[reached].append(shift)
    return {stage: float(np.median(values)) for stage, values in parts.items()}


def _place(name: str, far: float | None) -> tuple[int, int] | None:
    known: NDArray[np.float64] = np.array(REFERENCES.get(name, []))
    if far is None or not len(known):
        return None
    return int((known > far).sum()), len(known)
