"""The same function in layers that have an int8 form: nested models inlined, compound layers taken apart.

    plain = reparametrise(model)        # equal to model to float rounding

| what | becomes | why |
|---|---|---|
| a model used as a layer | its layers | tfmot refuses a model in a model |
| SeparableConv2D | DepthwiseConv2D, Conv2D 1 x 1 | the tensor between needs a range |
| a convolution with softmax, sigmoid, tanh, ... | the convolution, Activation | the tensor between needs a range |
| BatchNormalization behind no convolution | DepthwiseConv2D 1 x 1 with bias | none in int8 (tfmot issue 763) |
| Rescaling | DepthwiseConv2D 1 x 1 with bias | folded into the next kernel it would change SAME padding |

Hard swish and hard sigmoid of our own MobileNetV3 are reparametrised in models/int8_form.py, where it is exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from edge_deeplab.errors import ConversionError
from edge_deeplab.quantization.graph import replay
from edge_deeplab.quantization.placement import FUSED_ACTIVATIONS, KERNELS, Graph, activation_of, kind

ONLY_IN_TRAINING = {"training", "mask"}


def _inference_arguments(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if key not in ONLY_IN_TRAINING}


def _clone(layer: Any, args: Any, kwargs: dict[str, Any], **changes: Any) -> Any:
    clone = type(layer).from_config({**layer.get_config(), **changes})
    outputs = clone(*args, **_inference_arguments(kwargs))
    clone.set_weights(layer.get_weights())
    return outputs


def _split_separable(layer: Any, inputs: Any) -> Any:
    config = layer.get_config()
    shared = {key: config[key] for key in ("padding", "data_format")}
    depthwise = tf_keras.layers.DepthwiseConv2D(
        config["kernel_size"], strides=config["strides"], dilation_rate=config["dilation_rate"],
        depth_multiplier=config["depth_multiplier"], use_bias=False, name=f"{layer.name}_depthwise", **shared,
    )  # fmt: skip
    pointwise = tf_keras.layers.Conv2D(
        config["filters"], 1, use_bias=config["use_bias"], activation=config["activation"],
        name=f"{layer.name}_pointwise", **shared,
    )  # fmt: skip
    outputs = pointwise(depthwise(inputs))
    weights = layer.get_weights()
    depthwise.set_weights(weights[:1])
    pointwise.set_weights(weights[1:])
    return outputs


def _take_apart(layer: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One layer of the original as one or more layers, nested models inlined."""
    if isinstance(layer, tf_keras.Model):
        if not getattr(layer, "_is_graph_network", False):
            raise ConversionError(f"layer {layer.name} ({kind(layer)}) is a model without a graph of layers")
        return replay(layer, tf.nest.flatten(args[0]), _take_apart)[0]
    if kind(layer) == "SeparableConv2D":
        return _fuse_or_split_activation(layer, _split_separable, args, kwargs)
    if kind(layer) in KERNELS:
        return _fuse_or_split_activation(layer, None, args, kwargs)
    return _clone(layer, args, kwargs)


def _fuse_or_split_activation(layer: Any, split: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    activation = activation_of(layer)
    if activation in {"linear", *FUSED_ACTIVATIONS}:
        return split(layer, args[0]) if split else _clone(layer, args, kwargs)
    if split:
        bare = type(layer).from_config({**layer.get_config(), "activation": "linear"})
        bare.build(args[0].shape)
        bare.set_weights(layer.get_weights())
        outputs = split(bare, args[0])
    else:
        outputs = _clone(layer, args, kwargs, activation="linear")
    return tf_keras.layers.Activation(layer.activation, name=f"{layer.name}_activation")(outputs)


def _channelwise(inputs: Any, scale: np.ndarray, offset: np.ndarray, name: str) -> Any:
    """x * scale + offset per channel, as a 1 x 1 depthwise convolution."""
    if len(inputs.shape) != 4:
        raise ConversionError(f"layer {name} works on {len(inputs.shape)} dimensions", allowed="(N, H, W, C)")
    layer = tf_keras.layers.DepthwiseConv2D(1, name=name)
    outputs = layer(inputs)
    channels = int(inputs.shape[-1])
    kernel = np.broadcast_to(scale, (channels,)).reshape(1, 1, channels, 1)
    layer.set_weights([kernel.astype(np.float32), np.broadcast_to(offset, (channels,)).astype(np.float32)])
    return outputs


def _batch_norm_affine(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scale and offset of a batch norm in inference (Ioffe and Szegedy 2015, algorithm 2)."""
    weights = iter(layer.get_weights())
    gamma = next(weights) if layer.scale else 1.0
    beta = next(weights) if layer.center else 0.0
    mean, variance = next(weights), next(weights)
    scale = gamma / np.sqrt(variance + layer.epsilon)
    return scale, beta - mean * scale


def _without_lone_affines(model: Any) -> Any:
    graph = Graph(model)

    def call(layer: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if kind(layer) == "Rescaling":
            scale = np.asarray(layer.scale, np.float32)
            return _channelwise(args[0], scale, np.asarray(layer.offset, np.float32), layer.name)
        if kind(layer) == "BatchNormalization":
            source = graph.source(layer.name)
            follows = kind(source) in KERNELS and activation_of(source) == "linear"
            if not follows or graph.only_reader(source.name) is not layer:
                return _channelwise(args[0], *_batch_norm_affine(layer), layer.name)
        return _clone(layer, args, kwargs)

    return _rebuilt(model, call)


def _rebuilt(model: Any, call: Any) -> Any:
    inputs = [
        tf_keras.Input(tensor.shape[1:], batch_size=tensor.shape[0], name=tensor.name.split(":")[0])
        for tensor in model.inputs
    ]
    outputs = replay(model, inputs, call)
    return tf_keras.Model(inputs, outputs, name=model.name)


def reparametrise(model: Any) -> Any:
    """Rebuilds a functional tf_keras model in layers that quantize (the table above), its weights copied.

    Raises: ConversionError naming a layer that is used more than once, or a nested model without a graph.
    """
    return _without_lone_affines(_rebuilt(model, _take_apart))
