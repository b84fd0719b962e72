"""From a source to stores: list, fill what is missing, publish."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Required, TypedDict, Unpack, overload

from ..backbones import DEFAULT_BACKBONE, default_layer, find, short_name, with_rows
from ..errors import SourceError, StoreError
from ..fingerprint import STAGES
from ..images import ManifestColumns, read_source
from ..labels import LABELS_COME_FROM
from ..pipeline import Outcome, check_counts, fill, progress_bar
from ..store import FeatureStore, Place, WriteLock, check_target, held_layer, lock_file, place_of
from .rows import check_texts
from .update import Update

_Path = str | os.PathLike[str]
_Network = Any  # a name, or a torch.nn.Module


class _Options(TypedDict, total=False):
    output: Required[_Path]
    weights: _Path | Mapping[str, _Path] | None
    labels: Sequence[object] | None
    groups: Sequence[object] | None
    labelled: bool | Callable[[list[str]], object]
    root: _Path | None
    path_column: str | None
    label_column: str | None
    group_column: str | None
    split_column: str | None
    replace: bool
    refresh: bool
    verify: bool
    dtype: str | None
    pooling: str
    precision: str
    decoder: str
    image_size: int | None
    crop: float | None
    flip: bool
    l2: bool
    batch_size: int | None
    workers: int | None
    device: str
    runtime: str
    offline: bool | None
    engine: str
    address: str | None
    progress: bool


@overload
def extract(
    source: Any, *, backbone: _Network = ..., layer: str | None = ..., **options: Unpack[_Options]
) -> FeatureStore: ...


@overload
def extract(
    source: Any, *, backbone: Sequence[str], layer: str | Sequence[str] | None = ..., **options: Unpack[_Options]
) -> list[FeatureStore]: ...


@overload
def extract(
    source: Any, *, backbone: _Network = ..., layer: Sequence[str], **options: Unpack[_Options]
) -> list[FeatureStore]: ...


def extract(
    source: Any,
    *,
    output: _Path,
    backbone: Any = DEFAULT_BACKBONE,
    layer: str | Sequence[str] | None = None,
    weights: _Path | Mapping[str, _Path] | None = None,
    labels: Sequence[object] | None = None,
    groups: Sequence[object] | None = None,
    labelled: bool | Callable[[list[str]], object] = False,
    root: _Path | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    split_column: str | None = None,
    replace: bool = False,
    refresh: bool = False,
    verify: bool = True,
    dtype: str | None = None,
    pooling: str = "avg",
    precision: str = "fp32",
    decoder: str = "auto",
    image_size: int | None = None,
    crop: float | None = None,
    flip: bool = False,
    l2: bool = False,
    batch_size: int | None = None,
    workers: int | None = None,
    device: str = "auto",
    runtime: str = "auto",
    offline: bool | None = None,
    engine: str = "local",
    address: str | None = None,
    progress: bool = False,
) -> FeatureStore | list[FeatureStore]:
    """Run frozen backbones over the images of a source and keep the rows in HDF5 stores.

    Rows that the store has already are not computed again, whatever the file is called now; an
    interrupted run goes on where it stopped; rows that were damaged on the disk are computed again. An
    image that cannot be read never stops the run: the ledger names it and the reason. Where its bytes cannot be had
    just now (a server or a disk is away, a permission is missing), a row that is known of it is kept.

    Parameters
    ----------
    source : path or sequence
        A folder of class folders, a flat folder, a CSV or Parquet manifest (``path,label[,group]``), a ``.zip`` or
        ``.tar`` archive, webdataset's shards (``shard-{000..123}.tar``, or their folder), each here or behind a URL
        that fsspec knows (``s3://bucket/photos``); a sequence of paths, URLs, bytes, binary file objects, PIL images
        and uint8 arrays; a ``datasets.Dataset`` of Hugging Face or a ``torch.utils.data.Dataset`` of (image, label);
        or a data frame with the columns of a manifest; or what :func:`featurekit.images.read_source` made of one of
        these.
    output : path
        The ``.h5`` file to write; work in progress lives beside it, in ``<output>.parts``. Or a folder (a
        name without ending), which keeps immutable shards and an index of them: for data so large that
        writing one file anew for every change takes too long. Both always hold the last complete state.
        A folder may lie behind a URL (``s3://bucket/features``); there no other machine is kept from writing to it at
        the same time, so that none should. For several backbones or layers, a name with ``{backbone}`` or ``{layer}``
        in it.
    backbone : str or torch.nn.Module, or sequence of str
        ``efficientnet_lite0`` (to 2); any of torchvision's classification models by its name (``resnet50``); any of
        timm's with ``timm/`` before it (``timm/convnext_tiny.fb_in22k``); the folder of a saved model; or a network,
        whose images are prepared as ImageNet's. ``featurekit models`` lists them. Of several, each gets its own store,
        and each image is read and decoded once for all of them.
    layer : str or sequence of str, optional
        Where rows are taken: ``"stages"``, the stem and all stages side by side in one row; ``"penultimate"``, what the
        removed classifier saw; ``"output"``, what the classifier says; or the name of any module (``featurekit models
        show NAME`` lists them). Layers joined by ``+`` make one row (``"stages+penultimate"``, ``"layer2+layer4"``),
        whose columns ``store.space.columns`` names. Of a sequence, each gets its own store, and the network runs once
        for all of them. Default: the layer of the rows that the output holds already; for a new output ``"stages"``,
        ``"penultimate"`` where a network has no stages, and of a saved model its own layer.
    weights : str or path, or mapping of names to them, optional
        A local weight file instead of the default weights, or the name of other weights of the library
        (``IMAGENET1K_V1``); for several backbones, by name.
    labels, groups : sequence, optional
        One for each image, if the source is a sequence. Blanks around them do not count.
    labelled : bool or callable
        Raise before anything is computed if no image has a label. A callable is given the labels of the images that
        have one, and may raise if these will not do.
    root : path, optional
        Folder that the paths of a manifest are relative to, and that they may not leave. Default: the manifest's
        folder, which a manifest on this machine may leave.
    path_column, label_column, group_column, split_column : str, optional
        Columns of a manifest that are not called ``path``, ``label``, ``group`` and ``split``. The split is kept as it
        is (``store.splits``); the commands ``fit``, ``evaluate`` and ``finetune`` follow it.
    replace : bool
        Allow rows of images that are not in this source to leave the store, when it was written from
        another place, and rows of images that cannot be read just now.
    refresh : bool
        Believe nothing that was noted before: read and hash every image again, also those whose size and
        modification time are unchanged; and set aside an output that is too damaged to be opened (it gets
        the ending ``.damaged``). Rows are computed only of images whose content is new.
    verify : bool
        Compare every row that the output holds already with its checksum.
    dtype : {"float32", "float16"}, optional
        Of the rows on the disk; float16 takes half the room and keeps three decimal digits. Default: that
        of the output, float32 for a new one.
    pooling : str
        How a layer's feature map, or its tokens, become a row: ``"avg"``, ``"max"``, ``"gem"`` (generalised mean),
        ``"avg+max"`` (side by side), ``"flatten"``, ``"cls"`` (the class token), ``"grid2"``, ``"grid3"``, ... (means
        of so many parts across and down).
    precision : {"fp32", "bf16", "fp16", "tf32"}
        Of the network's arithmetic. Each is a feature space of its own, but for fp32, which is exact whatever
        computes it. In the others the first images are computed in fp32 as well, the difference is kept in the
        store's ``provenance["fidelity"]``, and a cosine below 0.999 is warned of.
    decoder : {"auto", "pillow", "scaled", "torchcodec"}
        What decodes and resizes. ``"auto"`` is libjpeg-turbo (simplejpeg) and a resize with SIMD (cykooz-resizer),
        2 to 3 times as fast as Pillow, whose pixels it gives to rounding: a mean difference of 0.005 of 255, rows with
        a cosine of 0.9999 or more. ``"pillow"`` is the reference itself. ``"scaled"`` decodes large JPEGs at a half
        to an eighth of their size, where twice the size that is needed remains: 3 times as fast for 24 megapixels.
        ``"torchcodec"`` works on `device`, a GPU's decoder included. The difference that these two make is measured
        and kept as that of a precision is. Each decoder is a feature space of its own.
    image_size : int, optional
        Pixels of a side of what the network sees. Default: as its weights were trained. The crop keeps its share.
    crop : float, optional
        Share of the shorter side that the network sees, at most 1. Default: as its weights were trained.
    flip : bool
        A row is the mean of that of the image and that of its mirror image, in twice the time.
    l2 : bool
        Rows have the length 1.
    batch_size : int, optional
        Images in one call of the network. The rows do not depend on it. Default: what suits the runtime; halved
        where the memory of a GPU does not suffice.
    workers : int, optional
        Threads that decode images. Default: the number of processors.
    device : str
        ``"auto"``, a torch device such as ``"cpu"`` or ``"cuda:0"``, or several: ``"cuda:0,cuda:1"``.
    runtime : {"auto", "openvino", "torch"}
        What runs the network. ``"auto"``: OpenVINO on a CPU, PyTorch elsewhere.
    offline : bool, optional
        Forbid downloading weights. Default: the environment variable ``FEATUREKIT_OFFLINE``.
    engine : {"local", "processes", "ray"}
        What drives the extraction: this process; one process for each device of `device` (``"auto"``: each GPU), where
        one could not feed them all; or actors of Ray Data on the machines of a cluster, all of which see images,
        weights and output under the same names. The content of the store is the same.
    address : str, optional
        Of the Ray cluster, as ``ray.init`` takes it (``"auto"``, ``"host:6379"``). Default: ``RAY_ADDRESS``, or a
        cluster of this machine alone.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    FeatureStore, or a list of them if `backbone` or `layer` is a sequence: for each backbone, each layer
        Opened for reading; its ``summary`` says what this run did and its ``ledger`` what became of every
        image.

    Raises
    ------
    SourceError
        If the source cannot be used, or not one of its images can be read; or, if `labelled`, has a label.
    BackboneError, WeightsError
        If the backbone, its weights, the layer, device, runtime, precision or decoder cannot be had.
    FeatureSpaceError
        If the output holds rows of another feature space; the message says what differs.
    StoreLockedError
        If another process is writing to the output.
    StoreError
        If the output cannot be written.

    Examples
    --------
    >>> from featurekit import extract
    >>> folder, target = getfixture("digits_folder"), getfixture("tmp_path") / "digits.h5"
    >>> store = extract(folder, output=target)
    >>> store.X.shape, store.summary.computed, store.summary.failed
    ((60, 816), 60, 0)
    >>> extract(folder, output=target).summary.computed
    0

    Two backbones in one pass over the images:

    >>> names = ["efficientnet_lite0", "resnet18"]  # doctest: +SKIP
    >>> lite0, resnet18 = extract("photos", output="photos.{backbone}.h5", backbone=names)  # doctest: +SKIP
    """
    started = time.perf_counter()
    check_counts(batch_size, workers)
    filled = _engine(engine, address)
    one = isinstance(backbone, str | os.PathLike) or hasattr(backbone, "named_modules")
    several = not one or not isinstance(layer, str | None)
    names: list[Any] = [backbone] if one else _names("backbone", backbone)
    layers: list[str | None] = [None] if layer is None else [*_names("layer", layer)]
    files = _weights(names, weights)
    outputs = _outputs(output, [(short_name(name), part) for name, part in product(names, layers)])
    columns = ManifestColumns(path_column, label_column, group_column, split_column)
    listing = read_source(source, labels=labels, groups=groups, root=root, columns=columns)
    if labelled and not any(item.label for item in listing.items):
        raise SourceError(f"none of these {len(listing.items)} images has a label. {LABELS_COME_FROM}")
    if callable(labelled):
        labelled([item.label for item in listing.items if item.label])
    check_texts(listing.items, listing.splits)
    networks = [
        find(
            name,
            files[name],
            precision=precision,
            decoder=decoder,
            image_size=image_size,
            crop=crop,
            flip=flip,
            offline=offline,
        )
        for name in names
    ]
    if layer is None and "{layer}" in os.fspath(output):
        outputs = _outputs(
            output, [(short_name(name), default_layer(each)) for name, each in zip(names, networks, strict=True)]
        )
    found, followed = [], []
    for (network, part), place in zip(product(networks, layers), outputs, strict=True):
        held = None if part is not None else held_layer(place, network.spec.name)
        found.append(with_rows(network, held if part is None else part, pooling, l2=l2))
        followed.append(held is not None)
    new = [path for path in outputs if isinstance(path, Path) and not path.exists()]
    targets = [check_target(path) for path in outputs]  # makes folders, so it comes last
    with ExitStack() as locks:
        locks.callback(_remove_empty, new)  # after the locks in them are gone
        for target in targets:
            locks.enter_context(WriteLock(lock_file(target), of=target))
        updates = [
            Update(target, each, listing, replace=replace, refresh=refresh, dtype=dtype, followed=follows)
            for target, each, follows in zip(targets, found, followed, strict=True)
        ]
        unfinished = updates
        while unfinished:
            with progress_bar(len(listing.items), progress) as advance:
                outcomes = filled(
                    listing.items,
                    [update.destination for update in unfinished],
                    batch_size=batch_size,
                    workers=workers,
                    device=device,
                    runtime=runtime,
                    advance=advance,
                )
            unfinished = [update for update in unfinished if not update.publish(outcomes, verify)]
        stores = [update.finish(started) for update in updates]
    return stores if several else stores[0]


def _remove_empty(folders: list[Path]) -> None:
    """Delete the folders that were made for stores, of which nothing came."""
    for folder in folders:
        with suppress(OSError):  # it holds something, or is a file
            folder.rmdir()


def _engine(engine: str, address: str | None) -> Callable[..., list[Outcome]]:
    if engine == "ray":
        from ..engines import fill_with_ray

        return partial(fill_with_ray, address=address)
    if engine not in {"local", "processes"}:
        raise ValueError(f"no engine called {engine!r}. There are: local, processes, ray.")
    if address is not None:
        raise ValueError("address goes with engine='ray'")
    if engine == "processes":
        from ..engines import fill_with_processes

        return fill_with_processes
    return fill


def _names(what: str, given: str | Sequence[str]) -> list[str]:
    names = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if not all(isinstance(name, str) for name in names) or not names or len(set(names)) < len(names):
        raise ValueError(f"{what} must name one or more different {what}s, got {names}")
    return names


def _outputs(output: _Path, wanted: Sequence[tuple[str, str | None]]) -> list[Place]:
    text = os.fspath(output)
    paths = [
        text.replace("{backbone}", name).replace("{layer}", STAGES if layer is None else layer)
        for name, layer in wanted
    ]
    if unknown := [name for name in re.findall(r"{(\w*)}", text) if name not in {"backbone", "layer"}]:
        raise StoreError(f"the output {text} has {{{unknown[0]}}} in it; there are {{backbone}} and {{layer}}")
    if len(set(map(os.path.realpath, paths))) < len(paths):
        raise StoreError(
            f"a store holds the rows of one layer of one backbone, and {len(paths)} are to be written to {text}. Say "
            "where backbone and layer go in the name of the output, such as photos.{backbone}.{layer}.h5"
        )
    return [place_of(path) for path in paths]


def _weights(names: Sequence[str], weights: _Path | Mapping[str, _Path] | None) -> dict[str, _Path | None]:
    if not isinstance(weights, Mapping):
        if weights is not None and len(names) > 1:
            raise ValueError("for several backbones, weights must be a mapping of their names to files")
        return dict.fromkeys(names, weights)
    if unknown := [name for name in weights if name not in names]:
        raise ValueError(f"weights are given for {', '.join(unknown)}, which is not among {', '.join(names)}")
    return {name: weights.get(name) for name in names}
