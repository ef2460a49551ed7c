"""Small islands of a matte that are no person worth keeping: a flag, a poster, a coat on its hook.

matte = drop_islands(matte, 0.25)
"""

from __future__ import annotations

import cv2
import numpy as np

CERTAIN = 0.5  # an island is what is connected above this
# An island's soft rim goes with it, as far as this share of the matte's longer side.
RIM_SHARE = 1 / 32


def drop_islands(matte: np.ndarray, least_share: float) -> np.ndarray:
    """Takes away the islands much smaller than the largest.

    Args:
        matte: (h, w) float32 in 0..1; not written into.
        least_share: an island stays when its area is at least this share of the largest one's; 0 keeps all.
    Returns: (h, w) float32 in 0..1; the matte itself where nothing goes.
    """
    if least_share <= 0.0:
        return matte
    above = (matte > CERTAIN).view(np.uint8) * np.uint8(255)  # cv2.compare takes a matte of 4 pixels for a scalar
    count, islands, facts, _ = cv2.connectedComponentsWithStats(above, connectivity=8, ltype=cv2.CV_16U)
    areas = facts[1:, cv2.CC_STAT_AREA]
    if count <= 2 or areas.min() >= least_share * areas.max():
        return matte
    goes = np.zeros(count, np.uint8)
    goes[1:][areas < least_share * areas.max()] = 255
    dropped = goes[islands]
    side = 2 * max(1, round(max(matte.shape) * RIM_SHARE)) + 1
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    kept = cv2.dilate(cv2.subtract(above, dropped), window)
    rim = cv2.subtract(cv2.dilate(dropped, window), kept)
    kept_matte = matte.copy()
    kept_matte[cv2.max(rim, dropped) > 0] = 0.0
    return kept_matte
