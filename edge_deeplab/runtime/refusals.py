"""Why the delegate leaves an operator to the plain kernels, found by asking it again.

    for refusal in refusals_of(path, delegation_of(path)):
        print(refusal.operator, refusal.reason)

XNNPACK decides in silence: LiteRT's Python lists the nodes of the divided graph and no reason (ai-edge-litert 2.3.0;
the delegate's own messages are off while it divides). So every refused operator is cut out into a model of its own and
loaded again, first as it is, then changed in one thing at a time. The change with which it is taken names the cause.
All trials of a file run in a child process: some models end the process they are loaded in.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_deeplab.errors import EdgeDeepLabError
from edge_deeplab.runtime.cutting import ModelCutter
from edge_deeplab.runtime.delegates import Delegation
from edge_deeplab.runtime.flatbuffer import OperatorRecord, TensorRecord, TfliteFile, tflite_schema
from edge_deeplab.runtime.rewrite import pack_model, unpack_model

TIMEOUT_S = 120.0
_INTEGERS = ("int8", "uint8", "int16")
_RESIZES = ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An operator outside of the delegate, and what keeps it there.

    Attributes:
        index: its place in the file.
        operator: its name in the schema, e.g. HARD_SWISH.
        reason: one phrase for a reader.
        taken: the changes, each by itself, with which the delegate takes it; empty where none tried helps.
        tried: every change that applied to it.
    """

    index: int
    operator: str
    reason: str
    taken: tuple[str, ...]
    tried: tuple[str, ...]


@dataclass(frozen=True)
class _Piece:
    """One operator as a model of its own, about to be changed; what makes its constants stands before it."""

    model: Any
    record: OperatorRecord
    source: TfliteFile

    @property
    def operator(self) -> Any:
        return self.model.subgraphs[0].operators[-1]

    def tensors(self) -> list[tuple[Any, Any]]:
        """Each distinct tensor beside its record."""
        places = [*self.operator.inputs, *self.operator.outputs]
        records = [*self.record.inputs, *self.record.outputs]
        pairs = {place: record for place, record in zip(places, records, strict=True) if place >= 0}
        return [(self.model.subgraphs[0].tensors[place], record) for place, record in pairs.items()]

    def replace_constant(self, tensor: Any, values: np.ndarray) -> None:
        self.model.buffers[tensor.buffer].data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)


# A change returns whether there was anything to change. The order is the order in which causes are named.
Change = Callable[[_Piece], bool]


def _nothing(piece: _Piece) -> bool:
    return True


def _fixed_sizes(piece: _Piece) -> bool:
    open_ones = [tensor for tensor, record in piece.tensors() if -1 in record.shape_signature]
    for tensor in open_ones:
        tensor.shapeSignature = None
    return bool(open_ones)


def _constant_size(piece: _Piece) -> bool:
    """A resize whose size is computed gets one that stands in the file, and fixed sizes all around."""
    size = piece.record.inputs[1] if piece.record.name in _RESIZES else None
    if size is None or size.is_constant:
        return False
    place, buffer = piece.operator.inputs[1], tflite_schema().BufferT()
    buffer.data = np.frombuffer(np.array([2, 2], np.int32).tobytes(), np.uint8)
    tensor = piece.model.subgraphs[0].tensors[place]
    tensor.shape, tensor.buffer = [2], len(piece.model.buffers)
    piece.model.buffers = [*piece.model.buffers, buffer]
    piece.model.subgraphs[0].inputs = [index for index in piece.model.subgraphs[0].inputs if index != place]
    _fixed_sizes(piece)
    return True


def _output_scales(piece: _Piece) -> bool:
    """Everything computed gets the scale and zero point of the output."""
    made = piece.record.outputs[0]
    changed = False
    for tensor, record in piece.tensors():
        is_alike = record.scales.size == made.scales.size == 1 and record.dtype == made.dtype
        if is_alike and not record.is_constant and record.scales[0] != made.scales[0]:
            tensor.quantization.scale, tensor.quantization.zeroPoint = made.scales, made.zero_points
            changed = True
    return changed


def _symmetric_weights(piece: _Piece) -> bool:
    changed = False
    for tensor, record in piece.tensors():
        if record.is_constant and record.dtype == "int8" and record.zero_points.any():
            tensor.quantization.zeroPoint = np.zeros_like(record.zero_points)
            changed = True
    return changed


def _no_activation(piece: _Piece) -> bool:
    if piece.record.activation is None:
        return False
    piece.operator.builtinOptions.fusedActivationFunction = 0
    return True


def _int32_indices(piece: _Piece) -> bool:
    if not hasattr(piece.operator.builtinOptions, "outputType") or piece.record.outputs[0].dtype != "int64":
        return False
    int32 = tflite_schema().TensorType.INT32
    piece.operator.builtinOptions.outputType = int32
    piece.model.subgraphs[0].tensors[piece.operator.outputs[0]].type = int32
    return True


