"""How old is the picture that a busy program gets from a network camera? OpenCV's reading and ours, in turns.

A camera on loopback sends numbered motion JPEG frames at a steady rate; the reader takes so long over each picture that
it cannot keep up. What is measured is the time from sending to the end of reading. OpenCV's FFmpeg hands out every
frame in order, so what it gives grows older and older; ours gives the newest.

    python benchmarks/stream_age.py [--fps 60] [--pause-ms 100] [--pictures 30] [--rounds 3]
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
import time
from collections.abc import Callable

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table
from soak_camera import HEAD, encoded, part_of

from edge_deeplab.errors import EdgeDeepLabError
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.report import host_line
from edge_deeplab.video.streams import open_stream

SIZE_WH = (640, 480)
NUMBERS = 256  # before they begin again; eight bars


class NumberedCamera:
    """Sends frames that show their own number, and remembers when."""

    def __init__(self, fps: float) -> None:
        self.sent_s: list[float] = []
        self._fps, self._ended = fps, threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/video"
        self._parts = [part_of(encoded(numbered(number))) for number in range(NUMBERS)]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Sends nothing more."""
        self._ended.set()
        self._listener.close()

    def age_ms(self, picture: np.ndarray) -> float:
        """Of a picture that was just read: since it was sent last before now with this number."""
        now_s, number = time.perf_counter(), number_of(picture)
        latest = len(self.sent_s) - 1
        return (now_s - self.sent_s[latest - (latest - number) % len(self._parts)]) * 1e3

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(HEAD)
            began_s = time.perf_counter()
            while not self._ended.is_set():
                index = len(self.sent_s)
                time.sleep(max(0.0, began_s + index / self._fps - time.perf_counter()))
                self.sent_s.append(time.perf_counter())
                try:
                    connection.sendall(self._parts[index % len(self._parts)])
                except OSError:
                    return


def numbered(number: int) -> np.ndarray:
    """(H, W, 3) uint8: eight bars, white where the bit is set, over noise."""
    frame = np.random.default_rng(number).integers(60, 180, (SIZE_WH[1], SIZE_WH[0], 3), np.uint8)
    for bit in range(8):
        frame[:200, bit * 80 : bit * 80 + 80] = 235 if number >> bit & 1 else 20
    return frame


def number_of(picture: np.ndarray) -> int:
    """What numbered drew."""
    return sum(int(picture[100, bit * 80 + 40].mean() > 128) << bit for bit in range(8))


def ages(reader: str, *, fps: float, pause_s: float, pictures: int) -> np.ndarray:
    """Milliseconds, one a picture."""
    camera = NumberedCamera(fps)
    if reader == "OpenCV":
        capture = cv2.VideoCapture(camera.url, cv2.CAP_FFMPEG)
        read: Callable[[], np.ndarray] = lambda: capture.read()[1]  # noqa: E731
        close = capture.release
    else:
        source = open_stream(camera.url)
        frames = iter(source)
        read, close = lambda: next(frames).bgr, source.close
    found = []
    for _ in range(pictures):
        picture = read()
        found.append(camera.age_ms(picture))
        time.sleep(pause_s)
    close()
    camera.close()
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fps", type=float, default=60.0, help="of the camera [60]")
    parser.add_argument("--pause-ms", type=float, default=100.0, help="the reader's work on each picture [100]")
    parser.add_argument("--pictures", type=int, default=30, help="read in a round [30]")
    parser.add_argument("--rounds", type=int, default=3, help="of each reader, in turns [3]")
    arguments = parser.parse_args()
    if arguments.fps * arguments.pause_ms / 1e3 * arguments.pictures > NUMBERS:
        parser.error(f"fps x pause x pictures: more than {NUMBERS} frames pass, so that their numbers come again")

    found: dict[str, list[np.ndarray]] = {"OpenCV": [], "edge-deeplab": []}
    for _ in range(arguments.rounds):
        for reader, rounds in found.items():
            pause_s = arguments.pause_ms / 1e3
            rounds.append(ages(reader, fps=arguments.fps, pause_s=pause_s, pictures=arguments.pictures))
    table = Table(title="age of the picture in ms", title_justify="left")
    for name in ("reader", "first", "median", "last"):
        table.add_column(name, justify="left" if name == "reader" else "right")
    for reader, rounds in found.items():
        values = [np.median([row(one) for one in rounds]) for row in (lambda a: a[0], np.median, lambda a: a[-1])]
        table.add_row(reader, *(f"{value:.0f}" for value in values))
    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(table)
    console.print(
        f"{arguments.fps:g} frames a second sent, {arguments.pause_ms:g} ms of work on each picture",
        host_line(describe_host()), sep="\n", highlight=False,
    )  # fmt: skip


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        print(f"stream_age: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
