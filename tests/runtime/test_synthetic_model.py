from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_deeplab.errors import UsageError
from edge_deeplab.runtime.delegates import delegation_of
from edge_deeplab.runtime.flatbuffer import TfliteFile
from edge_deeplab.runtime.interpreter import Engine
from edge_deeplab.runtime.synthetic_model import DTYPES, product_chain


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_chain_has_the_cost_asked_for_and_runs_in_one_partition(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "chain.tflite"
    path.write_bytes(product_chain(dtype, pixels=64, channels=32, layers=3))
    graph = TfliteFile.read(path)
    assert graph.macs == 3 * 64 * 32**2
    assert {tensor.dtype for tensor in (*graph.inputs, *graph.outputs)} == {dtype}
    assert delegation_of(path).is_complete


@pytest.mark.parametrize("dtype", DTYPES)
def test_its_products_are_true_products(tmp_path: Path, dtype: str) -> None:
    """What is timed has to be the arithmetic: held against numpy; int8 within one output step."""
    path = tmp_path / "chain.tflite"
    path.write_bytes(product_chain(dtype, pixels=16, channels=32, layers=1))
    graph = TfliteFile.read(path)
    inputs, weights, outputs = graph.inputs[0], graph.operators[0].inputs[1], graph.outputs[0]
    assert weights is not None
    random = np.random.default_rng(0)
    if dtype == "int8":
        values = random.integers(-40, 40, inputs.shape, np.int8)
        real = values * inputs.scales[0]
    else:
        real = values = random.random(inputs.shape, np.float32)
    expected = real.reshape(16, 32) @ graph.real_values(weights).reshape(32, 32).T
    with Engine(path) as engine:
        (computed,) = engine.run(values)
    if dtype == "int8":
        np.testing.assert_allclose(computed.reshape(16, 32) * outputs.scales[0], expected, atol=outputs.scales[0])
        assert computed.min() > -128 and computed.max() < 127  # nothing saturates
    else:
        np.testing.assert_allclose(computed.reshape(16, 32), expected, atol=1e-5)


def test_other_types_are_refused() -> None:
    with pytest.raises(UsageError, match="int8, float32"):
        product_chain("float16", pixels=1, channels=1, layers=1)
