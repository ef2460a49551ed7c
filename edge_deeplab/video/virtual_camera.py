"""A camera that other programs can choose: frames go to the device of v4l2loopback on Linux, of OBS elsewhere.

The one place that talks to pyvirtualcam, which an extra brings: it is under the GPL.

    with VirtualCameraSink(size_wh=(1280, 720), fps=Fraction(30)) as sink: ...
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from edge_deeplab.errors import DeviceError, MissingExtraError
from edge_deeplab.video.frames import rate_text
from edge_deeplab.video.letterbox import letterbox
from edge_deeplab.video.output import SinkLife

DEFAULT_FPS = Fraction(30)
DEVICE_ASKED_EVERY = 30  # frames; the backend of Linux writes to a device that went away without a word
LINUX_STEPS = (
    "type: sudo modprobe v4l2loopback exclusive_caps=1 card_label=edge-deeplab"
    " (where there is no such module: sudo apt install v4l2loopback-dkms)"
)
OBS_STEPS = "install OBS Studio (obsproject.com) and start its virtual camera once"


class VirtualCameraSink(SinkLife):
    """Sends frames to a virtual camera device, BGR as they are; the device's format is the backend's business.

    Args:
        size_wh: of the camera; odd sizes lose their last column or row, for video devices have even ones. A frame of
            another size is fitted in.
        fps: nominal rate; None is 30. Frames are sent as they come, not held to it.
        device: a device by name (/dev/video2, "OBS Virtual Camera"); None takes the first one there is.

    Raises: MissingExtraError without pyvirtualcam; DeviceError when there is no such device or it takes no such frames.
    """

    def __init__(self, *, size_wh: tuple[int, int], fps: Fraction | None = None, device: str | None = None) -> None:
        super().__init__()
        try:
            import pyvirtualcam
        except ImportError as error:
            raise MissingExtraError("pyvirtualcam", extra="virtual-camera", purpose="a virtual camera") from error
        self._size_wh = (size_wh[0] - size_wh[0] % 2, size_wh[1] - size_wh[1] % 2)
        self._fps = fps or DEFAULT_FPS
        self._sent = 0
        try:
            self._camera: Any = pyvirtualcam.Camera(
                *self._size_wh, float(self._fps), fmt=pyvirtualcam.PixelFormat.BGR, device=device
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise _refusal(device, self._size_wh, error) from error

    def describe(self) -> str:
        """One line: what it is, where it goes."""
        return f"virtual camera {self._name()} ({self._size_wh[0]}x{self._size_wh[1]}, {rate_text(self._fps)})"

    def _write(self, frame_bgr: np.ndarray, time_s: float, name: str) -> None:
        width, height = self._size_wh
        if 0 <= frame_bgr.shape[1] - width <= 1 and 0 <= frame_bgr.shape[0] - height <= 1:
            frame_bgr = frame_bgr[:height, :width]
        else:
            frame_bgr = letterbox(frame_bgr, self._size_wh)
        if self._sent % DEVICE_ASKED_EVERY == 0:
            self._refuse_lost_device()
        try:
            self._camera.send(np.ascontiguousarray(frame_bgr))
        except (RuntimeError, ValueError, OSError) as error:
            raise DeviceError(f"virtual camera {self._name()}: takes no more frames", came=error) from error
        self._sent += 1

    def _refuse_lost_device(self) -> None:
        if self._name().startswith("/dev/") and not Path(self._name()).exists():
            raise DeviceError(f"virtual camera {self._name()}: the device went away")

    def _name(self) -> str:
        return str(self._camera.device) if self._is_open else ""

    def _close(self) -> None:
        self._camera.close()

    def _discard(self) -> None:
        self._camera.close()


def _refusal(device: str | None, size_wh: tuple[int, int], error: Exception) -> DeviceError:
    """What to do, by what the backends said: they tell a missing device from one that takes no such frames."""
    reason = ", ".join(str(error).rstrip(".").split("\n"))
    named = f"virtual camera {device}" if device else "virtual camera"
    steps = LINUX_STEPS if sys.platform.startswith("linux") else OBS_STEPS
    if any(word in reason for word in ("format", "resolution", "width", "height", "in use", "busy")):
        return DeviceError(
            f"{named}: refuses {size_wh[0]}x{size_wh[1]}", came=reason,
            next_step="close the programs that use it, or choose another --camera-size",
        )  # fmt: skip
    return DeviceError(f"{named}: cannot be opened", came=reason, next_step=steps)
