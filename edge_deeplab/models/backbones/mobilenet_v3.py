"""MobileNetV3 small and large (Howard et al. 2019, tables 1 and 2) as DeepLab backbones.

They are the segmentation variants (section 6.4): the last stage has half its channels.

    ends = build_mobilenet_v3(blocks, image, variant="mobilenet_v3_small", width=1.0, output_stride=16, width_divisor=8)
"""

from __future__ import annotations

from typing import NamedTuple

from edge_deeplab.models.backbones.endpoints import LOW_LEVEL_STRIDES, OFFICIAL_LOW_LEVEL_STRIDES, Endpoints
from edge_deeplab.models.backbones.mobilenets import (
    EXPANSION_DIVISOR,
    OFFICIAL_BATCH_NORM,
    OFFICIAL_SLOPE,
    InvertedResidual,
    block_scope,
    inverted_residual,
    is_official,
)
from edge_deeplab.models.backbones.strides import StrideKeeper
from edge_deeplab.models.blocks import Blocks, Feature, make_divisible


class Block(NamedTuple):
    """One row of the paper's tables: kernel size, expanded and output channels, squeeze-excite, activation, stride."""

    kernel: int
    expanded: int
    channels: int
    has_se: bool
    activation: str
    stride: int


R, H = "relu", "hard_swish"
LARGE = (
    Block(3, 16, 16, False, R, 1),
    Block(3, 64, 24, False, R, 2),
    Block(3, 72, 24, False, R, 1),
    Block(5, 72, 40, True, R, 2),
    Block(5, 120, 40, True, R, 1),
    Block(5, 120, 40, True, R, 1),
    Block(3, 240, 80, False, H, 2),
    Block(3, 200, 80, False, H, 1),
    Block(3, 184, 80, False, H, 1),
    Block(3, 184, 80, False, H, 1),
    Block(3, 480, 112, True, H, 1),
    Block(3, 672, 112, True, H, 1),
    Block(5, 336, 80, True, H, 2),
    Block(5, 480, 80, True, H, 1),
    Block(5, 480, 80, True, H, 1),
)
SMALL = (
    Block(3, 16, 16, True, R, 2),
    Block(3, 72, 24, False, R, 2),
    Block(3, 88, 24, False, R, 1),
    Block(5, 96, 40, True, H, 2),
    Block(5, 240, 40, True, H, 1),
    Block(5, 240, 40, True, H, 1),
    Block(5, 120, 48, True, H, 1),
    Block(5, 144, 48, True, H, 1),
    Block(5, 144, 48, True, H, 2),
    Block(5, 288, 48, True, H, 1),
    Block(5, 288, 48, True, H, 1),
)
TABLES = {"mobilenet_v3_large": LARGE, "mobilenet_v3_small": SMALL}
STEM_CHANNELS = 16
TAIL_CHANNELS = {"mobilenet_v3_large": 480, "mobilenet_v3_small": 288}
SCOPE = "MobilenetV3"


def build_mobilenet_v3(
    blocks: Blocks, image: Feature, *, variant: str, width: float, output_stride: int, width_divisor: int,
    taps: str = "block",
) -> Endpoints:  # fmt: skip
    """The features of MobileNetV3.

    Args:
        variant: "mobilenet_v3_small" or "mobilenet_v3_large".
        width, output_stride, width_divisor: as for MobileNetV2; the official code rounds to 8 at any width.
        taps: as for MobileNetV2. The official network has 0.16667 for the sixth in squeeze-and-excite; a true sixth
            moves its features by 1.3e-3 (large) and 2.0e-3 (small) of their standard deviation.
    Returns: the features at output_stride after the final 1x1, and the low-level ones at the strides 2 (of networks of
        our own), 4, 8 and 16.
    """
    taps_inside, slope = is_official(taps), 1 / 6
    if taps_inside:
        blocks.epsilon, blocks.momentum = OFFICIAL_BATCH_NORM
        slope = OFFICIAL_SLOPE
    keeper = StrideKeeper(output_stride)
    nominal_stride = 2
    low_level: dict[int, Feature] = {}
    x = blocks.conv(
        image, make_divisible(STEM_CHANNELS * width, width_divisor), "stem", kernel=3, stride=keeper.step(2)[0],
        activation=H, scope=f"{SCOPE}/Conv",
    )  # fmt: skip
    low_level[nominal_stride] = x  # what the first block makes of it, where that stays at stride 2
    before = STEM_CHANNELS
    for index, row in enumerate(TABLES[variant]):
        nominal_stride *= row.stride
        stride, rate = keeper.step(row.stride)
        # a factor of what the block really gets; the first one has no expansion
        expanded = x.channels
        if row.expanded != before:
            expanded = make_divisible(x.channels * (row.expanded / before), EXPANSION_DIVISOR)
        block = InvertedResidual(
            expanded, make_divisible(row.channels * width, width_divisor), kernel=row.kernel, stride=stride, rate=rate,
            activation=row.activation, se_slope=slope if row.has_se else None,
        )  # fmt: skip
        x, inside = inverted_residual(blocks, x, block, f"block_{index}", block_scope(SCOPE, index))
        low_level[nominal_stride] = inside if taps_inside else x
        before = row.channels
    tail = make_divisible(TAIL_CHANNELS[variant] * width, width_divisor)
    x = blocks.conv(x, tail, "tail", activation=H, scope=f"{SCOPE}/Conv_1")
    strides = OFFICIAL_LOW_LEVEL_STRIDES if taps_inside else LOW_LEVEL_STRIDES
    return Endpoints(x, {stride: low_level[stride] for stride in strides})
