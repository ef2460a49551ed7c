"""MobileNetV2 (Sandler et al. 2018, table 2) as a DeepLab backbone: no classifier, a free output stride.

ends = build_mobilenet_v2(blocks, image, width=0.5, output_stride=16, width_divisor=1, taps="depthwise")
"""

from __future__ import annotations

from edge_deeplab.models.backbones.endpoints import LOW_LEVEL_STRIDES, OFFICIAL_LOW_LEVEL_STRIDES, Endpoints
from edge_deeplab.models.backbones.mobilenets import (
    EXPANSION_DIVISOR,
    OFFICIAL_BATCH_NORM,
    InvertedResidual,
    block_scope,
    inverted_residual,
    is_official,
)
from edge_deeplab.models.backbones.strides import StrideKeeper
from edge_deeplab.models.blocks import Blocks, Feature, make_divisible

# expansion, channels at width 1, repeats, stride of the first
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
STEM_CHANNELS = 32
SCOPE = "MobilenetV2"


def build_mobilenet_v2(
    blocks: Blocks, image: Feature, *, width: float, output_stride: int, width_divisor: int, taps: str = "block"
) -> Endpoints:
    """The features of MobileNetV2.

    Args:
        width: the depth multiplier.
        output_stride: 8, 16 or 32; strides past it become atrous rates.
        width_divisor: channels are rounded to multiples of this. Google's DeepLab checkpoints use 1 for a width
            other than 1 (0.5 rounds 24 to 12); 8 is faster on a device.
        taps: "block" for a network of our own, whose low-level features are the last linear outputs at their strides;
            "depthwise" for the official one, whose decoder reads those blocks' depthwise outputs.
    Returns: the features at output_stride, linear, and the low-level ones at the strides 2 (of a network of our own),
        4, 8 and 16.
    """
    taps_inside = is_official(taps)
    minimum = None
    if taps_inside:
        blocks.epsilon, blocks.momentum = OFFICIAL_BATCH_NORM
        minimum = 8 if width == 1.0 else 1

    def rounded(channels: int) -> int:
        return make_divisible(channels * width, width_divisor, minimum)

    keeper = StrideKeeper(output_stride)
    nominal_stride = 2
    low_level: dict[int, Feature] = {}
    x = blocks.conv(
        image, rounded(STEM_CHANNELS), "stem", kernel=3, stride=keeper.step(2)[0], activation="relu6",
        scope=f"{SCOPE}/Conv",
    )  # fmt: skip
    index = 0
    for expansion, channels, repeats, first_stride in STAGES:
        for repeat in range(repeats):
            nominal = first_stride if repeat == 0 else 1
            nominal_stride *= nominal
            stride, rate = keeper.step(nominal)
            expanded = x.channels if expansion == 1 else make_divisible(x.channels * expansion, EXPANSION_DIVISOR)
            block = InvertedResidual(expanded, rounded(channels), stride=stride, rate=rate, activation="relu6")
            x, inside = inverted_residual(blocks, x, block, f"block_{index}", block_scope(SCOPE, index))
            low_level[nominal_stride] = inside if taps_inside else x
            index += 1
    strides = OFFICIAL_LOW_LEVEL_STRIDES if taps_inside else LOW_LEVEL_STRIDES
    return Endpoints(x, {stride: low_level[stride] for stride in strides})
