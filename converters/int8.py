"""From a fake-quantized network, its ranges set, to a full-integer .tflite.

    set_ranges(network, calibration.batches(8))
    Path("portrait.tflite").write_bytes(convert_int8(network, size_hw=(256, 256), io="uint8"))

A SavedModel has no layers tfmot could wrap: post_training_int8 gives it to the converter's own calibrator, and whoever
publishes the file labels it so (TF 2.21's calibrator gives one input of ADD and MUL the output's range).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from edge_deeplab.converters.export import converter_for, fixed_batch_function, run_converter
from edge_deeplab.errors import UsageError, nearest
from edge_deeplab.quantization.graph import QuantizedNetwork
from edge_deeplab.quantization.scheme import FakeQuant

IO_TYPES = {"int8": tf.int8, "uint8": tf.uint8, "float32": tf.float32}


def _io_type(io: str) -> Any:
    if io not in IO_TYPES:
        raise UsageError("unknown type for the ends of an int8 file", came=io, allowed=nearest(io, IO_TYPES))
    return IO_TYPES[io]


def convert_int8(network: QuantizedNetwork, *, size_hw: tuple[int, int], io: str = "uint8") -> bytes:
    """Converts a network whose ranges are set (quantization.ranges.set_ranges, or tuning).

    Args:
        size_hw: the input's height and width.
        io: type of input and output, "int8", "uint8" or "float32"; other than int8 costs one QUANTIZE or DEQUANTIZE at
            each end. For an input range of 0..1, uint8 input values are pixels.
    Returns: the .tflite, not verified (converters.gates does that).
    """
    io_type = _io_type(io)
    with network.switch.set(FakeQuant.HOLD):
        function = fixed_batch_function(lambda image: network.model(image, training=False), size_hw)
    converter = converter_for(function)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = io_type
    return run_converter(converter, "int8")


def float_function(network: QuantizedNetwork, *, size_hw: tuple[int, int]) -> Any:
    """The network with its fake-quant switched off, as a concrete function for the float formats of export.py."""
    with network.switch.set(FakeQuant.OFF):
        return fixed_batch_function(lambda image: network.model(image, training=False), size_hw)


def post_training_int8(function: Any, samples: Iterable[np.ndarray], *, io: str = "uint8") -> bytes:
    """The converter's own post-training quantization of a concrete function, for a network without Keras layers.

    Args:
        samples: (1, H, W, 3) float32 in the range the function takes.
    """
    converter = converter_for(function)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = _io_type(io)
    return run_converter(converter, "int8 by the converter's calibrator")
