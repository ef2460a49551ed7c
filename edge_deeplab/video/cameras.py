"""Cameras: which there are, and one as a source.

Nothing is opened by importing; listing them on Linux opens none for capture.

    list_cameras()          # (Camera(index=0, path="/dev/video0", name="Integrated Camera"),)
    with CameraSource("0", size_wh=(1280, 720)) as source: ...
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from edge_deeplab.errors import DeviceError
from edge_deeplab.video.frames import Frame, MediaFacts, rate_from_float, rate_text
from edge_deeplab.video.source_life import SourceLife, quiet_opencv

# linux/videodev2.h: _IOR('V', 0, struct v4l2_capability) and the capability bits.
VIDIOC_QUERYCAP = 0x80685600
V4L2_CAPABILITY = struct.Struct("16s32s32sIII12x")
CAP_VIDEO_CAPTURE, CAP_VIDEO_CAPTURE_MPLANE, CAP_DEVICE_CAPS = 0x1, 0x1000, 0x80000000

MJPG_FROM_HEIGHT = 720  # USB 2 carries 720p raw at no more than 10 fps; as motion JPEG at 30 and more
READ_TIMEOUT_MS = 5000
PROBED_INDICES = 5  # where the system does not list its cameras
UNREAD_FRAMES = 2  # after so many frames' time without a read, what the driver holds is old
USUAL_FPS = 30.0  # of a camera that does not say
FAILED_READS = 5  # cheap cameras lose single frames to USB noise; so many in a row and the camera is gone


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A camera that was found."""

    index: int
    path: str
    name: str

    def __str__(self) -> str:
        return f"{self.index} ({self.name})"


def list_cameras(*, system: Path = Path("/sys/class/video4linux"), devices: Path = Path("/dev")) -> tuple[Camera, ...]:
    """The cameras of this machine, in the order of their indices.

    Linux lists them without opening any for capture, so one in use is found too; nodes that carry no pictures (every
    UVC camera has one for metadata) are left out. Elsewhere the first PROBED_INDICES are tried.

    Args:
        system: where Linux describes its video nodes.
        devices: where the nodes lie.
    """
    if not sys.platform.startswith("linux"):
        return _probe()
    found = []
    for node in system.glob("video*") if system.is_dir() else ():
        index = node.name.removeprefix("video")
        if index.isdigit() and _captures(node, devices / node.name):
            found.append(Camera(index=int(index), path=str(devices / node.name), name=_name(node)))
    return tuple(sorted(found, key=lambda camera: camera.index))


def camera_name(spec: str, cameras: tuple[Camera, ...]) -> str:
    """The name of the camera that an index or a path names among those listed; empty when it is none of them."""
    return next((camera.name for camera in cameras if spec in (str(camera.index), camera.path)), "")


def find_again(spec: str, name: str, cameras: tuple[Camera, ...]) -> str:
    """Where a camera is now that went away: a camera plugged in again may come back as another node.

    Args:
        spec: its index or path when it was opened.
        name: as camera_name gave it then.
        cameras: as they are listed now.

    Returns: spec, unless another camera or none is there and one of the same name is elsewhere; then that one's path.
    """
    if not name or camera_name(spec, cameras) == name:
        return spec
    return next((camera.path for camera in cameras if camera.name == name), spec)


