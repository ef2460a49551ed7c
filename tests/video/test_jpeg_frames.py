"""What the way may do to a JPEG: it is a frame of the size that it says, or it is refused in a few words."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from coded_frames import coded_frame, read_code
from hypothesis import given
from hypothesis import strategies as st

from edge_deeplab.video.jpeg_frames import DamagedFrameError, decode_frame

JPEG = cv2.imencode(".jpg", coded_frame(37, (128, 96)))[1].tobytes()
PROGRESSIVE = cv2.imencode(".jpg", coded_frame(38, (128, 96)), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
RESTARTS = cv2.imencode(".jpg", coded_frame(39, (128, 96)), [cv2.IMWRITE_JPEG_RST_INTERVAL, 1])[1].tobytes()


@pytest.mark.parametrize(("jpeg", "code"), [(JPEG, 37), (PROGRESSIVE, 38), (RESTARTS, 39)])
def test_a_whole_one_is_decoded(jpeg, code) -> None:
    frame = decode_frame(jpeg)
    assert frame.shape == (96, 128, 3) and frame.dtype == np.uint8 and read_code(frame) == code


def test_what_follows_the_end_does_not_matter() -> None:
    assert read_code(decode_frame(JPEG + b"\r\n\x00\x00")) == 37


@given(st.integers(0, len(JPEG) - 2))
def test_a_truncated_one_is_refused_wherever_it_was_cut(length) -> None:
    with pytest.raises(DamagedFrameError):
        decode_frame(JPEG[:length])


@given(st.lists(st.tuples(st.integers(0, len(JPEG) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_one_is_a_frame_or_refused_and_nothing_else(changes) -> None:
    damaged = bytearray(JPEG)
    for place, value in changes:
        damaged[place] = value
    try:
        frame = decode_frame(bytes(damaged))
    except DamagedFrameError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert frame.ndim == 3 and frame.shape[2] == 3 and frame.dtype == np.uint8


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_refused(data, begins_right) -> None:
    with pytest.raises(DamagedFrameError):
        decode_frame(b"\xff\xd8" * begins_right + data)


def test_a_picture_that_would_fill_the_memory_is_refused_before_it_is_decoded() -> None:
    size = JPEG.index(b"\xff\xc0") + 5
    with pytest.raises(DamagedFrameError, match="65535x65535 pixels are too many"):
        decode_frame(JPEG[:size] + b"\xff\xff\xff\xff" + JPEG[size + 4 :])
