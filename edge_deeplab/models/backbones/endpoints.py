"""What every backbone gives a head."""

from __future__ import annotations

from typing import NamedTuple

from edge_deeplab.models.blocks import Feature


class Endpoints(NamedTuple):
    """Features of a backbone.

    Attributes:
        features: at the output stride.
        low_level: stride (4, 8, 16; those the backbone has) -> the feature a decoder reads there.
    """

    features: Feature
    low_level: dict[int, Feature]
