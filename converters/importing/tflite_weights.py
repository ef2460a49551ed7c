"""Reads a float .tflite of an official network: names by operator order, batch norm folded, and runs it.

reading = read_tflite(Path("deeplabv3_257_mv_gpu.tflite"))
reading.variables["MobilenetV2/Conv/weights"], reading.layout.crop_hw
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edge_deeplab.converters.importing.readings import TFLITE, Layout, Reading
from edge_deeplab.converters.importing.tflite_layers import Layer, TfliteLayers
from edge_deeplab.converters.importing.tflite_naming import name_layers
from edge_deeplab.errors import ConversionError
from edge_deeplab.manifest import Manifest, read_manifest
from edge_deeplab.models.official_config import MEAN_RGB, MEAN_SUBTRACTED
from edge_deeplab.runtime.cutting import ModelCutter
from edge_deeplab.runtime.flatbuffer import TfliteFile
from edge_deeplab.runtime.interpreter import Engine

# Behind the logits: what makes labels or probabilities of them.
ENDS = {"ARG_MAX", "SOFTMAX", "LOGISTIC", "CAST", "SQUEEZE", "RESHAPE"}
PREPROCESSING = {"MUL", "SUB", "ADD", "DIV"}
PIXEL_TOLERANCE = 1e-3  # as frozen_graph.py has it
# relu6(x + 3) / 6 behind a convolution: converters put the 3 into its bias and the ReLU6 into its activation.
HARD_SIGMOID_SHIFT = np.float32(3)


def read_tflite(path: Path) -> Reading:
    """Reads a file.

    Its input is what the preprocessing gives, -1..1 or less the mean, unless its manifest or first operators say
    otherwise. Raises: ModelError, ConversionError naming what of it cannot be imported.
    """
    model = TfliteFile.read(path)
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4 or model.inputs[0].shape[3] != 3:
        raise ConversionError(
            f"{path}: not a network of one picture",
            came=", ".join(str(tensor.shape) for tensor in model.inputs), allowed="(1, H, W, 3)",
        )  # fmt: skip
    layers = TfliteLayers(model)
    names = name_layers(layers)
    variables: dict[str, np.ndarray] = {}
    for name, layer in zip(names, layers.convolutions):
        variables[name] = layer.kernel
        variables[f"{name.rpartition('/')[0]}/biases"] = layer.bias - (HARD_SIGMOID_SHIFT if _gates(name, layer) else 0)
    roots = tuple(f"{variant}/conv1/" for variant in MEAN_SUBTRACTED)
    is_mean_subtracted = any(name.startswith(roots) for name in names)
    mean_rgb = MEAN_RGB if is_mean_subtracted else None
    wanted = _prepare(mean_rgb)
    feed, note = _feed(layers, read_manifest(path), wanted)
    named = dict(zip(names, layers.convolutions))
    return Reading(
        source=str(path), kind=TFLITE, variables=variables, mean_rgb=mean_rgb, run=_runner(path, model, feed),
        layout=Layout(
            convolutions={name: layer.does for name, layer in named.items()}, crop_hw=model.inputs[0].shape[1:3],
            gate=_gate(layers, named.get("image_pooling/weights")), **_pooling(layers, named),
        ),
        notes=(note,),
    )  # fmt: skip


def _gates(name: str, layer: Layer) -> bool:
    """Whether a convolution has a hard sigmoid's beginning folded into it."""
    may_gate = name.endswith("/squeeze_excite/Conv_1/weights") or name == "image_pooling/weights"
    return may_gate and layer.does.activation == "relu6"


def _prepare(mean_rgb: tuple[float, float, float] | None) -> Callable[[np.ndarray], np.ndarray]:
    if mean_rgb is None:
        return lambda pixels: pixels * np.float32(2.0 / 255.0) - np.float32(1.0)
    return lambda pixels: pixels - np.asarray(mean_rgb, np.float32)


