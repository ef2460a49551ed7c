"""Runs a predictor over labelled pictures and gathers the figures; knows neither models nor folders.

The caller hands in pairs and a callable, so the same figures serve a .tflite, a Keras model and a training loop.

    report = evaluate_pairs(pairs, segmenter.matte)
    report.person_iou, report.trimap_iou
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from edge_deeplab.errors import DataError, ModelError
from edge_deeplab.evaluation.boundary import boundary_f, edge_distance, mask_edge, trimap_iou
from edge_deeplab.evaluation.confusion import ConfusionMatrix, person_and_mean_iou
from edge_deeplab.labels import IGNORE

FIGURES = ("person_iou", "mean_iou", "trimap_iou", "boundary_f")
OnPrediction = Callable[[np.ndarray, np.ndarray], None]
THRESHOLD = 0.5
"""A pixel is person where its probability is above this."""


@dataclass(frozen=True, kw_only=True)
class PictureScore:
    """The figures of one picture, each 0..1, at the picture's own size.

    Attributes:
        trimap_iou: None where the truth has no edge, for then there is no trimap.
    """

    name: str
    size_hw: tuple[int, int]
    person_iou: float
    mean_iou: float
    trimap_iou: float | None
    boundary_f: float


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """The figures of a set: each the mean over its pictures (a picture without a trimap is left out of that mean)."""

    pictures: tuple[PictureScore, ...]

    def mean(self, figure: str) -> float | None:
        """The mean of one of FIGURES; None when it is defined for no picture."""
        values = [value for picture in self.pictures if (value := getattr(picture, figure)) is not None]
        return float(np.mean(values)) if values else None

    @property
    def person_iou(self) -> float:
        """Mean IoU of the person."""
        return self.mean("person_iou") or 0.0

    @property
    def mean_iou(self) -> float:
        """Mean of the mean of person and background IoU."""
        return self.mean("mean_iou") or 0.0

    @property
    def trimap_iou(self) -> float | None:
        """Mean trimap IoU; None when no truth has an edge."""
        return self.mean("trimap_iou")

    @property
    def boundary_f(self) -> float:
        """Mean boundary F."""
        return self.mean("boundary_f") or 0.0

    def summary(self) -> dict[str, Any]:
        """The count of pictures and the figures, for JSON, a manifest or a log."""
        return {"pictures": len(self.pictures), **{figure: self.mean(figure) for figure in FIGURES}}

    def to_dict(self) -> dict[str, Any]:
        """`summary()` and, under "per_picture", every picture's figures."""
        return {**self.summary(), "per_picture": [dataclasses.asdict(picture) for picture in self.pictures]}


@dataclass(frozen=True, kw_only=True)
class PictureMean:
    """The mean IoU of one picture over the classes seen in it, in truth or prediction; None where all of it is void."""

    name: str
    mean_iou: float | None


@dataclass(frozen=True, kw_only=True)
class ClassReport:
    """The multi-class figures of a set, from one confusion matrix over all its pixels.

    Attributes:
        confusion: (classes, classes) int64, rows are the truth.
        iou: per class, None for a class seen neither in truth nor in prediction.
        per_picture: every picture by itself.
    """

    pictures: int
    labels: tuple[str, ...]
    mean_iou: float
    pixel_accuracy: float
    iou: tuple[float | None, ...]
    confusion: np.ndarray
    per_picture: tuple[PictureMean, ...] = ()

    @property
    def picture_mean_iou(self) -> float | None:
        """The mean over pictures of their own mean IoU, which weighs small pictures and rare classes more."""
        values = [picture.mean_iou for picture in self.per_picture if picture.mean_iou is not None]
        return float(np.mean(values)) if values else None

    def to_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "pictures": self.pictures,
            "mean_iou": self.mean_iou,
            "picture_mean_iou": self.picture_mean_iou,
            "pixel_accuracy": self.pixel_accuracy,
            "iou": dict(zip(self.labels, self.iou, strict=True)),
            "confusion": self.confusion.tolist(),
            "per_picture": [dataclasses.asdict(picture) for picture in self.per_picture],
        }


def threshold(probability: np.ndarray, size_hw: tuple[int, int], *, name: str = "picture") -> np.ndarray:
    """Brings a probability to a picture's size, bilinearly with half-pixel centres, and asks where it exceeds 0.5.

    probability: (h, w) float, 0..1, covering the whole picture.
    Returns: (H, W) bool.
    Raises: ModelError naming `name` when it is of another shape or not a finite probability.
    """
    if probability.ndim != 2:
        raise ModelError(f"{name}: a probability must be (h, w)", came=f"shape {probability.shape}")
    if not np.isfinite(probability).all() or probability.min() < -1e-3 or probability.max() > 1 + 1e-3:
        raise ModelError(
            f"{name}: the model's output is no probability",
            came=f"values {probability.min():.4g}..{probability.max():.4g}", allowed="finite values 0..1",
            next_step="check the activation in the model's manifest",
        )  # fmt: skip
    resized = cv2.resize(probability.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_LINEAR)
    return resized > THRESHOLD


