"""What devices other than this machine's processor take, from their documentation: nothing here was run on one.

    profile = PROFILES["gpu"]
    profile.refusal(operator)        # None, or why it falls back to the processor

A device's own compiler has the last word; each profile names what it was read from and when.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge_deeplab.runtime.flatbuffer import OperatorRecord, TensorRecord

GPU_OPERATORS = "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/delegates/gpu/common/model_builder.cc"
GPU_PAGE = "https://ai.google.dev/edge/litert/performance/gpu"
CORAL_PAGE = "https://coral.ai/docs/edgetpu/models-intro/#supported-operations"
CORAL_COPY = "https://developer.axis.com/computer-vision/on-device/system-on-chip/artpec-7/supported-ops/"

Limit = Callable[[OperatorRecord], str | None]


def _none(operator: OperatorRecord) -> str | None:
    return None


def _no_activation(operator: OperatorRecord) -> str | None:
    return f"fused activation {operator.activation}" if operator.activation else None


def _same_dilation(operator: OperatorRecord) -> str | None:
    height, width = operator.dilation_hw
    return None if height == width else f"dilation {height}x{width}: it must be the same in both directions"


def _spatial_mean(operator: OperatorRecord) -> str | None:
    taken, made = operator.inputs[0], operator.outputs[0]
    if taken is None or len(taken.shape) != 4 or len(made.shape) != 4 or taken.shape[3] == made.shape[3]:
        return None
    return None if taken.shape[3] % 4 == 0 else f"a mean over {taken.shape[3]} channels: they must be a multiple of 4"


def _flat_softmax(operator: OperatorRecord) -> str | None:
    made = operator.outputs[0].shape
    if math.prod(made) != made[-1]:
        return f"softmax of {'x'.join(map(str, made))}: it must be one-dimensional"
    return None if made[-1] <= 16_000 else f"softmax of {made[-1]} values: at most 16000"


def _unit_strides(operator: OperatorRecord) -> str | None:
    masks = [name for name in ("ellipsisMask", "newAxisMask") if operator.options.get(name)]
    return f"{', '.join(masks)} set" if masks else None


def _one_corner_rule(operator: OperatorRecord) -> str | None:
    is_both = operator.options.get("alignCorners") and operator.options.get("halfPixelCenters")
    return "align_corners together with half_pixel_centers" if is_both else None


@dataclass(frozen=True, kw_only=True)
class DeviceProfile:
    """One device.

    Attributes:
        name: as --device has it.
        title: for a reader.
        operators: what it takes, with the limit of each.
        dtypes: types of computed tensors it takes.
        dimensions: of a tensor, at most.
        single_partition: whether everything after the first refused operator is refused, too.
        batch_of_one: whether the outermost dimension of a picture must be 1.
        sources: what this was read from.
    """

    name: str
    title: str
    operators: Mapping[str, Limit]
    dtypes: tuple[str, ...]
    dimensions: int
    single_partition: bool
    batch_of_one: bool
    sources: tuple[str, ...]

    def refusal(self, operator: OperatorRecord) -> str | None:
        """Why the device leaves an operator to the processor, None when it takes it."""
        limit = self.operators.get(operator.name)
        if limit is None:
            return f"not in the documented list of {self.title}"
        for tensor in (*operator.inputs, *operator.outputs):
            if tensor is not None and not tensor.is_constant:
                refused = self._tensor_refusal(tensor)
                if refused is not None:
                    return refused
        return limit(operator)

    def _tensor_refusal(self, tensor: TensorRecord) -> str | None:
        if tensor.dtype not in self.dtypes:
            return f"{tensor.dtype}: {self.title} takes {', '.join(self.dtypes)}"
        if -1 in tensor.shape_signature:
            return "a size that is open until the model runs"
        if len(tensor.shape) > self.dimensions:
            return f"{len(tensor.shape)} dimensions: at most {self.dimensions}"
        if self.batch_of_one and len(tensor.shape) > 3 and math.prod(tensor.shape[:-3]) > 1:
            return f"shape {'x'.join(map(str, tensor.shape))}: only the three innermost sizes may exceed 1"
        return None


# What NewOperationParser has a parser for.
_GPU_NAMES = [
    "ABS",
    "ADD",
    "ADD_N",
    "AVERAGE_POOL_2D",
    "BATCH_MATMUL",
    "CAST",
    "CONCATENATION",
    "CONV_2D",
    "COS",
    "CUMSUM",
    "DENSIFY",
    "DEPTHWISE_CONV_2D",
    "DEPTH_TO_SPACE",
    "DEQUANTIZE",
    "DIV",
    "ELU",
    "EQUAL",
    "EXP",
    "FLOOR",
    "FLOOR_DIV",
    "FLOOR_MOD",
    "FULLY_CONNECTED",
    "GATHER",
    "GELU",
    "GREATER",
    "GREATER_EQUAL",
    "HARD_SWISH",
    "LEAKY_RELU",
    "LESS",
    "LESS_EQUAL",
    "LOG",
    "LOGICAL_AND",
    "LOGISTIC",
    "LSTM",
    "MAXIMUM",
    "MAX_POOL_2D",
    "MEAN",
    "MINIMUM",
    "MIRROR_PAD",
    "MUL",
    "NEG",
    "NOT_EQUAL",
    "ONE_HOT",
    "PACK",
    "PAD",
    "PADV2",
    "POW",
    "PRELU",
    "QUANTIZE",
    "REDUCE_MAX",
    "REDUCE_MIN",
    "REDUCE_PROD",
    "RELU",
    "RELU6",
    "RELU_0_TO_1",
    "RELU_N1_TO_1",
    "RESHAPE",
    "RESIZE_NEAREST_NEIGHBOR",
    "RSQRT",
    "SELECT",
    "SELECT_V2",
    "SIGN",
    "SIN",
    "SLICE",
    "SOFTMAX",
    "SPACE_TO_DEPTH",
    "SPLIT",
    "SPLIT_V",
    "SQRT",
    "SQUARE",
    "SQUARED_DIFFERENCE",
    "STRIDED_SLICE",
    "SUB",
    "SUM",
    "TANH",
    "TILE",
    "TRANSPOSE",
    "TRANSPOSE_CONV",
    "UNPACK",
    "CUSTOM:Convolution2DTransposeBias",
    "CUSTOM:MaxPoolingWithArgmax2D",
    "CUSTOM:MaxUnpooling2D",
    "CUSTOM:Resampler",
]

_GPU = DeviceProfile(
    name="gpu",
    title="the GPU delegate",
    operators={**dict.fromkeys(_GPU_NAMES, _none), "RESIZE_BILINEAR": _one_corner_rule},
    dtypes=("float32", "float16", "int8", "uint8", "int32", "bool"),
    dimensions=4,
    single_partition=False,
    batch_of_one=False,
    sources=(GPU_OPERATORS, GPU_PAGE),
)

# The table "Operation name, known limitations", without those that have one.
_EDGETPU_NAMES = [
    "ADD",
    "EXPAND_DIMS",
    "FULLY_CONNECTED",
    "L2_NORMALIZATION",
    "LOGISTIC",
    "MAXIMUM",
    "MINIMUM",
    "MUL",
    "PACK",
    "PAD",
    "PRELU",
    "QUANTIZE",
    "REDUCE_MAX",
    "REDUCE_MIN",
    "RELU",
    "RELU6",
    "RELU_N1_TO_1",
    "RESHAPE",
    "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR",
    "RSQRT",
    "SLICE",
    "SPACE_TO_DEPTH",
    "SPLIT",
    "SQUARED_DIFFERENCE",
    "SQUEEZE",
    "SUB",
    "SUM",
    "TANH",
    "TRANSPOSE",
    "TRANSPOSE_CONV",
]

_EDGETPU = DeviceProfile(
    name="edgetpu",
    title="the Edge TPU",
    operators={
        **dict.fromkeys(_EDGETPU_NAMES, _none),
        "AVERAGE_POOL_2D": _no_activation,
        "MAX_POOL_2D": _no_activation,
        "CONCATENATION": _no_activation,
        "CONV_2D": _same_dilation,
        "DEPTHWISE_CONV_2D": _same_dilation,
        "MEAN": _spatial_mean,
        "SOFTMAX": _flat_softmax,
        "STRIDED_SLICE": _unit_strides,
    },
    dtypes=("int8", "uint8"),
    dimensions=5,
    single_partition=True,
    batch_of_one=True,
    sources=(CORAL_PAGE, CORAL_COPY),
)

PROFILES = {profile.name: profile for profile in (_GPU, _EDGETPU)}
