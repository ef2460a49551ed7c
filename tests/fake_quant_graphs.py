"""Frozen graphs as quantization-aware training in TensorFlow 1 leaves them, made from a float one.

Two ways of writing the same thing: fake quantization of the kernels as they are, and of kernels with batch norm folded
in, by operators, as tf.contrib.quantize did.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

RELUS = ("Relu", "Relu6")
SUMS = ("Add", "AddV2")


def frozen(path: Any) -> Any:
    """A GraphDef from a file."""
    proto = tf.compat.v1.GraphDef()
    proto.ParseFromString(path.read_bytes())
    return proto


def _node(proto: Any, name: str, op: str, *inputs: str, **attributes: Any) -> str:
    node = proto.node.add(name=name, op=op, input=list(inputs))
    for key, value in attributes.items():
        if key == "value":
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
            node.attr["dtype"].type = tf.as_dtype(np.asarray(value).dtype).as_datatype_enum
        else:
            node.attr[key].CopyFrom(value)
    if op not in ("Const", "FakeQuantWithMinMaxVars"):
        node.attr["T"].type = tf.float32.as_datatype_enum
    return name


def _fake_quant(proto: Any, tensor: str, low: float, high: float, *, bits: int = 8, narrow: bool = False) -> str:
    scope = f"{tensor}_quant"
    _node(proto, f"{scope}/min", "Const", value=np.float32(low))
    _node(proto, f"{scope}/max", "Const", value=np.float32(high))
    name = _node(proto, f"{scope}/FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVars", tensor, f"{scope}/min",
                 f"{scope}/max")  # fmt: skip
    node = proto.node[-1]
    node.attr["num_bits"].i = bits
    node.attr["narrow_range"].b = narrow
    return name


def activations(proto: Any) -> list[str]:
    """What a quantization-aware training watches: ReLUs, linear batch norms, sums, logits. Not joins and pools."""
    readers: dict[str, list[Any]] = {}
    for node in proto.node:
        for name in node.input:
            readers.setdefault(name.split(":")[0], []).append(node)
    chosen = []
    for node in proto.node:
        inside = node.name.split("/")[0] in ("MobilenetV2", "image_pooling", "aspp0", "concat_projection", "logits")
        if not inside:
            continue
        is_linear = node.op.startswith("FusedBatchNorm") and all(r.op not in RELUS for r in readers.get(node.name, ()))
        if node.op in (*RELUS, *SUMS) or is_linear or node.name == "logits/semantic/BiasAdd":
            chosen.append(node.name)
    return chosen


def seen_ranges(proto: Any, names: list[str], image: str, pixels: np.ndarray) -> dict[str, tuple[float, float]]:
    """The extremes of tensors for one picture (1, H, W, 3)."""
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(proto, name="")
        with tf.compat.v1.Session(graph=graph) as session:
            values = session.run([f"{name}:0" for name in names], {f"{image}:0": pixels})
    return {name: (float(min(value.min(), 0)), float(max(value.max(), 0))) for name, value in zip(names, values)}


def quantized(proto: Any, ranges: dict[str, tuple[float, float]], *, folds: bool) -> Any:
    """The graph with fake quantization behind the tensors of `ranges` and before every convolution's kernel."""
    result = tf.compat.v1.GraphDef()
    result.CopyFrom(proto)
    constants = {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in proto.node if node.op == "Const"}
    originals = list(result.node)
    moved: dict[str, str] = {}
    for node in originals:
        if node.op in ("Conv2D", "DepthwiseConv2dNative"):
            constant = node.input[1].removesuffix("/read")
            scope = constant.rpartition("/")[0]
            has_batch_norm = f"{scope}/BatchNorm/gamma" in constants
            if folds and has_batch_norm:
                moved |= _fold(result, originals, node, scope, constants)
            else:
                kernel = constants[constant]
                node.input[1] = _fake_quant(result, node.input[1], kernel.min(), kernel.max(), narrow=True)
    for tensor, (low, high) in ranges.items():
        behind = moved.get(tensor, tensor)
        made = _fake_quant(result, behind, low, high)
        for node in originals:
            for position, name in enumerate(node.input):
                if name in (tensor, behind):
                    node.input[position] = made
    return result


