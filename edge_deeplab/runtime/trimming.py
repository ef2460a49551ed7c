"""A model without its ends: what it does before its first and after its last real layer is left to the caller.

    trimmed = trim_ends(path.read_bytes())      # None where there is nothing to trim
    interpreter = Interpreter(model_content=trimmed.content)

The ends of our files are a QUANTIZE from uint8 pixels to int8 and, after the logits, a RESIZE_BILINEAR to the size of
the picture and a QUANTIZE back to uint8. XNNPACK takes neither QUANTIZE, and who works on a map smaller than the
picture need not have it enlarged: 0.4 of 3.9 ms on one thread of a Zen 4 core, 0.4 of 2.2 ms on two. What goes in and
comes out then says the trimmed model's own tensors; the numbers are the same, but for a rounding at each end.

Done in place, in the flatbuffer's vectors, because a program starts with it: packing the whole file anew through the
schema's object API takes a hundred times as long.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from edge_deeplab.errors import MissingExtraError
from edge_deeplab.runtime.flatbuffer import tflite_schema

# Fields of the schema's SubGraph by their place in a flatbuffer's vtable, which never changes.
_INPUTS, _OUTPUTS, _OPERATORS = 6, 8, 10
_OFFSET = struct.Struct("<I")
_INT32 = struct.Struct("<i")


class Trimmed(NamedTuple):
    """A model without its ends.

    Attributes:
        content: the .tflite, as many bytes as the whole one.
        enlarged_hw: height and width to which the whole model enlarges its output; None where that was not cut off.
    """

    content: bytes
    enlarged_hw: tuple[int, int] | None


def trim_ends(data: bytes) -> Trimmed | None:
    """The model without the conversion of its input and the enlargement and conversion of its output.

    data: a .tflite that an interpreter loads; anything after the flatbuffer is kept.
    Returns: None where the model has no such ends, or no schema's reader is installed.
    """
    try:
        schema = tflite_schema()
    except MissingExtraError:
        return None
    model = schema.Model.GetRootAs(data, 0)
    if model.SubgraphsLength() != 1:
        return None
    graph = _Graph(schema, model)
    first, last = 0, graph.count - 1
    source, result = graph.only_input(), graph.only_output()
    if source is None or result is None:
        return None
    if graph.reads_bytes(first, source):
        source, first = graph.output_of(first), first + 1
    if first < last and graph.writes_bytes(last, result):
        result, last = graph.input_of(last), last - 1
    enlarged_hw = None
    if first < last and graph.enlarges(last, result):
        enlarged_hw = graph.size_hw(result)
        result, last = graph.input_of(last), last - 1
    if (first, last) == (0, graph.count - 1):
        return None
    return Trimmed(graph.cut(data, first, last, source, result), enlarged_hw)


class _Graph:
    """The one subgraph of a model, and where its vectors lie in the file."""

    def __init__(self, schema: Any, model: Any) -> None:
        self._schema, self._model = schema, model
        self._graph = model.Subgraphs(0)
        self.count: int = self._graph.OperatorsLength()

    def only_input(self) -> int | None:
        return int(self._graph.Inputs(0)) if self._graph.InputsLength() == 1 else None

    def only_output(self) -> int | None:
        return int(self._graph.Outputs(0)) if self._graph.OutputsLength() == 1 else None

    def input_of(self, index: int) -> int:
        return int(self._graph.Operators(index).Inputs(0))

    def output_of(self, index: int) -> int:
        return int(self._graph.Operators(index).Outputs(0))

    def reads_bytes(self, index: int, tensor: int) -> bool:
        """Whether an operator does no more than subtract 128 from the bytes that go in, and nobody else takes them."""
        return self._shifts_by_128(index) and self.input_of(index) == tensor and self._readers(tensor, self.count) == 1

    def writes_bytes(self, index: int, tensor: int) -> bool:
        """Whether an operator does no more than add 128 to what comes out, and nobody else takes that."""
        return self._shifts_by_128(index) and self.output_of(index) == tensor and self._readers(tensor, index) == 0

    def enlarges(self, index: int, tensor: int) -> bool:
        """Whether an operator enlarges what comes out, as cv2.INTER_LINEAR does, and nobody else takes that."""
        operator = self._graph.Operators(index)
        if self._code(operator) != self._schema.BuiltinOperator.RESIZE_BILINEAR:
            return False
        table, options = operator.BuiltinOptions(), self._schema.ResizeBilinearOptions()
        if table is None or self.output_of(index) != tensor or self._readers(tensor, index) > 0:
            return False
        options.Init(table.Bytes, table.Pos)
        small_hw, large_hw = self.size_hw(self.input_of(index)), self.size_hw(tensor)
        grows = small_hw[0] <= large_hw[0] and small_hw[1] <= large_hw[1]
        return bool(options.HalfPixelCenters() and not options.AlignCorners() and grows)

    def size_hw(self, tensor: int) -> tuple[int, int]:
        """Height and width of a tensor of (batch, height, width, channels)."""
        stored = self._graph.Tensors(tensor)
        return int(stored.Shape(1)), int(stored.Shape(2))

    def cut(self, data: bytes, first: int, last: int, source: int, result: int) -> bytes:
        """The file with the operators `first` to `last` alone, between two tensors."""
        patched = bytearray(data)
        _INT32.pack_into(patched, self._vector(_INPUTS), source)
        _INT32.pack_into(patched, self._vector(_OUTPUTS), result)
        start = self._vector(_OPERATORS)
        # Each element holds how far behind it the operator lies; elements move up by `first` places.
        for place in range(last - first + 1):
            at, was = start + 4 * place, start + 4 * (place + first)
            _OFFSET.pack_into(patched, at, _OFFSET.unpack_from(data, was)[0] + was - at)
        _OFFSET.pack_into(patched, start - 4, last - first + 1)  # a vector's length stands before it
        return bytes(patched)

    def _shifts_by_128(self, index: int) -> bool:
        operator = self._graph.Operators(index)
        if self._code(operator) != self._schema.BuiltinOperator.QUANTIZE:
            return False
        kinds = {}
        for tensor in (self.input_of(index), self.output_of(index)):
            quantization = self._graph.Tensors(tensor).Quantization()
            if quantization is None or quantization.ScaleLength() != 1 or quantization.ZeroPointLength() != 1:
                return False
            kinds[self._graph.Tensors(tensor).Type()] = (quantization.Scale(0), quantization.ZeroPoint(0))
        kind = self._schema.TensorType
        if set(kinds) != {kind.UINT8, kind.INT8}:
            return False
        (scale, zero_point), (other_scale, other_zero_point) = kinds[kind.UINT8], kinds[kind.INT8]
        return bool(scale == other_scale and zero_point - other_zero_point == 128)

    def _code(self, operator: Any) -> int:
        code = self._model.OperatorCodes(operator.OpcodeIndex())
        return int(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))

    def _readers(self, tensor: int, end: int) -> int:
        """How many of the operators before `end` take a tensor in."""
        operators = [self._graph.Operators(index) for index in range(end)]
        return sum(
            operator.Inputs(place) == tensor for operator in operators for place in range(operator.InputsLength())
        )

    def _vector(self, field: int) -> int:
        """Where in the file the first element of one of the subgraph's vectors stands."""
        table = self._graph._tab
        return int(table.Vector(table.Offset(field)))