class CameraSource(SourceLife):
    """A camera, live.

    Args:
        spec: an index ("0") or a device path ("/dev/video0").
        size_wh: asked for; None leaves the camera's own. What the camera gives instead is noted.
        fps: asked for; None leaves the camera's own.
        mirror: turn frames left to right, so that the picture moves as in a mirror.
        open_capture: opens (index or path, backend).

    Raises: DeviceError naming the cameras there are; while iterating, when the camera goes away.
    """

    is_live = True
    may_pause = True

    def __init__(
        self,
        spec: str,
        *,
        size_wh: tuple[int, int] | None = None,
        fps: Fraction | None = None,
        mirror: bool = False,
        open_capture: Callable[..., cv2.VideoCapture] = cv2.VideoCapture,
    ) -> None:
        super().__init__()
        self._spec, self._mirror = spec, mirror
        target: int | str = int(spec) if spec.isdigit() else spec
        # V4L2 by name: OpenCV would otherwise try every backend it has, each with a complaint of its own.
        backend = cv2.CAP_V4L2 if sys.platform.startswith("linux") else cv2.CAP_ANY
        with quiet_opencv():
            self._capture = open_capture(target, backend)
        if not self._capture.isOpened():
            raise _no_camera(spec)
        self._ask(size_wh, fps)
        is_read, self._first = self._read()
        if not is_read:
            self._capture.release()
            raise DeviceError(
                f"camera {spec} gives no picture", next_step="is another program using it? Unplug it and try again"
            )
        self._first_ns = time.perf_counter_ns()
        self.size_wh = (self._first.shape[1], self._first.shape[0])
        self.fps = rate_from_float(self._capture.get(cv2.CAP_PROP_FPS))
        self.media = MediaFacts(fps=self.fps)
        if size_wh is not None and size_wh != self.size_wh:
            self.notes.append(f"camera {spec}: asked for {_size_text(size_wh)}, gives {_size_text(self.size_wh)}")
        if fps is not None and self.fps is not None and abs(float(fps - self.fps)) > 0.5:
            self.notes.append(f"camera {spec}: asked for {rate_text(fps)}, gives {rate_text(self.fps)}")

    def describe(self) -> str:
        """One line: what it is, size, rate."""
        mirrored = ", mirrored" if self._mirror else ""
        return f"camera {self._spec} ({_size_text(self.size_wh)}, {rate_text(self.fps)}{mirrored})"

    def _ask(self, size_wh: tuple[int, int] | None, fps: Fraction | None) -> None:
        """The order matters: a driver takes size and rate within the pixel format that is set."""
        if size_wh is not None and size_wh[1] >= MJPG_FROM_HEIGHT:
            self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        if size_wh is not None:
            self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, size_wh[0])
            self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size_wh[1])
        if fps is not None:
            self._capture.set(cv2.CAP_PROP_FPS, float(fps))
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, not the oldest of a queue of four
        self._capture.set(cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS)

    def _read(self) -> tuple[bool, np.ndarray]:
        with quiet_opencv():
            return self._capture.read()

    def _frames(self) -> Iterator[Frame]:
        index, failed, bgr, at_ns = 0, 0, self._first, self._first_ns
        good_ns, is_read = at_ns, True
        while True:
            if is_read:
                failed, good_ns = 0, at_ns
                time_s = (at_ns - self._first_ns) / 1e9
                yield Frame(index, time_s, cv2.flip(bgr, 1) if self._mirror else bgr, captured_ns=at_ns)
                index += 1
            else:
                failed += 1
                # A pulled cable fails at once, a stalled camera only after the driver's time-out.
                if failed >= FAILED_READS or at_ns - good_ns >= READ_TIMEOUT_MS * 1e6:
                    raise DeviceError(
                        f"camera {self._spec} went away after {index} frames", next_step="is it plugged in?"
                    )
            if self._is_left_unread(at_ns):
                with quiet_opencv():
                    self._capture.grab()  # the driver kept the first picture that came since, an old one by now
            is_read, bgr = self._read()
            at_ns = time.perf_counter_ns()

    def _is_left_unread(self, since_ns: int) -> bool:
        """Whether more than two frames' time has passed since the last read."""
        rate = float(self.fps or USUAL_FPS)
        return (time.perf_counter_ns() - since_ns) * rate > UNREAD_FRAMES * 1e9

    def _release(self) -> None:
        self._capture.release()


def _name(node: Path) -> str:
    name = node / "name"
    return name.read_text(encoding="utf-8", errors="replace").strip() if name.is_file() else "no name"


def _captures(node: Path, device: Path) -> bool:
    """Whether a video node gives pictures: its driver says so, or the kernel's numbering where it may not be opened."""
    try:
        handle = os.open(device, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        number = node / "index"  # a camera's first node is the one with pictures
        return not number.is_file() or number.read_text().strip() == "0"
    try:
        answer = fcntl.ioctl(handle, VIDIOC_QUERYCAP, bytes(V4L2_CAPABILITY.size))
    except OSError:
        return False
    finally:
        os.close(handle)
    *_, capabilities, device_capabilities = V4L2_CAPABILITY.unpack(answer)
    own = device_capabilities if capabilities & CAP_DEVICE_CAPS else capabilities
    return bool(own & (CAP_VIDEO_CAPTURE | CAP_VIDEO_CAPTURE_MPLANE))


def _probe() -> tuple[Camera, ...]:
    found = []
    with quiet_opencv():
        for index in range(PROBED_INDICES):
            capture = cv2.VideoCapture(index)
            if capture.isOpened():
                found.append(Camera(index=index, path=str(index), name=f"camera {index}"))
            capture.release()
    return tuple(found)


def _no_camera(spec: str) -> DeviceError:
    cameras = list_cameras()
    if not cameras:
        return DeviceError(
            f"there is no camera {spec}, nor any other",
            next_step="plug one in, or give a video file, a picture, a folder, a URL or synthetic as source",
        )
    known = spec in {name for camera in cameras for name in (str(camera.index), camera.path)}
    return DeviceError(
        f"camera {spec} cannot be opened" if known else f"there is no camera {spec}",
        allowed=", ".join(map(str, cameras)),
        next_step="is another program using it, and may you read it?" if known else "choose one of those",
    )


def _size_text(size_wh: tuple[int, int]) -> str:
    return f"{size_wh[0]}x{size_wh[1]}"
