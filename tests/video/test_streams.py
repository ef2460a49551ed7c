"""A real motion JPEG camera on this machine's own address, live through the whole pipeline."""

from __future__ import annotations

import threading
import time

import pytest

from edge_deeplab.errors import DeviceError, InputError
from edge_deeplab.video.http_stream import without_password
from edge_deeplab.video.pipeline import run_pipeline
from edge_deeplab.video.sink import NullSink, open_sink
from edge_deeplab.video.source import SourceOptions, open_source


def test_a_slow_receiver_gets_the_newest_frames_and_the_rest_is_counted(camera_url, coded) -> None:
    _, read_code = coded
    seen: list[tuple[int, int]] = []
    stop = threading.Event()

    def process(frame):
        time.sleep(0.03)
        seen.append((frame.index, read_code(frame.bgr)))
        if len(seen) == 8:
            stop.set()
        return frame.bgr

    with open_source(camera_url()) as source:
        assert source.is_live and source.size_wh == (64, 48)
        report = run_pipeline(source, process, NullSink(), stop=stop)
    assert report.dropped > 0 and report.was_stopped
    indices = [index for index, _ in seen]
    assert indices == sorted(set(indices)) and indices[-1] > len(indices)
    codes = [code for _, code in seen]
    assert codes == sorted(codes) and codes[-1] > codes[0]


def test_a_live_stream_that_ends_is_an_error_that_reaches_the_caller(camera_url) -> None:
    once = SourceOptions(reconnects=False)
    with open_source(camera_url(5), once) as source, pytest.raises(DeviceError, match="stream ended after 5 pictures"):
        run_pipeline(source, lambda frame: frame.bgr, NullSink())


def test_a_video_file_on_a_web_server_is_not_live_and_comes_whole(camera_url, clips, coded, tmp_path) -> None:
    _, read_code = coded
    with open_source(f"{clips}/plain.mp4") as came, open_sink(f"{tmp_path}/front.mp4") as made:  # index in front
        run_pipeline(came, lambda frame: frame.bgr, made)
    url = camera_url(0, (tmp_path / "front.mp4").read_bytes()).replace("/video", "/clip.mp4")
    with open_source(url) as source:
        assert not source.is_live and source.frame_count == 20
        assert [read_code(frame.bgr) for frame in source] == list(range(20))
        assert "downloaded" in source.notes[0]


@pytest.mark.parametrize("path", ["/nothing", "/video"])
def test_an_address_without_video_is_one_quiet_line(path, camera_url, capfd) -> None:
    url = camera_url(0).removesuffix("/video") + path
    with pytest.raises(DeviceError, match="no video comes from there"):
        open_source(url)
    assert capfd.readouterr() == ("", "")


def test_no_one_at_the_address_is_one_quiet_line(capfd) -> None:
    for scheme in ("http", "rtsp"):
        with pytest.raises(DeviceError, match=f"{scheme}://127.0.0.1:9/x: no video"):
            open_source(f"{scheme}://127.0.0.1:9/x")
    assert capfd.readouterr() == ("", "")


def test_another_kind_of_address_is_refused() -> None:
    with pytest.raises(InputError, match="came ftp; allowed: http, https, rtsp"):
        open_source("ftp://somewhere/video.mp4")


def test_a_password_is_never_shown() -> None:
    assert without_password("rtsp://me:secret@cam.local:554/a?b=c") == "rtsp://me@cam.local:554/a?b=c"
    assert without_password("http://cam.local/video") == "http://cam.local/video"
    with pytest.raises(DeviceError) as caught:
        open_source("rtsp://me:secret@127.0.0.1:9/x")
    assert "secret" not in str(caught.value) and "me@127.0.0.1" in str(caught.value)
