"""What it costs on the device to keep some layers of an int8 network wider.

    data = mixed_float(network, keep(worst, FakeQuant.OFF), size_hw=(256, 256))
    float_cost(path_of(data)), int16_cost(TfliteFile.from_bytes(data))

A layer that reads a wider tensor is wider, too, as the converter makes it; its output is rounded again.

Float layers are converted and the file is loaded: XNNPACK takes float and int8 operators, and the conversions between,
into one delegate (ai-edge-litert 2.3.0). For 16-bit activations there is nothing to load: TF 2.21's converter refuses
a graph in which some layers have them, and XNNPACK has no kernels for them. So their cost is worked out from the same
file: its float operators are those that would leave the delegate, and the partitions that remain are counted as LiteRT
forms them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from edge_deeplab.converters.export import converter_for, fixed_batch_function, run_converter
from edge_deeplab.converters.inspect import REQUANTIZERS
from edge_deeplab.quantization.graph import QuantizedNetwork
from edge_deeplab.quantization.sensitivity import States, mixed_call
from edge_deeplab.runtime.delegates import delegation_of
from edge_deeplab.runtime.flatbuffer import OperatorRecord, TfliteFile


@dataclass(frozen=True, kw_only=True)
class WiderCost:
    """What wider layers do to a file.

    Attributes:
        operators: how many are wider, those that read a wider tensor among them; conversions left out.
        share_of_macs: of the file's multiply-adds that they do, 0..1.
        conversions: QUANTIZE and DEQUANTIZE operators between int8 and wider ones.
        partitions: delegate partitions; 1 is the best.
        outside: operators outside of them, the conversions of the file's own ends left out.
    """

    operators: int
    share_of_macs: float
    conversions: int
    partitions: int
    outside: int


def mixed_float(network: QuantizedNetwork, states: States, *, size_hw: tuple[int, int]) -> bytes:
    """A .tflite with int8 ends in which the layers that `states` turns off are float32.

    Raises: ConversionError when the converter refuses the mixture.
    """
    converter = converter_for(fixed_batch_function(mixed_call(network, states), size_hw))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return run_converter(converter, "int8 with float layers")


def float_cost(path: Path) -> WiderCost:
    """The cost of the float layers of a mixed file, as loaded. Raises ModelError when it does not load."""
    file, delegation = TfliteFile.read(path), delegation_of(path)
    return _cost(file, partitions=delegation.partitions, outside=len(delegation.outside))


def int16_cost(file: TfliteFile) -> WiderCost:
    """The cost if the float layers of a mixed file were int16x8 instead, worked out."""
    outside = {operator.index for operator in file.operators if _is_wide(operator) or _converts(operator)}
    return _cost(file, partitions=count_partitions(file, outside), outside=len(outside))


def _is_wide(operator: OperatorRecord) -> bool:
    return operator.name not in REQUANTIZERS and any(tensor.dtype == "float32" for tensor in operator.outputs)


def _converts(operator: OperatorRecord) -> bool:
    """Between int8 and float; a float16 kernel's DEQUANTIZE would not count, for it reads a constant."""
    first = operator.inputs[0]
    return operator.name in REQUANTIZERS and first is not None and not first.is_constant


def _cost(file: TfliteFile, *, partitions: int, outside: int) -> WiderCost:
    wide = [operator for operator in file.operators if _is_wide(operator)]
    macs = sum(operator.macs for operator in file.operators)
    return WiderCost(
        operators=len(wide), share_of_macs=sum(operator.macs for operator in wide) / macs if macs else 0.0,
        conversions=sum(_converts(operator) for operator in file.operators), partitions=partitions, outside=outside,
    )  # fmt: skip


def count_partitions(file: TfliteFile, outside: Collection[int]) -> int:
    """How many pieces a delegate falls into that takes all operators but some.

    After TensorFlow Lite's PartitionGraphIntoIndependentNodeSubsets (graph_info.cc): the first operator whose inputs
    are there decides whether a piece is the delegate's, and all others of its kind that can follow join it.

    Args:
        outside: indices of the operators that the delegate does not take.
    """
    made = {tensor.index for operator in file.operators for tensor in operator.outputs}
    waiting = list(file.operators)
    ready: set[int] = set()

    def can_run(operator: OperatorRecord) -> bool:
        return all(one is None or one.index not in made or one.index in ready for one in operator.inputs)

    pieces = 0
    while waiting:
        is_outside: bool | None = None
        grew = True
        while grew:
            grew = False
            for operator in list(waiting):
                here = operator.index in outside
                if (is_outside is None or here is is_outside) and can_run(operator):
                    is_outside = here
                    ready.update(tensor.index for tensor in operator.outputs)
                    waiting.remove(operator)
                    grew = True
        if is_outside is None:  # a loop: no graph of ours, and nothing more can be counted
            break
        pieces += not is_outside
    return pieces