def _fold(proto: Any, originals: list[Any], node: Any, scope: str, constants: dict[str, np.ndarray]) -> dict[str, str]:
    """Kernel times gamma / sqrt(variance + epsilon) before a convolution, beta less mean * that behind it."""
    norm = next(n for n in originals if n.op.startswith("FusedBatchNorm") and n.name.startswith(f"{scope}/BatchNorm/"))
    epsilon, fold = norm.attr["epsilon"].f, f"{scope}/BatchNorm_Fold"
    _node(proto, f"{fold}/add/y", "Const", value=np.float32(epsilon))
    _node(proto, f"{fold}/add", "Add", norm.input[4], f"{fold}/add/y")
    _node(proto, f"{fold}/Rsqrt", "Rsqrt", f"{fold}/add")
    scale = _node(proto, f"{fold}/mul", "Mul", f"{fold}/Rsqrt", norm.input[1])
    _node(proto, f"{fold}/mul_1", "Mul", norm.input[3], scale)
    bias = _node(proto, f"{fold}/bias", "Sub", norm.input[2], f"{fold}/mul_1")
    folded_scale = scale
    if node.op == "DepthwiseConv2dNative":
        _node(proto, f"{fold}/shape", "Const", value=np.array([-1, 1], np.int32))
        folded_scale = _node(proto, f"{fold}/scale_reshape", "Reshape", scale, f"{fold}/shape")
        proto.node[-1].attr["Tshape"].type = tf.int32.as_datatype_enum
    kernel_name = node.input[1]
    multiplied = _node(proto, f"{scope}/mul_fold", "Mul", kernel_name, folded_scale)
    gamma, variance = (constants[f"{scope}/BatchNorm/{part}"] for part in ("gamma", "moving_variance"))
    factor = gamma / np.sqrt(variance + epsilon)
    kernel = constants[kernel_name.removesuffix("/read")]
    kernel = kernel * (factor[:, None] if node.op == "DepthwiseConv2dNative" else factor)
    node.input[1] = _fake_quant(proto, multiplied, kernel.min(), kernel.max(), narrow=True)
    added = _node(proto, f"{scope}/add_fold", "Add", norm.input[0], bias)
    for other in originals:
        for position, name in enumerate(other.input):
            if name == norm.name:
                other.input[position] = added
    return {norm.name: added}


def at_crop(proto: Any, crop: int, new: int) -> Any:
    """An official export for another crop: its constants that are sizes, changed."""
    result = tf.compat.v1.GraphDef()
    result.CopyFrom(proto)
    features, new_features = (crop - 1) // 8 + 1, (new - 1) // 8 + 1
    for node in result.node:
        node.attr.pop("_output_shapes", None)
        if node.op == "Const" and not node.name.startswith(("MobilenetV2", "aspp", "image", "concat", "logits")):
            value = tf.make_ndarray(node.attr["value"].tensor)
            if value.dtype.kind in "iu" and np.isin(value, (crop, features)).any():
                value = np.where(value == crop, new, np.where(value == features, new_features, value))
                node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value.astype(np.int32)))
        if node.op == "AvgPool":
            node.attr["ksize"].list.i[:] = [1, new_features, new_features, 1]
    return result


def without_preprocessing(proto: Any, crop: int) -> Any:
    """The graph from the network's own input on, as people cut it for a device."""
    result = tf.compat.v1.GraphDef()
    inside = ("MobilenetV2/", "aspp0", "image_pooling", "concat", "logits/", "AvgPool2D", "ResizeBilinear")
    ends = ("Shape_3", "strided_slice_4", "ArgMax")
    for node in proto.node:
        if node.name == "MobilenetV2/MobilenetV2/input":
            _node(result, "input", "Placeholder")
            placeholder = result.node[-1]
            del placeholder.attr["T"]
            placeholder.attr["dtype"].type = tf.float32.as_datatype_enum
            placeholder.attr["shape"].shape.CopyFrom(tf.TensorShape((1, crop, crop, 3)).as_proto())
            node = tf.compat.v1.NodeDef.FromString(node.SerializeToString())
            node.input[0] = "input"
        if node.name.startswith((*inside, *ends)):
            result.node.add().CopyFrom(node)
    return result


def folded(proto: Any) -> Any:
    """The graph with every batch norm folded: its kernel scaled, a bias in its place, the constants gone."""
    result = tf.compat.v1.GraphDef()
    constants = {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in proto.node if node.op == "Const"}
    norms = {node.input[0].split("/BatchToSpaceND")[0]: node for node in proto.node
             if node.op.startswith("FusedBatchNorm")}  # fmt: skip
    kernels: dict[str, np.ndarray] = {}
    for node in proto.node:
        if node.name in norms:
            norm, kernel = norms[node.name], node.input[1].removesuffix("/read")
            gamma, beta, mean, variance = (constants[name.removesuffix("/read")] for name in norm.input[1:5])
            factor = gamma / np.sqrt(variance + norm.attr["epsilon"].f)
            kernels[kernel] = constants[kernel] * (factor[:, None] if "depthwise_weights" in kernel else factor)
            kernels[norm.name] = beta - mean * factor
    for node in proto.node:
        if "/BatchNorm/" in node.name and not node.op.startswith("FusedBatchNorm"):
            continue
        copy = result.node.add()
        copy.CopyFrom(node)
        if node.name in kernels and node.op == "Const":
            copy.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(kernels[node.name].astype(np.float32)))
        elif node.op.startswith("FusedBatchNorm"):
            bias = f"{node.name}_bn_offset"
            copy.op = "BiasAdd"
            del copy.input[1:]
            copy.input.append(bias)
            copy.attr.clear()
            copy.attr["T"].type = tf.float32.as_datatype_enum
            _node(result, bias, "Const", value=kernels[node.name].astype(np.float32))
    return result
