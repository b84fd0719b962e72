"""One training, from images to weights: the network, what it is fed with, the loop. Importing this imports torch."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn

from ..backbones import Backbone, BackboneSpec
from ..backbones.network import bare, load_network
from ..errors import TrainingError
from ..images import Item
from ..pipeline import progress_bar
from ..runtime import load_decoder
from ..runtime.torch_runtime import pick_device
from ..store import WriteLock
from ..store.atomic import replace_file
from .devices import Team, check_devices, launched_team, train_together
from .feed import CachedFeed, Feed, PictureFeed, fixed_views
from .launched import Launch, launched
from .pictures import Pictures
from .recipe import VIEWS, Recipe
from .stages import Stages
from .training import Trained, Training
from .trunk import Plan, fill_cache, is_complete, open_cache, room_for, shape_of, trunk_runner

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
    devices : int
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
    devices: int
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
    folder : Path or None
        Where the last checkpoint is.
    """

    trained: Trained
    network: bytes
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    moved: dict[str, float]
    names: list[str]
    folder: Path | None


def run_job(job: Job) -> Result:
    """Train, on one device or several; or as one of the processes that a launcher started, which all return the same.

    Raises
    ------
    BackboneError, WeightsError
        If the network cannot be had or unfrozen like this.
    TrainingError
        If the recipe cannot be followed, or the checkpoint is of another job.
    StoreLockedError
        If another process trains in the same folder.
    MissingExtraError
        If several devices are asked for and Accelerate is missing.
    """
    if (launch := launched()) is not None:
        return _run_launched(job, launch)
    device = check_devices(job.devices, job.device)
    _check_enough(job, job.devices)
    with ExitStack() as stack:
        if job.folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="featurekit-finetune-")))
        else:
            folder = job.folder / _key(job)[:16]  # each job its own
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise TrainingError(f"cannot make the folder {folder} for checkpoints: {error.strerror}") from error
            stack.enter_context(WriteLock(folder / "lock"))
            for left in folder.glob(".*.tmp"):  # of a run that was killed: nobody else may write here
                left.unlink()
        total = len(job.train) * (job.recipe.epochs or 0)
        if job.devices == 1:
            with progress_bar(total, job.progress) as advance:
                result = train(job, folder, device, Team(), job.say, advance)
        else:
            with ExitStack() as closing:
                _prepare(job, folder, device, closing)  # fills the trunk cache
            quiet = replace(job, say=silent, progress=False)  # the cache was talked about here
            with progress_bar(total, job.progress) as advance:
                result = train_together(quiet, job.devices, device, folder, job.say, advance)
        for left in folder.glob("trunk-*.f16"):
            left.unlink()
    return result


def _check_enough(job: Job, processes: int) -> None:
    if len(job.train) < processes or job.recipe.batch_size < 2 * processes:
        raise TrainingError(
            f"{len(job.train)} training images in batches of {job.recipe.batch_size} are too few for {processes} "
            "devices: each needs two of a batch"
        )


def _run_launched(job: Job, launch: Launch) -> Result:
    """Train as one of several processes, on machines that need no folder in common but see the images."""
    if job.devices != 1:
        raise TrainingError(f"devices must be 1, got {job.devices}: a launcher started {launch.size} processes already")
    _check_enough(job, launch.size)
    team, device = launched_team(pick_device(job.device), launch.local_size)
    say, progress = (job.say, job.progress) if launch.rank == 0 else (silent, False)
    # All start at the numbers of process 0: those of another kind of processor may differ in the last digit.
    job = team.shared(replace(job, say=silent, progress=False))
    key = _key(job)[:16]
    if launch.on_first_machine and job.folder is not None:
        folder, kept = job.folder / key, True
    else:
        folder, kept = Path(tempfile.gettempdir(), f"featurekit-finetune-{key}-{os.environ['MASTER_PORT']}"), False
    checkpoint = folder / _CHECKPOINT
    with ExitStack() as stack:
        if launch.leads:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(WriteLock(folder / "lock"))
            if not kept:
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
        found = team.shared(checkpoint.read_bytes() if checkpoint.exists() and kept else None)
        if launch.leads:
            if not kept:
                checkpoint.unlink(missing_ok=True)  # of a run that was killed
                if found is not None:
                    replace_file(checkpoint, found)
            with ExitStack() as closing:
                _prepare(replace(job, say=say, progress=progress), folder, device, closing)  # fills the trunk cache
        team.wait()
        with progress_bar(len(job.train) * (job.recipe.epochs or 0), progress) as advance:
            result: Result = team.shared(train(job, folder, device, team, say, advance))
        team.wait()  # until no process has the trunk cache open
        for left in folder.glob("trunk-*.f16"):
            left.unlink(missing_ok=True)
    return result


