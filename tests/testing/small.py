"""Extraction from small images, for tests of what happens around the network: a twelfth of the network's work."""

from __future__ import annotations

from functools import partial

import featurekit

SIDE = 64
extract = partial(featurekit.extract, image_size=SIDE)
