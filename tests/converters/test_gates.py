from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from small_networks import smooth_images

from edge_deeplab.converters.export import converter_for, fixed_batch_function, run_converter
from edge_deeplab.converters.gates import int8_findings, keras_layer, require_int8, require_one_delegate
from edge_deeplab.converters.int8 import convert_int8
from edge_deeplab.errors import ConversionError
from edge_deeplab.quantization.graph import quantize
from edge_deeplab.quantization.ranges import set_ranges
from edge_deeplab.quantization.scheme import FakeQuant
from edge_deeplab.runtime.flatbuffer import TfliteFile

L = tf_keras.layers
SIZE_HW = (16, 16)
IMAGES = smooth_images(2, size_hw=SIZE_HW)


def two_convolutions() -> tf_keras.Model:
    tf_keras.utils.set_random_seed(0)
    image = tf_keras.Input((*SIZE_HW, 3))
    x = L.ReLU(name="first_act")(L.Conv2D(8, 3, padding="same", name="first")(image))
    return tf_keras.Model(image, L.Conv2D(2, 1, name="second")(x))


def read(data: bytes) -> TfliteFile:
    return TfliteFile.from_bytes(data, source="model.tflite")


def test_a_float_left_over_is_refused_by_operator_and_layer() -> None:
    network = quantize(two_convolutions())
    set_ranges(network, [IMAGES])
    (wrapper,) = [one for one in network.wrappers() if one.layer.name == "first_act"]
    wrapper._output_quantizers = []  # a tensor without a range
    with pytest.raises(ConversionError, match=r"CONV_2D of layer first") as caught:
        require_int8(read(convert_int8(network, size_hw=SIZE_HW, io="float32")), io="float32")
    assert "float32" in str(caught.value)


def test_a_float_file_names_its_first_operator() -> None:
    network = quantize(two_convolutions())
    with network.switch.set(FakeQuant.OFF):
        function = fixed_batch_function(lambda image: network.model(image, training=False), SIZE_HW)
    findings = int8_findings(read(run_converter(converter_for(function), "float32")), io="float32")
    assert str(findings[0]).startswith("CONV_2D of layer first_act: works on float32")


def test_other_ends_than_asked_are_found() -> None:
    network = quantize(two_convolutions())
    set_ranges(network, [IMAGES])
    file = read(convert_int8(network, size_hw=SIZE_HW, io="int8"))
    assert int8_findings(file, io="int8") == ()
    assert [finding.operator for finding in int8_findings(file, io="uint8")] == ["END", "END"]


def test_a_dynamic_batch_takes_dilations_apart_and_is_refused() -> None:
    image = tf_keras.Input((*SIZE_HW, 3))
    model = tf_keras.Model(image, L.DepthwiseConv2D(3, dilation_rate=2, padding="same", name="wide")(image))
    network = quantize(model)
    set_ranges(network, [IMAGES])
    signature = [tf.TensorSpec((None, *SIZE_HW, 3), tf.float32)]
    call = tf.function(lambda x: network.model(x, training=False), input_signature=signature, autograph=False)
    converter = converter_for(call.get_concrete_function())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    with pytest.raises(ConversionError, match="wide"):
        require_int8(read(run_converter(converter, "int8")), io="float32")


def test_a_scale_that_aborts_the_interpreter_is_refused_before_it_is_loaded() -> None:
    image = tf_keras.Input((*SIZE_HW, 3))
    left, right = L.Conv2D(2, 1, name="left")(image), L.Conv2D(2, 1, name="right")(image)
    network = quantize(tf_keras.Model(image, L.Add(name="sum")([left, right])))
    set_ranges(network, [IMAGES])
    network.ranges()["left"][1].assign(1e6)
    with pytest.raises(ConversionError, match="ADD of layer sum: an input's scale"):
        require_int8(read(convert_int8(network, size_hw=SIZE_HW, io="int8")), io="int8")


def test_an_operator_outside_the_delegate_is_refused_by_name(tmp_path: Path) -> None:
    image = tf_keras.Input((*SIZE_HW, 3))
    model = tf_keras.Model(image, L.Conv2D(2, 1)(L.Softmax(name="soft")(L.Conv2D(4, 1)(image))))
    network = quantize(model)
    set_ranges(network, [IMAGES])
    path = tmp_path / "soft.tflite"
    path.write_bytes(convert_int8(network, size_hw=SIZE_HW, io="int8"))
    require_int8(TfliteFile.read(path), io="int8")
    with pytest.raises(ConversionError, match="SOFTMAX of layer soft"):
        require_one_delegate(path)


def test_one_scale_for_a_kernel_of_many_channels_is_found() -> None:
    network = quantize(two_convolutions())
    set_ranges(network, [IMAGES])
    for _, quantizer, peak in network.kernels():
        quantizer.per_channel = False
        peak.assign(np.full(peak.shape, float(tf.reduce_max(peak)), np.float32))
    findings = int8_findings(read(convert_int8(network, size_hw=SIZE_HW, io="int8")), io="int8")
    assert any("scale for 8 channels" in finding.problem for finding in findings)


@pytest.mark.parametrize(
    ("tensor", "layer"),
    [
        ("net/quant_stem_act/Relu6;net/quant_stem_bn/FusedBatchNormV3", "stem_act"),
        ("functional_1/conv2d_1/Conv2D", "conv2d_1"),
        ("Identity", "Identity"),
    ],
)
def test_layer_behind_a_tensor_name(tensor: str, layer: str) -> None:
    assert keras_layer(tensor) == layer
