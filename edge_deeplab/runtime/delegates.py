"""Who runs a model's operators: how many XNNPACK partitions there are, and what they leave to the plain kernels.

    delegation = delegation_of(Path("portrait.tflite"))
    delegation.partitions, delegation.outside

Each border between a partition and a plain kernel costs a copy and a repacking; a model is fast in one partition.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_deeplab.errors import ModelError
from edge_deeplab.runtime.interpreter import quiet_native_log, select_engine
from edge_deeplab.runtime.probe import ensure_loads

_DELEGATE = "DELEGATE"


@dataclass(frozen=True)
class Delegation:
    """How the interpreter in use divides a model's first subgraph.

    Attributes:
        partitions: delegate nodes; 0 where the interpreter brings no delegate for such a model.
        outside: indices, in file order, of the operators that run outside of them.
    """

    partitions: int
    outside: tuple[int, ...]

    @property
    def is_complete(self) -> bool:
        """Whether one partition holds every operator."""
        return self.partitions == 1 and not self.outside


def delegation_of(path: Path) -> Delegation:
    """Loads a model with the default delegate and reads how it was divided.

    Raises: ModelError when the model does not load (the first load of a file happens in a child process);
        MissingExtraError when no interpreter is installed.
    """
    return divide(*_nodes_and_outputs(path))


def partitions_of(path: Path) -> list[tuple[int, ...]]:
    """The operators of each partition, by their number in the file; partitions in the order they run.

    Raises: as delegation_of.
    """
    return members(_nodes_and_outputs(path)[0])


def _nodes_and_outputs(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    ensure_loads(path)
    try:
        with quiet_native_log():
            interpreter = select_engine().module.Interpreter(model_path=str(path), num_threads=1)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: does not load", came=str(error)) from error
    # The only place that lists delegate nodes; private, but there from TensorFlow 2.5 to ai-edge-litert 2.3.
    return interpreter._get_ops_details(), [details["index"] for details in interpreter.get_output_details()]


def members(nodes: list[dict[str, Any]]) -> list[tuple[int, ...]]:
    """What each delegate node stands for: the operators that a walk back from its outputs to its inputs meets.

    nodes: as `divide` takes them.
    """
    operators = [node for node in nodes if node["op_name"] != _DELEGATE]
    maker = {int(tensor): node for node in operators for tensor in node["outputs"]}
    found = []
    for delegate in (node for node in nodes if node["op_name"] == _DELEGATE):
        given = {int(tensor) for tensor in delegate["inputs"]}
        met: set[int] = set()
        open_tensors = [int(tensor) for tensor in delegate["outputs"]]
        while open_tensors:
            tensor = open_tensors.pop()
            node = maker.get(tensor)
            if node is not None and tensor not in given and node["index"] not in met:
                met.add(node["index"])
                open_tensors += [int(other) for other in node["inputs"]]
        found.append(tuple(sorted(met)))
    return found


def divide(nodes: list[dict[str, Any]], outputs: list[int]) -> Delegation:
    """Which nodes are run: those that a walk back from the graph's outputs meets, delegates taken before originals.

    nodes: as the interpreter lists them: the file's operators in order, then the delegate nodes put in their place.
        Each has op_name, inputs and outputs (tensor indices, negative for one left out).
    """
    operators = [node for node in nodes if node["op_name"] != _DELEGATE]
    delegates = [node for node in nodes if node["op_name"] == _DELEGATE]
    maker = {int(tensor): node for node in operators for tensor in node["outputs"]}
    maker |= {int(tensor): node for node in delegates for tensor in node["outputs"]}
    met: dict[int, dict[str, Any]] = {}
    open_tensors = [int(tensor) for tensor in outputs]
    while open_tensors:
        node = maker.get(open_tensors.pop())
        if node is not None and node["index"] not in met:
            met[node["index"]] = node
            open_tensors += [int(tensor) for tensor in node["inputs"]]
    outside = sorted(index for index, node in met.items() if node["op_name"] != _DELEGATE)
    return Delegation(partitions=len(delegates), outside=tuple(outside))
