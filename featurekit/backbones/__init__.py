"""Backbones: a name becomes a network with its preprocessing, layer and weights.

Names, weights and the feature space are found without importing torch (:mod:`.registry`); only
:mod:`.network` builds the network.
"""

from __future__ import annotations

from .registry import DEFAULT_BACKBONE, SPECS, Backbone, BackboneSpec, find, find_local, short_name

__all__ = ["DEFAULT_BACKBONE", "SPECS", "Backbone", "BackboneSpec", "find", "find_local", "short_name"]
