"""Frames that say their own number, through any codec."""

from __future__ import annotations

import numpy as np

CODE_BITS = 8


def coded_frame(index: int, size_wh: tuple[int, int] = (64, 48)) -> np.ndarray:
    """(H, W, 3) uint8 BGR: the index in eight bars, black or white, over the upper half; red below on the left."""
    width, height = size_wh
    frame = np.full((height, width, 3), 90, np.uint8)
    for bit in range(CODE_BITS):
        left, right = bit * width // CODE_BITS, (bit + 1) * width // CODE_BITS
        frame[: height // 2, left:right] = 235 if index >> bit & 1 else 20
    frame[height // 2 :, : width // 2] = (0, 0, 200)
    return frame


def read_code(frame: np.ndarray) -> int:
    """The index that coded_frame drew, through any codec."""
    height, width = frame.shape[0], frame.shape[1]
    centres = [(2 * bit + 1) * width // (2 * CODE_BITS) for bit in range(CODE_BITS)]
    return sum(int(frame[height // 4, column].mean() > 128) << bit for bit, column in enumerate(centres))
