"""What is left of a recording when the program is killed, the disk is full, or something breaks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_deeplab.errors import OutputError
from edge_deeplab.video.encoder import RECORDING_LOOKAHEAD
from edge_deeplab.video.recording import HYBRID_SINCE, PIECE_S, RecordedFile, piecewise
from edge_deeplab.video.sink import SinkOptions, open_sink

FPS = 30
RECORDER = """
import sys
import numpy as np
from edge_deeplab.errors import OutputError
from edge_deeplab.video.sink import SinkOptions, open_sink

path, encoder, frames, most_bytes = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if most_bytes:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))  # writing further fails, as on a full disk
noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
try:
    with open_sink(path, SinkOptions(encoder=encoder, is_recording=True)) as sink:
        for index in range(frames):
            picture = np.roll(noise, 3 * index, axis=1)
            picture[:16] = 255 * (index % 2)
            sink.write(picture, index / 30)
            print(index + 1, flush=True)
except OutputError as error:
    print(error)
"""


def recorder(path: Path, repository: Path, *, encoder: str = "pyav", frames: int = 10**6, most_bytes: int = 0):
    return subprocess.Popen(
        [sys.executable, "-c", RECORDER, str(path), encoder, str(frames), str(most_bytes)],
        cwd=repository, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def killed_after(frames: int, process: subprocess.Popen[str]) -> int:
    """Kills it, as nothing can be caught, once it has written so many; returns how many it said it had."""
    written = 0
    for line in process.stdout:
        written = int(line)
        if written == frames:
            os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return written


def played(path: Path) -> list[int]:
    """0 or 1 for each frame that plays, by the two readers people have."""
    import av

    def flag(bgr: np.ndarray) -> int:
        return int(bgr[4:12].mean() > 128)

    with av.open(str(path)) as container:
        by_pyav = [flag(frame.to_ndarray(format="bgr24")) for frame in container.decode(video=0)]
    capture, by_opencv = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        by_opencv.append(flag(read[1]))
    assert by_pyav == by_opencv
    return by_pyav


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm"])
def test_a_kill_costs_no_more_than_the_last_piece(suffix, tmp_path, repository) -> None:
    path = tmp_path / f"talk.{suffix}"
    written = killed_after(100, recorder(path, repository))
    assert [file.name for file in tmp_path.iterdir()] == [f"talk.unfinished.{suffix}"]
    frames = played(tmp_path / f"talk.unfinished.{suffix}")
    assert frames == [index % 2 for index in range(len(frames))]
    # one piece under way, what the encoder looks ahead, and the frame that the muxer holds to know how long it lasts
    assert len(frames) >= written - round(PIECE_S * FPS) - RECORDING_LOOKAHEAD - 3


def test_by_opencv_a_kill_leaves_an_mkv_that_plays_but_for_its_last_seconds(tmp_path, repository) -> None:
    written = killed_after(300, recorder(tmp_path / "talk.mkv", repository, encoder="opencv"))
    frames = played(tmp_path / "talk.unfinished.mkv")
    assert len(frames) >= written - 5 * FPS - FPS  # Matroska's clusters are 5 s long where nobody can say otherwise


def test_by_opencv_another_kind_says_that_it_would_not_survive(tmp_path) -> None:
    for suffix, is_said in ((".mp4", True), (".mkv", False)):
        with open_sink(f"{tmp_path}/talk{suffix}", SinkOptions(encoder="opencv", is_recording=True)) as sink:
            assert any("after a crash nothing" in note for note in sink.notes) == is_said


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_a_full_disk_leaves_all_that_was_recorded(suffix, tmp_path, repository) -> None:
    process = recorder(tmp_path / f"talk.{suffix}", repository, most_bytes=60_000)
    *counts, message = process.communicate()[0].splitlines()
    assert "File too large" in message and f"plays: {tmp_path}/talk.unfinished.{suffix}" in message
    frames = played(tmp_path / f"talk.unfinished.{suffix}")
    assert len(frames) >= int(counts[-1]) - round(PIECE_S * FPS) - RECORDING_LOOKAHEAD - 3


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("room", range(0, 1600, 200))
def test_a_disk_that_is_full_when_the_index_is_written_costs_the_last_piece(
    suffix, room, tmp_path, monkeypatch
) -> None:
    """The index of MP4 replaces the heads of its pieces: half of one would make the whole file unreadable."""
    sink = open_sink(f"{tmp_path}/talk.{suffix}", SinkOptions(encoder="pyav", is_recording=True))
    for index in range(60):
        sink.write(np.full((48, 64, 3), 255 * (index % 2), np.uint8), index / FPS)
    left, put = [room], RecordedFile._put

    def fills_up(self, place, data) -> None:
        if self._patches is None:  # pictures; only the end is short of room
            return put(self, place, data)
        put(self, place, data[: left[0]])
        left[0] -= len(data)
        if left[0] < 0:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(RecordedFile, "_put", fills_up)
    try:
        sink.close()
        left_file = tmp_path / f"talk.{suffix}"
    except OutputError as error:
        left_file = tmp_path / f"talk.unfinished.{suffix}"
        assert f"plays: {left_file}" in str(error)
    frames = played(left_file)
    assert frames == [index % 2 for index in range(len(frames))]
    assert len(frames) >= (60 if left_file.stem == "talk" else 60 - round(PIECE_S * FPS) - RECORDING_LOOKAHEAD - 1)


def test_a_finished_recording_is_like_any_other_file(tmp_path) -> None:
    with open_sink(f"{tmp_path}/talk.mp4", SinkOptions(encoder="pyav", is_recording=True)) as sink:
        for index in range(75):
            sink.write(np.full((48, 64, 3), 255 * (index % 2), np.uint8), index / FPS)
    assert [file.name for file in tmp_path.iterdir()] == ["talk.mp4"]
    assert played(tmp_path / "talk.mp4") == [index % 2 for index in range(75)]
    import av

    with av.open(f"{tmp_path}/talk.mp4") as container:
        assert container.streams.video[0].frames == 75, "an index that tells the length without reading it all"


class Broken(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("encoder", ["pyav", "opencv"])
def test_what_was_recorded_live_is_kept_whatever_breaks(encoder, tmp_path) -> None:
    with pytest.raises(Broken), open_sink(f"{tmp_path}/talk.mkv", SinkOptions(encoder=encoder, is_recording=True)) as s:
        for index in range(5):
            s.write(np.full((48, 64, 3), 255 * (index % 2), np.uint8), index / FPS)
        raise Broken
    assert played(tmp_path / "talk.mkv") == [0, 1, 0, 1, 0]


@pytest.mark.parametrize("encoder", ["pyav", "opencv"])
def test_an_unfinished_recording_is_told_of_and_never_overwritten(encoder, tmp_path) -> None:
    (tmp_path / "talk.unfinished.mkv").write_bytes(b"of yesterday")
    with open_sink(f"{tmp_path}/talk.mkv", SinkOptions(encoder=encoder, is_recording=True)) as sink:
        sink.write(np.zeros((48, 64, 3), np.uint8), 0.0)
    assert f"{tmp_path}/talk.unfinished.mkv: a recording that was not finished" in "\n".join(sink.notes)
    assert (tmp_path / "talk.unfinished.mkv").read_bytes() == b"of yesterday"
    assert played(tmp_path / "talk.mkv") == [0]


@pytest.mark.parametrize("encoder", ["pyav", "opencv"])
def test_a_recording_without_a_frame_leaves_nothing(encoder, tmp_path) -> None:
    with open_sink(f"{tmp_path}/talk.mkv", SinkOptions(encoder=encoder, is_recording=True)) as sink:
        pass
    assert "no frame came" in sink.notes[-1] and not list(tmp_path.iterdir())


def test_opencv_is_asked_whether_the_disk_is_full(tmp_path, monkeypatch) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    sink = open_sink(f"{tmp_path}/talk.mkv", SinkOptions(encoder="opencv", is_recording=True))
    with pytest.raises(OutputError, match=r"disk is full; came 1\.0 MiB free; what was recorded.*kept"), sink:
        for index in range(40):
            sink.write(np.zeros((48, 64, 3), np.uint8), index / FPS)
            if index == 20:
                monkeypatch.setattr("shutil.disk_usage", lambda path: usage(2**30, 2**30 - 2**20, 2**20))
    assert len(played(tmp_path / "talk.mkv")) == 30


def test_an_older_ffmpeg_writes_pieces_that_stay() -> None:
    assert "hybrid" in piecewise("mp4", HYBRID_SINCE)["movflags"]
    assert "hybrid" not in piecewise("mp4", (61, 1))["movflags"]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_recording_begins_when_it_was_begun(suffix, tmp_path) -> None:
    import av

    with open_sink(f"{tmp_path}/talk.{suffix}", SinkOptions(encoder="pyav", is_recording=True)) as sink:
        for index in range(30):
            sink.write(np.zeros((48, 64, 3), np.uint8), 100 + index / FPS)
    with av.open(f"{tmp_path}/talk.{suffix}") as container:
        assert container.start_time == 0 and abs(container.duration / 1e6 - 1.0) < 0.05
