from __future__ import annotations

import math

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from featurekit.backbones import describe
from featurekit.backbones.network import bare
from featurekit.finetune import Recipe
from featurekit.finetune.optimizer import lowest_now, make_optimizer, rates, set_rates, thaw
from featurekit.finetune.stages import Stages


@pytest.fixture(scope="module")
def stages():
    spec = describe("mobilenet_v3_small")
    return Stages(bare(spec).eval(), spec, 3)


def test_groups_rates_and_decay(stages):
    recipe = Recipe(learning_rate=1e-3, stage_decay=2.0, weight_decay=0.1).complete(scratch=False)
    optimizer = make_optimizer(stages, len(stages.names) - 3, recipe)
    top, second, third = stages.names[-1], stages.names[-2], stages.names[-3]
    assert rates(optimizer) == {"head": 1e-3, top: 1e-3, second: 5e-4, third: 2.5e-4}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.1 if parameter.ndim > 1 else 0)
    trained = [id(p) for group in optimizer.param_groups for p in group["params"]]
    expected = [id(p) for part in [*stages.stages[-3:], stages.head] for p in part.parameters()]
    assert sorted(trained) == sorted(expected)


def test_warm_up_and_cosine(stages):
    recipe = Recipe(learning_rate=1.0, stage_decay=1.0).complete(scratch=False)
    optimizer = make_optimizer(stages, len(stages.names), recipe)
    seen = []
    for step in range(400):
        set_rates(optimizer, step, 400, 0.1)
        seen.append(rates(optimizer)["head"])
    assert seen[:39] == pytest.approx([(i + 1) / 40 for i in range(39)])
    assert max(seen) == 1
    assert seen[40:] == sorted(seen[40:], reverse=True)
    assert seen[220] == pytest.approx(0.5 * (1 + math.cos(math.pi * 180 / 360)))
    assert 0 < seen[-1] < 1e-3
    for steps, rising in ((100, 20), (30, 15)):  # few steps: the warm-up is longer than the share
        set_rates(optimizer, 4, steps, 0.1)
        assert rates(optimizer)["head"] == pytest.approx(5 / rising)
    set_rates(optimizer, 0, 1, 0.0)
    assert rates(optimizer)["head"] == 1


def test_only_unfrozen_parameters_train(stages):
    number = len(stages.names)
    for batch_norm in ("frozen", "trained"):
        thaw(stages, number - 2, batch_norm=batch_norm, training=True)
        for i, stage in enumerate(stages.stages):
            trains = i >= number - 2
            assert all(p.requires_grad == trains for p in stage.parameters())
            for module in stage.modules():
                if isinstance(module, _BatchNorm):
                    assert module.training == (trains and batch_norm == "trained")
                elif isinstance(module, torch.nn.Dropout):
                    assert module.training == trains


def test_gradual_unfreezing():
    assert [lowest_now(3, 7, epoch, 0) for epoch in (1, 5)] == [3, 3]
    assert [lowest_now(3, 7, epoch, 2) for epoch in (1, 2, 3, 4, 5, 6, 7, 99)] == [6, 6, 5, 5, 4, 4, 3, 3]
    assert lowest_now(7, 7, 1, 1) == 7  # the linear layer alone
