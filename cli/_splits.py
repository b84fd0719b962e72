"""The split of a manifest's images into training, validation and test, for the verbs that follow it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple

from . import _common, _sources

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_NAMES = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}


class Split(NamedTuple):
    """The part that each image of a manifest belongs to.

    Attributes
    ----------
    column : str
        Where the manifest says so.
    parts : dict
        ``train``, ``validation``, ``test`` or nothing, by the path in the manifest.
    """

    column: str
    parts: dict[str, str]

    def of(self, paths: Sequence[str]) -> list[str]:
        """The part of each of these images; nothing for one that has none."""
        return [self.parts.get(path, "") for path in paths]


def followed(arguments: argparse.Namespace, split: Split, found: Sequence[str], needed: Sequence[str]) -> bool:
    """Tell whether a split can be followed: if each of the parts that are needed has images.

    Parameters
    ----------
    arguments : argparse.Namespace
    split : Split
    found : sequence of str
        The part of each labeled image that has a row.
    needed : sequence of str
        Parts, of which one with a slash in it may be either.

    Raises
    ------
    FeaturekitError
        If it cannot, and the column was named.
    """
    from featurekit import FeaturekitError

    lacking = [part for part in needed if not set(part.split("/")) & set(found)]
    if not lacking:
        return True
    problem = f"the column {split.column!r} puts no labeled image into the part {lacking[0]}"
    if arguments.split_column is not None:
        raise FeaturekitError(problem)
    _common.note(arguments, f"{problem}: it is not followed.")
    return False


def counted(split: Split, found: Sequence[str], **roles: str) -> str:
    """How a split is followed, as a sentence: what is done with each part that has images."""
    said = [f"{role} {found.count(part)} ({part})" for part, role in roles.items() if part in found]
    left = sum(part not in roles for part in found)
    return f"Split by the column {split.column!r}: {', '.join(said)}" + (f"; {left} left out." if left else ".")


def split_of(arguments: argparse.Namespace) -> Split | None:
    """The split that a manifest holds, read from it anew, because a store keeps none; None where there is none.

    A column that was not named and holds something else is not followed, and a note says so.
    """
    from featurekit import FeaturekitError
    from featurekit.images import is_manifest

    source = arguments.source
    if not is_manifest(source):
        if arguments.split_column is not None:
            arguments.wrong_usage(f"--split-column is for manifests, and {source} is none")
        return None
    found = _sources.read(arguments)
    column = arguments.split_column or "split"
    if not any(found.splits):
        if arguments.split_column is not None:
            raise FeaturekitError(f"{source}: the column {column!r} is empty")
        return None
    parts: dict[str, str] = {}
    for item, text in zip(found.items, found.splits, strict=True):
        part = _NAMES.get(text.strip().lower(), "") if text.strip() else ""
        if text.strip() and not part:
            problem = f"{source}: the column {column!r} holds {text!r}; expected train, validation (or val) and test"
            if arguments.split_column is not None:
                raise FeaturekitError(problem)
            _common.note(arguments, f"{problem}. It is not followed.")
            return None
        if parts.setdefault(item.path, part) != part:
            raise FeaturekitError(
                f"{source}: {item.path} is in two parts of the split, {parts[item.path] or 'none'!r} and "
                f"{part or 'none'!r} (column {column!r})"
            )
    return Split(column, parts)
