"""What the official MobileNetV3 is made of, as an int8 file: exact in its int8 form, one XNNPACK delegate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_networks import liven, signal_to_noise_db, smooth_images

from edge_deeplab.converters.gates import int8_findings, require_one_delegate
from edge_deeplab.converters.int8 import convert_int8
from edge_deeplab.converters.verify import run_file
from edge_deeplab.models.backbones.mobilenets import OFFICIAL_SLOPE, InvertedResidual, inverted_residual
from edge_deeplab.models.blocks import Blocks, Feature
from edge_deeplab.models.heads.official_aspp import build_official_aspp
from edge_deeplab.models.heads.official_decoder import build_official_decoder
from edge_deeplab.models.heads.sizes import Sizes
from edge_deeplab.models.int8_form import int8_weights
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.official_config import OfficialConfig
from edge_deeplab.models.transfer import assign_weights, weights_of
from edge_deeplab.quantization.graph import quantize
from edge_deeplab.quantization.ranges import set_ranges
from edge_deeplab.runtime.flatbuffer import TfliteFile

INPUT_RANGE = (-1.0, 1.0)
SIZE_HW = (97, 129)
AGAINST_FLOAT_DB = 12.0  # 15 measured, the constant part left out; a wrong row or factor is below 5
FLOAT_ROUNDING = 1e-4  # in standard deviations
# squeeze-and-excite ASPP, whose pooling window is smaller than the map, and the summing decoder
CONFIG = OfficialConfig(
    model_variant="mobilenet_v3_small_seg", num_classes=3, crop_size=SIZE_HW, output_stride=16, aspp_convs_filters=32,
    aspp_with_concat_projection=False, aspp_with_squeeze_and_excitation=True, image_se_uses_qsigmoid=True,
    decoder_use_sum_merge=True, decoder_filters=3, decoder_output_is_logits=True, decoder_output_stride=(8,),
    image_pooling_crop_size=(65, 65), image_pooling_stride=(1, 2),
)  # fmt: skip


def network(form: str) -> tuple[Any, Blocks]:
    """The official head on two blocks of the backbone; the whole one has eleven of them."""
    K = keras_namespace("tf_keras")
    K.utils.set_random_seed(0)
    image, blocks = K.layers.Input((*SIZE_HW, 3)), Blocks(K, form=form)
    x = blocks.conv(Feature(image), 16, "stem", kernel=3, stride=4, activation="hard_swish")
    row = InvertedResidual(32, 16, kernel=5, activation="hard_swish", se_slope=OFFICIAL_SLOPE)
    x, _ = inverted_residual(blocks, x, row._replace(stride=2), "block_0", "first")
    x, detail = inverted_residual(blocks, x, row, "block_1", "second")
    x = blocks.conv(x, 32, "tail", stride=2, activation="hard_swish")
    sizes = Sizes(CONFIG.crop_size, CONFIG.image_pooling_crop_size, image)
    x = build_official_aspp(blocks, x, config=CONFIG, sizes=sizes)
    x = build_official_decoder(blocks, x, {8: detail}, config=CONFIG, sizes=sizes)
    return K.Model(image, blocks.resize(x, SIZE_HW, "logits_resize").tensor), blocks


def pictures(count: int = 4) -> np.ndarray:
    low, high = INPUT_RANGE
    return smooth_images(count, size_hw=SIZE_HW) * (high - low) + low


def test_the_parts_of_an_official_mobilenet_v3_are_one_int8_delegate(tmp_path: Path) -> None:
    model = liven(network("training")[0])
    twin, blocks = network("int8")
    assign_weights(twin, int8_weights(blocks, weights_of(model)))
    expected = model(pictures(), training=False).numpy()
    assert np.abs(twin(pictures(), training=False).numpy() - expected).max() < FLOAT_ROUNDING * expected.std()

    quantized = quantize(twin, input_range=INPUT_RANGE)
    set_ranges(quantized, [pictures()])
    path = tmp_path / "official.tflite"
    path.write_bytes(convert_int8(quantized, size_hw=SIZE_HW))
    file = TfliteFile.read(path)
    assert int8_findings(file, io="uint8") == ()
    require_one_delegate(path)
    names = [operator.name for operator in file.operators]
    assert names.count("RESIZE_BILINEAR") == 3
    assert "AVERAGE_POOL_2D" not in names
    assert names.count("QUANTIZE") == 2  # at the ends: a resize shares its scale with what it reads
    got, _ = run_file(path, pictures())
    constant = expected.mean((0, 1, 2))  # would flatter
    assert signal_to_noise_db(expected - constant, got - constant) >= AGAINST_FLOAT_DB


@pytest.mark.parametrize(
    ("window_hw", "strides"),
    [(None, (1, 1)), ((9, 13), (4, 5)), ((4, 3), (1, 1)), ((4, 3), (2, 3)), ((9, 3), (4, 5)), ((25, 3), (4, 5))],
)
def test_int8_average_is_the_same_function(window_hw: tuple[int, int] | None, strides: tuple[int, int]) -> None:
    K = keras_namespace("tf_keras")
    models: dict[str, Any] = {}
    for form in ("training", "int8"):
        blocks = Blocks(K, form=form)
        image = K.layers.Input((9, 13, 5))
        means, left_over = blocks.average(Feature(image), window_hw, "means", strides=strides)
        y = blocks.conv(means, 4, "conv", stride=left_over, activation=None, batch_norm=False)
        models[form] = K.Model(image, y.tensor)
        kinds = {type(layer).__name__ for layer in models[form].layers}
        assert form == "training" or "AveragePooling2D" not in kinds
    assign_weights(models["int8"], {**weights_of(models["training"]), **blocks.constants})
    picture = np.random.RandomState(0).normal(size=(2, 9, 13, 5)).astype(np.float32)
    expected, actual = (models[form](picture).numpy() for form in ("training", "int8"))
    assert expected.shape == actual.shape
    np.testing.assert_allclose(actual, expected, atol=1e-6)
