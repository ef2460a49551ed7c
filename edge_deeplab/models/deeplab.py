"""DeepLabv3+ for devices: one builder for keras and tf_keras.

config = DeepLabConfig(backbone="mobilenet_v2", width=0.5, classes=2)
model = build_deeplab(keras_namespace("keras"), config)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from edge_deeplab.errors import UsageError, nearest
from edge_deeplab.models.backbones.efficientnet import VARIANTS as EFFICIENTNETS
from edge_deeplab.models.backbones.efficientnet import build_efficientnet
from edge_deeplab.models.backbones.endpoints import Endpoints
from edge_deeplab.models.backbones.mobilenet_v2 import build_mobilenet_v2
from edge_deeplab.models.backbones.mobilenet_v3 import TABLES, build_mobilenet_v3
from edge_deeplab.models.backbones.resnet_v1 import KERAS_VARIANTS, VARIANTS, build_resnet_v1
from edge_deeplab.models.backbones.strides import OUTPUT_STRIDES
from edge_deeplab.models.backbones.xception import build_xception
from edge_deeplab.models.blocks import BATCH_NORM_MOMENTUM, Blocks, Feature
from edge_deeplab.models.heads.aspp import build_aspp
from edge_deeplab.models.heads.decoder import build_decoder, build_detail


class Family(NamedTuple):
    """Backbones of one builder.

    Attributes:
        build: of (blocks, image, config).
        names: the backbones.
        has_width: whether the depth multiplier and the divisor mean anything to it.
        has_multi_grid: whether its last block can have a rate for each unit.
        has_detail: whether it gives features at stride 2.
    """

    build: Callable[[Blocks, Feature, DeepLabConfig], Endpoints]
    names: tuple[str, ...]
    has_width: bool = False
    has_multi_grid: bool = False
    has_detail: bool = False


def _mobilenet_v2(blocks: Blocks, image: Feature, config: DeepLabConfig) -> Endpoints:
    return build_mobilenet_v2(
        blocks, image, width=config.width, output_stride=config.output_stride, width_divisor=config.width_divisor
    )


def _mobilenet_v3(blocks: Blocks, image: Feature, config: DeepLabConfig) -> Endpoints:
    return build_mobilenet_v3(
        blocks, image, variant=config.backbone, width=config.width, output_stride=config.output_stride,
        width_divisor=config.width_divisor,
    )  # fmt: skip


def _xception(blocks: Blocks, image: Feature, config: DeepLabConfig) -> Endpoints:
    return build_xception(
        blocks, image, variant=config.backbone, output_stride=config.output_stride, multi_grid=config.multi_grid
    )


def _resnet_v1(blocks: Blocks, image: Feature, config: DeepLabConfig) -> Endpoints:
    return build_resnet_v1(
        blocks, image, variant=config.backbone, output_stride=config.output_stride, multi_grid=config.multi_grid
    )


def _efficientnet(blocks: Blocks, image: Feature, config: DeepLabConfig) -> Endpoints:
    return build_efficientnet(blocks, image, variant=config.backbone, output_stride=config.output_stride)


FAMILIES = (
    Family(_mobilenet_v2, ("mobilenet_v2",), has_width=True, has_detail=True),
    Family(_mobilenet_v3, tuple(sorted(TABLES)), has_width=True, has_detail=True),
    Family(_xception, ("xception_41", "xception_65", "xception_71"), has_multi_grid=True),
    Family(_resnet_v1, (*VARIANTS, *KERAS_VARIANTS), has_multi_grid=True),
    Family(_efficientnet, tuple(EFFICIENTNETS), has_detail=True),
)
BACKBONES = {name: family for family in FAMILIES for name in family.names}
FORMS = ("training", "int8")
DECODER_STRIDE = 4
DETAIL_STRIDE = 2
_HEADS = ("aspp_", "image_pooling_", "decoder_", "detail_", "logits")


def _check(name: str, value: Any, holds: bool, allowed: str) -> None:
    if not holds:
        raise UsageError(f"model: {name}", came=value, allowed=allowed)


@dataclass(frozen=True, kw_only=True)
class DeepLabConfig:
    """What network to build. Every default is written here and nowhere else.

    Attributes:
        backbone: a name of BACKBONES.
        width: the depth multiplier, 0.35 to 1.4, of a MobileNet.
        classes: channels of the logits.
        size_hw: input height and width: multiples of output_stride, or, with align_corners, one more.
        output_stride: 8, 16 or 32.
        multi_grid: three factors of the last block's rates (DeepLabv3, section 3.2.1), of an Xception or ResNet;
            two of resnet_v1_18.
        aspp_filters, aspp_rates: of each ASPP branch; rates in feature pixels.
        decoder_filters, low_level_filters: of the decoder's separable convolutions and of its low-level projection.
        detail_filters: of a last step at stride 2, which joins the features there; 0 leaves it out. MobileNet and
            EfficientNet have such features.
        logits_stride: 1, 2 or 4 input pixels per logit; 1 enlarges bilinearly inside the network.
        width_divisor: channels of the backbone are multiples of this.
        dropout: before the decoder, in training only.
        align_corners: whether what is enlarged keeps its corners on the input's, as in the official code, or stays
            on half-pixel centres, which is what devices and other programs resize by.
        form: "training", or "int8", the same function in operators that are delegated as int8: MobileNetV3's exact
            reparametrisation, EfficientNet's swish as sigmoid and product. Of other backbones the two are one.
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
    detail_filters: int = 0
    logits_stride: int = 1
    width_divisor: int = 8
    dropout: float = 0.0
    multi_grid: tuple[int, ...] = ()
    align_corners: bool = False
    form: str = "training"

    def __post_init__(self) -> None:
        object.__setattr__(self, "size_hw", tuple(self.size_hw))
        object.__setattr__(self, "aspp_rates", tuple(self.aspp_rates))
        object.__setattr__(self, "multi_grid", tuple(self.multi_grid))
        _check("backbone", self.backbone, self.backbone in BACKBONES, nearest(str(self.backbone), list(BACKBONES)))
        family = BACKBONES[self.backbone]
        _check("width", self.width, 0.35 <= self.width <= 1.4, "0.35 to 1.4")
        _check("width", self.width, self.width == 1 or family.has_width, f"1 with {self.backbone}, it comes in one")
        grid_fits = not self.multi_grid or (family.has_multi_grid and min(self.multi_grid) >= 1)
        _check("multi_grid", self.multi_grid, grid_fits, "factors of 1 or more, with an Xception or a ResNet")
        _check("classes", self.classes, self.classes >= 1, "1 or more")
        _check("output_stride", self.output_stride, self.output_stride in OUTPUT_STRIDES, "8, 16, 32")
        _check("aspp_filters", self.aspp_filters, self.aspp_filters >= 1, "1 or more")
        rates_fit = bool(self.aspp_rates) and min(self.aspp_rates) >= 1
        _check("aspp_rates", self.aspp_rates, rates_fit, "one or more rates, each 1 or more")
        _check("decoder_filters", self.decoder_filters, self.decoder_filters >= 1, "1 or more")
        _check("low_level_filters", self.low_level_filters, self.low_level_filters >= 1, "1 or more")
        detail_fits = self.detail_filters == 0 or (self.detail_filters > 0 and family.has_detail)
        _check("detail_filters", self.detail_filters, detail_fits, "0, or more with a MobileNet or EfficientNet")
        _check("logits_stride", self.logits_stride, self.logits_stride in (1, 2, 4), "1, 2, 4")
        _check("width_divisor", self.width_divisor, self.width_divisor >= 1, "1 or more")
        _check("dropout", self.dropout, 0 <= self.dropout < 1, "0 to 1")
        _check("form", self.form, self.form in FORMS, ", ".join(FORMS))
        ends = (0, 1) if self.align_corners else (0,)
        size_fits = len(self.size_hw) == 2 and all(
            side > 1 and side % self.output_stride in ends for side in self.size_hw
        )
        allowed = f"two multiples of output_stride {self.output_stride}{', or one more' if self.align_corners else ''}"
        _check("size_hw", self.size_hw, size_fits, allowed)

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


