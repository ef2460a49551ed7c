"""What a person holds or wears, kept where the model half sees it: a phone, a cup, headphones, the back of a chair.

    keeper = HeldObjectKeeper()
    matte = keeper.keep(matte)

What is raised was chosen on the bundled model's mattes, islands dropped after it: person IoU 0.9391 to 0.9399 on our
validation portraits, 0.6379 to 0.6408 on the wild ones (neither counts held objects as the person), 0.872 to 0.877
on a third of train_open, which does. Half of each gain is the holes'.
"""

from __future__ import annotations

import cv2
import numpy as np

CERTAIN = 0.5  # the person is what is above this
# A region above HALF_SEEN that is joined to the person is kept, where it is thicker than the person's own soft rim.
# Lower values raise what merely stands behind the person: 0.3 costs 0.0013 on the validation portraits.
HALF_SEEN = 0.4
RIM_SHARE = 1 / 128  # half the thickness below which a region is rim, as a share of the matte's longer side
# A hole inside the person is filled where the model's mean is above HOLE_MEAN, and a small one above SMALL_HOLE_MEAN:
# between an arm and the body the background is seen, and the model says so.
HOLE_MEAN = 0.3
SMALL_HOLE_MEAN = 0.1
SMALL_HOLE_SHARE = 0.02  # of the person's area
KEPT = 0.75  # the matte of what is kept: opaque at every edge level that is usual
SUPPORT = 0.1  # below this the model sees plain background, and nothing is raised: what is put away leaves no ghost
# Weight of the past in what is raised, as in islands.IslandDropper: what is half seen in every other frame does not
# come and go.
CALM = 0.8


def held_regions(matte: np.ndarray) -> np.ndarray | None:
    """Where something half seen is joined to the person or lies within it.

    matte: (h, w) float32 in 0..1. Returns: (h, w) uint8, 255 where it does; None where there is nothing of the kind.
    """
    certain = _above(matte, CERTAIN)
    joined = _joined(matte, certain)
    person = certain if joined is None else cv2.bitwise_or(certain, joined)
    holes = _holes(matte, person)
    if joined is None or holes is None:
        return holes if joined is None else joined
    return cv2.bitwise_or(joined, holes)


class HeldObjectKeeper:
    """Raises what is half seen (held_regions) in the mattes of one video, and holds how far."""

    def __init__(self) -> None:
        self._raised: np.ndarray | None = None  # (h, w) float32, 1 where all of it is raised

    def reset(self) -> None:
        """Forgets the past, as for a new shot."""
        self._raised = None

    def keep(self, matte: np.ndarray) -> np.ndarray:
        """The matte with what the person holds. matte: (h, w) float32 in 0..1, not written into.

        Returns: (h, w) float32 in 0..1, nowhere lower; the matte itself where nothing is raised and nothing was.
        """
        regions = held_regions(matte)
        target = None if regions is None else cv2.blur(regions, (3, 3)).astype(np.float32) / 255
        if self._raised is None or self._raised.shape != matte.shape:
            self._raised = np.zeros(matte.shape, np.float32) if target is None else target
        elif target is not None or self._raised.max() > 1 / 255:
            self._raised *= CALM
            if target is not None:
                self._raised += (1 - CALM) * target
        elif self._raised.any():
            self._raised[:] = 0.0
        if not self._raised.any():
            return matte
        lift = np.maximum(np.float32(KEPT) - matte, np.float32(0.0))
        lift *= self._raised
        lift *= np.minimum(matte * np.float32(1 / SUPPORT), np.float32(1.0))
        return np.add(matte, lift, out=lift)


def _joined(matte: np.ndarray, certain: np.ndarray) -> np.ndarray | None:
    half_seen = cv2.subtract(_above(matte, HALF_SEEN), certain)
    rim = max(1, round(max(matte.shape) * RIM_SHARE))
    half_seen = cv2.morphologyEx(half_seen, cv2.MORPH_OPEN, _disc(rim))
    if not half_seen.any():
        return None
    count, parts = cv2.connectedComponents(cv2.bitwise_or(half_seen, certain), connectivity=4, ltype=cv2.CV_16U)
    is_joined = np.zeros(count, np.uint8)
    is_joined[np.unique(parts[certain > 0])] = 255
    is_joined[0] = 0
    joined = cv2.bitwise_and(is_joined[parts], half_seen)
    return joined if joined.any() else None


def _holes(matte: np.ndarray, person: np.ndarray) -> np.ndarray | None:
    height, width = matte.shape
    count, parts, facts, _ = cv2.connectedComponentsWithStats(cv2.bitwise_not(person), connectivity=4, ltype=cv2.CV_16U)
    small = SMALL_HOLE_SHARE * cv2.countNonZero(person)
    filled = None
    for part in range(1, count):
        left, top, wide, high, area = (int(fact) for fact in facts[part])
        if left == 0 or top == 0 or left + wide == width or top + high == height:
            continue
        window = np.s_[top : top + high, left : left + wide]
        inside = parts[window] == part
        if matte[window][inside].mean() > (SMALL_HOLE_MEAN if area < small else HOLE_MEAN):
            filled = np.zeros_like(person) if filled is None else filled
            filled[window][inside] = 255
    return filled


def _above(matte: np.ndarray, level: float) -> np.ndarray:
    return (matte > level).view(np.uint8) * np.uint8(255)  # cv2.compare takes a matte of 4 pixels for a scalar


def _disc(radius_px: int) -> np.ndarray:
    side = 2 * radius_px + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
