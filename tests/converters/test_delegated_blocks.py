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
from edge_deeplab.quantization.graph import quantize
from edge_deeplab.quantization.ranges import set_ranges
from edge_deeplab.runtime.flatbuffer import TfliteFile

AGAINST_QAT_DB = 25.0  # rounding of one eight-bit step here and there; a wrong row or a missing ReLU is below 10 dB


def network(form: str) -> tuple[Any, Blocks]:
    """One module with a rectified and a plain reader of one tensor, and one shortcut that takes every other pixel."""
    K = keras_namespace("tf_keras")
    K.utils.set_random_seed(0)
    blocks = Blocks(K, form=form)
    image = K.layers.Input((*SIZE_HW, 3))
    x = blocks.conv(Feature(image), 8, "stem", kernel=3, stride=2, activation=None)
    y = blocks.activate_beside(x, "relu", "pre_act")
    y = blocks.conv(y, 8, "conv", kernel=3, stride=2, activation=None)
    x = blocks.subsample(x, 2, "every_other")
    y = blocks.add(x, y, "sum", branch_batch_norm="conv_bn")
    return K.Model(image, blocks.conv(y, 4, "logits", batch_norm=False, activation=None).tensor), blocks


@pytest.fixture(scope="module")
def forms() -> tuple[Any, Any]:
    training = liven(network("training")[0])
    int8, blocks = network("int8")
    assert blocks.constants.keys() == {"pre_act_copy", "every_other"}
    assign_weights(int8, {**weights_of(training), **blocks.constants})
    return training, int8


def converted(model: Any, path: Path) -> TfliteFile:
    twin = quantize(model)
    set_ranges(twin, [smooth_images(8)])
    path.write_bytes(convert_int8(twin, size_hw=SIZE_HW))
    got, _ = run_file(path, smooth_images(8))
    assert signal_to_noise_db(twin.model(smooth_images(8), training=False), got) >= AGAINST_QAT_DB
    return TfliteFile.read(path)


def test_the_int8_form_is_the_same_function(forms: tuple[Any, Any]) -> None:
    training, int8 = (model(smooth_images(4), training=False).numpy() for model in forms)
    np.testing.assert_array_equal(training, int8)


def test_the_int8_form_is_one_delegate_and_the_other_is_not(forms: tuple[Any, Any], tmp_path: Path) -> None:
    file = converted(forms[1], tmp_path / "int8.tflite")
    assert int8_findings(file, io="uint8") == ()
    assert not {"RELU", "MAX_POOL_2D"} & {operator.name for operator in file.operators}
    require_one_delegate(tmp_path / "int8.tflite")

    file = converted(forms[0], tmp_path / "training.tflite")
    assert {"RELU", "MAX_POOL_2D"} <= {operator.name for operator in file.operators}
    with pytest.raises(ConversionError, match="XNNPACK does not take it in one piece"):
        require_one_delegate(tmp_path / "training.tflite")
