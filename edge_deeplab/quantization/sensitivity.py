"""Where a network loses to int8: the noise of every quantized tensor against float, and what wider layers give back.

    noises = layer_noise(network, batches)
    worst = worst_first(noises)[:5]
    output_sqnr_db(network, batches, keep(network, worst, FakeQuant.FLOAT16))

Nothing here changes a network: its layers are run one by one, each under the state asked for. A group is what becomes
one quantized tensor: the layer that holds its range, and those before it that TFLite fuses into it or that share its
scale (a convolution, its batch norm and its ReLU; all branches of a Concatenate).

SQNR is 10 log10 of the sum of squares of the float values over that of the differences, over all samples together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import QuantizeWrapperV2

from edge_deeplab.quantization.graph import QuantizedNetwork
from edge_deeplab.quantization.placement import Graph, kind
from edge_deeplab.quantization.scheme import FakeQuant

States = Mapping[str, FakeQuant]
"""Name of the float layer -> its state; a layer that is not named is fake-quantized (HOLD)."""


@dataclass(frozen=True, kw_only=True)
class LayerGroup:
    """One quantized tensor.

    Attributes:
        name: the float layer whose output it is; "quantize_input" for the network's input.
        layers: all that is rounded on the way to it since the last quantized tensor, `name` last.
        kind: the class of the first of `layers` that has a kernel, else that of the last; "input" for the input.
    """

    name: str
    layers: tuple[str, ...]
    kind: str


@dataclass(frozen=True, kw_only=True)
class LayerNoise:
    """How far one tensor of the fake-quantized network is from the float network's, in dB.

    Attributes:
        sqnr_db: with everything before it quantized, too; infinite where nothing is lost.
        alone_db: with its own group alone quantized, on float inputs.
        output_db: of the network's output, with this group alone quantized.
    """

    group: LayerGroup
    sqnr_db: float
    alone_db: float
    output_db: float


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise); infinite without noise, minus infinite without a signal."""
    if noise <= 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf


def _float_name(layer: Any) -> str:
    return layer.layer.name if isinstance(layer, QuantizeWrapperV2) else layer.name


@dataclass(frozen=True)
class _Step:
    name: str
    layer: Any
    args: Any
    kwargs: dict[str, Any]
    sources: tuple[str, ...]


class _Layerwise:
    """A network as a list of layers to be called one by one."""

    def __init__(self, network: QuantizedNetwork) -> None:
        model = network.model
        self.switch = network.switch
        self.input = _float_name(model.inputs[0]._keras_history.layer)
        self.output = _float_name(model.outputs[0]._keras_history.layer)
        self.steps: list[_Step] = []
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                sources = tuple(_float_name(tensor._keras_history.layer) for tensor in node.keras_inputs)
                kwargs = {**node.call_kwargs, "training": False}
                self.steps.append(_Step(_float_name(node.layer), node.layer, node.call_args, kwargs, sources))

    def run(
        self,
        images: Any,
        state_of: Callable[[str], FakeQuant],
        *,
        known: dict[str, Any] | None = None,
        changed: frozenset[str] = frozenset(),
    ) -> dict[str, Any]:
        """The value of every layer.

        Args:
            known: values of an earlier run on the same images, taken where nothing before has `changed`.
        """
        values: dict[str, Any] = {self.input: images}
        moved: set[str] = set()
        for step in self.steps:
            if known is not None and step.name not in changed and not moved.intersection(step.sources):
                values[step.name] = known[step.name]
                continue
            moved.add(step.name)
            args, kwargs = tf.nest.map_structure(
                lambda value: (
                    values[_float_name(value._keras_history.layer)] if hasattr(value, "_keras_history") else value
                ),
                (step.args, step.kwargs),
            )
            with self.switch.set(state_of(step.name)):
                values[step.name] = step.layer(*args, **kwargs)
        return values


def layer_groups(network: QuantizedNetwork) -> list[LayerGroup]:
    """The network's quantized tensors in its order; every wrapped layer that rounds something is in exactly one."""
    graph = Graph(network.model)
    layers = graph.layers
    ends = {name for name, layer in layers.items() if not isinstance(layer, QuantizeWrapperV2) and graph.sources[name]}
    ends |= {name for name, layer in layers.items() if getattr(layer, "_output_quantizers", None)}
    ends |= set(graph.outputs)
    taken: set[str] = set()
    groups = []
    for end in graph.sources:  # in the order in which they are computed
        if end not in ends:
            continue
        members, waiting = [end], list(graph.sources[end])
        while waiting:
            name = waiting.pop(0)
            if name in ends or name in taken or name in members or not graph.sources[name]:
                continue
            members.append(name)
            waiting += graph.sources[name]
        taken.update(members)
        names = tuple(_float_name(layers[name]) for name in reversed(members))
        with_kernel = [layers[name] for name in reversed(members) if getattr(layers[name], "_weight_vars", None)]
        first = with_kernel[0] if with_kernel else layers[end]
        inner = first.layer if isinstance(first, QuantizeWrapperV2) else first
        is_input = not isinstance(layers[end], QuantizeWrapperV2)
        groups.append(LayerGroup(name=names[-1], layers=names, kind="input" if is_input else kind(inner)))
    return groups


