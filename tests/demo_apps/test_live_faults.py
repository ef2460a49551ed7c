"""The whole portrait program over a real camera that misbehaves, at every way of working it offers."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from faulty_camera import WAIT_S, FaultyCamera, jpeg_of, part_of

from edge_deeplab.demo_apps.options import LiveOptions, PortraitOptions, QualityOptions
from edge_deeplab.demo_apps.portrait import run_portrait
from edge_deeplab.errors import DeviceError
from edge_deeplab.video import pipeline
from edge_deeplab.video.frames import Frame
from edge_deeplab.video.source import open_source


@pytest.fixture
def camera() -> Iterator[FaultyCamera]:
    made = FaultyCamera()
    yield made
    made.stop()


@pytest.fixture
def frame(bright_person: np.ndarray) -> np.ndarray:
    """(180, 320, 3) uint8 BGR."""
    return cv2.cvtColor(bright_person, cv2.COLOR_RGB2BGR)


WAYS = {
    "default": QualityOptions(),
    "a mask every third frame": QualityOptions(mask_every=3),
    "delayed": QualityOptions(delays_frame=True),
    "delayed, every second": QualityOptions(delays_frame=True, mask_every=2),
    "governed": QualityOptions(target_fps=30, max_cpu=60),
}


@pytest.mark.parametrize("way", list(WAYS))
def test_a_run_outlasts_cuts_sizes_and_damage(way, camera, frame, bright_model, tmp_path, caplog) -> None:
    """Each step waits for the one before to be seen in a composed picture."""
    stop, seen = threading.Event(), []
    sizes = [(180, 320), (120, 160), (180, 320), (240, 320), (90, 200)]
    pictures = [frame if size == (180, 320) else cv2.resize(frame, size[::-1]) for size in sizes]
    step = 0

    def watch(before: Frame, alpha: np.ndarray, picture: np.ndarray) -> None:
        nonlocal step
        assert alpha.shape == picture.shape[:2] == before.bgr.shape[:2]
        seen.append(picture.shape[:2])
        if len(seen) > 40 * len(sizes):  # stuck
            stop.set()
        if seen[-1] == sizes[step] and seen.count(seen[-1]) >= 2:
            step += 1
            if step == len(sizes):
                stop.set()
                return
            if step == 2:
                camera.cut()
        camera.raw(part_of(jpeg_of(pictures[step])[:400]))
        camera.show(np.roll(pictures[step], len(seen), axis=1))

    camera.show(frame)
    live = LiveOptions(source=camera.url, output=str(tmp_path / "out.mp4"), threads=1)
    report = run_portrait(
        PortraitOptions(model=str(bright_model), live=live, quality=WAYS[way]), stop=stop, watch=watch
    )
    assert step == len(sizes), seen
    assert any("trying again" in line for line in caplog.messages)
    assert any("fitted into 320x180" in note for note in report.pipeline.notes)
    with open_source(str(tmp_path / "out.mp4")) as made:
        assert {one.bgr.shape for one in made} == {(180, 320, 3)}


def test_without_reconnecting_a_loss_ends_the_run_and_keeps_the_recording(camera, frame, bright_model, tmp_path):
    camera.show(frame)
    live = LiveOptions(source=camera.url, output=str(tmp_path / "out.mp4"), threads=1, reconnects=False)

    def watch(*_: object) -> None:
        camera.cut()

    with pytest.raises(DeviceError, match="the stream ended after 1 pictures"):
        run_portrait(PortraitOptions(model=str(bright_model), live=live), watch=watch)
    with open_source(str(tmp_path / "out.mp4")) as made:
        assert len(list(made)) == 1


def test_a_stalled_camera_leaves_its_last_picture_marked_in_the_recording(
    camera, frame, bright_model, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(pipeline, "QUIET_S", 0.05)
    monkeypatch.setattr(pipeline, "QUIET_INTERVALS", 0)
    monkeypatch.setattr(pipeline, "HELD_EVERY_S", 0.05)
    monkeypatch.setattr(pipeline, "PROGRESS_EVERY_S", 0)
    stop, troubled = threading.Event(), threading.Event()

    def on_progress(progress) -> None:
        if progress.trouble:
            troubled.set()
            stop.set()

    camera.show(frame)
    camera.show(frame)
    live = LiveOptions(source=camera.url, output=str(tmp_path / "out.mp4"), threads=1)
    timer = threading.Timer(0.5, camera.stop)
    timer.start()
    report = run_portrait(PortraitOptions(model=str(bright_model), live=live), stop=stop, on_progress=on_progress)
    timer.join(WAIT_S)
    assert troubled.is_set() and report.pipeline.held >= 2
    with open_source(str(tmp_path / "out.mp4")) as made:
        first, *_, last = (one.bgr.astype(float) for one in made)
    assert last.mean() < 0.7 * first.mean()  # darkened, with words on it
