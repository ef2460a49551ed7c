"""Small real models, converted once for all tests of the runtime: two convolutions, 32 x 32 in, 16 x 16 out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SIZE = 32
OUTPUT = 16


def _network(classes: int, seed: int = 0) -> Callable[[Any], Any]:
    import tensorflow as tf

    random = np.random.default_rng(seed)
    first = tf.constant(random.normal(0, 0.4, (3, 3, 3, 8)), tf.float32)
    last = tf.constant(random.normal(0, 0.8, (1, 1, 8, classes)), tf.float32)

    def call(image: Any) -> Any:
        hidden = tf.nn.relu(tf.nn.conv2d(image - 0.5, first, 2, "SAME"))
        return tf.nn.conv2d(hidden, last, 1, "SAME")

    return call


def _convert(call: Callable[..., Any], shapes: list[tuple[int | None, ...]], *, io: str | None = None) -> bytes:
    """Converts a function of float inputs; io None leaves it float, else int8 inside and `io` at the ends."""
    import tensorflow as tf

    function = tf.function(call, input_signature=[tf.TensorSpec(shape, tf.float32) for shape in shapes])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], tf.Module())
    if io is not None:
        random = np.random.default_rng(1)

        def samples() -> Any:
            for _ in range(4):
                batch = [random.random(shape, np.float32) for shape in shapes]
                for array in batch:
                    array.flat[0], array.flat[1] = 0, 1  # the whole range, so that the input's scale is 1/255
                yield batch

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = getattr(tf, io)
    return bytes(converter.convert())


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Paths by name: person_float32, person_uint8, person_int8 (2 classes), street_int8 (5), street_argmax (labels),
    foreground_uint8 (1 channel after a sigmoid), any_size (height and width dynamic), two_inputs, wide_float32
    (batch 2), add_int8 (one ADD).
    """
    tf = pytest.importorskip("tensorflow")
    picture = (1, SIZE, SIZE, 3)
    person, street, foreground = _network(2), _network(5, seed=1), _network(1, seed=2)
    recipes: dict[str, tuple[Callable[..., Any], list[tuple[int | None, ...]], str | None]] = {
        "person_float32": (person, [picture], None),
        "person_uint8": (person, [picture], "uint8"),
        "person_int8": (person, [picture], "int8"),
        "street_int8": (street, [picture], "int8"),
        "street_argmax": (lambda image: tf.argmax(street(image), axis=-1), [picture], None),
        "foreground_uint8": (lambda image: tf.sigmoid(foreground(image)), [picture], "uint8"),
        "any_size": (person, [(1, None, None, 3)], None),
        "two_inputs": (lambda a, b: person(a) + person(b), [picture, picture], None),
        "wide_float32": (person, [(2, SIZE, SIZE, 3)], None),
        "add_int8": (lambda a, b: a + b, [picture, picture], "int8"),
    }
    folder = tmp_path_factory.mktemp("tiny_models")
    paths = {}
    for name, (call, shapes, io) in recipes.items():
        paths[name] = folder / f"{name}.tflite"
        paths[name].write_bytes(_convert(call, shapes, io=io))
    return paths


@pytest.fixture(scope="session")
def aborting_model(tiny_models: dict[str, Path]) -> Path:
    """A real int8 ADD whose input scales are 10**6 times its output's: the interpreter aborts the process in Prepare.

    Its kernel checks that 2 * input scale / (2**20 * output scale) is below 1.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(tiny_models["add_int8"].read_bytes(), 0)
    graph = model.subgraphs[0]
    for index in graph.inputs:
        graph.tensors[index].quantization.scale = [1.0]
    graph.tensors[graph.outputs[0]].quantization.scale = [1e-6]
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    path = tiny_models["add_int8"].with_name("aborting.tflite")
    path.write_bytes(bytes(builder.Output()))
    return path
