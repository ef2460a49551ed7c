"""MobileNetV3 small and large (Howard et al. 2019, tables 1 and 2) as DeepLab backbones.

They are the segmentation variants (section 6.4): the last stage has half its channels.
"""

from __future__ import annotations

from typing import NamedTuple

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
    Block(5, 288, 48, True, H, 2),
    Block(5, 288, 48, True, H, 1),
    Block(5, 288, 48, True, H, 1),
)
TABLES = {"mobilenet_v3_large": LARGE, "mobilenet_v3_small": SMALL}
STEM_CHANNELS = 16
TAIL_EXPANSION = 6


def build_mobilenet_v3(
    blocks: Blocks, image: Feature, *, variant: str, width: float, output_stride: int, width_divisor: int
) -> tuple[Feature, Feature]:
    """The features of MobileNetV3.

    Args:
        variant: "mobilenet_v3_small" or "mobilenet_v3_large".
        width, output_stride, width_divisor: as for MobileNetV2.
    Returns: the features at output_stride after the final 1x1, and the last ones at stride 4, linear.
    """
    keeper = StrideKeeper(output_stride)
    stem = make_divisible(STEM_CHANNELS * width, width_divisor)
    x = blocks.conv(image, stem, "stem", kernel=3, stride=keeper.step(2)[0], activation=H)
    low_level = x
    for index, block in enumerate(TABLES[variant]):
        name = f"block_{index}"
        before = keeper.stride
        stride, rate = keeper.step(block.stride)
        if before == 4 and keeper.stride != 4:
            low_level = x
        filters = make_divisible(block.channels * width, width_divisor)
        y = x
        if index > 0:  # the first block has no expansion
            expanded = make_divisible(block.expanded * width, width_divisor)
            y = blocks.conv(y, expanded, f"{name}_expand", activation=block.activation)
        y = blocks.depthwise(
            y, f"{name}_depthwise", kernel=block.kernel, stride=stride, rate=rate, activation=block.activation
        )
        if block.has_se:
            y = blocks.squeeze_excite(y, f"{name}_se")
        y = blocks.conv(y, filters, f"{name}_project", activation=None)
        if stride == 1 and x.channels == filters:
            y = blocks.add(x, y, f"{name}_add", branch_batch_norm=f"{name}_project_bn")
        x = y
    return blocks.conv(x, x.channels * TAIL_EXPANSION, "tail", activation=H), low_level
