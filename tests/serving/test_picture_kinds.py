"""What is taken for a picture or a video by its first bytes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_deeplab.serving.pictures import MAX_JPEG_SCANS, has_too_many_scans, is_picture, is_video

GREY = np.zeros((8, 8), np.uint8)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_what_is_promised_is_taken(suffix: str) -> None:
    data = cv2.imencode(suffix, GREY)[1].tobytes()
    assert is_picture(data)
    assert not is_video(data)


@pytest.mark.parametrize("suffix", [".bmp", ".tiff", ".pgm"])
def test_other_formats_that_opencv_reads_are_not(suffix: str) -> None:
    """Their headers are not read before they are decoded."""
    assert not is_picture(cv2.imencode(suffix, GREY)[1].tobytes())


@pytest.mark.parametrize(
    "text",
    ["#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "ffconcat version 1.0\nfile x", "v=0\r\no=- 0 0 IN IP4 1.1.1.1",
             "<svg xmlns=", "GIF89a", "", "RIFF\0\0\0\0WAVE"],
)  # fmt: skip
def test_what_names_further_files_or_is_neither_is_neither(text: str) -> None:
    data = text.encode().ljust(16, b"\0") if text else b""
    assert not is_picture(data)
    assert not is_video(data)


def test_progressive_pictures_pass_and_endless_ones_do_not() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert not has_too_many_scans(data)
    at = data.rindex(b"\xff\xda")
    scan = data[at:-2]
    assert has_too_many_scans(data[:-2] + scan * MAX_JPEG_SCANS + data[-2:])
