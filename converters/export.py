"""From a TensorFlow function to .tflite bytes: float32, float16 weights, dynamic-range int8 weights.

    function = fixed_batch_function(model, size_hw=(256, 256))
    Path("portrait.float16.tflite").write_bytes(to_float16(function))

Always a concrete function of batch 1: with a dynamic batch, dilated depthwise convolutions stay
SpaceToBatch/BatchToSpace pairs. full int8 lives in int8.py.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import absl.logging
import tensorflow as tf

from edge_deeplab.errors import ConversionError


def fixed_batch_function(call: Callable[[Any], Any], size_hw: tuple[int, int]) -> Any:
    """Traces `call` for exactly one image.

    Args:
        call: from (1, H, W, 3) float32 to the output, made of TensorFlow operators.
    Returns: a tf ConcreteFunction.
    """
    signature = [tf.TensorSpec((1, *size_hw, 3), tf.float32, name="image")]
    return tf.function(call, input_signature=signature, autograph=False).get_concrete_function()


def converter_for(function: Any) -> Any:
    """TFLite's converter for one concrete function.

    No trackable object goes in beside the function: with one, the converter writes and reads a SavedModel first, and
    takes 56 s in place of 1 s for the same file (MobileNetV2 0.35 DeepLabv3+ with fake-quant, TF 2.21).
    """
    verbosity = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.ERROR)  # it recommends the trackable object
    try:
        return tf.lite.TFLiteConverter.from_concrete_functions([function])
    finally:
        absl.logging.set_verbosity(verbosity)


def run_converter(converter: Any, what: str) -> bytes:
    """Converts. Raises ConversionError with the converter's first line when it cannot."""
    try:
        with warnings.catch_warnings():
            # "Statistics for quantized inputs were expected": said of every fake-quantized graph, and not true of it.
            warnings.simplefilter("ignore")
            return bytes(converter.convert())
    except (RuntimeError, ValueError, TypeError) as error:  # ConverterError is a plain Exception subclass of these
        raise _refused(error, what) from error
    except Exception as error:
        if type(error).__name__ != "ConverterError":
            raise
        raise _refused(error, what) from error


def _refused(error: Exception, what: str) -> ConversionError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in lines if "error:" in line or "op is" in line), lines[0] if lines else "no message")
    return ConversionError(f"{what}: TFLite's converter refuses the network", came=said[:300])


def to_float32(function: Any) -> bytes:
    """Everything in float32."""
    return run_converter(converter_for(function), "float32")


def to_float16(function: Any) -> bytes:
    """Weights in float16, computed in float32 (XNNPACK unpacks them when the file is loaded)."""
    converter = converter_for(function)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return run_converter(converter, "float16")


def to_dynamic_range(function: Any) -> bytes:
    """Large kernels in int8, activations in float32, quantized on the fly where a kernel supports it."""
    converter = converter_for(function)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return run_converter(converter, "dynamic range")


FLOAT_FORMATS: dict[str, Callable[[Any], bytes]] = {
    "float32": to_float32,
    "float16": to_float16,
    "dynamic": to_dynamic_range,
}
