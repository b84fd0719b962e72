"""The optimizer, the rates of the stages, and which of them train. Importing this imports torch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .recipe import Recipe
from .stages import Stages

HEAD = "head"
_LEAST_WARM_UP = 20  # steps


def make_optimizer(stages: Stages, start: int, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW, with a group for each trained stage and whether its parameters decay.

    Parameters
    ----------
    stages : Stages
    start : int
        The lowest stage that trains.
    recipe : Recipe
        Complete.
    """
    assert recipe.learning_rate is not None
    assert recipe.stage_decay is not None
    assert recipe.weight_decay is not None
    groups: list[dict[str, Any]] = []
    for below, (name, module) in enumerate(reversed(_trained(stages, start))):
        # The linear layer has the rate of the topmost stage.
        rate = recipe.learning_rate / recipe.stage_decay ** max(0, below - 1)
        parameters = list(module.parameters())
        for decays in (True, False):
            chosen = [p for p in parameters if (p.ndim > 1) == decays]  # norms and biases are vectors
            decay = recipe.weight_decay if decays else 0.0
            if chosen:
                groups.append({"params": chosen, "weight_decay": decay, "lr": rate, "highest": rate, "stage": name})
    return torch.optim.AdamW(groups)


def _trained(stages: Stages, start: int) -> list[tuple[str, nn.Module]]:
    chosen = list(zip(stages.names, stages.stages, strict=True))[start:]
    return [*chosen, (HEAD, stages.head)]


def set_rates(optimizer: torch.optim.Optimizer, step: int, steps: int, warm_up: float) -> None:
    """Linear warm-up, then a cosine down to 0.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        From :func:`make_optimizer`.
    step, steps : int
        Number of this step, from 0, and of all.
    warm_up : float
        Share of the steps; unless it is 0, at least 20 steps or half of them.
    """
    # With few images 10% of the steps are one or two: no warm-up at all, and the fitted head is lost at once.
    rising = max(warm_up * steps, min(_LEAST_WARM_UP, steps / 2)) if warm_up else 0.0
    share = (
        (step + 1) / rising if step + 1 < rising else 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))
    )
    for group in optimizer.param_groups:
        group["lr"] = group["highest"] * min(1.0, share)


def rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The present rate of each stage."""
    return {group["stage"]: float(group["lr"]) for group in optimizer.param_groups}


def thaw(stages: Stages, start: int, *, batch_norm: str, training: bool) -> None:
    """Let the stages from `start` on train, and no other.

    Frozen stages are in eval mode; of the others dropout is at work while training, and BatchNorm keeps its
    statistics unless it is to be trained.
    """
    stages.eval().requires_grad_(False)
    for _, module in _trained(stages, start):
        module.requires_grad_(True).train(training)
        for part in module.modules():
            if isinstance(part, _BatchNorm) and batch_norm == "frozen":
                part.eval()


def quicken_statistics(stages: Stages, start: int, steps: int) -> None:
    """Let BatchNorm's statistics follow within a third of an epoch.

    Networks that were made for a million images let them follow within a hundred steps or more: with few images they
    would be those of the random network for many epochs, and validation would see a network that is none.

    Parameters
    ----------
    stages : Stages
    start : int
        The lowest stage that trains.
    steps : int
        In an epoch.
    """
    least = min(0.3, 3 / steps)
    for module in stages.stages[start:].modules():
        if isinstance(module, _BatchNorm) and module.momentum is not None:
            module.momentum = max(module.momentum, least)


def lowest_now(start: int, number: int, epoch: int, gradual: int) -> int:
    """The lowest stage that trains in an epoch (from 1), where one more joins in after every `gradual` epochs."""
    if not gradual:
        return start
    return max(start, number - 1 - (epoch - 1) // gradual)
