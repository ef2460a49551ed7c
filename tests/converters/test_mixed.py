from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras
from small_networks import SIZE_HW, ready_network, smooth_images

from edge_deeplab.converters.export import converter_for, fixed_batch_function, run_converter
from edge_deeplab.converters.int8 import convert_int8
from edge_deeplab.converters.mixed import count_partitions, float_cost, int16_cost, mixed_float
from edge_deeplab.quantization.graph import quantize
from edge_deeplab.quantization.ranges import set_ranges
from edge_deeplab.quantization.scheme import FakeQuant
from edge_deeplab.quantization.sensitivity import layer_groups
from edge_deeplab.runtime.delegates import delegation_of
from edge_deeplab.runtime.flatbuffer import TfliteFile

L = tf_keras.layers


def broken_line() -> Any:
    """A network that XNNPACK must leave twice: it has no int8 SOFTMAX."""
    tf_keras.utils.set_random_seed(0)
    image = tf_keras.Input((16, 16, 3))
    x = L.Conv2D(4, 3, padding="same")(image)
    y = L.Conv2D(4, 1)(L.Softmax()(x))
    z = L.Conv2D(4, 1)(L.Add()([L.Softmax()(y), L.Conv2D(4, 1)(x)]))
    return tf_keras.Model(image, z)


def test_partitions_are_counted_as_litert_makes_them(tmp_path: Path) -> None:
    network = quantize(broken_line())
    set_ranges(network, [smooth_images(2, size_hw=(16, 16))])
    path = tmp_path / "broken.tflite"
    path.write_bytes(convert_int8(network, size_hw=(16, 16), io="int8"))
    delegation = delegation_of(path)
    file = TfliteFile.read(path)
    assert {file.operators[index].name for index in delegation.outside} == {"SOFTMAX"}
    assert count_partitions(file, set(delegation.outside)) == delegation.partitions == 3


def test_partitions_of_everything_and_of_nothing(tmp_path: Path) -> None:
    network = ready_network("mobilenet_v2")
    file = TfliteFile.from_bytes(convert_int8(network, size_hw=SIZE_HW, io="int8"), source="whole")
    assert count_partitions(file, ()) == 1
    assert count_partitions(file, range(len(file.operators))) == 0
    middle = len(file.operators) // 3  # in the backbone, a line: cut there and two pieces are left
    assert count_partitions(file, {middle}) == 2


def test_float_layers_stay_in_one_delegate_and_16_bit_ones_cut_it(tmp_path: Path) -> None:
    network = ready_network("mobilenet_v2")
    groups = {group.name: group for group in layer_groups(network)}
    kept = dict.fromkeys(groups["block_3_depthwise_act"].layers, FakeQuant.OFF)
    path = tmp_path / "mixed.tflite"
    path.write_bytes(mixed_float(network, kept, size_hw=SIZE_HW))
    cost = float_cost(path)
    assert (cost.operators, cost.conversions, cost.partitions, cost.outside) == (
        2,
        2,
        1,
        0,
    )  # the layer and the one that reads it
    assert 0.0 < cost.share_of_macs < 0.2
    wide = int16_cost(TfliteFile.read(path))
    assert (wide.operators, wide.partitions, wide.outside) == (2, 2, 4)


def test_xnnpack_takes_no_operator_of_16_bit_activations(tmp_path: Path) -> None:
    """What int16_cost leans on; where this fails, a newer LiteRT has such kernels, and the cost is lower."""
    tf_keras.utils.set_random_seed(0)
    image = tf_keras.Input((16, 16, 3), batch_size=1)
    model = tf_keras.Model(image, L.Conv2D(4, 1)(L.Conv2D(4, 3, padding="same", activation="relu")(image)))
    converter = converter_for(fixed_batch_function(lambda pixels: model(pixels, training=False), (16, 16)))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([one[None]] for one in smooth_images(4, size_hw=(16, 16)))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int16
    path = tmp_path / "int16x8.tflite"
    path.write_bytes(run_converter(converter, "int16x8"))
    assert {operator.outputs[0].dtype for operator in TfliteFile.read(path).operators} == {"int16"}
    assert delegation_of(path).partitions == 0


def test_nothing_kept_is_the_plain_int8_file(tmp_path: Path) -> None:
    path = tmp_path / "plain.tflite"
    path.write_bytes(mixed_float(ready_network("mobilenet_v2"), {}, size_hw=SIZE_HW))
    cost = float_cost(path)
    assert (cost.operators, cost.share_of_macs, cost.conversions, cost.partitions) == (0, 0.0, 0, 1)