def is_of_head(layer: str) -> bool:
    """Whether a layer of this name comes after the backbone: in the pyramid, the decoder or the logits."""
    return layer.startswith(_HEADS)


def trace(K: Any, config: DeepLabConfig, batch_size: int | None = None) -> tuple[Any, Any, Blocks]:
    """Lays the network's layers. Returns: its input tensor, its logits tensor, and the blocks that made them."""
    grid = "corners" if config.align_corners else "centres"
    blocks = Blocks(K, form=config.form, fixed_momentum=BATCH_NORM_MOMENTUM, grid=grid)
    image = K.layers.Input((*config.size_hw, 3), batch_size=batch_size, name="image")
    x, low_level = BACKBONES[config.backbone].build(blocks, Feature(image), config)
    x = build_aspp(blocks, x, filters=config.aspp_filters, rates=config.aspp_rates, dropout=config.dropout)
    x = build_decoder(
        blocks, x, low_level[DECODER_STRIDE], filters=config.decoder_filters, low_level_filters=config.low_level_filters
    )
    if config.detail_filters:
        x = build_detail(blocks, x, low_level[DETAIL_STRIDE], filters=config.detail_filters)
    logits = Feature(blocks.weighted("Conv2D", config.classes, 1, name="logits")(x.tensor))
    height, width = ((side - 1) // config.logits_stride + 1 for side in config.size_hw)
    return image, blocks.resize(logits, (height, width), "logits_resize").tensor, blocks


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
