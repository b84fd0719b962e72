"""Extraction: networks run once over every image whose row is not there yet."""

from __future__ import annotations

from .run import extract

__all__ = ["extract"]
