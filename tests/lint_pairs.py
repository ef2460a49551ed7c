"""Small models with one fault each, and the same models without it: what the linter must find, and what it costs.

    fault, clean = PAIRS["hard-swish-int8"]()

tests/converters/test_lint.py runs the rules over both; benchmarks/lint_costs.py times both in turns. A key is a rule's
id, or a rule's id and a case after a colon.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from handmade_tflite import Graph, Operator, Tensor

SCALE = 0.05
ACTIVATIONS = {"": 0, "RELU": 1, "RELU6": 3}
SAME, VALID = 0, 1


class Net:
    """A chain of operators under construction: every method adds one and returns the name of what it made.

    Args:
        shape: of the input, NHWC.
        dtype: int8, uint8 or float32, of everything computed.
    """

    def __init__(self, shape: tuple[int, ...], dtype: str = "int8") -> None:
        self.tensors: dict[str, Tensor] = {}
        self.operators: list[Operator] = []
        self.dtype = dtype
        self.rng = np.random.default_rng(0)
        self.input = self.tensor("image", shape)

    def tensor(self, name: str, shape: tuple[int, ...], *, dtype: str = "", scale: float = SCALE) -> str:
        dtype = dtype or self.dtype
        self.tensors[name] = Tensor(name=name, shape=shape, dtype=dtype)
        if dtype in ("int8", "uint8", "int16"):
            self.tensors[name].scales = (scale,)
            self.tensors[name].zero_points = (128 if dtype == "uint8" else 0,)
        return name

    def constant(self, values: np.ndarray) -> str:
        name = f"constant_{len(self.tensors)}"
        self.tensors[name] = Tensor(name=name, values=values)
        return name

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensors[name].shape

    def add(
        self, kind: str, inputs: tuple[str, ...], shape: tuple[int, ...], options: Any = None, **tensor: Any
    ) -> str:
        """An operator with one output."""
        made = self.tensor(f"net/{kind.lower()}_{len(self.operators)}", shape, **tensor)
        self.operators.append(Operator(name=kind, inputs=inputs, outputs=(made,), options=options))
        return made

    def conv(
        self, x: str, channels: int = 0, *, kernel: int = 1, stride: int = 1, dilation: int = 1, fused: str = "RELU6",
        padding: int = SAME, depthwise: bool = False, per_tensor: bool = False, kernel_dtype: str = "",
        kernel_zero: int = 0, **tensor: Any,
    ) -> str:  # fmt: skip
        """A convolution with bias and fused activation; depthwise keeps the channels."""
        batch, height, width, depth = self.shape(x)
        channels = depth if depthwise else channels
        shape = (1, kernel, kernel, channels) if depthwise else (channels, kernel, kernel, depth)
        real = self.rng.uniform(-1, 1, shape)
        kind = kernel_dtype or {"int16": "int8"}.get(self.dtype, self.dtype)
        weights = self.constant(real.astype(np.float32))
        if kind != "float32":
            count = 1 if per_tensor or kind == "uint8" else channels
            zero = kernel_zero or (128 if kind == "uint8" else 0)
            steps = np.round(real * 127) + (128 if kind == "uint8" else 0)
            self.tensors[weights] = Tensor(
                name=weights, values=steps.astype(kind), scales=(1 / 127,) * count, zero_points=(zero,) * count,
                axis=3 if depthwise and count > 1 else 0,
            )  # fmt: skip
        bias_dtype = {"float32": np.float32, "int16": np.int64}.get(self.dtype, np.int32)
        bias = self.constant(np.zeros(channels, bias_dtype))
        if self.dtype != "float32":
            scales = [self.tensors[x].scales[0] * scale for scale in self.tensors[weights].scales]
            self.tensors[bias].scales = tuple(scales)
            self.tensors[bias].zero_points = (0,) * len(scales)
        reach = 0 if padding == SAME else (kernel - 1) * dilation
        size = tuple(-(-(side - reach) // stride) for side in (height, width))
        fields = {
            "padding": padding, "strideH": stride, "strideW": stride, "dilationHFactor": dilation,
            "dilationWFactor": dilation, "fusedActivationFunction": ACTIVATIONS[fused],
        }  # fmt: skip
        if depthwise:
            options: Any = ("DepthwiseConv2DOptions", {**fields, "depthMultiplier": 1})
        else:
            options = ("Conv2DOptions", fields)
        name = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        return self.add(name, (x, weights, bias), (batch, *size, channels), options, **tensor)

    def resize(self, x: str, size_hw: tuple[int, int], *, align: bool = False, half_pixel: bool = True) -> str:
        batch, _, _, depth = self.shape(x)
        options = ("ResizeBilinearOptions", {"alignCorners": align, "halfPixelCenters": half_pixel})
        size = self.constant(np.array(size_hw, np.int32))
        return self.add("RESIZE_BILINEAR", (x, size), (batch, *size_hw, depth), options)

    def unary(self, kind: str, x: str, **tensor: Any) -> str:
        return self.add(kind, (x,), self.shape(x), **tensor)

    def sum(self, a: str, b: str, **tensor: Any) -> str:
        return self.add("ADD", (a, b), self.shape(a), ("AddOptions", {}), **tensor)

    def to(self, x: str, dtype: str, **tensor: Any) -> str:
        kind = "DEQUANTIZE" if dtype == "float32" else "QUANTIZE"
        return self.add(kind, (x,), self.shape(x), (f"{kind.capitalize()}Options", {}), dtype=dtype, **tensor)

    def graph(self, *outputs: str) -> Graph:
        return Graph(
            tensors=list(self.tensors.values()), operators=self.operators, inputs=(self.input,), outputs=outputs
        )


Pair = tuple[Graph, Graph]


def hard_swish() -> Pair:
    fault = Net((1, 64, 64, 48))
    x = fault.unary("HARD_SWISH", fault.conv(fault.input, 48, fused=""))
    faulty = fault.graph(fault.conv(x, 48))
    clean = Net((1, 64, 64, 48))
    x = clean.conv(clean.input, 48, fused="")
    three = clean.constant(np.full((1, 1, 1, 1), 60, np.int8))
    clean.tensors[three].scales, clean.tensors[three].zero_points = (SCALE,), (0,)
    gate = clean.add("ADD", (x, three), clean.shape(x), ("AddOptions", {"fusedActivationFunction": 3}))
    x = clean.add("MUL", (x, gate), clean.shape(x), ("MulOptions", {}), scale=0.3)
    return faulty, clean.graph(clean.conv(x, 48))


def unfused_activation() -> Pair:
    fault, clean = Net((1, 64, 64, 48)), Net((1, 64, 64, 48))
    x = fault.unary("RELU6", fault.conv(fault.input, 48, fused=""))
    return fault.graph(fault.conv(x, 48)), clean.graph(clean.conv(clean.conv(clean.input, 48), 48))


def channels(few: int, many: int, *, dtype: str = "int8") -> Callable[[], Pair]:
    def build() -> Pair:
        graphs = []
        for width in (few, many):
            net = Net((1, 64, 64, width), dtype)
            x = net.conv(net.conv(net.input, width), kernel=3, depthwise=True)
            graphs.append(net.graph(net.conv(x, width)))
        return graphs[0], graphs[1]

    return build


def argmax(index_dtype: str, *, against: str = "") -> Callable[[], Pair]:
    def build() -> Pair:
        graphs = []
        for dtype in (index_dtype, against):
            net = Net((1, 33, 33, 64))
            logits = net.resize(net.conv(net.input, 21, fused=""), (129, 129))
            if dtype:
                axis = net.constant(np.array(3, np.int32))
                options = ("ArgMaxOptions", {"outputType": 4 if dtype == "int64" else 2})
                logits = net.add("ARG_MAX", (logits, axis), (1, 129, 129), options, dtype=dtype)
            graphs.append(net.graph(logits))
        return graphs[0], graphs[1]

    return build


def space_to_batch() -> Pair:
    fault, clean = Net((1, 32, 32, 96)), Net((1, 32, 32, 96))
    block = fault.constant(np.array([2, 2], np.int32))
    pads = fault.constant(np.array([[2, 2], [2, 2]], np.int32))
    x = fault.conv(fault.input, 96)
    x = fault.add("SPACE_TO_BATCH_ND", (x, block, pads), (4, 18, 18, 96))
    x = fault.conv(x, kernel=3, depthwise=True, padding=VALID)
    crops = fault.constant(np.zeros((2, 2), np.int32))
    x = fault.add("BATCH_TO_SPACE_ND", (x, block, crops), (1, 32, 32, 96))
    dilated = clean.conv(clean.conv(clean.input, 96), kernel=3, depthwise=True, dilation=2)
    return fault.graph(fault.conv(x, 96)), clean.graph(clean.conv(dilated, 96))


def resize(size: int, classes: int) -> Callable[[], Pair]:
    def build() -> Pair:
        fault, clean = Net((1, 65, 65, 64)), Net((1, 65, 65, 64))
        logits = fault.resize(fault.conv(fault.input, classes, fused=""), (size, size))
        return fault.graph(logits), clean.graph(clean.conv(clean.input, classes, fused=""))

    return build


def resize_corners(faulty: dict[str, bool]) -> Callable[[], Pair]:
    """The fault is one resize that counts pixels in another way than its neighbour."""

    def build() -> Pair:
        graphs = []
        for second in (faulty, {}):
            net = Net((1, 17, 17, 64))
            x = net.conv(net.resize(net.conv(net.input, 64), (33, 33)), 64)
            graphs.append(net.graph(net.conv(net.resize(x, (65, 65), **second), 8)))
        return graphs[0], graphs[1]

    return build


def float_island() -> Pair:
    fault, clean = Net((1, 64, 64, 48)), Net((1, 64, 64, 48))
    x = fault.to(fault.conv(fault.input, 48, fused=""), "float32")
    x = fault.unary("RELU6", x, dtype="float32")
    x = fault.to(x, "int8")
    return fault.graph(fault.conv(x, 48)), clean.graph(clean.conv(clean.conv(clean.input, 48), 48))


def requantize() -> Pair:
    fault, clean = Net((1, 64, 64, 48)), Net((1, 64, 64, 48))
    x = fault.to(fault.conv(fault.input, 48), "int8", scale=0.06)
    return fault.graph(fault.conv(x, 48)), clean.graph(clean.conv(clean.conv(clean.input, 48), 48))


def depthwise_weights(**faulty: Any) -> Callable[[], Pair]:
    def build() -> Pair:
        graphs = []
        for options in (faulty, {}):
            net = Net((1, 64, 64, 48))
            x = net.conv(net.conv(net.input, 48), kernel=3, depthwise=True, **options)
            graphs.append(net.graph(net.conv(x, 48)))
        return graphs[0], graphs[1]

    return build


def transpose_conv() -> Pair:
    fault, clean = Net((1, 32, 32, 48)), Net((1, 32, 32, 48))
    kernel = fault.constant(fault.rng.integers(-127, 127, (48, 4, 4, 48)).astype(np.int8))
    fault.tensors[kernel].scales, fault.tensors[kernel].zero_points = (1 / 127,) * 48, (0,) * 48
    size = fault.constant(np.array([1, 64, 64, 48], np.int32))
    options = ("TransposeConvOptions", {"padding": SAME, "strideH": 2, "strideW": 2})
    x = fault.add("TRANSPOSE_CONV", (size, kernel, fault.conv(fault.input, 48)), (1, 64, 64, 48), options)
    y = clean.resize(clean.conv(clean.input, 48), (64, 64))
    y = clean.conv(clean.conv(y, kernel=3, depthwise=True), 48)
    return fault.graph(fault.conv(x, 8)), clean.graph(clean.conv(y, 8))


def residual(ratio: float) -> Callable[[], Pair]:
    def build() -> Pair:
        graphs = []
        for scale in (SCALE * ratio, SCALE):
            net = Net((1, 64, 64, 48))
            x = net.conv(net.input, 48, scale=scale)
            graphs.append(net.graph(net.conv(net.sum(x, net.conv(x, 48)), 48)))
        return graphs[0], graphs[1]

    return build


def same_network(*dtypes: dict[str, str]) -> Callable[[], Pair]:
    """The same network in two number formats."""

    def build() -> Pair:
        graphs = []
        for dtype in dtypes:
            net = Net((1, 64, 64, 48), dtype["dtype"])
            kernel_dtype = dtype.get("kernel_dtype", "")
            x = net.conv(net.input, 48, kernel_dtype=kernel_dtype)
            x = net.conv(x, kernel=3, depthwise=True, kernel_dtype=kernel_dtype)
            graphs.append(net.graph(net.conv(x, 48, kernel_dtype=kernel_dtype)))
        return graphs[0], graphs[1]

    return build


def uint8_ends() -> Pair:
    graphs = []
    for ends in ("uint8", "int8"):
        net = Net((1, 256, 256, 3), ends)
        net.dtype = "int8"
        x = net.to(net.input, "int8") if ends == "uint8" else net.input
        x = net.conv(net.conv(x, 16, kernel=3, stride=2), 2, fused="")
        if ends == "uint8":
            x = net.to(x, "uint8")
        graphs.append(net.graph(x))
    return graphs[0], graphs[1]


def average_pool() -> Pair:
    fault, clean = Net((1, 64, 64, 48)), Net((1, 64, 64, 48))
    pool = {"padding": SAME, "strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2}
    x = fault.add("AVERAGE_POOL_2D", (fault.conv(fault.input, 48),), (1, 32, 32, 48), ("Pool2DOptions", pool))
    y = clean.add("MAX_POOL_2D", (clean.conv(clean.input, 48),), (1, 32, 32, 48), ("Pool2DOptions", pool))
    return fault.graph(fault.conv(x, 48)), clean.graph(clean.conv(y, 48))


def layout_transposes() -> Pair:
    fault, clean = Net((1, 64, 64, 48)), Net((1, 64, 64, 48))
    x = fault.conv(fault.input, 48)
    first = fault.constant(np.array([0, 3, 1, 2], np.int32))
    second = fault.constant(np.array([0, 2, 3, 1], np.int32))
    x = fault.add("TRANSPOSE", (x, first), (1, 48, 64, 64), ("TransposeOptions", {}))
    x = fault.add("TRANSPOSE", (x, second), (1, 64, 64, 48), ("TransposeOptions", {}))
    return fault.graph(fault.conv(x, 48)), clean.graph(clean.conv(clean.conv(clean.input, 48), 48))


def batch() -> Pair:
    graphs = []
    for count in (4, 1):
        net = Net((count, 64, 64, 48))
        graphs.append(net.graph(net.conv(net.conv(net.input, 48), 48)))
    return graphs[0], graphs[1]


def dynamic() -> Pair:
    graphs = []
    for signature in ((-1, -1, -1, 48), ()):
        net = Net((1, 64, 64, 48))
        x = net.conv(net.conv(net.input, 48), 48)
        if signature:
            for name, tensor in net.tensors.items():
                if name == net.input or name.startswith("net/"):
                    tensor.shape_signature = signature
        graphs.append(net.graph(x))
    return graphs[0], graphs[1]


def softmax() -> Pair:
    fault, clean = Net((1, 65, 65, 64)), Net((1, 65, 65, 64))
    logits = fault.conv(fault.input, 21, fused="")
    probabilities = fault.unary("SOFTMAX", logits, scale=1 / 256)
    fault.tensors[probabilities].zero_points = (-128,)
    fault.operators[-1].options = ("SoftmaxOptions", {"beta": 1.0})
    return fault.graph(probabilities), clean.graph(clean.conv(clean.input, 21, fused=""))


def dead_branch() -> Pair:
    fault, clean = Net((1, 64, 64, 48)), Net((1, 64, 64, 48))
    x = fault.conv(fault.input, 48)
    fault.conv(x, 48, kernel=3)
    return fault.graph(fault.conv(x, 48)), clean.graph(clean.conv(clean.conv(clean.input, 48), 48))


def second_output() -> Pair:
    fault, clean = Net((1, 64, 64, 48)), Net((1, 64, 64, 48))
    x, y = fault.conv(fault.input, 48), clean.conv(clean.input, 48)
    return fault.graph(fault.conv(x, 48), x), clean.graph(clean.conv(y, 48))


def concatenation() -> Pair:
    graphs = []
    for scale in (2 * SCALE, SCALE):
        net = Net((1, 32, 32, 16))
        a, b = net.conv(net.input, 16), net.conv(net.input, 16, scale=scale)
        x = net.add("CONCATENATION", (a, b), (1, 32, 32, 32), ("ConcatenationOptions", {"axis": 3}))
        graphs.append(net.graph(net.conv(x, 8)))
    return graphs[0], graphs[1]


def dead_channels() -> Pair:
    graphs = []
    for kept in (64, 32):
        net = Net((1, 64, 64, 64))
        x = net.conv(net.conv(net.input, 64), kept)
        kernel = net.tensors[net.operators[1].inputs[1]]
        if kept == 64 and kernel.values is not None:
            kernel.values[32:] = 0
        graphs.append(net.graph(net.conv(x, 64)))
    return graphs[0], graphs[1]


CASES: dict[str, tuple[Callable[[], Pair], str]] = {
    "outside-delegate": (average_pool, "AVERAGE_POOL_2D between two 1x1 convolutions, against MAX_POOL_2D"),
    "uint8-ends": (uint8_ends, "a 256x256 network of two convolutions with uint8 ends, against int8 ends"),
    "hard-swish-int8": (hard_swish, "HARD_SWISH between two 1x1 convolutions, against x * relu6(x + 3)"),
    "unfused-activation": (unfused_activation, "RELU6 between two 1x1 convolutions, against a fused one"),
    "odd-channels": (channels(33, 32), "33 channels in a separable block, against 32"),
    "odd-channels:33 against 40": (channels(33, 40), "33 channels in a separable block, against 40"),
    "odd-channels:24 against 32": (channels(24, 32), "24 channels in a separable block, against 32"),
    "odd-channels:12 against 16": (channels(12, 16), "12 channels in a separable block, against 16"),
    "odd-channels:float32": (channels(33, 32, dtype="float32"), "33 channels in a float separable block, against 32"),
    "argmax-inside": (argmax("int64"), "ARG_MAX of 129x129x21 behind a resize, against the logits"),
    "argmax-int64": (argmax("int64", against="int32"), "ARG_MAX of 129x129x21 to int64, against int32"),
    "space-to-batch": (space_to_batch, "a depthwise convolution of rate 2 at 32x32x96 taken apart, against one kept"),
    "resize-inside": (resize(513, 21), "a resize of 65x65x21 to 513x513 behind one 1x1 convolution, against none"),
    "resize-inside:2 classes": (resize(256, 2), "a resize of 65x65x2 to 256x256, against none"),
    "mixed-corners": (resize_corners({"align": True, "half_pixel": False}), "one resize of two with aligned corners"),
    "legacy-corners": (resize_corners({"half_pixel": False}), "one resize of two with neither corner rule"),
    "float-island": (float_island, "RELU6 in float between two int8 1x1 convolutions, against a fused one"),
    "requantization": (requantize, "an int8 QUANTIZE between two 1x1 convolutions, against none"),
    "per-tensor-weights": (depthwise_weights(per_tensor=True), "a depthwise kernel with one scale, against 48"),
    "asymmetric-weights": (depthwise_weights(kernel_zero=3), "a depthwise kernel with zero point 3, against 0"),
    "transpose-conv": (transpose_conv, "TRANSPOSE_CONV 4x4 of stride 2, against a resize and a separable convolution"),
    "add-scales": (residual(300), "a residual whose input scale is 300 times its output's, against 1"),
    "uint8-network": (same_network({"dtype": "uint8"}, {"dtype": "int8"}), "a separable block in uint8, against int8"),
    "int16-activations": (same_network({"dtype": "int16"}, {"dtype": "int8"}), "a separable block 16x8, against int8"),
    "hybrid-weights": (
        same_network({"dtype": "float32", "kernel_dtype": "int8"}, {"dtype": "int8"}),
        "a separable block with int8 weights under float, against int8",
    ),
    "layout-transposes": (layout_transposes, "two TRANSPOSE between two 1x1 convolutions, against none"),
    "batch": (batch, "four pictures, against one"),
    "dynamic-shape": (dynamic, "two 1x1 convolutions of open size, against a fixed one"),
    "softmax-inside": (softmax, "SOFTMAX of 65x65x21 behind a 1x1 convolution, against the logits"),
    "dead-operators": (dead_branch, "a 3x3 convolution that no one reads, against none"),
    "second-output": (second_output, "a middle tensor as a second output, against one output"),
    "unequal-scales": (concatenation, "a concatenation of two scales, against one"),
    "dead-channels": (dead_channels, "32 of 64 channels zero, against 32 channels"),
}  # fmt: skip
"""By rule, or by rule and variant after a colon: what makes the model with the fault and the one without, and what both
are. All are int8 at 64 x 64 x 48 where nothing else is said."""

PAIRS = {name: build for name, (build, _) in CASES.items()}
