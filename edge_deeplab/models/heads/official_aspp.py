"""The official context module: image pooling, ASPP of separable or full convolutions, or squeeze-and-excite ASPP.

DeepLabv3, section 3.3; DeepLabv3+, section 3.1; MobileNetV3, section 6.4. Scopes and order are the official code's.
"""

from __future__ import annotations

from edge_deeplab.models.blocks import Blocks, Feature
from edge_deeplab.models.heads.sizes import Sizes
from edge_deeplab.models.official_config import OfficialConfig

DROPOUT = 0.1


def build_official_aspp(blocks: Blocks, x: Feature, *, config: OfficialConfig, sizes: Sizes) -> Feature:
    """(N, h, w, aspp_convs_filters) from features at the output stride; concatenated branches where not projected."""
    filters = config.aspp_convs_filters
    activation = "relu6" if config.use_bounded_activation else "relu"
    branches, pooled = [], None
    if config.add_image_level_feature:
        pooled = _image_pooling(blocks, x, config=config, sizes=sizes)
        if not config.aspp_with_squeeze_and_excitation:
            branches.append(pooled)
    branches.append(blocks.conv(x, filters, "aspp_0", activation=activation, scope="aspp0"))
    for index, rate in enumerate(config.atrous_rates, start=1):
        name, scope = f"aspp_{index}", f"aspp{index}"
        if config.aspp_with_separable_conv:
            branches.append(blocks.separable(x, filters, name, rate=rate, activation=activation, scope=scope))
        else:
            branches.append(blocks.conv(x, filters, name, kernel=3, rate=rate, activation=activation, scope=scope))
    joined = blocks.concat(branches, "aspp_concat")
    if config.aspp_with_concat_projection:
        joined = blocks.conv(joined, filters, "aspp_project", activation=activation, scope="concat_projection")
        joined = Feature(blocks.plain("Dropout", DROPOUT, name="aspp_dropout")(joined.tensor), joined.scale)
    if pooled is not None and config.aspp_with_squeeze_and_excitation:
        product = blocks.plain("Multiply", name="aspp_product")([joined.tensor, pooled.tensor])
        joined = Feature(product, joined.scale * pooled.scale)
    return joined


def _image_pooling(blocks: Blocks, x: Feature, *, config: OfficialConfig, sizes: Sizes) -> Feature:
    """The picture's mean, in a window of fixed size, through a 1x1 and back to the features' size."""
    window = None if sizes.at(1) is None else sizes.pooling_window(config.output_stride)
    pooled, stride = blocks.average(x, window, "image_pooling_mean", strides=config.image_pooling_stride)
    excites = config.aspp_with_squeeze_and_excitation
    pooled = blocks.conv(
        pooled, config.aspp_convs_filters, "image_pooling", stride=stride, batch_norm=not excites,
        activation=None if excites else "relu", scope="image_pooling",
    )  # fmt: skip
    if excites:
        pooled = blocks.gate(pooled, "image_pooling", hard=config.image_se_uses_qsigmoid)
    return sizes.resize(blocks, pooled, config.output_stride, "image_pooling_resize")