def train(
    job: Job,
    folder: Path,
    device: torch.device,
    team: Team,
    say: Callable[[str], object],
    advance: Callable[[int], object],
) -> Result:
    """Train in this process, which may be one of several.

    Parameters
    ----------
    job : Job
    folder : Path
        For the trunk cache and checkpoints, of this job alone.
    device : torch.device
    team : Team
    say : callable
        Called with a line after each epoch.
    advance : callable
        Called with the number of images after each step.
    """
    with ExitStack() as stack:
        network, stages, start, feed = _prepare(job, folder, device, stack)
        before = {name: value.detach().clone() for name, value in stages.named_parameters()}
        training = Training(
            stages,
            start,
            job.recipe,
            job.train_codes,
            job.validation_codes,
            checkpoint=None if job.folder is None else folder / _CHECKPOINT,
            key=_key(job),
            team=team,
            say=say,
            advance=advance,
        )
        trained = training.run(feed)
        del feed, training  # closes the mapped files
    return Result(
        trained,
        save({name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}),
        (stages.head.weight.detach() / job.scale).cpu().numpy(),
        stages.head.bias.detach().cpu().numpy(),
        _moved(stages, start, before),
        _names(network, stages, start),
        None if job.folder is None else folder,
    )


def _prepare(job: Job, folder: Path, device: torch.device, stack: ExitStack) -> tuple[nn.Module, Stages, int, Feed]:
    """The network, its stages, the lowest that trains, and the feed."""
    network, stages = _network(job)
    stages.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    start = stages.first_trained(job.unfreeze)
    train, validation = (
        stack.enter_context(Pictures(items, load_decoder(job.decoder, job.device), job.workers))
        for items in (job.train, job.validation)
    )
    return network, stages, start, _feed(job, stages, start, train, validation, folder)


def _network(job: Job) -> tuple[nn.Module, Stages]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.recipe.seed)
        network = bare(job.spec).float() if job.backbone is None else load_network(job.backbone)
        stages = Stages(network, job.spec, job.classes, job.scale)
    if job.layer is not None:
        weight, bias = job.layer
        with torch.no_grad():
            stages.head.weight.copy_(torch.from_numpy(weight * job.scale))
            stages.head.bias.copy_(torch.from_numpy(bias))
    return network, stages


def _feed(job: Job, stages: Stages, start: int, train: Pictures, validation: Pictures, folder: Path) -> Feed:
    """The trunk cache where it can be and pays, else pixels; and why is said."""
    recipe, wish = job.recipe, job.spec.preprocessing
    views = fixed_views(recipe, wish)
    stages.eval()
    shape = shape_of(stages, start, wish.crop) if stages.can_be_cut else ()
    parts = [
        (folder / f"trunk-{name}.f16", Plan(len(pictures), len(shown), shape), pictures, shown)
        for name, pictures, shown in (("train", train, views), ("validation", validation, views[:1]))
    ]
    why = _why_not(job, start) if stages.can_be_cut else "this network cannot be cut between its stages"
    missing = [] if why else [part for part in parts if not is_complete(part[0], part[1])]
    why = why or room_for([plan for _, plan, _, _ in missing], folder)
    if why:
        if recipe.trunk_cache == "on":
            raise TrainingError(f"trunk_cache is 'on', and there can be none: {why}")
        job.say(f"no trunk cache: {why}. Each epoch runs the whole network")
        return PictureFeed(train, validation, views, recipe)
    where = "a temporary folder" if job.folder is None else folder
    job.say(f"trunk cache: {parts[0][1]} in {where}, so that each epoch runs the unfrozen stages only")
    if missing:
        run = trunk_runner(stages, start, wish.crop, job.runtime)
        with progress_bar(sum(plan.images * plan.views for _, plan, _, _ in missing), job.progress) as advance:
            for part in missing:
                fill_cache(*part, run, advance)
    return CachedFeed(start, *(open_cache(path, plan) for path, plan, _, _ in parts))


def _why_not(job: Job, start: int) -> str:
    """Why there can be no trunk cache, or why it does not pay; empty if it does."""
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
    return ""


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


def silent(text: str) -> None:
    """Say nothing."""
