"""The statistics of batch norms, where the ones at hand are not those of the weights at hand.

Twice: a backbone read from a .tflite has none left (settle_batch_norms), and averaged weights have those of the weights
they are the average of (measure_batch_norms).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np


def settle_batch_norms(K: Any, model: Any, images: np.ndarray, layer_names: set[str]) -> None:
    """Sets the statistics of some batch norms to those of `images`, the inference function unchanged.

    Set to the identity, the batch norms of a folded backbone would normalise by the batch at the first training step
    and change the network. Measured, and undone in gamma and beta, they compute what they did, in training too.
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


def measure_batch_norms(model: Any, batches: Iterable[np.ndarray]) -> None:
    """Sets all statistics to the mean over batches of what the model sees with the weights it has.

    Averaged weights need it (Izmailov et al. 2018, section 3.2): with the statistics of the last weights, ours answered
    "background" everywhere for the first epochs, where the last weights themselves had a person IoU of 0.81.

    Args:
        batches: (N, H, W, 3) float32 in 0..1, of the size and augmentation of training.
    """
    layers = [layer for layer in model.layers if hasattr(layer, "moving_variance")]
    momenta = [layer.momentum for layer in layers]
    try:
        for index, images in enumerate(batches):
            for layer in layers:
                layer.momentum = index / (index + 1)  # a cumulative mean: the first batch replaces what was there
            model(images, training=True)
    finally:
        for layer, momentum in zip(layers, momenta):
            layer.momentum = momentum
