"""A video that never ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_portrait import make_grays

from edge_deeplab.demo_apps.looping import LoopingVideo
from edge_deeplab.errors import InputError


def test_the_picture_of_a_time_stands_until_the_next_one(tmp_path: Path) -> None:
    make_grays(tmp_path / "clip.mkv", (0, 100, 200))
    with LoopingVideo(tmp_path / "clip.mkv") as video:
        times_s = np.array([0.0, 0.02, 0.034, 0.05, 0.067, 0.09, 0.101, 0.135, 0.2])
        seen = [int(video.picture_at(float(time_s)).mean()) for time_s in times_s]
    assert np.abs(np.array(seen) - (0, 0, 100, 100, 200, 200, 0, 100, 0)).max() <= 6  # a lossy codec


def test_the_same_picture_is_the_same_array(tmp_path: Path) -> None:
    make_grays(tmp_path / "clip.mkv", (0, 100))
    with LoopingVideo(tmp_path / "clip.mkv") as video:
        assert video.picture_at(0.0) is video.picture_at(0.01)


def test_a_clip_of_one_picture_stands(tmp_path: Path) -> None:
    make_grays(tmp_path / "clip.mkv", (100,))
    with LoopingVideo(tmp_path / "clip.mkv") as video:
        assert abs(int(video.picture_at(1.0).mean()) - 100) <= 6
    video.close()  # twice is harmless


def test_what_is_no_video_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"clip\.mp4"):
        LoopingVideo(tmp_path / "clip.mp4")
