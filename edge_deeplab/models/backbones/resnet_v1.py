"""ResNet v1 (He et al. 2016) as a DeepLab backbone: 18, 50 and 101 layers, plain and "beta".

The stride of a block is in the 3x3 of its last unit, where the paper has it in the first unit of the next block. Both
compute the same, since a 1x1 of stride 2 reads every other pixel of what it is given; the official code's way needs
less memory, and weights made for the other fit as they are.

    ends = build_resnet_v1(blocks, image, variant="resnet_v1_50_beta", output_stride=16, multi_grid=(1, 2, 4))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from edge_deeplab.errors import UsageError, nearest
from edge_deeplab.models.backbones.endpoints import Endpoints
from edge_deeplab.models.backbones.strides import StrideKeeper, check_multi_grid
from edge_deeplab.models.blocks import Blocks, Feature

EPSILON = 1e-5
MOMENTUM = 0.95
BLOCK_CHANNELS = (64, 128, 256, 512)  # of the 3x3 convolutions
BOTTLENECK_EXPANSION = 4


class Depth(NamedTuple):
    """One network: units in each block, whether they are bottlenecks, channels of the beta form's three 3x3."""

    units: tuple[int, int, int, int]
    has_bottlenecks: bool
    root_channels: tuple[int, int, int]


DEPTHS = {
    "resnet_v1_18": Depth((2, 2, 2, 2), False, (16, 16, 32)),
    "resnet_v1_50": Depth((3, 4, 6, 3), True, (64, 64, 128)),
    "resnet_v1_101": Depth((3, 4, 23, 3), True, (64, 64, 128)),
}
VARIANTS = tuple(f"{depth}{root}" for depth in DEPTHS for root in ("", "_beta"))
# As keras.applications has them: only the max pool's padding differs.
KERAS_VARIANTS = {"resnet50": "resnet_v1_50", "resnet101": "resnet_v1_101"}


def build_resnet_v1(
    blocks: Blocks, image: Feature, *, variant: str, output_stride: int, multi_grid: tuple[int, ...] | None = None
) -> Endpoints:
    """The features of ResNet v1.

    Args:
        image: (N, H, W, 3) float32 RGB: the mean subtracted for the plain variants, -1..1 for the beta ones.
        variant: "resnet_v1_18", "resnet_v1_50" or "resnet_v1_101", with "_beta" for three 3x3 instead of the first 7x7;
            without it, also the scope of the official variables. "resnet50" and "resnet101" are the plain ones as
            keras.applications has them: their max pool is padded on all sides, which on even sizes is one pixel off
            the official SAME. Weights of either fit the other.
        output_stride: 8, 16 or 32 (DeepLab's D8 and D16 are 8 and 16); strides past it become atrous rates.
        multi_grid: factors of the rate in the last block's units: three, two for 18 layers; None for ones. (1, 2, 4) is
            MG-124.
    Returns: the features, (N, h, w, 2048), or 512 for 18 layers, after ReLU, and for the strides 4, 8 and 16 the
        residual branch before addition and ReLU, in the unit before the one with the stride (18 layers: the first).
    Raises: UsageError for another variant, stride or multi-grid.
    """
    if variant not in (*VARIANTS, *KERAS_VARIANTS):
        raise UsageError("ResNet v1", came=variant, allowed=nearest(variant, (*VARIANTS, *KERAS_VARIANTS)))
    scope = KERAS_VARIANTS.get(variant, variant.removesuffix("_beta"))
    depth = DEPTHS[scope]
    grid = check_multi_grid(multi_grid, depth.units[-1])
    blocks.epsilon, blocks.momentum = EPSILON, MOMENTUM
    keeper = StrideKeeper(output_stride)
    x = _root(blocks, image, depth, is_beta=variant.endswith("_beta"), stride=keeper.step(2)[0], scope=scope)
    is_symmetric = variant in KERAS_VARIANTS or blocks.grid == "origin"
    x = _max_pool(blocks, x, stride=keeper.step(2)[0], is_symmetric=is_symmetric)
    unit: Callable[..., tuple[Feature, Feature]] = _bottleneck if depth.has_bottlenecks else _lite_bottleneck
    low_level: dict[int, Feature] = {}
    for block, (channels, units) in enumerate(zip(BLOCK_CHANNELS, depth.units), start=1):
        is_final = block == len(BLOCK_CHANNELS)
        for index in range(1, units + 1):
            stride, rate = keeper.step(2 if index == units and not is_final else 1)
            x, residual = unit(
                blocks, x, channels, f"block{block}_unit{index}", stride=stride,
                rate=rate * (grid[index - 1] if is_final else 1), scope=f"{scope}/block{block}/unit_{index}",
            )  # fmt: skip
            if index == units - 1 and not is_final:
                low_level[2 << block] = residual
    return Endpoints(x, low_level)


