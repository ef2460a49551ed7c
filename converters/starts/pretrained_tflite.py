"""Reads a MobileNetV2 backbone out of a .tflite, float or quantized: convolutions in operator order, batch norm folded.

backbone = backbone_of_tflite(TfliteFile.read(path), read_manifest(path))
"""

from __future__ import annotations

import numpy as np

from edge_deeplab.converters.starts.backbone_weights import (
    MOBILENET_V2,
    OFFICIAL_INPUT_RANGE,
    ForeignBackbone,
    InputRange,
    official_layers,
    width_of,
)
from edge_deeplab.errors import ModelError
from edge_deeplab.manifest import Manifest
from edge_deeplab.runtime.flatbuffer import TfliteFile

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def backbone_of_tflite(model: TfliteFile, manifest: Manifest | None) -> ForeignBackbone:
    """The MobileNetV2 that the file's first 51 convolutions are. Raises ModelError when they are none."""
    layers = list(official_layers())
    convolutions = [operator for operator in model.operators if operator.name in _CONVOLUTIONS][: len(layers)]
    expected = ["DEPTHWISE_CONV_2D" if layer.endswith("/depthwise") else "CONV_2D" for layer, _ in layers]
    came = [operator.name for operator in convolutions]
    if came != expected:
        at = next((i for i, (a, b) in enumerate(zip(came, expected)) if a != b), len(came))
        found = f"convolution {at} is {convolutions[at].layer}" if at < len(came) else f"{at} convolutions"
        raise ModelError(
            f"{model.source}: its convolutions do not follow MobileNetV2", came=found,
            allowed=f"{expected[min(at, len(expected) - 1)]} for {layers[min(at, len(layers) - 1)][0]}",
        )  # fmt: skip
    arrays: dict[str, np.ndarray] = {}
    for (layer, variable), operator in zip(layers, convolutions):
        kernel = model.real_values(model.constant_input(operator, 1))
        is_depthwise = variable == "depthwise_weights"
        # TFLite: (1, h, w, C) depthwise and (out, h, w, in); TensorFlow: (h, w, C, 1) and (h, w, in, out)
        arrays[f"{layer}/{variable}"] = np.ascontiguousarray(
            kernel.transpose(1, 2, 3, 0) if not is_depthwise else kernel[0, ..., None]
        )
        arrays[f"{layer}/biases"] = (
            model.real_values(model.constant_input(operator, 2))
            if len(operator.inputs) > 2 and operator.inputs[2] is not None
            else np.zeros(arrays[f"{layer}/{variable}"].shape[2 if is_depthwise else 3], np.float32)
        )
    width, divisor = width_of(arrays, model.source)
    return ForeignBackbone(
        arrays=arrays, scope=MOBILENET_V2, width=width, width_divisor=divisor, is_folded=True,
        input_range=_input_range(model, manifest), batch_norm_epsilon=None, source=model.source,
    )  # fmt: skip


def _input_range(model: TfliteFile, manifest: Manifest | None) -> InputRange:
    """From the manifest where the file has one, else from a uint8 input's scale, else the official range."""
    if manifest is not None:
        low, high = manifest.input_range
        lows, highs = (
            tuple((end - mean) / std for mean, std in zip(manifest.mean, manifest.std)) for end in (low, high)
        )
        return (lows[0], highs[0]) if len(set(lows)) == len(set(highs)) == 1 else (lows, highs)  # type: ignore[return-value]
    if len(model.inputs) != 1:
        raise ModelError(f"{model.source}: not a network of one picture", came=f"{len(model.inputs)} inputs", allowed=1)
    tensor = model.inputs[0]
    if tensor.dtype in ("uint8", "int8") and tensor.scales.size == 1:
        low = 0 if tensor.dtype == "uint8" else -128
        scale, zero_point = float(tensor.scales[0]), int(tensor.zero_points[0])
        return (low - zero_point) * scale, (low + 255 - zero_point) * scale
    return OFFICIAL_INPUT_RANGE
