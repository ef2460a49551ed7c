"""What an int8 file must be before it is called one; every miss named by operator and layer.

    require_int8(Path("portrait.tflite"), io="uint8")      # returns, or raises ConversionError

The goal form: every operator int8, no QUANTIZE or DEQUANTIZE but one at each end where the ends are not int8, no
SPACE_TO_BATCH, one XNNPACK delegate, and no scale on which the interpreter would abort the process.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_deeplab.errors import ConversionError
from edge_deeplab.runtime.delegates import delegation_of
from edge_deeplab.runtime.flatbuffer import OperatorRecord, TensorRecord, TfliteFile

# XNNPACK's ADD asserts on a larger ratio of input to output scale inside Prepare: SIGABRT, no exception.
LARGEST_ADD_RATIO = 256.0
BOUNDARY = {"QUANTIZE", "DEQUANTIZE"}
BATCH_MOVES = {"SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE"}
PER_CHANNEL = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}
# What a tensor that is neither real nor a picture's feature may be: indices, shapes, biases, labels.
INTEGERS = {"int8", "int32", "int64", "bool"}


@dataclass(frozen=True)
class Finding:
    """One thing that keeps a file from being full int8.

    Attributes:
        operator: TFLite's name, e.g. CONV_2D.
        layer: the network's layer, as the file has it.
        problem: what is wrong with it.
    """

    operator: str
    layer: str
    problem: str

    def __str__(self) -> str:
        return f"{self.operator} of layer {self.layer}: {self.problem}"


def layer_name(tensor_name: str) -> str:
    """The Keras layer behind a tensor name of the converter.

    layer_name("net/quant_stem_act/Relu6;net/quant_stem_bn/FusedBatchNormV3") == "stem_act"
    """
    first = tensor_name.split(";")[0]
    parts = first.split("/")
    for part in parts:
        if part.startswith("quant_"):
            return part.removeprefix("quant_")
    if len(parts) < 2:
        return first
    kept = parts[1:] if re.match(r"(StatefulPartitionedCall|model|functional)", parts[0]) or len(parts) > 2 else parts
    return kept[0] if len(kept) > 1 else "/".join(parts)


def _is_real(tensor: TensorRecord) -> bool:
    return tensor.dtype.startswith("float")


def _boundary_finding(operator: OperatorRecord, file: TfliteFile, io: str) -> Finding | None:
    source, target = operator.inputs[0], operator.outputs[0]
    at_input = source is not None and any(source.index == tensor.index for tensor in file.inputs)
    at_output = any(target.index == tensor.index for tensor in file.outputs)
    if io != "int8" and (at_input or at_output):
        return None
    kinds = f"{source.dtype if source else '?'} to {target.dtype}"
    return Finding(operator.name, layer_name(operator.layer), f"left over between operators ({kinds})")


def _kernel_finding(operator: OperatorRecord, *, wants_per_channel: bool) -> Finding | None:
    axis = PER_CHANNEL.get(operator.name)
    kernel = operator.inputs[1] if axis is not None and len(operator.inputs) > 1 else None
    if kernel is None or axis is None or not wants_per_channel:
        return None
    channels = kernel.shape[axis]
    if channels > 1 and kernel.scales.size != channels:
        problem = f"its kernel has {kernel.scales.size} scale for {channels} channels"
        return Finding(operator.name, layer_name(operator.layer), problem)
    return None


def _scale_finding(operator: OperatorRecord) -> Finding | None:
    if operator.name not in {"ADD", "SUB"}:
        return None
    output = float(operator.outputs[0].scales[0]) if operator.outputs[0].scales.size else 0.0
    for tensor in operator.inputs:
        if tensor is None or not tensor.scales.size or output <= 0:
            continue
        ratio = float(tensor.scales[0]) / output
        if not 1 / LARGEST_ADD_RATIO <= ratio <= LARGEST_ADD_RATIO:
            problem = f"an input's scale is {ratio:.3g} times its output's; the interpreter aborts outside 1/256..256"
            return Finding(operator.name, layer_name(operator.layer), problem)
    return None


def _operator_finding(operator: OperatorRecord) -> Finding | None:
    name, layer = operator.name, layer_name(operator.layer)
    if name in BATCH_MOVES:
        return Finding(name, layer, "a dilation was not kept in its convolution; convert with a fixed batch of 1")
    if name.startswith("CUSTOM:") or name.startswith("Flex"):
        return Finding(name, layer, "no TFLite builtin")
    tensors = [tensor for tensor in (*operator.inputs, *operator.outputs) if tensor is not None]
    if any(_is_real(tensor) for tensor in operator.outputs):
        return Finding(name, layer, "computed in float")
    if any(_is_real(tensor) for tensor in tensors):
        return Finding(name, layer, "an input is float")
    other = [tensor.dtype for tensor in tensors if tensor.dtype not in INTEGERS]
    if other:
        return Finding(name, layer, f"works on {other[0]}")
    return None


def int8_findings(file: TfliteFile, *, io: str, wants_per_channel: bool = True) -> tuple[Finding, ...]:
    """Everything that keeps a file from the goal form, in the operators' order; empty for a good one.

    Args:
        io: what its ends should be, "int8", "uint8" or "float32".
        wants_per_channel: also holds kernels against one scale per channel.
    """
    found: list[Finding] = []
    for tensor, end in ((file.inputs[0], "input"), (file.outputs[0], "output")):
        if tensor.dtype != io:
            found.append(Finding("MODEL", tensor.name, f"its {end} is {tensor.dtype}, asked was {io}"))
    for operator in file.operators:
        if operator.name in BOUNDARY:
            finding = _boundary_finding(operator, file, io)
        else:
            finding = (
                _operator_finding(operator)
                or _kernel_finding(operator, wants_per_channel=wants_per_channel)
                or _scale_finding(operator)
            )
        if finding is not None:
            found.append(finding)
    return tuple(found)


def input_is_exact(file: TfliteFile) -> bool:
    """True when an int8 file's first scale makes int8 = uint8 - 128: scale 1/255 and zero point -128, range 0..1."""
    tensor = file.inputs[0]
    if not tensor.scales.size:
        return False
    zero_point = {"int8": -128, "uint8": 0}.get(tensor.dtype)
    return zero_point == int(tensor.zero_points[0]) and bool(np.isclose(tensor.scales[0], 1 / 255, rtol=1e-5))


