"""How a network is trained: every part an option. No torch in here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..errors import TrainingError

AUGMENTS = ("none", "flip", "light", "trivial", "rand")
"""What is done to training images; the first three are fixed views, which a trunk cache can hold."""

VIEWS = {"none": 1, "flip": 2, "light": 4}
_CHOICES: dict[str, tuple[Any, ...]] = {
    "augment": AUGMENTS,
    "mix": (None, "mixup", "cutmix"),
    "balance": (None, "weights", "sampling"),
    "average": (None, "ema", "mean"),
    "batch_norm": ("frozen", "trained"),
    "precision": ("fp32", "bf16", "fp16"),
    "trunk_cache": ("auto", "on", "off"),
    "head_start": ("fitted", "random"),
}
_AT_LEAST: dict[str, tuple[float, bool]] = {  # the bound, and whether it is allowed itself
    "epochs": (1, True),
    "batch_size": (2, True),
    "learning_rate": (0, False),
    "stage_decay": (1, True),
    "warm_up": (0, True),
    "weight_decay": (0, True),
    "label_smoothing": (0, True),
    "clip": (0, False),
    "accumulate": (1, True),
    "patience": (1, True),
    "gradual": (0, True),
    "damp": (0, False),
    "seed": (0, True),
}
_WHOLE = frozenset({"epochs", "batch_size", "accumulate", "patience", "gradual", "seed"})
_BELOW_1 = frozenset({"warm_up", "label_smoothing"})


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained.

    Where a default depends on whether training starts from pretrained weights or from scratch, ``None`` stands for it,
    and :meth:`complete` fills it in; in `mix`, `balance` and `average` it means none.

    Attributes
    ----------
    epochs : int
        Times that the network sees each image, at most. Default: 12; from scratch 60.
    batch_size : int
        Images in a step. Default: 32.
    learning_rate : float
        Of AdamW, of the topmost stage and the linear layer, at its highest. Default: 1e-3; from scratch 2e-3.
    stage_decay : float
        What the rate is divided by from a stage to the one below it. Default: 2.6 (ULMFiT: Howard and Ruder, 2018);
        from scratch 1.
    gradual : int
        Epochs after which the next lower stage joins in, starting with the topmost; 0: all from the start. Default: 0.
    warm_up : float
        Share of all steps in which the rate rises from 0 (unless this is 0, at least 20 steps, or half of them); then
        it falls along a cosine to 0. Default: 0.1.
    augment : {"none", "flip", "light", "trivial", "rand"}
        ``"flip"``: the image and its mirror image. ``"light"``: these and two milder crops, one of them mirrored. These
        are fixed views, of which each epoch takes one by chance, so that a trunk cache can hold them. ``"trivial"``
        (TrivialAugmentWide) and ``"rand"`` (RandAugment): crop, mirror, and torchvision's operations, new each time.
        Default: ``"flip"``; from scratch ``"trivial"``.
    mix : {"mixup", "cutmix"}, optional
        Images of a batch are mixed, and their labels alike. Default: not.
    label_smoothing : float
        Share of the target that goes to all classes alike. Default: 0.1.
    balance : {"weights", "sampling"}, optional
        Rare classes count as much as frequent ones, in the loss or by being drawn more often. Default: not.
    weight_decay : float
        AdamW's; biases and the parameters of normalisations have none. Default: 0.01; from scratch 0.05.
    clip : float
        Longest gradient; a longer one is shortened. Default: 1.
    accumulate : int
        Batches whose gradients make one step. Default: 1.
    average : {"ema", "mean"}, optional
        What is kept: an exponential moving average of the weights (over about a third of an epoch), or the mean of
        those after each epoch of the second half. Default: ``"ema"``.
    batch_norm : {"frozen", "trained"}
        Whether the statistics of BatchNorm are those of the pretrained network, or follow the batches. Its scale and
        shift train with their stage. Default: ``"frozen"``; from scratch ``"trained"``.
    precision : {"fp32", "bf16", "fp16"}
        Of the arithmetic while training; weights stay float32. Default: ``"fp32"``; ``"bf16"`` pays on a GPU.
    patience : int
        Epochs without a validation score that is better than that of all epochs before, the start not counted, after
        which training stops. Default: 5; from scratch 20.
    trunk_cache : {"auto", "on", "off"}
        Whether the frozen stages run once for each view, and their outputs are kept on the disk. Default: ``"auto"``:
        if that is possible, saves time, and there is room.
    head_start : {"fitted", "random"}
        The last layer at the start: logistic regression fitted to the frozen features, or random numbers, as without
        pretrained weights. Default: ``"fitted"``.
    damp : float
        What a fitted last layer is multiplied by after it was scored and before the first step. It still says the same
        classes, less surely: a layer that already explains the training images, as a fitted one with few of them does,
        leaves less for the stages below it to learn. Default: 0.125; 1: not.
    seed : int
        Of the order of the images, the views, augmentation, dropout, and random weights. Default: 0.
    """

    epochs: int | None = None
    batch_size: int = 32
    learning_rate: float | None = None
    stage_decay: float | None = None
    gradual: int = 0
    warm_up: float = 0.1
    augment: str | None = None
    mix: str | None = None
    label_smoothing: float = 0.1
    balance: str | None = None
    weight_decay: float | None = None
    clip: float = 1.0
    accumulate: int = 1
    average: str | None = "ema"
    batch_norm: str | None = None
    precision: str = "fp32"
    patience: int | None = None
    trunk_cache: str = "auto"
    head_start: str = "fitted"
    damp: float = 0.125
    seed: int = 0

    def complete(self, *, scratch: bool) -> Recipe:
        """Fill in the defaults, and check all.

        Parameters
        ----------
        scratch : bool
            Whether training starts without pretrained weights.

        Returns
        -------
        Recipe

        Raises
        ------
        TrainingError
            If an option cannot be.

        Examples
        --------
        >>> Recipe(epochs=3).complete(scratch=False).learning_rate
        0.001
        """
        defaults = _SCRATCH if scratch else _PRETRAINED
        given = {name: plain_number(value) for name, value in asdict(self).items() if value is not None}
        whole = replace(self, **(defaults | given | ({"head_start": "random"} if scratch else {})))
        whole._check()
        return whole

    def _check(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _CHOICES:
                if value not in _CHOICES[field.name]:
                    raise TrainingError(f"{field.name} must be one of {_CHOICES[field.name]}, got {value!r}")
                continue
            least, allowed = _AT_LEAST[field.name]
            number = isinstance(value, int | float) or hasattr(value, "__index__")
            if number and field.name in _WHOLE:
                number = hasattr(value, "__index__") and not isinstance(value, bool)
            inside = number and (value > least or (allowed and value == least)) and value <= _most(field.name)
            if not inside or (field.name in _BELOW_1 and value >= 1):
                kind = "a whole number" if field.name in _WHOLE else "a number"
                bound = f"{'from' if allowed else 'above'} {least:g}" + (
                    " to below 1" if field.name in _BELOW_1 else ""
                )
                raise TrainingError(f"{field.name} must be {kind} {bound}, got {value!r}")
        if self.mix and self.balance == "weights":
            raise TrainingError("mix and balance='weights' exclude each other: mixed images are of no single class")


def plain_number(value: Any) -> Any:
    """NumPy's numbers as Python's own, anything else as it is."""
    return value.item() if hasattr(value, "item") and not getattr(value, "ndim", 0) else value


def _most(name: str) -> float:
    """What is larger overflows in torch."""
    return 2**32 - 1 if name in _WHOLE else 1e30


_PRETRAINED: dict[str, Any] = {
    "epochs": 12,
    "learning_rate": 1e-3,
    "stage_decay": 2.6,
    "augment": "flip",
    "weight_decay": 0.01,
    "batch_norm": "frozen",
    "patience": 5,
}
_SCRATCH: dict[str, Any] = {
    "epochs": 60,
    "learning_rate": 2e-3,
    "stage_decay": 1.0,
    "augment": "trivial",
    "weight_decay": 0.05,
    "batch_norm": "trained",
    "patience": 20,
}
