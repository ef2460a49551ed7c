"""The old background's colour taken off the person: a wall's light on cheeks, shoulders and hair. Any colour, no key.

remover = SpillRemover(strength=0.7)
spill = remover.spill(edge_bgr, edge_alpha, behind_bgr)
take_off(picture, spill)
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from edge_deeplab.compositing.buffers import Buffers

# How far spill reaches into the person, as a share of the picture's diagonal: 22 px at 1280 x 720. The person's own
# colour is taken from beyond it.
REACH_SHARE = 0.015
# Colourfulness of the old background, in levels of chroma: up to FAINT it leaves no spill worth removing, from
# COLOURFUL all is removed.
FAINT, COLOURFUL = 8.0, 24.0
# Longer side of the maps of what the person's and the background's colours are.
MAP_SIDE = 160
_LUMA_BGR = (0.114, 0.587, 0.299)


class SpillRemover:
    """Finds by how much a person's rim leans to the colour of what was behind it.

    Chroma is colour less its luma. Along the direction d of the old background's chroma near a pixel, the rim's chroma
    is held against the person's own beyond the reach of spill; what it has more is spill. Taking it off along d leaves
    the luma. In a mixed pixel frame = alpha * person + (1 - alpha) * behind, so alpha times the person's excess is
    <frame - (1 - alpha) * behind - alpha * own, d>, held within 0..alpha times the background's own colourfulness.
    A green screen's keyer takes green above the mean of red and blue for spill; here the reference is the person, so
    any old background will do, and clothes of its colour stay.

    Attributes:
        strength: the share of the spill that is taken off, 0..1.
    """

    def __init__(self, strength: float) -> None:
        if not 0.0 <= strength <= 1.0:
            raise ValueError(f"strength must be in 0..1; came {strength}")
        self.strength = strength
        self._buffers = Buffers()

    def spill(self, picture_bgr: np.ndarray, alpha: np.ndarray, behind_bgr: np.ndarray) -> np.ndarray:
        """What to take off, times alpha.

        Args:
            picture_bgr: (h, w, 3) uint8, the frame as it came, at any resolution.
            alpha: (h, w) uint8, 255 is person.
            behind_bgr: (hb, wb, 3) uint8, what the frame would show without the person, covering the same field.

        Returns: (h, w, 3) int16; 0 where alpha is 0 and beyond the reach of the edge. Valid until the next call.
        """
        height, width = alpha.shape
        factor = max(1, round(max(height, width) / MAP_SIDE))
        map_wh = max(1, width // factor), max(1, height // factor)
        reach = max(1.0, REACH_SHARE * math.hypot(*map_wh))
        own, near = _own_chroma(picture_bgr, alpha, map_wh, reach)
        old = _chroma(cv2.resize(behind_bgr, map_wh, interpolation=cv2.INTER_AREA).reshape(*map_wh[::-1], 3))
        colourful = np.sqrt(np.einsum("hwc,hwc->hw", old, old))
        direction = old / np.maximum(colourful, np.float32(1.0))[..., np.newaxis]
        near *= np.clip((colourful - FAINT) / (COLOURFUL - FAINT), 0.0, 1.0) * np.float32(self.strength)
        own_along = np.einsum("hwc,hwc->hw", own, direction)

        take = self._buffers.take
        maps = [*cv2.split(direction), colourful, colourful - own_along, near]
        enlarged = [
            cv2.resize(one, (width, height), dst=take(f"map/{index}", alpha.shape, np.float32)).reshape(alpha.shape)
            for index, one in enumerate(maps)
        ]
        *along, colourful, above_own, near = enlarged
        # alpha * excess = <chroma(frame), d> - (1 - alpha) * colourful - alpha * own; above_own is colourful - own.
        share = cv2.multiply(alpha, 1 / 255, dst=take("share", alpha.shape, np.float32), dtype=cv2.CV_32F)
        excess = cv2.multiply(share, above_own, dst=above_own).reshape(alpha.shape)
        excess -= colourful
        luma = cv2.cvtColor(picture_bgr, cv2.COLOR_BGR2GRAY).reshape(alpha.shape)
        for channel, axis in enumerate(along):
            excess += axis * cv2.subtract(picture_bgr[..., channel], luma, dtype=cv2.CV_32F).reshape(alpha.shape)
        np.minimum(excess, np.multiply(share, colourful, out=share), out=excess)
        np.maximum(excess, np.float32(0.0), out=excess)
        excess *= near
        spill = take("spill", picture_bgr.shape, np.int16)
        for channel, axis in enumerate(along):
            spill[..., channel] = np.rint(np.multiply(axis, excess, out=axis), out=axis)
        return spill


def take_off(picture: np.ndarray, spill: np.ndarray) -> np.ndarray:
    """Subtracts spill from a picture, in place.

    Args:
        picture: (H, W, 3) uint8, the person before another background.
        spill: (h, w, 3) int16, SpillRemover.spill's, covering the same field.

    Returns: picture.
    """
    if spill.shape != picture.shape:
        spill = cv2.resize(spill, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR).reshape(picture.shape)
    return cv2.subtract(picture, spill, dst=picture, dtype=cv2.CV_8U)


def _own_chroma(
    picture_bgr: np.ndarray, alpha: np.ndarray, map_wh: tuple[int, int], reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """The person's own chroma near each cell, from beyond the reach of spill, and how near the edge is.

    Returns: (h, w, 3) float32 levels; (h, w) float32, 1 at the edge and outside, 0 from `reach` cells inside on. Where
        no person is beyond the reach nearby, as in a hand, the nearest that is gives the colour; where there is none at
        all, nearness is 0: nothing is known to hold the rim against.
    """
    size_hw = map_wh[::-1]
    small = cv2.resize(alpha, map_wh, interpolation=cv2.INTER_AREA).reshape(size_hw)
    depth = cv2.distanceTransform((small > 127).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3)
    if depth.max() >= 1e4:  # no background at all
        return np.zeros((*size_hw, 3), np.float32), np.zeros(size_hw, np.float32)
    inner = (depth > min(reach, 0.7 * float(depth.max()))).astype(np.float32)
    near = np.clip(2.0 - 2.0 * depth / np.float32(reach), 0.0, 1.0)
    if not inner.any():
        return np.zeros((*size_hw, 3), np.float32), np.zeros(size_hw, np.float32)
    colours = _chroma(cv2.resize(picture_bgr, map_wh, interpolation=cv2.INTER_AREA).reshape(*size_hw, 3))
    weighted = np.dstack((colours * inner[..., np.newaxis], inner))
    total = np.zeros_like(weighted)
    # Three windows, each wider and far weaker than the one before: the nearest person colour wins where there is one.
    for widening, weight in ((1.0, 1.0), (4.0, 1e-2), (16.0, 1e-4)):
        side = 2 * max(1, round(widening * reach)) + 1
        total += np.float32(weight) * cv2.blur(weighted, (side, side), borderType=cv2.BORDER_REFLECT)
    total += np.float32(1e-7) * weighted.mean(axis=(0, 1))
    return total[..., :3] / total[..., 3:], near.astype(np.float32)


def _chroma(bgr: np.ndarray) -> np.ndarray:
    """(h, w, 3) float32: colour less its luma; its own luma is 0."""
    colours = bgr.astype(np.float32)
    return colours - (colours @ np.array(_LUMA_BGR, np.float32))[..., np.newaxis]
