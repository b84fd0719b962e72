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

from collections.abc import Sequence

__all__ = [
    "BackboneError",
    "BundleError",
    "DamagedRowsError",
    "FeatureSpaceError",
    "FeaturekitError",
    "HeadError",
    "ImageError",
    "LabelWarning",
    "MissingExtraError",
    "SourceError",
    "StoreError",
    "StoreFormatError",
    "StoreLockedError",
    "TrainingError",
    "UnavailableError",
    "WeightsError",
]


class FeaturekitError(Exception):
    """Base class: catch it to catch everything that featurekit raises on purpose."""


class SourceError(FeaturekitError, ValueError):
    """The source of images cannot be used at all: missing, empty, or not of a known kind."""


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

    def __init__(self, message: str, failures: Sequence[tuple[int, str, str]] = ()) -> None:
        super().__init__(message)
        self.failures = list(failures)

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, list[tuple[int, str, str]]]]:
        # Errors travel between joblib's processes: keep the failures with them.
        return type(self), (str(self), self.failures)


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
