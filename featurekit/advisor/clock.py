"""The time that advice may take."""

from __future__ import annotations

import time


class Clock:
    """Counts the seconds of a budget, and notes what these did not allow.

    Parameters
    ----------
    budget : float
        Seconds.

    Attributes
    ----------
    budget : float
    untested : list of str
        What was left out.

    Examples
    --------
    >>> clock = Clock(10)
    >>> clock.allows(60, "a look"), clock.untested
    (False, ['a look: it would take some 60 s, and 10 s are left'])
    """

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self.untested: list[str] = []
        self._started = time.perf_counter()

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._started

    @property
    def left(self) -> float:
        """Seconds; below 0 if it took longer."""
        return self.budget - self.spent

    def allows(self, seconds: float, what: str) -> bool:
        """Whether there is time for it; if not, that is noted."""
        if seconds <= self.left:
            return True
        self.untested.append(f"{what}: it would take some {seconds:.0f} s, and {max(self.left, 0):.0f} s are left")
        return False
