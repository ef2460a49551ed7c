"""One person of several, followed over time: the largest at first, the same one while nobody else is clearly larger.

follower = PersonFollower()
matte = follower.only(matte)
"""

from __future__ import annotations

import cv2
import numpy as np

from edge_deeplab.compositing.islands import BRIDGE_PX, CERTAIN

# Another person is taken once they have been this many times as large as the followed one for PATIENCE frames on end:
# two who sit side by side differ by less, and so does one who leans back.
CLEARLY_LARGER = 1.5
PATIENCE = 15  # frames; half a second at 30 a second
# Of a region's area: what of it must have been the followed person's, and what another's, to be taken for both.
SHARED = 0.1
# Who shares a region with the followed person and has less of it than this share of their area when last apart is
# behind the followed one: what is left there is the followed person's own.
HIDDEN = 1 / 3
# A person's soft rim goes with them, as far as this share of the matte's longer side.
RIM_SHARE = 1 / 32

_FOLLOWED, _OTHER = 1, 2


class PersonFollower:
    """Takes all people but one out of the mattes of one video, and holds who that one is.

    A person is a region of the matte that is connected. Who a region was is known from what it covers of the frame
    before. Where two people touch, their region is divided: each pixel goes to whom it was nearer to, so both stay
    apart while they do, until hardly anything of the other one is left to see; two who touch in the first frame are one
    until they part.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets whom it follows, as for a new shot."""
        self._owners: np.ndarray | None = None  # (h, w) uint8: nobody, _FOLLOWED or _OTHER
        self._missing = 0
        self._outgrown = 0
        self._others_apart = 0  # area of the largest other one when they last shared no region

    def only(self, matte: np.ndarray) -> np.ndarray:
        """The matte of the followed person alone.

        matte: (h, w) float32 in 0..1, not written into.

        Returns: (h, w) float32 in 0..1; the matte itself where nobody else is in it. While the followed person is out
            of sight, for PATIENCE frames, there is nobody in it.
        """
        above = (matte > CERTAIN).view(np.uint8)
        side = 2 * BRIDGE_PX + 1
        cores = cv2.erode(above, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
        count, regions, facts, _ = cv2.connectedComponentsWithStats(cores, connectivity=8, ltype=cv2.CV_16U)
        if count == 1:
            self._missing += 1
            return matte
        areas = facts[:, cv2.CC_STAT_AREA].copy()
        areas[0] = 0
        owners = self._owners_of(regions, areas)
        if not (owners == _OTHER).any():
            return matte
        return np.where(_of_others(owners), np.float32(0.0), matte)

    def _owners_of(self, regions: np.ndarray, areas: np.ndarray) -> np.ndarray:
        """Says whose each region is and remembers it. Returns: as _owners."""
        before = self._owners
        if before is None or before.shape != regions.shape or self._missing > PATIENCE:
            return self._take(regions, regions == areas.argmax())
        was_followed = np.bincount(regions[before == _FOLLOWED], minlength=len(areas))
        was_other = np.bincount(regions[before == _OTHER], minlength=len(areas))
        was_followed[0] = was_other[0] = 0
        mine = was_followed > was_other
        if not mine.any():  # who moved too fast to overlap is the largest that was nobody else
            fresh = np.where(was_other > SHARED * areas, 0, areas)
            mine[fresh.argmax()] = fresh.max() > 0
        owner = np.where(mine, np.uint8(_FOLLOWED), np.uint8(_OTHER))
        owner[0] = 0
        owners = owner[regions]
        is_shared = (was_followed > SHARED * areas) & (was_other > SHARED * areas)
        if not is_shared.any():
            self._others_apart = int(np.where(owner == _OTHER, areas, 0).max())
        for shared in np.flatnonzero(is_shared):
            here = regions == shared
            to_followed, to_other = _distances(before)
            theirs = here & (to_other < to_followed)
            owners[here] = _FOLLOWED
            if np.count_nonzero(theirs) >= HIDDEN * self._others_apart:
                owners[theirs] = _OTHER

        followed_area = np.count_nonzero(owners == _FOLLOWED)
        if followed_area == 0:
            self._missing += 1
            return owners if self._missing <= PATIENCE else self._take(regions, regions == areas.argmax())
        self._missing = 0
        rivals = np.bincount(regions[owners == _OTHER], minlength=len(areas))  # of a shared region their part alone
        self._outgrown = self._outgrown + 1 if rivals.max() > CLEARLY_LARGER * followed_area else 0
        if self._outgrown > PATIENCE:
            return self._take(regions, (owners == _OTHER) & (regions == rivals.argmax()))
        self._owners = owners
        return owners

    def _take(self, regions: np.ndarray, whom: np.ndarray) -> np.ndarray:
        """Follows whoever is at `whom`, (h, w) bool, from now on. Returns: as _owners."""
        self._missing = self._outgrown = 0
        owners = np.where(regions > 0, np.uint8(_OTHER), np.uint8(0))
        owners[whom] = _FOLLOWED
        self._owners = owners
        return owners


def _distances(owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two (h, w) float32: pixels to the followed person and to the nearest other one."""
    to_followed, to_other = (
        cv2.distanceTransform((owners != who).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3)
        for who in (_FOLLOWED, _OTHER)
    )
    return to_followed, to_other


def _of_others(owners: np.ndarray) -> np.ndarray:
    """(h, w) bool: where another person and their soft rim is, as far as it is nearer to them."""
    to_followed, to_other = _distances(owners)
    reach = BRIDGE_PX + max(1, round(max(owners.shape) * RIM_SHARE))
    return (to_other < to_followed) & (to_other <= reach)
