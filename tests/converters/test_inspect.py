"""What inspect says of files whose every operator is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from handmade_tflite import CONV, Graph, Operator, Tensor, bright_segmenter

from edge_deeplab.converters.inspect import find_left_overs, inspect_model
from edge_deeplab.converters.publish import publish
from edge_deeplab.errors import ModelError
from edge_deeplab.labels import PORTRAIT
from edge_deeplab.manifest import Manifest
from edge_deeplab.runtime.flatbuffer import TfliteFile

MANIFEST = Manifest(name="bright", labels=PORTRAIT, person_class=1, size_hw=(32, 32))


def saved(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    return path


def with_float_island() -> Graph:
    """int8 convolution, then DEQUANTIZE, HARD_SWISH in float, QUANTIZE: what an unsupported layer leaves behind."""
    graph = bright_segmenter()
    (logits,) = graph.outputs
    shape, swish = (1, 32, 32, 2), "head/hard_swish;head/other"
    graph.tensors += [
        Tensor(name="real", shape=shape, dtype="float32"),
        Tensor(name=swish, shape=shape, dtype="float32"),
        Tensor(name="result", shape=shape, scales=(8 / 255,), zero_points=(0,)),
    ]
    graph.operators += [
        Operator(name="DEQUANTIZE", inputs=(logits,), outputs=("real",), options=("DequantizeOptions", {})),
        Operator(name="HARD_SWISH", inputs=("real",), outputs=(swish,)),
        Operator(name="QUANTIZE", inputs=(swish,), outputs=("result",), options=("QuantizeOptions", {})),
    ]
    graph.outputs = ("result",)
    return graph


def residual(input_scale: float, output_scale: float) -> Graph:
    shape = (1, 4, 4, 8)
    return Graph(
        tensors=[
            Tensor(name="a", shape=shape, scales=(input_scale,), zero_points=(0,)),
            Tensor(name="sum", shape=shape, scales=(output_scale,), zero_points=(0,)),
        ],
        operators=[Operator(name="ADD", inputs=("a", "a"), outputs=("sum",), options=("AddOptions", {}))],
        inputs=("a",),
        outputs=("sum",),
    )


@pytest.mark.parametrize(("ends", "requantizers"), [("int8", 0), ("uint8", 2), ("float32", 2)])
def test_int8_with_a_requantizer_at_each_end_is_full_int8(tmp_path: Path, ends: str, requantizers: int) -> None:
    report = inspect_model(saved(tmp_path, bright_segmenter(io=ends).to_bytes()))
    assert report.is_fully_int8 and report.left_overs == ()
    assert len(report.requantizers) == requantizers
    assert report.partitions == 1 and report.is_fully_delegated
    assert report.load_error is None


def test_a_float_island_is_named_operator_by_operator(tmp_path: Path) -> None:
    report = inspect_model(saved(tmp_path, with_float_island().to_bytes()))
    assert not report.is_fully_int8
    found = [(entry.operator, entry.layer, entry.dtype) for entry in report.left_overs]
    assert found == [
        ("DEQUANTIZE", "real", "int8 to float32"),
        ("HARD_SWISH", "head/hard_swish", "float32"),
        ("QUANTIZE", "result", "float32 to int8"),
    ]


def test_a_requantization_in_the_middle_is_a_left_over() -> None:
    graph = bright_segmenter()
    (logits,) = graph.outputs
    graph.tensors.append(Tensor(name="again", shape=(1, 32, 32, 2), scales=(0.1,), zero_points=(0,)))
    again = Operator(name="QUANTIZE", inputs=(logits,), outputs=("again",), options=("QuantizeOptions", {}))
    graph.operators.append(again)
    graph.outputs = ("again",)
    left_overs, _ = find_left_overs(TfliteFile.from_bytes(graph.to_bytes()))
    assert [(entry.operator, entry.dtype) for entry in left_overs] == [("QUANTIZE", "int8 to int8")]


def test_dilations_are_kept_by_layer(tmp_path: Path) -> None:
    graph = bright_segmenter()
    graph.operators[0].options = (CONV[0], {**CONV[1], "dilationHFactor": 2, "dilationWFactor": 3})
    report = inspect_model(saved(tmp_path, graph.to_bytes()))
    assert report.dilations == {"net/logits": (2, 3)}


def test_rows_carry_types_scales_and_costs(tmp_path: Path) -> None:
    report = inspect_model(saved(tmp_path, bright_segmenter(io="uint8").to_bytes()))
    assert report.operators == {"QUANTIZE": 2, "CONV_2D": 1}
    row = report.rows[1]
    assert (row.operator, row.layer, row.dtype, row.shape) == ("CONV_2D", "net/logits", "int8", (1, 32, 32, 2))
    assert row.scale == pytest.approx(8 / 255) and row.zero_point == 0
    assert (row.weight_dtype, row.weight_scales) == ("int8", 2)
    assert row.macs == report.macs == 32 * 32 * 2 * 3
    assert [row.is_delegated for row in report.rows] == [False, True, False]
    assert [row.reason is None for row in report.rows] == [False, True, False]
    assert report.undelegated[0].reason == "uint8 to int8 is not taken, int8 to int8 is"


def test_manifest_and_metadata_are_shown(tmp_path: Path) -> None:
    report = inspect_model(saved(tmp_path, publish(bright_segmenter().to_bytes(), MANIFEST)))
    assert report.manifest == MANIFEST
    assert report.metadata is not None and report.metadata["name"] == "bright"


def test_a_file_that_aborts_the_interpreter_is_still_reported(tmp_path: Path) -> None:
    """ADD with an input scale over 2**19 times its output's: SIGABRT in Prepare, met in a child process."""
    report = inspect_model(saved(tmp_path, residual(1.0, 2.0**-20).to_bytes()))
    assert report.load_error is not None and "SIGABRT" in report.load_error and "\n" not in report.load_error
    assert report.partitions is None and not report.is_fully_delegated


def test_the_report_goes_into_json(tmp_path: Path) -> None:
    report = inspect_model(saved(tmp_path, publish(bright_segmenter(io="uint8").to_bytes(), MANIFEST)))
    read = json.loads(json.dumps(report.to_dict()))
    assert read["is_fully_int8"] is True and read["partitions"] == 1
    assert read["manifest"]["labels"] == ["background", "person"]
    assert len(read["rows"]) == 3


def test_float_files_of_others_are_all_left_over(shared: Path) -> None:
    report = inspect_model(shared / "models" / "deeplabv3_257_mv_gpu.tflite")
    assert len(report.left_overs) == len(report.rows) == 70
    assert {entry.dtype for entry in report.left_overs} == {"float32"}
    assert set(report.dilations.values()) == {(2, 2), (4, 4)}


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        inspect_model(tmp_path / "none.tflite")


def test_a_file_without_operators_is_refused(tmp_path: Path) -> None:
    graph = Graph(tensors=[Tensor(name="x", shape=(1,))], operators=[], inputs=("x",), outputs=("x",))
    with pytest.raises(ModelError, match="no operators"):
        inspect_model(saved(tmp_path, graph.to_bytes()))
