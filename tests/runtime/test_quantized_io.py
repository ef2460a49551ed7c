"""The arithmetic at a model's ends, against its definition and against LiteRT's own QUANTIZE."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_deeplab.errors import ModelError
from edge_deeplab.manifest import Manifest
from edge_deeplab.runtime.quantized_io import PixelEncoder
from edge_deeplab.runtime.quantized_values import Quantization, dequantize, quantize, real_table

UINT8, INT8, FLOAT32 = np.dtype("uint8"), np.dtype("int8"), np.dtype("float32")


def manifest(**facts: object) -> Manifest:
    return Manifest(name="test", labels=("background", "person"), person_class=1, size_hw=(32, 32)).replace(**facts)


def pixels() -> np.ndarray:
    """Every pixel value in every channel."""
    return np.random.default_rng(0).permutation(np.arange(256 * 3) % 256).reshape(16, 16, 3).astype(np.uint8)


@given(
    scale=st.floats(2**-12, 8, width=32), zero_point=st.integers(-128, 127), dtype=st.sampled_from(["int8", "uint8"])
)
def test_quantize_undoes_dequantize(scale: float, zero_point: int, dtype: str) -> None:
    raw = np.arange(256, dtype=np.uint8).view(dtype)
    quantization = Quantization.per_tensor(scale, zero_point + (128 if dtype == "uint8" else 0))
    assert np.array_equal(quantize(dequantize(raw, quantization), quantization, np.dtype(dtype)), raw)


@given(value=st.floats(-3, 3, width=32), scale=st.floats(2**-10, 1, width=32))
def test_quantize_is_off_by_half_a_step_at_most(value: float, scale: float) -> None:
    quantization = Quantization.per_tensor(scale, 3)
    back = dequantize(quantize(np.array([value], np.float32), quantization, np.int16), quantization)
    assert abs(back[0] - value) <= scale / 2 * (1 + 1e-5) + 1e-6


def test_quantize_saturates_and_rounds_ties_away_from_zero() -> None:
    quantization = Quantization.per_tensor(1.0, 0)
    real = np.array([-500, -2.5, -0.5, 0.5, 1.5, 2.5, 500])
    assert quantize(real, quantization, np.int8).tolist() == [-128, -3, -1, 1, 2, 3, 127]
    assert quantize(real, quantization, np.uint8).tolist() == [0, 0, 0, 1, 2, 3, 255]


def test_a_scale_per_channel_runs_along_its_axis() -> None:
    quantization = Quantization(np.array([1.0, 10.0], np.float32), np.array([0, 5], np.int32), axis=1)
    raw = np.array([[1, 6], [2, 7]], np.int8)
    assert dequantize(raw, quantization).tolist() == [[1, 10], [2, 20]]
    assert np.array_equal(quantize(np.array([[1, 10], [2, 20]]), quantization, np.int8), raw)


@pytest.mark.parametrize("dtype", [UINT8, INT8])
def test_real_table_is_dequantize(dtype: np.dtype) -> None:
    raw, quantization = pixels().view(dtype), Quantization.per_tensor(0.37, 11)
    assert np.array_equal(real_table(dtype, quantization)[raw.view(np.uint8)], dequantize(raw, quantization))


# Our own files; Coral's (scale 1/128, zero point 128); ImageNet's mean and std; BGR-like unequal channels; inverted.
ENCODINGS = {
    "ours_uint8": (UINT8, (1 / 255, 0), {}),
    "ours_int8": (INT8, (1 / 255, -128), {}),
    "coral": (UINT8, (1 / 128, 128), {"input_range": (-1.0, 127 / 128)}),
    "minus_one_to_one": (INT8, (2 / 255, 0), {"input_range": (-1.0, 1.0)}),
    "imagenet": (INT8, (0.02, -10), {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}),
    "float": (FLOAT32, None, {"input_range": (-1.0, 1.0)}),
    "float_imagenet": (FLOAT32, None, {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}),
    "bytes_as_float": (FLOAT32, None, {"input_range": (0.0, 255.0)}),
    "inverted": (UINT8, (1 / 255, 0), {"input_range": (1.0, 0.0)}),
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_encoding_is_the_manifests_formula_then_quantize(name: str) -> None:
    dtype, pair, facts = ENCODINGS[name]
    quantization = Quantization.per_tensor(*pair) if pair else None
    described = manifest(**facts)
    low, high = described.input_range
    real = (low + pixels() / 255 * (high - low) - np.array(described.mean)) / np.array(described.std)
    expected = quantize(real, quantization, dtype) if quantization else real.astype(np.float32)
    encoder = PixelEncoder(described, dtype, quantization)
    for _ in range(2):  # the second call works in the buffer of the first
        encoded = encoder.encode(pixels())
        assert encoded.dtype == dtype and encoded.shape == pixels().shape
        assert np.array_equal(encoded, expected)


@pytest.mark.parametrize(("name", "is_identity"), [("ours_uint8", True), ("coral", True), ("ours_int8", False)])
def test_bytes_that_are_pixels_already_are_handed_on(name: str, is_identity: bool) -> None:
    dtype, pair, facts = ENCODINGS[name]
    encoder = PixelEncoder(manifest(**facts), dtype, Quantization.per_tensor(*pair))
    image = pixels()
    assert encoder.is_identity is is_identity
    assert np.shares_memory(encoder.encode(image), image) is is_identity


def test_encoding_does_not_change_the_picture() -> None:
    image = pixels()
    PixelEncoder(manifest(), INT8, Quantization.per_tensor(1 / 255, -128)).encode(image)
    assert np.array_equal(image, pixels())


def test_quantize_agrees_with_the_interpreter() -> None:
    """LiteRT's reference QUANTIZE, reached through a model of that one operator."""
    tf = pytest.importorskip("tensorflow")
    random = np.random.default_rng(3)
    real = random.uniform(-1.2, 1.2, (1, 32, 32, 3)).astype(np.float32)

    def samples() -> Iterator[list[np.ndarray]]:
        yield [real]

    function = tf.function(lambda x: x + x, input_signature=[tf.TensorSpec(real.shape, tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], tf.Module())
    converter.optimizations, converter.representative_dataset = [tf.lite.Optimize.DEFAULT], samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=converter.convert(),
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], real)
    interpreter.invoke()
    quantized = next(d for d in interpreter.get_tensor_details() if d["dtype"] == np.int8)
    scale, zero_point = quantized["quantization"]
    ours = quantize(real, Quantization.per_tensor(scale, zero_point), np.int8)
    assert np.array_equal(ours, interpreter.get_tensor(quantized["index"]))


def test_inputs_that_cannot_be_encoded_say_what_is_allowed() -> None:
    with pytest.raises(ModelError, match="int64; allowed: uint8, int8, float32"):
        PixelEncoder(manifest(), np.dtype("int64"), None)
    with pytest.raises(ModelError, match="no single scale"):
        PixelEncoder(manifest(), INT8, None)
    per_axis = Quantization(np.ones(3, np.float32), np.zeros(3, np.int32), axis=3)
    with pytest.raises(ModelError, match="no single scale"):
        PixelEncoder(manifest(), INT8, per_axis)