def _int8(piece: _Piece) -> bool:
    """Every uint8 or int16 tensor holds the same real numbers as int8; constants lose their lower bits."""
    changed = False
    for tensor, record in piece.tensors():
        if record.dtype == "int64" and record.is_quantized and record.is_constant:  # the bias of 16x8
            tensor.type = tflite_schema().TensorType.INT32
            piece.replace_constant(tensor, piece.source.stored_values(record).astype(np.int32))
        if record.dtype not in ("uint8", "int16") or not record.is_quantized:
            continue
        shift = 128 if record.dtype == "uint8" else 0
        tensor.type = tflite_schema().TensorType.INT8
        if record.is_constant:
            real = record.zero_points.astype(np.int64)  # weights of int8 are symmetric
            values = piece.source.stored_values(record).astype(np.int64) - real.reshape(-1)[0]
            piece.replace_constant(tensor, np.clip(values, -127, 127).astype(np.int8))
            tensor.quantization.zeroPoint = np.zeros_like(record.zero_points)
        else:
            tensor.quantization.zeroPoint = np.clip(record.zero_points - shift, -128, 127)
        changed = True
    return changed


def _float32(piece: _Piece) -> bool:
    """Everything quantized becomes real numbers."""
    if piece.record.name in ("QUANTIZE", "DEQUANTIZE"):
        return False
    changed = False
    for tensor, record in piece.tensors():
        is_bias = record.dtype in ("int32", "int64") and record.is_quantized
        if not record.is_quantized or (record.dtype not in _INTEGERS and not is_bias):
            continue
        tensor.type, tensor.quantization = tflite_schema().TensorType.FLOAT32, None
        if record.is_constant:
            piece.replace_constant(tensor, piece.source.real_values(record))
        changed = True
    return changed


AS_IT_IS = "as it is, alone"
_CHANGES: dict[str, Change] = {
    AS_IT_IS: _nothing,
    "with fixed sizes": _fixed_sizes,
    "with a constant size": _constant_size,
    "with equal scales": _output_scales,
    "with symmetric weights": _symmetric_weights,
    "without its activation": _no_activation,
    "with int32 indices": _int32_indices,
    "as int8": _int8,
    "as float32": _float32,
}


def refusals_of(path: Path, delegation: Delegation, *, timeout_s: float = TIMEOUT_S) -> tuple[Refusal, ...]:
    """The operators outside of the delegate with their causes, in file order; empty where there is none.

    The file must be known to load (delegation_of has seen to it). Where there is no delegate at all, every reason says
    so. Raises: ModelError when the file cannot be read.
    """
    model = TfliteFile.read(path)
    outside = [model.operators[index] for index in delegation.outside]
    if not outside:
        return ()
    from edge_deeplab.runtime.interpreter import engine_name

    if delegation.partitions == 0 and engine_name()[0] == "tflite-runtime":
        return _alike(outside, f"{' '.join(engine_name())} brings no delegate for it")
    try:
        cutter = ModelCutter(path.read_bytes(), source=str(path))
    except EdgeDeepLabError as error:  # control flow, or constants outside the flatbuffer
        return _alike(outside, f"not looked into: {error}")
    trials: dict[tuple[Any, ...], dict[str, bytes]] = {}  # operators alike in all that matters are tried once
    for one in outside:
        if _likeness(one) not in trials:
            trials[_likeness(one)] = _variants(model, cutter, one)
    files = [content for variants in trials.values() for content in variants.values()]
    answers = iter(ask_delegate(files, timeout_s))
    found = {key: {name: next(answers) for name in variants} for key, variants in trials.items()}
    return tuple(_refusal(one, found[_likeness(one)]) for one in outside)


def _alike(operators: Sequence[OperatorRecord], reason: str) -> tuple[Refusal, ...]:
    return tuple(Refusal(index=one.index, operator=one.name, reason=reason, taken=(), tried=()) for one in operators)


def _likeness(operator: OperatorRecord) -> tuple[Any, ...]:
    """What the delegate's decision can depend on, but for the size of tensors that are not scalar."""
    tensors = [tensor for tensor in (*operator.inputs, *operator.outputs) if tensor is not None]
    described = tuple(_kind(tensor) for tensor in tensors)
    ratios = tuple(round(ratio, 3) for ratio in scale_ratios(operator))
    return operator.name, described, ratios, tuple(sorted(operator.options.items())), len(operator.inputs)


def _kind(tensor: TensorRecord) -> tuple[Any, ...]:
    is_open, is_offset = -1 in tensor.shape_signature, bool(tensor.zero_points.any())
    return tensor.dtype, len(tensor.shape), tensor.is_constant, tensor.scales.size, is_offset, is_open


def scale_ratios(operator: OperatorRecord) -> tuple[float, ...]:
    """Each computed input's scale over the first output's, ascending; none where they are not per tensor."""
    read = [tensor for tensor in operator.inputs if tensor is not None and tensor.dtype in _INTEGERS]
    made = operator.outputs[0] if operator.outputs else None
    if made is None or made.scales.size != 1 or any(tensor.scales.size != 1 for tensor in read):
        return ()
    return tuple(sorted({float(tensor.scales[0]) / float(made.scales[0]) for tensor in read}))


