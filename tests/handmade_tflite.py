"""Small .tflite files written by hand, operator by operator, so that a test knows every number in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


@dataclass(kw_only=True)
class Tensor:
    """shape and dtype come from `values` where the tensor is a constant; shape_signature has -1 for an open size."""

    name: str
    shape: tuple[int, ...] = ()
    dtype: str = "int8"
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    axis: int = 0
    values: np.ndarray | None = None
    shape_signature: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.values is not None:
            self.shape, self.dtype = self.values.shape, str(self.values.dtype)


@dataclass(kw_only=True)
class Operator:
    """`options` is the schema's options class and its fields."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: tuple[str, dict[str, Any]] | None = None


@dataclass(kw_only=True)
class Graph:
    tensors: list[Tensor]
    operators: list[Operator]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    metadata: dict[str, bytes] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        names = [tensor.name for tensor in self.tensors]
        model, graph = schema.ModelT(), schema.SubGraphT()
        model.version, model.description = 3, "written by hand"
        model.buffers = [schema.BufferT()]
        graph.tensors = [self._tensor(tensor, model.buffers) for tensor in self.tensors]
        graph.inputs = [names.index(name) for name in self.inputs]
        graph.outputs = [names.index(name) for name in self.outputs]
        kinds = sorted({operator.name for operator in self.operators})
        model.operatorCodes = []
        for kind in kinds:
            code = schema.OperatorCodeT()
            code.builtinCode = getattr(schema.BuiltinOperator, kind)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            # versions that know int8; the newest kernels of these operators still take them
            code.version = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "ADD": 2, "QUANTIZE": 1, "DEQUANTIZE": 2}.get(kind, 1)
            model.operatorCodes.append(code)
        graph.operators = [self._operator(operator, kinds, names) for operator in self.operators]
        model.subgraphs = [graph]
        model.metadata = []
        for name, content in self.metadata.items():
            entry = schema.MetadataT()
            entry.name, entry.buffer = name, len(model.buffers)
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.frombuffer(content, np.uint8)
            model.metadata.append(entry)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def _tensor(self, tensor: Tensor, buffers: list[Any]) -> Any:
        record = schema.TensorT()
        record.name, record.shape = tensor.name, list(tensor.shape)
        record.type = getattr(schema.TensorType, tensor.dtype.upper())
        if tensor.shape_signature:
            record.shapeSignature = list(tensor.shape_signature)
        if tensor.values is not None:
            record.buffer = len(buffers)
            buffers.append(schema.BufferT())
            buffers[-1].data = np.frombuffer(tensor.values.tobytes(), np.uint8)
        if tensor.scales:
            record.quantization = schema.QuantizationParametersT()
            record.quantization.scale = np.array(tensor.scales, np.float32)
            record.quantization.zeroPoint = np.array(tensor.zero_points or [0] * len(tensor.scales), np.int64)
            record.quantization.quantizedDimension = tensor.axis
        return record

    def _operator(self, operator: Operator, kinds: list[str], names: list[str]) -> Any:
        record = schema.OperatorT()
        record.opcodeIndex = kinds.index(operator.name)
        record.inputs = [names.index(name) for name in operator.inputs]
        record.outputs = [names.index(name) for name in operator.outputs]
        if operator.options is not None:
            kind, fields = operator.options
            record.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            record.builtinOptions = getattr(schema, f"{kind}T")()
            for name, value in fields.items():
                setattr(record.builtinOptions, name, value)
        return record


CONV = ("Conv2DOptions", {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1})


def bright_segmenter(size_hw: tuple[int, int] = (32, 32), *, io: str = "int8") -> Graph:
    """Two classes: what is brighter than mid-grey is class 1. int8 inside; `io` is the type at both ends.

    Pixels are real 0..1; the logits are -4 (mean - 0.5) and 4 (mean - 0.5), times 2, with mean over red, green, blue.
    """
    height, width = size_hw
    pixel, weight, logit = 1 / 255, 8 / 3 / 127, 8 / 255
    kernel = np.array([[[[-127] * 3]], [[[127] * 3]]], np.int8)  # (out, h, w, in)
    bias = np.round(np.array([4, -4]) / (pixel * weight)).astype(np.int32)
    tensors = [
        Tensor(name="image", shape=(1, height, width, 3), scales=(pixel,), zero_points=(-128,)),
        Tensor(name="kernel", values=kernel, scales=(weight, weight), zero_points=(0, 0)),
        Tensor(name="bias", values=bias, scales=(pixel * weight,) * 2, zero_points=(0, 0)),
        Tensor(name="net/logits;net/logits/BiasAdd", shape=(1, height, width, 2), scales=(logit,), zero_points=(0,)),
    ]
    logits = tensors[-1].name
    operators = [Operator(name="CONV_2D", inputs=("image", "kernel", "bias"), outputs=(logits,), options=CONV)]
    if io == "int8":
        return Graph(tensors=tensors, operators=operators, inputs=("image",), outputs=(logits,))
    is_float = io == "float32"
    picture = Tensor(name="picture", shape=(1, height, width, 3), dtype=io)
    maps = Tensor(name="maps", shape=(1, height, width, 2), dtype=io)
    if not is_float:
        picture.scales, picture.zero_points = (pixel,), (0,)
        maps.scales, maps.zero_points = (logit,), (128,)
    first = Operator(name="QUANTIZE", inputs=("picture",), outputs=("image",), options=("QuantizeOptions", {}))
    kind, options = ("DEQUANTIZE", "DequantizeOptions") if is_float else ("QUANTIZE", "QuantizeOptions")
    last = Operator(name=kind, inputs=(logits,), outputs=("maps",), options=(options, {}))
    return Graph(
        tensors=[*tensors, picture, maps], operators=[first, *operators, last], inputs=("picture",), outputs=("maps",)
    )
