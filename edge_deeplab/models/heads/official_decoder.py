"""The official decoder: low-level features joined stage by stage, concatenated (DeepLabv3+) or summed (MobileNetV3)."""

from __future__ import annotations

from collections.abc import Mapping

from edge_deeplab.errors import UsageError
from edge_deeplab.models.blocks import Blocks, Feature
from edge_deeplab.models.heads.sizes import Sizes
from edge_deeplab.models.official_config import OfficialConfig

PROJECTED = 48


def build_official_decoder(
    blocks: Blocks, x: Feature, low_level: Mapping[int, Feature], *, config: OfficialConfig, sizes: Sizes
) -> Feature:
    """(N, h, w, decoder_filters) at the last of decoder_output_stride; the logits where the decoder gives them."""
    for stage, stride in enumerate(config.decoder_output_stride):
        if stride not in low_level:
            raise UsageError(
                f"official model: {config.model_variant} has no low-level feature at this decoder_output_stride",
                came=stride, allowed=", ".join(map(str, low_level)),
            )  # fmt: skip
        x = _stage(blocks, x, low_level[stride], config=config, sizes=sizes, stride=stride, stage=stage)
    return x


def _stage(
    blocks: Blocks, x: Feature, detail: Feature, *, config: OfficialConfig, sizes: Sizes, stride: int, stage: int
) -> Feature:
    suffix, scope_suffix = (f"_{stage}", f"_{stage}") if stage else ("", "")
    is_logits = config.decoder_output_is_logits
    filters = config.decoder_filters
    activation = None if is_logits else "relu6" if config.use_bounded_activation else "relu"
    kernel = 1 if is_logits else 3
    separable = config.decoder_use_separable_conv and not is_logits
    detail = blocks.conv(
        detail, filters if config.decoder_use_sum_merge else PROJECTED, f"decoder_low_level{suffix}",
        activation=activation, batch_norm=not is_logits, scope=f"decoder/feature_projection0{scope_suffix}",
    )  # fmt: skip
    x = sizes.resize(blocks, x, stride, f"decoder_resize{suffix}")
    detail = sizes.resize(blocks, detail, stride, f"decoder_low_level_resize{suffix}")
    if config.decoder_use_sum_merge:
        if separable:
            scope = f"decoder/decoder_split_sep_conv0{scope_suffix}"
            x = blocks.separable(x, filters, f"decoder_0{suffix}", activation=activation or "relu", scope=scope)
            last = f"decoder_0{suffix}_pointwise_bn"
        else:
            x = blocks.conv(
                x, filters, f"decoder_0{suffix}", kernel=kernel, activation=activation, batch_norm=not is_logits,
                scope=f"decoder/decoder_conv0{scope_suffix}",
            )  # fmt: skip
            last = f"decoder_0{suffix}_bn"
        return blocks.add(x, detail, f"decoder_add{suffix}", branch_batch_norm=last)
    x = blocks.concat([x, detail], f"decoder_concat{suffix}")
    for index in range(2):
        name = f"decoder_{index}{suffix}"
        if separable:
            scope = f"decoder/decoder_conv{index}{scope_suffix}"
            x = blocks.separable(x, filters, name, activation=activation or "relu", scope=scope)
        else:
            # slim.repeat's names: the second number counts from 1
            scope = f"decoder/decoder_conv0{scope_suffix}/decoder_conv0{scope_suffix}_{index + 1}"
            x = blocks.conv(x, filters, name, kernel=3, activation=activation, batch_norm=not is_logits, scope=scope)
    return x
