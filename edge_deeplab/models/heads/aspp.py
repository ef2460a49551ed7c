"""Atrous spatial pyramid pooling with image pooling (DeepLabv3, section 3.3; separable branches as in DeepLabv3+)."""

from __future__ import annotations

from edge_deeplab.models.blocks import Blocks, Feature


def build_aspp(blocks: Blocks, x: Feature, *, filters: int, rates: tuple[int, ...], dropout: float) -> Feature:
    """Image pooling, a 1x1 and one atrous separable branch for each rate, concatenated and projected.

    The order of concatenation is the official one. Returns: (N, h, w, filters), after ReLU.
    """
    layers = blocks.K.layers
    height, width = int(x.tensor.shape[1]), int(x.tensor.shape[2])
    pooled = Feature(layers.GlobalAveragePooling2D(keepdims=True, name="image_pooling_mean")(x.tensor), x.scale)
    pooled = blocks.conv(pooled, filters, "image_pooling")
    pooled = blocks.upsample(pooled, (height, width), "image_pooling_resize")
    branches = [pooled, blocks.conv(x, filters, "aspp_0")]
    for index, rate in enumerate(rates, start=1):
        branches.append(blocks.separable(x, filters, f"aspp_{index}", rate=rate))
    joined = Feature(layers.Concatenate(name="aspp_concat")([branch.tensor for branch in branches]))
    projected = blocks.conv(joined, filters, "aspp_project")
    if dropout:
        projected = Feature(layers.Dropout(dropout, name="aspp_dropout")(projected.tensor))
    return projected
