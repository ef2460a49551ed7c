"""Small maps brought to a picture's size where they are not plain, part by part, so that a rim costs no whole frame.

for cells, place in busy_parts(light > 0, picture.shape[:2], rows=12):
    place.of(picture)[:] += enlarged(light, cells, place)
"""

from __future__ import annotations

import cv2
import numpy as np

from edge_deeplab.compositing.regions import Rect, busy_rects, whole

GAP_CELLS = 8


def busy_parts(busy: np.ndarray, size_hw: tuple[int, ...], *, rows: int) -> list[tuple[Rect, Rect]]:
    """The parts of a map that hold something, and where they lie in the picture.

    Args:
        busy: (h, w) uint8 or bool, not 0 where there is something.
        size_hw: of the picture. Where it is no multiple of the map's, the whole map is one part.
        rows: of the map, that a part has at most.

    Returns: pairs of rectangles, in the map and in the picture; together they hold every cell of `busy` and the pixels
        that a linear enlargement draws it into.
    """
    size = (size_hw[0], size_hw[1])
    if not busy.any():
        return []
    factor = size[0] // busy.shape[0]
    if (busy.shape[0] * factor, busy.shape[1] * factor) != size:
        return [(whole((busy.shape[0], busy.shape[1])), whole(size))]
    reached = cv2.dilate(busy.view(np.uint8), np.ones((3, 3), np.uint8))  # between two cells lies some of both
    return [(cells, cells.times(factor)) for cells in busy_rects(reached, rows=rows, gap=GAP_CELLS)]


def enlarged(small: np.ndarray, cells: Rect, place: Rect) -> np.ndarray:
    """A part of a map at the picture's resolution: the same values as in the whole map, enlarged.

    Args:
        small: (h, w) or (h, w, C), the whole map.
        cells, place: of busy_parts.

    Returns: the part of the size of `place`, in the map's dtype.
    """
    wider = cells.grown(1, (small.shape[0], small.shape[1]))
    size_hw = (place.bottom - place.top, place.right - place.left)
    if wider == cells:
        return cv2.resize(small, size_hw[::-1], interpolation=cv2.INTER_LINEAR).reshape(*size_hw, *small.shape[2:])
    factor = size_hw[0] // (cells.bottom - cells.top)
    scaled = wider.times(factor)
    part = cv2.resize(
        wider.of(small), (scaled.right - scaled.left, scaled.bottom - scaled.top), interpolation=cv2.INTER_LINEAR
    )
    top, left = place.top - scaled.top, place.left - scaled.left
    cut = Rect(top, top + size_hw[0], left, left + size_hw[1])
    return cut.of(part)
