"""Setting the ranges: those of the activations from calibration samples, those of the kernels from the kernels.

Stock tfmot starts every activation at -6..6 and moves 0.1 % of the way per step (its issue 368). Here they are set from
samples first, with the batch norms' moving statistics and no fake-quant, so that they are the float network's.

    set_ranges(network, batches)                                      # everything seen
    set_chosen_ranges(network, lambda: batches, Calibrator("mse"))    # less, where less is better
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from edge_deeplab.calibration.calibrators import Calibrator, choose_range
from edge_deeplab.calibration.observers import BINS, Histogram
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
    """Makes a network ready for int8 without training: `tune --steps 0`. Ranges hold everything seen (min-max).

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


def observe_histograms(network: QuantizedNetwork, batches: Iterable[Any], *, bins: int = BINS) -> dict[str, Histogram]:
    """Counts the values of every activation between the ends of its range, all in one pass.

    Nothing is kept but the counts: the memory is that of one batch, however many come.

    Args:
        network: its ranges set to the extremes (set_ranges).
        batches: the samples the ranges were set from, once more.
    Returns: name of the float layer -> the histogram of its output in the float network.
    """
    ends = {name: (float(low), float(high)) for name, (low, high) in network.ranges().items()}
    outputs = {wrapper.layer.name: wrapper.output for wrapper in network.wrappers()}
    probe = tf_keras.Model(network.model.inputs, [outputs[name] for name in ends])

    def count(images: Any) -> Any:
        return tf.stack([_counts(tensor, ends[name], bins) for name, tensor in zip(ends, _listed(probe(images)))])

    counts = np.zeros((len(ends), bins + 1), np.int64)
    with network.switch.set(FakeQuant.OFF):
        run = tf.function(count, reduce_retracing=True, autograph=False)
        for images in batches:
            counts += run(tf.convert_to_tensor(images, tf.float32)).numpy()
    return {
        name: Histogram(low=low, high=high, counts=row[:bins], zeros=int(row[bins]))
        for (name, (low, high)), row in zip(ends.items(), counts)
    }


def _listed(outputs: Any) -> list[Any]:
    return outputs if isinstance(outputs, list) else [outputs]


def _counts(values: Any, ends: tuple[float, float], bins: int) -> Any:
    """The counts of one tensor's bins, zeros taken out, and the number of zeros: (bins + 1,) int64."""
    value_range = tf.constant(ends, tf.float32)
    counted = tf.cast(tf.histogram_fixed_width(values, value_range, bins), tf.int64)
    zeros = tf.math.count_nonzero(tf.equal(values, 0.0))
    at_zero = tf.histogram_fixed_width(tf.zeros(1), value_range, bins)  # the same operator finds the same bin
    return tf.concat([counted - tf.cast(at_zero, tf.int64) * zeros, zeros[tf.newaxis]], axis=0)


def set_chosen_ranges(network: QuantizedNetwork, passes: Callable[[], Iterable[Any]], calibrator: Calibrator) -> int:
    """As set_ranges, by any calibrator.

    Args:
        passes: gives the calibration samples anew at every call; called once for min-max, twice for the others.
    Returns: the number of samples seen.
    Raises: ConversionError as set_ranges does.
    """
    seen = set_ranges(network, passes())
    if calibrator.needs_histogram:
        variables = network.ranges()
        for name, histogram in observe_histograms(network, passes()).items():
            for variable, end in zip(variables[name], choose_range(histogram, calibrator)):
                variable.assign(end)
    return seen
