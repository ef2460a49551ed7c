"""Reads what a .tflite file holds, without running it: operators, tensors, constants, metadata.

Nothing here starts an interpreter or writes a file. The flatbuffer schema's reader comes with ai-edge-litert.

    model = TfliteFile.read(Path("portrait.tflite"))
    [operator.name for operator in model.operators]
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edge_deeplab.errors import MissingExtraError, ModelError

IDENTIFIER = b"TFL3"
# A flatbuffer has no checksum: a damaged one is noticed when an offset in it leads out of the file.
_DAMAGE = (struct.error, LookupError, ValueError, TypeError, UnicodeDecodeError, OverflowError, AttributeError)


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorRecord:
    """One tensor of the graph.

    Attributes:
        shape: as stored; a dimension not fixed reads 1 there and -1 in shape_signature.
        dtype: the schema's name in lower case, which is numpy's wherever numpy has the type.
        scales, zero_points: one entry (per tensor), one per slice of `axis`, or none (not quantized);
            real = scale * (stored - zero_point).
        buffer: the index of its buffer; buffer 0 and empty ones belong to what is computed, not stored.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...]
    dtype: str
    scales: np.ndarray
    zero_points: np.ndarray
    axis: int
    buffer: int
    is_constant: bool
    is_sparse: bool

    @property
    def is_quantized(self) -> bool:
        """Whether stored values stand for real ones by scale and zero point."""
        return self.scales.size > 0


@dataclass(frozen=True, kw_only=True)
class OperatorRecord:
    """One operator of the graph, in the order of execution.

    Attributes:
        name: the schema's name, e.g. CONV_2D; CUSTOM:code for a custom operator.
        layer: the name of its first output tensor, which the converter takes from the network's layer.
        inputs: None stands for an optional input left out.
        stride_hw, dilation_hw: (1, 1) where the operator has none.
        padding: "SAME", "VALID" or None.
        activation: the fused one, e.g. RELU6, or None.
        macs: multiply-adds of convolutions and matrix products at the stored shapes; 0 for all else.
        options: the numbers and switches of the schema's options table under its own names, e.g.
            {"alignCorners": False, "halfPixelCenters": True}; enumerations as their numbers.
    """

    index: int
    name: str
    layer: str
    inputs: tuple[TensorRecord | None, ...]
    outputs: tuple[TensorRecord, ...]
    stride_hw: tuple[int, int] = (1, 1)
    dilation_hw: tuple[int, int] = (1, 1)
    padding: str | None = None
    activation: str | None = None
    macs: int = 0
    options: dict[str, int | float] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class TfliteFile:
    """The main subgraph of a .tflite file, read into plain records.

    Attributes:
        source: the path, or another name for messages.
        version: the schema version (3 for all files of today).
        subgraph_count: more than one where the graph has control flow; records are of the first alone.
        metadata_names: names in the model's metadata table, e.g. TFLITE_METADATA.
    """

    source: str
    version: int
    description: str
    subgraph_count: int
    tensors: tuple[TensorRecord, ...]
    operators: tuple[OperatorRecord, ...]
    inputs: tuple[TensorRecord, ...]
    outputs: tuple[TensorRecord, ...]
    metadata_buffers: dict[str, int]
    _model: Any = field(repr=False)
    _data: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> TfliteFile:
        """Reads a file. Raises ModelError when it is missing, no .tflite, or damaged."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path}: cannot be read", came=error.strerror, allowed="a .tflite file") from error
        return cls.from_bytes(data, source=str(path))

    @classmethod
    def from_bytes(cls, data: bytes, *, source: str = "model") -> TfliteFile:
        """Reads a model held in memory; `source` names it in messages. Raises as `read` does."""
        if data[4:8] != IDENTIFIER:
            came = "an empty file" if not data else f"a file that begins with {data[:8]!r}"
            raise ModelError(f"{source}: no .tflite file", came=came, allowed="a flatbuffer with the identifier TFL3")
        try:
            return _read_model(data, source)
        except _DAMAGE as error:
            raise ModelError(
                f"{source}: a damaged .tflite file", came=f"{type(error).__name__} while reading it",
                next_step="copy or convert it again",
            ) from error  # fmt: skip

    @property
    def metadata_names(self) -> tuple[str, ...]:
        """The names in the model's metadata table, in file order."""
        return tuple(self.metadata_buffers)

    @cached_property
    def macs(self) -> int:
        """Multiply-adds of one inference at the stored shapes."""
        return sum(operator.macs for operator in self.operators)

    @cached_property
    def made_by(self) -> dict[int, OperatorRecord]:
        """Index of a computed tensor -> the operator that gives it."""
        return {record.index: operator for operator in self.operators for record in operator.outputs}

    def constant_input(self, operator: OperatorRecord, position: int) -> TensorRecord:
        """A constant input, looked up through the DEQUANTIZE that float16 files put before it.

        Raises: ModelError when the operator has none there, or it is computed.
        """
        tensor = operator.inputs[position]
        while tensor is not None and not tensor.is_constant:
            maker = self.made_by.get(tensor.index)
            if maker is None or maker.name != "DEQUANTIZE":
                raise ModelError(f"{self.source}: {operator.layer} has weights that are computed, not stored")
            tensor = maker.inputs[0]
        if tensor is None:
            raise ModelError(f"{self.source}: {operator.layer} has no weights")
        return tensor

    def metadata(self, name: str) -> bytes | None:
        """The content of a metadata entry, None when there is no such name."""
        index = self.metadata_buffers.get(name)
        return None if index is None else self._buffer(index).tobytes()

    def stored_values(self, tensor: TensorRecord) -> np.ndarray:
        """The constant as stored, of the tensor's shape and dtype. Raises ModelError when it is no constant."""
        if not tensor.is_constant:
            raise ModelError(f"{self.source}: tensor {tensor.name} holds no constant")
        if tensor.is_sparse or tensor.dtype not in _NUMPY_TYPES:
            kind = "sparse" if tensor.is_sparse else tensor.dtype
            raise ModelError(f"{self.source}: constant {tensor.name} cannot be read", came=kind, allowed=_READABLE)
        raw = self._buffer(tensor.buffer)
        count = math.prod(tensor.shape)
        if tensor.dtype == "int4":  # two per byte, the low half first
            halves = np.stack([raw << 4, raw], axis=-1).reshape(-1).view(np.int8) >> 4
            values = halves[:count]
        else:
            values = raw.view(_NUMPY_TYPES[tensor.dtype])
        if values.size != count:
            raise ModelError(
                f"{self.source}: constant {tensor.name} is cut off", came=f"{values.size} values", allowed=count
            )
        return values.reshape(tensor.shape)

    def real_values(self, tensor: TensorRecord) -> np.ndarray:
        """The constant as the real numbers it stands for, float32, of the tensor's shape."""
        stored = self.stored_values(tensor)
        if not tensor.is_quantized:
            return stored.astype(np.float32)
        spread = [1] * stored.ndim
        if tensor.scales.size > 1:
            spread[tensor.axis] = tensor.scales.size
        shifted = stored.astype(np.float64) - tensor.zero_points.reshape(spread)
        return (shifted * tensor.scales.reshape(spread)).astype(np.float32)

    def _buffer(self, index: int) -> np.ndarray:
        """The bytes of a buffer, (n,) uint8; those of models over 2 GB lie behind the flatbuffer."""
        buffer = self._model.Buffers(index)
        if buffer.Offset() > 1:
            return np.frombuffer(self._data, np.uint8, buffer.Size(), buffer.Offset())
        if buffer.DataLength() == 0:
            return np.zeros(0, np.uint8)
        return buffer.DataAsNumpy()


