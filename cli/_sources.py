"""What SOURCE names, and what is called by its name."""

from __future__ import annotations

import argparse
import glob
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featurekit.images import Source

_SPLITS = frozenset("train training val valid validation dev test testing eval".split())
"""Names that say nothing of what the images are."""


def default_store(source: str, backbone: str, layer: str | None, weights: Any = None) -> Path:
    """Where the rows of SOURCE go if nobody says: ``<name>.<backbone>[.<layer>].h5`` in the current folder.

    The layer is in the name where one was asked for, unless the store without it holds rows of that layer, as those
    of older versions hold the penultimate one. A saved model as a backbone is called by the name of its folder; weights
    of the user's own by that of their file. Where SOURCE is called as a split, its folder's name goes in front:
    ``siteA-train``. A store of SOURCE that has the name without it, as older versions called it, is used again.
    """
    from featurekit.backbones import short_name

    name = short_name(backbone)
    if isinstance(weights, str | os.PathLike):
        from featurekit.bundle import NETWORK

        path = Path(weights).resolve()
        name = path.parent.name if path.name == NETWORK else f"{name}-{path.stem}"
    short = default_name(source)
    above = _folder_of(source)
    endings = [f"{name}.h5", *([] if layer is None else [f"{name}.{layer}.h5"])]
    if short.lower() in _SPLITS and above and not any(_holds_rows_of(source, f"{short}.{end}") for end in endings):
        short = f"{above}-{short}"
    plain, whole = f"{short}.{endings[0]}", f"{short}.{endings[-1]}"
    return Path(plain if layer is not None and _holds_layer(layer, plain) else whole)


def _folder_of(source: str) -> str:
    """The name of the folder that SOURCE is in."""
    from featurekit.folders import is_url
    from featurekit.images import public

    return (Path(public(source)) if is_url(source) else Path(source).resolve()).parent.name


def _holds_rows_of(source: str, name: str) -> bool:
    """Tell whether a store of this name, in which ``{backbone}`` and ``{layer}`` stand for any, was made of SOURCE."""
    from featurekit import FeatureStore
    from featurekit.errors import FeaturekitError

    pattern = glob.escape(name).replace("{backbone}", "*").replace("{layer}", "*")
    for path in glob.glob(pattern):
        with suppress(FeaturekitError, OSError), FeatureStore(path) as store:
            if _absolute(str(store.provenance.get("source", ""))) == _absolute(source):
                return True
    return False


def _holds_layer(layer: str, name: str) -> bool:
    """Tell whether there is a store of this name with rows of this layer."""
    from featurekit.store import held_space

    space = held_space(Path(name))
    return space is not None and space.layer == layer


def _absolute(source: str) -> str:
    from featurekit.folders import is_url
    from featurekit.images import public

    return public(source) if is_url(source) else os.path.realpath(source)


def default_name(source: str) -> str:
    """What is made of SOURCE is called by its name."""
    from featurekit.images import public

    path = Path(public(source))
    return (path.resolve().name if path.is_dir() else path.stem) or "images"


def is_store(source: str) -> bool:
    """Whether SOURCE names a store: an .h5 file, or a folder with an index; here, or behind a URL."""
    from featurekit.folders import is_store_name

    path, is_file = Path(source), is_store_name(source)
    if "://" not in source or is_file:
        return (path / "index.h5").is_file() if path.is_dir() else is_file
    from featurekit.errors import FeaturekitError
    from featurekit.store import place_of

    try:
        return (place_of(source) / "index.h5").exists()
    except FeaturekitError:
        return False  # what is wrong with it is said when it is read


def add_manifest_options(group: Any) -> None:
    """``--root`` and the names of columns."""
    group.add_argument(
        "--root", metavar="DIR", help="folder that the paths of a manifest are relative to, and that they may not leave"
    )
    for kind in ("path", "label", "group", "split"):
        group.add_argument(
            f"--{kind}-column", metavar="NAME", help=f"column of a manifest that holds the {kind}s (default: {kind})"
        )


def columns_of(arguments: argparse.Namespace) -> dict[str, str | None]:
    """The names of columns as arguments of the library's `extract`."""
    return {name: getattr(arguments, name) for name in ("path_column", "label_column", "group_column", "split_column")}


def check_no_columns(arguments: argparse.Namespace, source: str) -> None:
    """Refuse names of columns where SOURCE is a store."""
    for name, given in columns_of(arguments).items():
        if given is not None:
            arguments.wrong_usage(f"--{name.replace('_', '-')} is for manifests, and {source} is a store")


def read(arguments: argparse.Namespace, source: str | None = None) -> Source:
    """The images of SOURCE (or of another source), listed by the options that were given.

    The list is kept for :func:`take_read`, so that a manifest is not read again for the extraction.
    """
    from featurekit.images import ManifestColumns, read_source

    name = arguments.source if source is None else source
    kept = vars(arguments).setdefault("listings", {})
    key = _key(arguments, name)
    if key not in kept:
        columns = {name.removesuffix("_column"): given for name, given in columns_of(arguments).items()}
        kept[key] = read_source(name, root=arguments.root, columns=ManifestColumns(**columns))
    listing: Source = kept[key]
    return listing


def take_read(arguments: argparse.Namespace, source: Any) -> tuple[Any, dict[str, Any]]:
    """Take the list that :func:`read` made of a source; arguments of the library's `extract` that say what is listed.

    Returns
    -------
    source : Source, or what was given
        The same where it was not read; the list is not kept here any longer.
    options : dict
        Root and names of columns, which a list that was read needs no more.
    """
    options = {"root": arguments.root} | columns_of(arguments)
    listing = (
        vars(arguments).get("listings", {}).pop(_key(arguments, source), None) if isinstance(source, str) else None
    )
    return (source, options) if listing is None else (listing, dict.fromkeys(options))


def _key(arguments: argparse.Namespace, source: str) -> tuple[str | None, ...]:
    return (source, arguments.root, *columns_of(arguments).values())


def add_images_option(parser: argparse.ArgumentParser) -> None:
    """``--images``: where a report may read pictures."""
    parser.add_argument(
        "--images",
        metavar="DIR",
        help="with --report: the only folder, or URL, that pictures of mistakes are read from (default: the images of "
        "SOURCE, if these are named by it and lie on this machine)",
    )


def images_of(arguments: argparse.Namespace, source: str) -> str | None:
    """Find where a report may read pictures: where the user says, else where SOURCE is, if that is on this machine."""
    from featurekit.folders import is_url
    from featurekit.images import is_manifest

    given: str | None = arguments.images
    if given is not None or is_url(source) or is_store(source):
        return given
    if not is_manifest(source):
        return source
    # A manifest of one's own may name files anywhere.
    return arguments.root or Path(source).resolve().anchor
