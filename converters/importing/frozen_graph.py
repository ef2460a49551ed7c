"""Reads a TensorFlow 1 frozen graph: variables by name, strides and rates, the crop, fake-quant ranges, and runs it.

Batch norm may stand apart (the official export) or be folded into kernels and biases.

    reading = read_frozen_graph(Path("frozen_inference_graph.pb"))
    reading.layout.crop_hw, reading.run(pixels)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_deeplab.converters.importing.fake_quant import read_ranges
from edge_deeplab.converters.importing.graph_def import FAKE_QUANT, PASSING, GraphDef
from edge_deeplab.converters.importing.readings import (
    BATCH_NORM,
    FROZEN_GRAPH,
    KERNELS,
    Convolution,
    Layout,
    Reading,
)
from edge_deeplab.errors import ConversionError, ModelError
from edge_deeplab.models.official_config import MEAN_RGB

CONVOLUTIONS = {"Conv2D": "weights", "DepthwiseConv2dNative": "depthwise_weights"}
FUSED_BATCH_NORM = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
BESIDE_KERNEL = {"Mul"}  # folded batch norm in a quantization-aware graph: kernel * gamma / sqrt(variance)
RECTIFIERS = {"Relu": "relu", "Relu6": "relu6"}
PROBE_HW = (17, 33)  # smaller than any crop: an export pads what is fed to its own
PIXEL_TOLERANCE = 1e-3  # float32 gives 1e-5; p / 128 - 1, another network's, is 8e-3 off
# Endings that TensorFlow's own graph rewriting puts behind names.
_REWRITTEN = re.compile(r"__cf__\d+$|_\d+__inlined$")
_NODE_ENDS = re.compile(r"/(Conv2D|depthwise|separable_conv2d|convolution|Conv2D_Fold|depthwise_Fold)(/[^/]*)?$")


@dataclass(frozen=True)
class Kernel:
    """One convolution of the graph: its node, its kernel's official name and value, what is fake-quantized of it."""

    node: Any
    name: str
    value: np.ndarray


def read_frozen_graph(path: Path, *, is_preprocessed: bool = False) -> Reading:
    """Reads a frozen graph.

    Args:
        is_preprocessed: its input takes what the preprocessing gives (-1..1, or less the mean), not pixels.
    Raises: ModelError when it is damaged or of another kind; ConversionError naming what of it cannot be imported.
    """
    graph = GraphDef.read(path)
    _refuse_variables(graph)
    kernels = _kernels(graph)
    first = kernels[0]
    image, placeholder = _input_of(graph, first)
    session = _Session(graph, graph.without_fake_quant(), placeholder, is_preprocessed)
    variables, epsilons = _variables(graph, kernels)
    crop_hw, mean_rgb = _preprocessing(session, image, first.name, is_preprocessed)
    logits = _logits(graph, kernels)
    convolutions = _convolutions(graph, kernels, session.static_sizes())
    pooling = _pooling(graph, kernels)
    ranges = read_ranges(graph, {kernel.node.name: kernel.name for kernel in kernels})
    run_quantized = None
    if ranges is not None:
        quantized = _Session(graph, graph.proto, placeholder, is_preprocessed)
        run_quantized = quantized.runner(logits, mean_rgb)
    return Reading(
        source=graph.source, kind=FROZEN_GRAPH, variables=variables, epsilons=epsilons, mean_rgb=mean_rgb,
        layout=Layout(convolutions=convolutions, crop_hw=crop_hw, gate=_gate(graph), **pooling),
        ranges=ranges,
        run=session.runner(logits, mean_rgb),
        run_quantized=run_quantized,
    )  # fmt: skip


def _refuse_variables(graph: GraphDef) -> None:
    loose = next(graph.of("VariableV2", "Variable", "VarHandleOp"), None)
    if loose is not None:
        raise ModelError(
            f"{graph.source}: its variables are not frozen", came=f"{loose.name} ({loose.op})",
            allowed="constants", next_step="import the checkpoint they are in, or freeze the graph",
        )  # fmt: skip


def _kernels(graph: GraphDef) -> list[Kernel]:
    """Every convolution, in the order of the network. Raises ConversionError for kernels that are used twice."""
    found: dict[str, Kernel] = {}
    for node in graph.of(*CONVOLUTIONS):
        constant = _kernel_constant(graph, graph.inputs(node)[1])
        if constant is None:
            continue
        name = _official_name(constant.name, node)
        if name in found:
            raise ConversionError(
                f"{graph.source}: runs its network several times (scales or mirror images)",
                came=f"{found[name].node.name} and {node.name} read {name}",
                next_step="export it with inference_scales 1.0 and without flips, or import its checkpoint",
            )
        found[name] = Kernel(node, name, graph.value(constant).astype(np.float32))
    if not found:
        raise ModelError(f"{graph.source}: no convolutions with constant kernels", came=f"{len(graph.nodes)} nodes",
                         allowed="a frozen graph of a DeepLab")  # fmt: skip
    return list(found.values())


