"""DeepLabv3+ for devices: one builder for keras and tf_keras.

config = DeepLabConfig(backbone="mobilenet_v2", width=0.5, classes=2)
model = build_deeplab(keras_namespace("keras"), config)
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from edge_deeplab.errors import UsageError, nearest
from edge_deeplab.models.backbones.mobilenet_v2 import build_mobilenet_v2
from edge_deeplab.models.backbones.mobilenet_v3 import TABLES, build_mobilenet_v3
from edge_deeplab.models.backbones.strides import OUTPUT_STRIDES
from edge_deeplab.models.blocks import Blocks, Feature
from edge_deeplab.models.heads.aspp import build_aspp
from edge_deeplab.models.heads.decoder import build_decoder

BACKBONES = ("mobilenet_v2", *sorted(TABLES))
FORMS = ("training", "int8")
DECODER_STRIDE = 4


def _check(name: str, value: Any, holds: bool, allowed: str) -> None:
    if not holds:
        raise UsageError(f"model: {name}", came=value, allowed=allowed)


@dataclass(frozen=True, kw_only=True)
class DeepLabConfig:
    """What network to build. Every default is written here and nowhere else.

    Attributes:
        backbone: "mobilenet_v2", "mobilenet_v3_small" or "mobilenet_v3_large".
        width: the depth multiplier, 0.35 to 1.4.
        classes: channels of the logits.
        size_hw: input height and width, multiples of output_stride.
        output_stride: 8, 16 or 32.
        aspp_filters, aspp_rates: of each ASPP branch; rates in feature pixels.
        decoder_filters, low_level_filters: of the decoder's separable convolutions and of its low-level projection.
        logits_stride: 1, 2 or 4 input pixels per logit; 1 enlarges bilinearly inside the network.
        width_divisor: channels of the backbone are multiples of this.
        dropout: before the decoder, in training only.
        form: "training", or "int8", MobileNetV3's exact reparametrisation (the same as "training" for MobileNetV2).
    """

    backbone: str = "mobilenet_v2"
    width: float = 1.0
    classes: int = 2
    size_hw: tuple[int, int] = (256, 256)
    output_stride: int = 16
    aspp_filters: int = 128
    aspp_rates: tuple[int, ...] = (6, 12, 18)
    decoder_filters: int = 128
    low_level_filters: int = 32
    logits_stride: int = 1
    width_divisor: int = 8
    dropout: float = 0.0
    form: str = "training"

    def __post_init__(self) -> None:
        object.__setattr__(self, "size_hw", tuple(self.size_hw))
        object.__setattr__(self, "aspp_rates", tuple(self.aspp_rates))
        _check("backbone", self.backbone, self.backbone in BACKBONES, nearest(str(self.backbone), BACKBONES))
        _check("width", self.width, 0.35 <= self.width <= 1.4, "0.35 to 1.4")
        _check("classes", self.classes, self.classes >= 1, "1 or more")
        _check("output_stride", self.output_stride, self.output_stride in OUTPUT_STRIDES, "8, 16, 32")
        _check("aspp_filters", self.aspp_filters, self.aspp_filters >= 1, "1 or more")
        rates_fit = bool(self.aspp_rates) and min(self.aspp_rates) >= 1
        _check("aspp_rates", self.aspp_rates, rates_fit, "one or more rates, each 1 or more")
        _check("decoder_filters", self.decoder_filters, self.decoder_filters >= 1, "1 or more")
        _check("low_level_filters", self.low_level_filters, self.low_level_filters >= 1, "1 or more")
        _check("logits_stride", self.logits_stride, self.logits_stride in (1, 2, 4), "1, 2, 4")
        _check("width_divisor", self.width_divisor, self.width_divisor >= 1, "1 or more")
        _check("dropout", self.dropout, 0 <= self.dropout < 1, "0 to 1")
        _check("form", self.form, self.form in FORMS, ", ".join(FORMS))
        size_fits = len(self.size_hw) == 2 and all(side > 0 and side % self.output_stride == 0 for side in self.size_hw)
        _check("size_hw", self.size_hw, size_fits, f"two multiples of output_stride {self.output_stride}")

    def replace(self, **changes: Any) -> DeepLabConfig:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> DeepLabConfig:
        """The inverse of to_dict. Raises UsageError for an unknown field."""
        known = {item.name for item in dataclasses.fields(cls)}
        unknown = sorted(set(raw) - known)
        if unknown:
            raise UsageError("model: unknown fields", came=", ".join(unknown), allowed=nearest(unknown[0], known))
        return cls(**raw)


def trace(K: Any, config: DeepLabConfig, batch_size: int | None = None) -> tuple[Any, Any, Blocks]:
    """Lays the network's layers. Returns: its input tensor, its logits tensor, and the blocks that made them."""
    blocks = Blocks(K, form=config.form)
    image = K.layers.Input((*config.size_hw, 3), batch_size=batch_size, name="image")
    shape = {"width": config.width, "output_stride": config.output_stride, "width_divisor": config.width_divisor}
    if config.backbone == "mobilenet_v2":
        x, low_level = build_mobilenet_v2(blocks, Feature(image), **shape)  # type: ignore[arg-type]
    else:
        x, low_level = build_mobilenet_v3(blocks, Feature(image), variant=config.backbone, **shape)  # type: ignore[arg-type]
    x = build_aspp(blocks, x, filters=config.aspp_filters, rates=config.aspp_rates, dropout=config.dropout)
    x = build_decoder(
        blocks, x, low_level[DECODER_STRIDE], factor=config.output_stride // DECODER_STRIDE, filters=config.decoder_filters,
        low_level_filters=config.low_level_filters,
    )  # fmt: skip
    logits = K.layers.Conv2D(config.classes, 1, name="logits")(x.tensor)
    factor = DECODER_STRIDE // config.logits_stride
    return image, blocks.upsample(Feature(logits), (factor, factor), "logits_resize").tensor, blocks


def build_deeplab(K: Any, config: DeepLabConfig, batch_size: int | None = None) -> Any:
    """Builds the network.

    Args:
        K: `keras` or `tf_keras`, from keras_api.keras_namespace.
        batch_size: fixes the batch; conversion wants 1.
    Returns: a K.Model from images (N, H, W, 3) float32 RGB in 0..1 to logits (N, H/s, W/s, classes) float32,
        s = config.logits_stride.
    """
    image, logits, _ = trace(K, config, batch_size)
    return K.Model(image, logits, name=f"deeplab_v3_plus_{config.backbone}")