def _variants(model: TfliteFile, cutter: ModelCutter, operator: OperatorRecord) -> dict[str, bytes]:
    variants = {}
    alone = cutter.operators(operator.index, operator.index)
    for name, change in _CHANGES.items():
        piece = _Piece(unpack_model(alone), operator, model)
        try:
            applies = change(piece)
        except EdgeDeepLabError:  # a constant of a type that cannot be turned into another
            continue
        if applies:
            variants[name] = pack_model(piece.model)
    return variants


def _refusal(operator: OperatorRecord, answers: dict[str, bool]) -> Refusal:
    taken = tuple(name for name, is_taken in answers.items() if is_taken)
    return Refusal(
        index=operator.index, operator=operator.name, reason=_reason(operator, taken, tuple(answers)), taken=taken,
        tried=tuple(answers),
    )  # fmt: skip


def _reason(operator: OperatorRecord, taken: tuple[str, ...], tried: tuple[str, ...]) -> str:
    types = _types(operator)
    if not taken:
        if operator.name.startswith("CUSTOM:"):
            return "a custom operator, which the delegate does not know"
        forms = [types, *(name for name in tried if name != AS_IT_IS)]
        return f"not taken in any form tried: {', '.join(forms)}"
    cause = taken[0]
    if cause == AS_IT_IS:
        return "taken when it stands alone: what surrounds it in this file keeps it out, such as tensors of open size"
    if cause == "with fixed sizes":
        return "its sizes are open until the model runs"
    if cause == "with a constant size":
        return "the size to resize to is computed while the model runs"
    if cause == "with equal scales":
        farthest = max(scale_ratios(operator), key=lambda ratio: abs(math.log(ratio)), default=None)
        return "its scales differ" if farthest is None else f"an input's scale is {farthest:.3g} times its output's"
    if cause == "with symmetric weights":
        return "its weights have a zero point other than 0"
    if cause == "without its activation":
        return f"the fused activation {operator.activation}"
    if cause == "with int32 indices":
        return "its indices are int64"
    if operator.name == "QUANTIZE":
        return f"{types} is not taken, int8 to int8 is"
    return f"{types} is not taken, {cause.removeprefix('as ')} is"


def _types(operator: OperatorRecord) -> str:
    """E.g. "int8", "uint8 to int8", "float32 with int8 weights"."""
    read = [tensor for tensor in operator.inputs if tensor is not None]
    computed = list(dict.fromkeys(tensor.dtype for tensor in read if not tensor.is_constant)) or ["nothing"]
    made = list(dict.fromkeys(tensor.dtype for tensor in operator.outputs))
    weights = [tensor.dtype for tensor in read if tensor.is_constant and tensor.dtype in (*_INTEGERS, "float16")]
    text = ", ".join(computed)
    if made != computed:
        text += f" to {', '.join(made)}"
    if weights and weights[0] not in computed:
        text += f" with {weights[0]} weights"
    return text


def ask_delegate(files: Sequence[bytes], timeout_s: float = TIMEOUT_S) -> list[bool]:
    """Whether the delegate takes the operator of each file; False for one that does not load or ends the child."""
    answers: list[bool] = []
    with tempfile.TemporaryDirectory(prefix="edge-deeplab-trials-") as folder:
        for number, content in enumerate(files):
            (Path(folder) / f"{number}.tflite").write_bytes(content)
        search = os.pathsep.join(str(Path(entry).resolve()) if entry else str(Path.cwd()) for entry in sys.path)
        while len(answers) < len(files):  # a file that ends the child costs one round, and is refused
            command = [sys.executable, "-P", "-W", "ignore", "-m", "edge_deeplab.runtime.refusals", folder]
            try:
                child = subprocess.run(
                    [*command, str(len(answers)), str(len(files))], env={**os.environ, "PYTHONPATH": search},
                    stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=timeout_s,
                    check=False,
                )  # fmt: skip
                said = child.stdout.split()
            except subprocess.TimeoutExpired as error:
                said = (error.stdout or b"").decode(errors="replace").split()
            answers += [word == "taken" for word in said if word in ("taken", "refused")]
            if len(answers) < len(files):
                answers.append(False)
    return answers


def main(arguments: list[str]) -> int:
    """The child: prints "taken" or "refused" for the files of a folder from a number up to another."""
    from edge_deeplab.runtime.delegates import divide
    from edge_deeplab.runtime.interpreter import quiet_native_log, select_engine

    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # an abort leaves no core file behind
    except (ImportError, ValueError, OSError):
        pass
    folder, first, end = Path(arguments[0]), int(arguments[1]), int(arguments[2])
    module = select_engine().module
    for number in range(first, end):
        try:
            with quiet_native_log():
                interpreter = module.Interpreter(model_path=str(folder / f"{number}.tflite"), num_threads=1)
                interpreter.allocate_tensors()
            outputs = [details["index"] for details in interpreter.get_output_details()]
            nodes = interpreter._get_ops_details()
            delegation = divide(nodes, outputs)
            asked = len(nodes) - delegation.partitions - 1  # the last one; delegate nodes stand behind the operators
            is_taken = delegation.partitions > 0 and asked not in delegation.outside
        except (ValueError, RuntimeError):
            is_taken = False
        print("taken" if is_taken else "refused", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
