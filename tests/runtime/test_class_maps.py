"""Reading a model's output: every quick path against dequantize -> activation in float64."""

from __future__ import annotations

import numpy as np
import pytest

from edge_deeplab.errors import ModelError
from edge_deeplab.manifest import Manifest
from edge_deeplab.runtime.class_maps import make_reader
from edge_deeplab.runtime.interpreter import TensorInfo
from edge_deeplab.runtime.quantized_values import Quantization

FLOAT_ROUNDING = 2e-6  # a sum of 21 exponentials in float32
HEIGHT, WIDTH = 13, 17

SCALES = {"uint8": (0.11, 140), "int8": (0.07, -3), "int16": (0.0004, 0), "float32": None}


def tensor(shape: tuple[int, ...], dtype: str, pair: tuple[float, int] | None = None) -> TensorInfo:
    quantization = Quantization.per_tensor(*pair) if pair else None
    return TensorInfo("output", shape, shape, np.dtype(dtype), quantization)


def manifest(classes: int, activation: str, person: int | None = 1) -> Manifest:
    labels = tuple(f"class {index}" for index in range(classes))
    return Manifest(name="test", labels=labels, person_class=person, size_hw=(64, 64), activation=activation)


def raw_output(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    random = np.random.default_rng(5)
    if dtype == "float32":
        return random.normal(0, 6, shape).astype(np.float32)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def expected_probabilities(raw: np.ndarray, pair: tuple[float, int] | None, activation: str) -> np.ndarray:
    real = raw.astype(np.float64) if pair is None else (raw.astype(np.float64) - pair[1]) * np.float32(pair[0])
    if activation == "softmax":
        powers = np.exp(real - real.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)
    return 1 / (1 + np.exp(-real)) if activation == "sigmoid" else np.clip(real, 0, 1)


@pytest.mark.parametrize("person", [0, 1])
@pytest.mark.parametrize("classes", [2, 5, 21, 70])
@pytest.mark.parametrize("dtype", SCALES)
@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
def test_maps_are_dequantize_then_activation(activation: str, dtype: str, classes: int, person: int) -> None:
    shape = (1, HEIGHT, WIDTH, classes)
    reader = make_reader(manifest(classes, activation, person), tensor(shape, dtype, SCALES[dtype]))
    raw = raw_output(shape, dtype)[0]
    expected = expected_probabilities(raw, SCALES[dtype], activation)

    probabilities, matte, labels = reader.probabilities(raw), reader.matte(raw), reader.classes(raw)
    assert probabilities.dtype == matte.dtype == np.float32 and labels.dtype == np.uint8
    assert np.abs(probabilities - expected).max() < FLOAT_ROUNDING
    assert np.abs(matte - expected[..., person]).max() < FLOAT_ROUNDING
    assert np.array_equal(labels, raw.argmax(-1))
    for result in (probabilities, matte, labels):
        assert not np.shares_memory(result, raw)


@pytest.mark.parametrize("person", [0, 1])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_two_class_matte_is_right_for_every_pair_of_raw_values(dtype: str, person: int) -> None:
    pairs = np.indices((256, 256)).transpose(1, 2, 0).astype(np.uint8).view(dtype)
    for pair in ((0.11, 3), (4.0, 0)):  # the second saturates: differences of 1000 overflow exp
        reader = make_reader(manifest(2, "softmax", person), tensor((1, 256, 256, 2), dtype, pair))
        expected = expected_probabilities(pairs, pair, "softmax")[..., person]
        assert np.abs(reader.matte(pairs) - expected).max() < FLOAT_ROUNDING


def test_float_logits_far_apart_give_zero_and_one() -> None:
    reader = make_reader(manifest(3, "softmax"), tensor((1, 1, 2, 3), "float32"))
    raw = np.array([[[500, -500, 0], [-500, 500, 0]]], np.float32)
    assert reader.matte(raw).tolist() == [[0, 1]]


@pytest.mark.parametrize("person", [0, 1])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("activation", ["sigmoid", "none"])
def test_one_channel_is_the_second_label(activation: str, dtype: str, person: int) -> None:
    shape = (1, HEIGHT, WIDTH, 1)
    reader = make_reader(manifest(2, activation, person), tensor(shape, dtype, SCALES[dtype]))
    raw = raw_output(shape, dtype)[0]
    foreground = expected_probabilities(raw, SCALES[dtype], activation)[..., 0]
    assert np.abs(reader.probabilities(raw) - np.stack([1 - foreground, foreground], -1)).max() < FLOAT_ROUNDING
    assert np.abs(reader.matte(raw) - (foreground if person else 1 - foreground)).max() < FLOAT_ROUNDING
    assert np.array_equal(reader.classes(raw), foreground > 0.5)


@pytest.mark.parametrize("shape", [(1, HEIGHT, WIDTH), (1, HEIGHT, WIDTH, 1)])
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "float32"])
def test_a_label_map_is_taken_as_it_is(shape: tuple[int, ...], dtype: str) -> None:
    reader = make_reader(manifest(4, "argmax", 3), tensor(shape, dtype))
    raw = np.random.default_rng(6).integers(0, 4, shape).astype(dtype)[0]
    labels = raw.reshape(HEIGHT, WIDTH)
    assert np.array_equal(reader.classes(raw), labels) and reader.classes(raw).dtype == np.uint8
    assert np.array_equal(reader.probabilities(raw), np.eye(4, dtype=np.float32)[labels.astype(int)])
    assert np.array_equal(reader.matte(raw), labels == 3)


