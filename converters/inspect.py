"""What a .tflite is made of, and whether it is what the device wants: int8 throughout, in one delegate partition.

    report = inspect_model(Path("portrait.tflite"))
    report.is_fully_int8, report.partitions, report.left_overs

How a report is printed is for the command; what to refuse is for the gates.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_deeplab.converters.publish import read_metadata
from edge_deeplab.errors import ModelError
from edge_deeplab.manifest import Manifest, read_manifest
from edge_deeplab.runtime.delegates import delegation_of
from edge_deeplab.runtime.flatbuffer import OperatorRecord, TensorRecord, TfliteFile
from edge_deeplab.runtime.interpreter import engine_name
from edge_deeplab.runtime.refusals import refusals_of

REQUANTIZERS = ("QUANTIZE", "DEQUANTIZE")
# An int8 ADD's input scale over its output's, as measured on ai-edge-litert 2.3.0: XNNPACK takes what lies between
# these two and leaves the rest to the plain kernel, which aborts the process inside Prepare (SIGABRT) from 2**19 on.
SMALLEST_ADD_RATIO, LARGEST_ADD_RATIO = 2.0**-10, 2.0**8
ABORTING_ADD_RATIO = 2.0**19
_END_DTYPES = ("int8", "uint8", "float32")
_INDEX_DTYPES = ("int32", "int64")


@dataclass(frozen=True, kw_only=True)
class TensorSummary:
    """An input or output of the model.

    Attributes:
        scale, zero_point: None where it is not quantized.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True, kw_only=True)
class LeftOver:
    """An operator that keeps a model from being int8 throughout.

    Attributes:
        index: its place in the file.
        operator: e.g. HARD_SWISH.
        layer: the layer that the converter made it of.
        dtype: the offending type, or "int8 to int8" for a requantization in the middle.
    """

    index: int
    operator: str
    layer: str
    dtype: str


