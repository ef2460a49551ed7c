"""Mean IoU near borders, against how near: the figure "trimap" of the DeepLab papers.

    curve = TrimapCurve(classes=21)
    evaluate_classes(pairs, predict, labels, on_prediction=curve.add)
    for width_px, mean_iou in curve.points(): ...

A band of width w holds the pixels that count and lie within w pixels of a border between labels, void being a label of
its own here: on PASCAL VOC, whose objects have a void rim, that is the dilated void of DeepLabv3+ (Chen et al. 2018,
section 4.4, figure 5; after Kohli et al. 2009 and Kraehenbuehl and Koltun 2011); on sets without void it is the band on
both sides of every border. The width is in pixels of the picture, and w = 1 is the pixels that touch a border. One
confusion matrix per band over the whole set, as for mean IoU.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from edge_deeplab.evaluation.confusion import ConfusionMatrix
from edge_deeplab.labels import IGNORE

WIDTHS_PX = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 35, 40)
"""The papers' figures end at 40 pixels, on pictures of about 500 x 375."""

_NEIGHBOURS = np.ones((3, 3), np.uint8)


def border_distance(labels: np.ndarray) -> np.ndarray:
    """How far each pixel lies from the nearest border between labels, counting from 1 for those that touch it.

    labels: (H, W) uint8, void included. Returns: (H, W) float32, pixels; infinite where there is one label alone.
    """
    # equal extremes of a 3 x 3 neighbourhood mean one label in it; the picture's own border is none
    touches = cv2.dilate(labels, _NEIGHBOURS) != cv2.erode(labels, _NEIGHBOURS)
    if not touches.any():
        return np.full(labels.shape, np.inf, np.float32)
    return cv2.distanceTransform((~touches).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) + 1


class TrimapCurve:
    """Adds pictures up.

    Args:
        classes: number of classes.
        widths_px: of the bands, ascending.
        ignore: the label that counts for nothing; None when every pixel counts.
    """

    def __init__(
        self, classes: int, *, widths_px: Sequence[float] = WIDTHS_PX, ignore: int | None = IGNORE
    ) -> None:  # fmt: skip
        if not widths_px or list(widths_px) != sorted(set(widths_px)) or min(widths_px) < 1:
            raise ValueError(f"widths_px must ascend from 1 or more, came {widths_px}")
        self.widths_px, self.ignore = tuple(widths_px), ignore
        self._rings = [ConfusionMatrix(classes, ignore=None) for _ in widths_px]  # between one width and the last

    def add(self, predicted: np.ndarray, labels: np.ndarray) -> None:
        """Adds one picture. predicted, labels: (H, W) integers, as ConfusionMatrix.update takes them."""
        distance = border_distance(labels.astype(np.uint8, copy=False))
        ring = np.searchsorted(self.widths_px, distance)
        if self.ignore is not None:
            ring[labels == self.ignore] = len(self._rings)
        for index, matrix in enumerate(self._rings):
            where = ring == index
            matrix.update(predicted[where], labels[where])

    def points(self) -> list[tuple[float, float]]:
        """(width in pixels, mean IoU) for every width whose band holds a pixel."""
        found = []
        total = ConfusionMatrix(self._rings[0].classes, ignore=None)
        for width, matrix in zip(self.widths_px, self._rings, strict=True):
            total.counts += matrix.counts
            if total.counts.any():
                found.append((width, total.mean_iou()))
        return found


def draw_trimap_curves(curves: Iterable[tuple[str, Sequence[tuple[float, float]]]], *, title: str) -> str:
    """Several models' points as one SVG file's text, with a legend."""
    from edge_deeplab.imaging.svg_drawing import curves as draw_curves

    return draw_curves(list(curves), title=title, x_label="trimap width in pixels", y_label="mean IoU")
