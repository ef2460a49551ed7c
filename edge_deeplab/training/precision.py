"""Mixed precision: products in bfloat16; weights, batch norms, logits, loss and optimizer in float32.

    compute_in(model, "bfloat16")

Layer by layer, never by Keras's global policy, which would reach every network made afterwards.
"""

from __future__ import annotations

from typing import Any, Literal

Precision = Literal["float32", "bfloat16"]
"""bfloat16 has float32's range, so no loss needs scaling; float16, which does, is not offered."""
FULL = ("image", "logits")
"""How the names of layers begin that stay in float32."""


def compute_in(model: Any, precision: Precision) -> None:
    """Sets what a network of ours computes in, in place; its weights stay float32. model: of Keras 3."""
    if precision == "float32":
        return
    for layer in model.layers:
        if not layer.name.startswith(FULL):
            layer.dtype_policy = f"mixed_{precision}"