@dataclass(frozen=True, kw_only=True)
class OperatorRow:
    """One operator, for a table.

    Attributes:
        dtype, shape, scale, zero_point: of its first output; scale is None where that is not quantized.
        weight_dtype: of its largest constant, None where it has none.
        weight_scales: how many scales that constant has: 1 is per tensor, the number of channels per axis.
        is_delegated: None where the model did not load.
        reason: why the delegate leaves it, None where it does not.
    """

    index: int
    operator: str
    layer: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None
    weight_dtype: str | None
    weight_scales: int
    stride_hw: tuple[int, int]
    dilation_hw: tuple[int, int]
    activation: str | None
    macs: int
    is_delegated: bool | None
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class ModelReport:
    """All that inspect knows of a file.

    Attributes:
        operators: how often each operator occurs, most frequent first.
        tensor_types: how many computed tensors there are of each type; constant_types the same of constants.
        left_overs: what keeps it from being int8 throughout, in file order; empty means is_fully_int8.
        requantizers: every QUANTIZE and DEQUANTIZE, the allowed ones at the ends included.
        dilations: (height, width) by layer, of those that have one; SPACE_TO_BATCH in operators means lost ones.
        partitions: delegate nodes, None where the model did not load; undelegated: the rows outside of them.
        load_error: why the interpreter does not take the file, None when it does.
        metadata: the standard TFLite metadata as plain values.
    """

    path: str
    size_bytes: int
    sha256: str
    schema_version: int
    description: str
    engine: str
    inputs: tuple[TensorSummary, ...]
    outputs: tuple[TensorSummary, ...]
    operators: dict[str, int]
    tensor_types: dict[str, int]
    constant_types: dict[str, int]
    rows: tuple[OperatorRow, ...]
    left_overs: tuple[LeftOver, ...]
    requantizers: tuple[LeftOver, ...]
    dilations: dict[str, tuple[int, int]]
    macs: int
    partitions: int | None
    load_error: str | None
    manifest: Manifest | None
    metadata: dict[str, Any] | None

    @property
    def is_fully_int8(self) -> bool:
        """Every operator int8, with no QUANTIZE or DEQUANTIZE but one at each end."""
        return not self.left_overs

    @property
    def undelegated(self) -> tuple[OperatorRow, ...]:
        """The operators that run outside of the delegate, in file order; empty where the model did not load."""
        return tuple(row for row in self.rows if row.is_delegated is False)

    @property
    def is_fully_delegated(self) -> bool:
        """Whether one partition runs all but a QUANTIZE at each end; False where the model did not load.

        XNNPACK takes no QUANTIZE between uint8 and int8 (ai-edge-litert 2.3.0), so a file with uint8 ends keeps those
        two outside; that costs two copies of a picture, and no border inside the network.
        """
        allowed = {entry.index for entry in self.requantizers} - {entry.index for entry in self.left_overs}
        return self.partitions == 1 and all(row.index in allowed for row in self.undelegated)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the fields and the verdicts."""
        fields = dataclasses.asdict(self)
        verdicts = {"is_fully_int8": self.is_fully_int8, "is_fully_delegated": self.is_fully_delegated}
        return {**verdicts, **fields}


def inspect_model(path: Path) -> ModelReport:
    """Reads a .tflite and loads it once, first in a child process.

    A file that reads well and does not load is reported with its load_error, for its scales say why.
    Raises: ModelError when it is missing, no .tflite or damaged; MissingExtraError when no interpreter is installed.
    """
    model = TfliteFile.read(path)
    if not model.operators:
        raise ModelError(f"{path}: has no operators")
    content = path.read_bytes()
    partitions, reasons, load_error = None, None, None
    try:
        delegation = delegation_of(path)
        partitions = delegation.partitions
        reasons = {refusal.index: refusal.reason for refusal in refusals_of(path, delegation)}
    except ModelError as error:
        load_error = str(error)
    left_overs, requantizers = find_left_overs(model)
    computed = [tensor for tensor in _used_tensors(model) if not tensor.is_constant]
    constants = [tensor for tensor in _used_tensors(model) if tensor.is_constant]
    return ModelReport(
        path=str(path),
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        schema_version=model.version,
        description=model.description,
        engine=" ".join(engine_name()),
        inputs=tuple(_summary(tensor) for tensor in model.inputs),
        outputs=tuple(_summary(tensor) for tensor in model.outputs),
        operators=dict(Counter(operator.name for operator in model.operators).most_common()),
        tensor_types=dict(Counter(tensor.dtype for tensor in computed).most_common()),
        constant_types=dict(Counter(tensor.dtype for tensor in constants).most_common()),
        rows=tuple(_row(operator, reasons) for operator in model.operators),
        left_overs=left_overs,
        requantizers=requantizers,
        dilations={layer_name(o): o.dilation_hw for o in model.operators if max(o.dilation_hw) > 1},
        macs=model.macs,
        partitions=partitions,
        load_error=load_error,
        manifest=read_manifest(path),
        metadata=read_metadata(model),
    )


def layer_name(operator: OperatorRecord) -> str:
    """The layer an operator was made of: the converter joins the names of all it fused with ";", the result first."""
    return operator.layer.split(";")[0]


def find_left_overs(model: TfliteFile) -> tuple[tuple[LeftOver, ...], tuple[LeftOver, ...]]:
    """What is not int8, and every QUANTIZE and DEQUANTIZE.

    Allowed beside int8 operators: int32 biases and other integer constants; one QUANTIZE that takes the model's input
    and one QUANTIZE or DEQUANTIZE that gives its output, from and to uint8 or float32; an ARG_MAX over int8, whose
    result are indices.
    """
    left_overs, requantizers = [], []
    for operator in model.operators:
        dtype = _offending_dtype(operator)
        if operator.name in REQUANTIZERS:
            entry = _left_over(operator, _from_to(operator))
            requantizers.append(entry)
            if not _is_at_an_end(operator, model):
                left_overs.append(entry)
        elif dtype is not None:
            left_overs.append(_left_over(operator, dtype))
    if model.subgraph_count > 1:
        first = model.operators[0]
        left_overs.append(_left_over(first, f"{model.subgraph_count - 1} more subgraphs, not looked into"))
    return tuple(left_overs), tuple(requantizers)


def _left_over(operator: OperatorRecord, dtype: str) -> LeftOver:
    return LeftOver(index=operator.index, operator=operator.name, layer=layer_name(operator), dtype=dtype)


def _offending_dtype(operator: OperatorRecord) -> str | None:
    """The first type an int8 operator must not touch, None when there is none."""
    present = [tensor for tensor in operator.inputs if tensor is not None]
    read = [tensor.dtype for tensor in present if not tensor.is_constant]
    # float constants are weights that were not quantized; integer ones are biases, shapes and axes
    weights = [
        tensor.dtype for tensor in present if tensor.is_constant and tensor.dtype.startswith(("float", "bfloat"))
    ]
    made = [tensor.dtype for tensor in operator.outputs]
    if operator.name in ("ARG_MAX", "ARG_MIN"):
        made = [dtype for dtype in made if dtype not in _INDEX_DTYPES]
    return next((dtype for dtype in (*read, *weights, *made) if dtype != "int8"), None)


def _is_at_an_end(operator: OperatorRecord, model: TfliteFile) -> bool:
    taken, made = operator.inputs[0], operator.outputs[0]
    if taken is None or (taken.dtype, made.dtype) == ("int8", "int8"):
        return False
    inputs, outputs = ({tensor.index for tensor in ends} for ends in (model.inputs, model.outputs))
    is_first = taken.index in inputs and taken.dtype in _END_DTYPES and made.dtype == "int8"
    is_last = made.index in outputs and made.dtype in _END_DTYPES and taken.dtype == "int8"
    return is_first or is_last


def _from_to(operator: OperatorRecord) -> str:
    taken = operator.inputs[0]
    return f"{taken.dtype if taken is not None else 'nothing'} to {operator.outputs[0].dtype}"


def _used_tensors(model: TfliteFile) -> list[TensorRecord]:
    """Tensors that operators touch, each once; converters leave others behind."""
    touched = {
        tensor.index for operator in model.operators for tensor in (*operator.inputs, *operator.outputs) if tensor
    }
    return [tensor for tensor in model.tensors if tensor.index in touched]


def _row(operator: OperatorRecord, reasons: dict[int, str] | None) -> OperatorRow:
    made = _summary(operator.outputs[0])
    constants = [tensor for tensor in operator.inputs if tensor is not None and tensor.is_constant]
    weights = max(constants, key=lambda tensor: math.prod(tensor.shape), default=None)
    return OperatorRow(
        index=operator.index,
        operator=operator.name,
        layer=layer_name(operator),
        dtype=made.dtype,
        shape=made.shape,
        scale=made.scale,
        zero_point=made.zero_point,
        weight_dtype=None if weights is None else weights.dtype,
        weight_scales=0 if weights is None else int(weights.scales.size),
        stride_hw=operator.stride_hw,
        dilation_hw=operator.dilation_hw,
        activation=operator.activation,
        macs=operator.macs,
        is_delegated=None if reasons is None else operator.index not in reasons,
        reason=(reasons or {}).get(operator.index),
    )


def _summary(tensor: TensorRecord) -> TensorSummary:
    is_per_tensor = tensor.scales.size == 1
    return TensorSummary(
        name=tensor.name,
        shape=tensor.shape_signature,
        dtype=tensor.dtype,
        scale=float(tensor.scales[0]) if is_per_tensor else None,
        zero_point=int(tensor.zero_points[0]) if is_per_tensor else None,
    )
