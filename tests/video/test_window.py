"""The window sink: keys and closing reach the caller, files play at their speed, no window is one line."""

from __future__ import annotations

import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edge_deeplab.errors import DeviceError
from edge_deeplab.video.sink import SinkOptions, open_sink

FRAME = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture
def screen(monkeypatch):
    """OpenCV's window calls, which a headless build lacks: `keys` to be pressed, `visible`, waits asked for."""

    monkeypatch.setenv("DISPLAY", ":0")
    screen = SimpleNamespace(keys=[], waits_ms=[], visible=1.0, shown=0, pictures=[], mouse=None)

    def wait_key(delay_ms: int) -> int:
        screen.waits_ms.append(delay_ms)
        return screen.keys.pop(0) if screen.keys else -1

    def show(title, picture) -> None:
        screen.shown += 1
        screen.pictures.append(picture.copy())

    def on_mouse(title, callback) -> None:
        screen.mouse = callback

    for name in ("namedWindow", "resizeWindow", "destroyWindow"):
        monkeypatch.setattr(cv2, name, lambda *_: None, raising=False)
    monkeypatch.setattr(cv2, "imshow", show, raising=False)
    monkeypatch.setattr(cv2, "setMouseCallback", on_mouse, raising=False)
    monkeypatch.setattr(cv2, "waitKeyEx", wait_key, raising=False)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: screen.visible, raising=False)
    return screen


def test_keys_are_handed_to_the_callback(screen) -> None:
    pressed: list[str] = []
    # some toolkits set bits above the key; 0xFFE1 is shift alone; the last two are left, on Linux and on Windows
    screen.keys = [ord("q"), -1, 27, 0x100000 | ord("b"), 32, 0xFFE1, 0x10FF51, 0x250000]
    with open_sink("window", SinkOptions(on_key=pressed.append)) as sink:
        for index in range(8):
            sink.write(FRAME, index / 30)
    assert pressed == ["q", "escape", "b", "space", "left", "left"]


def test_keys_and_closing_are_seen_while_no_frame_comes(screen) -> None:
    pressed: list[str] = []
    with open_sink("window", SinkOptions(on_key=pressed.append, on_closed=lambda: pressed.append("closed"))) as sink:
        sink.idle()  # nothing is shown yet
        screen.keys = [-1, ord("q")]
        sink.write(FRAME, 0.0)
        sink.idle()
        screen.visible = 0.0
        sink.idle()
        sink.idle()
    assert pressed == ["q", "closed"] and screen.shown == 1


def test_dragging_is_told_as_a_share_of_the_pictures_width(screen, monkeypatch) -> None:
    dragged: list[float] = []
    for name, value in {"EVENT_FLAG_LBUTTON": 1, "EVENT_LBUTTONUP": 4}.items():
        monkeypatch.setattr(cv2, name, value, raising=False)
    with open_sink("window", SinkOptions(on_drag=dragged.append)) as sink:
        sink.write(FRAME, 0.0)
        for event, x, flags in ((0, 10, 0), (1, 16, 1), (0, 48, 1), (0, 900, 1), (0, -5, 1), (4, 20, 1)):
            screen.mouse(event, x, 5, flags, None)
    assert dragged == [0.25, 0.75, 1.0, 0.0]


def test_what_is_drawn_over_is_shown_and_the_frame_stays_as_it_is(screen) -> None:
    frame = FRAME.copy()
    with open_sink("window", SinkOptions(over=lambda picture: picture + 5)) as sink:
        sink.write(frame, 0.0)
    assert (screen.pictures[0] == 5).all() and not frame.any()


def test_closing_the_window_is_told_once_and_shows_no_more(screen) -> None:
    closed: list[int] = []
    with open_sink("window", SinkOptions(on_closed=lambda: closed.append(1))) as sink:
        sink.write(FRAME, 0.0)
        screen.visible = 0.0
        for index in range(1, 5):
            sink.write(FRAME, index / 30)
    assert closed == [1] and screen.shown == 2


def test_a_file_is_shown_at_its_own_speed_and_a_camera_at_once(screen) -> None:
    for is_paced, expected_ms in ((True, 500), (False, 1)):
        screen.waits_ms.clear()
        with open_sink("window", SinkOptions(is_paced=is_paced)) as sink:
            began_s = time.perf_counter()
            sink.write(FRAME, 0.0)
            sink.write(FRAME, 0.5)
            late_ms = (time.perf_counter() - began_s) * 1000
        assert screen.waits_ms[0] == 1
        assert expected_ms - late_ms - 1 <= screen.waits_ms[1] <= expected_ms


def test_without_a_screen_nothing_is_tried(monkeypatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: pytest.fail("a Qt build would have ended the process"))
    with pytest.raises(DeviceError, match=r"no screen.*--output"):
        open_sink("window")


def test_headless_opencv_is_one_line_with_both_ways_out(capfd, monkeypatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    if "GUI:                           NONE" not in cv2.getBuildInformation():
        pytest.skip("this OpenCV has windows")
    with pytest.raises(DeviceError, match=r"edge-deeplab\[device\].*--output") as caught:
        open_sink("window")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
