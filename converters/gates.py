"""What an int8 file must be before it is called one; every miss named by operator and layer.

    require_int8(TfliteFile.read(path), io="uint8")      # returns, or raises ConversionError
    require_one_delegate(path)

The goal form: every operator int8, no QUANTIZE or DEQUANTIZE but one at each end where the ends are not int8, dilations
kept, a scale per channel in every convolution's kernel, one XNNPACK delegate, and no scale on which the interpreter
would abort the process. inspect.py reads a file; here it is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_deeplab.converters.inspect import LARGEST_ADD_RATIO, REQUANTIZERS, find_left_overs
from edge_deeplab.errors import ConversionError
from edge_deeplab.runtime.delegates import delegation_of
from edge_deeplab.runtime.flatbuffer import OperatorRecord, TfliteFile

BATCH_MOVES = ("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND")
# The kernel's axis of output channels, by operator.
PER_CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}


@dataclass(frozen=True)
class Finding:
    """One thing that keeps a file from the goal form.

    Attributes:
        operator: TFLite's name, e.g. CONV_2D.
        layer: the network's layer.
        problem: what is wrong with it.
    """

    operator: str
    layer: str
    problem: str

    def __str__(self) -> str:
        return f"{self.operator} of layer {self.layer}: {self.problem}"


def keras_layer(tensor_name: str) -> str:
    """The Keras layer behind a tensor name of the converter.

    keras_layer("net/quant_stem_act/Relu6;net/quant_stem_bn/FusedBatchNormV3") == "stem_act"
    """
    parts = tensor_name.split(";")[0].split("/")
    wrapped = [part for part in parts if part.startswith("quant_")]
    if wrapped:
        return wrapped[0].removeprefix("quant_")
    return parts[1] if len(parts) > 2 else parts[0]


def _kernel_problem(operator: OperatorRecord) -> str | None:
    axis = PER_CHANNEL_AXIS.get(operator.name)
    kernel = operator.inputs[1] if axis is not None else None
    if kernel is None or axis is None or not kernel.is_quantized or kernel.scales.size == kernel.shape[axis]:
        return None
    return f"its kernel has {kernel.scales.size} scale for {kernel.shape[axis]} channels"


def _scale_problem(operator: OperatorRecord) -> str | None:
    output = operator.outputs[0]
    if operator.name not in ("ADD", "SUB") or output.scales.size != 1:
        return None
    for tensor in operator.inputs:
        if tensor is None or tensor.scales.size != 1:
            continue
        ratio = float(tensor.scales[0]) / float(output.scales[0])
        if ratio > LARGEST_ADD_RATIO:
            return f"an input's scale is {ratio:.3g} times its output's; above {LARGEST_ADD_RATIO:.0f} LiteRT aborts"
    return None


def _problem(operator: OperatorRecord) -> str | None:
    if operator.name in BATCH_MOVES:
        return "a dilation was not kept in its convolution"
    return _kernel_problem(operator) or _scale_problem(operator)


def int8_findings(file: TfliteFile, *, io: str) -> tuple[Finding, ...]:
    """Everything that keeps a file from the goal form but its delegation; empty for a good one.

    Args:
        io: what its ends should be, "int8", "uint8" or "float32".
    """
    found = []
    for word, tensors in (("input", file.inputs), ("output", file.outputs)):
        for tensor in tensors:
            # an argmax inside gives integers whatever is asked for
            if tensor.dtype != io and tensor.dtype not in ("int32", "int64"):
                found.append(Finding("END", tensor.name, f"the model's {word} is {tensor.dtype}, asked was {io}"))
    left_overs, _ = find_left_overs(file)
    # a QUANTIZE between operators is the consequence of a float operator behind it: the cause is named first
    for left in sorted(left_overs, key=lambda one: one.operator in REQUANTIZERS):
        layer = keras_layer(file.operators[left.index].layer)
        word = "is left over between operators" if left.operator in REQUANTIZERS else "works on"
        found.append(
            Finding(left.operator, layer, f"{word} ({left.dtype})" if "left" in word else f"{word} {left.dtype}")
        )
    for operator in file.operators:
        problem = _problem(operator)
        if problem is not None:
            found.append(Finding(operator.name, keras_layer(operator.layer), problem))
    return tuple(found)


def input_is_exact(file: TfliteFile) -> bool:
    """Whether the graph's int8 input is the uint8 pixel minus 128: scale 1/255 and zero point -128, range 0..1."""
    first = file.operators[0]
    tensor = first.outputs[0] if first.name == "QUANTIZE" else file.inputs[0]
    if tensor.scales.size != 1 or tensor.dtype != "int8":
        return False
    return int(tensor.zero_points[0]) == -128 and bool(np.isclose(tensor.scales[0], 1 / 255, rtol=1e-5))


def require_int8(file: TfliteFile, *, io: str) -> None:
    """Refuses a file that is not full int8.

    Raises: ConversionError naming operator and layer of the first miss, and how many more there are.
    """
    findings = int8_findings(file, io=io)
    if not findings:
        return
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    raise ConversionError(
        f"{file.source}: not full int8: {findings[0]}{more}",
        next_step="replace that layer, or convert with --to float16",
    )


def undelegated(path: Path) -> tuple[int, tuple[str, ...]]:
    """How XNNPACK divides a file: its partitions, and the operators outside of them by name and layer.

    The QUANTIZE of uint8 ends is not counted: XNNPACK has none from uint8 to int8 (ai-edge-litert 2.3.0), and as first
    and last operator it splits nothing. Raises ModelError when the file does not load.
    """
    delegation = delegation_of(path)
    operators = TfliteFile.read(path).operators
    outside = [operators[index] for index in delegation.outside if operators[index].name not in REQUANTIZERS]
    return delegation.partitions, tuple(f"{one.name} of layer {keras_layer(one.layer)}" for one in outside)


def require_one_delegate(path: Path) -> None:
    """Refuses a file that XNNPACK does not take in one piece. Raises ConversionError naming what stays outside."""
    partitions, outside = undelegated(path)
    if partitions != 1 or outside:
        raise ConversionError(
            f"{path}: XNNPACK does not take it in one piece",
            came=f"{partitions} partitions, outside: {', '.join(outside[:3]) or 'none'}",
            allowed="one delegate for all operators",
        )
