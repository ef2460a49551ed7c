"""Cuts a run of operators out of a .tflite: a model of its own, with the same shapes, types and constants.

    data = Path("portrait.tflite").read_bytes()
    cut = ModelCutter(data)
    first_half = cut.operators(0, 41)     # bytes of a model that ends where operator 41 ends
    alone = cut.operators(12, 12)         # one operator by itself

What is measured or compared with such a piece is for others.
"""

from __future__ import annotations

import copy
from typing import Any

from edge_deeplab.errors import ModelError
from edge_deeplab.runtime.flatbuffer import TfliteFile, tflite_schema
from edge_deeplab.runtime.rewrite import pack_model, unpack_model


class ModelCutter:
    """A model read once, from which pieces are cut.

    Args:
        data: a .tflite; anything after the flatbuffer is ignored.
        source: names it in messages.

    Raises: ModelError when data is no readable .tflite, holds control flow (several subgraphs) or no operator;
        ConversionError when it keeps constants outside the flatbuffer.
    """

    def __init__(self, data: bytes, *, source: str = "model") -> None:
        graph = TfliteFile.from_bytes(data, source=source)
        if graph.subgraph_count != 1 or not graph.operators:
            raise ModelError(
                f"{source}: cannot be cut", came=f"{graph.subgraph_count} subgraphs, {len(graph.operators)} operators",
                allowed="one subgraph with operators",
            )  # fmt: skip
        self._model = unpack_model(data, source=source)
        self._graph = self._model.subgraphs[0]
        self._stored = {tensor.index for tensor in graph.tensors if tensor.is_constant}
        self._makers = self._find_makers_of_constants()
        self.count = len(self._graph.operators)

    @property
    def running(self) -> tuple[int, ...]:
        """The operators that run at each inference: all but those that make constants of constants."""
        makers = set(self._makers.values())
        return tuple(index for index in range(self.count) if index not in makers)

    def _find_makers_of_constants(self) -> dict[int, int]:
        """Tensor to operator where all inputs are constants: the DEQUANTIZE of float16 weights, run once at loading."""
        makers: dict[int, int] = {}
        for index, operator in enumerate(self._graph.operators):
            inputs = _tensors([operator], "inputs")
            if inputs and all(tensor in self._stored or tensor in makers for tensor in inputs):
                makers |= dict.fromkeys(_tensors([operator], "outputs"), index)
        return makers

    def operators(self, first: int, last: int) -> bytes:
        """The model made of the operators `first` to `last`, both included, in file order.

        Its inputs are what they take from before, its outputs what is taken after them or ends the graph, in order of
        first use. Operators that make their constants come along. Raises IndexError for operators that are not there.
        """
        if not 0 <= first <= last < self.count:
            raise IndexError(f"operators {first} to {last} of {self.count}")
        chosen = self._graph.operators[first : last + 1]
        outputs = self._taken_after(_tensors(chosen, "outputs"), last)
        kept = [self._graph.operators[index] for index in self._needed_makers(range(first, last + 1))] + chosen
        made = set(_tensors(kept, "outputs"))
        inputs = [index for index in _tensors(kept, "inputs") if index not in made and index not in self._stored]
        return pack_model(self._piece(kept, inputs, outputs))

    def _taken_after(self, made: list[int], last: int) -> list[int]:
        later = set(_tensors(self._graph.operators[last + 1 :], "inputs")) | set(self._graph.outputs)
        return [index for index in made if index in later] or made

    def _needed_makers(self, chosen: range) -> list[int]:
        """Operators outside of `chosen` that make the constants it takes, in file order."""
        needed: set[int] = set()
        open_operators = list(chosen)
        while open_operators:
            for tensor in _tensors([self._graph.operators[open_operators.pop()]], "inputs"):
                maker = self._makers.get(tensor)
                if maker is not None and maker not in needed and maker not in chosen:
                    needed.add(maker)
                    open_operators.append(maker)
        return sorted(needed)

    def _piece(self, kept: list[Any], inputs: list[int], outputs: list[int]) -> Any:
        """The schema's objects with `kept` alone, tensors, buffers and operator codes numbered anew."""
        schema = tflite_schema()
        present = sorted({*_tensors(kept, "inputs"), *_tensors(kept, "outputs")})
        number = {old: new for new, old in enumerate(present)}
        buffers = [self._model.buffers[0]]
        graph = schema.SubGraphT()
        graph.tensors = []
        for index in present:
            tensor = copy.copy(self._graph.tensors[index])
            if index in self._stored:
                buffers.append(self._model.buffers[tensor.buffer])
                tensor.buffer = len(buffers) - 1
            else:
                tensor.buffer = 0
            graph.tensors.append(tensor)
        graph.operators = []
        for operator in kept:
            renumbered = copy.copy(operator)
            renumbered.inputs = [number.get(int(index), -1) for index in operator.inputs]
            renumbered.outputs = [number[int(index)] for index in operator.outputs]
            renumbered.intermediates = None
            graph.operators.append(renumbered)
        graph.inputs = [number[index] for index in inputs]
        graph.outputs = [number[index] for index in outputs]
        model = copy.copy(self._model)
        model.subgraphs, model.buffers = [graph], buffers
        model.metadata, model.metadataBuffer, model.signatureDefs = None, None, None
        return model


def _tensors(operators: list[Any], side: str) -> list[int]:
    """The tensors named on one side of operators, each once, in order; one left out (-1) is no tensor."""
    found = (int(index) for operator in operators for index in getattr(operator, side))
    return list(dict.fromkeys(index for index in found if index >= 0))
