"""An error of an actor arrives whole, without what Ray wraps around it."""

from __future__ import annotations

from featurekit.engines.ray_data import _cause
from featurekit.errors import ImageError, Remedy, StoreError


class _WrappingError(Exception):
    """As Ray's errors: what it wraps is its `cause`."""

    def __init__(self, cause):
        super().__init__("task failed")
        self.cause = cause


class _BothError(StoreError, _WrappingError):
    """As the errors of Ray that also are of the class of their cause."""

    def __init__(self, cause):
        super().__init__(str(cause))
        self.cause = cause


def test_failures_and_remedies_of_an_actor_arrive():
    inner = ImageError("bad", [(3, "a.png", "empty")], remedies=[Remedy("skip them", "on_error", "skip")])
    found = _cause(_WrappingError(inner))
    assert type(found) is ImageError
    assert found.failures == [(3, "a.png", "empty")]
    assert str(found) == str(inner)


def test_error_that_is_of_both_classes_is_unwrapped():
    inner = StoreError("no room", remedies=[Remedy("make room")])
    found = _cause(_BothError(inner))
    assert type(found) is StoreError
    assert found.remedies == inner.remedies


def test_error_that_was_raised_from_ours_is_unwrapped():
    error = RuntimeError("around")
    error.__cause__ = StoreError("no room", remedies=[Remedy("make room")])
    assert str(_cause(error)) == "no room Make room."