def _kernel_constant(graph: GraphDef, name: str) -> Any | None:
    """The constant a kernel comes from, through reads, fake quantization and folded batch norm."""
    node = graph.behind(name, passing=PASSING | FAKE_QUANT)
    if node is not None and node.op in BESIDE_KERNEL:
        sides = [graph.behind(side) for side in graph.inputs(node)]
        return next((side for side in sides if side is not None and side.op == "Const"
                     and len(side.attr["value"].tensor.tensor_shape.dim) == 4), None)  # fmt: skip
    return node if node is not None and node.op == "Const" else None


def _official_name(constant: str, node: Any) -> str:
    name = _REWRITTEN.sub("", constant)
    if name.rpartition("/")[2] in KERNELS:
        return name
    return f"{_NODE_ENDS.sub('', node.name)}/{CONVOLUTIONS[node.op]}"


def _input_of(graph: GraphDef, first: Kernel) -> tuple[str, str]:
    """What the first convolution reads, before padding and fake quantization, and the graph's placeholder."""
    image = graph.behind(graph.inputs(first.node)[0], passing=PASSING | FAKE_QUANT | {"Pad", "PadV2"})
    if image is None:
        raise ModelError(f"{graph.source}: {first.node.name} reads nothing")
    fed = [node.name for node in graph.upstream(image.name) if node.op in ("Placeholder", "PlaceholderV2")]
    if len(fed) != 1:
        raise ConversionError(
            f"{graph.source}: not a network of one picture", came=f"inputs {', '.join(fed) or 'none'}",
            allowed="one placeholder",
        )  # fmt: skip
    return image.name, fed[0]