def test_void_in_a_label_map_is_no_class() -> None:
    reader = make_reader(manifest(4, "argmax", 3), tensor((1, 1, 2), "int64"))
    assert reader.probabilities(np.array([[255, 3]])).tolist() == [[[0, 0, 0, 0], [0, 0, 0, 1]]]


def test_more_than_256_classes_need_wider_labels() -> None:
    reader = make_reader(manifest(300, "softmax"), tensor((1, 1, 1, 300), "float32"))
    raw = np.zeros((1, 1, 300), np.float32)
    raw[..., 299] = 1
    labels = reader.classes(raw)
    assert labels.dtype == np.int32 and labels.tolist() == [[299]]


@pytest.mark.parametrize("size_hw", [(1, 1), (2, 2), (4, 1), (9, 9)])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_the_first_of_equal_classes_wins(dtype: str, size_hw: tuple[int, int]) -> None:
    reader = make_reader(manifest(3, "softmax"), tensor((1, *size_hw, 3), dtype, SCALES[dtype]))
    raw = np.broadcast_to(np.array([1, 7, 7], dtype), (*size_hw, 3)).copy()
    assert np.array_equal(reader.classes(raw), np.ones(size_hw))


@pytest.mark.parametrize(
    ("classes", "activation", "shape", "dtype", "pair", "reason"),
    [
        (2, "softmax", (1, 8, 8, 21), "float32", None, "came 2 labels.*as many labels as channels"),
        (2, "softmax", (1, 8, 8, 1), "float32", None, "came 2 labels, activation softmax"),
        (1, "softmax", (1, 8, 8, 1), "float32", None, "2 labels for one channel"),
        (2, "softmax", (1, 21), "float32", None, "no map of classes.*1 x h x w x classes"),
        (2, "argmax", (1, 8, 8, 2), "float32", None, "no label map"),
        (2, "softmax", (1, 8, 8, 2), "int8", None, "no single scale"),
        (2, "softmax", (1, 8, 8, 2), "int64", None, "int64.*allowed: float32, uint8, int8, int16"),
    ],
)
def test_a_contradiction_is_one_line(
    classes: int, activation: str, shape: tuple[int, ...], dtype: str, pair: tuple[float, int] | None, reason: str
) -> None:
    with pytest.raises(ModelError, match=reason):
        make_reader(manifest(classes, activation, 0), tensor(shape, dtype, pair))
