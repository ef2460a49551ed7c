"""Atrous spatial pyramid pooling with image pooling (DeepLabv3, section 3.3; separable branches as in DeepLabv3+)."""

from __future__ import annotations

from edge_deeplab.models.blocks import Blocks, Feature


def build_aspp(blocks: Blocks, x: Feature, *, filters: int, rates: tuple[int, ...], dropout: float) -> Feature:
    """Image pooling, a 1x1 and one atrous separable branch for each rate, concatenated and projected.

    The order of concatenation is the official one. Returns: (N, h, w, filters), after ReLU.
    """
    mean = blocks.plain("GlobalAveragePooling2D", keepdims=True, name="image_pooling_mean")
    pooled = blocks.conv(Feature(mean(x.tensor), x.scale), filters, "image_pooling")
    pooled = blocks.upsample(pooled, (int(x.tensor.shape[1]), int(x.tensor.shape[2])), "image_pooling_resize")
    branches = [pooled, blocks.conv(x, filters, "aspp_0")]
    for index, rate in enumerate(rates, start=1):
        branches.append(blocks.separable(x, filters, f"aspp_{index}", rate=rate))
    projected = blocks.conv(blocks.concat(branches, "aspp_concat"), filters, "aspp_project")
    if dropout:
        projected = Feature(blocks.plain("Dropout", dropout, name="aspp_dropout")(projected.tensor))
    return projected