def _feed(
    layers: TfliteLayers, manifest: Manifest | None, wanted: Callable[[np.ndarray], np.ndarray]
) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """What to do with pixels before they go in, and a line that says so.

    Raises: ConversionError where black and white reach the first convolution as anything but the official values.
    """
    inside = _operators_before(layers)
    ends = np.stack([np.zeros((1, 1, 3), np.float32), np.full((1, 1, 3), 255.0, np.float32)])
    if manifest is not None:
        low, high = manifest.input_range
        mean, std = np.asarray(manifest.mean, np.float32), np.asarray(manifest.std, np.float32)

        def by_manifest(pixels: np.ndarray) -> np.ndarray:
            return ((low + pixels / 255 * (high - low)) - mean) / std

        feed: Callable[[np.ndarray], np.ndarray] = by_manifest
        note = "its input is fed as its manifest says"
    elif np.allclose(inside(ends), wanted(ends), atol=PIXEL_TOLERANCE):
        feed, note = (lambda pixels: pixels), "its input takes pixels 0..255"
    else:
        feed, note = wanted, "its input is taken to want what the official preprocessing gives"
    seen = inside(feed(ends))
    if not np.allclose(seen, wanted(ends), atol=PIXEL_TOLERANCE):
        black, white = (", ".join(f"{value:g}" for value in dict.fromkeys(end.ravel().tolist())) for end in seen)
        right = wanted(ends)
        raise ConversionError(
            f"{layers.model.source}: its preprocessing is not the official one",
            came=f"pixels 0 and 255 reach the first convolution as {black} and {white}",
            allowed=f"{right[0].ravel()[0]:g} and {right[1].ravel()[0]:g}",
        )  # fmt: skip
    return feed, note


def _operators_before(layers: TfliteLayers) -> Callable[[np.ndarray], np.ndarray]:
    """The arithmetic between the model's input and its first convolution, on values (N, h, w, 3)."""
    steps = []
    before = layers.before(layers.convolutions[0])
    while before is not None and before.name in PREPROCESSING:
        constants = [tensor for tensor in before.inputs if tensor is not None and tensor.is_constant]
        if len(constants) != 1:
            break
        is_second = before.inputs[1] is constants[0]
        steps.append((before.name, layers.model.real_values(constants[0]), is_second))
        before = layers.source(next(tensor for tensor in before.inputs if tensor is not constants[0]))
    if before is not None:
        raise ConversionError(f"{layers.model.source}: computes before its first convolution what nothing here knows",
                              came=before.name, allowed=", ".join(sorted(PREPROCESSING)))  # fmt: skip

    def run(values: np.ndarray) -> np.ndarray:
        for name, constant, is_second in reversed(steps):
            left, right = (values, constant) if is_second else (constant, values)
            values = {"MUL": np.multiply, "SUB": np.subtract, "ADD": np.add, "DIV": np.divide}[name](left, right)
        return values

    return run


def _runner(
    path: Path, model: TfliteFile, feed: Callable[[np.ndarray], np.ndarray]
) -> Callable[[np.ndarray], np.ndarray]:
    """What Reading.run wants: the file up to its logits."""
    operators = list(model.operators)
    last = len(operators) - 1
    while last > 0 and operators[last].name in ENDS:
        last -= 1

    def run(pixels: np.ndarray) -> np.ndarray:
        images = feed(pixels).astype(np.float32)
        with tempfile.TemporaryDirectory(prefix="edge-deeplab-") as folder:
            cut = path
            if last < len(operators) - 1:
                cut = Path(folder) / "logits.tflite"
                cut.write_bytes(ModelCutter(path.read_bytes(), source=str(path)).operators(0, last))
            with Engine(cut, threads=2) as engine:
                return np.concatenate([engine.run(image[np.newaxis])[0] for image in images])

    return run


def _pooling(layers: TfliteLayers, named: dict[str, Layer]) -> dict[str, tuple[int, int]]:
    pooling = named.get("image_pooling/weights")
    operator = None if pooling is None else layers.before(pooling)
    if operator is None or operator.name != "AVERAGE_POOL_2D":
        return {}
    window = int(operator.options["filterHeight"]), int(operator.options["filterWidth"])
    seen = operator.inputs[0]
    # a converter makes of a window as large as its input a stride that means nothing
    is_whole = seen is not None and seen.shape[1:3] == window
    return {"pooling_hw": window, "pooling_stride_hw": (1, 1) if is_whole else operator.stride_hw}


def _gate(layers: TfliteLayers, pooling: Layer | None) -> str | None:
    if pooling is None:
        return None
    if _gates("image_pooling/weights", pooling):
        return "hard_sigmoid"
    tensor = pooling.operator.outputs[0]
    for _ in range(4):  # add 3, clip, scale, enlarge
        readers = layers.read_by.get(tensor.index, [])
        if len(readers) != 1:
            return None
        if readers[0].name == "LOGISTIC":
            return "sigmoid"
        if readers[0].activation == "RELU6" or readers[0].name == "RELU6":
            return "hard_sigmoid"
        tensor = readers[0].outputs[0]
    return None
