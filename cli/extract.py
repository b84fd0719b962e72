"""``featurekit extract``: images to a store."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from . import _common, _sources

if TYPE_CHECKING:
    from featurekit import FeatureStore


_USUAL = {"precision": "fp32", "decoder": "auto"}


def add_parser(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "extract",
        help="run a frozen backbone over images once and keep the features",
        description="Run a frozen backbone over the images of SOURCE and keep the features in an HDF5 store. "
        "A second run computes only what is new; an interrupted one goes on where it stopped; a bad file stops "
        "nothing and is named with its reason.",
    )
    parser.add_argument("source", metavar="SOURCE", help=_common.SOURCE_HELP)
    parser.add_argument(
        "-o",
        "--output",
        metavar="STORE",
        help="a FILE.h5, or a folder (a name without ending, or a URL) that keeps shards, for very large data "
        "(default: <SOURCE>.<BACKBONE>.h5 in this folder, with --layer <SOURCE>.<BACKBONE>.<LAYER>.h5). For several "
        "backbones or layers, with {backbone} or {layer} in it",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="let rows leave that came from another place and are not in SOURCE, and those of images that cannot be "
        "read just now",
    )
    parser.add_argument(
        "--refresh",
        action="store_true",
        help="read and hash every image again, whatever its size and time say; and set aside an output that cannot be "
        "opened any more",
    )
    parser.add_argument(
        "--no-verify", action="store_true", help="do not compare the rows that are there with their checksums"
    )
    parser.add_argument(
        "--dtype", choices=_common.DTYPES, help="type of the rows on the disk (default: float32, or that of the output)"
    )
    parser.add_argument(
        "--engine",
        choices=("local", "processes", "ray"),
        default="local",
        help="what drives the extraction: this process; a process for each of --device (auto: each GPU); or actors of "
        "Ray Data on the machines of a cluster, which all see images, weights and output under the same names "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--address", metavar="HOST:PORT", help="of the Ray cluster (default: RAY_ADDRESS, or one of this machine alone)"
    )
    _common.add_extraction_options(parser, several=True)
    _common.add_output_options(parser)
    parser.set_defaults(run=run, wrong_usage=parser.error)


def run(arguments: argparse.Namespace) -> int:
    """Extract and say what was done."""
    if arguments.address is not None and arguments.engine != "ray":
        arguments.wrong_usage("--address goes with --engine ray")
    names, layers = _common.names_of(arguments, "backbone"), _common.layers_of(arguments)
    arguments.weights = _common.weights_of(arguments, names)
    if arguments.output is not None:
        if not arguments.output:
            arguments.wrong_usage("the name of the output is empty")
        output = arguments.output
    else:
        backbone = names[0] if len(names) == 1 else "{backbone}"
        layer = None if layers is None else layers[0] if len(layers) == 1 else "{layer}"
        output = _sources.default_store(arguments.source, backbone, layer, arguments.weights)
    stores = _common.extract_from(
        arguments,
        output,
        backbones=names,
        layers=layers,
        replace=arguments.replace,
        refresh=arguments.refresh,
        verify=not arguments.no_verify,
        dtype=arguments.dtype,
        engine=arguments.engine,
        address=arguments.address,
    )
    with ExitStack() as opened:
        for store in stores:
            opened.enter_context(store)
        if arguments.json:
            said = [_as_json(store) for store in stores]
            _common.print_json(said[0] if len(said) == 1 else {"stores": said})
        else:
            for store in stores:
                _tell(store)
        return _common.tell_failed(arguments, stores[0])


def _as_json(store: FeatureStore) -> dict[str, Any]:
    s = store.summary
    assert s is not None
    return {
        "store": str(store.path),
        "backbone": store.space.backbone,
        "layer": store.space.layer,
        "fingerprint": store.fingerprint,
        "rows": len(store),
        "images": s.images,
        "computed": s.computed,
        "reused": s.reused,
        "duplicates": s.duplicates,
        "failed": s.failed,
        "kept": s.kept,
        "removed": s.removed,
        "seconds": s.seconds,
        "images_per_second": s.images_per_second,
        "runtime": s.runtime,
        "fidelity": None if s.fidelity is None else asdict(s.fidelity),
        "failures": [{"path": path, "reason": why} for path, why in _common.failed_images(store)],
        "unavailable": _common.kept_images(store),
    }


def _tell(store: FeatureStore) -> None:
    s = store.summary
    assert s is not None
    classes = len(store.class_counts)
    options = store.space.options
    other = [f"{name} {options[name]}" for name, usual in _USUAL.items() if options[name] != usual]
    print(
        f"{store.path}: {len(store)} rows of {store.space.backbone}, {store.space.layer} (d = {store.space.dim}), "
        + "".join(f"{each}, " for each in other)
        + (f"{classes} classes" if classes else "no labels")
    )
    print(
        f"{_common.count(s.images, 'image')}: {s.computed} computed, {s.reused} reused, {s.duplicates} duplicates, "
        f"{s.failed} failed"
        + (f", {s.kept} not readable just now" if s.kept else "")
        + (f"; {s.removed} removed" if s.removed else "")
        + f", in {s.seconds:.1f} s ({s.images_per_second:.0f} images/s)"
    )
    if s.fidelity:
        print(f"{options['precision']}, decoder {options['decoder']}, against fp32 and Pillow: {s.fidelity}")
