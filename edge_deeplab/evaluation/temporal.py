"""How steady mattes are from one frame to the next: against the truth, and without one, along the picture's motion.

    flow = picture_flow(before_bgr, now_bgr)
    steadiness(alpha_before, alpha_now, flow=flow)          # no truth is needed
    dtssd(alpha_before, alpha_now, true_before, true_now)

Every figure is of two adjacent frames; the caller takes means over a video.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge_deeplab.evaluation.confusion import binary_iou

PER_CENT = 100.0
PERSON = 0.5
"""A pixel is person where its alpha is above this."""

# Two flows, there and back, must cancel out to within this many pixels plus this share of both lengths; else the pixel
# was covered, uncovered or mistaken (Sundaram, Brox, Keutzer, "Dense Point Trajectories by GPU-Accelerated Large
# Displacement Optical Flow", ECCV 2010, equation 5, whose constants these are, there of squared lengths).
CANCEL_SHARE = 0.01
CANCEL_PX2 = 0.5


@dataclass(frozen=True)
class Flow:
    """Where each pixel of a frame was in the frame before.

    Attributes:
        back: (H, W, 2) float32: pixel (x, y) of now was at (x + back[y, x, 0], y + back[y, x, 1]) before.
        is_known: (H, W) bool: where that can be relied on: inside the frame before, and there and back cancel out.
    """

    back: np.ndarray
    is_known: np.ndarray

    def warp(self, before: np.ndarray) -> np.ndarray:
        """The frame before, or its matte, moved to where it is now; bilinear, borders repeated."""
        height, width = self.back.shape[:2]
        columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        return cv2.remap(
            before, columns + self.back[..., 0], rows + self.back[..., 1], cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Steadiness:
    """How much two adjacent mattes differ.

    Attributes:
        iou: intersection over union of the persons, 0..1, 1 is steady.
        difference: mean absolute difference of alpha over the pixels that count, 0..1, 0 is steady; times a thousand
            where it is printed.
    """

    iou: float
    difference: float


def dtssd(before: np.ndarray, now: np.ndarray, true_before: np.ndarray, true_now: np.ndarray) -> float:
    """How far the matte's change from frame to frame is from the true change, in per cent of alpha.

    100 * sqrt(mean over the pixels of ((now - before) - (true_now - true_before))^2). Erofeev et al., "Perceptually
    Motivated Benchmark for Video Matting" (BMVC 2015), section 4, take the sum in place of the mean; the mean does not
    grow with the frame, and is how Lin et al. ("Robust High-Resolution Video Matting", WACV 2022) and papers since give
    it. An error that stays as it is costs nothing here; one that flickers does.

    before, now, true_before, true_now: (H, W) float in 0..1. Returns: 0 (perfect) to 200.
    """
    _check(before, now, true_before, true_now)
    wrong = (now.astype(np.float64) - before) - (true_now.astype(np.float64) - true_before)
    return PER_CENT * float(np.sqrt(np.mean(wrong * wrong)))


def steadiness(before: np.ndarray, now: np.ndarray, *, flow: Flow | None = None) -> Steadiness:
    """How much two adjacent mattes agree: pixel by pixel, or along the picture's motion.

    Without a flow a person who moves is unsteady. With one, the matte before is moved to where the picture went, and
    pixels whose motion is not known count for nothing: what is left is flicker (and what the flow mistook).

    before, now: (H, W) float in 0..1.
    """
    _check(before, now)
    where = np.ones(now.shape, bool)
    if flow is not None:
        before, where = flow.warp(before.astype(np.float32, copy=False)), flow.is_known
    if not where.any():
        return Steadiness(iou=1.0, difference=0.0)
    return Steadiness(
        iou=binary_iou(now > PERSON, before > PERSON, where),
        difference=float(np.abs(now[where].astype(np.float64) - before[where]).mean()),
    )


def picture_flow(before_bgr: np.ndarray, now_bgr: np.ndarray) -> Flow:
    """The motion between two frames by DIS optical flow (Kroeger et al., ECCV 2016), checked there and back.

    before_bgr, now_bgr: (H, W, 3) uint8, at least 12 pixels on each side.
    Raises: ValueError for frames of different sizes.
    """
    if before_bgr.shape != now_bgr.shape:
        raise ValueError(f"frames must be of one size; came {before_bgr.shape}, {now_bgr.shape}")
    before, now = (cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in (before_bgr, now_bgr))
    seeker = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    # The two calls share no state: a seeker that goes on from an earlier flow would make the result depend on the past.
    back, forth = seeker.calc(now, before, None), seeker.calc(before, now, None)
    height, width = now.shape
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    from_x, from_y = columns + back[..., 0], rows + back[..., 1]
    is_inside = (from_x >= 0) & (from_x <= width - 1) & (from_y >= 0) & (from_y <= height - 1)
    returned = cv2.remap(forth, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    lengths = np.square(back).sum(axis=2) + np.square(returned).sum(axis=2)
    cancels = np.square(back + returned).sum(axis=2) <= CANCEL_SHARE * lengths + CANCEL_PX2
    return Flow(back, is_inside & cancels)


def _check(*mattes: np.ndarray) -> None:
    if len({matte.shape for matte in mattes}) > 1 or mattes[0].ndim != 2 or mattes[0].size == 0:
        raise ValueError(f"mattes must be (H, W) of one shape; came {', '.join(str(matte.shape) for matte in mattes)}")
