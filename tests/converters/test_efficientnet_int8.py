"""An EfficientNet as an int8 file: whole in one delegate, swish and squeeze-and-excite included."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from small_networks import SIZE_HW, liven, signal_to_noise_db, small_config, smooth_images

from edge_deeplab.converters.gates import int8_findings, require_one_delegate
from edge_deeplab.converters.int8 import convert_int8
from edge_deeplab.converters.verify import run_file
from edge_deeplab.models.backbones.efficientnet import blocks_of
from edge_deeplab.models.deeplab import build_deeplab
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.quantization.graph import quantize
from edge_deeplab.quantization.ranges import set_ranges
from edge_deeplab.runtime.flatbuffer import TfliteFile

# as for the MobileNets in test_int8.py: kernels round otherwise than float arithmetic on fake-quantized values
AGAINST_QAT_DB = 15.0


def test_every_operator_is_int8_in_one_delegate(tmp_path: Path) -> None:
    K = keras_namespace("tf_keras")
    K.utils.set_random_seed(0)
    config = small_config("efficientnet_b0", width=1.0, form="int8")
    network = quantize(liven(build_deeplab(K, config)))
    set_ranges(network, [smooth_images(8)])
    path = tmp_path / "efficientnet.tflite"
    path.write_bytes(convert_int8(network, size_hw=SIZE_HW, io="uint8"))
    file = TfliteFile.read(path)
    assert int8_findings(file, io="uint8") == ()
    require_one_delegate(path)
    got, _ = run_file(path, smooth_images(8))
    assert signal_to_noise_db(network.model(smooth_images(8), training=False), got) >= AGAINST_QAT_DB

    kinds = Counter(operator.name for operator in file.operators)
    # a swish is a LOGISTIC and a MUL: in the stem, behind each expansion and depthwise, in each squeeze-and-excite
    blocks = blocks_of("efficientnet_b0")
    swishes = 1 + sum(2 + (block.expansion != 1) for block in blocks)
    assert kinds["LOGISTIC"] == kinds["MUL"] == swishes + len(blocks)
    assert "HARD_SWISH" not in kinds
