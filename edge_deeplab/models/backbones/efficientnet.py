"""EfficientNet-B0 to B4 (Tan and Le 2019, table 1) and EfficientNet-Lite0 to Lite4 as DeepLab backbones.

No classifier, no last 1x1 (top_conv, 1280 channels at B0): a head reads the last block. Layers are named as
keras.applications names them, but for the depthwise ones, block1a_dw_conv and block1a_dw_bn for block1a_dwconv and
block1a_bn.

Lite (tensorflow/tpu, models/official/efficientnet/lite) is the same without squeeze-and-excite, with ReLU6 for swish,
and with a stem, a first and a last stage that do not grow: its authors' form for int8. B0 is delegated whole as int8
too, its sigmoids and products being 15 % of its time (DeepLabv3+ at 256 x 256, one thread of a Zen 4, XNNPACK).

    endpoints = build_efficientnet(blocks, Feature(image), variant="efficientnet_b0", output_stride=16)
"""

from __future__ import annotations

import math
from typing import NamedTuple

from edge_deeplab.models.backbones.endpoints import LOW_LEVEL_STRIDES, Endpoints
from edge_deeplab.models.backbones.strides import StrideKeeper
from edge_deeplab.models.blocks import Blocks, Feature, make_divisible


class Stage(NamedTuple):
    """One row of the paper's table 1: kernel size, expansion, channels and repeats at B0, stride of the first block."""

    kernel: int
    expansion: int
    channels: int
    repeats: int
    stride: int


class Scaling(NamedTuple):
    """What makes a variant of B0: factors of channels and of repeats, rounded up."""

    width: float
    depth: float
    is_lite: bool = False


class Block(NamedTuple):
    """One inverted residual block. squeezed: channels inside its squeeze-and-excite, 0 for none."""

    name: str
    kernel: int
    expansion: int
    channels: int
    squeezed: int
    stride: int


STAGES = (
    Stage(3, 1, 16, 1, 1),
    Stage(3, 6, 24, 2, 2),
    Stage(5, 6, 40, 2, 2),
    Stage(3, 6, 80, 3, 2),
    Stage(5, 6, 112, 3, 1),
    Stage(5, 6, 192, 4, 2),
    Stage(3, 6, 320, 1, 1),
)
VARIANTS = {
    "efficientnet_b0": Scaling(1.0, 1.0),
    "efficientnet_b1": Scaling(1.0, 1.1),
    "efficientnet_b2": Scaling(1.1, 1.2),
    "efficientnet_b3": Scaling(1.2, 1.4),
    "efficientnet_b4": Scaling(1.4, 1.8),
    "efficientnet_lite0": Scaling(1.0, 1.0, is_lite=True),
    "efficientnet_lite1": Scaling(1.0, 1.1, is_lite=True),
    "efficientnet_lite2": Scaling(1.1, 1.2, is_lite=True),
    "efficientnet_lite3": Scaling(1.2, 1.4, is_lite=True),
    "efficientnet_lite4": Scaling(1.4, 1.8, is_lite=True),
}
STEM_CHANNELS = 32
SQUEEZED = 0.25  # of the block's input channels, before their expansion
EPSILON, MOMENTUM = 1e-3, 0.99


def stem_channels(variant: str) -> int:
    """Channels after the first convolution."""
    scaling = VARIANTS[variant]
    return STEM_CHANNELS if scaling.is_lite else make_divisible(STEM_CHANNELS * scaling.width)


def blocks_of(variant: str) -> tuple[Block, ...]:
    """The blocks of a variant, in order, named as keras.applications names them: block1a, block2a, block2b, ..."""
    scaling = VARIANTS[variant]
    made = []
    channels = stem_channels(variant)
    for number, stage in enumerate(STAGES, start=1):
        is_fixed = scaling.is_lite and number in (1, len(STAGES))
        repeats = stage.repeats if is_fixed else math.ceil(stage.repeats * scaling.depth)
        for repeat in range(repeats):
            made.append(Block(
                name=f"block{number}{chr(ord('a') + repeat)}", kernel=stage.kernel, expansion=stage.expansion,
                channels=make_divisible(stage.channels * scaling.width),
                squeezed=0 if scaling.is_lite else max(1, int(channels * SQUEEZED)),
                stride=stage.stride if repeat == 0 else 1,
            ))  # fmt: skip
            channels = made[-1].channels
    return tuple(made)


def build_efficientnet(blocks: Blocks, image: Feature, *, variant: str, output_stride: int) -> Endpoints:
    """The features of an EfficientNet.

    Padding is SAME, which is what keras.applications' correct_pad comes to. Its stochastic depth (Dropout on the
    branches of the sums) is left out: the recipe's augmentation and decay are what holds a training back.

    Args:
        image: RGB in 0..1; mean and deviation of ImageNet are folded into the stem
            (converters/starts/efficientnet_start.py).
        variant: one of VARIANTS.
        output_stride: 8, 16 or 32; strides past it become atrous rates.
    Returns: the last block's output, linear, and those of the last blocks at the classifier's strides 2, 4, 8 and 16,
        linear too.
    """
    blocks.epsilon, blocks.momentum = EPSILON, MOMENTUM
    activation = "relu6" if VARIANTS[variant].is_lite else "swish"
    keeper = StrideKeeper(output_stride)
    nominal = 2  # the stride of the classifier at this block
    x = blocks.conv(image, stem_channels(variant), "stem", kernel=3, stride=keeper.step(2)[0], activation=activation)
    low_level = {}
    for block in blocks_of(variant):
        nominal *= block.stride
        stride, rate = keeper.step(block.stride)
        y = x
        if block.expansion != 1:
            y = blocks.conv(y, x.channels * block.expansion, f"{block.name}_expand", activation=activation)
        y = blocks.depthwise(
            y, f"{block.name}_dw", kernel=block.kernel, stride=stride, rate=rate, activation=activation
        )
        if block.squeezed:
            y = _squeeze_excite(blocks, y, block)
        y = blocks.conv(y, block.channels, f"{block.name}_project", activation=None)
        if block.stride == 1 and x.channels == block.channels:
            y = blocks.add(x, y, f"{block.name}_add", branch_batch_norm=f"{block.name}_project_bn")
        x = y
        low_level[nominal] = x
    return Endpoints(x, {stride: low_level[stride] for stride in LOW_LEVEL_STRIDES})


def _squeeze_excite(blocks: Blocks, x: Feature, block: Block) -> Feature:
    """Mean, 1x1, swish, 1x1, sigmoid, product; both 1x1 have biases (Hu et al. 2018, here with swish)."""
    name = f"{block.name}_se"
    y = Feature(blocks.plain("GlobalAveragePooling2D", keepdims=True, name=f"{name}_squeeze")(x.tensor), x.scale)
    y = Feature(blocks.weighted("Conv2D", block.squeezed, 1, name=f"{name}_reduce")(y.tensor))
    y = blocks.activate(y, "swish", f"{name}_act")
    y = Feature(blocks.weighted("Conv2D", x.channels, 1, name=f"{name}_expand")(y.tensor))
    gate = blocks.activate(y, "sigmoid", f"{name}_gate")
    return Feature(blocks.plain("Multiply", name=f"{name}_excite")([x.tensor, gate.tensor]), x.scale)
