"""Seeing that a network has come to say one class everywhere, and saying why that may be.

    warning = collapse_warning("val", predicted, truth, labels, epoch=3)      # one line, or None

Nothing here trains; pixels of each class come in, as validation counts them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ELSE_SHARE = 0.02
"""Collapsed is a network that gives all classes but one, together, less than this share of the pixels they truly have.

Relative to the truth, so that a set of which 1 % is foreground is judged as one of which half is.
"""
EARLY_EPOCHS = 2
"""An image-pooling batch norm has seen so few batches then that one class everywhere is no fault yet:
it passes after the first epoch or two."""


def collapsed_class(predicted: np.ndarray, truth: np.ndarray) -> int | None:
    """The one class a network says, where it says no other; None for a healthy one, or a truth of one class.

    predicted, truth: pixels of each class, (classes,) integers, void left out.
    """
    if not predicted.sum():
        return None
    most = int(predicted.argmax())
    others = int(truth.sum() - truth[most])
    return most if others and predicted.sum() - predicted[most] < ELSE_SHARE * others else None


def collapse_warning(
    name: str, predicted: np.ndarray, truth: np.ndarray, labels: Sequence[str], *, epoch: int
) -> str | None:
    """A line for the log, or None.

    Args:
        name: of the validation set.
        epoch: counted from 0.
    """
    most = collapsed_class(predicted, truth)
    if most is None:
        return None
    share, true_share = predicted[most] / predicted.sum(), truth[most] / truth.sum()
    said = f"{name}: the network says {labels[most]!r} on {share:.1%} of the pixels, of which {true_share:.1%} are"
    if epoch < EARLY_EPOCHS:
        return f"{said}; usual in the first epoch or two, while batch norms settle; if it stays, " + _causes(most)
    return f"{said}; likely causes: " + _causes(most)


def _causes(most: int) -> str:
    causes = [
        "masks whose labels are not what they seem (run `edge-deeplab doctor`)",
        "rare classes (set loss.class_weights, as doctor suggests)",
        "too high an optimizer.learning_rate",
        "too small a batch_size for batch norms",
    ]
    if most == 0:
        causes.insert(1, "augmentation that hides what is to be found (augment.scale, augment.empty)")
    return ", ".join(causes)
