"""The building blocks all our networks share, and the bookkeeping of the exact int8 form and of official names.

In the form "int8" of MobileNetV3 a hard swish is x * relu6(x + 3), six times too large, because int8 HARD_SWISH is not
delegated by XNNPACK (DESIGN.md: 19 to 21 partitions, slower than float). Every feature therefore carries the factor by
which it is too large, and every convolution that reads it records the factor its kernel must be divided by. What is
recorded here is applied to trained weights by models/int8_form.py.

A block that stands for one of the official code (tensorflow/models, research/deeplab and research/slim) is given the
scope of its variables there. What is recorded is the whole mapping from our layers to official variables: no table of
names is kept anywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from edge_deeplab.models.keras_api import own_layers

BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_MOMENTUM = 0.99


def make_divisible(value: float, divisor: int = 8, minimum: int | None = None) -> int:
    """Rounds a channel count to a multiple of `divisor`, never more than 10 % down (MobileNet's rule).

    Args:
        minimum: of the rounded count, before those 10 % are looked at; None for the divisor.
    """
    rounded = max(divisor if minimum is None else minimum, int(value + divisor / 2) // divisor * divisor)
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
        constants: layer name -> the weights of a layer that the training form does not have.
        epsilon, momentum: of the batch norms made from now on.
        fixed_momentum: replaces every momentum: the official ones are for far longer trainings.
        pads_always: whether pad_for_stride pads even where SAME would do: layers that several sizes share must agree.
        grid: where the pixels of a smaller map lie on the larger one, for resize() and for strides: "corners", the
            first on the first and the last on the last (the official code; exact for sides of k * stride + 1),
            "origin", the first on the first and the others a stride apart (the same network for sides that are
            multiples of the stride), or "centres", half-pixel centres (our own networks).
        suffix: added to the names of layers without weights, so that one network can be laid twice over its weights.
        official: layer name -> the official code's variables, in the order of the layer's own.
    """

    K: Any
    form: str = "training"
    kernel_factor: dict[str, float] = field(default_factory=dict)
    bias_shift: dict[str, float] = field(default_factory=dict)
    output_factor: dict[str, float] = field(default_factory=dict)
    constants: dict[str, list[np.ndarray]] = field(default_factory=dict)
    epsilon: float = BATCH_NORM_EPSILON
    momentum: float = BATCH_NORM_MOMENTUM
    fixed_momentum: float | None = None
    pads_always: bool = False
    grid: str = "corners"
    suffix: str = ""
    official: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _made: dict[str, Any] = field(default_factory=dict, repr=False)

    def plain(self, kind: str, *args: Any, name: str, **settings: Any) -> Any:
        """A layer without weights, K.layers.<kind> or one of our own."""
        factory = getattr(self.K.layers, kind, None) or getattr(own_layers(self.K), kind)
        return factory(*args, name=f"{name}{self.suffix}", **settings)

    def weighted(self, kind: str, *args: Any, name: str, variables: tuple[str, ...] = (), **settings: Any) -> Any:
        """A layer K.layers.<kind> with weights: the one of this name where it was made before.

        Args:
            variables: its official variables, in the order of its own; none for a layer the official code lacks.
        """
        if variables:
            self.official[name] = variables
        if name not in self._made:
            self._made[name] = getattr(self.K.layers, kind)(*args, name=name, **settings)
        return self._made[name]

    def activate(self, x: Feature, activation: str | None, name: str) -> Feature:
        """Applies "relu", "relu6", "clip6" (to -6..6), "hard_swish", "swish", "sigmoid" or nothing."""
        if activation is None:
            return x
        if activation == "relu":
            return Feature(self.plain("ReLU", name=name)(x.tensor), x.scale)
        if activation == "relu6":
            return Feature(self.plain("ReLU", max_value=6.0, name=name)(x.tensor), x.scale)
        if activation == "clip6":
            return Feature(self.plain("Clip6", name=name)(x.tensor), x.scale)
        if activation == "sigmoid":
            return Feature(self.plain("Activation", "sigmoid", name=name)(x.tensor), x.scale)
        if activation == "swish":
            return self._swish(x, name)
        if activation != "hard_swish":
            raise ValueError(f"no activation {activation!r}")
        if self.form == "training":
            return Feature(self.plain("HardSwish", name=name)(x.tensor), x.scale)
        gate = self.plain("Relu6Plus3", name=f"{name}_gate")(x.tensor)
        return Feature(self.plain("Multiply", name=f"{name}_product")([x.tensor, gate]), 6.0 * x.scale)

    def _swish(self, x: Feature, name: str) -> Feature:
        """x * sigmoid(x): one layer in training; in the form "int8" its two operators, each with a range of its own."""
        if self.form == "training":
            return Feature(self.plain("Activation", "swish", name=name)(x.tensor), x.scale)
        gate = self.plain("Activation", "sigmoid", name=f"{name}_gate")(x.tensor)
        return Feature(self.plain("Multiply", name=f"{name}_product")([x.tensor, gate]), x.scale)

    def normalise(self, x: Feature, name: str, *, activation: str | None = None, scope: str | None = None) -> Feature:
        """Batch norm, activation. scope: the official one's own, e.g. "MobilenetV2/Conv/BatchNorm"."""
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        layer = self.weighted(
            "BatchNormalization", name=f"{name}_bn", epsilon=self.epsilon,
            momentum=self.momentum if self.fixed_momentum is None else self.fixed_momentum,
            variables=tuple(f"{scope}/{variable}" for variable in names) if scope else (),
        )  # fmt: skip
        return self.activate(Feature(layer(x.tensor), x.scale), activation, f"{name}_act")

    def pad_for_stride(self, x: Feature, kernel: int, stride: int, rate: int, name: str) -> tuple[Feature, str]:
        """The official code's explicit padding: symmetric whatever the size, where the stride exceeds 1.

        Returns: the feature to convolve and the padding to do it with. On odd sides SAME is symmetric itself, and
        stays: one operator fewer on the device.
        """
        sides = x.tensor.shape[1:3]
        if stride == 1:
            return x, "same"
        if not self.pads_always and stride == 2 and all(side is not None and side % 2 for side in sides):
            return x, "same"
        total = (kernel - 1) * rate
        pads = (total // 2, total - total // 2)
        padded = self.plain("ZeroPadding2D", (pads, pads), name=f"{name}_pad")(x.tensor)
        return Feature(padded, x.scale), "valid"

    def conv(
        self, x: Feature, filters: int, name: str, *, kernel: int = 1, stride: int | tuple[int, int] = 1, rate: int = 1,
        activation: str | None = "relu", batch_norm: bool = True, bias: bool | None = None,
        explicit_padding: bool = False, scope: str | None = None, kernel_variable: str = "weights",
    ) -> Feature:  # fmt: skip
        """Convolution, batch norm, activation.

        Args:
            batch_norm: whether one follows.
            bias: None for one where no batch norm follows.
            explicit_padding: pads as pad_for_stride says, where False is SAME.
            stride: one for both sides where the padding is explicit.
            scope: of the official convolution, e.g. "MobilenetV2/Conv".
            kernel_variable: the official kernel's name in that scope.
        """
        with_bias = not batch_norm if bias is None else bias
        padding = "same"
        if explicit_padding or (self.grid == "origin" and kernel > 1):
            if not isinstance(stride, int):
                raise ValueError("explicit padding takes one stride for height and width")
            x, padding = self.pad_for_stride(x, kernel, stride, rate, name)
        self.kernel_factor[f"{name}_conv"] = 1.0 / x.scale
        variables = (f"{scope}/{kernel_variable}", f"{scope}/biases")[: 1 + with_bias] if scope else ()
        layer = self.weighted(
            "Conv2D", filters, kernel, strides=stride, padding=padding, dilation_rate=rate, use_bias=with_bias,
            kernel_initializer="he_normal", name=f"{name}_conv", variables=variables,
        )  # fmt: skip
        y = Feature(layer(x.tensor))
        if batch_norm:
            return self.normalise(y, name, activation=activation, scope=scope and f"{scope}/BatchNorm")
        return self.activate(y, activation, f"{name}_act")

    def depthwise(
        self, x: Feature, name: str, *, kernel: int = 3, stride: int = 1, rate: int | tuple[int, int] = 1,
        activation: str | None = "relu", batch_norm: bool = True, explicit_padding: bool = False,
        scope: str | None = None,
    ) -> Feature:  # fmt: skip
        """Depthwise convolution without bias, batch norm, activation. Arguments as for conv."""
        padding = "same"
        if explicit_padding or (self.grid == "origin" and stride > 1):
            if not isinstance(rate, int):
                raise ValueError("explicit padding takes one rate for height and width")
            x, padding = self.pad_for_stride(x, kernel, stride, rate, name)
        self.kernel_factor[f"{name}_conv"] = 1.0 / x.scale
        layer = self.weighted(
            "DepthwiseConv2D", kernel, strides=stride, padding=padding, dilation_rate=rate, use_bias=False,
            depthwise_initializer="he_normal", name=f"{name}_conv",
            variables=(f"{scope}/depthwise_weights",) if scope else (),
        )  # fmt: skip
        y = Feature(layer(x.tensor))
        if batch_norm:
            return self.normalise(y, name, activation=activation, scope=scope and f"{scope}/BatchNorm")
        return self.activate(y, activation, f"{name}_act")

    def separable(
        self, x: Feature, filters: int, name: str, *, kernel: int = 3, rate: int | tuple[int, int] = 1,
        activation: str = "relu", scope: str | None = None,
    ) -> Feature:  # fmt: skip
        """Atrous separable convolution with batch norm and ReLU after both parts (DeepLabv3+, section 3.1)."""
        scopes = (f"{scope}_depthwise", f"{scope}_pointwise") if scope else (None, None)
        x = self.depthwise(x, f"{name}_depthwise", kernel=kernel, rate=rate, activation=activation, scope=scopes[0])
        return self.conv(x, filters, f"{name}_pointwise", activation=activation, scope=scopes[1])

    def squeeze_excite(self, x: Feature, name: str, *, slope: float = 1 / 6, scope: str | None = None) -> Feature:
        """MobileNetV3's squeeze-and-excite: mean, 1x1, ReLU, 1x1, hard sigmoid, product; both 1x1 have biases.

        Args:
            slope: of the hard sigmoid.
        """

        def variables(part: str) -> tuple[str, ...]:
            return (f"{scope}/{part}/weights", f"{scope}/{part}/biases") if scope else ()

        y = self.plain("GlobalAveragePooling2D", keepdims=True, name=f"{name}_pool")(x.tensor)
        self.kernel_factor[f"{name}_reduce"] = 1.0 / x.scale
        squeezed = make_divisible(x.channels / 4)
        y = self.weighted("Conv2D", squeezed, 1, name=f"{name}_reduce", variables=variables("Conv"))(y)
        y = self.plain("ReLU", name=f"{name}_relu")(y)
        y = self.weighted("Conv2D", x.channels, 1, name=f"{name}_expand", variables=variables("Conv_1"))(y)
        if self.form == "training":
            gate = self.plain("HardSigmoid", slope=slope, name=f"{name}_gate")(y)
            return Feature(self.plain("Multiply", name=f"{name}_product")([x.tensor, gate]), x.scale)
        self.bias_shift[f"{name}_expand"] = 3.0
        gate = self.plain("ReLU", max_value=6.0, name=f"{name}_gate")(y)
        return Feature(self.plain("Multiply", name=f"{name}_product")([x.tensor, gate]), x.scale / slope)

    def average(
        self, x: Feature, window_hw: tuple[int, int] | None, name: str, *, strides: tuple[int, int] = (1, 1)
    ) -> tuple[Feature, tuple[int, int]]:
        """The mean over a window that slides without padding.

        XNNPACK takes no int8 AVERAGE_POOL_2D, but MEAN, which a window as large as the picture is, and in the int8 form
        two depthwise convolutions of one constant, down and across: so the network stays in one delegate.

        Args:
            window_hw: None for the whole picture; a side longer than the picture's ends with it.
        Returns: the means, and the strides still to be taken by the 1x1 convolution that must follow: TensorFlow's
            depthwise convolutions have one stride for both sides.
        """
        sides = tuple(x.tensor.shape[1:3])
        if window_hw is not None and None not in sides:
            window_hw = (min(window_hw[0], sides[0]), min(window_hw[1], sides[1]))
        if window_hw is None or window_hw == sides:
            mean = self.plain("GlobalAveragePooling2D", keepdims=True, name=name)
            return Feature(mean(x.tensor), x.scale), (1, 1)
        if self.form == "training":
            pool = self.plain("AveragePooling2D", window_hw, strides=strides, name=name)
            return Feature(pool(x.tensor), x.scale), (1, 1)
        y = x.tensor
        for way, kernel in (("down", (window_hw[0], 1)), ("across", (1, window_hw[1]))):
            layer = self.weighted("DepthwiseConv2D", kernel, use_bias=False, name=f"{name}_{way}")
            self.constants[f"{name}_{way}"] = [np.full((*kernel, x.channels, 1), 1 / max(kernel), np.float32)]
            y = layer(y)
        return Feature(y, x.scale), strides

    def _copy(self, x: Feature, name: str, stride: int = 1) -> Feature:
        """A depthwise convolution with ones, of the int8 form alone: what a delegate takes instead of x itself."""
        layer = self.weighted("DepthwiseConv2D", 1, strides=stride, use_bias=False, name=name)
        self.constants[name] = [np.ones((1, 1, x.channels, 1), np.float32)]
        return Feature(layer(x.tensor), x.scale)

    def subsample(self, x: Feature, stride: int, name: str) -> Feature:
        """Every stride-th row and column, from the first on. XNNPACK takes no max pool of one pixel."""
        if stride == 1:
            return x
        if self.form == "int8":
            return self._copy(x, name, stride)
        return Feature(self.plain("MaxPooling2D", 1, strides=stride, name=name)(x.tensor), x.scale)

    def activate_beside(self, x: Feature, activation: str, name: str) -> Feature:
        """As activate, for an x that is read as it is too: XNNPACK takes no int8 ReLU that is not fused."""
        if self.form == "int8":
            x = self._copy(x, f"{name}_copy")
        return self.activate(x, activation, name)

    def add(self, shortcut: Feature, branch: Feature, name: str, *, branch_batch_norm: str) -> Feature:
        """Residual sum. A shortcut that is too large makes the branch's batch norm grow by the same factor."""
        if shortcut.scale != branch.scale:
            self.output_factor[branch_batch_norm] = shortcut.scale / branch.scale
        total = self.plain("Add", name=name)([shortcut.tensor, branch.tensor])
        return Feature(total, shortcut.scale)

    def upsample(self, x: Feature, factor_hw: tuple[int, int], name: str) -> Feature:
        """Bilinear enlargement by whole factors, half-pixel centres; nothing for (1, 1)."""
        if factor_hw == (1, 1):
            return x
        layer = self.plain("UpSampling2D", factor_hw, interpolation="bilinear", name=name)
        return Feature(layer(x.tensor), x.scale)

    def resize(
        self, x: Feature, size_hw: tuple[int, int] | None, name: str, *, like: Any = None, scale: float = 1.0
    ) -> Feature:
        """Bilinear on the grid; with aligned corners, the official code's only way, where no whole factor leads there.

        From the origin, a map that shrinks by a whole factor leaves pixels out: what aligned corners do on odd sides.

        Args:
            size_hw: the new height and width; None where sizes are free. Then `like`, (N, H, W, C), and `scale` give
                (int((H - 1) * scale + 1), int((W - 1) * scale + 1)).
        """
        if size_hw is None:
            return Feature(self.plain("AlignedResize", scale=scale, name=name)([x.tensor, like]), x.scale)
        now = tuple(x.tensor.shape[1:3])
        if now == tuple(size_hw):
            return x
        is_whole = None not in now and not any(new % old for new, old in zip(size_hw, now))
        if is_whole and self.grid == "centres":
            return self.upsample(x, (size_hw[0] // now[0], size_hw[1] // now[1]), name)
        if self.grid == "origin" and None not in now:
            factor = now[0] // size_hw[0]
            if factor > 1 and now == (factor * size_hw[0], factor * size_hw[1]):
                return self.subsample(x, factor, name)
        from_origin = is_whole and self.grid == "origin"
        layer = self.plain("AlignedResize", size_hw=size_hw, from_origin=from_origin, name=name)
        return Feature(layer(x.tensor), x.scale)

    def concat(self, parts: list[Feature], name: str) -> Feature:
        """Joins channels; one part stays as it is."""
        if len({part.scale for part in parts}) > 1:
            raise ValueError(f"{name}: parts of different scales")
        if len(parts) == 1:
            return parts[0]
        return Feature(self.plain("Concatenate", name=name)([part.tensor for part in parts]), parts[0].scale)

    def gate(self, x: Feature, name: str, *, hard: bool) -> Feature:
        """Sigmoid, or the hard one, of a convolution `name` with bias and nothing behind it, to multiply with."""
        if not hard:
            return self.activate(x, "sigmoid", f"{name}_gate")
        if self.form == "training":
            return Feature(self.plain("HardSigmoid", name=f"{name}_gate")(x.tensor), x.scale)
        self.bias_shift[f"{name}_conv"] = 3.0
        return Feature(self.plain("ReLU", max_value=6.0, name=f"{name}_gate")(x.tensor), 6.0 * x.scale)
