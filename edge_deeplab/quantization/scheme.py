"""How a tensor is fake-quantized: our quantizers and the quantize config tfmot's wrapper takes.

This room is the one home of tensorflow-model-optimization (0.8.1, pinned). We keep its wrapper, its quantizer interface
and its fake-quant operators; where it decides silently and wrongly, we decide ourselves. Every mended fault:

| fault of tfmot 0.8.1 | upstream | mended in | may go when |
|---|---|---|---|
| inputs of Concatenate are permuted | issues 1061, 1179 | graph.py: no pattern rewriting | _get_layers keeps order |
| depthwise kernels get one scale for all channels | issue 808 | WeightQuantizer | the axis follows the layer |
| activation ranges start at +-6, EMA 0.999 | issue 368 | ActivationQuantizer, ranges.py | they start from data |
| the input's range is only what was seen | none found | FixedQuantizer | the range can be given |
| convolution + bias + ReLU: the kernel is never quantized | none found | placement.py | the transform keeps weights |
| ReLU -> UpSampling2D -> Concatenate requantizes twice | none found | placement.py | concat looks through resizes |
| UpSampling2D, Multiply, own layers unsupported | issues 372, 602, 733 | placement.py | the registry knows them |
| a batch norm without a convolution is unsupported | issue 763 | reparametrise.py | the registry knows it |
| operators and Lambda fail and name no layer | issues 1139, 1145 | placement.py, by name | they are quantized |
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import Enum
from typing import Any

import tensorflow as tf
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.quantize_config import QuantizeConfig
from tensorflow_model_optimization.python.core.quantization.keras.quantizers import Quantizer

# Below this peak a channel's kernel is noise, and its int32 bias (scale = input scale * kernel scale) would overflow.
SMALLEST_KERNEL_PEAK = 1e-5
# A tensor that is always zero still needs a range.
SMALLEST_RANGE = 1e-6


class FakeQuant(Enum):
    """What every quantizer of a network does at the moment."""

    OFF = "off"  # nothing: the float network
    OBSERVE = "observe"  # widens the ranges to what is seen, lets the float value through
    TRACK = "track"  # fake-quantizes; in training the ranges follow a moving average
    HOLD = "hold"  # fake-quantizes with the ranges as they are
    FLOAT16 = "float16"  # rounds kernels and activations to half precision: what a layer kept in float16 gives
    INT16 = "int16"  # kernels as in HOLD, activations in 16 bits, symmetric: TFLite's int16x8


class Switch:
    """Holds the state shared by all quantizers of one network. Read while a tf.function is traced, so trace anew."""

    def __init__(self, state: FakeQuant = FakeQuant.HOLD) -> None:
        self.state = state

    @contextlib.contextmanager
    def set(self, state: FakeQuant) -> Iterator[None]:
        """Changes the state within a `with` block."""
        before, self.state = self.state, state
        try:
            yield
        finally:
            self.state = before


def _half(values: Any) -> Any:
    return tf.cast(tf.cast(values, tf.float16), tf.float32)


def _wide(values: Any, low: Any, high: Any) -> Any:
    """16 bits with a zero point of 0, which TFLite's specification of int16 asks for."""
    peak = tf.maximum(tf.maximum(-low, high), SMALLEST_RANGE)
    return tf.quantization.fake_quant_with_min_max_vars(values, -peak, peak, num_bits=16, narrow_range=True)


def _range_variable(layer: Any, name: str, value: float, shape: tuple[int, ...] = ()) -> Any:
    initializer = tf_keras.initializers.Constant(value)
    return layer.add_weight(name=name, shape=shape, initializer=initializer, trainable=False)


class ActivationQuantizer(Quantizer):
    """8 bits, asymmetric, one range for the tensor; the range always holds zero, as TFLite wants.

    Args:
        switch: the network's.
        decay: of the moving average of the extremes while TRACK-ing in training.
    """

    def __init__(self, switch: Switch, *, decay: float) -> None:
        self.switch = switch
        self.decay = decay

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Makes the two range variables."""
        del tensor_shape
        return {"low": _range_variable(layer, f"{name}_low", 0.0), "high": _range_variable(layer, f"{name}_high", 0.0)}

    def __call__(self, inputs: Any, training: bool, weights: dict[str, Any], **_: Any) -> Any:
        """Does what the switch says."""
        state, low, high = self.switch.state, weights["low"], weights["high"]
        if state is FakeQuant.OFF:
            return inputs
        if state is FakeQuant.OBSERVE:
            low.assign(tf.minimum(low, tf.reduce_min(inputs)))
            high.assign(tf.maximum(high, tf.reduce_max(inputs)))
            return tf.identity(inputs)
        if state is FakeQuant.FLOAT16:
            return _half(inputs)
        if state is FakeQuant.INT16:
            return _wide(inputs, low, high)
        if state is FakeQuant.TRACK and training:
            seen_low = tf.minimum(tf.reduce_min(inputs), 0.0)
            seen_high = tf.maximum(tf.reduce_max(inputs), 0.0)
            low.assign_sub((1.0 - self.decay) * (low - seen_low))
            high.assign_sub((1.0 - self.decay) * (high - seen_high))
        return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high, num_bits=8)

    def get_config(self) -> dict[str, Any]:
        """Not serialized: a network is rebuilt from its own file (store.py)."""
        return {"decay": self.decay}


class FixedQuantizer(Quantizer):
    """8 bits over a range known beforehand: the network's input, a softmax's or sigmoid's output.

    0..1 gives scale 1/255 and zero point -128, so that an int8 input is the uint8 pixel minus 128.
    """

    def __init__(self, switch: Switch, *, low: float, high: float) -> None:
        self.switch = switch
        self.low, self.high = low, high

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Needs no variables."""
        return {}

    def __call__(self, inputs: Any, training: bool, weights: dict[str, Any], **_: Any) -> Any:
        """Fake-quantizes unless the network runs in float."""
        if self.switch.state in (FakeQuant.OFF, FakeQuant.OBSERVE):
            return tf.identity(inputs)
        if self.switch.state is FakeQuant.FLOAT16:
            return _half(inputs)
        if self.switch.state is FakeQuant.INT16:
            return _wide(inputs, tf.constant(self.low), tf.constant(self.high))
        return tf.quantization.fake_quant_with_min_max_args(inputs, min=self.low, max=self.high, num_bits=8)

    def get_config(self) -> dict[str, Any]:
        """The range."""
        return {"low": self.low, "high": self.high}


