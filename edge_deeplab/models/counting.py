"""A Keras namespace that computes nothing but shapes, parameters and multiply-adds.

The builder is a function of a Keras namespace, so it can be run with this one: `edge-deeplab models` answers without
importing TensorFlow.

    counted = count(DeepLabConfig(width=0.5))
    counted.parameters, counted.multiply_adds
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from edge_deeplab.models.deeplab import DeepLabConfig, trace


@dataclass(frozen=True)
class Shaped:
    """A tensor without values."""

    shape: tuple[int | None, ...]


@dataclass
class Count:
    """Totals of one network. multiply_adds: of convolutions, one picture; parameters: trainable ones, and all."""

    multiply_adds: int = 0
    trainable: int = 0
    parameters: int = 0


def count(config: DeepLabConfig) -> Count:
    """Counts a network's parameters and multiply-adds (convolutions only, as the official tables do)."""
    total = Count()

    def conv(
        filters: int, kernel: int, *, strides: int = 1, use_bias: bool = True, **_: Any
    ) -> Callable[[Shaped], Shaped]:
        def call(x: Shaped) -> Shaped:
            n, h, w, c = x.shape
            assert h is not None and w is not None and c is not None
            out = Shaped((n, -(-h // strides), -(-w // strides), filters))
            weights = kernel * kernel * c * filters
            total.multiply_adds += weights * (out.shape[1] or 0) * (out.shape[2] or 0)
            total.trainable += weights + filters * use_bias
            total.parameters += weights + filters * use_bias
            return out

        return call

    def depthwise(kernel: int, *, strides: int = 1, **_: Any) -> Callable[[Shaped], Shaped]:
        def call(x: Shaped) -> Shaped:
            n, h, w, c = x.shape
            assert h is not None and w is not None and c is not None
            out = Shaped((n, -(-h // strides), -(-w // strides), c))
            total.multiply_adds += kernel * kernel * c * (out.shape[1] or 0) * (out.shape[2] or 0)
            total.trainable += kernel * kernel * c
            total.parameters += kernel * kernel * c
            return out

        return call

    def batch_norm(**_: Any) -> Callable[[Shaped], Shaped]:
        def call(x: Shaped) -> Shaped:
            total.trainable += 2 * (x.shape[-1] or 0)
            total.parameters += 4 * (x.shape[-1] or 0)
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
        Dropout=same, GlobalAveragePooling2D=pool, UpSampling2D=enlarge, Concatenate=join, Layer=_PassThrough,
    )  # fmt: skip
    register = SimpleNamespace(register_keras_serializable=lambda package: lambda cls: cls)
    ops = SimpleNamespace(relu6=lambda x: x)
    trace(_Namespace(layers, register, ops), config)
    return total


class _PassThrough:
    """Stands for keras.layers.Layer under our own elementwise layers."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name

    def __call__(self, x: Shaped) -> Shaped:
        return x


class _Namespace:
    """A hashable stand-in for a Keras module."""

    def __init__(self, layers: SimpleNamespace, saving: SimpleNamespace, ops: SimpleNamespace) -> None:
        self.layers, self.saving, self.ops = layers, saving, ops
