"""What every source promises, whatever it reads."""

from __future__ import annotations

import threading
from fractions import Fraction
from itertools import islice

import cv2
import numpy as np
import pytest

from edge_deeplab.video.cameras import CameraSource
from edge_deeplab.video.container import PyavVideoSource
from edge_deeplab.video.frames import Source
from edge_deeplab.video.opencv_file import OpencvVideoSource
from edge_deeplab.video.stills import FolderSource, ImageSource
from edge_deeplab.video.streams import open_stream
from edge_deeplab.video.synthetic import SyntheticSource

KINDS = ("pyav", "opencv", "image", "held image", "folder", "stream", "camera", "synthetic", "live synthetic")
ENOUGH = 6  # frames looked at of a source without end


@pytest.fixture(params=KINDS)
def source(request, clips, tmp_path, coded, camera_url, recorded_capture):
    frame, _ = coded
    cv2.imwrite(str(tmp_path / "b.png"), frame(0))
    cv2.imwrite(str(tmp_path / "a.png"), frame(1))
    picture = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    makers = {
        "pyav": lambda: PyavVideoSource(clips / "plain.mp4"),
        "opencv": lambda: OpencvVideoSource(clips / "plain.mp4"),
        "image": lambda: ImageSource(tmp_path / "a.png"),
        "held image": lambda: ImageSource(tmp_path / "a.png", held_fps=Fraction(200)),
        "folder": lambda: FolderSource(tmp_path, fps=Fraction(30)),
        "stream": lambda: open_stream(camera_url()),
        "camera": lambda: CameraSource("0", open_capture=recorded_capture()),
        "synthetic": lambda: SyntheticSource(picture, size_wh=(64, 48), frame_count=5),
        "live synthetic": lambda: SyntheticSource(picture, size_wh=(64, 48), fps=Fraction(200), frame_count=None),
    }
    with makers[request.param]() as made:
        yield made


def test_it_keeps_the_protocol(source) -> None:
    assert isinstance(source, Source)
    assert "\n" not in source.describe() and source.describe()
    assert source.fps is None or isinstance(source.fps, Fraction)
    assert source.media.fps == source.fps


def test_frames_are_whole_numbered_and_in_time(source) -> None:
    frames = list(islice(source, ENOUGH))
    width, height = source.size_wh
    for index, frame in enumerate(frames):
        assert frame.bgr.shape == (height, width, 3)
        assert frame.bgr.dtype == np.uint8 and frame.bgr.flags.c_contiguous and frame.bgr.flags.writeable
        assert frame.index == index
    times_s = [frame.time_s for frame in frames]
    assert times_s[0] >= 0 and times_s == sorted(times_s)


def test_each_frame_is_the_receivers_own(source) -> None:
    first, *others = list(islice(source, ENOUGH))
    before = [frame.bgr.copy() for frame in others]
    first.bgr[:] = 0
    assert all(np.array_equal(frame.bgr, was) for frame, was in zip(others, before))


def test_an_announced_count_is_kept_and_live_ones_announce_none(source) -> None:
    if source.is_live:
        assert source.frame_count is None
        assert len(list(islice(source, ENOUGH))) == ENOUGH
    else:
        assert len(list(source)) == source.frame_count


def test_closing_twice_is_harmless_and_ends_the_iteration(source) -> None:
    frames = iter(source)
    next(frames)
    source.close()
    source.close()
    assert list(frames) == []


def test_closing_from_another_thread_ends_the_iteration(source) -> None:
    begun, seen = threading.Event(), []

    def read() -> None:
        for frame in source:
            seen.append(frame.index)
            begun.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(10)
    source.close()
    reader.join(10)
    assert not reader.is_alive()
