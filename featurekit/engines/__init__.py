"""The same extraction by several processes, of this machine (:mod:`.processes`) or of many (:mod:`.ray_data`)."""

from __future__ import annotations

from .processes import fill_with_processes
from .ray_data import fill_with_ray

__all__ = ["fill_with_processes", "fill_with_ray"]
