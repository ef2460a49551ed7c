"""The variants we name, and what each costs. One explicit table, written by hand."""

from __future__ import annotations

from dataclasses import dataclass

from edge_deeplab.models.architecture import count
from edge_deeplab.models.deeplab import DeepLabConfig

# what recipes/portrait.toml trains; rates that fit a map of 14 x 14, a decoder lean in multiply-adds
_PORTRAIT = DeepLabConfig(
    backbone="mobilenet_v2",
    width=0.5,
    width_divisor=1,
    size_hw=(224, 224),
    aspp_filters=64,
    aspp_rates=(3, 6, 9),
    low_level_filters=16,
    decoder_filters=32,
)

VARIANTS: dict[str, DeepLabConfig] = {
    "portrait-small": _PORTRAIT.replace(size_hw=(144, 144), aspp_rates=(2, 4, 6)),
    "portrait": _PORTRAIT,
    "portrait-large": DeepLabConfig(
        backbone="mobilenet_v2",
        size_hw=(256, 256),
        aspp_filters=96,
        aspp_rates=(3, 6, 9),
        low_level_filters=24,
        decoder_filters=48,
    ),
    **{
        f"mobilenet_v2_{str(width).replace('.', '')}": DeepLabConfig(backbone="mobilenet_v2", width=width)
        for width in (0.35, 0.5, 0.75, 1.0, 1.4)
    },
    "mobilenet_v3_small": DeepLabConfig(backbone="mobilenet_v3_small"),
    "mobilenet_v3_large": DeepLabConfig(backbone="mobilenet_v3_large"),
    **{
        f"efficientnet_{size}": DeepLabConfig(backbone=f"efficientnet_{size}")
        for size in ("lite0", "lite1", "lite2", "lite3", "lite4", "b0", "b1", "b2", "b3", "b4")
    },
    **{f"resnet_v1_{depth}": DeepLabConfig(backbone=f"resnet_v1_{depth}") for depth in (18, 50, 101)},
    **{f"xception_{depth}": DeepLabConfig(backbone=f"xception_{depth}") for depth in (41, 65, 71)},
}


@dataclass(frozen=True)
class VariantRow:
    """One line of `edge-deeplab models`. multiply_adds: of one picture of size_hw, convolutions only."""

    name: str
    config: DeepLabConfig
    parameters: int
    multiply_adds: int


def describe() -> list[VariantRow]:
    """Every named variant with its trainable parameters and multiply-adds. Imports no Keras."""
    rows = []
    for name, config in VARIANTS.items():
        counted = count(config)
        rows.append(VariantRow(name, config, counted.trainable, counted.multiply_adds))
    return rows
