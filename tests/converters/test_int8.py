from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tf_keras
from small_networks import BACKBONES, SIZE_HW, ready_network, signal_to_noise_db, smooth_images

from edge_deeplab.converters.gates import input_is_exact, int8_findings, require_one_delegate
from edge_deeplab.converters.int8 import convert_int8
from edge_deeplab.converters.verify import run_file
from edge_deeplab.errors import UsageError
from edge_deeplab.quantization.graph import QuantizedNetwork, quantize
from edge_deeplab.quantization.ranges import set_ranges
from edge_deeplab.runtime.flatbuffer import TfliteFile

# XNNPACK and LiteRT's own kernels round otherwise than float arithmetic on fake-quantized values; DESIGN.md measured
# 18 to 25 dB for trained networks, and these small ones are noisier.
AGAINST_QAT_DB = 15.0
# A residual sum whose inputs were given the output's range (TF's own calibrator) is off by a factor of 4 and more.
RESIDUAL_SCALE_FACTOR = 1.02


@dataclass(frozen=True)
class Converted:
    network: QuantizedNetwork
    path: Path
    file: TfliteFile


@pytest.fixture(scope="module", params=BACKBONES)
def converted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    network = ready_network(request.param)
    path = tmp_path_factory.mktemp("int8") / f"{request.param}.tflite"
    path.write_bytes(convert_int8(network, size_hw=SIZE_HW, io="uint8"))
    return Converted(network, path, TfliteFile.read(path))


def test_every_operator_is_int8_in_one_delegate(converted: Converted) -> None:
    assert int8_findings(converted.file, io="uint8") == ()
    require_one_delegate(converted.path)
    names = [operator.name for operator in converted.file.operators]
    assert names.count("QUANTIZE") == 2
    assert (names[0], names[-1]) == ("QUANTIZE", "QUANTIZE")
    assert "DEQUANTIZE" not in names


def test_dilations_stay_in_their_depthwise_convolutions(converted: Converted) -> None:
    dilated = {operator.dilation_hw for operator in converted.file.operators if operator.name == "DEPTHWISE_CONV_2D"}
    assert {(2, 2), (3, 3)} <= dilated


def test_depthwise_kernels_have_a_scale_for_every_channel(converted: Converted) -> None:
    kernels = [operator.inputs[1] for operator in converted.file.operators if operator.name == "DEPTHWISE_CONV_2D"]
    assert kernels
    for kernel in kernels:
        assert kernel is not None
        assert kernel.scales.size == kernel.shape[3]
        assert len(set(kernel.scales.tolist())) > 1


def test_residual_sums_keep_the_scales_of_their_inputs(converted: Converted) -> None:
    ranges = converted.network.ranges()
    sums = [operator for operator in converted.file.operators if operator.name == "ADD" and "_add" in operator.layer]
    makers = {tensor.index: operator for operator in converted.file.operators for tensor in operator.outputs}
    seen = 0
    for operator in sums:
        for tensor in operator.inputs:
            assert tensor is not None
            names = [part.removeprefix("quant_") for part in makers[tensor.index].layer.replace(";", "/").split("/")]
            known = [name for name in names if name in ranges]
            if not known:
                continue
            low, high = (float(end) for end in ranges[known[0]])
            ratio = float(tensor.scales[0]) / ((high - low) / 255)
            assert 1 / RESIDUAL_SCALE_FACTOR < ratio < RESIDUAL_SCALE_FACTOR
            seen += 1
    assert seen >= 2


def test_the_file_agrees_with_the_fake_quantized_network(converted: Converted) -> None:
    images = smooth_images(8)
    got, _ = run_file(converted.path, images)
    assert signal_to_noise_db(converted.network.model(images, training=False), got) >= AGAINST_QAT_DB


def test_uint8_pixels_enter_unchanged(converted: Converted) -> None:
    assert input_is_exact(converted.file)
    assert converted.file.inputs[0].scales == pytest.approx(1 / 255)
    assert converted.file.inputs[0].zero_points.tolist() == [0]


def small_network() -> QuantizedNetwork:
    image = tf_keras.Input((16, 16, 3))
    x = tf_keras.layers.ReLU()(tf_keras.layers.Conv2D(4, 3, padding="same")(image))
    network = quantize(tf_keras.Model(image, tf_keras.layers.Conv2D(2, 1)(x)))
    set_ranges(network, [smooth_images(2, size_hw=(16, 16))])
    return network


def test_biases_that_are_all_one_number_keep_it_in_every_channel(tmp_path: Path) -> None:
    """TF 2.21's converter quantizes them by the first channel's scale; kernels of unlike sizes show it."""
    image = tf_keras.Input((*SIZE_HW, 3))
    layer = tf_keras.layers.Conv2D(4, 1, bias_initializer="ones")
    model = tf_keras.Model(image, layer(image))
    layer.set_weights([np.float32([0.1, 0.4, 1.6, 6.4]) * np.ones((1, 1, 3, 4), np.float32), np.ones(4, np.float32)])
    network = quantize(model)
    set_ranges(network, [smooth_images(2)])
    path = tmp_path / "constant.tflite"
    path.write_bytes(convert_int8(network, size_hw=SIZE_HW))
    got, step = run_file(path, smooth_images(2))
    assert np.abs(got - network.model(smooth_images(2), training=False).numpy()).max() <= 1.01 * step


@pytest.mark.parametrize("io", ["int8", "float32"])
def test_the_ends_are_of_the_type_asked_for(io: str) -> None:
    network = small_network()
    file = TfliteFile.from_bytes(convert_int8(network, size_hw=(16, 16), io=io), source="memory")
    assert (file.inputs[0].dtype, file.outputs[0].dtype) == (io, io)
    assert int8_findings(file, io=io) == ()
    assert input_is_exact(file)
    boundary = [operator.name for operator in file.operators if "QUANTIZE" in operator.name]
    assert boundary == ([] if io == "int8" else ["QUANTIZE", "DEQUANTIZE"])


def test_an_unknown_type_for_the_ends_is_refused() -> None:
    network = small_network()
    with pytest.raises(UsageError, match="int16"):
        convert_int8(network, size_hw=SIZE_HW, io="int16")


def test_quantized_zero_is_real_zero(converted: Converted) -> None:
    """SAME padding adds the zero point, which must stand for 0 exactly."""
    for operator in converted.file.operators:
        for tensor in operator.outputs:
            if tensor.dtype == "int8" and tensor.scales.size == 1:
                assert -128 <= int(tensor.zero_points[0]) <= 127
                assert np.isfinite(tensor.scales).all()
