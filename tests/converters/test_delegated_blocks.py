"""Blocks whose int8 form stands in for what XNNPACK does not take: the same function, in one delegate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_networks import SIZE_HW, liven, signal_to_noise_db, smooth_images

from edge_deeplab.converters.gates import int8_findings, require_one_delegate
from edge_deeplab.converters.int8 import convert_int8
from edge_deeplab.converters.verify import run_file
from edge_deeplab.errors import ConversionError
from edge_deeplab.models.blocks import Blocks, Feature
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.transfer import assign_weights, weights_of
from edge_deeplab.quantization.graph import QuantizedNetwork, quantize
from edge_deeplab.quantization.ranges import set_ranges
from edge_deeplab.quantization.scheme import FakeQuant
from edge_deeplab.runtime.flatbuffer import TfliteFile

ROUNDING_DB = 25.0  # eight bits through four layers; a wrong row or a missing ReLU is below 10 dB


def module(form: str) -> tuple[Any, Blocks]:
    """A rectified and a plain reader of one tensor, a clipped branch, and a shortcut that takes every other pixel."""
    K = keras_namespace("tf_keras")
    K.utils.set_random_seed(0)
    blocks = Blocks(K, form=form)
    image = K.layers.Input((*SIZE_HW, 3))
    x = blocks.conv(Feature(image), 8, "stem", kernel=3, stride=2, activation=None)
    y = blocks.activate_beside(x, "relu", "pre_act")
    y = blocks.conv(y, 8, "conv", kernel=3, stride=2, activation="clip6")
    x = blocks.subsample(x, 2, "every_other")
    y = blocks.add(x, y, "sum", branch_batch_norm="conv_bn")
    return K.Model(image, blocks.conv(y, 4, "logits", batch_norm=False, activation=None).tensor), blocks


@pytest.fixture(scope="module")
def forms() -> tuple[Any, Any]:
    training = liven(module("training")[0])
    batch_norm = training.get_layer("conv_bn")
    gamma, *others = batch_norm.get_weights()
    batch_norm.set_weights([8 * gamma, *others])  # beyond +-6, so that clipping shows
    int8, blocks = module("int8")
    assert blocks.constants.keys() == {"pre_act_copy", "every_other"}
    assign_weights(int8, {**weights_of(training), **blocks.constants})
    return training, int8


def prepared(model: Any) -> QuantizedNetwork:
    network = quantize(model)
    set_ranges(network, [smooth_images(8)])
    return network


def converted(network: QuantizedNetwork, path: Path) -> set[str]:
    """Writes the file, holds it to its network, and gives its operators' names."""
    path.write_bytes(convert_int8(network, size_hw=SIZE_HW))
    got, _ = run_file(path, smooth_images(8))
    assert signal_to_noise_db(network.model(smooth_images(8), training=False), got) >= ROUNDING_DB
    return {operator.name for operator in TfliteFile.read(path).operators}


def test_the_int8_form_is_the_same_function(forms: tuple[Any, Any]) -> None:
    training, int8 = (model(smooth_images(4), training=False).numpy() for model in forms)
    np.testing.assert_array_equal(training, int8)


def test_what_is_clipped_is_left_to_the_range(forms: tuple[Any, Any]) -> None:
    K, training = keras_namespace("tf_keras"), forms[0]
    unclipped = K.Model(training.input, training.get_layer("conv_bn").output)(smooth_images(8), training=False)
    assert np.abs(unclipped).max() > 10
    network = prepared(forms[1])
    low, high = (float(end) for end in network.ranges()["conv_act"])
    assert (low, high) == (-6.0, 6.0)
    expected = training(smooth_images(8), training=False)
    for state in (FakeQuant.OFF, FakeQuant.FLOAT16, FakeQuant.INT16, FakeQuant.HOLD):
        with network.switch.set(state):
            got = network.model(smooth_images(8), training=False)
        assert signal_to_noise_db(expected, got) >= ROUNDING_DB, state


def test_the_int8_form_is_one_delegate_and_the_other_is_not(forms: tuple[Any, Any], tmp_path: Path) -> None:
    path = tmp_path / "int8.tflite"
    operators = converted(prepared(forms[1]), path)
    assert operators == {"QUANTIZE", "CONV_2D", "DEPTHWISE_CONV_2D", "ADD"}
    assert int8_findings(TfliteFile.read(path), io="uint8") == ()
    require_one_delegate(path)

    path = tmp_path / "training.tflite"
    assert {"RELU", "MAX_POOL_2D"} <= converted(prepared(forms[0]), path)
    with pytest.raises(ConversionError, match="XNNPACK does not take it in one piece"):
        require_one_delegate(path)
