"""The training loop. Importing this imports torch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..errors import TrainingError
from .checkpoint import read_checkpoint, write_checkpoint
from .devices import Team
from .feed import Feed, drawn
from .optimizer import lowest_now, make_optimizer, quicken_statistics, rates, set_rates, thaw
from .recipe import Recipe
from .stages import Stages

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_EXPLODED = 5.0  # times the loss of chance
_EVALUATED = 64  # images at a time


@dataclass(slots=True)
class Trained:
    """What training came to.

    Attributes
    ----------
    history : list of dict
        Of each epoch, that before the first included: ``epoch, loss, accuracy, log_loss, rates, seconds``.
    best : int
        The epoch whose state is the best on the validation images.
    decisions : ndarray, shape (n, classes)
        Of the validation images, by that state.
    stopped : str
        Why it ended before the last epoch; empty if it did not.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    best: int = 0
    decisions: NDArray[np.float32] | None = None
    stopped: str = ""


class Training:
    """Trains the stages from one on, and leaves the network in its best state.

    Parameters
    ----------
    stages : Stages
    start : int
        The lowest stage that trains.
    recipe : Recipe
        Complete.
    train, validation : ndarray of int, shape (n,)
        Class of each image.
    checkpoint : path, optional
        A file that is written after each epoch, and from which an interrupted training goes on.
    key : str
        What the checkpoint must be of.
    team : Team, optional
        The processes that train together. Default: this one alone.
    say : callable
        Called with a line for the user after each epoch.
    advance : callable
        Called with the number of images after each step.
    """

    def __init__(
        self,
        stages: Stages,
        start: int,
        recipe: Recipe,
        train: NDArray[np.intp],
        validation: NDArray[np.intp],
        *,
        checkpoint: Path | None = None,
        key: str = "",
        team: Team | None = None,
        say: Callable[[str], object] = lambda text: None,
        advance: Callable[[int], object] = lambda images: None,
    ) -> None:
        self._stages, self._start, self._recipe = stages, start, recipe
        self._train, self._validation = train, validation
        self._checkpoint, self._key, self._say, self._advance = checkpoint, key, say, advance
        self._team = Team() if team is None else team
        self._device = stages.mean.device
        self._optimizer = make_optimizer(stages, start, recipe)
        if recipe.batch_norm == "trained":
            quicken_statistics(stages, start, math.ceil(len(train) / recipe.batch_size))
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=recipe.precision == "fp16")
        trained = [*stages.stages[start:], stages.head]
        self._kept = {
            f"{number}.{name}": value
            for number, module in enumerate(trained)
            for name, value in module.state_dict(keep_vars=True).items()
        }
        self._average: dict[str, Tensor] | None = None
        self._averaged = 0
        self._best: dict[str, Tensor] = {}
        self._done = 0
        weights = None
        if recipe.balance == "weights":
            counts = np.bincount(train, minlength=stages.head.out_features)
            weights = torch.tensor(len(train) / (len(counts) * np.maximum(counts, 1)), dtype=torch.float32)
        self._loss = nn.CrossEntropyLoss(weights, label_smoothing=recipe.label_smoothing, reduction="sum").to(
            self._device
        )
        self.result = Trained()

    def run(self, feed: Feed) -> Trained:
        """Train.

        Raises
        ------
        TrainingError
            If the checkpoint is of another job.
        """
        with _own_random_numbers():
            if not self._resume():
                self._begin(feed)
            for epoch in range(self._done + 1, (self._recipe.epochs or 0) + 1):
                if self.result.stopped or not self._epoch(feed, epoch):
                    break
                self._done = epoch
                self._save()
            self._load(self._best)
        thaw(self._stages, self._start, batch_norm="frozen", training=False)
        return self.result

    def _begin(self, feed: Feed) -> None:
        """The state before the first step is a candidate, too."""
        started = time.perf_counter()
        thaw(self._stages, self._start, batch_norm="frozen", training=False)
        self._note({"epoch": 0, "loss": None, "rates": {}}, self._evaluate(feed), started)
        if self._recipe.head_start == "fitted":
            with torch.no_grad():
                for parameter in self._stages.head.parameters():
                    parameter.mul_(self._recipe.damp)
        if self._recipe.average == "ema":
            self._average = _copy(self._kept)

    def _epoch(self, feed: Feed, epoch: int) -> bool:
        """One epoch; whether to go on."""
        started = time.perf_counter()
        recipe = self._recipe
        lowest = lowest_now(self._start, len(self._stages.names), epoch, recipe.gradual)
        thaw(self._stages, lowest, batch_norm=recipe.batch_norm or "frozen", training=True)
        torch.manual_seed(int(np.random.default_rng([recipe.seed, epoch, self._team.rank]).integers(2**62)))
        least = 2 * self._team.size
        batches = drawn(epoch, self._train, feed.views, recipe, least)
        own = [(self._team.part(numbers), self._team.part(views)) for numbers, views in batches]
        each = math.ceil(len(batches) / recipe.accumulate)  # steps in an epoch
        total, seen = 0.0, 0
        inputs = feed.training(epoch, own)
        for number, ((whole, _), (part, _), maps) in enumerate(zip(batches, own, inputs, strict=True)):
            # A share of the loss of the whole batch, to which its gradients add up.
            share = self._loss_of(feed, maps, part, whole)
            loss = float(self._team.sum(share.detach()))
            if not math.isfinite(loss):
                return self._stop(epoch, f"the loss is {loss}")
            self._scaler.scale(share / recipe.accumulate).backward()  # type: ignore[no-untyped-call]
            total, seen = total + loss * len(whole), seen + len(whole)
            if (number + 1) % recipe.accumulate == 0 or number == len(batches) - 1:
                step = (epoch - 1) * each + number // recipe.accumulate
                set_rates(self._optimizer, step, each * (recipe.epochs or 1), recipe.warm_up)
                self._step(each)
            self._advance(len(whole))
        loss_now, chance = total / seen, math.log(self._stages.head.out_features)
        if loss_now > _EXPLODED * max(chance, 1):
            return self._stop(epoch, f"the loss of {loss_now:.3g} is far above that of guessing, {chance:.3g}")
        if recipe.average == "mean" and epoch > (recipe.epochs or 0) / 2:
            self._averaged += 1
            self._average = _copy(self._kept) if self._average is None else self._average
            _move(self._average, self._kept, 1 / self._averaged)
        # Statistics of BatchNorm that follow the batches follow those of each process.
        self._team.mean_of([value for name, value in self._kept.items() if ".running_" in name])
        now = _copy(self._kept)
        if self._average is not None:
            self._load(self._average)
        thaw(self._stages, self._start, batch_norm="frozen", training=False)
        decisions = self._evaluate(feed)
        if not np.isfinite(decisions).all():
            return self._stop(epoch, "the network's outputs are not finite")
        self._note({"epoch": epoch, "loss": loss_now, "rates": rates(self._optimizer)}, decisions, started)
        self._load(now)
        # The start does not count: training may have to pass through worse states before it is better.
        best = max(self.result.history[1:], key=_score)["epoch"]
        if epoch - best >= (recipe.patience or 0) and epoch < (recipe.epochs or 0):
            self.result.stopped = f"no better validation score for {recipe.patience} epochs"
            self._say(f"stopped after epoch {epoch}: {self.result.stopped}")
        return True

    def _stop(self, epoch: int, why: str) -> bool:
        self.result.stopped = (
            f"diverged in epoch {epoch}: {why}. The best state so far, of epoch {self.result.best}, was kept. A lower "
            "learning rate may help"
        )
        self._say(self.result.stopped)
        self._save()
        return False

    def _loss_of(self, feed: Feed, inputs: Tensor, part: NDArray[np.intp], whole: NDArray[np.intp]) -> Tensor:
        """What the images of this process are to the mean loss over the whole batch."""
        targets: Tensor = torch.from_numpy(self._train[part]).to(self._device)
        inputs = inputs.to(self._device)
        if self._recipe.mix and len(part) > 1:
            inputs, targets = _mixed(inputs, targets, self._recipe.mix, self._stages.head.out_features)
        with self._arithmetic():
            loss: Tensor = self._loss(self._decide(feed, inputs), targets)
        weights = self._loss.weight
        return loss / (len(whole) if weights is None else weights[self._train[whole]].sum())

    def _decide(self, feed: Feed, inputs: Tensor) -> Tensor:
        if feed.start == 0 and self._start > 0:
            with torch.no_grad():
                inputs = self._stages.below(inputs, self._start)
        elif feed.start == 0:
            return self._stages.above(self._stages.below(inputs, 0), 0).float()
        return self._stages.above(inputs, self._start).float()

    def _arithmetic(self) -> Any:
        dtype = _DTYPES.get(self._recipe.precision)
        return nullcontext() if dtype is None else torch.autocast(self._device.type, dtype)

    def _step(self, each: int) -> None:
        parameters = [p for g in self._optimizer.param_groups for p in g["params"]]
        self._team.add_gradients(parameters)
        self._scaler.unscale_(self._optimizer)
        nn.utils.clip_grad_norm_(parameters, self._recipe.clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        if self._recipe.average == "ema" and self._average is not None:
            _move(self._average, self._kept, max(1e-3, min(0.5, 3 / each)))

    def _evaluate(self, feed: Feed) -> NDArray[np.float32]:
        n = len(self._validation)
        chunks = self._team.part([np.arange(i, min(i + _EVALUATED, n)) for i in range(0, n, _EVALUATED)])
        decisions = torch.zeros((n, self._stages.head.out_features), device=self._device)
        with torch.no_grad(), self._arithmetic():
            for chunk, inputs in zip(chunks, feed.validation(chunks), strict=True):
                decisions[chunk] = self._decide(feed, inputs.to(self._device)).float()
        return self._team.sum(decisions).cpu().numpy()

    def _note(self, record: dict[str, Any], decisions: NDArray[np.float32], started: float) -> None:
        tensor = torch.from_numpy(decisions)
        truth = torch.from_numpy(self._validation)
        accuracy = float((decisions.argmax(axis=1) == self._validation).mean())
        log_loss = float(functional.cross_entropy(tensor, truth))
        seconds = time.perf_counter() - started
        result = self.result
        result.history.append(record | {"accuracy": accuracy, "log_loss": log_loss, "seconds": seconds})
        if record["epoch"] == 0 or _score(result.history[-1]) > _score(result.history[result.best]):
            result.best, result.decisions, self._best = record["epoch"], decisions, _copy(self._kept)
        self._say(self._line(result.history[-1]))

    def _line(self, record: dict[str, Any]) -> str:
        scores = f"validation accuracy {record['accuracy']:.4f}, log loss {record['log_loss']:.4f}"
        if record["epoch"] == 0:
            return f"before the first step: {scores}"
        spent = [each["seconds"] for each in self.result.history[1:]]
        left = float(np.median(spent)) * ((self._recipe.epochs or 0) - record["epoch"])
        better = ", the best so far" if self.result.best == record["epoch"] else ""
        return (
            f"epoch {record['epoch']}/{self._recipe.epochs}: loss {record['loss']:.4f}, {scores}{better}; "
            f"{record['seconds']:.0f} s, at most {left:.0f} s left"
        )

    def _load(self, state: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self._kept.items():
                value.copy_(state[name])

    def _save(self) -> None:
        if self._checkpoint is None or self._team.rank > 0:
            return
        result = self.result
        assert result.decisions is not None
        write_checkpoint(
            self._checkpoint,
            {
                "key": self._key,
                "done": self._done,
                "now": self._kept,
                "best": self._best,
                "average": self._average,
                "averaged": self._averaged,
                "optimizer": self._optimizer.state_dict(),
                "scaler": self._scaler.state_dict(),
                "history": result.history,
                "best_epoch": result.best,
                "decisions": torch.from_numpy(result.decisions),
                "stopped": result.stopped,
            },
        )

    def _resume(self) -> bool:
        state = None if self._checkpoint is None else read_checkpoint(self._checkpoint)
        if state is None:
            return False
        if state.get("key") != self._key:
            raise TrainingError(
                f"{self._checkpoint} is of another training: other images, labels, weights or options. Delete it to "
                "begin anew, or name another folder."
            )
        try:
            self._take(state)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise TrainingError(
                f"{self._checkpoint} is damaged: {type(error).__name__} {error}. Delete it to begin anew."
            ) from error
        self._say(f"going on after epoch {self._done} of an earlier run")
        return True

    def _take(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._done = state["done"]
        self._load(state["now"])
        self._best, self._average, self._averaged = state["best"], state["average"], state["averaged"]
        if self._average is not None:
            self._average = {name: value.to(self._device) for name, value in self._average.items()}
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self.result = Trained(state["history"], state["best_epoch"], state["decisions"].numpy(), state["stopped"])
        if len(self.result.history) != self._done + 1 or not 0 <= self.result.best <= self._done:
            raise ValueError(f"{len(self.result.history)} records after {self._done} epochs")


def _score(record: dict[str, Any]) -> tuple[float, float]:
    """What the best epoch has the highest of."""
    return record["accuracy"], -record["log_loss"]


def _copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}


def _move(average: dict[str, Tensor], state: dict[str, Tensor], share: float) -> None:
    """Move averages towards the present values by a share of the way; counters are taken over."""
    with torch.no_grad():
        for name, value in average.items():
            if value.is_floating_point():
                value.lerp_(state[name].detach(), share)
            else:
                value.copy_(state[name])


def _mixed(inputs: Tensor, targets: Tensor, kind: str, classes: int) -> tuple[Tensor, Tensor]:
    from torchvision.transforms import v2

    mix = v2.MixUp(alpha=0.2, num_classes=classes) if kind == "mixup" else v2.CutMix(alpha=1.0, num_classes=classes)
    images, shares = mix(inputs.permute(0, 3, 1, 2).float(), targets)
    return images.permute(0, 2, 3, 1), shares


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    """Seeds that are set in here do not change the random numbers of the caller's own program."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        yield
