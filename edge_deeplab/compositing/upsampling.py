"""A small matte made as large as the frame, its edge drawn to the picture's own edges. No time, no blending here.

matte_at_frame_size = upsample_matte(matte, frame_bgr)
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from edge_deeplab.compositing.buffers import Buffers
from edge_deeplab.compositing.regions import Rect, bounds, busy_rects, whole

# Chosen on portraits whose mattes came from a 256 x 256 network: trimap IoU 0.8068 against 0.8009 for plain bilinear,
# boundary F 0.8118 against 0.8041; a gray guide, a larger window or epsilon gave less, and a window of a tenth of the
# picture was worse than no guide at all.
WINDOW_SHARE = 1 / 80
EPSILON = 3e-4
CONTRAST = 3.0
# Longer side; 448 gave no better figures and costs eight times as much, 80 lost 0.0015 of trimap IoU.
COEFFICIENT_SIDE = 160
# What the matte changes by within three cells, from which on there is an edge to draw: a quarter of an alpha's step.
LEAST_CHANGE = 1 / 1024
# Cells of a strip in which the model is applied: its planes then stay in a core's own cache.
STRIP_CELLS = 24
GAP_CELLS = 12

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
        for part, drawn in self._drawn(target, low_bgr, high_bgr):
            np.copyto(part.of(result), drawn)
        return result

    def levels(self, matte: np.ndarray, low_bgr: np.ndarray, high_bgr: np.ndarray) -> np.ndarray:
        """As upsample, as (hh, wh) uint8, 255 is 1: without a plane of float32 as large as the picture."""
        target = self._target(matte, low_bgr.shape[:2])
        size_hw = high_bgr.shape[:2]
        low_levels = self._buffers.take("low levels", target.shape)
        cv2.convertScaleAbs(target, alpha=255.0, dst=low_levels)
        result = self._buffers.take("levels", size_hw)
        cv2.resize(low_levels, size_hw[::-1], dst=result, interpolation=cv2.INTER_LINEAR)
        for part, drawn in self._drawn(target, low_bgr, high_bgr):
            cv2.max(drawn, 0.0, dst=drawn)  # convertScaleAbs would fold what is below 0 back up
            cv2.convertScaleAbs(drawn, alpha=255.0, dst=part.of(result))
        return result

    def _target(self, matte: np.ndarray, size_hw: tuple[int, ...]) -> np.ndarray:
        """(hl, wl) float32: the matte at the coefficients' size, its contrast raised."""
        height, width = size_hw
        target = self._buffers.take("target", (height, width), np.float32)
        cv2.resize(matte, (width, height), dst=target, interpolation=cv2.INTER_LINEAR)
        target -= np.float32(0.5)
        target *= np.float32(self.contrast)
        target += np.float32(0.5)
        return np.clip(target, 0.0, 1.0, out=target)

    def _drawn(
        self, target: np.ndarray, low_bgr: np.ndarray, high_bgr: np.ndarray
    ) -> Iterator[tuple[Rect, np.ndarray]]:
        """Parts of the result that hold an edge: where in the result, and float32 values to be put there.

        The values lie in a buffer that the next part writes over; the caller may change them.
        """
        size_hw = target.shape
        radius = max(1, round(max(size_hw) * self.window_share))
        changes = self._buffers.take("changes", size_hw, np.float32)
        cv2.morphologyEx(target, cv2.MORPH_GRADIENT, _SQUARE, dst=changes)
        has_edge = np.greater(changes, LEAST_CHANGE, out=self._buffers.take("has edge", size_hw, np.bool_))
        around = bounds(has_edge)
        if around is None:
            return
        reach = 2 * radius + 1  # of the two windows, and of the pixel between two cells
        solved = around.grown(reach, size_hw)
        # What lies outside of the windows of a cell has no say in it: the rest need not be looked at.
        seen = solved.grown(2 * radius, size_hw)
        coefficients = self._coefficients(seen.of(low_bgr), seen.of(target), radius)
        inner = Rect(solved.top - seen.top, solved.bottom - seen.top, solved.left - seen.left, solved.right - seen.left)
        coefficients = [inner.of(plane) for plane in coefficients]

        factor = high_bgr.shape[0] // size_hw[0]
        if (size_hw[0] * factor, size_hw[1] * factor) != high_bgr.shape[:2]:
            # No whole cells to cut at: all of it, the coefficients of plain cells filled in.
            planes = self._buffers.planes("all", 4, size_hw, np.float32)
            for plane, part in zip(planes, coefficients):
                plane.fill(0.0)
                np.copyto(solved.of(plane), part)
            outside = self._buffers.take("outside", size_hw, np.bool_)
            outside.fill(True)
            solved.of(outside).fill(False)
            np.copyto(planes[3], target, where=outside)
            yield whole(high_bgr.shape[:2]), self._apply(planes, high_bgr, whole(size_hw), whole(size_hw))
            return
        reached = cv2.dilate(has_edge.view(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
        for cells in busy_rects(solved.of(reached), rows=STRIP_CELLS, gap=GAP_CELLS):
            place = Rect(
                cells.top + solved.top, cells.bottom + solved.top, cells.left + solved.left, cells.right + solved.left
            ).times(factor)
            yield place, self._apply(coefficients, place.of(high_bgr), cells, cells.grown(1, coefficients[0].shape))

    def _apply(self, coefficients: list[np.ndarray], guide_bgr: np.ndarray, cells: Rect, wider: Rect) -> np.ndarray:
        """Slopes times guide plus offset, plane by plane: half the time of one interleaved product.

        Args:
            guide_bgr: the picture over `cells`.
            wider: `cells` and their neighbours, which have a say in the values between.
        """
        height, width = guide_bgr.shape[:2]
        factor_y, factor_x = height / (cells.bottom - cells.top), width / (cells.right - cells.left)
        size_wh = (round((wider.right - wider.left) * factor_x), round((wider.bottom - wider.top) * factor_y))
        top, left = round((cells.top - wider.top) * factor_y), round((cells.left - wider.left) * factor_x)
        place = Rect(top, top + height, left, left + width)
        total, term = self._buffers.scratch_planes("sum and term", 2, size_wh[::-1], np.float32)
        *slopes, offset = coefficients
        cv2.resize(wider.of(offset), size_wh, dst=total, interpolation=cv2.INTER_LINEAR)
        total, product = place.of(total), place.of(term)
        for slope, plane in zip(
            slopes, cv2.split(guide_bgr, self._buffers.scratch_planes("guide", 3, (height, width)))
        ):
            cv2.resize(wider.of(slope), size_wh, dst=term, interpolation=cv2.INTER_LINEAR)
            cv2.multiply(product, plane, dst=product, dtype=cv2.CV_32F)
            cv2.add(total, product, dst=total)
        return total

    def _coefficients(self, guide_bgr: np.ndarray, target: np.ndarray, radius: int) -> list[np.ndarray]:
        """The linear model of `target` in the guide: slopes for b, g, r, then the offset, each (h, w) float32.

        The guide stays in 0..255, so the slopes are those of the paper over 255. Window sums are taken over four
        interleaved planes at once, which costs half of single planes; every step writes into memory that is kept.
        """
        size_hw = target.shape
        window = (2 * radius + 1, 2 * radius + 1)

        def planes(name: str, count: int) -> list[np.ndarray]:
            return self._buffers.scratch_planes(name, count, size_hw, np.float32)

        def window_means(name: str, sources: list[np.ndarray]) -> list[np.ndarray]:
            merged, spread = self._buffers.scratch_planes("four planes", 2, (*size_hw, 4), np.float32)
            cv2.blur(cv2.merge(sources, dst=merged), window, dst=spread, borderType=cv2.BORDER_REFLECT)
            return list(cv2.split(spread, planes(name, 4)))

        b, g, r = planes("guide as float", 3)
        for levels, plane in zip(cv2.split(guide_bgr, self._buffers.scratch_planes("guide", 3, size_hw)), (b, g, r)):
            np.copyto(plane, levels)
        products = planes("products", 9)
        for pair, product in zip(
            ((b, b), (b, g), (b, r), (g, g), (g, r), (r, r), (b, target), (g, target), (r, target)), products
        ):
            np.multiply(*pair, out=product)
        mean_b, mean_g, mean_r, mean_t = window_means("means", [b, g, r, target])
        bb, bg, br, gg = window_means("first products", products[0:4])
        gr, rr, bt, gt = window_means("second products", products[4:8])
        rt = cv2.blur(products[8], window, dst=products[0], borderType=cv2.BORDER_REFLECT)
        (spare,) = planes("spare", 1)
        for product, first, second in (
            (bb, mean_b, mean_b), (bg, mean_b, mean_g), (br, mean_b, mean_r), (gg, mean_g, mean_g),
            (gr, mean_g, mean_r), (rr, mean_r, mean_r), (bt, mean_b, mean_t), (gt, mean_g, mean_t),
            (rt, mean_r, mean_t),
        ):  # fmt: skip
            np.subtract(product, np.multiply(first, second, out=spare), out=product)
        for variance in (bb, gg, rr):
            variance += np.float32(self.epsilon * 255.0**2)

        # The symmetric 3 x 3 covariance is inverted by its adjugate; epsilon keeps the determinant above epsilon cubed.
        i_bb, i_bg, i_br, i_gg, i_gr, i_rr = planes("adjugate", 6)
        for minor, (w, x), (y, z) in (
            (i_bb, (gg, rr), (gr, gr)), (i_bg, (gr, br), (bg, rr)), (i_br, (bg, gr), (gg, br)),
            (i_gg, (bb, rr), (br, br)), (i_gr, (br, bg), (bb, gr)), (i_rr, (bb, gg), (bg, bg)),
        ):  # fmt: skip
            np.subtract(np.multiply(w, x, out=minor), np.multiply(y, z, out=spare), out=minor)

        def dot(left: tuple[np.ndarray, ...], right: tuple[np.ndarray, ...], out: np.ndarray) -> np.ndarray:
            np.multiply(left[0], right[0], out=out)
            for one, other in zip(left[1:], right[1:]):
                np.add(out, np.multiply(one, other, out=spare), out=out)
            return out

        slope_b, slope_g, slope_r, offset, scale = planes("model", 5)
        np.reciprocal(dot((i_bb, i_bg, i_br), (bb, bg, br), scale), out=scale)
        for slope, row in ((slope_b, (i_bb, i_bg, i_br)), (slope_g, (i_bg, i_gg, i_gr)), (slope_r, (i_br, i_gr, i_rr))):
            np.multiply(dot(row, (bt, gt, rt), slope), scale, out=slope)
        dot((slope_b, slope_g, slope_r), (mean_b, mean_g, mean_r), offset)
        np.subtract(mean_t, offset, out=offset)
        return window_means("coefficients", [slope_b, slope_g, slope_r, offset])


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
