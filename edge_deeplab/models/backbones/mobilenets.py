"""What the MobileNets share: their block (expansion, depthwise convolution, linear projection, sum) and its settings.

The block is that of Sandler et al. 2018, with what MobileNetV3 and MobileNet-EdgeTPU added to it.

    x, inside = inverted_residual(blocks, x, InvertedResidual(expanded=144, filters=24), "block_2", scope)
"""

from __future__ import annotations

from typing import NamedTuple

from edge_deeplab.errors import UsageError
from edge_deeplab.models.blocks import Blocks, Feature

TAPS = ("block", "depthwise")
# What makes a MobileNet the official DeepLab's: epsilon and momentum, and the number its code has for a sixth.
OFFICIAL_BATCH_NORM = (1e-3, 0.997)
OFFICIAL_SLOPE = 0.16667
# Channels inside a block are multiples of this in the official code, whatever a network's widths are rounded to.
EXPANSION_DIVISOR = 8


class InvertedResidual(NamedTuple):
    """What one block is.

    Attributes:
        expanded: channels inside it; no expansion is laid where the input has as many.
        filters: channels of its output.
        kernel, stride, rate: of its depthwise convolution; of its expansion where it is fused.
        activation: after the expansion and the depthwise convolution.
        se_slope: of the hard sigmoid in its squeeze-and-excite; None for a block without one.
        is_fused: whether one convolution does the work of expansion and depthwise convolution (EdgeTPU).
        has_shortcut: whether the input is added where stride and channels allow it.
    """

    expanded: int
    filters: int
    kernel: int = 3
    stride: int = 1
    rate: int = 1
    activation: str = "relu"
    se_slope: float | None = None
    is_fused: bool = False
    has_shortcut: bool = True


def inverted_residual(
    blocks: Blocks, x: Feature, block: InvertedResidual, name: str, scope: str
) -> tuple[Feature, Feature]:
    """Lays one block.

    Args:
        name: what our layers' names begin with.
        scope: of its official variables.
    Returns: its linear output, and what the depthwise convolution gives (after the activation, before
        squeeze-and-excite); in a fused block what the expansion gives.
    """
    y = x
    if block.expanded > x.channels:
        kernel, stride = (block.kernel, block.stride) if block.is_fused else (1, 1)
        y = blocks.conv(
            y, block.expanded, f"{name}_expand", kernel=kernel, stride=stride, activation=block.activation,
            scope=f"{scope}/expand",
        )  # fmt: skip
    if not block.is_fused:
        y = blocks.depthwise(
            y, f"{name}_depthwise", kernel=block.kernel, stride=block.stride, rate=block.rate,
            activation=block.activation, scope=f"{scope}/depthwise",
        )  # fmt: skip
    inside = y
    if block.se_slope is not None:
        y = blocks.squeeze_excite(y, f"{name}_se", slope=block.se_slope, scope=f"{scope}/squeeze_excite")
    y = blocks.conv(y, block.filters, f"{name}_project", activation=None, scope=f"{scope}/project")
    if block.has_shortcut and block.stride == 1 and x.channels == block.filters:
        y = blocks.add(x, y, f"{name}_add", branch_batch_norm=f"{name}_project_bn")
    return y, inside


def block_scope(network: str, index: int) -> str:
    """The official scope of block `index`: slim counts from expanded_conv, then expanded_conv_1."""
    return f"{network}/expanded_conv{f'_{index}' if index else ''}"


def is_official(taps: str) -> bool:
    """Whether a MobileNet with these taps is the official one. Raises UsageError for a word that is none of TAPS."""
    if taps not in TAPS:
        raise UsageError("taps", came=taps, allowed=", ".join(TAPS))
    return taps == "depthwise"
