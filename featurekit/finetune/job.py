"""One training, from images to weights: the network, what it is fed with, the loop. Importing this imports torch."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn

from ..backbones import Backbone, BackboneSpec
from ..backbones.network import load_network, random_network
from ..errors import TrainingError
from ..images import Item
from ..pipeline import progress_bar
from ..runtime import load_decoder
from ..runtime.torch_runtime import pick_device
from ..store import WriteLock
from .feed import CachedFeed, Feed, PictureFeed, fixed_views
from .pictures import Pictures
from .recipe import VIEWS, Recipe
from .stages import Stages
from .training import Trained, Training
from .trunk import Plan, fill_cache, room_for, shape_of, trunk_runner

_CHECKPOINT = "checkpoint.safetensors"


@dataclass(slots=True)
class Job:
    """What is to be trained.

    Attributes
    ----------
    spec : BackboneSpec
    backbone : Backbone or None
        None: no pretrained weights.
    recipe : Recipe
        Complete.
    unfreeze : int or str
    train, validation : sequence of Item
    train_codes, validation_codes : ndarray of int
        Class of each.
    contents : ndarray of uint8, shape (train + validation, 32)
        Hashes of the images.
    classes : int
    layer : (weight, bias) or None
        What the linear layer starts at.
    scale : float
        As in :class:`Stages`.
    folder : Path or None
        Where checkpoints and the trunk cache are.
    decoder, device, runtime : str
    workers : int or None
    progress : bool
    say : callable
    """

    spec: BackboneSpec
    backbone: Backbone | None
    recipe: Recipe
    unfreeze: int | str
    train: Sequence[Item]
    validation: Sequence[Item]
    train_codes: NDArray[np.intp]
    validation_codes: NDArray[np.intp]
    contents: NDArray[np.uint8]
    classes: int
    layer: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    scale: float
    folder: Path | None
    decoder: str
    device: str
    runtime: str
    workers: int | None
    progress: bool
    say: Callable[[str], object]


@dataclass(slots=True)
class Result:
    """What a training gave.

    Attributes
    ----------
    trained : Trained
    network : bytes
        The network's state dict as a safetensors file.
    weight, bias : ndarray
        Of the linear layer.
    moved : dict of str to float
        Of each trained stage: length of the change of its parameters over their length.
    names : list of str
        Parameters that were trained.
    """

    trained: Trained
    network: bytes
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    moved: dict[str, float]
    names: list[str]


def run_job(job: Job) -> Result:
    """Train.

    Raises
    ------
    BackboneError, WeightsError
        If the network cannot be had or unfrozen like this.
    TrainingError
        If the recipe cannot be followed, or the checkpoint is of another job.
    StoreLockedError
        If another process trains in the same folder.
    """
    with ExitStack() as stack:
        if job.folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="featurekit-finetune-")))
        else:
            folder = job.folder
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(WriteLock(folder / "lock"))
            for left in folder.glob(".*.tmp"):  # of a run that was killed: nobody else may write here
                left.unlink()
        device = pick_device(job.device)
        network, stages = _network(job)
        stages.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        start = stages.first_trained(job.unfreeze)
        before = {name: value.detach().clone() for name, value in stages.named_parameters()}
        pictures = [
            stack.enter_context(Pictures(items, load_decoder(job.decoder, job.device), job.workers))
            for items in (job.train, job.validation)
        ]
        key = _key(job)
        feed = _feed(job, stages, start, pictures[0], pictures[1], folder, key)
        total = len(job.train) * (job.recipe.epochs or 0)
        advance = stack.enter_context(progress_bar(total, job.progress))
        training = Training(
            stages,
            start,
            job.recipe,
            job.train_codes,
            job.validation_codes,
            checkpoint=None if job.folder is None else folder / _CHECKPOINT,
            key=key,
            say=job.say,
            advance=advance,
        )
        trained = training.run(feed)
        del feed  # closes the mapped files
        for left in folder.glob("trunk-*.f16"):
            left.unlink()
    return Result(
        trained,
        save({name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}),
        (stages.head.weight.detach() / job.scale).cpu().numpy(),
        stages.head.bias.detach().cpu().numpy(),
        _moved(stages, start, before),
        _names(network, stages, start),
    )


def _network(job: Job) -> tuple[nn.Module, Stages]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.recipe.seed)
        network = random_network(job.spec) if job.backbone is None else load_network(job.backbone)
        stages = Stages(network, job.spec, job.classes, job.scale)
    if job.layer is not None:
        weight, bias = job.layer
        with torch.no_grad():
            stages.head.weight.copy_(torch.from_numpy(weight * job.scale))
            stages.head.bias.copy_(torch.from_numpy(bias))
    return network, stages


def _feed(job: Job, stages: Stages, start: int, train: Pictures, validation: Pictures, folder: Path, key: str) -> Feed:
    """The trunk cache where it can be and pays, else pixels; and why is said."""
    recipe, wish = job.recipe, job.spec.preprocessing
    views = fixed_views(recipe, wish)
    ordinary = PictureFeed(train, validation, views, job.train_codes, recipe)
    stages.eval()
    plan = Plan(len(train), len(views), shape_of(stages, start, wish.crop))
    also = Plan(len(validation), 1, plan.shape)
    why = _why_not(job, start, Plan(len(train) * len(views) + len(validation), 1, plan.shape), folder)
    if why:
        if recipe.trunk_cache == "on":
            raise TrainingError(f"trunk_cache is 'on', and there can be none: {why}")
        job.say(f"no trunk cache: {why}. Each epoch runs the whole network")
        return ordinary
    where = "a temporary folder" if job.folder is None else folder
    job.say(f"trunk cache: {plan} in {where}, so that each epoch runs the unfrozen stages only")
    run = trunk_runner(stages, start, wish.crop, job.runtime)
    with progress_bar(plan.images * plan.views + also.images, job.progress) as advance:
        maps = [
            fill_cache(folder / f"trunk-{name}-{key[:16]}.f16", each, pictures, shown, run, advance)
            for name, each, pictures, shown in (
                ("train", plan, train, views),
                ("validation", also, validation, views[:1]),
            )
        ]
    return CachedFeed(start, maps[0], maps[1], job.train_codes, recipe)


def _why_not(job: Job, start: int, plan: Plan, folder: Path) -> str:
    """Why there is no trunk cache; empty if there is to be one."""
    recipe = job.recipe
    if recipe.trunk_cache == "off":
        return "it is switched off"
    if start == 0:
        return "no stage is frozen"
    if recipe.augment not in VIEWS:
        return f"augment {recipe.augment!r} shows each image differently in each epoch"
    if recipe.mix:
        return f"{recipe.mix} mixes images before the network sees them"
    if recipe.trunk_cache == "auto" and VIEWS[recipe.augment or "none"] > (recipe.epochs or 0):
        return "there are more views than epochs, so it would take longer to fill than it saves"
    return room_for(plan, folder)


def _key(job: Job) -> str:
    """All that decides what a training gives."""
    hashed = hashlib.sha256()
    facts: dict[str, Any] = {
        "recipe": asdict(job.recipe) | {"trunk_cache": ""},
        "unfreeze": job.unfreeze,
        "architecture": [job.spec.library, job.spec.architecture],
        "weights": None if job.backbone is None else job.backbone.space.weights,
        "preprocessing": asdict(job.spec.preprocessing),
        "decoder": job.decoder,
        "classes": job.classes,
        "torch": torch.__version__,
    }
    hashed.update(json.dumps(facts, sort_keys=True).encode())
    for array in (job.contents, job.train_codes, job.validation_codes, *(job.layer or ())):
        hashed.update(np.ascontiguousarray(array).data)
    return hashed.hexdigest()


def _moved(stages: Stages, start: int, before: dict[str, torch.Tensor]) -> dict[str, float]:
    moved = {}
    now = dict(stages.named_parameters())
    for place, name in [
        *((f"stages.{i}.", stages.names[i]) for i in range(start, len(stages.names))),
        ("head.", "head"),
    ]:
        chosen = [key for key in now if key.startswith(place)]
        change = sum(float((now[key].detach() - before[key]).double().square().sum()) for key in chosen)
        size = sum(float(before[key].double().square().sum()) for key in chosen)
        moved[name] = float(np.sqrt(change / size)) if size else 0.0
    return moved


def _names(network: nn.Module, stages: Stages, start: int) -> list[str]:
    trained = {id(parameter) for stage in stages.stages[start:] for parameter in stage.parameters()}
    return [name for name, parameter in network.named_parameters() if id(parameter) in trained]