def layer_noise(
    network: QuantizedNetwork, batches: Iterable[Any], *, on_progress: Callable[[int], None] | None = None
) -> list[LayerNoise]:
    """Measures every quantized tensor against the float network, in the network's order.

    The float network is the same one with its fake-quant off, so that what tuning changed is no noise.

    Args:
        batches: (N, H, W, 3) float32 in the network's input range; all activations of one batch are held at once.
        on_progress: called with the number of groups measured, each once for every batch.
    Raises: ValueError when no batch came.
    """
    groups, layerwise = layer_groups(network), _Layerwise(network)
    sums: dict[str, list[float]] = {group.name: [0.0] * 5 for group in groups}
    done = 0
    for images in batches:
        images = tf.convert_to_tensor(images, tf.float32)
        plain = layerwise.run(images, lambda name: FakeQuant.OFF)
        rounded = layerwise.run(images, lambda name: FakeQuant.HOLD)
        for group in groups:
            own = frozenset(group.layers)
            alone = layerwise.run(
                images, lambda name, own=own: FakeQuant.HOLD if name in own else FakeQuant.OFF,  # type: ignore[misc]
                known=plain, changed=own,
            )  # fmt: skip
            found = [
                _energy(plain[group.name]),
                _energy(rounded[group.name] - plain[group.name]),
                _energy(alone[group.name] - plain[group.name]),
                _energy(plain[layerwise.output]),
                _energy(alone[layerwise.output] - plain[layerwise.output]),
            ]
            sums[group.name] = [total + new for total, new in zip(sums[group.name], found)]
            done += 1
            if on_progress is not None:
                on_progress(done)
    if not done:
        raise ValueError("no batch to measure layers on")
    return [
        LayerNoise(
            group=group, sqnr_db=decibels(total[0], total[1]), alone_db=decibels(total[0], total[2]),
            output_db=decibels(total[3], total[4]),
        )
        for group in groups
        for total in (sums[group.name],)
    ]  # fmt: skip


def _energy(values: Any) -> float:
    return float(tf.reduce_sum(tf.square(tf.cast(values, tf.float64))))


def worst_first(noises: Iterable[LayerNoise]) -> list[LayerNoise]:
    """Those whose own rounding costs the output most; the input is left out, for nothing can be kept wider there."""
    return sorted((noise for noise in noises if noise.group.kind != "input"), key=lambda noise: noise.output_db)


def keep(noises: Iterable[LayerNoise], state: FakeQuant) -> dict[str, FakeQuant]:
    """The states of a network in which some groups are kept wider: FLOAT16, INT16, or OFF for float32."""
    return {name: state for noise in noises for name in noise.group.layers}


def mixed_call(network: QuantizedNetwork, states: States) -> Callable[[Any], Any]:
    """The network as a function of images (N, H, W, 3) float32 in which some layers have a state of their own.

    The states are those of this call, also when the function is traced later.
    """
    layerwise = _Layerwise(network)

    def call(images: Any) -> Any:
        return layerwise.run(images, lambda name: states.get(name, FakeQuant.HOLD))[layerwise.output]

    return call


def output_sqnr_db(network: QuantizedNetwork, batches: Iterable[Any], choices: Iterable[States]) -> list[float]:
    """The SQNR of the network's output against float, once for each choice of states."""
    layerwise, chosen = _Layerwise(network), list(choices)
    signal, noise = 0.0, [0.0] * len(chosen)
    for images in batches:
        images = tf.convert_to_tensor(images, tf.float32)
        plain = layerwise.run(images, lambda name: FakeQuant.OFF)[layerwise.output]
        rounded = layerwise.run(images, lambda name: FakeQuant.HOLD)
        signal += _energy(plain)
        for index, states in enumerate(chosen):
            mixed = layerwise.run(
                images, lambda name, states=states: states.get(name, FakeQuant.HOLD),  # type: ignore[misc]
                known=rounded, changed=frozenset(states),
            )  # fmt: skip
            noise[index] += _energy(mixed[layerwise.output] - plain)
    return [decibels(signal, one) for one in noise]
