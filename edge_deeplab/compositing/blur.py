"""A blurred background into which the person's colours never enter. Low resolution inside; no time, no blending here.

background = blur_background(frame_bgr, alpha, strength=0.5)
"""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np

from edge_deeplab import kernels
from edge_deeplab.compositing.buffers import Buffers

# Standard deviation of the blur at strength 1, as a share of the frame's diagonal: 37 px at 1280 x 720.
MAX_SIGMA_SHARE = 0.025
# A cell whose largest alpha is at most KEEP_UP_TO counts as background, one above LEAVE_FROM not at all, of 255.
KEEP_UP_TO = 8
LEAVE_FROM = 64
# Cells around the person left out besides: a matte is a few pixels off, and what it misses would glow around it.
MARGIN_CELLS = 1
# How much the far fill weighs against the normalised blur: it takes over where less than this share of the window is
# background.
FILL_WEIGHT = 0.02
LOW_SIDE = 320
# Standard deviation, in cells, from which on half as many cells a side do: what is left of a black-and-white edge
# then bends by a level and a half of 255 between two of them.
HALVED_FROM = 4.0
REACH_SIGMAS = 2.6

_RAMP = np.clip((LEAVE_FROM - np.arange(256, dtype=np.float32)) / (LEAVE_FROM - KEEP_UP_TO), 0.0, 1.0)[np.newaxis]


