"""MobileNetV2 (Sandler et al. 2018, table 2) as a DeepLab backbone: no classifier, a free output stride."""

from __future__ import annotations

from edge_deeplab.models.backbones.strides import StrideKeeper
from edge_deeplab.models.blocks import Blocks, Feature, make_divisible

# expansion, channels at width 1, repeats, stride of the first
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
STEM_CHANNELS = 32


def build_mobilenet_v2(
    blocks: Blocks, image: Feature, *, width: float, output_stride: int, width_divisor: int
) -> tuple[Feature, Feature]:
    """The features of MobileNetV2.

    Args:
        width: the depth multiplier.
        output_stride: 8, 16 or 32; strides past it become atrous rates.
        width_divisor: channels are rounded to multiples of this. Google's DeepLab checkpoints use 1 for a width
            other than 1 (0.5 rounds 24 to 12); 8 is faster on a device.
    Returns: the features at output_stride, linear, and the last ones at stride 4, linear.
    """
    keeper = StrideKeeper(output_stride)
    x = blocks.conv(
        image, make_divisible(STEM_CHANNELS * width, width_divisor), "stem", kernel=3, stride=keeper.step(2)[0],
        activation="relu6",
    )  # fmt: skip
    low_level = x
    index = 0
    for expansion, channels, repeats, first_stride in STAGES:
        filters = make_divisible(channels * width, width_divisor)
        for repeat in range(repeats):
            name = f"block_{index}"
            before = keeper.stride
            stride, rate = keeper.step(first_stride if repeat == 0 else 1)
            if before == 4 and keeper.stride != 4:
                low_level = x
            y = x
            if expansion != 1:
                y = blocks.conv(y, x.channels * expansion, f"{name}_expand", activation="relu6")
            y = blocks.depthwise(y, f"{name}_depthwise", stride=stride, rate=rate, activation="relu6")
            y = blocks.conv(y, filters, f"{name}_project", activation=None)
            if stride == 1 and x.channels == filters:
                y = blocks.add(x, y, f"{name}_add", branch_batch_norm=f"{name}_project_bn")
            x = y
            index += 1
    return x, low_level
