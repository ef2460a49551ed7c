"""The building blocks all our networks share, and the bookkeeping of the exact int8 form.

In the form "int8" of MobileNetV3 a hard swish is x * relu6(x + 3), six times too large, because int8 HARD_SWISH is not
delegated by XNNPACK (DESIGN.md: 19 to 21 partitions, slower than float). Every feature therefore carries the factor by
which it is too large, and every convolution that reads it records the factor its kernel must be divided by. What is
recorded here is applied to trained weights by models/int8_form.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from edge_deeplab.models.keras_api import own_layers

BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_MOMENTUM = 0.99


def make_divisible(value: float, divisor: int = 8) -> int:
    """Rounds a channel count to a multiple of `divisor`, never more than 10 % down (MobileNet's rule)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


class Feature(NamedTuple):
    """A Keras tensor (N, H, W, C) and the factor it is too large by (1 in the training form)."""

    tensor: Any
    scale: float = 1.0

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.tensor.shape[-1])


@dataclass
class Blocks:
    """Makes layers with one Keras, in one form.

    Attributes:
        K: the Keras namespace.
        form: "training" or "int8".
        kernel_factor: layer name -> what its training kernel is multiplied by in this form.
        bias_shift: layer name -> what is added to its training bias in this form.
        output_factor: batch-norm layer name -> what its gamma and beta are multiplied by in this form.
    """

    K: Any
    form: str = "training"
    kernel_factor: dict[str, float] = field(default_factory=dict)
    bias_shift: dict[str, float] = field(default_factory=dict)
    output_factor: dict[str, float] = field(default_factory=dict)

    def activate(self, x: Feature, activation: str | None, name: str) -> Feature:
        """Applies "relu", "relu6", "hard_swish" or nothing."""
        layers = self.K.layers
        if activation is None:
            return x
        if activation == "relu":
            return Feature(layers.ReLU(name=name)(x.tensor), x.scale)
        if activation == "relu6":
            return Feature(layers.ReLU(max_value=6.0, name=name)(x.tensor), x.scale)
        own = own_layers(self.K)
        if self.form == "training":
            return Feature(own.HardSwish(name=name)(x.tensor), x.scale)
        gate = own.Relu6Plus3(name=f"{name}_gate")(x.tensor)
        return Feature(layers.Multiply(name=f"{name}_product")([x.tensor, gate]), 6.0 * x.scale)

    def _normalise(self, tensor: Any, name: str, activation: str | None) -> Feature:
        normalised = self.K.layers.BatchNormalization(
            name=f"{name}_bn", epsilon=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM
        )(tensor)
        return self.activate(Feature(normalised), activation, f"{name}_act")

    def conv(
        self, x: Feature, filters: int, name: str, *, kernel: int = 1, stride: int = 1, rate: int = 1,
        activation: str | None = "relu",
    ) -> Feature:  # fmt: skip
        """Convolution without bias, batch norm, activation."""
        self.kernel_factor[f"{name}_conv"] = 1.0 / x.scale
        y = self.K.layers.Conv2D(
            filters, kernel, strides=stride, padding="same", dilation_rate=rate, use_bias=False,
            kernel_initializer="he_normal", name=f"{name}_conv",
        )(x.tensor)  # fmt: skip
        return self._normalise(y, name, activation)

    def depthwise(
        self, x: Feature, name: str, *, kernel: int = 3, stride: int = 1, rate: int = 1, activation: str | None = "relu"
    ) -> Feature:
        """Depthwise convolution without bias, batch norm, activation."""
        self.kernel_factor[f"{name}_conv"] = 1.0 / x.scale
        y = self.K.layers.DepthwiseConv2D(
            kernel, strides=stride, padding="same", dilation_rate=rate, use_bias=False,
            depthwise_initializer="he_normal", name=f"{name}_conv",
        )(x.tensor)  # fmt: skip
        return self._normalise(y, name, activation)

    def separable(self, x: Feature, filters: int, name: str, *, rate: int = 1) -> Feature:
        """Atrous separable convolution with batch norm and ReLU after both parts (DeepLabv3+, section 3.1)."""
        x = self.depthwise(x, f"{name}_depthwise", rate=rate)
        return self.conv(x, filters, f"{name}_pointwise")

    def squeeze_excite(self, x: Feature, name: str) -> Feature:
        """MobileNetV3's squeeze-and-excite: mean, 1x1, ReLU, 1x1, hard sigmoid, product; both 1x1 have biases."""
        layers = self.K.layers
        y = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x.tensor)
        self.kernel_factor[f"{name}_reduce"] = 1.0 / x.scale
        y = layers.Conv2D(make_divisible(x.channels / 4), 1, name=f"{name}_reduce")(y)
        y = layers.ReLU(name=f"{name}_relu")(y)
        y = layers.Conv2D(x.channels, 1, name=f"{name}_expand")(y)
        if self.form == "training":
            gate = own_layers(self.K).HardSigmoid(name=f"{name}_gate")(y)
            return Feature(layers.Multiply(name=f"{name}_product")([x.tensor, gate]), x.scale)
        self.bias_shift[f"{name}_expand"] = 3.0
        gate = layers.ReLU(max_value=6.0, name=f"{name}_gate")(y)
        return Feature(layers.Multiply(name=f"{name}_product")([x.tensor, gate]), 6.0 * x.scale)

    def add(self, shortcut: Feature, branch: Feature, name: str, *, branch_batch_norm: str) -> Feature:
        """Residual sum. A shortcut that is too large makes the branch's batch norm grow by the same factor."""
        if shortcut.scale != branch.scale:
            self.output_factor[branch_batch_norm] = shortcut.scale / branch.scale
        total = self.K.layers.Add(name=name)([shortcut.tensor, branch.tensor])
        return Feature(total, shortcut.scale)

    def upsample(self, x: Feature, factor_hw: tuple[int, int], name: str) -> Feature:
        """Bilinear enlargement by whole factors, half-pixel centres; nothing for (1, 1)."""
        if factor_hw == (1, 1):
            return x
        layer = self.K.layers.UpSampling2D(factor_hw, interpolation="bilinear", name=name)
        return Feature(layer(x.tensor), x.scale)
