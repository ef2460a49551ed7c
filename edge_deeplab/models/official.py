"""Every DeepLab of the official code, exact to it: v1, v2, v3, v3+, dense prediction cell, all its backbones.

config = OfficialConfig.from_flags({"model_variant": "xception_65"}, {"crop_size": [513, 513], ...})
model = build_official(keras_namespace("keras"), config)
variables_of(config)["logits/semantic/weights"]      # (1, 1, 256, 21), without any Keras
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_deeplab.models.backbones.endpoints import Endpoints
from edge_deeplab.models.backbones.mobilenet_edgetpu import build_mobilenet_edgetpu
from edge_deeplab.models.backbones.mobilenet_v2 import build_mobilenet_v2
from edge_deeplab.models.backbones.mobilenet_v3 import build_mobilenet_v3
from edge_deeplab.models.backbones.nas import build_nas
from edge_deeplab.models.backbones.resnet_v1 import build_resnet_v1
from edge_deeplab.models.backbones.xception import build_xception
from edge_deeplab.models.blocks import Blocks, Feature
from edge_deeplab.models.counting import count_traced
from edge_deeplab.models.heads.branch_logits import build_branch_logits
from edge_deeplab.models.heads.dense_prediction_cell import build_dense_prediction_cell
from edge_deeplab.models.heads.official_aspp import build_official_aspp
from edge_deeplab.models.heads.official_decoder import build_official_decoder
from edge_deeplab.models.heads.sizes import Sizes, scale_dimension
from edge_deeplab.models.official_config import OfficialConfig

HEAD_EPSILON, HEAD_MOMENTUM = 1e-5, 0.9997
SOME_CROP = 321  # shapes of variables do not depend on the crop


@dataclass(frozen=True)
class Traced:
    """A laid network.

    Attributes:
        image: its input tensor (N, H, W, 3).
        lowres: the logits as they leave the head, merged over the pyramid.
        final: those at the input's size.
        blocks: what made the layers.
    """

    image: Any
    lowres: Any
    final: Any
    blocks: Blocks


def _backbone(blocks: Blocks, image: Feature, config: OfficialConfig) -> Endpoints:
    """Features of the preprocessed picture."""
    variant, stride = config.model_variant, config.output_stride
    if variant.startswith("xception"):
        return build_xception(
            blocks, image, variant=variant, output_stride=stride, multi_grid=config.multi_grid,
            is_bounded=config.use_bounded_activation,
        )  # fmt: skip
    if variant.startswith("resnet"):
        return build_resnet_v1(blocks, image, variant=variant, output_stride=stride, multi_grid=config.multi_grid)
    if variant.startswith("nas"):
        return build_nas(
            blocks, image, variant=variant, output_stride=stride,
            stem_filters=config.nas_stem_output_num_conv_filters, remove_os32_stride=config.nas_remove_os32_stride,
        )  # fmt: skip
    width = config.depth_multiplier
    if variant == "mobilenet_edgetpu":
        return build_mobilenet_edgetpu(blocks, image, width=width, output_stride=stride)
    if variant == "mobilenet_v2":
        divisor = config.divisible_by or (8 if width == 1.0 else 1)
        return build_mobilenet_v2(
            blocks, image, width=width, output_stride=stride, width_divisor=divisor, taps="depthwise"
        )
    # divisible_by is MobileNetV2's alone: the official code deletes it here
    return build_mobilenet_v3(
        blocks, image, variant=variant.removesuffix("_seg"), width=width, output_stride=stride, width_divisor=8,
        taps="depthwise",
    )  # fmt: skip


def _logits(blocks: Blocks, image: Any, config: OfficialConfig, sizes: Sizes) -> Feature:
    """One pass at one scale. image: preprocessed."""
    x, low_level = _backbone(blocks, Feature(image), config)
    blocks.epsilon, blocks.momentum = HEAD_EPSILON, HEAD_MOMENTUM
    if config.aspp_with_batch_norm and config.dense_prediction_cell:
        x = build_dense_prediction_cell(
            blocks, x, branches=config.dense_prediction_cell, output_stride=config.output_stride, sizes=sizes
        )
    elif config.aspp_with_batch_norm:
        x = build_official_aspp(blocks, x, config=config, sizes=sizes)
    if config.decoder_output_stride:
        x = build_official_decoder(blocks, x, low_level, config=config, sizes=sizes)
    if config.decoder_output_is_logits:
        return x
    rates = (1,) if config.aspp_with_batch_norm or not config.atrous_rates else config.atrous_rates
    return build_branch_logits(blocks, x, classes=config.num_classes, rates=rates, kernel=config.logits_kernel_size)


def trace_official(K: Any, config: OfficialConfig, *, batch_size: int | None = None, raw: bool = False) -> Traced:
    """Lays the network's layers.

    Args:
        raw: the input is pixels 0..255, and the preprocessing a layer; else it is what the preprocessing gives.
    """
    blocks = Blocks(
        K, form=config.form, grid="corners" if config.align_corners else "origin",
        pads_always=len(config.image_pyramid) > 1,
    )  # fmt: skip
    crop = config.crop_size
    image = K.layers.Input((*(crop or (None, None)), 3), batch_size=batch_size, name="image")
    stride = config.logits_stride
    largest = max(1.0, *config.image_pyramid)
    passes = []
    for index, scale in enumerate(config.image_pyramid):
        blocks.suffix = f"_scale_{index}" if len(config.image_pyramid) > 1 else ""
        pooling, scaled, at_crop = config.image_pooling_crop_size, image, crop
        if scale != 1.0:
            if crop is not None:
                at_crop = (scale_dimension(crop[0], scale), scale_dimension(crop[1], scale))
            pooling = pooling and (scale_dimension(pooling[0], scale), scale_dimension(pooling[1], scale))
            scaled = blocks.resize(Feature(image), at_crop, "pyramid", like=image, scale=scale).tensor
        sizes = Sizes(at_crop, pooling, scaled)
        seen = _preprocess(blocks, scaled, config) if raw else scaled
        logits = _logits(blocks, seen, config, sizes)
        target = None
        if crop is not None:
            target = scale_dimension(crop[0], largest / stride), scale_dimension(crop[1], largest / stride)
        logits = blocks.resize(logits, target, "logits_to_stride", like=image, scale=largest / stride)
        passes.append(logits.tensor)
    blocks.suffix = ""
    lowres = passes[0]
    if len(passes) > 1:
        lowres = blocks.plain("Maximum" if config.merge_method == "max" else "Average", name="logits_merged")(passes)
    final = blocks.resize(Feature(lowres), crop, "logits_resize", like=image).tensor
    return Traced(image, lowres, final, blocks)


def _preprocess(blocks: Blocks, image: Any, config: OfficialConfig) -> Any:
    mean = config.mean_rgb
    scale, offset = (2.0 / 255.0, -1.0) if mean is None else (1.0, [-value for value in mean])
    return blocks.plain("Rescaling", scale, offset, name="preprocess")(image)


def build_official(K: Any, config: OfficialConfig, batch_size: int | None = None) -> Any:
    """Builds the network as devices run it.

    Args:
        K: `keras` or `tf_keras`.
        batch_size: fixes the batch; conversion wants 1.
    Returns: a K.Model from pictures (N, H, W, 3) float32 as the preprocessing gives them (-1..1, or less the mean) to
        logits (N, H, W, num_classes) float32.
    """
    traced = trace_official(K, config, batch_size=batch_size)
    return K.Model(traced.image, traced.final, name=f"deeplab_{config.model_variant}")


def variables_of(config: OfficialConfig) -> dict[str, tuple[int, ...]]:
    """Official variable name -> shape, of every variable the official code has for this network; imports no Keras."""
    names: dict[str, tuple[str, ...]] = {}
    sized = config if config.crop_size else config.replace(crop_size=(SOME_CROP, SOME_CROP))

    def lay(K: Any) -> None:
        names.update(trace_official(K, sized).blocks.official)

    shapes = count_traced(lay).shapes
    return {
        name: shape for layer, variables in names.items() for name, shape in zip(variables, shapes[layer], strict=True)
    }
