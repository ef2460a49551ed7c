"""What every backbone gives a head."""

from __future__ import annotations

from typing import NamedTuple

from edge_deeplab.models.blocks import Feature

LOW_LEVEL_STRIDES = (2, 4, 8, 16)
OFFICIAL_LOW_LEVEL_STRIDES = (4, 8, 16)
"""Those that a decoder of the official code may read."""


class Endpoints(NamedTuple):
    """Features of a backbone.

    Attributes:
        features: at the output stride.
        low_level: stride (2, 4, 8, 16; those the backbone has) -> the feature a decoder reads there. The stride is that
            of the network without atrous convolutions: at output stride 8, what stands at 16 has the size of 8.
    """

    features: Feature
    low_level: dict[int, Feature]
