"""Giving a network whose batch norm was folded away its statistics back.

A backbone read from a .tflite has no statistics left. Set to the identity, its batch norms would normalise by the batch
at the first training step and change the network. Measured on a few pictures and undone in gamma and beta, they compute
what they did, in training as well as in inference.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def settle_batch_norms(K: Any, model: Any, images: np.ndarray, layer_names: set[str]) -> None:
    """Sets the statistics of some batch norms to those of `images`, the inference function unchanged.

    With mean m and variance v of what the layer reads, its old map is x * a + b with a = gamma / sqrt(v0 + eps) and
    b = beta - m0 * a; the new gamma is a * sqrt(v + eps), the new beta b + m * a.

    Args:
        K: the Keras the model is of.
        images: (N, H, W, 3) float32 in 0..1.
        layer_names: of the BatchNormalization layers.
    """
    layers = [layer for layer in model.layers if layer.name in layer_names]
    probe = K.Model(model.inputs, [layer.input for layer in layers])
    for layer, seen in zip(layers, probe.predict(images, batch_size=8, verbose=0)):
        gamma, beta, mean, variance = layer.get_weights()
        slope = gamma / np.sqrt(variance + layer.epsilon)
        offset = beta - mean * slope
        new_mean, new_variance = seen.mean(axis=(0, 1, 2)), seen.var(axis=(0, 1, 2))
        layer.set_weights([slope * np.sqrt(new_variance + layer.epsilon), offset + new_mean * slope,
                           new_mean, new_variance])  # fmt: skip
