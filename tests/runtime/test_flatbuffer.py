"""A .tflite's graph read into records: counted against published figures and the interpreter's own account."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from handmade_tflite import Graph, Operator, Tensor, bright_segmenter

from edge_deeplab.errors import ModelError
from edge_deeplab.runtime.flatbuffer import TfliteFile


def one_operator(name: str, kernel: tuple[int, ...], made: tuple[int, ...], options: tuple[str, dict]) -> TfliteFile:
    graph = Graph(
        tensors=[
            Tensor(name="x", shape=(1, 8, 8, 4), dtype="float32"),
            Tensor(name="w", values=np.ones(kernel, np.float32)),
            Tensor(name="y", shape=made, dtype="float32"),
        ],
        operators=[Operator(name=name, inputs=("x", "w"), outputs=("y",), options=options)],
        inputs=("x",),
        outputs=("y",),
    )
    return TfliteFile.from_bytes(graph.to_bytes())


def test_records_say_what_was_written() -> None:
    model = TfliteFile.from_bytes(bright_segmenter((4, 6), io="uint8").to_bytes())
    assert [operator.name for operator in model.operators] == ["QUANTIZE", "CONV_2D", "QUANTIZE"]
    assert (model.version, model.description, model.subgraph_count) == (3, "written by hand", 1)
    (picture,), (maps,) = model.inputs, model.outputs
    assert (picture.name, picture.shape, picture.dtype) == ("picture", (1, 4, 6, 3), "uint8")
    assert (maps.scales[0], maps.zero_points[0]) == (np.float32(8 / 255), 128)
    convolution = model.operators[1]
    assert convolution.layer == "net/logits;net/logits/BiasAdd"
    assert convolution.padding == "SAME" and convolution.activation is None
    assert [tensor.is_constant for tensor in convolution.inputs if tensor] == [False, True, True]


def test_constants_read_as_stored_and_as_real_numbers() -> None:
    model = TfliteFile.from_bytes(bright_segmenter().to_bytes())
    kernel = model.operators[0].inputs[1]
    assert kernel is not None
    np.testing.assert_array_equal(model.stored_values(kernel).ravel(), [-127] * 3 + [127] * 3)
    np.testing.assert_allclose(model.real_values(kernel)[1], 8 / 3, rtol=1e-6)


def test_each_slice_of_the_axis_has_its_own_scale() -> None:
    values = np.array([[10, -10], [20, 5]], np.int8)
    tensor = Tensor(name="w", values=values, scales=(0.5, 2.0), zero_points=(0, 1), axis=1)
    x, y = Tensor(name="x", shape=(1, 2)), Tensor(name="y", shape=(1, 2))
    graph = Graph(tensors=[x, tensor, y], operators=[], inputs=("x",), outputs=("y",))
    model = TfliteFile.from_bytes(graph.to_bytes())
    np.testing.assert_array_equal(model.real_values(model.tensors[1]), [[5.0, -22.0], [10.0, 8.0]])


@pytest.mark.parametrize(
    ("name", "kernel", "made", "options", "macs"),
    [
        ("CONV_2D", (5, 3, 3, 4), (1, 4, 4, 5), ("Conv2DOptions", {}), 4 * 4 * 5 * 3 * 3 * 4),
        ("DEPTHWISE_CONV_2D", (1, 3, 3, 4), (1, 8, 8, 4), ("DepthwiseConv2DOptions", {}), 8 * 8 * 4 * 3 * 3),
        ("FULLY_CONNECTED", (7, 256), (1, 7), ("FullyConnectedOptions", {}), 7 * 256),
        ("ADD", (1, 8, 8, 4), (1, 8, 8, 4), ("AddOptions", {}), 0),
    ],
)
def test_multiply_adds_by_hand(name: str, kernel: tuple, made: tuple, options: tuple, macs: int) -> None:
    model = one_operator(name, kernel, made, options)
    assert model.operators[0].macs == model.macs == macs


def test_stride_dilation_padding_and_activation() -> None:
    options = {"strideH": 2, "strideW": 1, "dilationHFactor": 3, "dilationWFactor": 6, "padding": 1}
    options["fusedActivationFunction"] = 3
    operator = one_operator("CONV_2D", (5, 3, 3, 4), (1, 4, 4, 5), ("Conv2DOptions", options)).operators[0]
    assert (operator.stride_hw, operator.dilation_hw) == ((2, 1), (3, 6))
    assert (operator.padding, operator.activation) == ("VALID", "RELU6")


def test_multiply_adds_are_the_published_ones(shared: Path) -> None:
    """DeepLab at 513: 2.75 billion at width 1, 0.87 at 0.5 by TensorFlow's profiler, which counts resizes as well."""
    for name, billions in (("deeplabv3_mnv2_pascal_quant", 2.75), ("deeplabv3_mnv2_dm05_pascal_quant", 0.87)):
        model = TfliteFile.read(shared / "models" / f"{name}.tflite")
        assert model.macs / 1e9 == pytest.approx(billions, rel=0.01)


def test_tensors_agree_with_the_interpreter(shared: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    path = shared / "models" / "tf2_mobilenet_v2_1.0_224_ptq.tflite"
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    theirs = {details["index"]: details for details in interpreter.get_tensor_details()}
    model = TfliteFile.read(path)
    for tensor in model.tensors:
        details = theirs[tensor.index]
        assert (tensor.name, tensor.dtype) == (details["name"], np.dtype(details["dtype"]).name)
        assert tensor.shape == tuple(details["shape"])
        np.testing.assert_array_equal(tensor.scales, details["quantization_parameters"]["scales"])
        if tensor.is_constant:
            np.testing.assert_array_equal(model.stored_values(tensor), interpreter.get_tensor(tensor.index))


def test_metadata_entries_by_name() -> None:
    graph = bright_segmenter()
    graph.metadata = {"one": b"content", "two": b""}
    model = TfliteFile.from_bytes(graph.to_bytes())
    assert model.metadata_names == ("one", "two")
    assert model.metadata("one") == b"content" and model.metadata("two") == b""
    assert model.metadata("three") is None


def test_what_is_computed_holds_no_constant() -> None:
    model = TfliteFile.from_bytes(bright_segmenter().to_bytes())
    with pytest.raises(ModelError, match="holds no constant"):
        model.stored_values(model.inputs[0])


@pytest.mark.parametrize("content", [b"", b"\x00" * 40, b"PK\x03\x04" + b"\x00" * 40])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.tflite.*TFL3"):
        TfliteFile.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.tflite: cannot be read"):
        TfliteFile.read(tmp_path / "none.tflite")


def test_a_file_cut_anywhere_is_one_line_or_whole_records() -> None:
    content = bright_segmenter(io="float32").to_bytes()
    for end in range(8, len(content), 7):
        try:
            TfliteFile.from_bytes(content[:end], source="cut")
        except ModelError as error:
            assert "\n" not in str(error)


def test_a_file_with_any_byte_changed_never_escapes_the_error_tree() -> None:
    content = bytearray(bright_segmenter(io="float32").to_bytes())
    for place in range(8, len(content), 3):
        for value in (0x00, 0x7F, 0xFF):
            kept, content[place] = content[place], value
            try:
                TfliteFile.from_bytes(bytes(content), source="changed")
            except ModelError as error:
                assert "\n" not in str(error)
            content[place] = kept
