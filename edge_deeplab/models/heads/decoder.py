"""The decoder of DeepLabv3+ (Chen et al. 2018, section 3.1): ASPP features meet low-level ones at stride 4.

And a step of our own after it, lean enough for stride 2, where hair and fingers still are.
"""

from __future__ import annotations

from edge_deeplab.models.blocks import Blocks, Feature


def build_decoder(blocks: Blocks, x: Feature, low_level: Feature, *, filters: int, low_level_filters: int) -> Feature:
    """Enlarges x to the low-level features, joins them, projected, and refines with two separable 3x3.

    Returns: (N, H, W, filters), H and W those of low_level, after ReLU.
    """
    size_hw = int(low_level.tensor.shape[1]), int(low_level.tensor.shape[2])
    x = blocks.resize(x, size_hw, "decoder_resize")
    detail = blocks.conv(low_level, low_level_filters, "decoder_low_level")
    joined = blocks.concat([x, detail], "decoder_concat")
    joined = blocks.separable(joined, filters, "decoder_0")
    return blocks.separable(joined, filters, "decoder_1")


def build_detail(blocks: Blocks, x: Feature, low_level: Feature, *, filters: int) -> Feature:
    """Narrows x, enlarges it to the low-level features, adds them, projected, and refines with one separable 3x3.

    Narrowed first, and added (Lin et al. 2017, figure 3) where the decoder concatenates: at stride 2 channels are dear.
    Returns: (N, H, W, filters), H and W those of low_level, after ReLU.
    """
    size_hw = int(low_level.tensor.shape[1]), int(low_level.tensor.shape[2])
    x = blocks.resize(blocks.conv(x, filters, "detail_narrow"), size_hw, "detail_resize")
    detail = blocks.conv(low_level, filters, "detail_low_level")
    joined = blocks.add(x, detail, "detail_add", branch_batch_norm="detail_low_level_bn")
    return blocks.separable(joined, filters, "detail_0")
