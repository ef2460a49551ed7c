"""The decoder of DeepLabv3+ (Chen et al. 2018, section 3.1): ASPP features meet low-level ones at stride 4."""

from __future__ import annotations

from edge_deeplab.models.blocks import Blocks, Feature


def build_decoder(
    blocks: Blocks, x: Feature, low_level: Feature, *, factor: int, filters: int, low_level_filters: int
) -> Feature:
    """Enlarges x by `factor`, joins the projected low-level features, refines with two separable 3x3.

    Returns: (N, 4h', 4w', filters) at stride 4, after ReLU.
    """
    x = blocks.upsample(x, (factor, factor), "decoder_resize")
    detail = blocks.conv(low_level, low_level_filters, "decoder_low_level")
    joined = Feature(blocks.K.layers.Concatenate(name="decoder_concat")([x.tensor, detail.tensor]))
    joined = blocks.separable(joined, filters, "decoder_0")
    return blocks.separable(joined, filters, "decoder_1")
