"""The exact int8 form of a trained network: the same function with other numbers.

See models/blocks.py for why. Without a hard swish it is the identity.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_deeplab.models.architecture import Architecture, blocks_of
from edge_deeplab.models.blocks import Blocks
from edge_deeplab.models.transfer import Weights


def to_int8_form(K: Any, config: Architecture, weights: Weights) -> tuple[Architecture, Weights]:
    """Turns training weights into those of the int8 form.

    The inference function is unchanged to float rounding: kernels are divided by the factor their input is too large
    by, the gate's +3 goes into a bias, and a branch added to a too large shortcut grows in its batch norm.
    """
    int8_config = config.replace(form="int8")
    return int8_config, int8_weights(blocks_of(K, int8_config), weights)


def int8_weights(blocks: Blocks, weights: Weights) -> Weights:
    """The weights of the network that `blocks` laid in its int8 form, from those of the training form."""
    changed: Weights = {}
    for name, arrays in weights.items():
        moved = [np.array(array) for array in arrays]
        if name in blocks.kernel_factor:
            moved[0] = (moved[0] * blocks.kernel_factor[name]).astype(np.float32)
        if name in blocks.bias_shift:
            moved[1] = moved[1] + np.float32(blocks.bias_shift[name])
        if name in blocks.output_factor:  # gamma and beta
            moved[:2] = [(array * blocks.output_factor[name]).astype(np.float32) for array in moved[:2]]
        changed[name] = moved
    return changed | blocks.constants
