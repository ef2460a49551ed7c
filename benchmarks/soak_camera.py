"""A motion JPEG camera for benchmarks/soak.py, in a process of its own, whose faults come again and again.

It prints its address, then serves one client after the other until its standard input is closed.

    python benchmarks/soak_camera.py --fps 150 --size 320x180 --faults 1000
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import socket
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction

import cv2
import numpy as np

from edge_deeplab.video.synthetic import SyntheticSource

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\nConnection: close\r\n\r\n"
FAULTS = ("damaged", "truncated", "grey", "black", "resized", "stall", "cut", "restart")
FRAMES = 90  # a loop of 3 s, encoded once: the camera must cost little beside the program that is measured
STALL_S, AWAY_S = 1.5, 0.3


class SoakCamera:
    """Encoded frames, the pace, and the next fault.

    Args:
        size_wh: of the frames, pixels.
        fps: at which they are sent.
        faults_every: frames between two faults; 0 for none.
    """

    def __init__(self, size_wh: tuple[int, int], fps: float, faults_every: int) -> None:
        self._fps, self._faults_every = fps, faults_every
        with SyntheticSource(size_wh=size_wh, fps=Fraction(30), frame_count=FRAMES) as source:
            frames = [frame.bgr for frame in source]
        self._parts = [part_of(encoded(frame)) for frame in frames]
        small_wh = (size_wh[0] * 3 // 4, size_wh[1])
        self._resized = [part_of(encoded(cv2.resize(frame, small_wh))) for frame in frames]
        jpeg, grey = encoded(frames[0]), frames[0].copy()
        middle = jpeg.index(b"\xff\xda") + 40
        grey[size_wh[1] // 3 :] = 128
        self._bad = {
            "damaged": part_of(jpeg[:middle] + b"\xff\x8b" * 8 + jpeg[middle + 16 :]),
            "truncated": part_of(jpeg[: len(jpeg) // 2]),
            "grey": part_of(encoded(grey)),
            "black": part_of(encoded(np.zeros_like(grey))),
        }
        self._fault = itertools.cycle(FAULTS)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def serve(self) -> None:
        """Until the process ends."""
        sent = itertools.count(1)
        while True:
            connection, _ = self._listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.recv(65536)
                connection.sendall(HEAD)
                if self._send_until_away(connection, sent) == "restart":
                    self._listener.close()
                    time.sleep(AWAY_S)
                    self._listener = socket.create_server(("127.0.0.1", self.port))

    def _send_until_away(self, connection: socket.socket, sent: Iterator[int]) -> str:
        due_s = time.monotonic()
        resized_until = 0
        for index in sent:
            parts = self._resized if index < resized_until else self._parts
            connection.sendall(parts[index % FRAMES])
            due_s = max(due_s + 1 / self._fps, time.monotonic() - 0.1)
            time.sleep(max(0.0, due_s - time.monotonic()))
            if not self._faults_every or index % self._faults_every:
                continue
            fault = next(self._fault)
            if fault in self._bad:
                connection.sendall(self._bad[fault] * 5)
            elif fault == "resized":
                resized_until = index + self._faults_every // 2
            elif fault == "stall":
                time.sleep(STALL_S)
            else:
                return fault
        return ""


def encoded(bgr: np.ndarray) -> bytes:
    """A frame as JPEG."""
    return cv2.imencode(".jpg", bgr)[1].tobytes()


def part_of(jpeg: bytes) -> bytes:
    """A JPEG as the next part of the answer that HEAD begins."""
    return b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(jpeg), jpeg)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fps", type=float, default=150.0, help="frames sent a second [150]")
    parser.add_argument("--size", default="320x180", help="of the frames [320x180]")
    parser.add_argument("--faults", type=int, default=0, help="frames between two faults; 0 for none [0]")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    camera = SoakCamera((width, height), arguments.fps, arguments.faults)
    print(f"http://127.0.0.1:{camera.port}/video", flush=True)
    threading.Thread(target=camera.serve, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
