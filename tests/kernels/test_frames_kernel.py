"""A model's two logits made a matte in C: what the float path makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab import kernels
from edge_deeplab.manifest import Manifest
from edge_deeplab.runtime.class_maps import EnlargingReader
from edge_deeplab.runtime.interpreter import TensorInfo
from edge_deeplab.runtime.quantized_values import Quantization

pytestmark = pytest.mark.skipif(not kernels.compiled(), reason="no compiler was there at installation")

EPSILON = float(np.finfo(np.float32).eps)


def rounding(scale: float) -> float:
    """What the float path loses: it rounds differences of up to 255 steps to float32 a few times, and what follows."""
    return (255 * scale + 4) * EPSILON


def reader(shape_hw: tuple[int, int], dtype: type, person: int, scale: float, zero_point: int) -> EnlargingReader:
    shape = (1, *shape_hw, 2)
    output = TensorInfo("logits", shape, shape, np.dtype(dtype), Quantization.per_tensor(scale, zero_point))
    labels = ("background", "person") if person == 1 else ("person", "background")
    manifest = Manifest(name="pair", labels=labels, person_class=person, size_hw=(64, 64), activation="softmax")
    return EnlargingReader(manifest, output, (2 * shape_hw[0], 2 * shape_hw[1]))


@settings(max_examples=100, deadline=None)
@given(
    shape_hw=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    dtype=st.sampled_from([np.int8, np.uint8]),
    person=st.integers(0, 1),
    scale=st.floats(0.001, 8),
    seed=st.integers(0, 2**16),
)
def test_the_matte_is_that_of_the_float_path(
    shape_hw: tuple[int, int], dtype: type, person: int, scale: float, seed: int
) -> None:
    limits = np.iinfo(dtype)
    raw = np.random.default_rng(seed).integers(limits.min, limits.max + 1, (*shape_hw, 2), dtype)
    read = reader(shape_hw, dtype, person, scale, int(raw.flat[0]))
    compiled = read.matte(raw)
    with kernels.opencv_only():
        expected = read.matte(raw)
    assert compiled.shape == expected.shape and compiled.dtype == np.float32
    assert np.abs(compiled - expected).max() <= rounding(scale)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_the_widest_differences_are_in_the_table(dtype: type) -> None:
    limits = np.iinfo(dtype)
    raw = np.zeros((3, 4, 2), dtype)
    raw[..., 0], raw[..., 1] = limits.min, limits.max
    read = reader((3, 4), dtype, 1, 0.1, 0)
    assert read.matte(raw).min() > 1 - rounding(0.1)
    assert read.matte(np.ascontiguousarray(raw[..., ::-1])).max() < rounding(0.1)


def test_what_does_not_fit_is_refused() -> None:
    native = kernels.native()
    assert native is not None
    logits, table, matte = np.zeros((3, 4, 2), np.uint8), np.zeros((1, 8161), np.float32), np.zeros((6, 8), np.float32)
    native.decode_twice_as_large(logits, table, matte, 1, True)
    with pytest.raises(ValueError, match="table"):
        native.decode_twice_as_large(logits, table[:, :-1], matte, 1, True)
    with pytest.raises(ValueError, match="matte"):
        native.decode_twice_as_large(logits, table, matte[:5], 1, True)
    with pytest.raises(ValueError, match="person"):
        native.decode_twice_as_large(logits, table, matte, 2, True)
    with pytest.raises(ValueError, match="logits"):
        native.decode_twice_as_large(np.zeros((3, 4, 3), np.uint8), table, matte, 1, True)
