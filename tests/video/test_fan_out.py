"""Several outputs at once: each fails by itself, is told of once, and the others go on."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from edge_deeplab.errors import DeviceError, OutputError
from edge_deeplab.video.fan_out import FanOut
from edge_deeplab.video.frames import Sink
from edge_deeplab.video.output import SinkLife
from edge_deeplab.video.sink import NullSink, SinkOptions, open_sink
from edge_deeplab.video.source import open_source

FRAME = np.zeros((48, 64, 3), np.uint8)
FULL_DISK = """
import resource, sys
import numpy as np
from edge_deeplab.video.fan_out import FanOut
from edge_deeplab.video.sink import SinkOptions, open_sink

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # the video fails, as on a full disk; pictures are small
noise = np.random.default_rng(0)
folder = sys.argv[1]
sinks = [open_sink(f"{folder}/talk.mp4", SinkOptions(is_recording=True)), open_sink(f"{folder}/pictures/")]
with FanOut(sinks, on_lost=print) as outputs:
    for index in range(100):
        outputs.write(noise.integers(0, 255, (48, 64, 3), np.uint8), index / 30)
print(len(outputs.lost), "lost")
"""


class Faulty(SinkLife):
    """Counts frames and fails at one of them, or at the end."""

    def __init__(self, name: str, *, fails_at: int = -1, fails_to_close: bool = False) -> None:
        super().__init__()
        self.name, self.fails_at, self.fails_to_close = name, fails_at, fails_to_close
        self.count = self.idled = self.closed = self.discarded = 0

    def describe(self) -> str:
        return self.name

    def idle(self) -> None:
        self.idled += 1

    def _write(self, frame_bgr: np.ndarray, time_s: float, name: str) -> None:
        if self.count == self.fails_at:
            raise DeviceError(f"{self.name}: went away")
        self.count += 1

    def _close(self) -> None:
        self.closed += 1
        if self.fails_to_close:
            raise OutputError(f"{self.name}: could not be completed")

    def _discard(self) -> None:
        self.discarded += 1


def test_it_is_a_sink_and_says_all_its_places() -> None:
    with FanOut([NullSink(), Faulty("window")]) as outputs:
        assert isinstance(outputs, Sink)
        assert outputs.describe() == "nowhere, window"


def test_one_that_fails_is_told_of_once_and_the_others_go_on() -> None:
    told: list[str] = []
    whole, broken = Faulty("whole"), Faulty("broken", fails_at=3)
    with FanOut([broken, whole], on_lost=told.append) as outputs:
        for index in range(10):
            outputs.write(FRAME, index / 30)
    assert (whole.count, broken.count) == (10, 3)
    assert told == ["broken: went away"] == outputs.lost
    assert (broken.closed, whole.closed) == (1, 1), "a device that went away leaves what was recorded"
    assert [note for note in outputs.notes if "broken" in note] == ["lost: broken: went away"]


def test_when_the_last_one_fails_its_error_ends_the_run() -> None:
    told: list[str] = []
    first, last = Faulty("first", fails_at=1), Faulty("last", fails_at=2)
    with (
        pytest.raises(DeviceError, match="last: went away"),
        FanOut([first, last], on_lost=told.append) as outputs,
    ):
        for index in range(10):
            outputs.write(FRAME, index / 30)
    assert told == ["first: went away"], "an error that is raised is not told of as well"


def test_one_that_cannot_be_completed_keeps_none_of_the_others_from_it() -> None:
    told: list[str] = []
    sinks = [Faulty("a"), Faulty("b", fails_to_close=True), Faulty("c")]
    with FanOut(sinks, on_lost=told.append) as outputs:
        outputs.write(FRAME, 0.0)
    assert [sink.closed for sink in sinks] == [1, 1, 1] and told == ["b: could not be completed"]


def test_a_single_output_that_cannot_be_completed_is_an_error() -> None:
    with pytest.raises(OutputError, match="could not be completed"), FanOut([Faulty("a", fails_to_close=True)]) as one:
        one.write(FRAME, 0.0)


def test_an_exception_of_the_run_discards_all_and_an_interruption_keeps_all() -> None:
    for reason, expected in ((ValueError, (0, 1)), (KeyboardInterrupt, (1, 0))):
        sinks = [Faulty("a"), Faulty("b")]
        with pytest.raises(reason), FanOut(sinks) as outputs:
            outputs.write(FRAME, 0.0)
            raise reason
        assert [(sink.closed, sink.discarded) for sink in sinks] == [expected] * 2


def test_outputs_come_and_go_while_it_runs() -> None:
    stays, guest = Faulty("stays"), Faulty("guest")
    with FanOut([stays]) as outputs:
        for index in range(9):
            if index == 3:
                outputs.add(guest)
            if index == 6:
                outputs.remove(guest)
                outputs.remove(guest)
            outputs.write(FRAME, index / 30)
        assert guest not in outputs and stays in outputs
    assert (stays.count, guest.count, guest.closed) == (9, 3, 1)


def test_a_sink_may_be_added_from_within_a_write() -> None:
    """A key of the window starts a recording while the window's own frame is shown."""
    guest = Faulty("guest")

    class Window(Faulty):
        def _write(self, frame_bgr: np.ndarray, time_s: float, name: str) -> None:
            if self.count == 1:
                outputs.add(guest)
            super()._write(frame_bgr, time_s, name)

    with FanOut([Window("window")]) as outputs:
        for index in range(4):
            outputs.write(FRAME, index / 30)
    assert guest.count == 2


def test_all_are_told_that_no_frame_comes() -> None:
    sinks = [Faulty("a"), Faulty("b")]
    with FanOut(sinks) as outputs:
        outputs.idle()
    assert [sink.idled for sink in sinks] == [1, 1]


def test_what_is_only_watched_keeps_its_pace() -> None:
    waited: list[float] = []
    with FanOut([NullSink()], is_paced=True, wait=waited.append) as outputs:
        for time_s in (2.0, 2.5, 3.0):
            outputs.write(FRAME, time_s)
    assert len(waited) == 2 and 0.4 < waited[0] <= 0.5 and 0.8 < waited[1] <= 1.0


def test_a_full_disk_ends_the_recording_alone(tmp_path, repository) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, cwd=repository
    )
    assert done.stderr == "" and done.stdout.count("\n") == 2, done
    assert "File too large" in done.stdout and f"plays: {tmp_path}/talk.unfinished.mp4" in done.stdout
    assert len(list((tmp_path / "pictures").iterdir())) == 100
    with open_source(f"{tmp_path}/talk.unfinished.mp4") as source:
        assert sum(1 for _ in source) >= 1


def test_a_recording_and_pictures_over_http_have_the_same_frames(tmp_path) -> None:
    from edge_deeplab.video.mjpeg_server import HttpAddress, MjpegSink

    served = MjpegSink(HttpAddress(port=0))
    with FanOut([open_sink(f"{tmp_path}/talk.mkv", SinkOptions(is_recording=True)), served]) as outputs:
        for index in range(12):
            outputs.write(np.full((48, 64, 3), 10 * index, np.uint8), index / 30)
    with open_source(f"{tmp_path}/talk.mkv") as source:
        assert np.abs([frame.bgr.mean() - 10 * frame.index for frame in source]).max() <= 3
    assert served._feed.put_count == 12
