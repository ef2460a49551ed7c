"""A background as a lens throws it out of focus: points of light are discs, bright ones stand out. No blending here.

behind = LensBlur(strength=0.5, highlights=0.5).blur(picture_bgr, alpha)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from edge_deeplab.compositing.blur import FILL_WEIGHT, LOW_SIDE, MAX_SIGMA_SHARE, background_cells, push_pull
from edge_deeplab.compositing.buffers import Buffers
from edge_deeplab.compositing.options import Aperture

# How many times its light a white pixel gives at highlights = 1: what a sensor clipped was brighter than white.
MOST_BOOST = 25.0
# The aperture's radius in cells is held below this by working at a lower resolution: a disc of 6 cells, enlarged, can
# hardly be told from one of 9, costs two thirds, and no strength costs more.
MOST_RADIUS_CELLS = 6.5
BLADES: dict[Aperture, int] = {"disc": 0, "pentagon": 5, "hexagon": 6, "octagon": 8}
_SUBCELLS = 8
_LINEAR = ((np.arange(256) / 255.0) ** 2).astype(np.float32)


class LensBlur:
    """BackgroundBlur with a lens's aperture for its window, in linear light: the person's colours never enter.

    Light adds in linear light, so pixels are squared (a gamma of 2, whose inverse is a square root) before the window
    and rooted after it. What a sensor clipped was brighter than white: where the brightest channel has light L, all
    three are raised by 1 / (1 - k * L * L), so their hue stays, and brought back by the inverse after the window: an
    even surface stays as it is, and only what is brighter than its surroundings gains. The normalisation by `keep` and
    the fill are BackgroundBlur's.

    The window is exact, by cv2.filter2D: directly up to 11 x 11, by a DFT above. Sums of separable windows (Garcia,
    "Circular Separable Convolution Depth of Field", SIGGRAPH Talks 2017; the best of each rank is the kernel's
    singular value decomposition) cost as much at four terms, whose rings reach 14 % of a disc of nine cells.

    Attributes:
        strength: as BackgroundBlur's; the aperture has the variance of that blur, so its radius is twice the standard
            deviation.
        highlights: 0..1, how much brighter than white the brightest pixels are taken to be.
        shape: of the aperture; all have the same area.
        low_side: longer side of the result, at most.
    """

    def __init__(self, strength: float, *, highlights: float = 0.5, shape: Aperture = "disc") -> None:
        if not 0.0 <= strength <= 1.0 or not 0.0 <= highlights <= 1.0:
            raise ValueError(f"strength and highlights must be in 0..1; came {strength} and {highlights}")
        self.strength, self.highlights, self.shape = strength, highlights, shape
        self.low_side = LOW_SIDE
        self._buffers = Buffers()
        self._kernel_of: tuple[float, Aperture] | None = None
        self._kernel = np.ones((1, 1), np.float32)

    def blur(self, picture_bgr: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """The background out of focus, without the person.

        Args:
            picture_bgr: (h, w, 3) uint8, the frame at half or a quarter of its resolution: finer than the result, so
                that small lights are not lost before they are raised.
            alpha: (ha, wa) uint8, 255 is person, of at least the result's resolution; covers the same field.

        Returns: (hl, wl, 3) uint8 of at most low_side, valid until the next call.
        """
        take = self._buffers.take
        height, width = picture_bgr.shape[:2]
        radius_px = 2.0 * self.strength * MAX_SIGMA_SHARE * math.hypot(height, width)
        factor = max(1, math.ceil(max(height, width) / self.low_side), math.ceil(radius_px / MOST_RADIUS_CELLS))
        low_wh = max(1, width // factor), max(1, height // factor)
        size_hw = low_wh[::-1]

        keep = background_cells(alpha, size_hw)
        if not keep.any():  # the person fills the frame: no background to take, and none to show
            keep.fill(1.0)
        most = 1.0 + (MOST_BOOST - 1.0) * self.highlights**2
        planes = [cv2.resize(plane, low_wh, interpolation=cv2.INTER_AREA) for plane in self._light(picture_bgr, most)]
        planes = [cv2.multiply(plane.reshape(size_hw), keep) for plane in planes]
        weighted = cv2.merge((*planes, keep), dst=take("weighted", (*size_hw, 4), np.float32))
        spread = take("spread", (*size_hw, 4), np.float32)
        kernel = self._window(radius_px / factor)
        spread = cv2.filter2D(weighted, -1, kernel, dst=spread, borderType=cv2.BORDER_REFLECT).reshape(spread.shape)
        *colours, weight = cv2.split(
            spread.reshape(*size_hw, 4), self._buffers.planes("spread", 4, size_hw, np.float32)
        )
        # The fill stands in where the window lacks background, and there alone: a faint share of it everywhere would
        # show around lights.
        lacking = cv2.addWeighted(weight, -FILL_WEIGHT, weight, 0.0, FILL_WEIGHT)
        lacking = cv2.max(lacking, 0.0, dst=lacking)
        weight = cv2.max(cv2.add(weight, lacking, dst=weight), FILL_WEIGHT / 2, dst=weight)  # never 0 by a rounding
        scale = cv2.divide(1.0, weight, dst=weight)
        for colour, fill in zip(colours, cv2.split(push_pull(weighted))):
            fill = cv2.resize(fill, low_wh, interpolation=cv2.INTER_LINEAR).reshape(size_hw)
            cv2.add(colour, cv2.multiply(fill, lacking, dst=fill), dst=colour)
            cv2.multiply(colour, scale, dst=colour)
        return light_to_bytes(colours, most)

    def _light(self, picture_bgr: np.ndarray, most: float) -> list[np.ndarray]:
        """Three (h, w) float32: what each channel gave before a sensor clipped it."""
        size_hw = picture_bgr.shape[:2]
        levels = cv2.split(picture_bgr, self._buffers.planes("levels", 3, size_hw))
        brightest = cv2.max(cv2.max(levels[0], levels[1]), levels[2])
        boost = cv2.LUT(brightest, boost_table(most), dst=self._buffers.take("boost", size_hw, np.float32))
        lights = self._buffers.planes("lights", 3, size_hw, np.float32)
        for plane, light in zip(levels, lights):
            cv2.multiply(cv2.LUT(plane, _LINEAR, dst=light), boost, dst=light)
        return lights

    def _window(self, radius_cells: float) -> np.ndarray:
        if self._kernel_of != (radius_cells, self.shape):
            self._kernel_of = (radius_cells, self.shape)
            # cv2.filter2D correlates; turned by half a turn it convolves, and a light shows the aperture upright.
            self._kernel = np.ascontiguousarray(aperture(radius_cells, self.shape)[::-1, ::-1])
        return self._kernel


def boost_table(most: float) -> np.ndarray:
    """(256,) float32: how far a pixel's light is raised, by its brightest channel: 1 at black, `most` at white."""
    light = _LINEAR.astype(np.float64)
    return (1.0 / (1.0 - (1.0 - 1.0 / most) * light * light)).astype(np.float32)


