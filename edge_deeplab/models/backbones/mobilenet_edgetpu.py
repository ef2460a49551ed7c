"""MobileNet-EdgeTPU (slim's V3_EDGETPU) as a DeepLab backbone: fused blocks first, no hard swish, no attention.

Where a fused block stands, one 3x3 convolution does what the 1x1 expansion and the depthwise convolution do elsewhere:
more multiply-adds, and faster on a processor that is poor at depthwise ones.

    ends = build_mobilenet_edgetpu(blocks, image, width=1.0, output_stride=16)
"""

from __future__ import annotations

from typing import NamedTuple

from edge_deeplab.models.backbones.endpoints import Endpoints
from edge_deeplab.models.backbones.mobilenets import (
    OFFICIAL_BATCH_NORM,
    InvertedResidual,
    block_scope,
    inverted_residual,
)
from edge_deeplab.models.backbones.strides import StrideKeeper
from edge_deeplab.models.blocks import Blocks, Feature, make_divisible


class Row(NamedTuple):
    """A run of blocks: channels at width 1, how many; expansion, stride and shortcut are those of the first of them.

    The others have an expansion of 4, no stride and a shortcut.
    """

    channels: int
    first_expansion: int
    first_stride: int
    repeats: int
    is_fused: bool = False
    kernel: int = 3
    first_has_shortcut: bool = True


EXPANSION = 4
ROWS = (
    Row(16, 1, 1, 1, is_fused=True),
    Row(32, 8, 2, 4, is_fused=True),
    Row(48, 8, 2, 4, is_fused=True),
    Row(96, 8, 2, 4),
    Row(96, 8, 1, 4, first_has_shortcut=False),
    Row(160, 8, 2, 4, kernel=5),
    Row(192, 8, 1, 1),
)
STEM_CHANNELS = 32
TAIL_CHANNELS = 1280
SCOPE = "MobilenetEdgeTPU"


def build_mobilenet_edgetpu(blocks: Blocks, image: Feature, *, width: float, output_stride: int) -> Endpoints:
    """The features of MobileNet-EdgeTPU, as the official DeepLab builds it.

    Args:
        width: the depth multiplier; channels, those of the final 1x1 too, are rounded to multiples of 8.
        output_stride: 8, 16 or 32; strides past it become atrous rates.
    Returns: the features at output_stride after the final 1x1, and one low-level feature, at stride 16: the first
        depthwise output there. The official decoder names fused blocks at 4 and 8, which have none, and fails.
    """
    blocks.epsilon, blocks.momentum = OFFICIAL_BATCH_NORM
    keeper = StrideKeeper(output_stride)
    nominal_stride = 2
    low_level: dict[int, Feature] = {}
    x = blocks.conv(
        image, make_divisible(STEM_CHANNELS * width), "stem", kernel=3, stride=keeper.step(2)[0], scope=f"{SCOPE}/Conv"
    )
    index = 0
    for row in ROWS:
        for repeat in range(row.repeats):
            is_first = repeat == 0
            nominal = row.first_stride if is_first else 1
            nominal_stride *= nominal
            stride, rate = keeper.step(nominal)
            expansion = row.first_expansion if is_first else EXPANSION
            block = InvertedResidual(
                make_divisible(x.channels * expansion), make_divisible(row.channels * width), kernel=row.kernel,
                stride=stride, rate=rate, is_fused=row.is_fused,
                has_shortcut=row.first_has_shortcut or not is_first,
            )  # fmt: skip
            x, inside = inverted_residual(blocks, x, block, f"block_{index}", block_scope(SCOPE, index))
            if nominal_stride == 16:
                low_level.setdefault(16, inside)
            index += 1
    tail = make_divisible(TAIL_CHANNELS * width)
    return Endpoints(blocks.conv(x, tail, "tail", scope=f"{SCOPE}/Conv_1"), low_level)