def require_int8(file: TfliteFile, *, io: str, wants_per_channel: bool = True) -> None:
    """Refuses a file that is not full int8.

    Raises: ConversionError naming operator and layer of the first miss, and how many there are.
    """
    findings = int8_findings(file, io=io, wants_per_channel=wants_per_channel)
    if not findings:
        return
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    raise ConversionError(
        f"{file.source}: not full int8: {findings[0]}{more}",
        next_step="replace that layer, or convert to float16 with --to float16",
    )


def require_one_delegate(path: Path) -> None:
    """Refuses a file that XNNPACK does not take in one piece.

    The QUANTIZE of uint8 ends may stay outside: XNNPACK has no uint8 to int8 operator (ai-edge-litert 2.3.0), and as
    the first and last operator it splits nothing.

    Raises: ConversionError naming the first operators left outside; ModelError when the file does not load.
    """
    delegation = delegation_of(path)
    operators = TfliteFile.read(path).operators
    outside = [operators[index] for index in delegation.outside if operators[index].name not in BOUNDARY]
    if delegation.partitions == 1 and not outside:
        return
    named = ", ".join(f"{operator.name} of layer {layer_name(operator.layer)}" for operator in outside[:3])
    raise ConversionError(
        f"{path}: XNNPACK does not take it in one piece",
        came=f"{delegation.partitions} partitions, outside: {named or 'none'}",
        allowed="one delegate for all operators",
    )