class BackgroundBlur:
    """Normalised convolution: blur(frame * keep) / blur(keep), at low resolution.

    `keep` is 0 in every cell that a pixel of the person touches, taken as a maximum over the cell, so the mask acts
    before the downsampling too: no mixed colour exists to be blurred. Where no background lies within the window (deep
    inside the person) a push-pull fill from afar stands in; it only shows through soft edges. A wide blur is made at
    half the resolution again, from what the mask has left: it has no detail that would be missed.

    Source: Knutsson, Westin, "Normalized and Differential Convolution" (CVPR 1993); the fill is the push-pull of
    Gortler et al., "The Lumigraph" (SIGGRAPH 1996), section 3.4.
    """

    def __init__(self, strength: float) -> None:
        if not 0.0 <= strength <= 1.0:
            raise ValueError(f"strength must be in 0..1; came {strength}")
        self.strength = strength
        self._buffers = Buffers()

    def blur(self, low_bgr: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """The blurred background, without the person.

        Args:
            low_bgr: (h, w, 3) uint8, the frame at low resolution.
            alpha: (ha, wa) uint8, 255 is person, of at least that resolution; covers the same field.

        Returns: (h, w, 3) uint8, or half of that where the blur is wide; valid until the next call.
        """
        sigma_cells = self.strength * MAX_SIGMA_SHARE * math.hypot(*low_bgr.shape[:2])
        height, width = size_hw = low_bgr.shape[:2]
        if sigma_cells >= HALVED_FROM:
            height, width = size_hw = (max(1, height // 2), max(1, width // 2))
        if size_hw != low_bgr.shape[:2]:  # the mean of two cells has blurred by half a cell already
            sigma_cells = math.sqrt(sigma_cells**2 - 0.25) / 2
        native = kernels.native()
        if native is not None and kernels.has_rows(low_bgr, alpha):
            blurred = self._buffers.take("blurred", (height, width, 3))
            taps = _gaussian_taps(sigma_cells)
            native.blur_background(low_bgr, alpha, _RAMP, taps, blurred, FILL_WEIGHT, cv2.getNumThreads())
            return blurred
        weighted = self._weighted(low_bgr, alpha, size_hw)
        spread = gaussian_blur(weighted, sigma_cells, dst=self._buffers.take("spread", weighted.shape, np.float32))
        *colours, weight = cv2.split(spread, self._buffers.planes("planes", 4, size_hw, np.float32))
        weight += np.float32(FILL_WEIGHT)
        scale = np.reciprocal(weight, out=weight)
        fill = self._buffers.take("fill", (*size_hw, 3), np.float32)
        cv2.resize(push_pull(weighted), (width, height), dst=fill, interpolation=cv2.INTER_LINEAR)
        for colour, far in zip(colours, cv2.split(fill, self._buffers.planes("fill", 3, size_hw, np.float32))):
            cv2.scaleAdd(far, FILL_WEIGHT, colour, dst=colour)
            np.multiply(colour, scale, out=colour)
        merged = cv2.merge(colours, dst=fill)
        return cv2.convertScaleAbs(merged, dst=self._buffers.take("blurred", fill.shape))

    def _weighted(self, low_bgr: np.ndarray, alpha: np.ndarray, blurred_hw: tuple[int, int]) -> np.ndarray:
        """(h, w, 4) float32 at the size of the blur: colour times keep, and keep in 0..1."""
        take, size_hw = self._buffers.take, low_bgr.shape[:2]
        keep = cv2.LUT(self._largest(alpha, size_hw), _RAMP, dst=take("keep", size_hw, np.float32))
        if not keep.any():  # the person fills the frame: no background to take, and none to show
            keep.fill(1.0)
        planes = self._buffers.planes("products", 3, size_hw, np.float32)
        for plane, product in zip(cv2.split(low_bgr, self._buffers.planes("bytes", 3, size_hw)), planes):
            cv2.multiply(plane, keep, dst=product, dtype=cv2.CV_32F)
        planes.append(keep)
        if blurred_hw != size_hw:
            halved = self._buffers.planes("halves", 4, blurred_hw, np.float32)
            for plane, half in zip(planes, halved):
                cv2.resize(plane, blurred_hw[::-1], dst=half, interpolation=cv2.INTER_AREA)
            planes = halved
        return cv2.merge(planes, dst=take("weighted", (*blurred_hw, 4), np.float32))

    def _largest(self, alpha: np.ndarray, size_hw: tuple[int, ...]) -> np.ndarray:
        """(h, w) uint8: the largest alpha in and around each cell (largest_in_cells), over buffers."""
        return largest_in_cells(
            alpha, size_hw, dst=(self._buffers.take("dilated", alpha.shape), self._buffers.take("largest", size_hw))
        )


def blur_background(frame_bgr: np.ndarray, alpha: np.ndarray, *, strength: float = 0.5) -> np.ndarray:
    """The frame's background, blurred, at the frame's size (BackgroundBlur).

    Args:
        frame_bgr: (H, W, 3) uint8.
        alpha: (h, w) uint8, 255 is person, covering the whole frame.

    Returns: (H, W, 3) uint8; the person is gone from it.
    """
    height, width = frame_bgr.shape[:2]
    factor = max(1, round(max(height, width) / LOW_SIDE))
    low_wh = (max(1, width // factor), max(1, height // factor))
    low = cv2.resize(frame_bgr, low_wh, interpolation=cv2.INTER_AREA)
    size_wh = (max(low_wh[0], alpha.shape[1]), max(low_wh[1], alpha.shape[0]))
    fine = cv2.resize(alpha, size_wh, interpolation=cv2.INTER_LINEAR)
    blurred = BackgroundBlur(strength).blur(low, fine)
    return cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR)


def background_cells(alpha: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """How much each low-resolution cell is background: (h, w) float32, 0 in every cell the person touches."""
    return cv2.LUT(largest_in_cells(alpha, size_hw), _RAMP)


def largest_in_cells(
    alpha: np.ndarray, size_hw: tuple[int, ...], *, dst: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """The largest alpha of each low-resolution cell and of the MARGIN_CELLS around it.

    Args:
        alpha: (ha, wa) uint8, of at least the size asked for.
        dst: (ha, wa) and (h, w) uint8 to work in; the second is what is returned.

    Returns: (h, w) uint8.
    """
    height, width = size_hw
    reach_y, reach_x = (math.ceil(have / want) for have, want in zip(alpha.shape, size_hw))
    # A window of two cells and one pixel around the pixel that "nearest" picks covers the whole cell.
    kernel = np.ones((2 * reach_y + 1, 2 * reach_x + 1), np.uint8)
    dilated, largest = dst or (None, None)
    dilated = cv2.dilate(alpha, kernel, dst=dilated)
    largest = cv2.resize(dilated, (width, height), dst=largest, interpolation=cv2.INTER_NEAREST)
    margin = 2 * MARGIN_CELLS + 1
    return cv2.dilate(largest, np.ones((margin, margin), np.uint8), dst=largest)


def push_pull(weighted: np.ndarray) -> np.ndarray:
    """Colours for every cell, from the nearest scale at which there are any.

    Args:
        weighted: (h, w, 4) float32, colour times weight, and weight in 0..1.

    Returns: (h / 4, w / 4, 3) float32, a smooth fill.
    """
    levels = [_shrink(weighted, 4)]
    while max(levels[-1].shape[:2]) > 1:
        levels.append(_shrink(levels[-1], 4))
    *finer, top = levels
    filled = top[..., :3] / np.maximum(top[..., 3:], np.float32(1e-6))
    for level in reversed(finer):
        height, width = level.shape[:2]
        coarse = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
        filled = level[..., :3] + (np.float32(1.0) - level[..., 3:]) * coarse.reshape(height, width, 3)
    return np.ascontiguousarray(filled)


def gaussian_blur(planes: np.ndarray, sigma_cells: float, *, dst: np.ndarray | None = None) -> np.ndarray:
    """The planes under a Gaussian, cut off where less than a hundredth of it is left; themselves for no width."""
    reach = math.ceil(REACH_SIGMAS * sigma_cells)
    if reach < 1:
        return planes
    size = (2 * reach + 1, 2 * reach + 1)
    return cv2.GaussianBlur(planes, size, sigma_cells, dst=dst, borderType=cv2.BORDER_REPLICATE)


@functools.lru_cache(maxsize=16)  # a slider that is drawn leaves as many behind as it passes
def _gaussian_taps(sigma_cells: float) -> np.ndarray:
    """(1, taps) float32: the window of gaussian_blur, a single 1 for no width."""
    reach = math.ceil(REACH_SIGMAS * sigma_cells)
    return cv2.getGaussianKernel(2 * reach + 1, sigma_cells or 1.0, cv2.CV_32F).reshape(1, -1)


def _shrink(planes: np.ndarray, factor: int) -> np.ndarray:
    height, width = planes.shape[:2]
    size_wh = (max(1, width // factor), max(1, height // factor))
    return cv2.resize(planes, size_wh, interpolation=cv2.INTER_AREA)
