"""What a backbone read from someone else's file is: arrays by official variable name, and how its pixels are prepared.

The readers are beside this: pretrained_tflite.py, pretrained_variables.py and pretrained_keras.py; pretrained.py
chooses among them. What the arrays become in a network of ours is for transplant.py to say.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_deeplab.errors import ModelError
from edge_deeplab.models.backbones.mobilenet_v2 import SCOPE as MOBILENET_V2
from edge_deeplab.models.backbones.mobilenet_v2 import build_mobilenet_v2
from edge_deeplab.models.backbones.resnet_v1 import KERAS_VARIANTS
from edge_deeplab.models.blocks import Blocks, Feature
from edge_deeplab.models.counting import count_traced
from edge_deeplab.models.official_config import MEAN_RGB

BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
KERNELS = ("weights", "depthwise_weights")
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
    mean_rgb: tuple[float, ...] | None = None, is_from_keras: bool = False,
) -> ForeignBackbone:  # fmt: skip
    """A backbone with batch norms of its own, from variables by official name.

    Args:
        arrays: those of the backbone; other names are left out.
        epsilon: of the batch norms where the file says it; None for the official code's.
        mean_rgb: what was subtracted, for ResNets that are fed so; None for the official code's.
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
        input_range=less_mean(mean_rgb or MEAN_RGB) if has_mean else OFFICIAL_INPUT_RANGE,
        batch_norm_epsilon=epsilon or (RESNET_EPSILON if is_resnet else OFFICIAL_EPSILON),
        is_from_keras=is_from_keras,
    )  # fmt: skip


@functools.cache
def mobilenet_v2_shapes(width: float = 1.0, divisor: int = 8) -> dict[str, tuple[int, ...]]:
    """Official name -> shape of MobileNetV2's variables, in the network's order, as our builder has them; no Keras."""
    official: dict[str, tuple[str, ...]] = {}

    def lay(K: Any) -> None:
        blocks = Blocks(K)
        image = Feature(K.layers.Input((32, 32, 3)))
        build_mobilenet_v2(blocks, image, width=width, output_stride=32, width_divisor=divisor)
        official.update(blocks.official)

    shapes = count_traced(lay).shapes
    return {name: shape for layer, names in official.items() for name, shape in zip(names, shapes[layer], strict=True)}


def official_channels(width: float, divisor: int) -> tuple[int, ...]:
    """Output channels of MobileNetV2's stem and 17 blocks at a width, rounded as slim's make_divisible does."""
    shapes = mobilenet_v2_shapes(width, divisor)
    return tuple(shapes[f"{layer}/weights"][-1] for layer in _ends())


def official_layers() -> Iterator[tuple[str, str]]:
    """MobileNetV2's 51 convolutions in order: (official layer name, name of its kernel variable)."""
    for name in mobilenet_v2_shapes():
        layer, variable = name.rsplit("/", 1)
        if variable in KERNELS:
            yield layer, variable


def _ends() -> list[str]:
    """The official layers whose output is the stem's or a block's."""
    return [layer for layer, _ in official_layers() if layer.endswith(("/Conv", "/project"))]


def width_of(arrays: Mapping[str, np.ndarray], source: str) -> tuple[float, int]:
    """Width and divisor of a MobileNetV2 from its kernels. Raises ModelError when they are of another network."""
    channels = tuple(arrays[f"{layer}/weights"].shape[-1] for layer in _ends())
    plain = official_channels(1.0, 8)
    # The widest layer is rounded least: 320 channels times any width in hundredths comes back exactly.
    width = round(channels[-1] / plain[-1], 2)
    for divisor in (8, 1):
        expected = official_channels(width, divisor)
        # slim at widths below 1 may leave the stem at 32 (keras-applications does not); both are MobileNetV2
        if channels[1:] == expected[1:] and channels[0] in (expected[0], plain[0]):
            _check_shapes(arrays, mobilenet_v2_shapes(width, divisor), source)
            return width, divisor
    raise ModelError(
        f"{source}: its channels are of no MobileNetV2", came=list(channels),
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


def _check_shapes(arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], source: str) -> None:
    """Each kernel must have its shape; the stem may be wider, and then so is what reads it."""
    stem = arrays[f"{MOBILENET_V2}/Conv/weights"].shape[-1]
    of_stem = {"Conv/weights": 3, "expanded_conv/depthwise/depthwise_weights": 2, "expanded_conv/project/weights": 2}
    for layer, variable in official_layers():
        name = f"{layer}/{variable}"
        expected = list(shapes[name])
        if (axis := of_stem.get(name.removeprefix(f"{MOBILENET_V2}/"))) is not None:
            expected[axis] = stem
        if arrays[name].shape != tuple(expected):
            raise ModelError(f"{source}: {name} is of no MobileNetV2", came=arrays[name].shape, allowed=tuple(expected))
