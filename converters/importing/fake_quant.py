"""The int8 ranges that quantization-aware training in TensorFlow 1 left in a graph, and where they belong in ours.

A place in a network is described by how it is computed from the kernels, so that two graphs of one network agree on it
whatever their operators are called: "aspp0/weights" is what comes out of that convolution, batch norm included;
("relu", place), ("add", place, place), ("concat", place, ...), ("pool", place) are made of others.

    ranges = read_ranges(graph, {node name: kernel name})
    derived(("relu", "aspp0/weights"), ranges.activations)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_deeplab.converters.importing.graph_def import FAKE_QUANT, PASSING, GraphDef
from edge_deeplab.converters.importing.readings import FakeQuantRanges, KernelRange

INPUT = "input"
# What does not change which place a tensor is: what is folded into a convolution, or moves values about.
THROUGH = {
    "BiasAdd", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "BatchToSpaceND", "SpaceToBatchND", "Pad",
    "PadV2", "ResizeBilinear", "Squeeze", "Reshape", *PASSING, *FAKE_QUANT,
}  # fmt: skip
RECTIFIERS = {"Relu", "Relu6"}
POOLS = {"AvgPool": "pool", "Mean": "pool", "MaxPool": "max_pool"}
SUMS = {"Add", "AddV2", "AddN"}


def read_ranges(graph: GraphDef, kernels: Mapping[str, str]) -> FakeQuantRanges | None:
    """The ranges of a graph's fake-quant operators; None where it has none.

    Args:
        kernels: name of a convolution's node -> official name of its kernel.
    """
    activations: dict[object, tuple[float, float]] = {}
    of_kernels: dict[str, KernelRange] = {}
    # what no picture flows through, such as a folded batch norm's arithmetic, is constant
    flowing = {
        reader.name for node in graph.of("Placeholder", "PlaceholderV2") for reader in graph.downstream(node.name)
    }
    places: dict[str, object] = {}
    before_kernels = {}
    for node_name, kernel in kernels.items():
        behind = graph.behind(graph.inputs(graph.nodes[node_name])[1])
        if behind is not None and behind.op in FAKE_QUANT:
            before_kernels[behind.name] = kernel
    for node in graph.of(*FAKE_QUANT):
        ends = _ends(graph, node)
        if ends is None:
            continue
        if node.name in before_kernels:
            made = graph.behind(graph.inputs(node)[0])
            of_kernels[before_kernels[node.name]] = KernelRange(*ends, made is not None and made.op == "Mul")
        else:
            activations[_place(graph, graph.inputs(node)[0], kernels, flowing, places)] = ends
    if not activations and not of_kernels:
        return None
    return FakeQuantRanges(activations=activations, kernels=of_kernels)


def _ends(graph: GraphDef, node: Any) -> tuple[float, float] | None:
    if node.op == "FakeQuantWithMinMaxArgs":
        return float(node.attr["min"].f), float(node.attr["max"].f)
    low, high = (graph.constant(name) for name in graph.inputs(node)[1:3])
    if low is None or high is None:
        return None
    return float(np.min(low)), float(np.max(high))


def _place(
    graph: GraphDef, name: str, kernels: Mapping[str, str], flowing: set[str], known: dict[str, object]
) -> object:
    """Where in the network the output of a node is. Not recursive: graphs are thousands of operators deep."""
    waiting = [name]
    while waiting:
        current = waiting[-1]
        node = graph.nodes.get(current)
        if current in known:
            waiting.pop()
        elif node is None:
            known[current] = INPUT
        elif current in kernels:
            known[current] = kernels[current]
        else:
            sources = [given for given in graph.inputs(node) if given in flowing]
            open_sources = [source for source in sources if source not in known]
            if open_sources:
                waiting.extend(open_sources)
            else:
                known[current] = _made_of(node.op, [known[source] for source in sources])
    return known[name]


def _made_of(op: str, sources: list[object]) -> object:
    if not sources:
        return INPUT
    if op in RECTIFIERS:
        return ("relu", sources[0])
    if op in SUMS and len(sources) > 1:
        return addition(sources)
    if op == "ConcatV2":
        return ("concat", *sources)
    if op in POOLS:
        return (POOLS[op], sources[0])
    if op in ("Mul", "Sub") and len(sources) > 1:
        return ("product", *sources)
    if op in THROUGH or op in SUMS or op in ("Mul", "Sub"):
        return sources[0]
    return INPUT


def addition(sources: list[object]) -> object:
    """The place of a sum: the order of its terms does not count."""
    return ("add", *sorted(sources, key=repr))


def derived(place: object, ranges: Mapping[object, tuple[float, float]]) -> tuple[float, float] | None:
    """The range of a place: its own, or what follows from those it is made of; None where nothing does."""
    if place in ranges:
        return ranges[place]
    if not isinstance(place, tuple):
        return None
    kind, *sources = place
    ends = [derived(source, ranges) for source in sources]
    known = [end for end in ends if end is not None]
    if len(known) < len(sources):
        return None
    if kind == "relu":
        return 0.0, max(known[0][1], 0.0)
    if kind in ("pool", "max_pool"):
        return known[0]
    if kind == "concat":
        return min(low for low, _ in known), max(high for _, high in known)
    return None
