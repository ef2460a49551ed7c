"""What a backbone read from someone else's file is: arrays by official variable name, and how its pixels are prepared.

The readers are beside this: pretrained_tflite.py, pretrained_variables.py and pretrained_keras.py; pretrained.py
chooses among them. What the arrays become in a network of ours is for transplant.py to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from edge_deeplab.errors import ModelError
from edge_deeplab.models.backbones.resnet_v1 import KERAS_VARIANTS
from edge_deeplab.models.blocks import make_divisible
from edge_deeplab.models.official_config import MEAN_RGB

BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
KERNELS = ("weights", "depthwise_weights")
MOBILENET_V2 = "MobilenetV2"
# Official scope -> what our backbone of those variables is called; ResNets have a second form, see backbone_of.
SCOPES = {
    MOBILENET_V2: "mobilenet_v2",
    "xception_41": "xception_41",
    "xception_65": "xception_65",
    "xception_71": "xception_71",
    "resnet_v1_18": "resnet_v1_18",
    "resnet_v1_50": "resnet_v1_50",
    "resnet_v1_101": "resnet_v1_101",
}
# The inverted residual blocks expanded_conv, expanded_conv_1 .. expanded_conv_16: output channels at width 1 and
# expansion factor (MobileNetV2, arXiv 1801.04381, table 2). The stem has 32 channels.
STEM_CHANNELS = 32
BLOCKS = (
    (16, 1), (24, 6), (24, 6), (32, 6), (32, 6), (32, 6), (64, 6), (64, 6), (64, 6), (64, 6),
    (96, 6), (96, 6), (96, 6), (160, 6), (160, 6), (160, 6), (320, 6),
)  # fmt: skip
OFFICIAL_EPSILON = 1e-3
RESNET_EPSILON = 1e-5

Channels = float | tuple[float, float, float]
InputRange = tuple[Channels, Channels]
# Official DeepLab feeds (2/255) p - 1; a file that says nothing else is taken to do so.
OFFICIAL_INPUT_RANGE: InputRange = (-1.0, 1.0)


def less_mean(mean_rgb: tuple[float, ...]) -> InputRange:
    """The input range of a network that is fed p - mean, p in 0..255."""
    red, green, blue = mean_rgb
    return (-red, -green, -blue), (255 - red, 255 - green, 255 - blue)


@dataclass(frozen=True, kw_only=True)
class ForeignBackbone:
    """Weights of a backbone from elsewhere.

    The first convolution expects RGB in `input_range`. A network that takes 0..1 must fold that into its stem: with
    scale s = high - low and offset o = low, kernel * s, and o * sum(kernel over height, width and input) added to the
    bias (before batch norm: subtracted from the moving mean). That is exact inside the picture and not in the outermost
    rows and columns, where padding puts 0: a real 0 is mid-grey in -1..1, the mean colour where that is subtracted,
    and black in 0..1.

    Attributes:
        arrays: float32 by official name, e.g. MobilenetV2/Conv/weights (3, 3, 3, C),
            resnet_v1_50/block1/unit_1/bottleneck_v1/conv2/weights (3, 3, in, out) and
            MobilenetV2/expanded_conv_1/depthwise/depthwise_weights (3, 3, C, 1); beside each either
            .../BatchNorm/{gamma, beta, moving_mean, moving_variance} or, folded, .../biases, all (C,).
        scope: the first part of the names, one of SCOPES.
        width: the depth multiplier; 1 for all but MobileNetV2.
        width_divisor: what channels were rounded to multiples of: 1 in the official DeepLab code for widths other
            than 1 (width 0.5 has blocks of 12 channels, where multiples of 8 make 16), else 8.
        input_range: the real values the first convolution expects for pixels 0 and 255, for all channels or for each.
        is_folded: whether batch norm is inside weights and biases.
        batch_norm_epsilon: what was added to the variance; None when folded.
        is_from_keras: whether keras.applications' ResNets, which pad otherwise, are the nearest of our backbones.
        source: the file's path, for provenance and messages.
    """

    arrays: Mapping[str, np.ndarray]
    scope: str
    width: float = 1.0
    width_divisor: int = 8
    input_range: InputRange = OFFICIAL_INPUT_RANGE
    is_folded: bool = False
    batch_norm_epsilon: float | None
    is_from_keras: bool = False
    source: str

    @property
    def backbone(self) -> str:
        """Our name of the network these weights are of."""
        official = backbone_of(self.scope, self.arrays)
        keras = {ours: theirs for theirs, ours in KERAS_VARIANTS.items()}
        return keras.get(official, official) if self.is_from_keras else official


def backbone_of(scope: str, names: Mapping[str, object]) -> str:
    """Our name of the backbone with these official variables."""
    is_beta = f"{scope}/conv1_1/weights" in names
    return SCOPES[scope] + ("_beta" if is_beta else "")


def of_variables(
    arrays: Mapping[str, np.ndarray], scope: str, *, source: str, epsilon: float | None = None,
    mean_rgb: tuple[float, ...] = MEAN_RGB, is_from_keras: bool = False,
) -> ForeignBackbone:  # fmt: skip
    """A backbone with batch norms of its own, from variables by official name.

    Args:
        arrays: those of the backbone; other names are left out.
        epsilon: of the batch norms where the file says it; None for the official code's.
        mean_rgb: what was subtracted, for ResNets that are fed so.
    Raises: ModelError when it is no complete MobileNetV2. Of other backbones, the network to start says what fits.
    """
    kept = {name: array for name, array in arrays.items() if name.startswith(f"{scope}/")}
    width, divisor = 1.0, 8
    if scope == MOBILENET_V2:
        _check_complete(kept, source)
        width, divisor = width_of(kept, source)
    is_resnet = scope.startswith("resnet")
    has_mean = is_resnet and not backbone_of(scope, kept).endswith("_beta")
    return ForeignBackbone(
        arrays=kept, scope=scope, width=width, width_divisor=divisor, source=source,
        input_range=less_mean(mean_rgb) if has_mean else OFFICIAL_INPUT_RANGE,
        batch_norm_epsilon=epsilon or (RESNET_EPSILON if is_resnet else OFFICIAL_EPSILON),
        is_from_keras=is_from_keras,
    )  # fmt: skip


def official_channels(width: float, divisor: int) -> tuple[int, ...]:
    """Output channels of MobileNetV2's stem and 17 blocks at a width, rounded as slim's make_divisible does."""
    return tuple(make_divisible(base * width, divisor) for base in (STEM_CHANNELS, *(out for out, _ in BLOCKS)))


def official_layers() -> Iterator[tuple[str, str]]:
    """MobileNetV2's 51 convolutions in order: (official layer name, name of its kernel variable)."""
    yield f"{MOBILENET_V2}/Conv", "weights"
    for index, (_, expansion) in enumerate(BLOCKS):
        block = f"{MOBILENET_V2}/expanded_conv" + (f"_{index}" if index else "")
        if expansion > 1:
            yield f"{block}/expand", "weights"
        yield f"{block}/depthwise", "depthwise_weights"
        yield f"{block}/project", "weights"


