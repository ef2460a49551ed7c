"""How far a matte is from the true one, by the four measures of the matting literature; single pictures, no time.

Source: Rhemann et al., "A Perceptually Motivated Online Benchmark for Image Matting" (CVPR 2009), whose code
alphamatting.com and most papers since use. There the sums run over the unknown pixels of a trimap; for portraits, which
come without one, over the whole picture (Ke et al., MODNet; Lin et al., RVM), and so do we unless `where` says
otherwise. Sums grow with the picture: compare at one size only. 0 is perfect everywhere.

    errors = matting_errors(alpha, true_alpha)
    errors.sad, errors.mse, errors.gradient, errors.connectivity
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

THOUSAND = 1000.0
"""SAD, gradient and connectivity are given in thousands, as papers print them."""

GRADIENT_SIGMA_PX = 1.4
"""Of the Gaussian whose derivatives the gradient error takes."""
GRADIENT_EPSILON = 1e-2
"""The filter ends where the Gaussian has fallen to this: at 4 pixels from its middle."""

CONNECTIVITY_STEPS = 10
"""Thresholds between 0 and 1 at which connectedness is looked at."""
CONNECTIVITY_TOLERANCE = 0.15
"""A pixel less than this above the level at which it is still connected counts as connected (the paper's theta)."""


@dataclass(frozen=True, kw_only=True)
class MattingErrors:
    """The four errors of one matte, 0 is perfect.

    Attributes:
        sad: sum of absolute differences, in thousands of pixels wholly wrong.
        mse: mean squared difference, 0..1; papers print a thousand times it.
        gradient: gradient_error, in thousands.
        connectivity: connectivity_error, in thousands.
    """

    sad: float
    mse: float
    gradient: float
    connectivity: float


def matting_errors(alpha: np.ndarray, truth: np.ndarray, *, where: np.ndarray | None = None) -> MattingErrors:
    """All four errors; arguments as `sad`'s."""
    return MattingErrors(
        sad=sad(alpha, truth, where=where),
        mse=mse(alpha, truth, where=where),
        gradient=gradient_error(alpha, truth, where=where),
        connectivity=connectivity_error(alpha, truth, where=where),
    )


def sad(alpha: np.ndarray, truth: np.ndarray, *, where: np.ndarray | None = None) -> float:
    """The sum of absolute differences, in thousands.

    Args:
        alpha, truth: (H, W) float in 0..1.
        where: (H, W) bool, the pixels that count, such as the unknown ones of a trimap; None is all.

    Raises: ValueError for shapes that differ.
    """
    _check(alpha, truth, where)
    return float(np.abs(_chosen(alpha, where) - _chosen(truth, where)).sum()) / THOUSAND


def mse(alpha: np.ndarray, truth: np.ndarray, *, where: np.ndarray | None = None) -> float:
    """The mean of squared differences, 0..1; 0 where no pixel counts. Arguments as `sad`'s."""
    _check(alpha, truth, where)
    difference = _chosen(alpha, where) - _chosen(truth, where)
    return float(np.mean(difference * difference)) if difference.size else 0.0


def gradient_error(alpha: np.ndarray, truth: np.ndarray, *, where: np.ndarray | None = None) -> float:
    """The sum of squared differences of the mattes' gradient magnitudes, in thousands.

    The gradient is taken with derivatives of a Gaussian of 1.4 pixels, each filter scaled to length 1 (its squares sum
    to 1), borders repeated. The authors' Matlab code first stretches each matte to span 0..1; we do not, as most ports
    do not: it makes no difference to a matte that spans it, and would forgive one that is everywhere too faint.
    Arguments as `sad`'s.
    """
    _check(alpha, truth, where)
    difference = _gradient_magnitude(alpha) - _gradient_magnitude(truth)
    return float(np.square(_chosen(difference, where)).sum()) / THOUSAND


def connectivity_error(alpha: np.ndarray, truth: np.ndarray, *, where: np.ndarray | None = None) -> float:
    """How differently the two mattes hang together with the part that is surely person, in thousands.

    Omega(t) is the largest 4-connected region in which both mattes reach the threshold t = 0.1, 0.2 ... 1. The level
    l of a pixel is the threshold below the first whose Omega leaves it out, 1 when none does. A matte's connectedness
    there is 1 - d where d = alpha - l is at least 0.15, and 1 elsewhere; the error is the sum of the absolute
    differences of the two connectednesses (equations 3 and 4 of the paper, p = 1). Arguments as `sad`'s.
    """
    _check(alpha, truth, where)
    both = np.minimum(alpha, truth)
    level = np.ones(both.shape, np.float64)
    is_open = np.ones(both.shape, bool)
    for step in range(1, CONNECTIVITY_STEPS + 1):
        # rounded to the float that a user writes: 0.3, not 0.30000000000000004
        left_out = is_open & ~_largest_region(both >= np.asarray(step / CONNECTIVITY_STEPS, both.dtype))
        level[left_out] = (step - 1) / CONNECTIVITY_STEPS
        is_open &= ~left_out
        if not is_open.any():
            break
    difference = _connectedness(alpha, level) - _connectedness(truth, level)
    return float(np.abs(_chosen(difference, where)).sum()) / THOUSAND


def _connectedness(alpha: np.ndarray, level: np.ndarray) -> np.ndarray:
    above = alpha - level
    # a matte is stored in steps of 1/255 or as float32: what is 0.15 but for rounding is 0.15
    return 1.0 - np.where(above >= CONNECTIVITY_TOLERANCE - 1e-6, above, 0.0)


def _largest_region(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool: the 4-connected region of most pixels, the first in reading order of equal ones."""
    count, regions, facts, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count < 2:
        return np.zeros(mask.shape, bool)
    return np.asarray(regions == 1 + int(np.argmax(facts[1:, cv2.CC_STAT_AREA])))


def _gradient_magnitude(alpha: np.ndarray) -> np.ndarray:
    """(H, W) float64."""
    smooth, slope = _gaussian_and_derivative()
    given = alpha.astype(np.float64, copy=False)
    # cv2 correlates where the paper convolves: an odd filter changes its sign alone, which the magnitude does not see
    across = cv2.sepFilter2D(given, cv2.CV_64F, slope, smooth, borderType=cv2.BORDER_REPLICATE)
    down = cv2.sepFilter2D(given, cv2.CV_64F, smooth, slope, borderType=cv2.BORDER_REPLICATE)
    return cv2.magnitude(across, down)


def _gaussian_and_derivative() -> tuple[np.ndarray, np.ndarray]:
    """The two factors of the derivative filter, each of length 1, so that their product has length 1."""
    sigma = GRADIENT_SIGMA_PX
    reach = math.ceil(sigma * math.sqrt(-2.0 * math.log(math.sqrt(2.0 * math.pi) * sigma * GRADIENT_EPSILON)))
    at = np.arange(-reach, reach + 1, dtype=np.float64)
    smooth = np.exp(-at * at / (2.0 * sigma * sigma))
    slope = -at * smooth
    return smooth / np.linalg.norm(smooth), slope / np.linalg.norm(slope)


def _chosen(values: np.ndarray, where: np.ndarray | None) -> np.ndarray:
    chosen = values if where is None else values[where]
    return chosen.astype(np.float64, copy=False)


def _check(alpha: np.ndarray, truth: np.ndarray, where: np.ndarray | None) -> None:
    shapes = {alpha.shape, truth.shape} | ({where.shape} if where is not None else set())
    if len(shapes) > 1 or alpha.ndim != 2 or alpha.size == 0:
        raise ValueError(f"mattes must be (H, W) of one shape; came {alpha.shape}, {truth.shape}")