class WeightQuantizer(Quantizer):
    """8 bits, symmetric -127..127, one scale per output channel (TFLite's specification of int8).

    In training the scale follows the kernel; in inference, and so in a converted file, it is the stored peak, which
    ranges.settle_kernels writes.

    Args:
        switch: the network's.
        is_depthwise: the kernel is (h, w, C, M): a scale for each of the C * M output channels. Stock tfmot takes the
            last axis, M = 1, so one scale for all channels, and quiet channels become all zero.
        per_channel: False gives one scale for the kernel (FULLY_CONNECTED, TRANSPOSE_CONV).
    """

    def __init__(self, switch: Switch, *, is_depthwise: bool = False, per_channel: bool = True) -> None:
        self.switch = switch
        self.is_depthwise = is_depthwise
        self.per_channel = per_channel

    def channels(self, shape: Any) -> int:
        """How many scales a kernel of this shape has."""
        if not self.per_channel:
            return 1
        return int(shape[-1]) * (int(shape[-2]) if self.is_depthwise else 1)

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Makes the variable of the peaks."""
        return {"peak": _range_variable(layer, f"{name}_peak", 1.0, (self.channels(tensor_shape),))}

    def peaks(self, kernel: Any) -> Any:
        """The largest magnitude of each channel, never below SMALLEST_KERNEL_PEAK. Returns: (channels,) float32."""
        flat = tf.reshape(kernel, (-1, self.channels(kernel.shape)))
        return tf.maximum(tf.reduce_max(tf.abs(flat), axis=0), SMALLEST_KERNEL_PEAK)

    def __call__(self, inputs: Any, training: bool, weights: dict[str, Any], **_: Any) -> Any:
        """Fake-quantizes unless the network runs in float."""
        kernel = inputs
        if self.switch.state in (FakeQuant.OFF, FakeQuant.OBSERVE):
            return tf.identity(kernel)
        if self.switch.state is FakeQuant.FLOAT16:
            return _half(kernel)
        peak = tf.stop_gradient(self.peaks(kernel)) if training else tf.convert_to_tensor(weights["peak"])
        if not self.per_channel:
            return tf.quantization.fake_quant_with_min_max_vars(
                kernel, -peak[0], peak[0], num_bits=8, narrow_range=True
            )
        shape = kernel.shape
        if self.is_depthwise:
            kernel = tf.reshape(kernel, (shape[0], shape[1], 1, shape[2] * shape[3]))
        quantized = tf.quantization.fake_quant_with_min_max_vars_per_channel(
            kernel, -peak, peak, num_bits=8, narrow_range=True
        )
        return tf.reshape(quantized, shape) if self.is_depthwise else quantized

    def get_config(self) -> dict[str, Any]:
        """What kind of kernel it is for."""
        return {"is_depthwise": self.is_depthwise, "per_channel": self.per_channel}


class LayerScheme(QuantizeConfig):
    """What is fake-quantized in one layer: at most one kernel, at most its output.

    Never an activation function apart: a fused activation is part of the layer's output.
    """

    def __init__(
        self, *, kernel: str | None = None, weight: WeightQuantizer | None = None, output: Quantizer | None = None
    ) -> None:
        self.kernel, self.weight, self.output = kernel, weight, output

    def get_weights_and_quantizers(self, layer: Any) -> list[tuple[Any, Quantizer]]:
        """The kernel, if the layer has one."""
        return [(getattr(layer, self.kernel), self.weight)] if self.kernel and self.weight else []

    def get_activations_and_quantizers(self, layer: Any) -> list[tuple[Any, Quantizer]]:
        """None: see the class."""
        return []

    def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
        """Puts the fake-quantized kernel in the place of the variable."""
        if self.kernel:
            setattr(layer, self.kernel, quantize_weights[0])

    def set_quantize_activations(self, layer: Any, quantize_activations: list[Any]) -> None:
        """Nothing: see the class."""
        del layer, quantize_activations  # AutoGraph warns of a body that is only a docstring

    def get_output_quantizers(self, layer: Any) -> list[Quantizer]:
        """The output's quantizer, if it is quantized here."""
        return [self.output] if self.output else []

    def get_config(self) -> dict[str, Any]:
        """Not serialized: a network is rebuilt from its own file (store.py)."""
        return {}
