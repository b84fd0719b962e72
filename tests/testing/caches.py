"""Caches of one test alone, as those of another machine."""

from __future__ import annotations

import os
from pathlib import Path


def own_caches(monkeypatch, folder):
    """Empty, but for networks that are converted already: that takes ten seconds each time."""
    networks = Path(os.environ["FEATUREKIT_CACHE"], "networks").resolve()
    networks.mkdir(exist_ok=True)
    folder.mkdir()
    (folder / "networks").symlink_to(networks)
    monkeypatch.setenv("FEATUREKIT_CACHE", str(folder))
