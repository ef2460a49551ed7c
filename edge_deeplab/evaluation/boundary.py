"""How good a mask is along its edge, where a person looks first: trimap IoU and boundary F.

Both are figures of one picture, at the picture's own size. Everything is measured by d, the exact Euclidean
distance in pixels from a pixel's centre to the centre of the nearest edge pixel; a mask's edge is its 3 x 3
morphological gradient (the pixels on both sides of a change; the picture's border is no edge).

    boundary_f(predicted, truth), trimap_iou(predicted, truth)
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from edge_deeplab.evaluation.confusion import person_and_mean_iou

TRIMAP_RADIUS = 0.02
"""Half width of the trimap band, as a share of the picture's diagonal."""

BOUNDARY_TOLERANCE = 0.0075
"""How far an edge pixel may lie from the other edge, as a share of the diagonal; the value of BSDS and DAVIS."""

_NEIGHBOURS = np.ones((3, 3), np.uint8)


def diagonal_px(size_hw: tuple[int, ...]) -> float:
    """The length of a picture's diagonal in pixels."""
    return math.hypot(*size_hw[:2])


def boundary_tolerance_px(size_hw: tuple[int, ...]) -> float:
    """The tolerance of boundary F in pixels: a share of the diagonal, at least one pixel."""
    return max(1.0, BOUNDARY_TOLERANCE * diagonal_px(size_hw))


def mask_edge(mask: np.ndarray) -> np.ndarray:
    """The edge of a mask: pixels whose 3 x 3 neighbourhood, inside the picture, holds both values.

    mask: (H, W) bool. Returns: (H, W) bool.
    """
    # cv2's default border is neutral to erosion and dilation alike, so a person cut off by the frame has no edge there
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, _NEIGHBOURS).astype(bool)


def edge_distance(edge: np.ndarray) -> np.ndarray:
    """The exact L2 distance of every pixel to the nearest edge pixel, in pixels; infinite without an edge.

    edge: (H, W) bool. Returns: (H, W) float32.
    """
    if not edge.any():
        return np.full(edge.shape, np.inf, np.float32)
    # DIST_MASK_PRECISE: the 3 x 3 and 5 x 5 approximations move the peer's boundary F by up to 0.003
    return cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def trimap_iou(predicted: np.ndarray, truth: np.ndarray, *, distance: np.ndarray | None = None) -> float | None:
    """Mean of person and background IoU within TRIMAP_RADIUS of the true edge.

    After Kohli et al. 2009 and DeepLab (arXiv 1606.00915, figure 10), with a band that grows with the picture.

    predicted, truth: (H, W) bool. distance: `edge_distance` of the true edge, when the caller has it.
    Returns: 0..1, or None for a truth without an edge (all person or no person), where there is no band.
    """
    distance = edge_distance(mask_edge(truth)) if distance is None else distance
    band = distance <= TRIMAP_RADIUS * diagonal_px(truth.shape)
    return person_and_mean_iou(predicted, truth, band)[1] if band.any() else None


def boundary_f(predicted: np.ndarray, truth: np.ndarray, *, distance: np.ndarray | None = None) -> float:
    """Harmonic mean of the precision and the recall of edge pixels.

    Precision is the share of predicted edge pixels within the tolerance of the true edge, recall the share of true
    ones within it of the predicted edge; several pixels may match one. Without an edge the rules are those of DAVIS
    (Perazzi et al. 2016, db_eval_boundary): neither mask has one, 1; one of the two has one, 0.

    predicted, truth: (H, W) bool. distance: `edge_distance` of the true edge, when the caller has it.
    Returns: 0..1.
    """
    true_edge, predicted_edge = mask_edge(truth), mask_edge(predicted)
    if not true_edge.any() or not predicted_edge.any():
        return float(true_edge.any() == predicted_edge.any())
    distance = edge_distance(true_edge) if distance is None else distance
    tolerance_px = boundary_tolerance_px(truth.shape)
    precision = float(np.mean(distance[predicted_edge] <= tolerance_px))
    recall = float(np.mean(edge_distance(predicted_edge)[true_edge] <= tolerance_px))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
