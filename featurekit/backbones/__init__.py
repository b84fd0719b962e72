"""Backbones: a name, a saved model or a network becomes a network with its preprocessing, layers and weights.

Only :mod:`.network`, :mod:`.libraries`, :mod:`.checkpoints`, :mod:`.probe` and :mod:`.brought` import torch. What a
network is, is kept in featurekit's cache (:mod:`.catalog`), so that it is looked at once on a machine.
"""

from __future__ import annotations

from .anatomy import Anatomy, Layer
from .catalog import anatomy, describe, known, names
from .lite import LITE
from .registry import (
    DEFAULT_BACKBONE,
    anatomy_of,
    default_layer,
    described,
    find,
    find_local,
    named,
    resized,
    short_name,
    with_rows,
)
from .spec import MODULE, POOLINGS, Backbone, BackboneSpec, Rows

__all__ = [
    "DEFAULT_BACKBONE",
    "LITE",
    "MODULE",
    "POOLINGS",
    "Anatomy",
    "Backbone",
    "BackboneSpec",
    "Layer",
    "Rows",
    "anatomy",
    "anatomy_of",
    "default_layer",
    "describe",
    "described",
    "find",
    "find_local",
    "known",
    "named",
    "names",
    "resized",
    "short_name",
    "with_rows",
]