def _variables(graph: GraphDef, kernels: list[Kernel]) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Official name -> array, and scope -> epsilon. A layer without a batch norm apart has "biases"."""
    variables: dict[str, np.ndarray] = {}
    epsilons: dict[str, float] = {}
    for kernel in kernels:
        scope = kernel.name.rpartition("/")[0]
        variables[kernel.name] = kernel.value
        apart = {name: graph.nodes.get(f"{scope}/BatchNorm/{name}") for name in BATCH_NORM}
        bias = graph.nodes.get(f"{scope}/biases")
        if all(node is not None and node.op == "Const" for node in apart.values()):
            # by name: a quantization-aware graph computes with them in its own way
            variables |= {f"{scope}/BatchNorm/{name}": _float(graph, node) for name, node in apart.items()}
            epsilons |= _epsilon(graph, scope)
        elif bias is not None and bias.op == "Const":
            variables[f"{scope}/biases"] = _float(graph, bias)
        else:
            _add_what_follows(graph, kernel, variables, epsilons)
    return variables, epsilons


def _float(graph: GraphDef, node: Any) -> np.ndarray:
    return graph.value(node).astype(np.float32)


def _epsilon(graph: GraphDef, scope: str) -> dict[str, float]:
    for reader in graph.downstream(f"{scope}/BatchNorm/moving_variance"):
        if reader.op in FUSED_BATCH_NORM:
            # float32 1e-3 reads 0.0010000000475; six digits give back what was written
            return {scope: float(f"{reader.attr['epsilon'].f:.6g}")}
        if reader.op not in PASSING:
            break
    return {}


def _add_what_follows(
    graph: GraphDef, kernel: Kernel, variables: dict[str, np.ndarray], epsilons: dict[str, float]
) -> None:
    """Batch norm or bias from the operators behind a convolution, for graphs whose constants lost their names."""
    scope = kernel.name.rpartition("/")[0]
    for node in _chain(graph, kernel.node):
        inputs = graph.inputs(node)
        if node.op in FUSED_BATCH_NORM:
            values = [graph.constant(name) for name in inputs[1:5]]
            if any(value is None for value in values):
                raise ConversionError(f"{graph.source}: {node.name} computes its statistics", allowed="constants")
            for name, value in zip(BATCH_NORM, values):
                variables[f"{scope}/BatchNorm/{name}"] = np.asarray(value, np.float32)
            epsilons[scope] = float(f"{node.attr['epsilon'].f:.6g}")
            return
        constants = [value for value in map(graph.constant, inputs) if value is not None]
        if node.op in ("BiasAdd", "Add", "AddV2") and constants:
            variables[f"{scope}/biases"] = np.asarray(constants[0], np.float32).reshape(-1)
            return
        if node.op == "Mul" and constants:
            raise ConversionError(
                f"{graph.source}: the batch norm of {scope} is taken apart and has lost its names",
                came=f"{node.op} {node.name}", allowed="FusedBatchNorm, or folded into kernel and bias",
                next_step="import the checkpoint instead",
            )  # fmt: skip


def _chain(graph: GraphDef, node: Any) -> list[Any]:
    """The operators behind a node, as long as there is one after the other."""
    chain = []
    while len(readers := graph.readers[node.name]) == 1:
        node = readers[0]
        chain.append(node)
    return chain


def _convolutions(
    graph: GraphDef, kernels: list[Kernel], sizes: dict[str, tuple[int, int] | None]
) -> dict[str, Convolution]:
    found = {}
    for kernel in kernels:
        node = kernel.node
        strides, dilations = list(node.attr["strides"].list.i), list(node.attr["dilations"].list.i) or [1, 1, 1, 1]
        before = graph.behind(graph.inputs(node)[0], passing=PASSING | FAKE_QUANT)
        rate_hw = (int(dilations[1]), int(dilations[2]))
        if before is not None and before.op == "SpaceToBatchND":
            block = graph.constant(graph.inputs(before)[1])
            if block is None:
                raise ConversionError(f"{graph.source}: {before.name} computes its block shape")
            rate_hw = (int(block[0]), int(block[1]))
        found[kernel.name] = Convolution(
            stride_hw=(int(strides[1]), int(strides[2])), rate_hw=rate_hw, out_hw=sizes.get(node.name),
            activation=_activation(graph, node),
        )  # fmt: skip
    return found


def _activation(graph: GraphDef, node: Any) -> str | None:
    passed = {"BiasAdd", "BatchToSpaceND", "Add", "AddV2", "Mul", *FUSED_BATCH_NORM, *PASSING, *FAKE_QUANT}
    for after in _chain(graph, node):
        if after.op in RECTIFIERS:
            return RECTIFIERS[after.op]
        if after.op not in passed:
            return None
    return None


def _pooling(graph: GraphDef, kernels: list[Kernel]) -> dict[str, tuple[int, int]]:
    """Window and stride of the pooling that image_pooling reads."""
    kernel = next((kernel for kernel in kernels if kernel.name == "image_pooling/weights"), None)
    if kernel is None:
        return {}
    node = graph.behind(graph.inputs(kernel.node)[0], passing=PASSING | FAKE_QUANT)
    if node is None or node.op != "AvgPool":
        return {}
    window, strides = list(node.attr["ksize"].list.i), list(node.attr["strides"].list.i)
    return {"pooling_hw": (int(window[1]), int(window[2])), "pooling_stride_hw": (int(strides[1]), int(strides[2]))}


def _gate(graph: GraphDef) -> str | None:
    """What the image pooling's product is gated with."""
    if "image_pooling/weights" not in graph.nodes:
        return None
    for node in graph.downstream("image_pooling/weights"):
        if node.op == "Sigmoid":
            return "sigmoid"
        if node.op == "Relu6":
            return "hard_sigmoid"
        if node.op in ("ResizeBilinear", "ConcatV2", "Relu"):
            return None
    return None


def _logits(graph: GraphDef, kernels: list[Kernel]) -> str:
    """The tensor of the logits: what the argmax or softmax reads, else the last enlargement."""
    last = next((kernel for kernel in reversed(kernels) if kernel.name.startswith(("logits/", "decoder/"))), None)
    if last is None:
        raise ModelError(f"{graph.source}: has no DeepLab head", came=f"its last convolution is {kernels[-1].name}",
                         allowed="logits/semantic, or a decoder that ends in the logits")  # fmt: skip
    resized = ""
    tail = list(graph.downstream(last.node.name))
    for op in ("ArgMax", "Softmax"):
        ends = [node for node in tail if node.op == op]
        if ends:
            before = graph.behind(graph.inputs(ends[0])[0], passing=PASSING | {"Softmax"})
            if before is not None:
                return str(before.name)
    for node in tail:
        if node.op in ("ResizeBilinear", "BiasAdd", "Add", "AddV2"):
            resized = node.name
    return resized or str(last.node.name)


