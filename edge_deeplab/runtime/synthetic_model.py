"""A .tflite made of nothing but large matrix products, to see what an engine can reach on a machine.

    data = product_chain("int8", pixels=1024, channels=256, layers=4)

Each layer is a 1 x 1 convolution of `channels` to `channels`: the form in which DeepLab spends most of its
multiply-adds, and the one that engines do best.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_deeplab.errors import UsageError
from edge_deeplab.runtime.flatbuffer import tflite_schema
from edge_deeplab.runtime.rewrite import constant_buffer, pack_model

DTYPES = ("int8", "float32")
_ACTIVATION_SCALE, _WEIGHT_SCALE = 0.05, 0.002  # real products stay within the range of the next layer


def product_chain(dtype: str, *, pixels: int, channels: int, layers: int) -> bytes:
    """A model of `layers` convolutions on (1, 1, pixels, channels), all of one type; weights are seeded noise.

    Returns: the file's bytes; layers * pixels * channels ** 2 multiply-adds.
    Raises: UsageError for a type that is not one of DTYPES; MissingExtraError where the engine brings no schema.
    """
    if dtype not in DTYPES:
        raise UsageError("unknown type of matrix products", came=dtype, allowed=", ".join(DTYPES))
    schema = tflite_schema()
    random = np.random.default_rng(0)
    model, graph, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 3 if dtype == "int8" else 1
    model.version, model.description, model.operatorCodes = 3, "matrix products", [code]
    model.buffers = [constant_buffer(None)]
    graph.tensors, graph.operators = [], []

    def tensor(name: str, shape: tuple[int, ...], kind: str, scales: list[float], values: np.ndarray | None) -> int:
        record = schema.TensorT()
        record.name, record.shape, record.type = name, list(shape), getattr(schema.TensorType, kind.upper())
        if values is not None:
            record.buffer = len(model.buffers)
            model.buffers.append(constant_buffer(values))
        if dtype == "int8":
            record.quantization = schema.QuantizationParametersT()
            record.quantization.scale = np.array(scales, np.float32)
            record.quantization.zeroPoint = np.zeros(len(scales), np.int64)
        graph.tensors.append(record)
        return len(graph.tensors) - 1

    shape = (1, 1, pixels, channels)
    last = first = tensor("input", shape, dtype, [_ACTIVATION_SCALE], None)
    for layer in range(layers):
        weights = random.integers(-127, 128, (channels, 1, 1, channels), np.int8)
        bias = np.zeros(channels, np.int32)
        if dtype == "float32":
            weights, bias = (weights * np.float32(_WEIGHT_SCALE)).astype(np.float32), bias.astype(np.float32)
        inputs = [
            last,
            tensor(f"weights_{layer}", weights.shape, dtype, [_WEIGHT_SCALE] * channels, weights),
            tensor(f"bias_{layer}", bias.shape, str(bias.dtype), [_ACTIVATION_SCALE * _WEIGHT_SCALE] * channels, bias),
        ]
        last = tensor(f"output_{layer}", shape, dtype, [_ACTIVATION_SCALE], None)
        graph.operators.append(_convolution(schema, inputs, last))
    graph.inputs, graph.outputs = [first], [last]
    model.subgraphs = [graph]
    return pack_model(model)


def _convolution(schema: Any, inputs: list[int], output: int) -> Any:
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = inputs, [output]
    operator.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    operator.builtinOptions = schema.Conv2DOptionsT()
    operator.builtinOptions.strideH = operator.builtinOptions.strideW = 1
    operator.builtinOptions.dilationHFactor = operator.builtinOptions.dilationWFactor = 1
    operator.builtinOptions.padding = schema.Padding.VALID
    return operator
