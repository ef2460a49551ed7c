"""The keys of the window, through the real window sink: only OpenCV's window calls are stood in for."""

from __future__ import annotations

import threading
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_deeplab.demo_apps.controls import BackgroundChoice, LiveSettings, portrait_controls
from edge_deeplab.demo_apps.keeping import Keeper
from edge_deeplab.demo_apps.keys import Desk, help_lines
from edge_deeplab.imaging.decode import read_image
from edge_deeplab.video.fan_out import FanOut
from edge_deeplab.video.frames import MediaFacts
from edge_deeplab.video.sink import SinkOptions, open_sink
from edge_deeplab.video.source import open_source

CONTROLS = portrait_controls([BackgroundChoice("blur", None), BackgroundChoice("navy", object())])


class Room:
    """A window with a desk before it, on a screen that keeps what is shown and presses the keys it is given."""

    def __init__(self, folder: Path) -> None:
        self.settings, self.stop, self.said = LiveSettings(), threading.Event(), list[str]()
        self.keys: list[str] = []
        self.shown = np.empty((0, 0, 3), np.uint8)
        self.outputs = FanOut([], on_lost=self.said.append)
        keeper = Keeper(
            folder,
            self.outputs,
            media=MediaFacts(),
            say=self.said.append,
            now=lambda: datetime(2026, 11, 21, 15, 4, 12),
        )
        self.desk = Desk(self.settings, CONTROLS, keeper, stop=self.stop, latency_ms=lambda: 41.0)
        window = open_sink("window", SinkOptions(on_key=self.desk.press, over=self.desk.screen.over))
        self.outputs.add_last(window)
        self.frames = 0

    def press(self, *keys: str) -> np.ndarray:
        """Presses keys, a frame each, and returns the frame after them as it is shown: (H, W, 3) uint8 BGR."""
        for key in (*keys, ""):
            self.keys.append(key)
            self.write()
        return self.shown

    def write(self, count: int = 1) -> None:
        for _ in range(count):
            self.outputs.write(plain(), self.frames / 30)
            self.frames += 1


def plain() -> np.ndarray:
    return np.full((360, 640, 3), 90, np.uint8)


@pytest.fixture
def room(tmp_path, monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    rooms: list[Room] = []
    codes = {"escape": 27, "left": 0xFF51, "": -1}

    def key(delay_ms: int) -> int:
        pressed = rooms[0].keys.pop(0) if rooms and rooms[0].keys else ""
        return codes[pressed] if pressed in codes else ord(pressed)

    def show(title: str, picture: np.ndarray) -> None:
        rooms[0].shown = picture.copy()

    for name in ("namedWindow", "resizeWindow", "destroyWindow", "setMouseCallback"):
        monkeypatch.setattr(cv2, name, lambda *_: None, raising=False)
    monkeypatch.setattr(cv2, "imshow", show, raising=False)
    monkeypatch.setattr(cv2, "waitKeyEx", key, raising=False)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0, raising=False)
    rooms.append(Room(tmp_path))
    with rooms[0].outputs:
        yield rooms[0]


def test_keys_change_what_is_made_of_the_next_frame(room) -> None:
    room.press("+", "+", "-", "b", "c", "left", "f")
    now = room.settings.read()
    assert now.compositing.strength == 0.6 and now.compositing.background is not None
    assert (now.view, now.split_at, now.mirrors) == ("split", 0.45, True)
    room.press("m")
    assert room.settings.read().view == "mask"


@pytest.mark.parametrize("key", ["q", "escape"])
def test_quitting_sets_the_stop(key, room) -> None:
    room.press(key)
    assert room.stop.is_set()


@pytest.mark.parametrize("key", ["h", "?"])
def test_the_help_lists_every_key_and_goes_again(key, room) -> None:
    helped = room.press(key)
    named = {what: keys for keys, what in help_lines(CONTROLS)}
    for what in ("more blur", "next background", "before and after", "mask", "mirror", "snapshot", "this help", "quit"):
        assert named[what]
    panel = helped[40:200, 40:120]
    assert (panel < 60).mean() > 0.5 and (panel > 200).any(), "white words on a dark panel"
    gone = room.press(key)
    assert (gone[40:200, 40:120] == 90).all()


