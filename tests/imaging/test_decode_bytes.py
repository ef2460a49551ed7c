"""Pictures that come as bytes, and WebP's header, which is read before it is decoded."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from edge_deeplab.errors import InputError
from edge_deeplab.imaging.decode import decode_image

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)


def webp(*, quality: int, picture: np.ndarray = PICTURE) -> bytes:
    """Above 100 it is lossless."""
    return cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()


def with_alpha() -> bytes:
    return webp(quality=80, picture=np.dstack([PICTURE, PICTURE[..., 0]]))


def resized(data: bytes, width: int, height: int) -> bytes:
    """The same lossy file, whose header says another size."""
    assert data[12:16] == b"VP8 "
    return data[:26] + struct.pack("<HH", width, height) + data[30:]


def test_bytes_give_what_the_file_would() -> None:
    data = cv2.imencode(".png", PICTURE[..., ::-1])[1].tobytes()
    assert np.array_equal(decode_image(data, name="upload"), PICTURE)


@pytest.mark.parametrize("data", [webp(quality=80), webp(quality=101), with_alpha()], ids=["VP8", "VP8L", "VP8X"])
def test_every_kind_of_webp_is_measured_before_it_is_decoded(data: bytes) -> None:
    assert decode_image(data, name="upload", max_pixels=24 * 40).shape == (24, 40, 3)
    with pytest.raises(InputError, match="upload: the picture is too large; came 40 x 24; allowed: 959 pixels"):
        decode_image(data, name="upload", max_pixels=24 * 40 - 1)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "upload: the file is empty"),
        (webp(quality=80)[:-9], "upload: the picture is truncated"),
        (webp(quality=80)[:20], "upload: the picture is truncated"),
        (resized(webp(quality=80), 16000, 16000), "upload: the picture is too large; came 16000 x 16000"),
        (webp(quality=80).replace(b"VP8 ", b"VPX "), "upload: is no picture, or a damaged one"),
    ],
)
def test_damaged_bytes_get_one_line(data: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        decode_image(data, name="upload")
    assert "\n" not in str(caught.value)
