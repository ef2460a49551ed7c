"""Small islands of a matte that are no person worth keeping: a flag, a poster, a coat on its hook.

dropper = IslandDropper(0.25)
matte = dropper.drop(matte)
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

from edge_deeplab import kernels

CERTAIN = 0.5  # an island is what is connected above this
# An island's soft rim goes with it, as far as this share of the matte's longer side.
RIM_SHARE = 1 / 32
# Weight of the past in what is dropped: a flag whose tip touches a shoulder in every other frame fades to a mean, where
# it would come and go. Half of a change is done after three frames.
CALM = 0.8
# Thinner bridges than two pixels do not connect. More would cut hands off at the wrist: with six pixels of 256 the
# person IoU on our validation portraits fell by 0.003, with one it rises by 0.002 (0.009 on the wild ones).
BRIDGE_PX = 1


def small_islands(matte: np.ndarray, least_share: float) -> np.ndarray | None:
    """Where the islands much smaller than the largest are, their soft rims included.

    Args:
        matte: (h, w) float32 in 0..1.
        least_share: an island is small when its area is less than this share of the largest one's.
    Returns: (h, w) uint8, 255 where there is one; None where there is none.
    """
    reach_px = BRIDGE_PX + max(1, round(max(matte.shape) * RIM_SHARE))
    native = kernels.native()
    if native is not None and kernels.has_rows(matte):
        small = np.empty(matte.shape, np.uint8)
        return small if native.small_islands(matte, small, CERTAIN, least_share, BRIDGE_PX, reach_px) else None
    above = (matte > CERTAIN).view(np.uint8) * np.uint8(255)  # cv2.compare takes a matte of 4 pixels for a scalar
    cores = cv2.erode(above, _disc(BRIDGE_PX))
    count, islands, facts, _ = cv2.connectedComponentsWithStats(cores, connectivity=8, ltype=cv2.CV_16U)
    areas = facts[1:, cv2.CC_STAT_AREA]
    if count <= 2 or areas.min() >= least_share * areas.max():
        return None
    is_small = np.zeros(count, np.uint8)
    is_small[1:][areas < least_share * areas.max()] = 255
    small = is_small[islands]
    reach = _disc(reach_px)
    return cv2.subtract(cv2.dilate(small, reach), cv2.dilate(cv2.subtract(cores, small), reach))


@functools.cache
def _disc(radius_px: int) -> np.ndarray:
    side = 2 * radius_px + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


class IslandDropper:
    """Fades small islands out of the mattes of one video, and holds how far.

    Args:
        least_share: as for small_islands; 0 keeps every island.
    """

    def __init__(self, least_share: float) -> None:
        self.least_share = least_share
        self.reset()

    def reset(self) -> None:
        """Forgets the past, as for a new shot."""
        self._dropped: np.ndarray | None = None  # (h, w) float32, 1 where all of the matte is taken away
        self._most = 0.0  # of it, anywhere

    def drop(self, matte: np.ndarray) -> np.ndarray:
        """The matte without its small islands. matte: (h, w) float32 in 0..1, not written into.

        Returns: (h, w) float32 in 0..1; the matte itself where nothing is dropped and nothing was.
        """
        if self.least_share <= 0.0:
            return matte
        small = small_islands(matte, self.least_share)
        calm = CALM
        if self._dropped is None or self._dropped.shape != matte.shape:
            self._dropped, self._most, calm = np.zeros(matte.shape, np.float32), 0.0, 0.0
        elif small is None and 0 < self._most <= 1 / 255:
            self._dropped[:] = self._most = 0.0
        if small is None and self._most == 0:
            return matte
        native = kernels.native()
        if native is not None and kernels.has_rows(matte):
            kept = np.empty(matte.shape, np.float32)
            self._most = native.fade_out(matte, small, self._dropped, kept, calm)
            return kept
        self._dropped *= np.float32(calm)
        if small is not None:
            self._dropped += np.float32(1 - calm) * (small > 0)
        self._most = float(self._dropped.max())
        return matte * (1 - self._dropped)
