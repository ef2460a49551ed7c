"""The virtual camera: the real package's refusals, and what is sent, seen by a stand-in for the device alone.

There is no v4l2loopback here. pyvirtualcam itself is real: it chooses the backend and checks sizes, formats and frames.
"""

from __future__ import annotations

import sys
from fractions import Fraction

import numpy as np
import pytest

from edge_deeplab.errors import DeviceError, MissingExtraError
from edge_deeplab.video.fan_out import FanOut
from edge_deeplab.video.sink import NullSink
from edge_deeplab.video.virtual_camera import DEVICE_ASKED_EVERY, VirtualCameraSink

pyvirtualcam = pytest.importorskip("pyvirtualcam", reason="needs the extra virtual-camera")


class Device:
    """Stands for the device: keeps what reaches it. Made by pyvirtualcam as any of its backends is."""

    made: list[Device]

    def __init__(self, *, width: int, height: int, fps: float, fourcc: int, device: str | None) -> None:
        if width > 4096:
            raise RuntimeError(f"unsupported resolution {width}x{height}")
        self.size_wh, self.fps, self.fourcc = (width, height), fps, fourcc
        self.name = device or "/dev/null"  # a device file that exists
        self.frames: list[np.ndarray] = []
        self.is_open, self.fails = True, False
        Device.made.append(self)

    def send(self, frame: np.ndarray) -> None:
        assert self.is_open
        if self.fails:
            raise RuntimeError("error writing frame")
        width, height = self.size_wh
        self.frames.append(frame.reshape(height, width, 3).copy())

    def device(self) -> str:
        return self.name

    def native_fourcc(self) -> int | None:
        return None

    def close(self) -> None:
        self.is_open = False


@pytest.fixture
def device(monkeypatch) -> type[Device]:
    from pyvirtualcam import camera

    Device.made = []
    monkeypatch.setattr(camera, "BACKENDS", {"stand-in": Device})
    return Device


def frame(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def test_frames_reach_the_device_as_they_are(device) -> None:
    with VirtualCameraSink(size_wh=(64, 48), fps=Fraction(30000, 1001), device="/dev/null") as sink:
        assert sink.describe() == "virtual camera /dev/null (64x48, 29.97 fps)"
        for index in range(3):
            sink.write(frame(64, 48), index / 30)
    (made,) = device.made
    assert made.size_wh == (64, 48) and abs(made.fps - 29.97) < 0.01 and len(made.frames) == 3 and not made.is_open
    assert made.fourcc == pyvirtualcam.util.encode_fourcc(pyvirtualcam.PixelFormat.BGR.value)
    np.testing.assert_array_equal(made.frames[0], frame(64, 48))


def test_an_odd_size_loses_a_row_and_a_column(device) -> None:
    with VirtualCameraSink(size_wh=(65, 49)) as sink:
        sink.write(frame(65, 49), 0.0)
    (made,) = device.made
    np.testing.assert_array_equal(made.frames[0], frame(65, 49)[:48, :64])
    assert made.fps == 30


def test_a_camera_that_changes_its_size_is_fitted_in(device) -> None:
    with VirtualCameraSink(size_wh=(64, 48)) as sink:
        for size in ((64, 48), (32, 48), (640, 480), (64, 48)):
            sink.write(frame(*size), 0.0)
    assert [one.shape for one in device.made[0].frames] == [(48, 64, 3)] * 4
    narrow = device.made[0].frames[1]
    assert not narrow[:, :14].any() and not narrow[:, -14:].any() and narrow[:, 20:44].any(), "bars at the sides"


def test_a_device_that_goes_away_ends_this_output_alone(device) -> None:
    told: list[str] = []
    with FanOut([VirtualCameraSink(size_wh=(64, 48)), NullSink()], on_lost=told.append) as outputs:
        outputs.write(frame(64, 48), 0.0)
        device.made[0].fails = True
        outputs.write(frame(64, 48), 0.1)
        outputs.write(frame(64, 48), 0.2)
    assert told == ["virtual camera /dev/null: takes no more frames; came error writing frame"]
    assert not device.made[0].is_open


def test_a_device_file_that_vanishes_is_noticed_where_the_backend_is_silent(device, tmp_path) -> None:
    path = tmp_path / "video7"
    path.touch()
    sink = VirtualCameraSink(size_wh=(64, 48), device=str(path))
    device.made[0].name = f"/dev/../{path}"
    with pytest.raises(DeviceError, match="the device went away"), sink:
        for index in range(2 * DEVICE_ASKED_EVERY):
            sink.write(frame(64, 48), index / 30)
            if index == 3:
                path.unlink()
    assert len(device.made[0].frames) == DEVICE_ASKED_EVERY


def test_a_size_that_the_device_refuses_says_so(device) -> None:
    with pytest.raises(DeviceError, match=r"refuses 8192x4320; came .*unsupported resolution.*--camera-size"):
        VirtualCameraSink(size_wh=(8192, 4320))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the steps are Linux's")
@pytest.mark.parametrize("name", [None, "/dev/video99", "/dev/null"])
def test_the_real_package_refuses_and_the_line_says_what_to_type(name, capfd) -> None:
    with pytest.raises(DeviceError, match=r"sudo modprobe v4l2loopback exclusive_caps=1") as caught:
        VirtualCameraSink(size_wh=(640, 480), device=name)
    assert "\n" not in str(caught.value) and (name is None or name in str(caught.value))
    del caught
    assert capfd.readouterr() == ("", "")


def test_without_the_package_the_pip_line_is_said(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edge-deeplab\[virtual-camera\]'"):
        VirtualCameraSink(size_wh=(64, 48))
