"""Pieces of a model compute what the whole computes, one after the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from handmade_tflite import bright_segmenter

from edge_deeplab.errors import ModelError
from edge_deeplab.runtime.bundled import bundled_model
from edge_deeplab.runtime.cutting import ModelCutter
from edge_deeplab.runtime.flatbuffer import TfliteFile
from edge_deeplab.runtime.interpreter import Engine


def run(data: bytes, folder: Path, *inputs: np.ndarray) -> list[np.ndarray]:
    path = folder / "piece.tflite"
    path.write_bytes(data)
    with Engine(path, is_known_good=True) as engine:
        return engine.run(*inputs)


@pytest.mark.parametrize("middle", [0, 40, 61, 70, 82])
def test_two_pieces_one_after_the_other_are_the_whole(tmp_path: Path, middle: int) -> None:
    """Cut anywhere, between the parallel branches too, where several tensors cross the border."""
    path = bundled_model("portrait")
    cutter = ModelCutter(path.read_bytes())
    with Engine(path) as engine:
        picture = np.random.default_rng(0).integers(0, 256, engine.inputs[0].shape, np.uint8)
        (whole,) = engine.run(picture)
    first, second = cutter.operators(0, middle), cutter.operators(middle + 1, cutter.count - 1)
    names = [tensor.name for tensor in TfliteFile.from_bytes(first).outputs]
    made = dict(zip(names, run(first, tmp_path, picture)))
    taken = [made[tensor.name] for tensor in TfliteFile.from_bytes(second).inputs]
    assert len(taken) == len(names)
    np.testing.assert_array_equal(run(second, tmp_path, *taken)[0], whole)


def test_an_operator_alone_is_as_it_was_in_the_file() -> None:
    data = bundled_model("portrait").read_bytes()
    cutter, graph = ModelCutter(data), TfliteFile.from_bytes(data)
    for index in (0, 1, 10, 69, 72, 83):
        (operator,) = (piece := TfliteFile.from_bytes(cutter.operators(index, index))).operators
        before = graph.operators[index]
        assert (operator.name, operator.macs, operator.stride_hw, operator.dilation_hw, operator.activation) == (
            before.name, before.macs, before.stride_hw, before.dilation_hw, before.activation,
        )  # fmt: skip
        assert [tensor.shape for tensor in operator.outputs] == [tensor.shape for tensor in before.outputs]
        for now, then in zip(operator.inputs, before.inputs):
            assert now is not None and then is not None
            np.testing.assert_array_equal(now.scales, then.scales)
            if then.is_constant:
                np.testing.assert_array_equal(piece.stored_values(now), graph.stored_values(then))


def test_constants_made_of_constants_come_along(tmp_path: Path) -> None:
    """A float16 file keeps its weights behind a DEQUANTIZE: it runs at loading, and a convolution alone needs it."""
    tf = pytest.importorskip("tensorflow")
    kernel = tf.constant(np.random.default_rng(0).normal(size=(3, 3, 4, 8)), tf.float32)
    function = tf.function(
        lambda x: tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME")) * 2.0, [tf.TensorSpec((1, 8, 8, 4), tf.float32)]
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], tf.Module())
    converter.optimizations, converter.target_spec.supported_types = [tf.lite.Optimize.DEFAULT], [tf.float16]
    data = bytes(converter.convert())
    cutter, graph = ModelCutter(data), TfliteFile.from_bytes(data)
    names = [operator.name for operator in graph.operators]
    assert "DEQUANTIZE" in names
    assert [names[index] for index in cutter.running] == ["CONV_2D", "MUL"]
    convolution = names.index("CONV_2D")
    piece = cutter.operators(convolution, convolution)
    assert [tensor.shape for tensor in TfliteFile.from_bytes(piece).inputs] == [(1, 8, 8, 4)]
    picture = np.random.default_rng(1).random((1, 8, 8, 4), np.float32)
    (alone,) = run(piece, tmp_path, picture)
    (whole,) = run(data, tmp_path, picture)
    np.testing.assert_allclose(alone * 2.0, whole, rtol=1e-6)


def test_what_is_not_there_cannot_be_cut() -> None:
    cutter = ModelCutter(bright_segmenter(io="uint8").to_bytes())
    assert cutter.count == 3
    for first, last in ((-1, 0), (0, 3), (2, 1)):
        with pytest.raises(IndexError):
            cutter.operators(first, last)
    with pytest.raises(ModelError, match=r"no \.tflite file"):
        ModelCutter(b"nothing")
    empty = bright_segmenter()
    empty.operators, empty.outputs = [], empty.inputs
    with pytest.raises(ModelError, match="cannot be cut"):
        ModelCutter(empty.to_bytes())