def _root(blocks: Blocks, image: Feature, depth: Depth, *, is_beta: bool, stride: int, scope: str) -> Feature:
    """One 7x7 or three 3x3 convolutions, the stride in the first."""
    if not is_beta:
        return blocks.conv(
            image, 64, "conv1", kernel=7, stride=stride, explicit_padding=True, scope=f"{scope}/conv1"
        )  # fmt: skip
    x = image
    for index, channels in enumerate(depth.root_channels, start=1):
        x = blocks.conv(
            x, channels, f"conv1_{index}", kernel=3, stride=stride if index == 1 else 1, explicit_padding=True,
            scope=f"{scope}/conv1_{index}",
        )  # fmt: skip
    return x


def _max_pool(blocks: Blocks, x: Feature, *, stride: int, is_symmetric: bool) -> Feature:
    """3x3. After a ReLU nothing is below zero, so zeros around it are as good as none."""
    padding = "same"
    if is_symmetric:
        x, padding = blocks.pad_for_stride(x, 3, stride, 1, "pool1")
    return Feature(blocks.plain("MaxPooling2D", 3, strides=stride, padding=padding, name="pool1")(x.tensor), x.scale)


def _shortcut(blocks: Blocks, x: Feature, channels: int, name: str, *, stride: int, scope: str) -> Feature:
    """The unit's input, subsampled, through a 1x1 where the channels change."""
    if x.channels != channels:
        return blocks.conv(x, channels, f"{name}_shortcut", stride=stride, activation=None, scope=f"{scope}/shortcut")
    return blocks.subsample(x, stride, f"{name}_subsample")


def _bottleneck(
    blocks: Blocks, x: Feature, channels: int, name: str, *, stride: int, rate: int, scope: str
) -> tuple[Feature, Feature]:
    """1x1, 3x3 and 1x1 beside the shortcut. Returns: the unit's output, the residual branch."""
    scope = f"{scope}/bottleneck_v1"
    wide = channels * BOTTLENECK_EXPANSION
    shortcut = _shortcut(blocks, x, wide, name, stride=stride, scope=scope)
    y = blocks.conv(x, channels, f"{name}_conv1", scope=f"{scope}/conv1")
    y = blocks.conv(
        y, channels, f"{name}_conv2", kernel=3, stride=stride, rate=rate, explicit_padding=True, scope=f"{scope}/conv2"
    )
    y = blocks.conv(y, wide, f"{name}_conv3", activation=None, scope=f"{scope}/conv3")
    return _sum(blocks, shortcut, y, name, last="conv3"), y


def _lite_bottleneck(
    blocks: Blocks, x: Feature, channels: int, name: str, *, stride: int, rate: int, scope: str
) -> tuple[Feature, Feature]:
    """Two 3x3 beside the shortcut, the stride in the second, both at the rate. Returns: as _bottleneck."""
    scope = f"{scope}/lite_bottleneck_v1"
    shortcut = _shortcut(blocks, x, channels, name, stride=stride, scope=scope)
    y = blocks.conv(x, channels, f"{name}_conv1", kernel=3, rate=rate, scope=f"{scope}/conv1")
    y = blocks.conv(
        y, channels, f"{name}_conv2", kernel=3, stride=stride, rate=rate, activation=None, explicit_padding=True,
        scope=f"{scope}/conv2",
    )  # fmt: skip
    return _sum(blocks, shortcut, y, name, last="conv2"), y


def _sum(blocks: Blocks, shortcut: Feature, branch: Feature, name: str, *, last: str) -> Feature:
    """The addition and the ReLU that end a unit."""
    total = blocks.add(shortcut, branch, f"{name}_add", branch_batch_norm=f"{name}_{last}_bn")
    return blocks.activate(total, "relu", f"{name}_act")