_NUMPY_TYPES: dict[str, type] = {
    "float32": np.float32, "float16": np.float16, "float64": np.float64, "bool": np.bool_,
    "int4": np.int8, "int8": np.int8, "int16": np.int16, "int32": np.int32, "int64": np.int64,
    "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32, "uint64": np.uint64,
}  # fmt: skip
_READABLE = "a dense constant of " + ", ".join(_NUMPY_TYPES)


def tflite_schema() -> ModuleType:
    """The generated reader of TFLite's schema, a part of ai-edge-litert that needs flatbuffers alone."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise MissingExtraError("ai-edge-litert", extra="headless", purpose="reading a .tflite file's graph") from error
    return schema_py_generated


@cache
def _names(enumeration: str) -> dict[int, str]:
    """Value to name of one of the schema's enumerations."""
    members = vars(getattr(tflite_schema(), enumeration))
    return {value: name for name, value in members.items() if isinstance(value, int)}


def _read_model(data: bytes, source: str) -> TfliteFile:
    model = tflite_schema().Model.GetRootAs(data, 0)
    if model.SubgraphsLength() < 1:
        raise ValueError("no subgraph")
    graph = model.Subgraphs(0)
    tensors = tuple(_read_tensor(model, graph.Tensors(i), i) for i in range(graph.TensorsLength()))
    codes = [_operator_name(model.OperatorCodes(i)) for i in range(model.OperatorCodesLength())]
    operators = tuple(_read_operator(graph.Operators(i), i, codes, tensors) for i in range(graph.OperatorsLength()))
    entries = [model.Metadata(i) for i in range(model.MetadataLength())]
    return TfliteFile(
        source=source,
        version=model.Version(),
        description=(model.Description() or b"").decode(),
        subgraph_count=model.SubgraphsLength(),
        tensors=tensors,
        operators=operators,
        inputs=tuple(tensors[graph.Inputs(i)] for i in range(graph.InputsLength())),
        outputs=tuple(tensors[graph.Outputs(i)] for i in range(graph.OutputsLength())),
        metadata_buffers={(entry.Name() or b"").decode(): entry.Buffer() for entry in entries},
        _model=model,
        _data=data,
    )


