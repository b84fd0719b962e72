"""Whether a launcher (torchrun, accelerate launch) started this process as one of several that train together."""

from __future__ import annotations

import os
from typing import NamedTuple

_NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")


class Launch(NamedTuple):
    """The number of this process, of all and on its machine, from 0; and how many there are, of all and there."""

    rank: int
    local_rank: int
    size: int
    local_size: int

    @property
    def leads(self) -> bool:
        """Whether this process does what one of each machine has to."""
        return self.local_rank == 0

    @property
    def on_first_machine(self) -> bool:
        """Whether it is on the machine of process 0."""
        return self.rank == self.local_rank


def launched() -> Launch | None:
    """What a launcher said in the environment; None if there was none, or it started one process only.

    Examples
    --------
    >>> launched() is None
    True
    """
    if not all(os.environ.get(name, "").isdecimal() for name in _NAMES) or "MASTER_ADDR" not in os.environ:
        return None
    launch = Launch(*(int(os.environ[name]) for name in _NAMES))
    return launch if launch.size > 1 else None
