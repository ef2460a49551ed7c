"""Counting agreement between a prediction and the truth: IoU of one class, and the confusion matrix of many.

No resizing, no files, no model; arrays of one shape in, numbers out.

    matrix = ConfusionMatrix(classes=21)
    matrix.update(predicted, labels)
    matrix.mean_iou()
"""

from __future__ import annotations

import numpy as np

from edge_deeplab.errors import DataError
from edge_deeplab.labels import IGNORE


def binary_iou(predicted: np.ndarray, truth: np.ndarray, where: np.ndarray | None = None) -> float:
    """Intersection over union of two masks, over the whole picture or where `where` is set.

    predicted, truth, where: (H, W) bool.
    Returns: 0..1; 1 where both are empty, for then they agree.
    """
    intersection, union = predicted & truth, predicted | truth
    if where is not None:
        intersection, union = intersection & where, union & where
    counted = int(np.count_nonzero(union))
    return int(np.count_nonzero(intersection)) / counted if counted else 1.0


def person_and_mean_iou(
    predicted: np.ndarray, truth: np.ndarray, where: np.ndarray | None = None
) -> tuple[float, float]:
    """IoU of the person, and the mean of person and background IoU; both as `binary_iou` has them."""
    person = binary_iou(predicted, truth, where)
    return person, (person + binary_iou(~predicted, ~truth, where)) / 2


class ConfusionMatrix:
    """How many pixels of each true class were given which class, summed over pictures.

    The multi-class mean IoU of PASCAL VOC and of the official DeepLab evaluation: one matrix over the whole set
    (not a mean over pictures), void pixels left out, classes that occur neither in truth nor in prediction left
    out of the mean (tf.metrics.mean_iou does the same).

    Args:
        classes: number of classes, at least 2.
        ignore: the label that counts for nothing; None when every pixel counts.
    """

    def __init__(self, classes: int, *, ignore: int | None = IGNORE) -> None:
        if classes < 2:
            raise ValueError(f"classes must be at least 2, came {classes}")
        self.classes, self.ignore = classes, ignore
        self.counts = np.zeros((classes, classes), np.int64)

    def update(self, predicted: np.ndarray, labels: np.ndarray, *, name: str = "picture") -> None:
        """Adds one picture.

        predicted: (H, W) integer, 0..classes-1 at every pixel that counts.
        labels: (H, W) integer, 0..classes-1 or the ignore value.
        Raises: DataError naming `name` when the shapes differ or a value is no class.
        """
        if predicted.shape != labels.shape:
            raise DataError(f"{name}: prediction and labels differ in size", came=predicted.shape, allowed=labels.shape)
        counted = np.ones(labels.shape, bool) if self.ignore is None else labels != self.ignore
        true, guess = labels[counted].astype(np.int64), predicted[counted].astype(np.int64)
        for what, values in (("label", true), ("predicted class", guess)):
            if values.size and not (values.min() >= 0 and values.max() < self.classes):
                wrong = sorted(set(np.unique(values).tolist()) - set(range(self.classes)))
                void = "" if self.ignore is None else f" or {self.ignore} (void)"
                raise DataError(
                    f"{name}: {what} out of range",
                    came=", ".join(map(str, wrong[:8])), allowed=f"0..{self.classes - 1}{void}",
                )  # fmt: skip
        self.counts += np.bincount(true * self.classes + guess, minlength=self.classes**2).reshape(self.counts.shape)

    def iou(self) -> np.ndarray:
        """IoU of every class: (classes,) float64, NaN for a class seen neither in truth nor in prediction."""
        hits = np.diagonal(self.counts).astype(np.float64)
        union = self.counts.sum(0) + self.counts.sum(1) - hits
        return np.divide(hits, union, out=np.full(self.classes, np.nan), where=union > 0)

    def mean_iou(self) -> float:
        """The mean of `iou()` over the classes seen. Raises DataError when no pixel was counted."""
        if not self.counts.any():
            raise DataError("no labelled pixel was counted", next_step="check the masks and the ignore value")
        return float(np.nanmean(self.iou()))

    def pixel_accuracy(self) -> float:
        """The share of counted pixels whose class is right. Raises DataError when no pixel was counted."""
        total = int(self.counts.sum())
        if not total:
            raise DataError("no labelled pixel was counted", next_step="check the masks and the ignore value")
        return int(np.trace(self.counts)) / total
