"""Where a map is worth work: a few rectangles around what is not plain, so that the rest costs a copy or nothing.

    for top, bottom, left, right in busy_rects(changes > 0, rows=24, gap=16): ...

Few and larger: at 1280 x 720 a call of OpenCV costs as much as 1,000 pixels of work.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Rect(NamedTuple):
    """Rows top to bottom and columns left to right of an array, the second of each excluded."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, array: np.ndarray) -> np.ndarray:
        """That part of an array, as a view."""
        return array[self.top : self.bottom, self.left : self.right]

    def times(self, factor: int) -> Rect:
        """The same part of an array that many times as large."""
        return Rect(self.top * factor, self.bottom * factor, self.left * factor, self.right * factor)

    def grown(self, by: int, size_hw: tuple[int, int]) -> Rect:
        """With as many more rows and columns on each side as the array has."""
        return Rect(
            max(0, self.top - by), min(size_hw[0], self.bottom + by),
            max(0, self.left - by), min(size_hw[1], self.right + by),
        )  # fmt: skip


def whole(size_hw: tuple[int, int]) -> Rect:
    """All of an array."""
    return Rect(0, size_hw[0], 0, size_hw[1])


def busy_rects(busy: np.ndarray, *, rows: int, gap: int) -> list[Rect]:
    """Rectangles that together hold every element of `busy` that is not 0, and do not overlap.

    Args:
        busy: (h, w) uint8.
        rows: height of the strips that `busy` is cut into; the last one may be lower.
        gap: two runs of columns of one strip with fewer plain columns between them become one.

    Returns: from top to bottom, from left to right; empty where nothing is busy.
    """
    strips = [busy[top : top + rows].max(axis=0) for top in range(0, busy.shape[0], rows)]
    return _rects(np.not_equal(strips, 0), busy.shape[0], rows, gap)


def edge_rects(levels: np.ndarray, *, rows: int, gap: int) -> list[Rect]:
    """Rectangles outside of which every element is 0 or 255, and like all its neighbours.

    So each part of a strip that is left between two of them is of one value, which is its corner's.

    Args:
        levels: (h, w) uint8.
        rows, gap: as busy_rects's.

    Returns: as busy_rects.
    """
    height, width = levels.shape
    strips = [levels[max(0, top - 1) : top + rows + 1] for top in range(0, height, rows)]
    highest = np.array([strip.max(axis=0) for strip in strips])
    lowest = np.array([strip.min(axis=0) for strip in strips])
    plain = (highest == lowest) & ((highest == 0) | (highest == 255))
    # A column is plain where it is like both its neighbours; those beyond the border are like it.
    alike = np.ones((len(strips), width + 1), np.bool_)
    alike[:, 1:-1] = plain[:, 1:] & plain[:, :-1] & (highest[:, 1:] == highest[:, :-1])
    return _rects(~(plain & alike[:, 1:] & alike[:, :-1]), height, rows, gap)


def bounds(busy: np.ndarray) -> Rect | None:
    """The smallest rectangle that holds every element of `busy` that is not 0; None where there is none."""
    rows, columns = np.flatnonzero(busy.max(axis=1)), np.flatnonzero(busy.max(axis=0))
    if not rows.size:
        return None
    return Rect(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)


def _rects(busy: np.ndarray, height: int, rows: int, gap: int) -> list[Rect]:
    """Rectangles of strips: `busy` is (strips, w) bool, a row for every strip."""
    ends = np.zeros((busy.shape[0], busy.shape[1] + 2), np.int8)
    ends[:, 1:-1] = busy
    strips, columns = np.nonzero(np.diff(ends, axis=1))
    found: list[Rect] = []
    last = -1
    # Each run of busy columns gives two: where it begins, and where it has ended.
    for strip, left, right in zip(strips[::2].tolist(), columns[::2].tolist(), columns[1::2].tolist()):
        if strip == last and left - found[-1].right < gap:
            left = found.pop().left
        found.append(Rect(strip * rows, min(strip * rows + rows, height), left, right))
        last = strip
    return found
