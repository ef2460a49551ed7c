"""A quantized graph's own int8 ranges, put into our quantized network: no calibration, the training's own numbers.

Activations take the graph's ranges as they are. A kernel's range bounds it: what lies outside saturates, as it did in
training; int8 TFLite then has a symmetric scale for each channel, where TensorFlow 1 had one asymmetric for all.

    network, manifest = with_graph_ranges(imported, manifest)
    save_quantized(Path("theirs.qat"), network, manifest)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_deeplab.converters.importing.fake_quant import INPUT, addition, derived
from edge_deeplab.converters.importing.import_model import ImportedNetwork, enlarge
from edge_deeplab.converters.importing.readings import FakeQuantRanges, is_kernel
from edge_deeplab.converters.official import to_layers
from edge_deeplab.errors import ConversionError
from edge_deeplab.manifest import Manifest
from edge_deeplab.models.architecture import blocks_of
from edge_deeplab.models.int8_form import to_int8_form
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.official import build_official
from edge_deeplab.models.official_config import OfficialConfig
from edge_deeplab.models.transfer import assign_weights
from edge_deeplab.quantization.graph import RANGE_DECAY, QuantizedNetwork, quantize
from edge_deeplab.quantization.placement import KERNELS, Graph, is_rectifier, kind, plan_quantization
from edge_deeplab.quantization.ranges import set_ranges, settle_kernels
from edge_deeplab.quantization.scheme import ActivationQuantizer, FakeQuant, Switch

POOLS = {
    "GlobalAveragePooling2D": "pool", "AveragePooling2D": "pool", "MaxPooling2D": "max_pool",
    "GlobalMaxPooling2D": "max_pool",
}  # fmt: skip


@dataclass(frozen=True)
class FoundRanges:
    """The float network in its int8 form, and what a graph says of it.

    Attributes:
        model: the tf_keras model, its kernels inside the graph's ranges.
        config: of that form.
        ranges: name of our layer -> (low, high) of its output.
        missing: layers that need a range and have none.
    """

    model: Any
    config: OfficialConfig
    ranges: Mapping[str, tuple[float, float]]
    missing: tuple[str, ...]


def find_ranges(imported: ImportedNetwork) -> FoundRanges:
    """The ranges of an import whose graph has fake quantization.

    Raises: ConversionError for a network whose int8 form has other numbers than the one that was trained.
    """
    ranges = imported.reading.ranges
    assert ranges is not None, "the caller has looked"
    K = keras_namespace("tf_keras")
    _refuse_other_form(K, imported)
    variables = clip_kernels(imported.variables, ranges, imported.plan.epsilons)
    config, weights = to_int8_form(K, imported.config, to_layers(imported.plan.official, variables))
    assert isinstance(config, OfficialConfig), "the form of a config is a config of its kind"
    model = build_official(K, config)
    assign_weights(model, weights, source=imported.reading.source)
    kernels = {layer: names[0] for layer, names in imported.plan.official.items() if is_kernel(names[0])}
    wanted = ranged_layers(model)
    found = ranges_by_layer(model, kernels, ranges, wanted)
    return FoundRanges(model, config, found, tuple(layer for layer in wanted if layer not in found))


def with_graph_ranges(
    imported: ImportedNetwork, manifest: Manifest, *, batches: Callable[[], Iterable[Any]] | None = None
) -> tuple[QuantizedNetwork, Manifest]:
    """The quantized network of an import whose graph has fake quantization.

    Args:
        batches: gives calibration samples as the network takes them, for what the graph has no range for.
    Returns: the network, and the manifest of its int8 form.
    Raises: ConversionError naming the first layer without a range, or as find_ranges does.
    """
    found = find_ranges(imported)
    if found.missing and batches is None:
        raise ConversionError(
            f"{imported.reading.source}: its graph has no int8 range for {found.missing[0]}",
            came=f"{len(found.ranges)} of {len(found.ranges) + len(found.missing)} ranges",
            next_step="give --calibration FILE.calib for the others, or --without-ranges for the float model alone",
        )  # fmt: skip
    network = quantize(found.model, input_range=manifest.real_range)
    if found.missing and batches is not None:
        set_ranges(network, batches())
    for layer, ends in network.ranges().items():
        for variable, value in zip(ends, found.ranges.get(layer, ())):
            variable.assign(value)
    settle_kernels(network)
    return network, manifest.replace(architecture=found.config.to_dict())


def equal_labels(network: QuantizedNetwork, imported: ImportedNetwork, pixels: np.ndarray) -> float:
    """Share of pixels, 0..1, with the same best class in our int8 network and in the graph with its fake quantization.

    Args:
        pixels: (N, H, W, 3) float32, whole numbers 0..255.
    """
    run = imported.reading.run_quantized
    assert run is not None, "the caller has looked"
    with network.switch.set(FakeQuant.HOLD):
        ours = network.model.predict_on_batch(imported.prepared(pixels))
    theirs = enlarge(run(pixels), ours.shape)
    return float((ours.argmax(axis=-1) == theirs.argmax(axis=-1)).mean())


def ranged_layers(model: Any) -> list[str]:
    """The layers of a float tf_keras model whose output gets a range of its own."""
    plan = plan_quantization(model, Switch(), decay=RANGE_DECAY)
    return [layer for layer, scheme in plan.items() if isinstance(scheme.output, ActivationQuantizer)]


def _refuse_other_form(K: Any, imported: ImportedNetwork) -> None:
    """The int8 form of a hard swish is six times as large: ranges of the graph are of something else."""
    blocks = blocks_of(K, imported.config.replace(form="int8"))
    moved = [name for name, factor in blocks.kernel_factor.items() if factor != 1.0] + list(blocks.bias_shift)
    if moved:
        raise ConversionError(
            f"{imported.reading.source}: the ranges of its hard swish have no place in the int8 form of it",
            came=moved[0], next_step="--without-ranges imports the float model, to be calibrated",
        )  # fmt: skip


def clip_kernels(
    variables: Mapping[str, np.ndarray], ranges: FakeQuantRanges, epsilons: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Kernels held inside the ranges that the graph gives them, before or after batch norm is folded in."""
    clipped = dict(variables)
    for name, (low, high, is_folded) in ranges.kernels.items():
        kernel = variables[name]
        scope = name.rpartition("/")[0]
        factor: np.ndarray = np.ones(1, np.float32)
        if is_folded and f"{scope}/BatchNorm/gamma" in variables:
            gamma, variance = (variables[f"{scope}/BatchNorm/{part}"] for part in ("gamma", "moving_variance"))
            factor = gamma / np.sqrt(variance + epsilons[scope])
        if name.endswith("/depthwise_weights"):
            factor = factor[:, np.newaxis]  # (h, w, C, 1)
        safe = np.where(factor == 0, 1, factor)  # a channel that is switched off stays as it is
        held = np.clip(kernel * factor, low, high) / safe
        clipped[name] = np.where(factor == 0, kernel, held).astype(np.float32)
    return clipped


