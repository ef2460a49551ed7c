"""What a person holds or wears, kept where the model half sees it: a phone, a cup, headphones, the back of a chair.

    keeper = HeldObjectKeeper()
    matte = keeper.keep(matte)

What is raised was chosen on the bundled model's mattes, islands dropped after it: person IoU 0.9391 to 0.9398 on our
validation portraits, 0.6379 to 0.6407 on the wild ones (neither counts held objects as the person), 0.872 to 0.876 on
a third of train_open, which does. More than half of it is holes filled.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge_deeplab import kernels
from edge_deeplab.compositing.buffers import Buffers

CERTAIN = 0.5  # the person is what is above this
# A region above HALF_SEEN that is joined to the person is kept, where it is thicker than the person's own soft rim.
# Lower values raise what merely stands behind the person: with 0.3 the validation portraits lose 0.0013.
HALF_SEEN = 0.4
RIM_SHARE = 1 / 128  # half the thickness below which a region is rim, as a share of the matte's longer side
# A hole inside the person is filled where the model's mean is above this, the best of 0.25 to 0.4 on val: between an
# arm and the body the background is seen, and the model says so.
HOLE_MEAN = 0.3
KEPT = 0.75  # the matte of what is kept: opaque at every edge level that is usual
SUPPORT = 0.1  # below this the model sees plain background, and nothing is raised: what is put away leaves no ghost
# Weight of the past in what is raised, as in islands.IslandDropper: what is half seen in every other frame does not
# come and go.
CALM = 0.8

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))

Box = tuple[int, int, int, int]  # left, top, width, height, as OpenCV has it


def held_regions(matte: np.ndarray) -> np.ndarray | None:
    """Where something half seen is joined to the person or lies within it.

    matte: (h, w) float32 in 0..1. Returns: (h, w) uint8, 255 where it does; None where there is nothing of the kind.
    """
    rim_px = max(1, round(max(matte.shape) * RIM_SHARE))
    native = kernels.native()
    if native is not None and kernels.has_rows(matte):
        regions = np.empty(matte.shape, np.uint8)
        return regions if native.held_regions(matte, regions, CERTAIN, HALF_SEEN, rim_px, HOLE_MEAN) else None
    certain = _above(matte, CERTAIN)
    joined = _joined(matte, certain, rim_px)
    person = certain if joined is None else cv2.bitwise_or(certain, joined)
    holes = _holes(matte, person)
    if joined is None or holes is None:
        return holes if joined is None else joined
    return cv2.bitwise_or(joined, holes)


class HeldObjectKeeper:
    """Raises what is half seen (held_regions) in the mattes of one video, and holds how far."""

    def __init__(self) -> None:
        self._buffers = Buffers()
        self.reset()

    def reset(self) -> None:
        """Forgets the past, as for a new shot."""
        self._raised: np.ndarray | None = None  # (h, w) float32, 1 where all of it is raised
        self._box: Box | None = None  # what of it is not 0

    def keep(self, matte: np.ndarray) -> np.ndarray:
        """The matte with what the person holds. matte: (h, w) float32 in 0..1, not written into.

        Returns: (h, w) float32 in 0..1, nowhere lower, valid until the next call; the matte itself where nothing is
            raised and nothing was.
        """
        regions = held_regions(matte)
        if self._raised is None or self._raised.shape != matte.shape:
            self._raised, self._box = np.zeros(matte.shape, np.float32), None
            weight = 1.0
        else:
            weight = 1.0 - CALM
        box = _union(self._box, None if regions is None else _grown(cv2.boundingRect(regions), matte.shape))
        if box is None:
            return matte
        left, top, wide, high = self._box = box
        window = np.s_[top : top + high, left : left + wide]
        kept = self._buffers.take("kept", matte.shape, np.float32)
        native = kernels.native()
        if native is not None and kernels.has_rows(matte):
            most = native.lift(matte, regions, self._raised, kept, box, weight, KEPT, SUPPORT)
            if regions is None and most < 1 / 255:
                self._raised[window] = 0.0
                self._box = None
                return matte
            return kept
        raised = self._raised[window]
        raised *= np.float32(1.0 - weight)
        if regions is not None:
            raised += np.float32(weight / 255) * cv2.blur(regions[window], (3, 3)).reshape(raised.shape)
        elif raised.max() < 1 / 255:
            raised[:] = 0.0
            self._box = None
            return matte
        np.copyto(kept, matte)
        lift = np.maximum(np.float32(KEPT) - kept[window], np.float32(0.0))
        lift *= raised
        lift *= np.minimum(kept[window] * np.float32(1 / SUPPORT), np.float32(1.0))
        kept[window] += lift
        return kept


def _joined(matte: np.ndarray, certain: np.ndarray, rim_px: int) -> np.ndarray | None:
    half_seen = cv2.subtract(_above(matte, HALF_SEEN), certain)
    half_seen = cv2.morphologyEx(half_seen, cv2.MORPH_OPEN, _disc(rim_px))
    if not half_seen.any():
        return None
    left, top, wide, high = _grown(cv2.boundingRect(half_seen), matte.shape)
    window = np.s_[top : top + high, left : left + wide]
    part_of = cv2.connectedComponents(half_seen[window], connectivity=4, ltype=cv2.CV_16U)[1].reshape(high, wide)
    touching = part_of[cv2.dilate(certain[window], _CROSS) > 0]
    is_joined = np.zeros(int(part_of.max()) + 1, np.uint8)
    is_joined[touching] = 255
    is_joined[0] = 0
    if not is_joined.any():
        return None
    joined = np.zeros_like(half_seen)
    joined[window] = is_joined[part_of]
    return joined


def _holes(matte: np.ndarray, person: np.ndarray) -> np.ndarray | None:
    # Contours cost a fifth of connected components, and who has no hole pays no more.
    outlines, family = cv2.findContours(person, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    filled = None
    for outline, (_, _, _, parent) in zip(outlines, family[0] if outlines else ()):
        if parent < 0:
            continue
        left, top, wide, high = cv2.boundingRect(outline)  # the outline runs on the person, one pixel around the hole
        window = np.s_[top : top + high, left : left + wide]
        hole = np.zeros((high, wide), np.uint8)
        cv2.drawContours(hole, [outline], 0, 255, cv2.FILLED, offset=(-left, -top))
        cv2.bitwise_and(hole, cv2.bitwise_not(person[window]), dst=hole)
        if cv2.mean(matte[window], mask=hole)[0] > HOLE_MEAN:
            filled = np.zeros_like(person) if filled is None else filled
            cv2.bitwise_or(filled[window], hole, dst=filled[window])
    return filled


def _above(matte: np.ndarray, level: float) -> np.ndarray:
    return (matte > level).view(np.uint8) * np.uint8(255)  # cv2.compare takes a matte of 4 pixels for a scalar


def _disc(radius_px: int) -> np.ndarray:
    side = 2 * radius_px + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def _grown(box: Sequence[int], size_hw: tuple[int, ...]) -> Box:
    """A box with one more pixel on every side, where there is one."""
    left, top = max(0, box[0] - 1), max(0, box[1] - 1)
    return left, top, min(size_hw[1], box[0] + box[2] + 1) - left, min(size_hw[0], box[1] + box[3] + 1) - top


def _union(first: Box | None, second: Box | None) -> Box | None:
    if first is None or second is None:
        return first or second
    left, top = min(first[0], second[0]), min(first[1], second[1])
    right = max(first[0] + first[2], second[0] + second[2])
    return left, top, right - left, max(first[1] + first[3], second[1] + second[3]) - top
