"""What a user's words for an output mean, and what is special about each."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest

from edge_deeplab.errors import MissingExtraError, OutputError, UsageError
from edge_deeplab.video import container
from edge_deeplab.video.container import PyavVideoSource
from edge_deeplab.video.frames import MediaFacts, rate_from_float
from edge_deeplab.video.opencv_file import OpencvVideoSource
from edge_deeplab.video.sink import SinkOptions, open_sink

FULL_DISK = """
import resource, signal, sys
import numpy as np
from edge_deeplab.errors import OutputError
from edge_deeplab.video.sink import SinkOptions, open_sink

resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))  # writing further fails, as on a full disk
noise = np.random.default_rng(0)
try:
    with open_sink(sys.argv[1], SinkOptions(encoder="pyav", crf=1)) as sink:
        for index in range(100):
            sink.write(noise.integers(0, 255, (96, 128, 3), np.uint8), index / 30)
except OutputError as error:
    print(error)
"""


def frame(value: int = 100, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_a_picture_holds_one_frame_and_its_colours(tmp_path) -> None:
    bgr = frame()
    bgr[:] = (200, 100, 20)
    with open_sink(f"{tmp_path}/out.png") as out:
        out.write(bgr, 0.0)
    assert np.array_equal(cv2.imread(f"{tmp_path}/out.png"), bgr)


def test_a_video_does_not_end_as_its_first_picture(tmp_path) -> None:
    out = open_sink(f"{tmp_path}/out.png")
    with pytest.raises(OutputError, match=r"several frames; name a video"), out:
        out.write(frame(), 0.0)
        out.write(frame(), 0.1)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_keeps_the_names_of_its_pictures_and_numbers_the_others(tmp_path) -> None:
    with open_sink(f"{tmp_path}/out/") as out:
        for name in ("me", "", "me"):
            out.write(frame(), 0.0, name)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["frame_000001.png", "me.png", "me_000002.png"]


def test_a_folder_takes_pictures_of_different_sizes(tmp_path) -> None:
    with open_sink(f"{tmp_path}/out/", SinkOptions(folder_suffix=".jpg")) as out:
        out.write(frame(), 0.0)
        out.write(frame(height=20), 0.1)
    assert cv2.imread(f"{tmp_path}/out/frame_000001.jpg").shape == (20, 64, 3)


def test_overwriting_in_a_folder_leaves_other_files_alone(tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "diary.txt").write_text("mine")
    with pytest.raises(OutputError, match="is there already"):
        open_sink(f"{tmp_path}/out")
    with open_sink(f"{tmp_path}/out", SinkOptions(overwrite=True)) as out:
        out.write(frame(), 0.0)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["diary.txt", "frame_000000.png"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_of_the_same_moment_are_all_kept(suffix, tmp_path) -> None:
    """A folder of pictures or a broken clock may give them; a container refuses two frames at one time."""
    with open_sink(f"{tmp_path}/out{suffix}") as out:
        for index in range(4):
            out.write(frame(60 * index), 0.0)
    with PyavVideoSource(tmp_path / f"out{suffix}") as written:
        assert [int(one.bgr.mean()) // 55 for one in written] == [0, 1, 2, 3]


def test_opencv_says_what_it_cannot_keep_and_fills_gaps_in_time(tmp_path) -> None:
    media = MediaFacts(fps=rate_from_float(30.0))
    with open_sink(f"{tmp_path}/out.mp4", SinkOptions(media=media, encoder="opencv")) as out:
        for index, time_s in enumerate((0.0, 1 / 30, 0.2, 0.2 + 1 / 30)):
            out.write(frame(60 * index), time_s)
    for word in ("sound", "time stamps", "browsers", "edge-deeplab[media]"):
        assert word in out.notes[0]
    values = [int(one.bgr.mean()) // 55 for one in OpencvVideoSource(tmp_path / "out.mp4")]
    assert values == [0, 1, 1, 1, 1, 1, 2, 3]


def test_opencv_pads_odd_sizes_and_says_so(tmp_path) -> None:
    with open_sink(f"{tmp_path}/out.mp4", SinkOptions(encoder="opencv")) as out:
        out.write(frame(height=47, width=63), 0.0)
    assert "63x47 padded to 64x48" in out.notes[1]
    assert OpencvVideoSource(tmp_path / "out.mp4").size_wh == (64, 48)


def test_without_pyav_webm_names_the_extra(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(container, "has_pyav", lambda: False)
    with pytest.raises(MissingExtraError, match=r"edge-deeplab\[media\]"):
        open_sink(f"{tmp_path}/out.webm")
    with open_sink(f"{tmp_path}/out.mp4") as out:
        assert "OpenCV" in out.describe()


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, repository) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, f"{tmp_path}/out.mkv"], capture_output=True, text=True, cwd=repository
    )
    assert done.stderr == ""
    assert "could not be written; came File too large" in done.stdout and done.stdout.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out.avi", "out", "out.tflite"])
def test_an_unknown_kind_of_output_lists_the_known_ones(name, tmp_path) -> None:
    with pytest.raises(UsageError, match=r"\.mp4.*\.png.*folder NAME/"):
        open_sink(f"{tmp_path}/{name}")


def test_a_place_that_cannot_be_written_is_one_line() -> None:
    with pytest.raises(OutputError, match=r"/proc/out\.mp4: cannot be written"):
        open_sink("/proc/out.mp4")


@pytest.mark.parametrize("wrong", [{"crf": 52}, {"folder_suffix": ".mp4"}, {"encoder": "ffmpeg"}])
def test_options_out_of_range_are_usage_errors(wrong) -> None:
    with pytest.raises(UsageError):
        SinkOptions(**wrong)
