"""A Keras namespace that computes nothing but shapes, parameters and multiply-adds.

The builder is a function of a Keras namespace, so it can be run with this one: `edge-deeplab models` answers without
importing TensorFlow.

    counted = count_traced(lambda K: trace(K, DeepLabConfig(width=0.5)))
    counted.parameters, counted.multiply_adds
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


@dataclass(frozen=True)
class Shaped:
    """A tensor without values."""

    shape: tuple[int | None, ...]


@dataclass
class Count:
    """Totals of one network.

    Attributes:
        multiply_adds: of convolutions, one picture.
        trainable, parameters: trainable ones, and all.
        shapes: layer name -> the shapes of its weights, in their order.
    """

    multiply_adds: int = 0
    trainable: int = 0
    parameters: int = 0
    shapes: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)


def count_traced(lay: Callable[[Any], Any]) -> Count:
    """Counts whatever `lay` makes of the Keras namespace it is given."""
    total = Count()

    def pair(value: Any) -> tuple[int, int]:
        return (value, value) if isinstance(value, int) else tuple(value)

    def slide(x: Shaped, kernel: Any, strides: Any, padding: str, rate: Any = 1) -> tuple[int, int]:
        """Height and width after a sliding window."""
        sides = []
        for side, k, stride, dilation in zip(x.shape[1:3], pair(kernel), pair(strides), pair(rate)):
            assert side is not None
            sides.append(-(-side // stride) if padding == "same" else (side - (k - 1) * dilation - 1) // stride + 1)
        return sides[0], sides[1]

    def add(name: str, shapes: list[tuple[int, ...]], *, trained: int, at_hw: tuple[int, int] = (0, 0)) -> None:
        """Counts a layer at its first use; its multiply-adds, those of the first weight, at every use."""
        total.multiply_adds += math.prod(shapes[0]) * at_hw[0] * at_hw[1]
        if name not in total.shapes:
            total.shapes[name] = shapes
            total.trainable += sum(math.prod(shape) for shape in shapes[:trained])
            total.parameters += sum(math.prod(shape) for shape in shapes)

    def conv(
        filters: int, kernel: int, *, strides: int = 1, use_bias: bool = True, padding: str = "valid",
        dilation_rate: Any = 1, name: str = "", **_: Any,
    ) -> Callable[[Shaped], Shaped]:  # fmt: skip
        def call(x: Shaped) -> Shaped:
            hw = slide(x, kernel, strides, padding, dilation_rate)
            shapes = [(*pair(kernel), x.shape[3] or 0, filters), *([(filters,)] if use_bias else [])]
            add(name, shapes, trained=2, at_hw=hw)
            return Shaped((x.shape[0], *hw, filters))

        return call

    def depthwise(
        kernel: int, *, strides: int = 1, padding: str = "valid", dilation_rate: Any = 1, name: str = "", **_: Any
    ) -> Callable[[Shaped], Shaped]:
        def call(x: Shaped) -> Shaped:
            hw = slide(x, kernel, strides, padding, dilation_rate)
            add(name, [(*pair(kernel), x.shape[3] or 0, 1)], trained=1, at_hw=hw)
            return Shaped((x.shape[0], *hw, x.shape[3]))

        return call

    def window(pool_size: Any = 2, strides: Any = None, padding: str = "valid", **_: Any) -> Callable[[Shaped], Shaped]:
        return lambda x: Shaped((x.shape[0], *slide(x, pool_size, strides or pool_size, padding), x.shape[3]))

    def pad(padding: Any, **_: Any) -> Callable[[Shaped], Shaped]:
        (top, bottom), (left, right) = padding
        return lambda x: Shaped(
            (x.shape[0], (x.shape[1] or 0) + top + bottom, (x.shape[2] or 0) + left + right, x.shape[3])
        )

    def aligned(size_hw: Any = None, **_: Any) -> Callable[[Shaped], Shaped]:
        assert size_hw is not None, "a free size has no cost to count"
        return lambda x: Shaped((x.shape[0], *size_hw, x.shape[3]))

    def batch_norm(name: str = "", **_: Any) -> Callable[[Shaped], Shaped]:
        def call(x: Shaped) -> Shaped:
            add(name, [(x.shape[-1] or 0,)] * 4, trained=2)
            return x

        return call

    def same(*_: Any, **__: Any) -> Callable[[Any], Shaped]:
        return lambda x: x[0] if isinstance(x, list) else x

    def pool(**_: Any) -> Callable[[Shaped], Shaped]:
        return lambda x: Shaped((x.shape[0], 1, 1, x.shape[-1]))

    def enlarge(factor_hw: tuple[int, int], **_: Any) -> Callable[[Shaped], Shaped]:
        return lambda x: Shaped(
            (x.shape[0], (x.shape[1] or 0) * factor_hw[0], (x.shape[2] or 0) * factor_hw[1], x.shape[-1])
        )

    def join(**_: Any) -> Callable[[list[Shaped]], Shaped]:
        return lambda xs: Shaped((*xs[0].shape[:-1], sum(x.shape[-1] or 0 for x in xs)))

    layers = SimpleNamespace(
        Input=lambda shape, batch_size=None, name=None: Shaped((batch_size, *shape)),
        Conv2D=conv, DepthwiseConv2D=depthwise, BatchNormalization=batch_norm, ReLU=same, Add=same, Multiply=same,
        Dropout=same, Activation=same, Maximum=same, Average=same, Rescaling=same, GlobalAveragePooling2D=pool,
        UpSampling2D=enlarge, Concatenate=join, AveragePooling2D=window, MaxPooling2D=window, ZeroPadding2D=pad,
        HardSwish=same, HardSigmoid=same, Relu6Plus3=same, Clip6=same, AlignedResize=aligned,
    )  # fmt: skip
    lay(_Namespace(layers))
    return total


class _Namespace:
    """A hashable stand-in for a Keras module."""

    def __init__(self, layers: SimpleNamespace) -> None:
        self.layers = layers