def light_to_bytes(planes: Sequence[np.ndarray], most: float) -> np.ndarray:
    """The levels of raised light: the inverse of squaring and boost_table.

    Args:
        planes: three (h, w) float32, 0..most; changed.

    Returns: (h, w, 3) uint8.
    """
    for plane in planes:
        np.maximum(plane, np.float32(0.0), out=plane)  # a DFT can leave zero by a rounding
    brightest = np.maximum(np.maximum(planes[0], planes[1]), planes[2])
    # y = L / (1 - k L^2) solved for L is y * 2 / (1 + sqrt(1 + 4 k y^2)); 255 times its root are the levels.
    lowered = np.square(brightest, out=brightest)
    lowered *= np.float32(4.0 * (1.0 - 1.0 / most))
    lowered += np.float32(1.0)
    np.sqrt(lowered, out=lowered)
    lowered += np.float32(1.0)
    np.divide(np.float32(2.0 * 255.0**2), lowered, out=lowered)
    for plane in planes:
        np.sqrt(np.multiply(plane, lowered, out=plane), out=plane)
    return cv2.convertScaleAbs(cv2.merge(planes))


def aperture(radius_cells: float, shape: Aperture = "disc") -> np.ndarray:
    """An aperture as a window: a disc, or a regular polygon of the same area with a corner at the top.

    Args:
        radius_cells: of the disc; below half a cell the window is one cell.
        shape: a disc or one of the polygons of BLADES.

    Returns: (n, n) float32, n odd, of sum 1; cells on the rim weigh the share that lies inside.
    """
    blades = BLADES[shape]
    circumradius = radius_cells
    if blades:
        circumradius *= math.sqrt(2.0 * math.pi / (blades * math.sin(2.0 * math.pi / blades)))
    reach = max(0, math.ceil(circumradius - 0.5))
    side = 2 * reach + 1
    position = (np.arange(side * _SUBCELLS) + 0.5) / _SUBCELLS - side / 2.0
    x, y = np.meshgrid(position, position)
    if blades:
        turn = 2.0 * math.pi / blades
        from_corner = np.mod(np.arctan2(x, -y), turn) - turn / 2.0
        inside = np.hypot(x, y) * np.cos(from_corner) <= circumradius * math.cos(turn / 2.0)
    else:
        inside = np.hypot(x, y) <= circumradius
    share = inside.reshape(side, _SUBCELLS, side, _SUBCELLS).mean(axis=(1, 3))
    if not share.any() or reach == 0:
        return np.ones((1, 1), np.float32)
    return (share / share.sum()).astype(np.float32)
