"""A small matte made as large as the frame, its edge drawn to the picture's own edges. No time, no blending here.

matte_at_frame_size = upsample_matte(matte, frame_bgr)
"""

from __future__ import annotations

import cv2
import numpy as np

from edge_deeplab import kernels
from edge_deeplab.compositing.buffers import Buffers
from edge_deeplab.compositing.regions import Rect, bounds, whole

# Chosen on portraits whose mattes came from a 256 x 256 network: trimap IoU 0.8068 against 0.8009 for plain bilinear,
# boundary F 0.8118 against 0.8041; a gray guide gave less. The window on moving scenes made of training portraits:
# 1/80, 1/50 and 1/40 have SAD 5.47, 5.32, 5.20, trimap IoU 0.821, 0.826, 0.830 and flicker 3.87, 3.70, 3.55; but the
# halo grows (1.67, 1.71, 1.76), and from 1/40 on dark stripes behind a head become hair.
WINDOW_SHARE = 1 / 50
EPSILON = 3e-4
CONTRAST = 3.0
# Longer side; 448 gave no better figures and costs eight times as much, 80 lost 0.0018 of trimap IoU.
# 128 lost none and took two thirds of the time, but its wider window closed holes that 160 keeps open.
COEFFICIENT_SIDE = 160
# What the matte changes by within three cells, from which on there is an edge to draw: a quarter of an alpha's step.
LEAST_CHANGE = 1 / 1024

# Cells from which on the sums over a window leave the integers that the filter in C takes them in.
MOST_RADIUS_IN_C = 15

_SQUARE = np.ones((3, 3), np.uint8)


