"""A frame brought to another size with its shape kept: for an output that cannot change its size.

frame = letterbox(frame, (1280, 720))
"""

from __future__ import annotations

import numpy as np

from edge_deeplab.imaging.resize import Placement, resize_image


def letterbox(frame_bgr: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """The whole frame, centred on black, as large as it fits.

    frame_bgr: (h, w, 3) uint8.
    Returns: (H, W, 3) uint8 at size_wh; the frame itself where it is of that size.
    """
    size_hw = (size_wh[1], size_wh[0])
    if frame_bgr.shape[:2] == size_hw:
        return frame_bgr
    placement = Placement.plan((frame_bgr.shape[0], frame_bgr.shape[1]), size_hw, "letterbox")
    canvas = np.zeros((*size_hw, 3), np.uint8)
    height, width = placement.inner_hw
    rows = slice(placement.top, placement.top + height)
    columns = slice(placement.left, placement.left + width)
    canvas[rows, columns] = resize_image(frame_bgr, placement.inner_hw)
    return canvas
