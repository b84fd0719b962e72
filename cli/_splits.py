"""The split of a source's images into training, validation and test, for the verbs that follow it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from . import _common, _sources

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from featurekit import FeaturekitError, FeatureStore

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_NAMES = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}


class Split(NamedTuple):
    """The part that each image of a source belongs to.

    Attributes
    ----------
    called : str
        Where the source says so, such as ``the column 'split'``.
    parts : dict
        ``train``, ``validation``, ``test`` or nothing, by the path of the image.
    labels : list of (str, str)
        Part and label of each labeled image.
    """

    called: str
    parts: dict[str, str]
    labels: list[tuple[str, str]]

    def of(self, paths: Sequence[str]) -> list[str]:
        """The part of each of these images; nothing for one that has none."""
        return [self.parts.get(path, "") for path in paths]

    def labels_of(self, parts: Sequence[str]) -> list[str]:
        """The labels of the images in these parts."""
        return [label for part, label in self.labels if part in parts]


def add_split_option(parser: argparse.ArgumentParser, text: str) -> None:
    """``--split``: the parts of a split that the verb works on."""
    parser.add_argument("--split", type=_parts, metavar="PARTS", help=text)


def _parts(text: str) -> tuple[str, ...]:
    """Parts that an option names, with commas between them; none for ``all``, which is to follow no split."""
    names = [name.strip().lower() for name in text.split(",")]
    if names == ["all"]:
        return ()
    if unknown := [name for name in names if name not in _NAMES]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of train, validation (or val), test and all")
    return tuple(dict.fromkeys(_NAMES[name] for name in names))


def split_of(arguments: argparse.Namespace, needed: Sequence[Sequence[str]], otherwise: str) -> Split | None:
    """Find the split that a manifest or a store holds, before anything is computed.

    Parameters
    ----------
    arguments : argparse.Namespace
    needed : sequence of sequence of str
        Parts that must have labeled images: at least one of each of these sequences.
    otherwise : str
        What the verb does if it follows no split, for messages: ``every labeled image is learned``.

    Returns
    -------
    Split or None
        None where there is none, or none that can be followed; a note then says so.

    Raises
    ------
    FeaturekitError
        If the user asked for a split by an option and it cannot be followed, or an image is in two parts.
    """
    from featurekit import FeaturekitError

    source, wanted = arguments.source, getattr(arguments, "split", None)
    if wanted == ():
        return None
    options = [
        name for name, given in (("--split-column", arguments.split_column), ("--split", wanted)) if given is not None
    ]
    called, said, images = _read(arguments, source)
    texts = sorted({*said} - {""})
    if not texts and not options:
        return None
    parts: dict[str, str] = {}
    for (path, _), text in zip(images, said if images else (), strict=True):
        part = _NAMES.get(text.lower(), "")
        if parts.setdefault(path, part) != part and all(name.lower() in _NAMES for name in texts):
            first, second = (repr(name) if name else "no part" for name in (parts[path], part))
            raise FeaturekitError(
                f"{source}: {path} is in two parts of the split, {first} and {second} ({called}). Keep one of these "
                "lines."
            )
    labels = [(parts[path], label) for path, label in images if label]
    labeled = {part for part, _ in labels}
    if not called:
        raise FeaturekitError(f"{source} holds no split. Leave {' and '.join(options)} out: then {otherwise}.")
    if not texts:
        problem = f"{called} names no parts of a split"
    elif any(text.lower() not in _NAMES for text in texts):
        shown = ", ".join(map(repr, texts[:5])) + (", ..." if len(texts) > 5 else "")
        problem = f"{called} holds {shown}; expected train, validation (or val) and test"
    elif lacking := [either for either in needed if not labeled & set(either)]:
        problem = f"{called} puts no labeled image into the part {' or '.join(lacking[0])}"
    else:
        return Split(called, parts, labels)
    if options:
        raise FeaturekitError(f"{source}: {problem}. Mend it, or leave {' and '.join(options)} out: then {otherwise}.")
    _common.note(arguments, f"{source}: {problem}. It is not followed: {otherwise}.")
    return None


def note_every(arguments: argparse.Namespace, source: str, done: str) -> None:
    """Say that a verb follows no split, if the source has one."""
    called, texts, _ = _read(arguments, source, images=False)
    parts = {_NAMES.get(text.lower(), "") for text in set(texts) if text}
    if not parts:
        return
    known = TEST in parts and "" not in parts
    more = ", so that what is chosen by the result has seen the test images, too" if known else ""
    _common.note(arguments, f"{source}: {called} is not followed: every labeled image is {done}{more}.")


def note_drawn(arguments: argparse.Namespace) -> None:
    """Say that ``--test-size`` takes the place of a split, if the source has one."""
    called, texts, _ = _read(arguments, arguments.source, images=False)
    if any(texts):
        _common.note(arguments, f"--test-size is given: {called} is not followed.")


def _read(
    arguments: argparse.Namespace, source: str, *, images: bool = True
) -> tuple[str, list[str], list[tuple[str, str]]]:
    """Find the split of a source.

    Parameters
    ----------
    arguments : argparse.Namespace
    source : str
    images : bool
        Whether paths and labels are read.

    Returns
    -------
    called : str
        Its name; empty if there is none.
    texts : list of str
        What is said of each image.
    images : list of (str, str)
        Path and label of each image; empty if they are not asked for, or no text says anything.
    """
    from featurekit import FeatureStore
    from featurekit.images import is_manifest

    if _sources.is_store(source):
        _sources.check_no_columns(arguments, source)
        with FeatureStore(source) as store:
            if not store.has_splits:
                return "", [], []
            texts = store.splits.tolist()
            there = list(zip(store.paths, store.y.tolist(), strict=True)) if images and any(texts) else []
            return "the store's split", texts, there
    if not is_manifest(source):
        if arguments.split_column is not None:
            arguments.wrong_usage(f"--split-column is for manifests, and {source} is none")
        return "", [], []
    listing = _sources.read(arguments, source)
    if not listing.splits:
        return "", [], []
    there = [(item.path, item.label) for item in listing.items] if images and any(listing.splits) else []
    return f"the column {arguments.split_column or 'split'!r}", listing.splits, there


def chosen_rows(split: Split, store: FeatureStore, parts: Sequence[str]) -> NDArray[np.bool_]:
    """Find the labeled rows in these parts.

    Raises
    ------
    FeaturekitError
        If there is none: no image of these parts could be read.
    """
    import numpy as np

    found: NDArray[np.bool_] = np.isin(np.array(split.of(store.paths)), parts) & (store.columns.label != b"")
    if not found.any():
        raise nothing_readable(split, parts)
    return found


def nothing_readable(split: Split, parts: Sequence[str]) -> FeaturekitError:
    """Make the error for parts of which no labeled image could be read."""
    from featurekit import FeaturekitError

    return FeaturekitError(f"no labeled image of the part {' or '.join(parts)} could be read ({split.called})")


def parts_of(split: Split, store: FeatureStore) -> list[str]:
    """List the part of each labeled row."""
    return [part for part, label in zip(split.of(store.paths), store.columns.label, strict=True) if label]


def note_followed(arguments: argparse.Namespace, split: Split, found: Sequence[str], **roles: str) -> None:
    """Say how a split is followed.

    Parameters
    ----------
    arguments : argparse.Namespace
    split : Split
    found : sequence of str
        The part of each labeled image that could be read.
    **roles : str
        What is done with a part, by its name.
    """
    said = [f"{role} {found.count(part)} ({part})" for part, role in roles.items() if part in found]
    left = sum(part not in roles for part in found)
    more = f"; {left} left out" if left else ""
    _common.note(arguments, f"Split by {split.called}: {', '.join(said)}{more}.")
