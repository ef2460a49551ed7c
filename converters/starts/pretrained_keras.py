"""Finds the backbone in the layers of a keras.applications weight file, and gives it official variable names.

keras.applications' ResNet50 and ResNet101 are the official resnet_v1_50 and resnet_v1_101 but for details that weights
can take up: their convolutions have biases (which go into the batch norms' means), red and blue change places, and the
stride of a block is in the first unit of the next (the same function, see models/backbones/resnet_v1.py). The padding
of the max pool is no weight: the backbones resnet50 and resnet101 have it as Keras has. MobileNetV2 is the official
one as it is.

    backbone = backbone_of_keras(read_keras_applications(path), source=str(path))
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from edge_deeplab.converters.starts.backbone_weights import (
    BATCH_NORM,
    MOBILENET_V2,
    ForeignBackbone,
    of_variables,
    official_layers,
)
from edge_deeplab.errors import ModelError

LayerArrays = Mapping[str, list[np.ndarray]]

ALLOWED = "a file of keras.applications' ResNet50, ResNet101 or MobileNetV2"
# imagenet_utils.preprocess_input, mode "caffe"; it also puts blue first.
CAFFE_MEAN_RGB = (123.68, 116.779, 103.939)
RESNET_EPSILON = 1.001e-5
# ResNet50 as Keras had it until 2.2.4, under the same file name: layers res2a_branch2a and so on, Keras's own epsilon.
OLD_RESNET_EPSILON = 1e-3
THIRD_STACK_UNITS = {6: "resnet_v1_50", 23: "resnet_v1_101"}
_OLD_PARTS = {"branch1": "0", "branch2a": "1", "branch2b": "2", "branch2c": "3"}
_RESNET_LAYER = re.compile(r"conv([2-5])_block(\d+)_([0-3])_(conv|bn)")
_OLD_RESNET_LAYER = re.compile(r"(res|bn)([2-5])([a-z])_(branch1|branch2[abc])")
_REFUSED = (
    ("block1a_dwconv", "EfficientNet, for a network with an efficientnet backbone"),
    ("conv2_block1_preact_bn", "a ResNet V2, whose units begin with the batch norm"),
    ("conv2_block1_2_bn", "a ResNet of other depth, or a ResNeXt"),
    ("expanded_conv_squeeze_excite_conv", "a MobileNetV3, whose last stage is wider than DeepLab's"),
    ("conv_pw_1", "a MobileNet V1"),
)


def backbone_of_keras(layers: LayerArrays, *, source: str) -> ForeignBackbone:
    """The backbone of a Keras weight file.

    Args:
        layers: layer name -> arrays, as keras_applications.read_keras_applications gives them.
    Raises: ModelError when they are of no network known here, or a layer of it is missing or has another shape.
    """
    if "bn_Conv1" in layers and "expanded_conv_depthwise" in layers:
        return of_variables(_mobilenet_v2(layers, source), MOBILENET_V2, source=source)
    old = "res2a_branch2a" in layers
    named = _renamed(layers) if old else layers
    units = sum(re.fullmatch(r"conv4_block\d+_2_conv", name) is not None for name in named)
    if "conv2_block1_preact_bn" not in named and units in THIRD_STACK_UNITS and "conv2_block1_3_bn" in named:
        scope = THIRD_STACK_UNITS[units]
        return of_variables(
            _resnet(named, scope, source), scope, source=source, mean_rgb=CAFFE_MEAN_RGB,
            epsilon=OLD_RESNET_EPSILON if old else RESNET_EPSILON, is_from_keras=True,
        )  # fmt: skip
    network = next((what for name, what in _REFUSED if name in named), None)
    raise ModelError(
        f"{source}: the weights of no backbone known here", allowed=ALLOWED,
        came=network or f"layers named {', '.join(list(layers)[:4])}{' ...' if len(layers) > 4 else ''}",
    )  # fmt: skip


def _mobilenet_v2(layers: LayerArrays, source: str) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for official, variable in official_layers():
        parts = official.split("/")[1:]
        if len(parts) == 1:
            theirs, norm = "Conv1", "bn_Conv1"
        else:
            block = parts[0].replace("expanded_conv_", "block_")
            theirs, norm = f"{block}_{parts[1]}", f"{block}_{parts[1]}_BN"
        arrays |= _convolution(layers, theirs, norm, official, variable, source)
    return arrays


def _resnet(layers: LayerArrays, scope: str, source: str) -> dict[str, np.ndarray]:
    arrays = _convolution(layers, "conv1_conv", "conv1_bn", f"{scope}/conv1", "weights", source)
    kernel = arrays[f"{scope}/conv1/weights"]
    if kernel.ndim != 4 or kernel.shape[2] != 3:
        raise ModelError(f"{source}: conv1_conv is of no ResNet", came=kernel.shape, allowed=(7, 7, 3, 64))
    arrays[f"{scope}/conv1/weights"] = np.ascontiguousarray(kernel[:, :, ::-1])  # blue came first
    for name in layers:
        layer = _RESNET_LAYER.fullmatch(name)
        if layer and layer[4] == "conv":
            part = "shortcut" if layer[3] == "0" else f"conv{layer[3]}"
            official = f"{scope}/block{int(layer[1]) - 1}/unit_{layer[2]}/bottleneck_v1/{part}"
            arrays |= _convolution(layers, name, name.removesuffix("conv") + "bn", official, "weights", source)
    return arrays


def _renamed(layers: LayerArrays) -> dict[str, list[np.ndarray]]:
    """The layers of an old ResNet50 under the names of today."""
    today = {"conv1": "conv1_conv", "bn_conv1": "conv1_bn"}
    for name in layers:
        layer = _OLD_RESNET_LAYER.fullmatch(name)
        if layer:
            kind = "conv" if layer[1] == "res" else "bn"
            block = ord(layer[3]) - ord("a") + 1
            today[name] = f"conv{layer[2]}_block{block}_{_OLD_PARTS[layer[4]]}_{kind}"
    return {today[name]: list(arrays) for name, arrays in layers.items() if name in today}


def _convolution(
    layers: LayerArrays, name: str, norm: str, official: str, variable: str, source: str
) -> dict[str, np.ndarray]:
    """One convolution and its batch norm under official names; a bias goes into the moving mean."""
    kernel, *bias = _layer(layers, name, (1, 2), source)
    gamma, beta, mean, variance = _layer(layers, norm, (4,), source)
    if bias:
        mean = mean - bias[0]
    statistics = dict(zip(BATCH_NORM, (gamma, beta, mean, variance)))
    return {
        f"{official}/{variable}": kernel,
        **{f"{official}/BatchNorm/{key}": array for key, array in statistics.items()},
    }


def _layer(layers: LayerArrays, name: str, counts: tuple[int, ...], source: str) -> list[np.ndarray]:
    if name not in layers:
        raise ModelError(f"{source}: incomplete", came=f"no layer {name}", allowed=ALLOWED)
    arrays = layers[name]
    if len(arrays) not in counts:
        raise ModelError(f"{source}: layer {name}", came=f"{len(arrays)} arrays", allowed=" or ".join(map(str, counts)))
    return [np.asarray(array, np.float32) for array in arrays]
