"""The architectures a model file can name: our own networks' (DeepLabConfig) and the official code's (OfficialConfig).

config = architecture_from(manifest.architecture)
model = build(keras_namespace("tf_keras"), at_size(config, (256, 256)))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_deeplab.errors import UsageError
from edge_deeplab.models.blocks import Blocks
from edge_deeplab.models.counting import Count, count_traced
from edge_deeplab.models.deeplab import DeepLabConfig, build_deeplab, trace
from edge_deeplab.models.official import build_official, trace_official
from edge_deeplab.models.official_config import FAMILY, OfficialConfig

Architecture = DeepLabConfig | OfficialConfig


def architecture_from(raw: Mapping[str, Any]) -> Architecture:
    """The config that manifest.architecture holds. Raises UsageError for an unknown field."""
    if raw.get("family") == FAMILY:
        return OfficialConfig.from_dict(raw)
    return DeepLabConfig.from_dict(dict(raw))


def build(K: Any, config: Architecture, batch_size: int | None = None) -> Any:
    """The network of a config: a K.Model from pictures (N, H, W, 3) as the manifest prepares them to logits."""
    if isinstance(config, OfficialConfig):
        return build_official(K, config, batch_size)
    return build_deeplab(K, config, batch_size)


def blocks_of(K: Any, config: Architecture) -> Blocks:
    """The blocks that lay a network, with all they recorded."""
    if isinstance(config, OfficialConfig):
        return trace_official(K, config, batch_size=1).blocks
    return trace(K, config, 1)[2]


def official_names(config: Architecture) -> dict[str, tuple[str, ...]]:
    """Layer name -> its variables in the official code, for the layers that code has; imports no Keras."""
    names: dict[str, tuple[str, ...]] = {}
    count_traced(lambda K: names.update(blocks_of(K, config).official))
    return names


def at_size(config: Architecture, size_hw: tuple[int, int]) -> Architecture:
    """The same network, and weights, for another input size.

    Where all sides are multiples of the output stride, one of the official code leaves aligned corners, which would
    pull its maps apart there (see OfficialConfig.align_corners).
    """
    if isinstance(config, OfficialConfig):
        is_multiple = not any(side % config.output_stride for side in size_hw)
        return config.replace(crop_size=size_hw, align_corners=not is_multiple)
    return config.replace(size_hw=size_hw)


def at_stride(config: Architecture, output_stride: int) -> Architecture:
    """The same network, and weights, at another output stride: denser features at a smaller one.

    The backbone turns strides into rates, and ASPP's rates grow by the same factor (DeepLabv3, section 4.1), so that
    every kernel meets the neighbours it was trained on; a dense prediction cell scales its own. All but image pooling
    is the very function it was, at more places: pooling takes the mean over more of them. That holds on sides of
    k x stride + 1. Where sides are even, SAME padding puts each strided kernel half a pixel aside, so the denser maps
    lie a quarter of the old stride off those that the decoder learnt with. Measured on 60 portraits, trained at 16 and
    256 x 256: person IoU 0.926 at 16, 0.920 at 8.

    Raises: UsageError for a stride that the network cannot have, or rates that would be no whole numbers.
    """
    field = "atrous_rates" if isinstance(config, OfficialConfig) else "aspp_rates"
    rates = [rate * config.output_stride / output_stride for rate in getattr(config, field)]
    if not all(rate.is_integer() for rate in rates):
        raise UsageError(
            f"output_stride: the rates {getattr(config, field)} of stride {config.output_stride} do not divide",
            came=output_stride, allowed="a stride at which they stay whole",
        )  # fmt: skip
    return config.replace(output_stride=output_stride, **{field: tuple(int(rate) for rate in rates)})


def size_of(config: Architecture) -> tuple[int, int] | None:
    """Input height and width; None where they are free."""
    return config.crop_size if isinstance(config, OfficialConfig) else config.size_hw


def logits_stride_of(config: Architecture) -> int:
    """Input pixels per logit of the built network."""
    return 1 if isinstance(config, OfficialConfig) else config.logits_stride


def count(config: Architecture) -> Count:
    """Parameters and multiply-adds (convolutions only, as the official tables do); imports no Keras."""
    return count_traced(lambda K: blocks_of(K, config))
