"""MobileNetV2 by TensorFlow's plain operators, from a foreign backbone's arrays: an oracle for ours."""

from __future__ import annotations

import numpy as np

from edge_deeplab.converters.starts.backbone_weights import BATCH_NORM, ForeignBackbone, official_layers


def rebuild(
    backbone: ForeignBackbone, image: np.ndarray, strides: list[int], dilations: list[int], *, blocks: int = 17
) -> np.ndarray:
    """What the first blocks make of an image (1, H, W, 3) in the backbone's input range; stride and rate by layer."""
    import tensorflow as tf

    x = tf.constant(image)
    block_input = x
    layers = list(official_layers())[: 3 * blocks]  # stem, two of the first block, three of every other
    for (layer, variable), stride, dilation in zip(layers, strides, dilations):
        kernel = backbone.arrays[f"{layer}/{variable}"]
        if layer.endswith(("/expand", "expanded_conv/depthwise")):  # the first layer of a block
            block_input = x
        if layer.endswith("/depthwise"):
            x = tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], "SAME", dilations=[dilation, dilation])
        else:
            x = tf.nn.conv2d(x, kernel, stride, "SAME", dilations=dilation)
        if backbone.is_folded:
            x = x + backbone.arrays[f"{layer}/biases"]
        else:
            gamma, beta, mean, variance = (backbone.arrays[f"{layer}/BatchNorm/{name}"] for name in BATCH_NORM)
            x = (x - mean) / np.sqrt(variance + backbone.batch_norm_epsilon) * gamma + beta
        if not layer.endswith("/project"):
            x = tf.nn.relu6(x)
        elif x.shape == block_input.shape:
            x = x + block_input
    return x.numpy()


def psnr_db(value: np.ndarray, oracle: np.ndarray) -> float:
    return float(20 * np.log10(np.abs(oracle).max() / np.sqrt(np.mean((value - oracle) ** 2))))