def width_of(arrays: Mapping[str, np.ndarray], source: str) -> tuple[float, int]:
    """Width and divisor of a MobileNetV2 from its kernels. Raises ModelError when they are of another network."""
    channels = [arrays[f"{MOBILENET_V2}/Conv/weights"].shape[-1]]
    channels += [arrays[f"{layer}/weights"].shape[-1] for layer, _ in official_layers() if layer.endswith("/project")]
    # The widest layer is rounded least: 320 channels times any width in hundredths comes back exactly.
    width = round(channels[-1] / BLOCKS[-1][0], 2)
    for divisor in (8, 1):
        expected = official_channels(width, divisor)
        # slim at widths below 1 may leave the stem at 32 (keras-applications does not); both are MobileNetV2
        if tuple(channels[1:]) == expected[1:] and channels[0] in (expected[0], STEM_CHANNELS):
            _check_shapes(arrays, source)
            return width, divisor
    raise ModelError(
        f"{source}: its channels are of no MobileNetV2", came=channels,
        allowed=f"e.g. {list(official_channels(width, 8))}",
    )  # fmt: skip


def _check_complete(arrays: Mapping[str, np.ndarray], source: str) -> None:
    wanted = [f"{layer}/{variable}" for layer, variable in official_layers()]
    wanted += [f"{layer}/BatchNorm/{name}" for layer, _ in official_layers() for name in BATCH_NORM]
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise ModelError(
            f"{source}: no complete MobileNetV2",
            came=f"{len(missing)} of {len(wanted)} variables missing, {missing[0]}",
            allowed=f"variables named {wanted[0]} and so on; in a frozen graph, as constants",
        )  # fmt: skip


def _check_shapes(arrays: Mapping[str, np.ndarray], source: str) -> None:
    """Each layer must take what the one before it gives, expand by its factor, and have 3 x 3 or 1 x 1 kernels."""
    channels = 3
    factors = [1, *(expansion for _, expansion in BLOCKS)]
    block = 0
    for layer, variable in official_layers():
        shape = arrays[f"{layer}/{variable}"].shape
        if layer.endswith("/depthwise"):
            expected: tuple[int, ...] = (3, 3, channels, 1)
        elif layer.endswith("/expand"):
            expected = (1, 1, channels, channels * factors[block + 1])
        elif layer.endswith("/project"):
            expected = (1, 1, channels, shape[-1])
            block += 1
        else:
            expected = (3, 3, 3, shape[-1])
        if shape != expected:
            raise ModelError(f"{source}: {layer}/{variable} is of no MobileNetV2", came=shape, allowed=expected)
        channels = channels if layer.endswith("/depthwise") else shape[-1]
