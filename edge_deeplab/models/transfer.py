"""Moving weights between models by layer name, in list order.

The depthwise variable has another name in keras than in tf_keras, so variables' names never count.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_deeplab.errors import ModelError

Weights = dict[str, list[np.ndarray]]


def weights_of(model: Any) -> Weights:
    """Layer name -> its arrays, for every layer of a keras or tf_keras model that has any."""
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def assign_weights(model: Any, weights: Weights, *, source: str = "weights") -> None:
    """Sets every layer's arrays. Raises ModelError listing missing, extra and misshapen layers."""
    wanted = {layer.name: layer for layer in model.layers if layer.weights}
    missing, extra = sorted(set(wanted) - set(weights)), sorted(set(weights) - set(wanted))
    misshapen = [
        f"{name} {[tuple(a.shape) for a in weights[name]]} for {[tuple(v.shape) for v in layer.weights]}"
        for name, layer in wanted.items()
        if name in weights and [tuple(a.shape) for a in weights[name]] != [tuple(v.shape) for v in layer.weights]
    ]
    if missing or extra or misshapen:
        raise ModelError(
            f"{source}: does not fit the network",
            came="; ".join(
                f"{word}: {', '.join(names[:6])}{' ...' if len(names) > 6 else ''}"
                for word, names in (("missing", missing), ("extra", extra), ("other shapes", misshapen))
                if names
            ),
        )
    for name, layer in wanted.items():
        layer.set_weights(weights[name])


def copy_weights(source: Any, target: Any) -> None:
    """Copies all weights from one model to another of the same architecture, across Kerases."""
    assign_weights(target, weights_of(source), source=source.name)
