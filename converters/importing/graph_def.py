"""A TensorFlow 1 GraphDef as something to walk through: nodes, constants, who reads whom.

graph = GraphDef.read(Path("frozen_inference_graph.pb"))
graph.constant("MobilenetV2/Conv/weights")
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edge_deeplab.errors import MissingExtraError, ModelError

ALLOWED = "a TensorFlow 1 GraphDef (.pb) with its variables as constants"
# Nothing changes on the way through them.
PASSING = {"Identity", "CheckNumerics", "StopGradient", "PreventGradient", "Snapshot"}
FAKE_QUANT = {"FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVarsPerChannel"}


class GraphDef:
    """The nodes of a frozen graph.

    Attributes:
        source: its path, for messages.
        proto: the GraphDef itself.
        nodes: name -> node, in the file's order.
        readers: name -> the nodes that read it.
    """

    def __init__(self, proto: Any, source: str) -> None:
        self.source, self.proto = source, proto
        self.nodes: dict[str, Any] = {node.name: node for node in proto.node}
        self.readers: dict[str, list[Any]] = {name: [] for name in self.nodes}
        for node in proto.node:
            for name in self.inputs(node):
                if name in self.readers:
                    self.readers[name].append(node)

    @classmethod
    def read(cls, path: Path) -> GraphDef:
        """Parses a file. Raises ModelError when it is none, MissingExtraError when TensorFlow is not installed."""
        try:
            import tensorflow as tf
            from google.protobuf.message import DecodeError
        except ImportError as error:
            raise MissingExtraError("tensorflow", extra="train", purpose="reading a frozen graph") from error
        proto = tf.compat.v1.GraphDef()
        try:
            proto.ParseFromString(path.read_bytes())
        except DecodeError as error:
            raise ModelError(
                f"{path}: no frozen graph, cut short, or damaged", came="bytes that are no GraphDef", allowed=ALLOWED
            ) from error
        if not proto.node or any(not node.op for node in proto.node):
            raise ModelError(f"{path}: no frozen graph", came="a file without nodes", allowed=ALLOWED)
        return cls(proto, str(path))

    def inputs(self, node: Any) -> list[str]:
        """Names of the nodes whose values a node reads, control inputs left out."""
        return [name.partition(":")[0] for name in node.input if not name.startswith("^")]

    def behind(self, name: str, *, passing: set[str] = PASSING) -> Any | None:
        """The node that makes what `name` passes on; None for a name that is not there."""
        node = self.nodes.get(name)
        while node is not None and node.op in passing:
            node = self.nodes.get(self.inputs(node)[0])
        return node

    def constant(self, name: str) -> np.ndarray | None:
        """The value of a constant, looked up through what passes it on; None for what is computed.

        Raises: ModelError when its bytes are cut short.
        """
        node = self.behind(name)
        return None if node is None or node.op != "Const" else self.value(node)

    def value(self, node: Any) -> np.ndarray:
        """The value of a Const node. Raises ModelError when its bytes are cut short."""
        import tensorflow as tf

        try:
            return np.asarray(tf.make_ndarray(node.attr["value"].tensor))
        except (ValueError, TypeError) as error:
            raise ModelError(f"{self.source}: constant {node.name} is damaged", came=str(error)) from error

    def of(self, *ops: str) -> Iterator[Any]:
        """The nodes of some kinds, in the file's order."""
        return (node for node in self.proto.node if node.op in ops)

    def upstream(self, name: str) -> Iterator[Any]:
        """The nodes that `name` depends on, itself first."""
        seen, waiting = set(), [name]
        while waiting:
            current = waiting.pop(0)
            if current in seen or current not in self.nodes:
                continue
            seen.add(current)
            yield self.nodes[current]
            waiting.extend(self.inputs(self.nodes[current]))

    def downstream(self, name: str) -> Iterator[Any]:
        """The nodes that depend on `name`, nearest first, itself left out."""
        seen, waiting = {name}, list(self.readers.get(name, ()))
        while waiting:
            node = waiting.pop(0)
            if node.name in seen:
                continue
            seen.add(node.name)
            yield node
            waiting.extend(self.readers[node.name])

    def without_fake_quant(self) -> Any:
        """A copy of the proto in which fake quantization lets everything through."""
        import tensorflow as tf

        proto = tf.compat.v1.GraphDef()
        proto.CopyFrom(self.proto)
        for node in proto.node:
            if node.op in FAKE_QUANT:
                first = node.input[0]
                node.op = "Identity"
                del node.input[:]
                node.input.append(first)
                node.attr.clear()
                node.attr["T"].type = tf.float32.as_datatype_enum
        return proto