def _operator_name(code: Any) -> str:
    # Codes up to 127 were once stored in the deprecated field alone; the schema says to take the larger one.
    name = _names("BuiltinOperator")[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
    return f"CUSTOM:{(code.CustomCode() or b'').decode()}" if name == "CUSTOM" else name


def _read_tensor(model: Any, tensor: Any, index: int) -> TensorRecord:
    quantization = tensor.Quantization()
    is_quantized = quantization is not None and quantization.ScaleLength() > 0
    shape = _integers(tensor, "Shape")
    buffer = model.Buffers(tensor.Buffer())
    return TensorRecord(
        index=index,
        name=(tensor.Name() or b"").decode(),
        shape=shape,
        shape_signature=_integers(tensor, "ShapeSignature") or shape,
        dtype=_names("TensorType")[tensor.Type()].lower(),
        scales=quantization.ScaleAsNumpy() if is_quantized else np.zeros(0, np.float32),
        zero_points=_zero_points(quantization) if is_quantized else np.zeros(0, np.int64),
        axis=quantization.QuantizedDimension() if is_quantized else 0,
        buffer=tensor.Buffer(),
        is_constant=buffer.DataLength() > 0 or buffer.Offset() > 1,
        is_sparse=tensor.Sparsity() is not None,
    )


def _zero_points(quantization: Any) -> np.ndarray:
    """One zero point per scale: files of symmetric weights may leave them out."""
    if quantization.ZeroPointLength() == 0:
        return np.zeros(quantization.ScaleLength(), np.int64)
    return quantization.ZeroPointAsNumpy()


def _integers(table: Any, name: str) -> tuple[int, ...]:
    """A vector of a schema table as a tuple of int, empty when it is left out."""
    get = getattr(table, name)
    return tuple(int(get(i)) for i in range(getattr(table, f"{name}Length")()))


def _read_operator(operator: Any, index: int, codes: list[str], tensors: tuple[TensorRecord, ...]) -> OperatorRecord:
    name = codes[operator.OpcodeIndex()]
    inputs = tuple(tensors[i] if i >= 0 else None for i in _integers(operator, "Inputs"))
    outputs = tuple(tensors[i] for i in _integers(operator, "Outputs"))
    options = _options(operator)
    padding = _option(options, "Padding")
    activation = _names("ActivationFunctionType").get(_option(options, "FusedActivationFunction") or 0)
    return OperatorRecord(
        index=index,
        name=name,
        layer=outputs[0].name if outputs else "",
        inputs=inputs,
        outputs=outputs,
        stride_hw=(_option(options, "StrideH") or 1, _option(options, "StrideW") or 1),
        dilation_hw=(_option(options, "DilationHFactor") or 1, _option(options, "DilationWFactor") or 1),
        padding=None if padding is None else _names("Padding").get(padding),
        activation=None if activation == "NONE" else activation,
        macs=_macs(name, inputs, outputs),
        options=_numbers(options),
    )


def _numbers(options: Any) -> dict[str, int | float]:
    """Every scalar of an options table by its name in the schema's object API."""
    if options is None:
        return {}
    fields = vars(getattr(tflite_schema(), f"{type(options).__name__}T").InitFromObj(options))
    return {name: value for name, value in fields.items() if isinstance(value, (int, float))}


def _options(operator: Any) -> Any:
    """The operator's options as their schema class, None when it has none."""
    kind = _names("BuiltinOptions").get(operator.BuiltinOptionsType(), "NONE")
    table = operator.BuiltinOptions()
    if kind == "NONE" or table is None:
        return None
    options = getattr(tflite_schema(), kind)()
    options.Init(table.Bytes, table.Pos)
    return options


def _option(options: Any, name: str) -> int | None:
    read = getattr(options, name, None)
    return None if read is None else int(read())


def _macs(name: str, inputs: tuple[TensorRecord | None, ...], outputs: tuple[TensorRecord, ...]) -> int:
    """Multiply-adds, border pixels counted as full ones (the field's convention)."""
    if not outputs or len(inputs) < 2 or inputs[1] is None:
        return 0
    made, weights = math.prod(outputs[0].shape), inputs[1].shape
    if name == "CONV_2D":  # weights (out, kh, kw, in of the group)
        return made * math.prod(weights[1:])
    if name == "DEPTHWISE_CONV_2D":  # weights (1, kh, kw, out)
        return made * math.prod(weights[1:3])
    if name == "FULLY_CONNECTED":  # weights (out, in)
        return made * weights[-1]
    if name == "BATCH_MATMUL" and inputs[0] is not None and outputs[0].shape[-1]:
        # (.., n, k) x (.., k, m): k follows from the left factor's size whichever way it is transposed
        return math.prod(inputs[0].shape) * outputs[0].shape[-1]
    if name == "TRANSPOSE_CONV" and len(inputs) > 2 and inputs[2] is not None:  # weights (out, kh, kw, in)
        return math.prod(inputs[2].shape) * math.prod(weights[:3])
    return 0
