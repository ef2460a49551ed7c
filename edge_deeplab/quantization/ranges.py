"""Setting the ranges: those of the activations from calibration samples, those of the kernels from the kernels.

Stock tfmot starts every activation at -6..6 and moves 0.1 % of the way per step (its issue 368). Here they are set from
samples first, with the batch norms' moving statistics and no fake-quant, so that they are the float network's.

    set_ranges(network, batches)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from edge_deeplab.errors import ConversionError
from edge_deeplab.quantization.graph import QuantizedNetwork
from edge_deeplab.quantization.scheme import SMALLEST_RANGE, FakeQuant


def observe(network: QuantizedNetwork, batches: Iterable[Any]) -> int:
    """Widens every activation's range to the extremes seen, from nothing.

    Args:
        batches: (N, H, W, 3) float32 in the network's input range.
    Returns: the number of samples seen.
    """
    for low, high in network.ranges().values():
        low.assign(0.0)
        high.assign(0.0)
    seen = 0
    with network.switch.set(FakeQuant.OBSERVE):
        run = tf.function(lambda images: network.model(images, training=False), reduce_retracing=True, autograph=False)
        for images in batches:
            run(tf.convert_to_tensor(images, tf.float32))
            seen += int(images.shape[0])
    return seen


def settle_kernels(network: QuantizedNetwork) -> None:
    """Stores every kernel's channel peaks: to be done after weights change, before inference or conversion."""
    for variable, quantizer, peak in network.kernels():
        peak.assign(quantizer.peaks(tf.convert_to_tensor(variable)))


def set_ranges(network: QuantizedNetwork, batches: Iterable[Any]) -> int:
    """Makes a network ready for int8 without training: `tune --steps 0`.

    Args:
        batches: calibration samples, (N, H, W, 3) float32 in the network's input range.
    Returns: the number of samples seen.
    Raises: ConversionError when there are none, or a layer's output is not finite.
    """
    seen = observe(network, batches)
    if seen == 0:
        raise ConversionError("no calibration samples came", next_step="make an artifact with edge-deeplab calibrate")
    for name, (low, high) in network.ranges().items():
        values = np.array([low.numpy(), high.numpy()])
        if not np.isfinite(values).all():
            raise ConversionError(f"layer {name} gives values that are not finite on the calibration samples")
        if values[1] - values[0] < SMALLEST_RANGE:
            high.assign(SMALLEST_RANGE)
    settle_kernels(network)
    return seen
