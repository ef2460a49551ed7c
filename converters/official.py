"""The official DeepLab code's networks by its own flags and variable names.

model = build({"flags": {"model_variant": "mobilenet_v2"}, "model_options": {"num_classes": 21, ...}})
assign(model, variables)                       # {"MobilenetV2/Conv/weights": array, ...}
model(pixels, training=False)["logits_final"]  # pixels (N, H, W, 3) float32, 0..255
predict_multi_scale(model, pixels, scales=(0.5, 1.0, 1.5), flip=True)["semantic"]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from edge_deeplab.errors import ModelError, UsageError
from edge_deeplab.models.keras_api import keras_namespace, own_layers
from edge_deeplab.models.official import trace_official
from edge_deeplab.models.official_config import OfficialConfig
from edge_deeplab.models.transfer import Weights, copy_weights

LISTED = 8  # names an error shows of each kind


def build(settings: Mapping[str, Mapping[str, Any]], *, batch_size: int | None = None) -> Any:
    """A Keras 3 network from the official settings.

    Args:
        settings: "flags" by the names of the official scripts, and "model_options": num_classes, crop_size,
            atrous_rates, output_stride, image_pyramid; null where not given. Numbers may be text.
    Returns: a keras.Model from pixels (N, H, W, 3) float32 RGB 0..255 to {"logits_lowres", "logits_final"}, float32:
        the logits as they leave the head, and at the input's size.
    Raises: UsageError naming the flag that is unknown or has an impossible value.
    """
    config = OfficialConfig.from_flags(settings.get("flags", {}), settings.get("model_options", {}))
    return build_pixels(config, batch_size=batch_size)


def build_pixels(config: OfficialConfig, *, batch_size: int | None = None) -> Any:
    """As build, from a config."""
    K = keras_namespace("keras")
    traced = trace_official(K, config, batch_size=batch_size, raw=True)
    outputs = {"logits_lowres": traced.lowres, "logits_final": traced.final}
    model = K.Model(traced.image, outputs, name=f"deeplab_{config.model_variant}")
    model.official_config = config
    model.official_names = traced.blocks.official
    return model


def to_layers(official: Mapping[str, tuple[str, ...]], variables: Mapping[str, Any]) -> Weights:
    """Layer name -> arrays, from variables by official name.

    Args:
        official: layer name -> its variables' names, as Blocks.official has them.
    Raises: KeyError for a name that is missing.
    """
    return {layer: [np.asarray(variables[name], np.float32) for name in names] for layer, names in official.items()}


def check_variables(wanted: Mapping[str, tuple[int, ...]], variables: Mapping[str, Any], *, source: str) -> None:
    """Raises ModelError listing what is missing, extra or of another shape.

    Args:
        wanted: official name -> shape.
        source: what the variables are called in the error.
    """
    problems = {
        "missing": [name for name in wanted if name not in variables],
        "extra": [name for name in variables if name not in wanted],
        "other shapes": [
            f"{name} {tuple(np.shape(variables[name]))} for {shape}"
            for name, shape in wanted.items()
            if name in variables and tuple(np.shape(variables[name])) != tuple(shape)
        ],
    }
    if any(problems.values()):
        raise ModelError(
            f"{source}: do not fit the network",
            came="; ".join(
                f"{len(names)} {kind}: {', '.join(names[:LISTED])}{' ...' if len(names) > LISTED else ''}"
                for kind, names in problems.items()
                if names
            ),
        )


def assign(model: Any, variables: Mapping[str, Any]) -> None:
    """Sets a network's weights from a mapping of official variable names to arrays.

    Raises: ModelError listing missing, extra and misshapen names; nothing is set then.
    """
    names = _names(model)
    layers = {layer.name: layer for layer in model.layers if layer.name in names}
    wanted = {
        name: tuple(variable.shape)
        for layer, variables_of_layer in names.items()
        for name, variable in zip(variables_of_layer, layers[layer].weights, strict=True)
    }
    check_variables(wanted, variables, source="variables")
    for layer, arrays in to_layers(names, variables).items():
        layers[layer].set_weights(arrays)


def predict_multi_scale(
    model: Any, images: Any, *, scales: Iterable[float] = (1.0,), flip: bool = False
) -> dict[str, np.ndarray]:
    """The official multi-scale inference: softmax at the input's size for each scale (and mirror image), averaged.

    Args:
        model: made by build.
        images: (N, H, W, 3), pixels 0..255.
        scales: of the crop, each a pass of its own network over the same weights.
        flip: adds the mirror image of every pass.
    Returns: "mean_softmax" (N, H, W, classes) float32, and "semantic" (N, H, W) int64, its argmax.
    Raises: UsageError when there are no scales.
    """
    factors = tuple(float(scale) for scale in scales)
    if not factors:
        raise UsageError("scales: there is none", allowed="one or more scales above 0")
    _names(model)
    K = keras_namespace("keras")
    pixels = K.ops.convert_to_tensor(np.asarray(images, np.float32))
    height, width = int(pixels.shape[1]), int(pixels.shape[2])
    total, passes = 0.0, 0
    for factor in factors:
        scaled = build_pixels(model.official_config.replace(image_pyramid=(factor,)))
        copy_weights(model, scaled)
        for mirrored in (False, True)[: 1 + flip]:
            seen = K.ops.flip(pixels, axis=2) if mirrored else pixels
            lowres = scaled(seen, training=False)["logits_lowres"]
            lowres = K.ops.flip(lowres, axis=2) if mirrored else lowres
            total = total + K.ops.softmax(resize_aligned(K, lowres, (height, width)))
            passes += 1
    mean = K.ops.convert_to_numpy(total) / passes
    return {"mean_softmax": mean, "semantic": mean.argmax(axis=-1)}


def resize_aligned(K: Any, x: Any, size_hw: tuple[int, int]) -> Any:
    """Bilinear with aligned corners. x: (N, h, w, C)."""
    return own_layers(K).AlignedResize(size_hw=size_hw)(x)


def _names(model: Any) -> Mapping[str, tuple[str, ...]]:
    names: Mapping[str, tuple[str, ...]] | None = getattr(model, "official_names", None)
    if names is None:
        raise UsageError(
            f"model {model.name}: not one of the official code's", allowed="what converters.official.build gives"
        )
    return names
