"""EfficientNets as int8 files: whole in one delegate, swish and all; what Lite spares."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from small_networks import SIZE_HW, lively_deeplab, signal_to_noise_db, smooth_images

from edge_deeplab.converters.gates import int8_findings, require_one_delegate
from edge_deeplab.converters.int8 import convert_int8
from edge_deeplab.converters.verify import run_file
from edge_deeplab.models.backbones.efficientnet import blocks_of
from edge_deeplab.quantization.graph import quantize
from edge_deeplab.quantization.ranges import set_ranges
from edge_deeplab.runtime.flatbuffer import TfliteFile

# as for the MobileNets in test_int8.py: kernels round otherwise than float arithmetic on fake-quantized values
AGAINST_QAT_DB = 15.0


@pytest.mark.parametrize("variant", ["efficientnet_b0", "efficientnet_lite0"])
def test_every_operator_is_int8_in_one_delegate(variant: str, tmp_path: Path) -> None:
    network = quantize(lively_deeplab(variant, form="int8", width=1.0))
    set_ranges(network, [smooth_images(8)])
    path = tmp_path / "efficientnet.tflite"
    path.write_bytes(convert_int8(network, size_hw=SIZE_HW, io="uint8"))
    file = TfliteFile.read(path)
    assert int8_findings(file, io="uint8") == ()
    require_one_delegate(path)
    got, _ = run_file(path, smooth_images(8))
    assert signal_to_noise_db(network.model(smooth_images(8), training=False), got) >= AGAINST_QAT_DB

    kinds = Counter(operator.name for operator in file.operators)
    gates = kinds["LOGISTIC"], kinds["MUL"]
    if variant == "efficientnet_lite0":
        assert gates == (0, 0)
    else:  # stem; in each block the expansion, the depthwise, inside and at the end of squeeze-and-excite
        blocks = blocks_of(variant)
        swishes = 1 + sum(1 + (block.expansion != 1) + 1 for block in blocks)
        assert gates == (swishes + len(blocks), swishes + len(blocks))
