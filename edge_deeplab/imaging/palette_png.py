"""Label maps as PNG files whose colours are a palette: viewers show colours, programs read the class indices.

    Path("labels.png").write_bytes(palette_png(labels, colour_map(21)))

imaging.decode.read_mask reads them back, as PASCAL VOC's own annotations.
"""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np

_SIGNATURE_BYTES, _HEADER_BYTES = 8, 25  # the header's chunk is length 4, name 4, payload 13, check sum 4
_PALETTE_TYPE = b"\x03"


def palette_png(labels: np.ndarray, colours: np.ndarray) -> bytes:
    """The file's bytes.

    labels: (H, W) uint8, below len(colours). colours: (n, 3) uint8, RGB, n at most 256.
    """
    # OpenCV writes grey PNGs alone; with a palette the pixels' bytes are the very same.
    done, grey = cv2.imencode(".png", labels)  # run lengths; OpenCV 5 takes 3 times as long when given a level
    assert done, "a grey picture can be encoded"
    data = grey.tobytes()
    ihdr = data[_SIGNATURE_BYTES + 8 : _SIGNATURE_BYTES + 21]
    header = _chunk(b"IHDR", ihdr[:9] + _PALETTE_TYPE + ihdr[10:])
    palette = _chunk(b"PLTE", np.ascontiguousarray(colours, np.uint8).tobytes())
    return data[:_SIGNATURE_BYTES] + header + palette + data[_SIGNATURE_BYTES + _HEADER_BYTES :]


def _chunk(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))
