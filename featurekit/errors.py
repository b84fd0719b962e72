"""The exception family of featurekit.

Every error that a user can cause is a :class:`FeaturekitError`, and its message says what failed, what
was expected against what was found, and what to do about it::

    FeaturekitError
    ├── SourceError (ValueError)        the source of images cannot be used at all
    ├── ImageError (ValueError)         one or more images could not be read
    │   └── UnavailableError            the bytes of an image cannot be had just now
    ├── BackboneError (ValueError)      no such backbone, or it cannot run here
    │   └── WeightsError                its weights are missing, damaged or of another network
    ├── HeadError (ValueError)          no such head, or the labels do not allow fitting it
    ├── TrainingError (ValueError)      a network cannot be trained like this
    ├── StoreError                      a store cannot be read or written
    │   ├── StoreFormatError            not a featurekit store, damaged, or unsafe to open
    │   │   └── DamagedRowsError        rows do not match their checksums; they can be computed again
    │   ├── FeatureSpaceError           rows of two feature spaces would be mixed
    │   └── StoreLockedError            another process is writing to it
    ├── BundleError                     a saved model cannot be read or written
    └── MissingExtraError (ImportError) an optional dependency is not installed

The classes that also derive from a built-in exception do so where scikit-learn's conventions expect it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

__all__ = [
    "BackboneError",
    "BundleError",
    "DamagedRowsError",
    "FeatureSpaceError",
    "FeaturekitError",
    "FeaturekitWarning",
    "HeadError",
    "ImageError",
    "LabelWarning",
    "MissingExtraError",
    "Note",
    "Remedy",
    "SourceError",
    "StoreError",
    "StoreFormatError",
    "StoreLockedError",
    "TrainingError",
    "UnavailableError",
    "WeightsError",
]


class Remedy(NamedTuple):
    """Something that the caller can do about an error or a warning.

    A message of the library names no option of the command line: the same error can come up in several commands, and
    not all of them have the option. The command line shows only those remedies that its command has an option for.

    Parameters
    ----------
    text : str
        Such as ``"choose another output"``.
    keyword : str
        The argument of the called function by which that is done, such as ``"output"``. Empty: no argument is needed.
    value : object
        What to give it. Default: what the caller likes.

    Examples
    --------
    >>> error = StoreError("The rows would leave.", remedies=[Remedy("let them go", "replace", True)])
    >>> str(error)
    'The rows would leave. Let them go (replace=True).'
    """

    text: str
    keyword: str = ""
    value: Any = ...


ANOTHER_OUTPUT = Remedy("choose another output", "output")
"""Where the output cannot be written, or belongs to something else."""


def _in_python(remedy: Remedy) -> str:
    return f"{remedy.keyword}={'...' if remedy.value is ... else repr(remedy.value)}"


def _advised(message: str, remedies: Sequence[Remedy], spelled: Callable[[Remedy], str]) -> str:
    """A message with its remedies, whose keywords are written by `spelled`; without those where that is empty."""
    known = [
        each.text if not each.keyword else f"{each.text} ({said})"
        for each in remedies
        if (said := spelled(each) if each.keyword else "-")
    ]
    advice = "; or ".join(known)
    return f"{message} {advice[0].upper()}{advice[1:]}." if advice else message


class Note(str):
    """A sentence about a source, with what can be done about it. As text it names the arguments of Python.

    Parameters
    ----------
    message : str
    remedies : sequence of Remedy
    about_labels : bool
        Whether it matters only where labels do.

    Examples
    --------
    >>> Note("There are no labels.", [Remedy("name their column", "label_column")])
    'There are no labels. Name their column (label_column=...).'
    """

    message: str
    remedies: list[Remedy]
    about_labels: bool

    def __new__(cls, message: str, remedies: Sequence[Remedy] = (), *, about_labels: bool = False) -> Self:
        """Join the sentence and the remedies."""
        note = super().__new__(cls, _advised(message, remedies, _in_python))
        note.message, note.remedies, note.about_labels = message, list(remedies), about_labels
        return note

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.remedies), {"about_labels": self.about_labels}

    def told(self, spelled: Callable[[Remedy], str]) -> str:
        """The sentence, with remedies whose keyword is written by `spelled`; without those where that is empty."""
        return _advised(self.message, self.remedies, spelled)


class _AdvisedError(Exception):
    """A message and its remedies."""

    def __init__(self, message: str = "", *, remedies: Sequence[Remedy] = ()) -> None:
        super().__init__(message)
        self.remedies = list(remedies)

    def __str__(self) -> str:
        return self.told(_in_python)

    def told(self, spelled: Callable[[Remedy], str]) -> str:
        """The message, with remedies whose keyword is written by `spelled`; without those where that is empty."""
        return _advised(str(self.args[0]) if self.args else "", self.remedies, spelled)


class FeaturekitError(_AdvisedError):
    """Base class: catch it to catch everything that featurekit raises on purpose."""


class FeaturekitWarning(_AdvisedError, UserWarning):  # noqa: N818 (warnings are named so)
    """A warning that says what can be done."""


class SourceError(FeaturekitError, ValueError):
    """The source of images cannot be used at all: missing, empty, or not of a known kind.

    Attributes
    ----------
    failures : list of (str, str)
        Path and reason of each image, where not a single one could be read; else empty.
    """

    failures: Sequence[tuple[str, str]] = ()


class ImageError(FeaturekitError, ValueError):
    """One or more images could not be read.

    Parameters
    ----------
    message : str
        For the user.
    failures : sequence of (int, str, str), optional
        Position in the input, name, and reason of every image that failed.

    Attributes
    ----------
    failures : list of (int, str, str)
        As given.
    """

    def __init__(
        self, message: str, failures: Sequence[tuple[int, str, str]] = (), *, remedies: Sequence[Remedy] = ()
    ) -> None:
        super().__init__(message, remedies=remedies)
        self.failures = list(failures)

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors travel between joblib's processes: keep the failures with them.
        return type(self), (self.args[0], self.failures), self.__dict__


class UnavailableError(ImageError):
    """The bytes of an image cannot be had just now: a disk, a server or a permission is missing.

    It says nothing about the image itself, so a row that is known of it stays good. An image that is gone by name, or
    whose bytes are not an image, raises an ordinary :class:`ImageError`.
    """


class BackboneError(FeaturekitError, ValueError):
    """No backbone of that name, or it cannot run on this machine."""


class WeightsError(BackboneError):
    """The weights of a backbone are missing, damaged, or belong to another network."""


class HeadError(FeaturekitError, ValueError):
    """No head of that name, or the labels do not allow fitting it."""


class TrainingError(FeaturekitError, ValueError):
    """A network cannot be trained like this: an option that cannot be, or a checkpoint of another job."""


class StoreError(FeaturekitError):
    """A store cannot be read or written."""


class StoreFormatError(StoreError):
    """The file is not a featurekit store, is damaged, or is not safe to open."""


class DamagedRowsError(StoreFormatError):
    """Rows of a store do not match their checksums: they were damaged after they were written."""


class FeatureSpaceError(StoreError):
    """Rows of two different feature spaces would be mixed."""


class StoreLockedError(StoreError):
    """Another process is writing to the store."""


class BundleError(FeaturekitError):
    """A saved model cannot be read or written."""


class MissingExtraError(FeaturekitError, ImportError):
    """An optional dependency is not installed."""


class LabelWarning(UserWarning):
    """Labels look wrong: one picture is there under two of them, or two names differ in form only."""