def _score_mask(name: str, predicted: np.ndarray, truth: np.ndarray) -> PictureScore:
    distance = edge_distance(mask_edge(truth))
    person, mean = person_and_mean_iou(predicted, truth)
    return PictureScore(
        name=name, size_hw=(int(truth.shape[0]), int(truth.shape[1])), person_iou=person, mean_iou=mean,
        trimap_iou=trimap_iou(predicted, truth, distance=distance),
        boundary_f=boundary_f(predicted, truth, distance=distance),
    )  # fmt: skip


def evaluate_pairs(
    pairs: Iterable[tuple[str, np.ndarray, np.ndarray]],
    predict: Callable[[np.ndarray], np.ndarray],
    *,
    on_progress: Callable[[int], None] | None = None,
    on_prediction: OnPrediction | None = None,
) -> EvaluationReport:
    """Scores a person segmenter on labelled pictures, one at a time.

    Args:
        pairs: (name, image (H, W, 3) uint8 RGB, mask (H, W) bool).
        predict: image -> (h, w) float, the probability of the person over the whole picture, at any resolution.
        on_progress: called with the number of pictures done.
        on_prediction: called with every picture's prediction and truth, (H, W) uint8, 1 is person.
    Raises: DataError for a mask of another size than its picture, or no pair at all; ModelError for a prediction
        that is no probability.
    """
    scores: list[PictureScore] = []
    for name, image, mask in pairs:
        _same_size(name, image, mask)
        predicted = threshold(predict(image), (int(mask.shape[0]), int(mask.shape[1])), name=name)
        scores.append(_score_mask(name, predicted, mask.astype(bool)))
        if on_prediction is not None:
            on_prediction(predicted.astype(np.uint8), mask.astype(np.uint8))
        if on_progress is not None:
            on_progress(len(scores))
    if not scores:
        raise DataError("no pair to evaluate on")
    return EvaluationReport(pictures=tuple(scores))


def evaluate_classes(
    pairs: Iterable[tuple[str, np.ndarray, np.ndarray]],
    predict: Callable[[np.ndarray], np.ndarray],
    labels: tuple[str, ...],
    *,
    ignore: int | None = IGNORE,
    on_progress: Callable[[int], None] | None = None,
    on_prediction: OnPrediction | None = None,
) -> ClassReport:
    """Scores a segmenter of any number of classes by mean IoU over the whole set.

    Args:
        pairs: (name, image (H, W, 3) uint8 RGB, labels (H, W) integer).
        predict: image -> (h, w, classes) float, probabilities or logits over the whole picture; resized bilinearly
            to the picture before the largest is taken, as the official evaluation does.
        labels: the classes' names, in the order of the output's channels.
        ignore: the label that counts for nothing.
        on_progress: called with the number of pictures done.
        on_prediction: called with every picture's classes and labels, (H, W).
    Raises: DataError for labels of another size or out of range, or no pair at all; ModelError for an output of
        another number of classes.
    """
    matrix, pictures = ConfusionMatrix(len(labels), ignore=ignore), []
    for name, image, truth in pairs:
        _same_size(name, image, truth)
        scores = predict(image)
        if scores.ndim != 3 or scores.shape[2] != len(labels):
            raise ModelError(f"{name}: the model's output does not fit its labels",
                             came=f"shape {scores.shape}", allowed=f"(h, w, {len(labels)})")  # fmt: skip
        resized = cv2.resize(scores.astype(np.float32), truth.shape[::-1], interpolation=cv2.INTER_LINEAR)
        predicted = resized.argmax(axis=2)
        one = ConfusionMatrix(len(labels), ignore=ignore)
        one.update(predicted, truth, name=name)
        matrix.counts += one.counts
        pictures.append(PictureMean(name=name, mean_iou=one.mean_iou() if one.counts.any() else None))
        if on_prediction is not None:
            on_prediction(predicted, truth)
        if on_progress is not None:
            on_progress(len(pictures))
    if not pictures:
        raise DataError("no pair to evaluate on")
    return ClassReport(
        pictures=len(pictures), per_picture=tuple(pictures), labels=labels,
        mean_iou=matrix.mean_iou(), pixel_accuracy=matrix.pixel_accuracy(),
        iou=tuple(None if np.isnan(value) else float(value) for value in matrix.iou()), confusion=matrix.counts,
    )  # fmt: skip


def _same_size(name: str, image: np.ndarray, mask: np.ndarray) -> None:
    if image.shape[:2] != mask.shape:
        raise DataError(f"{name}: its mask is of another size", came=mask.shape, allowed=image.shape[:2])
