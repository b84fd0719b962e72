"""The same extraction on several machines: :mod:`.ray_data`."""

from __future__ import annotations

from .ray_data import fill_with_ray

__all__ = ["fill_with_ray"]
