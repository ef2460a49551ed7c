"""Reads backbone weights by official variable name: out of TensorFlow 1 frozen graphs and checkpoints.

backbone = backbone_of_checkpoint(Path("resnet_v1_50.ckpt"))
backbone.arrays["resnet_v1_50/block1/unit_1/bottleneck_v1/conv1/weights"]
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edge_deeplab.converters.starts.backbone_weights import (
    BATCH_NORM,
    KERNELS,
    SCOPES,
    ForeignBackbone,
    of_variables,
)
from edge_deeplab.errors import MissingExtraError, ModelError

AVERAGE = "/ExponentialMovingAverage"
# What slim's ImageNet classifiers subtract (vgg_preprocessing.py); DeepLab's own mean is another.
SLIM_MEAN_RGB = (123.68, 116.78, 103.94)
_VARIABLES = (*KERNELS, *(f"BatchNorm/{name}" for name in BATCH_NORM))


def backbone_of_frozen_graph(data: bytes, source: str) -> ForeignBackbone:
    """The backbone whose variables are constants of a TensorFlow 1 graph.

    Raises: ModelError when the bytes are no graph or hold no backbone, MissingExtraError without TensorFlow.
    """
    tf = _tensorflow("reading a frozen graph")
    from google.protobuf.message import DecodeError

    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(data)
    except DecodeError as error:
        raise ModelError(
            f"{source}: no weights known here, or damaged",
            allowed="a TensorFlow frozen graph (.pb), a TensorFlow checkpoint, a Keras weight file (.h5, .keras) or a "
            ".tflite",
        ) from error
    nodes = {node.name: node for node in graph.node}
    constants = [name for name, node in nodes.items() if node.op == "Const"]
    scope = _scope(constants, source, next_step="a graph of variables has to be frozen first")
    try:
        arrays = {
            name: np.asarray(tf.make_ndarray(nodes[name].attr["value"].tensor), np.float32)
            for name in _wanted(constants, scope)
        }
    except (ValueError, TypeError) as error:
        raise ModelError(f"{source}: a constant of this frozen graph is damaged", came=str(error)) from error
    return of_variables(arrays, scope, source=source, epsilon=_epsilon(nodes, scope))


def backbone_of_checkpoint(prefix: Path) -> ForeignBackbone:
    """The backbone among a checkpoint's variables. Of a variable that has a moving average, that is read.

    Raises: ModelError when the checkpoint is damaged, lacks a file or holds no backbone; MissingExtraError without
        TensorFlow.
    """
    tf = _tensorflow("reading a TensorFlow checkpoint")
    source = str(prefix)
    try:
        reader = tf.train.load_checkpoint(source)
        names = list(reader.get_variable_to_shape_map())
        scope = _scope(names, source)
        arrays = {
            name: np.asarray(reader.get_tensor(name + AVERAGE if name + AVERAGE in names else name), np.float32)
            for name in _wanted(names, scope)
        }
        mean_rgb = _mean_rgb(reader, names, scope)
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
        raise ModelError(
            f"{source}: damaged, or a file of this checkpoint is missing", came=str(error).splitlines()[0],
            allowed="NAME.index and all NAME.data-*, or the one file of an old checkpoint",
        ) from error  # fmt: skip
    return of_variables(arrays, scope, source=source, mean_rgb=mean_rgb)


def _mean_rgb(reader: Any, names: list[str], scope: str) -> tuple[float, ...] | None:
    """What a slim classifier subtracts, where this is one; None for DeepLab's own."""
    if f"{scope}/mean_rgb" in names:  # the old ones say it
        return tuple(float(value) for value in np.ravel(reader.get_tensor(f"{scope}/mean_rgb")))
    return SLIM_MEAN_RGB if f"{scope}/logits/weights" in names else None


def _scope(names: Iterable[str], source: str, next_step: str | None = None) -> str:
    """The backbone whose variables are there."""
    firsts = {name.split("/", 1)[0] for name in names}
    found = sorted(firsts & SCOPES.keys())
    if len(found) == 1:
        return found[0]
    some = ", ".join(sorted(firsts)[:6])
    raise ModelError(
        f"{source}: holds no backbone known here", came=f"names that begin with {some}" if some else "no names",
        allowed="one of " + ", ".join(sorted(SCOPES)), next_step=next_step,
    )  # fmt: skip


def _wanted(names: Iterable[str], scope: str) -> list[str]:
    """Those names that are variables of the backbone's convolutions and batch norms; a classifier's are not."""
    return [
        name
        for name in names
        if name.startswith(f"{scope}/") and name.endswith(_VARIABLES) and "logits/" not in name.lower()
    ]


def _epsilon(nodes: Mapping[str, Any], scope: str) -> float | None:
    """Epsilon of the first batch norm: slim builds every layer of a backbone with the same one."""
    pattern = re.compile(rf"{scope}/.*BatchNorm/FusedBatchNorm(V\d)?")
    for name, node in nodes.items():
        if pattern.fullmatch(name):
            # float32 1e-3 reads 0.0010000000475; six digits give back what was written
            return float(f"{node.attr['epsilon'].f:.6g}")
    return None


def _tensorflow(purpose: str) -> Any:
    try:
        import tensorflow as tf
    except ImportError as error:
        raise MissingExtraError("tensorflow", extra="train", purpose=purpose) from error
    return tf
