"""MobileNetV2 out of .tflite files and frozen graphs: the file's own interpreter is the oracle for the same picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mobilenet_reference import psnr_db, rebuild

from edge_deeplab.converters.publish import publish
from edge_deeplab.converters.starts.backbone_weights import (
    mobilenet_v2_shapes,
    official_channels,
    official_layers,
    width_of,
)
from edge_deeplab.converters.starts.pretrained import read_foreign_backbone
from edge_deeplab.errors import ModelError
from edge_deeplab.labels import VOC
from edge_deeplab.manifest import Manifest
from edge_deeplab.runtime.flatbuffer import OperatorRecord, TfliteFile

FLOAT = "models/deeplabv3_257_mv_gpu.tflite"
QUANTIZED = "models/deeplabv3_mnv2_dm05_pascal_quant.tflite"
IMAGENET = "models/tf2_mobilenet_v2_1.0_224_ptq.tflite"
FROZEN = "models/portrait_mnv2_dm05_os8_frozen_inference_graph.pb"
# float32 sums in another order over 51 layers; measured 130 dB against the .tflite, 125 dB against the graph
SAME_WEIGHTS_DB = 80.0
# Google's float and Coral's 8-bit file are two trainings from one ancestor: folded kernels alike, not equal
RELATED_CORRELATION = 0.9


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    data = pytest.importorskip("skimage.data")
    return data.astronaut()  # (512, 512, 3) uint8 RGB


def convolutions_of(path: Path) -> list[OperatorRecord]:
    return [o for o in TfliteFile.read(path).operators if o.name in ("CONV_2D", "DEPTHWISE_CONV_2D")]


def test_official_channels_round_to_ones_or_eights() -> None:
    repeated = ((32, 1), (16, 1), (24, 2), (32, 3), (64, 4), (96, 3), (160, 3), (320, 1))  # the paper's table 2
    assert official_channels(1.0, 8) == tuple(channels for channels, times in repeated for _ in range(times))
    assert official_channels(0.5, 1)[:5] == (16, 8, 12, 12, 16)
    assert official_channels(0.5, 8)[:5] == (16, 8, 16, 16, 16)


@pytest.mark.parametrize(("width", "divisor"), [(0.35, 1), (0.75, 1), (1.4, 1), (0.35, 8), (1.0, 8)])
def test_width_and_divisor_are_told_from_the_shapes(width: float, divisor: int) -> None:
    """Among them such whose blocks do not expand by just 6: at 0.35, 6 * 6 rounds to 40; at 0.75, 18 * 6 to 112."""
    arrays = {name: np.zeros(shape, np.float32) for name, shape in mobilenet_v2_shapes(width, divisor).items()}
    assert width_of(arrays, "theirs.pb") == (width, divisor)
    name = "MobilenetV2/expanded_conv_9/expand/weights"
    arrays[name] = arrays[name][..., 1:]
    with pytest.raises(ModelError, match=f"{name} is of no MobileNetV2"):
        width_of(arrays, "theirs.pb")


def test_there_are_fifty_one_layers() -> None:
    layers = list(official_layers())
    assert len(layers) == 1 + 2 + 16 * 3
    assert layers[0] == ("MobilenetV2/Conv", "weights")
    assert layers[1] == ("MobilenetV2/expanded_conv/depthwise", "depthwise_weights")
    assert layers[-1] == ("MobilenetV2/expanded_conv_16/project", "weights")


def test_float_tflite_computes_the_same_as_its_interpreter(shared: Path, picture: np.ndarray) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    path = shared / FLOAT
    backbone = read_foreign_backbone(path)
    assert (backbone.width, backbone.width_divisor, backbone.is_folded) == (0.5, 1, True)
    assert backbone.input_range == (-1.0, 1.0)
    image = picture[None, :257, :257].astype(np.float32) * (2 / 255) - 1

    convolutions = convolutions_of(path)[:51]
    interpreter = Interpreter(
        str(path), experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )  # fmt: skip
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    oracle = interpreter.get_tensor(convolutions[-1].outputs[0].index)
    value = rebuild(backbone, image, [o.stride_hw[0] for o in convolutions], [o.dilation_hw[0] for o in convolutions])
    assert value.shape == oracle.shape
    assert psnr_db(value, oracle) > SAME_WEIGHTS_DB


def test_frozen_graph_computes_the_same_as_tensorflow(shared: Path, picture: np.ndarray) -> None:
    import tensorflow as tf

    path = shared / FROZEN
    backbone = read_foreign_backbone(path)
    assert (backbone.width, backbone.width_divisor, backbone.is_folded) == (0.5, 1, False)
    assert backbone.batch_norm_epsilon == 1e-3
    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString(path.read_bytes())
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(graph_def, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            image, oracle = session.run(
                ["sub_2:0", "MobilenetV2/expanded_conv_16/project/BatchNorm/FusedBatchNormV3:0"],
                {"ImageTensor:0": picture[None, :257, :257]},
            )
    # the graph's own preprocessing is what input_range says
    low, high = backbone.input_range
    pixels = picture[None, :257, :257].astype(np.float32) / 255 * (high - low) + low
    np.testing.assert_allclose(image[:, :257, :257], pixels, atol=1e-6)
    # output stride 8: strides end with expanded_conv_3, rates 2 from expanded_conv_7 and 4 from expanded_conv_14
    strides, dilations = [], []
    for layer, _ in official_layers():
        is_depthwise = layer.endswith("/depthwise")
        block = int(layer.split("/")[1].removeprefix("expanded_conv").removeprefix("_") or 0) if is_depthwise else 0
        strides.append(2 if layer == "MobilenetV2/Conv" or block in (1, 3) else 1)
        dilations.append(4 if block >= 14 else 2 if block >= 7 else 1)
    value = rebuild(backbone, image, strides, dilations)
    assert value.shape == oracle.shape
    assert psnr_db(value, oracle) > SAME_WEIGHTS_DB


def test_quantized_tflite_is_dequantized_per_tensor(shared: Path) -> None:
    quantized, floating = read_foreign_backbone(shared / QUANTIZED), read_foreign_backbone(shared / FLOAT)
    assert quantized.input_range == (-1.0, 127 / 128)  # the uint8 input's scale 1/128, zero point 128
    assert quantized.arrays.keys() == floating.arrays.keys()
    for name in ("MobilenetV2/expanded_conv_16/project/weights", "MobilenetV2/expanded_conv_3/depthwise/biases"):
        a, b = quantized.arrays[name].ravel(), floating.arrays[name].ravel()
        assert np.corrcoef(a, b)[0, 1] > RELATED_CORRELATION, name


def test_quantized_tflite_is_dequantized_per_axis(shared: Path) -> None:
    backbone = read_foreign_backbone(shared / IMAGENET)
    assert (backbone.width, backbone.width_divisor) == (1.0, 8)
    kernel = backbone.arrays["MobilenetV2/expanded_conv_5/depthwise/depthwise_weights"]
    assert kernel.shape == (3, 3, 192, 1)
    peaks = np.abs(kernel).max(axis=(0, 1, 3))
    # a kernel with a scale of its own uses the whole int8 range: its peak is 127 steps, whatever its size
    at = [layer for layer, _ in official_layers()].index("MobilenetV2/expanded_conv_5/depthwise")
    stored = convolutions_of(shared / IMAGENET)[at].inputs[1]
    assert stored is not None
    np.testing.assert_allclose(peaks, stored.scales * 127, rtol=1e-5)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read") as caught:
        read_foreign_backbone(tmp_path / "none.pb")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(64), b"not a graph at all"])
def test_a_wrong_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pb"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"weights\.pb") as caught:
        read_foreign_backbone(path)
    assert "\n" not in str(caught.value)


def test_a_truncated_tflite_is_one_line(shared: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.tflite"
    path.write_bytes((shared / FLOAT).read_bytes()[:200_000])
    with pytest.raises(ModelError, match=r"cut\.tflite"):
        read_foreign_backbone(path)


def test_a_truncated_frozen_graph_is_one_line(shared: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.pb"
    path.write_bytes((shared / FROZEN).read_bytes()[:200_001])
    with pytest.raises(ModelError, match=r"cut\.pb"):
        read_foreign_backbone(path)


def test_another_network_is_refused_by_its_first_wrong_layer(tmp_path: Path) -> None:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3))])
    def net(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.conv2d(x, tf.ones((3, 3, 3, 4)), 1, "SAME")

    path = tmp_path / "one.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([net.get_concrete_function()]).convert())
    with pytest.raises(ModelError, match=r"1 convolutions.*expanded_conv/depthwise"):
        read_foreign_backbone(path)


def test_a_manifest_says_the_input_range(shared: Path, tmp_path: Path) -> None:
    manifest = Manifest(name="voc", labels=VOC, person_class=15, size_hw=(257, 257), mean=(0.5,) * 3, std=(0.25,) * 3)
    path = tmp_path / "published.tflite"
    path.write_bytes(publish((shared / FLOAT).read_bytes(), manifest))
    assert read_foreign_backbone(path).input_range == (-2.0, 2.0)
    path.write_bytes(publish((shared / FLOAT).read_bytes(), manifest.replace(mean=(0.25, 0.5, 0.75))))
    assert read_foreign_backbone(path).input_range == ((-1.0, -2.0, -3.0), (3.0, 2.0, 1.0))
