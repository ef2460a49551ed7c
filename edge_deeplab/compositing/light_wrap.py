"""The new background's light around the person's edge, as in a room that is really there: no cut-out look.

wrap = LightWrap(strength=0.5)
wrap.apply(picture, background, alpha)
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from edge_deeplab.compositing.blur import LOW_SIDE
from edge_deeplab.compositing.buffers import Buffers
from edge_deeplab.compositing.enlarging import busy_parts, enlarged

# How far the light reaches into the person: the standard deviation of its fall-off, as a share of the diagonal; 15 px
# at 1280 x 720.
SIGMA_SHARE = 0.01
STRIP_CELLS = 20


class LightWrap:
    """Screens the blurred light of the visible background over the person, strongest at the edge.

    Light is blur(background * (1 - alpha)): what of the background is seen near a pixel. It is laid over as
    picture + strength * alpha * light * (1 - picture), which only adds, and never past white: a dark background adds
    nothing, and pixels without a person stay as they are.

    Attributes:
        strength: 0..1, the share of that light.
    """

    def __init__(self, strength: float) -> None:
        if not 0.0 <= strength <= 1.0:
            raise ValueError(f"strength must be in 0..1; came {strength}")
        self.strength = strength
        self._buffers = Buffers()

    def apply(self, picture: np.ndarray, background: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """Lays the light over the picture, in place.

        Args:
            picture: (H, W, 3) uint8, the person before the background.
            background: (H, W, 3) uint8, not written into.
            alpha: (H, W) uint8, 255 is person.

        Returns: picture.
        """
        if self.strength == 0.0:
            return picture
        take = self._buffers.take
        height, width = alpha.shape
        factor = max(1, round(max(height, width) / LOW_SIDE))
        low_wh = max(1, width // factor), max(1, height // factor)
        size_hw = low_wh[::-1]

        # Linear, a tenth of an area mean's time: what it skips is blurred over by the boxes.
        seen = cv2.bitwise_not(cv2.resize(alpha, low_wh, interpolation=cv2.INTER_LINEAR).reshape(size_hw))
        light = cv2.resize(background, low_wh, dst=take("low", (*size_hw, 3)), interpolation=cv2.INTER_LINEAR)
        light = cv2.multiply(light, cv2.merge((seen, seen, seen)), dst=light, scale=1 / 255)
        side = box_side(SIGMA_SHARE * math.hypot(*size_hw))
        for _ in range(2):
            light = cv2.blur(light, (side, side), borderType=cv2.BORDER_REFLECT)
        light = light.reshape(*size_hw, 3)
        blue, green, red = cv2.split(light)
        is_lit = cv2.max(cv2.max(blue, green), red).reshape(size_hw) > 0
        has_person = cv2.dilate(cv2.bitwise_not(seen), np.ones((3, 3), np.uint8)).reshape(size_hw) > 0
        for cells, place in busy_parts(has_person & is_lit, alpha.shape, rows=STRIP_CELLS):
            part, weights = place.of(picture), place.of(alpha)
            added = cv2.multiply(enlarged(light, cells, place), cv2.bitwise_not(part), scale=self.strength / 255)
            added = cv2.multiply(added, cv2.merge((weights, weights, weights)), dst=added, scale=1 / 255)
            part[:] = cv2.add(part, added).reshape(part.shape)
        return picture


def box_side(sigma: float) -> int:
    """The odd side of a box that, laid over twice, has about this standard deviation."""
    return 2 * round((math.sqrt(6.0 * sigma * sigma + 1.0) - 1.0) / 2.0) + 1
