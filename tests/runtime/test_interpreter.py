"""The engine over the real interpreter, and which package it is taken from."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edge_deeplab.errors import EdgeDeepLabError, MissingExtraError, ModelError, UsageError
from edge_deeplab.runtime.bundled import bundled_model
from edge_deeplab.runtime.interpreter import KERNELS, Engine, engine_name, select_engine
from edge_deeplab.runtime.quantized_values import dequantize, quantize

FLOAT_KERNELS = 1e-4  # sums of 27 products in another order
INT8_KERNELS_STEPS = 2  # output steps: two layers, each rounded once


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((1, 32, 32, 3), np.float32)


def test_tensors_say_shape_type_and_quantization(tiny_models: dict[str, Path]) -> None:
    with Engine(tiny_models["person_uint8"]) as engine:
        (source,), (output,) = engine.inputs, engine.outputs
    assert source.shape == source.signature == (1, 32, 32, 3) and source.dtype == np.uint8
    assert source.quantization is not None and source.quantization.axis is None
    assert source.quantization.scale[0] == pytest.approx(1 / 255) and source.quantization.zero_point[0] == 0
    assert output.shape == (1, 16, 16, 2) and output.dtype == np.uint8 and output.quantization is not None
    with Engine(tiny_models["person_float32"]) as engine:
        assert engine.inputs[0].quantization is None
        assert "float32 1 x 32 x 32 x 3" in str(engine.inputs[0])


@pytest.mark.parametrize("kernels", KERNELS)
def test_every_kind_of_kernels_computes_the_same(tiny_models: dict[str, Path], kernels: str) -> None:
    with Engine(tiny_models["person_float32"], kernels="reference") as engine:
        (expected,) = engine.run(picture())
    with Engine(tiny_models["person_float32"], kernels=kernels) as engine:
        assert np.abs(engine.run(picture())[0] - expected).max() < FLOAT_KERNELS
    with Engine(tiny_models["person_int8"], kernels=kernels, threads=2) as engine:
        source, output = engine.inputs[0], engine.outputs[0]
        assert source.quantization is not None and output.quantization is not None
        (raw,) = engine.run(quantize(picture(), source.quantization, source.dtype))
    with Engine(tiny_models["person_int8"], kernels="reference") as engine:
        (reference,) = engine.run(quantize(picture(), source.quantization, source.dtype))
    assert np.abs(raw.astype(int) - reference).max() <= INT8_KERNELS_STEPS
    assert np.abs(dequantize(raw, output.quantization) - expected).max() < 0.05 * np.ptp(expected)


def test_outputs_belong_to_the_caller(tiny_models: dict[str, Path]) -> None:
    with Engine(tiny_models["person_float32"]) as engine:
        (first,) = engine.run(picture(0))
        kept = first.copy()
        engine.run(picture(1))
    assert np.array_equal(first, kept)


def test_peek_shows_what_run_returns(tiny_models: dict[str, Path]) -> None:
    with Engine(tiny_models["person_float32"]) as engine:
        (expected,) = engine.run(picture())
        assert np.array_equal(engine.peek(), expected)
        engine.run(picture(1))  # a dropped view does not stand in the way


def test_several_inputs_are_given_in_order(tiny_models: dict[str, Path]) -> None:
    with Engine(tiny_models["two_inputs"]) as engine, Engine(tiny_models["person_float32"]) as single:
        assert len(engine.inputs) == 2
        (total,) = engine.run(picture(0), picture(1))
        expected = single.run(picture(0))[0] + single.run(picture(1))[0]
        assert np.abs(total - expected).max() < FLOAT_KERNELS
        with pytest.raises(ModelError, match=r"wrong number of inputs; came 1.*float32 1 x 32 x 32 x 3"):
            engine.run(picture())


@pytest.mark.parametrize("wrong", [picture().astype(np.float64), picture()[0], picture()[:, :16]])
def test_an_array_that_does_not_fit_is_refused(tiny_models: dict[str, Path], wrong: np.ndarray) -> None:
    with (
        Engine(tiny_models["person_float32"]) as engine,
        pytest.raises(ModelError, match=r"allowed: float32 \(1, 32, 32, 3\)"),
    ):
        engine.run(wrong)


def test_a_dynamic_input_takes_another_size(tiny_models: dict[str, Path]) -> None:
    with Engine(tiny_models["any_size"]) as engine:
        assert engine.inputs[0].signature == (1, -1, -1, 3)
        assert "1 x ? x ? x 3" in str(engine.inputs[0])
        engine.resize_input((1, 24, 40, 3))
        assert engine.inputs[0].shape == (1, 24, 40, 3)
        assert engine.run(np.zeros((1, 24, 40, 3), np.float32))[0].shape == (1, 12, 20, 2)


def test_a_fixed_input_refuses_another_size(tiny_models: dict[str, Path]) -> None:
    with (
        Engine(tiny_models["person_float32"]) as engine,
        pytest.raises(ModelError, match=r"cannot have another shape; came \(1, 24, 40, 3\).*1 x 32 x 32 x 3"),
    ):
        engine.resize_input((1, 24, 40, 3))


def test_closing_twice_is_harmless(tiny_models: dict[str, Path]) -> None:
    engine = Engine(tiny_models["person_float32"])
    engine.close()
    engine.close()


def test_threads_and_kernels_are_checked_before_the_file() -> None:
    with pytest.raises(UsageError, match="at least 1; came 0"):
        Engine(Path("missing.tflite"), threads=0)
    with pytest.raises(UsageError, match="auto, xnnpack, builtin, reference"):
        Engine(Path("missing.tflite"), kernels="gpu")


def test_engine_name_is_the_installed_distribution() -> None:
    name, version = engine_name()
    assert name in ("ai-edge-litert", "tflite-runtime")
    assert version[0].isdigit()


def importer(**found: ModuleType | BaseException) -> Callable[[str], ModuleType]:
    """An import function for which only some packages exist."""

    def import_module(name: str) -> ModuleType:
        result = found.get(name.split(".")[0], ModuleNotFoundError(name=name.split(".")[0]))
        if isinstance(result, BaseException):
            raise result
        return result

    return import_module


def test_ai_edge_litert_is_taken_first() -> None:
    newer, older = ModuleType("newer"), ModuleType("older")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        package = select_engine(importer(ai_edge_litert=newer, tflite_runtime=older))
    assert package.name == "ai-edge-litert" and package.module is newer


def test_tflite_runtime_is_taken_with_a_warning() -> None:
    older = ModuleType("older")
    with pytest.warns(RuntimeWarning, match="20 times slower.*pip install ai-edge-litert"):
        package = select_engine(importer(tflite_runtime=older))
    assert package.name == "tflite-runtime" and package.module is older


def test_no_interpreter_names_the_pip_line() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'edge-deeplab\[headless\]'"):
        select_engine(importer())


def test_an_interpreter_that_breaks_on_import_is_named_not_passed_over() -> None:
    older = ModuleType("older")
    with pytest.raises(EdgeDeepLabError, match="ai-edge-litert is installed and cannot be imported; came no libc"):
        select_engine(importer(ai_edge_litert=ImportError("no libc"), tflite_runtime=older))
    with pytest.raises(EdgeDeepLabError, match="lacks a package"):
        select_engine(importer(ai_edge_litert=ModuleNotFoundError("No module named 'x'", name="x")))
    with pytest.raises(EdgeDeepLabError, match="numpy<2"):
        select_engine(importer(tflite_runtime=AttributeError("_ARRAY_API not found")))


def test_loading_a_model_writes_nothing_to_the_terminal(capfd):
    with Engine(bundled_model("portrait")):
        pass
    assert capfd.readouterr() == ("", "")
    os.write(2, b"still there")
    assert capfd.readouterr().err == "still there"
