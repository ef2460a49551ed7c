"""Aligned Xception (Chollet 2017 as changed by Qi et al. 2017 and DeepLabv3+, section 4.2) as a DeepLab backbone.

Max pooling is a strided separable convolution, so that every stride can become an atrous rate.

    ends = build_xception(blocks, image, variant="xception_65", output_stride=16)
    ends.low_level[4]       # what the decoder of DeepLabv3+ reads
"""

from __future__ import annotations

from typing import NamedTuple

from edge_deeplab.errors import UsageError, nearest
from edge_deeplab.models.backbones.endpoints import OFFICIAL_LOW_LEVEL_STRIDES, Endpoints
from edge_deeplab.models.backbones.strides import StrideKeeper, check_multi_grid
from edge_deeplab.models.blocks import Blocks, Feature

EPSILON = 1e-3
MOMENTUM = 0.9997


class Flow(NamedTuple):
    """Modules of one kind: official scope, channels of the three convolutions, stride, how many, kind of shortcut.

    Shortcut: "conv" 1x1 with batch norm, "sum" the input itself, "none".
    """

    scope: str
    channels: tuple[int, int, int]
    stride: int
    units: int = 1
    shortcut: str = "conv"


def _entry(block: int, channels: int, stride: int) -> Flow:
    return Flow(f"entry_flow/block{block}", (channels,) * 3, stride)


def _middle(units: int) -> Flow:
    return Flow("middle_flow/block1", (728,) * 3, 1, units, "sum")


EXIT = (
    Flow("exit_flow/block1", (728, 1024, 1024), 2),
    Flow("exit_flow/block2", (1536, 1536, 2048), 1, shortcut="none"),
)
ENTRY = (_entry(1, 128, 2), _entry(2, 256, 2), _entry(3, 728, 2))
LONG_ENTRY = (_entry(1, 128, 2), _entry(2, 256, 1), _entry(3, 256, 2), _entry(4, 728, 1), _entry(5, 728, 2))
FLOWS = {
    "xception_41": (*ENTRY, _middle(8), *EXIT),
    "xception_65": (*ENTRY, _middle(16), *EXIT),
    "xception_71": (*LONG_ENTRY, _middle(16), *EXIT),
}


def build_xception(
    blocks: Blocks, image: Feature, *, variant: str, output_stride: int,
    multi_grid: tuple[int, ...] | None = None, is_bounded: bool = False,
) -> Endpoints:  # fmt: skip
    """The features of Xception.

    Args:
        image: (N, H, W, 3) float32, RGB in -1..1.
        variant: "xception_41", "xception_65" or "xception_71"; also the scope of the official variables.
        output_stride: 8, 16 or 32; strides past it become atrous rates.
        multi_grid: three factors of the rate in the last module, one for each convolution; None for ones.
        is_bounded: the form made for quantization: ReLU6, linear outputs clipped to -6..6, and SAME padding inside the
            modules, where the usual form pads symmetrically. The weights are the same.
    Returns: the features, (N, h, w, 2048) after the activation, and for the strides 4, 8 and 16 the second
        convolution's output, before any activation but the clipping, in the module where that stride ends.
    Raises: UsageError for another variant, stride or multi-grid.
    """
    if variant not in FLOWS:
        raise UsageError("Xception", came=variant, allowed=nearest(variant, FLOWS))
    grid = check_multi_grid(multi_grid, 3)
    blocks.epsilon, blocks.momentum = EPSILON, MOMENTUM
    keeper = StrideKeeper(output_stride)
    activation = "relu6" if is_bounded else "relu"
    x = blocks.conv(
        image, 32, "entry_conv1", kernel=3, stride=keeper.step(2)[0], activation=activation, explicit_padding=True,
        scope=f"{variant}/entry_flow/conv1_1",
    )  # fmt: skip
    x = blocks.conv(x, 64, "entry_conv2", kernel=3, activation=activation, scope=f"{variant}/entry_flow/conv1_2")
    low_level: dict[int, Feature] = {}
    nominal_stride = 2
    for flow in FLOWS[variant]:
        for unit in range(1, flow.units + 1):
            stride, rate = keeper.step(flow.stride)
            rates = [rate * factor for factor in (grid if flow == EXIT[-1] else (1, 1, 1))]
            x, second = _module(
                blocks, x, flow, stride=stride, rates=rates, is_bounded=is_bounded,
                is_rectified=is_bounded or flow == FLOWS[variant][0],
                is_tapped=flow.stride == 2 and nominal_stride in OFFICIAL_LOW_LEVEL_STRIDES,
                scope=f"{variant}/{flow.scope}/unit_{unit}/xception_module",
            )  # fmt: skip
            if second is not None:
                low_level[nominal_stride] = second
            nominal_stride *= flow.stride
    return Endpoints(x, low_level)


def _module(
    blocks: Blocks, x: Feature, flow: Flow, *, stride: int, rates: list[int], is_bounded: bool, is_rectified: bool,
    is_tapped: bool, scope: str,
) -> tuple[Feature, Feature | None]:  # fmt: skip
    """Three separable convolutions, the stride in the third, beside a shortcut.

    Where the official code applies two activations and the second does all that the first does (ReLU of a ReLU, ReLU6
    of what is clipped to -6..6), the first is left out.

    Args:
        is_rectified: whether x comes out of the activation that the official module begins with.
        is_tapped: whether a decoder may read the second convolution.
    Returns: the output, and the second convolution's where it is tapped.
    """
    name = "_".join(scope.removesuffix("/xception_module").split("/")[1:])
    relu, linear = ("relu6", "clip6") if is_bounded else ("relu", None)
    is_last = flow.shortcut == "none"  # activations after the convolutions, where the others have them before
    y, second = x, None
    if not is_last and not is_rectified:
        y = blocks.activate_beside(x, relu, f"{name}_act")
    for index, (channels, rate) in enumerate(zip(flow.channels, rates, strict=True), start=1):
        is_tap = is_tapped and index == 2
        y = blocks.depthwise(
            y, f"{name}_conv{index}_depthwise", stride=stride if index == 3 else 1, rate=rate,
            activation=relu if is_last else linear, explicit_padding=not is_bounded,
            scope=f"{scope}/separable_conv{index}_depthwise",
        )  # fmt: skip
        y = blocks.conv(
            y, channels, f"{name}_conv{index}_pointwise",
            activation=relu if is_last or (index < 3 and not is_tap) else linear,
            scope=f"{scope}/separable_conv{index}_pointwise",
        )  # fmt: skip
        if is_tap:
            second = y
            y = blocks.activate_beside(y, relu, f"{name}_tapped_act")
    if is_last:
        return y, second
    shortcut = x
    if flow.shortcut == "conv":
        shortcut = blocks.conv(
            x, flow.channels[-1], f"{name}_shortcut", stride=stride, activation=linear, scope=f"{scope}/shortcut"
        )
    y = blocks.add(shortcut, y, f"{name}_add", branch_batch_norm=f"{name}_conv3_pointwise_bn")
    if is_bounded:
        y = blocks.activate(y, relu, f"{name}_add_act")
    return y, second
