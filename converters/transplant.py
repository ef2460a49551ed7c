"""Puts a foreign MobileNetV2 backbone into the weights of our own network, as a start for training.

Arrays in, arrays out: no Keras here. The caller reads the weights out of a fresh network and sets the result back.

    weights = transplant(read_foreign_backbone(path), weights_of(model))
    assign_weights(model, weights)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from edge_deeplab.converters.pretrained import BATCH_NORM, SCOPE, ForeignBackbone, official_layers
from edge_deeplab.errors import ConversionError
from edge_deeplab.models.blocks import BATCH_NORM_EPSILON

Weights = dict[str, list[np.ndarray]]


def transplant(backbone: ForeignBackbone, target: Mapping[str, list[np.ndarray]]) -> Weights:
    """A copy of `target` with the backbone's layers taken from the foreign one.

    Where the network has more channels (rounded to 8 where the foreign one was rounded to 1), the foreign channels come
    first, the others keep their fresh values, and what reads them starts at zero: the foreign network is computed as it
    was, and the new channels are there to be learnt.

    A folded backbone has no statistics left. Its batch norms are set so that the inference form is exact; training
    normalises by the batch at once, which changes the network until the first layers have settled.

    Args:
        target: layer name -> arrays, of a network of ours with backbone mobilenet_v2 and pixels 0..1.
    Raises: ConversionError when the network has no such layers, or fewer channels than the foreign one.
    """
    weights = {name: list(arrays) for name, arrays in target.items()}
    for foreign, kernel_name, ours in _layer_pairs():
        kernel = backbone.arrays[f"{foreign}/{kernel_name}"]
        statistics = _statistics(backbone, foreign, kernel.shape[2 if kernel_name == "depthwise_weights" else 3])
        if foreign == f"{SCOPE}/Conv":
            kernel, statistics = _take_zero_to_one(kernel, statistics, backbone.input_range)
        for name, arrays in ((f"{ours}_conv", [kernel]), (f"{ours}_bn", list(statistics))):
            if name not in weights:
                raise ConversionError(
                    f"{backbone.source}: cannot start this network", came=f"it has no layer {name}",
                    allowed="a network with the backbone mobilenet_v2",
                )  # fmt: skip
            weights[name] = [
                _widen(new, fresh, name=name, source=backbone.source)
                for new, fresh in zip(arrays, weights[name], strict=True)
            ]
    return weights


def batch_norm_names() -> frozenset[str]:
    """Our batch norms that a transplant sets; those of a folded backbone still lack their statistics."""
    return frozenset(f"{ours}_bn" for _, _, ours in _layer_pairs())


def _layer_pairs() -> Iterator[tuple[str, str, str]]:
    """Official layer name, the name of its kernel variable, our layer's name without _conv or _bn."""
    for foreign, kernel_name in official_layers():
        parts = foreign.split("/")
        if len(parts) == 2:
            yield foreign, kernel_name, "stem"
        else:
            block = parts[1].removeprefix("expanded_conv").removeprefix("_") or "0"
            yield foreign, kernel_name, f"block_{block}_{parts[2]}"


def _statistics(backbone: ForeignBackbone, layer: str, channels: int) -> tuple[np.ndarray, ...]:
    """Gamma, beta, moving mean and moving variance for a batch norm with our epsilon."""
    if backbone.is_folded:
        ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        return ones, backbone.arrays[f"{layer}/biases"], zeros, ones - np.float32(BATCH_NORM_EPSILON)
    gamma, beta, mean, variance = (backbone.arrays[f"{layer}/BatchNorm/{name}"] for name in BATCH_NORM)
    # the same sum under the root with another epsilon; a variance cannot be below zero
    difference = (backbone.batch_norm_epsilon or BATCH_NORM_EPSILON) - BATCH_NORM_EPSILON
    return gamma, beta, mean, np.maximum(variance + np.float32(difference), 0)


def _take_zero_to_one(
    kernel: np.ndarray, statistics: tuple[np.ndarray, ...], input_range: tuple[float, float]
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """The stem for pixels 0..1: exact but for the outermost row and column, where SAME padding puts zeros."""
    low, high = input_range
    gamma, beta, mean, variance = statistics
    shifted = mean - np.float32(low) * kernel.sum(axis=(0, 1, 2))
    return kernel * np.float32(high - low), (gamma, beta, shifted, variance)


def _widen(new: np.ndarray, fresh: np.ndarray, *, name: str, source: str) -> np.ndarray:
    """`new` in the first channels of `fresh`; what new outputs read stays fresh, what old ones read of new is zero."""
    if new.shape == fresh.shape:
        return new.astype(np.float32)
    is_smaller = new.ndim == fresh.ndim and all(a <= b for a, b in zip(new.shape, fresh.shape))
    if not is_smaller or new.shape[:-2] != fresh.shape[:-2]:
        raise ConversionError(
            f"{source}: does not fit layer {name}", came=new.shape, allowed=f"at most {fresh.shape}",
            next_step="take the width and the width_divisor of the file",
        )  # fmt: skip
    widened = fresh.astype(np.float32, copy=True)
    if new.ndim == 4 and new.shape[3] > 1:  # (h, w, in, out); a depthwise kernel, (h, w, C, 1), has no inputs to cut
        widened[:, :, new.shape[2] :, : new.shape[3]] = 0
    widened[tuple(slice(size) for size in new.shape)] = new
    return widened