class GuidedUpsampler:
    """The fast guided filter with a colour guide: coefficients at low resolution, applied at a higher one.

    Source: He, Sun, Tang, "Guided Image Filtering" (TPAMI 2013), its section on colour guides; He, Sun, "Fast Guided
    Filter" (arXiv 1505.00996), algorithm 2: the coefficients, not the result, are upsampled. We differ in two points.
    The matte's contrast is raised before the filter (CONTRAST), because a network's edge is wider than the true one
    and the filter keeps the width it is given. And where the matte is the same all over a pixel's windows, the filter
    gives just that, so it is computed around the edge alone.

    Args:
        window_share: half width of the window as a share of the guide's longer side.
        epsilon: regularisation, in squared intensities of 0..1: edges of the picture weaker than its root draw nothing.
    """

    def __init__(
        self, *, window_share: float = WINDOW_SHARE, epsilon: float = EPSILON, contrast: float = CONTRAST
    ) -> None:
        self.window_share, self.epsilon, self.contrast = window_share, epsilon, contrast
        self._buffers = Buffers()

    def upsample(self, matte: np.ndarray, low_bgr: np.ndarray, high_bgr: np.ndarray) -> np.ndarray:
        """The matte at the size of `high_bgr`.

        Args:
            matte: (h, w) float32 in 0..1, of any size; covers the same field as both pictures.
            low_bgr: (hl, wl, 3) uint8, the frame where the coefficients are found.
            high_bgr: (hh, wh, 3) uint8, the frame where they are applied.

        Returns: (hh, wh) float32, about 0..1: a linear model may overshoot a little, and the caller clips. Valid until
        the next call.
        """
        target = self._target(matte, low_bgr.shape[:2])
        size_hw = high_bgr.shape[:2]
        result = self._buffers.take("result", size_hw, np.float32)
        cv2.resize(target, size_hw[::-1], dst=result, interpolation=cv2.INTER_LINEAR)
        drawn = self._drawn(target, low_bgr, high_bgr)
        if drawn is not None:
            np.copyto(drawn[0].of(result), drawn[1])
        return result

    def levels(self, matte: np.ndarray, low_bgr: np.ndarray, high_bgr: np.ndarray, curve: np.ndarray) -> np.ndarray:
        """As upsample, with a curve over it, and no plane of float32 as large as the picture.

        Args:
            curve: (256,) uint8, over the matte in 255ths.

        Returns: (hh, wh) uint8; valid until the next call.
        """
        if self._in_c(matte, low_bgr, high_bgr, curve):
            return self._buffers.take("levels", high_bgr.shape[:2])
        target = self._target(matte, low_bgr.shape[:2])
        size_hw = high_bgr.shape[:2]
        low_levels = self._buffers.take("low levels", target.shape)
        cv2.LUT(cv2.convertScaleAbs(target, alpha=255.0, dst=low_levels), curve, dst=low_levels)
        result = self._buffers.take("levels", size_hw)
        cv2.resize(low_levels, size_hw[::-1], dst=result, interpolation=cv2.INTER_LINEAR)
        drawn = self._drawn(target, low_bgr, high_bgr)
        if drawn is not None:
            place, values = drawn
            part = place.of(result)
            cv2.max(values, 0.0, dst=values)  # convertScaleAbs would fold what is below 0 back up
            cv2.LUT(cv2.convertScaleAbs(values, alpha=255.0, dst=part), curve, dst=part)
        return result

    def _in_c(self, matte: np.ndarray, low_bgr: np.ndarray, high_bgr: np.ndarray, curve: np.ndarray) -> bool:
        """Computes levels in C where that can be done, into the buffer "levels". Returns: whether it was."""
        native = kernels.native()
        height, width = low_bgr.shape[:2]
        radius = self._radius((height, width))
        if native is None or radius > MOST_RADIUS_IN_C or not kernels.has_rows(matte, low_bgr, high_bgr):
            return False
        native.guided_levels(
            matte, low_bgr, high_bgr, curve.reshape(1, 256),
            self._buffers.take("models", (4 * height, width), np.float32),
            self._buffers.take("levels", high_bgr.shape[:2]),
            radius, self.epsilon, self.contrast, cv2.getNumThreads(),
        )  # fmt: skip
        return True

    def _radius(self, size_hw: tuple[int, ...]) -> int:
        return max(1, round(max(size_hw) * self.window_share))

    def _target(self, matte: np.ndarray, size_hw: tuple[int, ...]) -> np.ndarray:
        """(hl, wl) float32: the matte at the coefficients' size, its contrast raised."""
        height, width = size_hw
        target = self._buffers.take("target", (height, width), np.float32)
        cv2.resize(matte, (width, height), dst=target, interpolation=cv2.INTER_LINEAR)
        target *= np.float32(self.contrast)
        target += np.float32(0.5 - 0.5 * self.contrast)
        return np.clip(target, 0.0, 1.0, out=target)

    def _drawn(self, target: np.ndarray, low_bgr: np.ndarray, high_bgr: np.ndarray) -> tuple[Rect, np.ndarray] | None:
        """The part of the result that holds all edges, and its values as float32, which the caller may change.

        Returns: None where there is no edge.
        """
        size_hw = target.shape
        radius = self._radius(size_hw)
        changes = self._buffers.take("changes", size_hw, np.float32)
        cv2.morphologyEx(target, cv2.MORPH_GRADIENT, _SQUARE, dst=changes)
        around = bounds(np.greater(changes, LEAST_CHANGE, out=self._buffers.take("has edge", size_hw, np.bool_)))
        if around is None:
            return None
        factor = high_bgr.shape[0] // size_hw[0]
        if (size_hw[0] * factor, size_hw[1] * factor) != high_bgr.shape[:2]:
            # No whole cells to cut at: all of it.
            return whole(high_bgr.shape[:2]), self._apply(self._coefficients(low_bgr, target, radius), high_bgr)
        # As far as the two windows reach, and the pixels between two cells; plain cells lie around it, so that its own
        # border is as good as its neighbours.
        cells = around.grown(2 * radius + 2, size_hw)
        # What lies outside of the windows of a cell has no say in it: the rest need not be looked at.
        seen = cells.grown(2 * radius, size_hw)
        inner = Rect(cells.top - seen.top, cells.bottom - seen.top, cells.left - seen.left, cells.right - seen.left)
        coefficients = self._coefficients(seen.of(low_bgr), seen.of(target), radius)
        place = cells.times(factor)
        return place, self._apply([inner.of(plane) for plane in coefficients], place.of(high_bgr))

    def _apply(self, coefficients: list[np.ndarray], guide_bgr: np.ndarray) -> np.ndarray:
        """Slopes times guide plus offset, plane by plane: half the time of one interleaved product."""
        height, width = guide_bgr.shape[:2]
        total, term = self._buffers.scratch_planes("sum and term", 2, (height, width), np.float32)
        levels = self._buffers.scratch_planes("guide levels", 3, (height, width))
        *slopes, offset = coefficients
        cv2.resize(offset, (width, height), dst=total, interpolation=cv2.INTER_LINEAR)
        for slope, plane in zip(slopes, cv2.split(guide_bgr, levels)):
            cv2.resize(slope, (width, height), dst=term, interpolation=cv2.INTER_LINEAR)
            cv2.multiply(term, plane, dst=term, dtype=cv2.CV_32F)
            cv2.add(total, term, dst=total)
        return total

    def _coefficients(self, guide_bgr: np.ndarray, target: np.ndarray, radius: int) -> list[np.ndarray]:
        """The linear model of `target` in the guide: slopes for b, g, r, then the offset, each (h, w) float32.

        The guide stays in 0..255, so the slopes are those of the paper over 255. Window sums are taken over four
        interleaved planes at once, which costs half of single planes. All is done in place, in as few planes as can
        be: they would not fit a core's own cache otherwise.
        """
        size_hw = target.shape
        window = (2 * radius + 1, 2 * radius + 1)
        merged, spread = self._buffers.scratch_planes("four planes", 2, (*size_hw, 4), np.float32)

        def window_means(planes: list[np.ndarray], into: list[np.ndarray]) -> list[np.ndarray]:
            cv2.blur(cv2.merge(planes, dst=merged), window, dst=spread, borderType=cv2.BORDER_REFLECT)
            return list(cv2.split(spread, into))

        b, g, r, mean_t = means = self._buffers.scratch_planes("means", 4, size_hw, np.float32)
        for levels, plane in zip(cv2.split(guide_bgr, self._buffers.scratch_planes("guide", 3, size_hw)), means):
            np.copyto(plane, levels)
        products = self._buffers.scratch_planes("products", 9, size_hw, np.float32)
        for product, one, other in zip(products, (b, b, b, g, g, r, b, g, r), (b, g, r, g, r, r, *3 * (target,))):
            np.multiply(one, other, out=product)
        window_means([b, g, r, target], means)
        window_means(products[0:4], products[0:4])
        window_means(products[4:8], products[4:8])
        (spare,) = self._buffers.scratch_planes("spare", 1, size_hw, np.float32)
        cv2.blur(products[8], window, dst=spare, borderType=cv2.BORDER_REFLECT)
        products[8], spare = spare, products[8]
        for product, one, other in zip(products, (b, b, b, g, g, r, b, g, r), (b, g, r, g, r, r, *3 * (mean_t,))):
            product -= np.multiply(one, other, out=spare)
        bb, bg, br, gg, gr, rr, bt, gt, rt = products
        for variance in (bb, gg, rr):
            variance += np.float32(self.epsilon * 255.0**2)

        def subtract(minuend: np.ndarray, one: np.ndarray, other: np.ndarray) -> None:
            minuend -= np.multiply(one, other, out=spare)

        # (bb bg br; bg gg gr; br gr rr) slopes = (bt gt rt), by elimination: epsilon keeps every pivot above itself.
        share = merged.reshape(-1)[: target.size].reshape(size_hw)  # not in use until the last window
        pivot = np.reciprocal(bb, out=bb)
        np.multiply(bg, pivot, out=share)
        for below, beside in ((gg, bg), (gr, br), (gt, bt)):
            subtract(below, share, beside)
        np.multiply(br, pivot, out=share)
        for below, beside in ((rr, br), (rt, bt)):
            subtract(below, share, beside)
        second_pivot = np.reciprocal(gg, out=gg)
        np.multiply(gr, second_pivot, out=share)
        for below, beside in ((rr, gr), (rt, gt)):
            subtract(below, share, beside)
        slope_r = np.divide(rt, rr, out=rt)
        subtract(gt, gr, slope_r)
        slope_g = np.multiply(gt, second_pivot, out=gt)
        subtract(bt, bg, slope_g)
        subtract(bt, br, slope_r)
        slope_b = np.multiply(bt, pivot, out=bt)
        for slope, mean in ((slope_b, b), (slope_g, g), (slope_r, r)):
            subtract(mean_t, slope, mean)
        return window_means([slope_b, slope_g, slope_r, mean_t], means)


def upsample_matte(
    matte: np.ndarray, frame_bgr: np.ndarray, *, window_share: float = WINDOW_SHARE, epsilon: float = EPSILON
) -> np.ndarray:
    """The matte at the size of the frame, its edge drawn to the frame's edges (GuidedUpsampler).

    Args:
        matte: (h, w) float32 in 0..1, covering the whole frame.
        frame_bgr: (H, W, 3) uint8.

    Returns: (H, W) float32 in 0..1.
    """
    height, width = frame_bgr.shape[:2]
    factor = max(1, round(max(height, width) / COEFFICIENT_SIDE))
    low_wh = (max(1, width // factor), max(1, height // factor))
    low = cv2.resize(frame_bgr, low_wh, interpolation=cv2.INTER_AREA) if factor > 1 else frame_bgr
    refined = GuidedUpsampler(window_share=window_share, epsilon=epsilon).upsample(matte, low, frame_bgr)
    return np.clip(refined, 0.0, 1.0, out=refined)
