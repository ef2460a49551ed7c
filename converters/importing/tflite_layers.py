"""The convolutions of a float .tflite, in operator order, in TensorFlow's terms: kernels, biases, strides, rates.

layers = TfliteLayers(TfliteFile.read(path))
layers.convolutions[0].kernel.shape        # (3, 3, 3, 32)
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edge_deeplab.converters.importing.readings import Convolution
from edge_deeplab.errors import ConversionError, ModelError
from edge_deeplab.runtime.flatbuffer import OperatorRecord, TensorRecord, TfliteFile

KINDS = {"CONV_2D": False, "DEPTHWISE_CONV_2D": True}
ACTIVATIONS = {"RELU": "relu", "RELU6": "relu6"}
# What stands between two layers and computes nothing.
PASSING = {"SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "PAD", "PADV2", "RESHAPE", "SQUEEZE"}


@dataclass(frozen=True, eq=False)
class Layer:
    """One convolution.

    Attributes:
        operator: its record.
        is_depthwise: whether it has one kernel a channel.
        kernel: float32, (h, w, in, out), or (h, w, C, 1) of a depthwise one.
        bias: float32 (out,), zeros where there is none.
        does: stride, rate, size and activation.
    """

    operator: OperatorRecord
    is_depthwise: bool
    kernel: np.ndarray = field(repr=False)
    bias: np.ndarray = field(repr=False)
    does: Convolution

    @property
    def form(self) -> tuple[bool, tuple[int, ...]]:
        """What tells layers of one network apart."""
        return self.is_depthwise, tuple(self.kernel.shape)


class TfliteLayers:
    """The layers of a file and how tensors run between them.

    Attributes:
        model: the file.
        convolutions: in operator order.
    Raises: ConversionError naming the first kernel that is quantized; ModelError where there is none at all.
    """

    def __init__(self, model: TfliteFile) -> None:
        self.model = model
        self.made_by = model.made_by
        self.read_by: dict[int, list[OperatorRecord]] = {}
        for operator in model.operators:
            for record in operator.inputs:
                if record is not None:
                    self.read_by.setdefault(record.index, []).append(operator)
        self.convolutions = [self._layer(operator) for operator in model.operators if operator.name in KINDS]
        if not self.convolutions:
            raise ModelError(f"{model.source}: has no convolutions", came=f"{len(model.operators)} operators")
        self._by_output = {layer.operator.outputs[0].index: layer for layer in self.convolutions}

    def source(self, tensor: TensorRecord | None, through: frozenset[str] = frozenset()) -> OperatorRecord | None:
        """The operator that makes a tensor, looked up through what computes nothing; None for the model's input."""
        while tensor is not None:
            maker = self.made_by.get(tensor.index)
            if maker is None or (maker.name not in PASSING and maker.name not in through):
                return maker
            tensor = maker.inputs[0]
        return None

    def before(self, layer: Layer) -> OperatorRecord | None:
        """The operator whose output a convolution reads."""
        return self.source(layer.operator.inputs[0])

    def layer_of(self, operator: OperatorRecord | None) -> Layer | None:
        """The convolution that an operator is, None for another."""
        return None if operator is None else self._by_output.get(operator.outputs[0].index)

    def _layer(self, operator: OperatorRecord) -> Layer:
        is_depthwise = KINDS[operator.name]
        stored = self._constant(operator, 1)
        # TFLite: (1, h, w, C) depthwise and (out, h, w, in); TensorFlow: (h, w, C, 1) and (h, w, in, out)
        kernel = stored[0, ..., None] if is_depthwise else stored.transpose(1, 2, 3, 0)
        channels = kernel.shape[2] if is_depthwise else kernel.shape[3]
        has_bias = len(operator.inputs) > 2 and operator.inputs[2] is not None
        bias = self._constant(operator, 2) if has_bias else np.zeros(channels, np.float32)
        return Layer(operator, is_depthwise, np.ascontiguousarray(kernel), bias, self._does(operator))

    def _does(self, operator: OperatorRecord) -> Convolution:
        rate_hw, out = operator.dilation_hw, operator.outputs[0]
        maker = self.made_by.get(operator.inputs[0].index) if operator.inputs[0] is not None else None
        if maker is not None and maker.name == "SPACE_TO_BATCH_ND":
            block = self.model.stored_values(maker.inputs[1])  # type: ignore[arg-type]
            rate_hw = (int(block[0]), int(block[1]))
            out = next((reader.outputs[0] for reader in self.read_by.get(out.index, ())), out)
        return Convolution(
            stride_hw=operator.stride_hw, rate_hw=rate_hw, out_hw=(out.shape[1], out.shape[2]),
            activation=ACTIVATIONS.get(operator.activation or ""),
        )  # fmt: skip

    def _constant(self, operator: OperatorRecord, position: int) -> np.ndarray:
        """A constant as float32. Raises ConversionError where it is quantized."""
        tensor = self.model.constant_input(operator, position)
        if tensor.is_quantized or not tensor.dtype.startswith("float"):
            raise ConversionError(
                f"{self.model.source}: is quantized, and rounding cannot be taken back",
                came=f"{tensor.dtype} weights in {operator.layer}", allowed="a .tflite with float weights",
                next_step="import the checkpoint or graph it was made from; webcam and evaluate run it as it is",
            )  # fmt: skip
        return self.model.real_values(tensor)
