"""Cameras: which are found, what is asked of one, and what a user reads when there is none."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice

import cv2
import numpy as np
import pytest

from edge_deeplab.errors import DeviceError
from edge_deeplab.video import cameras
from edge_deeplab.video.cameras import Camera, CameraSource, camera_name, find_again, list_cameras
from edge_deeplab.video.container import PyavVideoSource
from edge_deeplab.video.sink import SinkOptions, open_sink
from edge_deeplab.video.source import open_source

MJPG = cv2.VideoWriter.fourcc(*"MJPG")


def make_nodes(folder, nodes: dict[str, tuple[str, int]]) -> None:
    """Video nodes as /sys/class/video4linux shows them: a name and a number within the device each."""
    for node, (name, number) in nodes.items():
        (folder / node).mkdir(parents=True)
        (folder / node / "name").write_text(f"{name}\n")
        (folder / node / "index").write_text(f"{number}\n")


def test_cameras_are_listed_by_index_without_their_metadata_nodes(tmp_path) -> None:
    make_nodes(
        tmp_path,
        {"video10": ("Cam B", 0), "video2": ("Cam A", 0), "video3": ("Cam A", 1), "v4l-subdev0": ("sensor", 0)},
    )
    found = list_cameras(system=tmp_path, devices=tmp_path / "dev")
    assert [(camera.index, camera.name) for camera in found] == [(2, "Cam A"), (10, "Cam B")]
    assert str(found[0]) == "2 (Cam A)"


def test_a_node_that_is_no_video_device_is_left_out(tmp_path) -> None:
    make_nodes(tmp_path / "sys", {"video0": ("a plain file", 0)})
    (tmp_path / "video0").write_text("")
    assert list_cameras(system=tmp_path / "sys", devices=tmp_path) == ()


def test_without_the_kernels_list_there_are_none(tmp_path) -> None:
    assert list_cameras(system=tmp_path / "missing") == ()


def test_a_missing_camera_is_one_quiet_line_that_lists_the_others(monkeypatch, capfd) -> None:
    there = (Camera(index=0, path="/dev/video0", name="Integrated"), Camera(index=2, path="/dev/video2", name="USB"))
    monkeypatch.setattr(cameras, "list_cameras", lambda: there)
    with pytest.raises(DeviceError, match=r"no camera 97; allowed: 0 \(Integrated\), 2 \(USB\); choose") as caught:
        open_source("97")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_without_any_camera_the_line_names_other_sources(monkeypatch, capfd) -> None:
    monkeypatch.setattr(cameras, "list_cameras", lambda: ())
    with pytest.raises(DeviceError, match=r"no camera /dev/video97, nor any other; .*synthetic"):
        open_source("/dev/video97")
    assert capfd.readouterr() == ("", "")


def test_a_camera_that_is_there_but_busy_is_told_apart(monkeypatch, recorded_capture) -> None:
    monkeypatch.setattr(cameras, "list_cameras", lambda: (Camera(index=0, path="/dev/video0", name="Cam"),))
    with pytest.raises(DeviceError, match=r"camera 0 cannot be opened.*another program"):
        CameraSource("0", open_capture=recorded_capture(is_open=False))


@pytest.mark.parametrize(("size_wh", "is_mjpg"), [((640, 480), False), ((1280, 720), True), ((1920, 1080), True)])
def test_motion_jpeg_is_asked_for_first_from_720p_on(size_wh, is_mjpg, recorded_capture) -> None:
    capture = recorded_capture(size_wh=size_wh)
    with CameraSource("0", size_wh=size_wh, fps=Fraction(30), open_capture=capture) as source:
        assert source.notes == []
    keys = [key for key, _ in capture.asked]
    assert ((cv2.CAP_PROP_FOURCC, MJPG) in capture.asked) == is_mjpg
    if is_mjpg:
        assert keys.index(cv2.CAP_PROP_FOURCC) < keys.index(cv2.CAP_PROP_FRAME_WIDTH)
    assert keys.index(cv2.CAP_PROP_FRAME_HEIGHT) < keys.index(cv2.CAP_PROP_FPS)
    assert capture.is_released


def test_what_the_camera_gives_instead_is_said(recorded_capture) -> None:
    capture = recorded_capture(size_wh=(64, 48), fps=15.0)
    with CameraSource("0", size_wh=(640, 480), fps=Fraction(30), open_capture=capture) as source:
        assert source.notes == ["camera 0: asked for 640x480, gives 64x48", "camera 0: asked for 30 fps, gives 15 fps"]
        assert source.size_wh == (64, 48) and source.fps == 15


def test_a_recording_keeps_the_times_of_the_clock(recorded_capture, tmp_path) -> None:
    times_s = []
    camera = CameraSource("0", open_capture=recorded_capture())
    with camera, open_sink(f"{tmp_path}/out.mp4", SinkOptions(media=camera.media)) as sink:
        for frame in islice(camera, 20):
            times_s.append(frame.time_s)
            sink.write(frame.bgr, frame.time_s)
    with PyavVideoSource(tmp_path / "out.mp4") as written:
        assert [frame.time_s for frame in written] == pytest.approx(times_s, abs=1.5 / 90000)  # rounding, and one tick


def test_a_camera_left_unread_gives_no_old_picture(recorded_capture, monkeypatch) -> None:
    capture = recorded_capture(fps=30.0)
    clock_ns = [0]
    monkeypatch.setattr(cameras.time, "perf_counter_ns", lambda: clock_ns[0])
    frames = iter(CameraSource("0", open_capture=capture))
    next(frames)
    for pause_ms, grabbed in ((0, 0), (30, 0), (60, 0), (70, 1), (500, 2), (0, 2)):
        clock_ns[0] += pause_ms * 10**6
        next(frames)
        assert capture.grabbed == grabbed


def test_mirror_turns_left_to_right(recorded_capture) -> None:
    plain = next(iter(CameraSource("0", open_capture=recorded_capture()))).bgr
    mirrored = next(iter(CameraSource("0", mirror=True, open_capture=recorded_capture()))).bgr
    assert np.array_equal(mirrored, plain[:, ::-1])


def test_single_lost_frames_are_survived_and_a_lost_camera_is_an_error(recorded_capture) -> None:
    flaky = recorded_capture(fails_at={3, 4, 8})
    assert len(list(islice(CameraSource("0", open_capture=flaky), 10))) == 10
    with pytest.raises(DeviceError, match="went away after 6 frames"):
        list(CameraSource("0", open_capture=recorded_capture(gives=6)))


def test_a_camera_that_stalls_is_lost_at_its_first_time_out(recorded_capture, monkeypatch) -> None:
    monkeypatch.setattr(cameras, "READ_TIMEOUT_MS", 0)  # as if the failed read had taken so long
    with pytest.raises(DeviceError, match="went away after 2 frames"):
        list(CameraSource("0", open_capture=recorded_capture(fails_at={3})))


def test_a_camera_without_a_picture_is_released(recorded_capture) -> None:
    capture = recorded_capture(gives=0)
    with pytest.raises(DeviceError, match="gives no picture"):
        CameraSource("0", open_capture=capture)
    assert capture.is_released


def test_a_camera_is_found_again_by_its_name() -> None:
    before = (Camera(index=0, path="/dev/video0", name="USB"), Camera(index=1, path="/dev/video1", name="Lid"))
    moved = (Camera(index=0, path="/dev/video0", name="Lid"), Camera(index=3, path="/dev/video3", name="USB"))
    assert [camera_name(spec, before) for spec in ("0", "/dev/video1", "7")] == ["USB", "Lid", ""]
    assert find_again("0", "USB", before) == "0"
    assert find_again("0", "USB", moved) == "/dev/video3"
    assert find_again("0", "USB", ()) == "0"  # not there at all: opening says so
    assert find_again("7", "", moved) == "7"  # never listed, so never looked for
