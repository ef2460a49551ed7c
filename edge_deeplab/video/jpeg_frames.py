"""One JPEG of a motion JPEG stream as a frame, or the reason why not: what the way may have done to it is found first.

OpenCV decodes a JPEG whose end is missing, or whose middle is damaged, into a picture with grey in it, and some
builds say so on stderr. imaging.decode reads files; here nothing is a file, and damage is everyday.

    frame_bgr = decode_frame(jpeg)
"""

from __future__ import annotations

import re
import struct

import cv2
import numpy as np

MAX_PIXELS = 67_108_864  # 8192 x 8192; 200 MB once decoded
_NO_LENGTH = {0x01, *range(0xD0, 0xD8)}
_NO_FRAME = {0xC4, 0xC8, 0xCC}  # tables and an extension among the start-of-frame markers (ISO/IEC 10918-1, B.1)
# In coded data a 0xFF is followed by 0x00 (stuffing), a restart marker or another 0xFF (fill); else it is a marker.
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_AFTER_SCAN = {0xC4, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)}


class DamagedFrameError(ValueError):
    """No picture can, or should, be made of the bytes. The text is a few words."""


def decode_frame(jpeg: bytes) -> np.ndarray:
    """Returns: (H, W, 3) uint8 BGR. Raises: DamagedFrameError."""
    width, height = _check(jpeg)
    if width * height > MAX_PIXELS:
        raise DamagedFrameError(f"{width}x{height} pixels are too many")
    try:
        bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise DamagedFrameError("cannot be decoded") from error
    if bgr is None or bgr.shape[:2] not in ((height, width), (width, height)):  # turned, where EXIF says so
        raise DamagedFrameError("cannot be decoded")
    return bgr


def _check(jpeg: bytes) -> tuple[int, int]:
    """Width and height of a JPEG whose markers are whole and in order."""
    if not jpeg.startswith(b"\xff\xd8"):
        raise DamagedFrameError("is no JPEG" if jpeg else "is empty")
    at, size_wh = 2, None
    while at + 4 <= len(jpeg):
        if jpeg[at] != 0xFF:
            raise DamagedFrameError("is damaged")
        marker = jpeg[at + 1]
        if marker == 0xFF or marker in _NO_LENGTH:
            at += 1 if marker == 0xFF else 2
            continue
        length = struct.unpack_from(">H", jpeg, at + 2)[0]
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME and at + 9 <= len(jpeg):
            height, width = struct.unpack_from(">HH", jpeg, at + 5)
            size_wh = (width, height)
        if marker == 0xDA:
            if size_wh is None or 0 in size_wh:
                raise DamagedFrameError("is damaged")
            _check_scans(jpeg, at + 2 + length)
            return size_wh
        at += 2 + length
    raise DamagedFrameError("is truncated")


def _check_scans(jpeg: bytes, start: int) -> None:
    """Looks for the end marker behind coded data that holds none which cannot be there."""
    for found in _MARKER.finditer(jpeg, start):
        marker = found.group(1)[0]
        if marker == 0xD9:
            return
        if marker not in _AFTER_SCAN:
            raise DamagedFrameError("is damaged")
    raise DamagedFrameError("is truncated")
