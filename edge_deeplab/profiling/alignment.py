"""Which operator of the file a line of the engine's profile belongs to.

A delegate numbers its own operators: it renames them (CONV_2D of 1 x 1 becomes "Fully Connected ... GEMM"), leaves some
out (folded into a neighbour) and puts some in (copies). Their order stays that of the file, so both lists are laid side
by side with the fewest gaps, as `diff` does, and only kinds that can be one another are put together.

    places = align(["CONV_2D", "PAD", "ADD"], ["Convolution (NHWC, QC8) IGEMM", "Add (ND)"])
    places == [0, 2]
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# The schema's names and what XNNPACK calls the kernels it runs for them (its operator-strings, 2020 to 2026).
_KERNELS = {
    "CONV_2D": "Convolution|Fully Connected",
    "DEPTHWISE_CONV_2D": "Convolution|DWConv",
    "TRANSPOSE_CONV": "Deconvolution",
    "FULLY_CONNECTED": "Fully Connected|Convolution",
    "BATCH_MATMUL": "Batch Matrix|Batch Mat",
    "ADD": "Add|Binary",
    "SUB": "Subtract|Binary",
    "MUL": "Multiply|Binary",
    "DIV": "Divide|Binary",
    "MAXIMUM": "Maximum|Binary",
    "MINIMUM": "Minimum|Binary",
    "SQUARED_DIFFERENCE": "Squared Difference|Binary",
    "AVERAGE_POOL_2D": "Average Pooling",
    "MAX_POOL_2D": "Max Pooling",
    "MEAN": "Mean|Reduce|Average Pooling",
    "SUM": "Sum|Reduce",
    "REDUCE_MAX": "Reduce|Max",
    "REDUCE_MIN": "Reduce|Min",
    "RESIZE_BILINEAR": "Resize Bilinear",
    "RESIZE_NEAREST_NEIGHBOR": "Resize Nearest",
    "CONCATENATION": "Copy|Concat",
    "QUANTIZE": "Convert|Copy",
    "DEQUANTIZE": "Convert|Copy",
    "CAST": "Convert|Copy",
    "SOFTMAX": "Softmax|SoftMax",
    "LOGISTIC": "Sigmoid|LUT|Unary",
    "TANH": "Tanh|LUT|Unary",
    "HARD_SWISH": "HardSwish|Hard Swish|LUT|Unary",
    "GELU": "GELU|LUT|Unary",
    "ELU": "ELU|LUT|Unary",
    "LEAKY_RELU": "Leaky ReLU|LUT|Unary",
    "PRELU": "PReLU",
    "RELU": "Clamp|Unary",
    "RELU6": "Clamp|Unary",
    "RELU_N1_TO_1": "Clamp|Unary",
    "PAD": "Constant Pad",
    "PADV2": "Constant Pad",
    "RESHAPE": "Copy|Reshape",
    "SQUEEZE": "Copy|Reshape",
    "EXPAND_DIMS": "Copy|Reshape",
    "TRANSPOSE": "Transpose",
    "SLICE": "Slice",
    "STRIDED_SLICE": "Slice|Strided",
    "SPLIT": "Copy|Split|Slice",
    "SPACE_TO_DEPTH": "Space To Depth|Transpose",
    "DEPTH_TO_SPACE": "Depth To Space|Transpose",
}
_SURE, _POSSIBLE = 3, 1  # a kernel known for the kind is worth more than one of a kind this file does not know


def align(operators: Sequence[str], kernels: Sequence[str]) -> list[int | None]:
    """For each kernel, in the order it ran, the position of its operator; None for one that the engine put in.

    operators: the schema's names, in file order.
    kernels: names as the engine reports them.
    """
    best = [[0] * (len(operators) + 1) for _ in range(len(kernels) + 1)]
    for row in range(len(kernels) - 1, -1, -1):
        for column in range(len(operators) - 1, -1, -1):
            worth = _worth(operators[column], kernels[row])
            together = worth + best[row + 1][column + 1] if worth else 0
            best[row][column] = max(together, best[row + 1][column], best[row][column + 1])
    places: list[int | None] = []
    column = 0
    for row, kernel in enumerate(kernels):
        place = None
        while column < len(operators):
            worth = _worth(operators[column], kernel)
            if worth and best[row][column] == worth + best[row + 1][column + 1]:
                place = column
                column += 1
                break
            if best[row][column] == best[row + 1][column]:
                break  # the engine put this one in
            column += 1  # this operator has no line of its own
        places.append(place)
    return places


def _worth(operator: str, kernel: str) -> int:
    pattern = _KERNELS.get(operator)
    if pattern is None:
        return _POSSIBLE
    return _SURE if re.search(pattern, kernel) else 0