def ranges_by_layer(
    model: Any, kernels: Mapping[str, str], ranges: FakeQuantRanges, wanted: Iterable[str]
) -> dict[str, tuple[float, float]]:
    """Name of our layer -> (low, high), for those that the graph says or implies.

    Args:
        model: the float tf_keras model.
        kernels: name of our convolution -> official kernel name.
        wanted: the layers whose output is quantized by range.
    """
    places = layer_places(model, kernels)
    found = {}
    for layer in wanted:
        ends = derived(places[layer], ranges.activations)
        if ends is not None:
            # int8 can say zero exactly, as every padding needs
            found[layer] = min(ends[0], 0.0), max(ends[1], 0.0)
    return found


def layer_places(model: Any, kernels: Mapping[str, str]) -> dict[str, object]:
    """Name of our layer -> the place (fake_quant.py) of its output."""
    graph = Graph(model)
    places: dict[str, object] = {}
    for name in graph.sources:  # in the order of computation, inputs first
        layer = graph.layers[name]
        sources = [places[source] for source in graph.sources[name]]
        if not sources:
            places[name] = INPUT
        elif kind(layer) in KERNELS:
            places[name] = kernels[name]
        elif is_rectifier(layer):
            places[name] = ("relu", sources[0])
        elif kind(layer) == "Add":
            places[name] = addition(sources)
        elif kind(layer) == "Concatenate":
            places[name] = ("concat", *sources)
        elif kind(layer) in POOLS:
            places[name] = (POOLS[kind(layer)], sources[0])
        elif kind(layer) == "Multiply":
            places[name] = ("product", *sources)
        else:
            places[name] = sources[0]
    return places