def test_what_a_key_did_is_said_in_the_window_alone(room) -> None:
    shown = room.press("+")
    assert (shown[:, 320:] != 90).any(), "blur 60% at the lower right"
    assert (room.desk.screen.picture == 90).all(), "the picture that others get is clean"


def test_an_unknown_key_says_where_the_others_are(room, monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(room.desk.screen, "say", said.append)
    room.press("z")
    assert said == ["z does nothing; h for help"]


def test_rate_and_latency_are_shown_when_asked_for(room) -> None:
    room.desk.screen.say("")
    assert (room.press()[300:, :320] == 90).all()
    assert (room.press("i")[300:, :320] > 200).any()


def test_a_snapshot_is_the_clean_picture_under_a_free_name(room, tmp_path) -> None:
    room.press("h", "s", "s")
    names = ["edge-deeplab-20261121-150412.png", "edge-deeplab-20261121-150412-2.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert room.said == [f"snapshot {tmp_path / name}" for name in names]
    assert (read_image(tmp_path / names[0]) == 90).all()


def test_a_recording_holds_the_frames_between_two_presses(room, tmp_path) -> None:
    room.write(5)
    shown = room.press("r")
    assert (np.abs(shown[:60, 400:].astype(int) - (40, 40, 230)).max(axis=2) < 20).any(), "a red dot"
    assert (tmp_path / "edge-deeplab-20261121-150412.unfinished.mp4").exists()
    room.write(8)
    room.press("r")
    path = tmp_path / "edge-deeplab-20261121-150412.mp4"
    assert room.said == [f"recording {path}"] and [one.name for one in tmp_path.iterdir()] == [path.name]
    with open_source(str(path)) as source:
        frames = list(source)
    # the frame after the first press, eight, and the one with whose showing the second press came
    assert len(frames) == 10 and frames[0].time_s == 0.0 and abs(frames[-1].time_s - 9 / 30) < 0.001
    assert max(np.abs(frame.bgr.astype(int) - 90).max() for frame in frames) <= 3  # of a lossy codec


def test_a_recording_that_was_not_stopped_is_completed_at_the_end(room, tmp_path) -> None:
    room.press("r")
    room.write(4)
    room.outputs.close()
    with open_source(str(tmp_path / "edge-deeplab-20261121-150412.mp4")) as source:
        assert sum(1 for _ in source) == 5


def test_without_pyav_a_recording_is_of_the_kind_that_survives(room, tmp_path, monkeypatch) -> None:
    from edge_deeplab.demo_apps import keeping
    from edge_deeplab.video import container

    monkeypatch.setattr(container, "has_pyav", lambda: False)
    monkeypatch.setattr(keeping, "has_pyav", lambda: False)
    room.press("r")
    room.write(4)
    room.press("r")
    assert [path.name for path in tmp_path.iterdir()] == ["edge-deeplab-20261121-150412.mkv"]


def test_what_cannot_be_saved_is_said_and_ends_nothing(room, tmp_path) -> None:
    tmp_path.rmdir()
    room.press("s", "r")
    assert room.desk.screen.records_since_s is None
    assert len(room.said) == 2 and all("\n" not in line and str(tmp_path) in line for line in room.said)
    room.write(3)
    tmp_path.mkdir()
    room.press("s")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_recording_that_fails_is_said_and_shown_no_more(room, tmp_path, monkeypatch) -> None:
    from edge_deeplab.video.recording import RecordedFile

    def no_room(self, place, data) -> None:
        raise OSError(28, "No space left on device")

    assert room.press("r") is not None and room.desk.screen.records_since_s is not None
    monkeypatch.setattr(RecordedFile, "_put", no_room)
    room.write(40)
    assert room.desk.screen.records_since_s is None and room.outputs.lost == room.said
    assert len(room.said) == 1 and "No space left on device; is the disk full?" in room.said[0]
    assert not list(tmp_path.iterdir()), "not a byte could be written, so there is nothing to keep"


def test_dragging_moves_the_border_where_it_is_shown(room) -> None:
    room.desk.drag(0.2)
    assert room.settings.read().split_at == 0.5
    room.press("c")
    room.desk.drag(0.2)
    assert room.settings.read().split_at == 0.2
