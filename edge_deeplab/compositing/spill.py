"""The old background's colour taken off the person: a wall's light on cheeks, shoulders and hair. Any colour, no key.

remover = SpillRemover(strength=0.7)
spill = remover.spill(edge_bgr, edge_alpha, behind_bgr)
take_off(picture, spill)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from edge_deeplab.compositing.blur import push_pull
from edge_deeplab.compositing.buffers import Buffers
from edge_deeplab.compositing.enlarging import busy_parts, enlarged
from edge_deeplab.compositing.regions import Rect

# How far spill reaches into the person, as a share of the picture's diagonal: 22 px at 1280 x 720. The person's own
# colour is taken from beyond it.
REACH_SHARE = 0.015
# Colourfulness of the old background, in levels of chroma: up to FAINT it leaves no spill worth removing, from
# COLOURFUL all is removed.
FAINT, COLOURFUL = 8.0, 24.0
# Longer side of the maps of what the person's and the background's colours are.
MAP_SIDE = 160
# Rows of a part, of those maps and of the spill: small enough to stay in a core's own cache.
STRIP_CELLS, TAKEN_ROWS = 16, 40
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

    def spill(self, picture_bgr: np.ndarray, alpha: np.ndarray, behind_bgr: np.ndarray) -> Spill:
        """What to take off, times alpha.

        Args:
            picture_bgr: (h, w, 3) uint8, the frame as it came, at any resolution.
            alpha: (h, w) uint8, 255 is person.
            behind_bgr: (hb, wb, 3) uint8, what the frame would show without the person, covering the same field.

        Returns: what take_off takes; valid until the next call.
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
        facts = cv2.merge((colourful, np.einsum("hwc,hwc->hw", own, direction), near))

        levels = self._buffers.take("levels", picture_bgr.shape, np.int16)
        levels.fill(0)
        places = []
        for cells, place in busy_parts(near > 0, alpha.shape, rows=STRIP_CELLS):
            parts = enlarged(direction, cells, place), enlarged(facts, cells, place)
            _fill(place.of(levels), place.of(picture_bgr), place.of(alpha), *parts)
            places.append(place)
        return Spill(levels, places)


@dataclass(frozen=True)
class Spill:
    """By how much a person's rim leans to the colour of what was behind it, times alpha.

    Attributes:
        levels: (h, w, 3) int16; 0 where alpha is 0 and beyond the reach of the edge.
        places: the parts of it outside of which it is 0.
    """

    levels: np.ndarray
    places: list[Rect]


def take_off(picture: np.ndarray, spill: Spill) -> np.ndarray:
    """Subtracts spill from a picture, in place.

    Args:
        picture: (H, W, 3) uint8, the person before another background.
        spill: SpillRemover's, at the picture's resolution or less.

    Returns: picture.
    """
    busy = np.zeros(spill.levels.shape[:2], np.uint8)
    for place in spill.places:
        place.of(busy).fill(1)
    for cells, place in busy_parts(busy, picture.shape[:2], rows=TAKEN_ROWS):
        part = place.of(picture)
        part[:] = cv2.subtract(part, enlarged(spill.levels, cells, place), dtype=cv2.CV_8U).reshape(part.shape)
    return picture


def _fill(
    levels: np.ndarray, picture_bgr: np.ndarray, alpha: np.ndarray, direction: np.ndarray, facts: np.ndarray
) -> None:
    """One part of the spill, from the same part of all else.

    Args:
        levels: (h, w, 3) int16, written.
        direction: (h, w, 3) float32, of the old background's chroma.
        facts: (h, w, 3) float32: how colourful that is, the person's own chroma along it, and how much of the excess
            is taken.
    """
    along, (colourful, own, taken) = cv2.split(direction), cv2.split(facts)
    luma = cv2.cvtColor(picture_bgr, cv2.COLOR_BGR2GRAY).reshape(alpha.shape)
    share = cv2.multiply(alpha, 1 / 255, dtype=cv2.CV_32F).reshape(alpha.shape)
    most = share * colourful
    excess = most - colourful - share * own
    for plane, axis in zip(cv2.split(picture_bgr), along):
        excess += axis * cv2.subtract(plane, luma, dtype=cv2.CV_32F).reshape(alpha.shape)
    np.minimum(excess, most, out=excess)
    np.maximum(excess, np.float32(0.0), out=excess)
    excess *= taken
    levels[:] = np.rint(cv2.merge([axis * excess for axis in along]))


def _own_chroma(
    picture_bgr: np.ndarray, alpha: np.ndarray, map_wh: tuple[int, int], reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """The person's own chroma near each cell, from beyond the reach of spill, and how near the edge is.

    Returns: (h, w, 3) float32 levels; (h, w) float32, 1 at the soft edge, 0 outside of it and from `reach` cells inside
        on. Where no person is beyond the reach nearby, as in a hand, the nearest that is gives the colour; where there
        is none at all, nearness is 0: nothing is known to hold the rim against.
    """
    size_hw = map_wh[::-1]
    small = cv2.resize(alpha, map_wh, interpolation=cv2.INTER_AREA).reshape(size_hw)
    depth = cv2.distanceTransform((small > 127).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3)
    if depth.max() >= 1e4:  # no background at all
        return np.zeros((*size_hw, 3), np.float32), np.zeros(size_hw, np.float32)
    inner = (depth > min(reach, 0.7 * float(depth.max()))).astype(np.float32)
    near = np.clip(2.0 - 2.0 * depth / np.float32(reach), 0.0, 1.0).astype(np.float32)
    near *= cv2.dilate((small > 0).view(np.uint8), np.ones((3, 3), np.uint8))  # beyond the soft edge nobody is left
    if not inner.any():
        return np.zeros((*size_hw, 3), np.float32), np.zeros(size_hw, np.float32)
    colours = _chroma(cv2.resize(picture_bgr, map_wh, interpolation=cv2.INTER_AREA).reshape(*size_hw, 3))
    weighted = np.dstack((colours * inner[..., np.newaxis], inner))
    return cv2.resize(push_pull(weighted), map_wh, interpolation=cv2.INTER_LINEAR).reshape(*size_hw, 3), near


def _chroma(bgr: np.ndarray) -> np.ndarray:
    """(h, w, 3) float32: colour less its luma; its own luma is 0."""
    colours = bgr.astype(np.float32)
    return colours - (colours @ np.array(_LUMA_BGR, np.float32))[..., np.newaxis]
