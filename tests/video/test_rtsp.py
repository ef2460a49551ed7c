"""A real RTSP camera on loopback: RTP within the connection first, over UDP where it is refused, back after a loss."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from coded_frames import coded_frame, read_code
from rtsp_camera import RtspCamera

from edge_deeplab.errors import DeviceError
from edge_deeplab.video import streams
from edge_deeplab.video.pipeline import run_pipeline
from edge_deeplab.video.reconnecting import ReconnectingSource, ReconnectOptions
from edge_deeplab.video.sink import NullSink
from edge_deeplab.video.source import SourceOptions, open_source
from edge_deeplab.video.streams import FFMPEG_VARIABLE, StreamSource

SIZE_WH = (128, 96)


def coded_at(index: int) -> np.ndarray:
    return coded_frame(index % 256, SIZE_WH)


@pytest.fixture
def camera() -> Iterator[Callable[..., RtspCamera]]:
    made: list[RtspCamera] = []

    def make(**named) -> RtspCamera:
        made.append(RtspCamera(coded_at, **named))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.mark.parametrize("refuses_tcp", [False, True])
def test_frames_come_in_order_within_the_connection_or_over_udp_where_that_is_refused(refuses_tcp, camera) -> None:
    server = camera(refuses_tcp=refuses_tcp)
    with open_source(server.url) as source:
        assert source.is_live and source.size_wh == SIZE_WH and source.frame_count is None
        frames = list(itertools.islice(source, 12))
    codes = [read_code(frame.bgr) for frame in frames]
    assert codes == list(range(codes[0], codes[0] + 12))
    stamps = [frame.captured_ns for frame in frames]
    assert stamps == sorted(stamps) and stamps[0] > 0
    ways = ["TCP" if "interleaved" in asked else "UDP" for asked in server.transports]
    assert ways == (["TCP", "UDP"] if refuses_tcp else ["TCP"])


def test_a_users_own_words_to_ffmpeg_hold_and_ours_leave_no_trace(camera, monkeypatch) -> None:
    monkeypatch.delenv(FFMPEG_VARIABLE, raising=False)
    server = camera()
    StreamSource(server.url).close()
    assert FFMPEG_VARIABLE not in os.environ
    monkeypatch.setenv(FFMPEG_VARIABLE, "rtsp_transport;udp")
    StreamSource(server.url).close()
    assert ["interleaved" in asked for asked in server.transports] == [True, False]


def test_a_log_in_is_sent_and_its_password_never_shown(camera, capfd) -> None:
    server = camera(user="me", password="s3cret")
    with pytest.raises(DeviceError, match="no video comes from there") as caught:
        open_source(server.url.replace("//", "//me:wr0ng@"))
    assert "wr0ng" not in str(caught.value) and "me@127.0.0.1" in str(caught.value)
    with open_source(server.url.replace("//", "//me:s3cret@")) as source:
        assert "s3cret" not in source.describe()
        assert len(list(itertools.islice(source, 3))) == 3
    assert capfd.readouterr() == ("", "")


def test_a_slow_receiver_gets_the_newest_frames(camera) -> None:
    stop, seen, pause = threading.Event(), [], threading.Event()

    def process(frame):
        pause.wait(0.1)
        seen.append(read_code(frame.bgr))
        if len(seen) == 6:
            stop.set()
        return frame.bgr

    with open_source(camera().url) as source:
        report = run_pipeline(source, process, NullSink(), stop=stop)
    assert report.dropped > 0
    assert seen == sorted(seen) and seen[-1] - seen[0] > len(seen)


def test_a_camera_that_restarts_is_found_again_and_the_user_told_once(camera, caplog) -> None:
    server = camera(user="me", password="s3cret")
    url = server.url.replace("//", "//me:s3cret@")
    options = ReconnectOptions(first_wait_s=0.05, longest_wait_s=0.2)
    with ReconnectingSource(StreamSource(url), lambda closing: StreamSource(url), options) as source:
        frames = iter(source)
        before = [next(frames) for _ in range(3)]
        server.stop()
        restarted = threading.Timer(0.3, server.start)
        restarted.start()
        while "is back" not in "".join(caplog.messages):
            after = next(frames)
        restarted.join()
    assert after.index > before[-1].index and after.time_s > before[-1].time_s
    assert len(caplog.messages) == 2 and "trying again" in caplog.messages[0]
    assert "s3cret" not in "".join(caplog.messages)


def test_a_camera_that_stalls_is_an_error_in_bounded_time(camera, monkeypatch) -> None:
    monkeypatch.setattr(streams, "TIMEOUT_MS", 600)
    server = camera()
    with open_source(server.url, SourceOptions(reconnects=False)) as source:
        frames = iter(source)
        next(frames)
        server.pause()
        with pytest.raises(DeviceError, match="the stream ended after"):
            list(frames)
