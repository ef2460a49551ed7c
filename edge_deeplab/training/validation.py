"""A quick score at the network's own size, to choose the best epoch. The figures for people come from `evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edge_deeplab.data.pairs import LabelledPicture
from edge_deeplab.evaluation.confusion import ConfusionMatrix, binary_iou
from edge_deeplab.imaging.resize import resize_image
from edge_deeplab.labels import IGNORE


@dataclass(frozen=True)
class ValidationSet:
    """Pictures and labels of one folder at one size: (N, h, w, 3) uint8 and (N, h, w) uint8."""

    name: str
    images: np.ndarray
    labels: np.ndarray


def load_validation(
    name: str, pairs: Sequence[LabelledPicture], *, size_hw: tuple[int, int], classes: int
) -> ValidationSet:
    """Reads and stretches every pair, as inference does."""
    images = np.empty((len(pairs), *size_hw, 3), np.uint8)
    labels = np.empty((len(pairs), *size_hw), np.uint8)
    for index, pair in enumerate(pairs):
        image, mask = pair.read(classes=classes)
        images[index] = resize_image(image, size_hw)
        labels[index] = cv2.resize(mask, size_hw[::-1], interpolation=cv2.INTER_NEAREST)
    return ValidationSet(name, images, labels)


@dataclass(frozen=True)
class Score:
    """How good a network is on a set, and what it said.

    Attributes:
        value: 0..1: for two classes the mean over pictures of the IoU of class 1, else the mean IoU over all pixels.
        predicted, truth: pixels of each class, void left out, (classes,) int64.
    """

    value: float
    predicted: np.ndarray
    truth: np.ndarray


def score(
    data: ValidationSet, predict: Callable[[np.ndarray], np.ndarray], *, classes: int, batch_size: int = 16
) -> Score:
    """Runs a network over a set.

    Args:
        predict: (N, h, w, 3) float32 in 0..1 -> logits (N, h', w', classes).
    """
    matrix, person = ConfusionMatrix(classes, ignore=IGNORE), []
    for begin in range(0, len(data.images), batch_size):
        images = data.images[begin : begin + batch_size].astype(np.float32) / 255
        for logits, truth in zip(predict(images), data.labels[begin : begin + batch_size]):
            if logits.shape[:2] != truth.shape:
                logits = cv2.resize(logits, truth.shape[::-1], interpolation=cv2.INTER_LINEAR)
            guess = logits.argmax(axis=-1).astype(np.uint8)
            matrix.update(guess, truth)
            if classes == 2:
                person.append(binary_iou(guess == 1, truth == 1, truth != IGNORE))
    value = float(np.mean(person)) if classes == 2 else matrix.mean_iou()
    return Score(value, matrix.counts.sum(axis=0), matrix.counts.sum(axis=1))