def _preprocessing(
    session: _Session, image: str, first: str, is_preprocessed: bool
) -> tuple[tuple[int, int] | None, tuple[float, float, float] | None]:
    """The crop, and the mean where pixels are not scaled, by what black and white become.

    Raises: ConversionError where they become what no preprocessing of the official code makes of them.
    """
    small, large = (
        session.fetch(image, np.zeros((1, *PROBE_HW, 3))),
        session.fetch(image, np.zeros((1, *PROBE_HW[::-1], 3))),
    )
    seen_hw = session.fixed_hw or (None if small.shape[1:3] != large.shape[1:3] else tuple(small.shape[1:3]))
    if is_preprocessed:
        return seen_hw, None
    size_hw = seen_hw or PROBE_HW
    black = session.fetch(image, np.zeros((1, *size_hw, 3)))[0, 0, 0]
    white = session.fetch(image, np.full((1, *size_hw, 3), 255.0))[0, 0, 0]
    if np.allclose(black, -1, atol=PIXEL_TOLERANCE) and np.allclose(white, 1, atol=PIXEL_TOLERANCE):
        return seen_hw, None
    mean = np.asarray(MEAN_RGB)
    if np.allclose(black, -mean, atol=PIXEL_TOLERANCE) and np.allclose(white, 255 - mean, atol=PIXEL_TOLERANCE):
        return seen_hw, MEAN_RGB
    came = " and ".join(", ".join(f"{value:g}" for value in dict.fromkeys(end.tolist())) for end in (black, white))
    is_bare = np.allclose(black, 0) and np.allclose(white, 255)
    raise ConversionError(
        f"{session.graph.source}: its preprocessing is {'left out' if is_bare else 'not the official one'}",
        came=f"pixels 0 and 255 reach {first} as {came}",
        allowed="-1 and 1, or less the mean of {:g}, {:g}, {:g}".format(*MEAN_RGB),
        next_step="--preprocessed if its input takes -1..1 already" if is_bare else None,
    )


class _Session:
    """A graph, ready to run. proto: its nodes, with or without fake quantization."""

    def __init__(self, graph: GraphDef, proto: Any, placeholder: str, is_preprocessed: bool) -> None:
        import tensorflow as tf

        self.graph, self.placeholder, self.is_preprocessed = graph, placeholder, is_preprocessed
        self._tf = tf
        self._graph = tf.Graph()
        try:
            with self._graph.as_default():
                tf.import_graph_def(proto, name="")
        except (ValueError, tf.errors.OpError) as error:
            raise ModelError(f"{graph.source}: TensorFlow cannot load its graph", came=_first_line(error)) from error
        self._session = tf.compat.v1.Session(graph=self._graph)
        tensor = self._graph.get_tensor_by_name(f"{placeholder}:0")
        self._dtype, self._rank = tensor.dtype, tensor.shape.rank
        sides = tuple(tensor.shape[-3:-1]) if self._rank in (3, 4) else (None, None)
        self.fixed_hw: tuple[int, int] | None = (sides[0], sides[1]) if None not in sides else None

    def static_sizes(self) -> dict[str, tuple[int, int] | None]:
        """Operator -> height and width of its output, where the graph fixes them."""
        sizes: dict[str, tuple[int, int] | None] = {}
        for operation in self._graph.get_operations():
            if operation.type in CONVOLUTIONS and operation.outputs[0].shape.rank == 4:
                height, width = operation.outputs[0].shape[1:3]
                sizes[operation.name] = (height, width) if height and width else None
        return sizes

    def fetch(self, name: str, pixels: np.ndarray) -> np.ndarray:
        """A tensor for pictures (N, H, W, 3). Raises ConversionError when the graph does not run."""
        tf = self._tf
        if self.fixed_hw is not None and pixels.shape[1:3] != self.fixed_hw:
            pixels = np.resize(pixels, (pixels.shape[0], *self.fixed_hw, 3))
        value = pixels.astype(self._dtype.as_numpy_dtype)
        try:
            return np.asarray(
                self._session.run(f"{name}:0", {f"{self.placeholder}:0": value[0] if self._rank == 3 else value})
            )
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise ConversionError(
                f"{self.graph.source}: its graph does not run to {name}", came=_first_line(error)
            ) from error

    def runner(self, logits: str, mean_rgb: tuple[float, float, float] | None) -> Callable[[np.ndarray], np.ndarray]:
        """What Reading.run wants, picture by picture: the graphs are of one."""

        def run(pixels: np.ndarray) -> np.ndarray:
            given = pixels
            if self.is_preprocessed:
                given = pixels * (2.0 / 255.0) - 1.0 if mean_rgb is None else pixels - np.asarray(mean_rgb)
            return np.concatenate([self.fetch(logits, picture[np.newaxis]) for picture in given])

        return run


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
