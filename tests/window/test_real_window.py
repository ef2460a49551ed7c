"""A real window on a virtual screen: keys pressed as a person presses them, and what is then on the screen.

OpenCV with windows lives in an environment of its own, for it and the headless one both bring `cv2`: `make test-window`
makes it, installed as the extra `device` says, and runs this. Needs Xvfb and xdotool.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from handmade_tflite import bright_segmenter

from edge_deeplab.imaging.decode import read_image, write_image
from edge_deeplab.labels import PORTRAIT
from edge_deeplab.manifest import Manifest, append_manifest
from edge_deeplab.video.source import open_source

WAIT_S = 30.0
XVFB, XDOTOOL = shutil.which("Xvfb"), shutil.which("xdotool")
WHITE, WALL = 255, 40


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    """A virtual screen of 800 x 600, with `DISPLAY` and a look at its pixels."""
    if XVFB is None or XDOTOOL is None:
        pytest.skip("needs a virtual screen and keys: apt-get install xvfb xdotool (CI has them)")
    reading, writing = os.pipe()
    server = subprocess.Popen(
        [XVFB, "-screen", "0", "800x600x24", "-nolisten", "tcp", "-fbdir", str(tmp_path), "-displayfd", str(writing)],
        pass_fds=[writing], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writing)
    with os.fdopen(reading) as said:
        display = f":{said.readline().strip()}"
    yield Screen(display, tmp_path / "Xvfb_screen0")
    server.terminate()
    server.wait()


class Screen:
    def __init__(self, display: str, memory: Path) -> None:
        self.environment = {**os.environ, "DISPLAY": display}
        self._memory = memory

    def pixels(self) -> np.ndarray:
        """(600, 800, 3) uint8 BGR; Xvfb keeps its screen in a file, as an X window dump."""
        data = self._memory.read_bytes()
        head = struct.unpack(">25I", data[:100])
        height, width, bytes_per_line, start = head[5], head[4], head[12], head[0] + 12 * head[19]
        rows = np.frombuffer(data, np.uint8, height * bytes_per_line, start).reshape(height, bytes_per_line)
        return rows[:, : 4 * width].reshape(height, width, 4)[..., :3].copy()

    def until(self, condition: Callable[[np.ndarray], bool], what: str) -> np.ndarray:
        deadline_s = time.monotonic() + WAIT_S
        while not condition(pixels := self.pixels()):
            assert time.monotonic() < deadline_s, f"never seen: {what}"
            time.sleep(0.05)
        return pixels

    def do(self, *words: str) -> str:
        assert XDOTOOL is not None
        return subprocess.run(
            [XDOTOOL, *words], env=self.environment, check=True, capture_output=True, text=True, timeout=WAIT_S
        ).stdout.strip()

    def press(self, key: str) -> None:
        """One key; of several that come together OpenCV keeps the last alone."""
        self.do("key", "--window", self.do("search", "--name", "edge-deeplab").split()[-1], key)


@pytest.fixture
def program(repository: Path) -> str:
    """The command, installed with the extra `device`."""
    if not (repository / ".venv-window" / "made").exists():
        pytest.skip("needs OpenCV with windows: make test-window makes .venv-window")
    return str(repository / ".venv-window" / "bin" / "edge-deeplab")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A bright circle, the person, right of the middle of a striped wall; a model that takes what is bright for it."""
    folder = tmp_path / "place"
    folder.mkdir()
    y, x = np.mgrid[:360, :480]
    wall = np.where((x // 12 % 2 == 0)[..., None], (0, WALL, 0), (0, 0, WALL))
    write_image(
        folder / "photo.png", np.where(np.hypot(y - 180, x - 300)[..., None] < 80, WHITE, wall).astype(np.uint8)
    )
    (folder / "bright.tflite").write_bytes(bright_segmenter((64, 64), io="uint8").to_bytes())
    append_manifest(
        folder / "bright.tflite", Manifest(name="bright", labels=PORTRAIT, person_class=1, size_hw=(64, 64))
    )
    (folder / "kept").mkdir()
    return folder


def test_keys_do_what_the_help_says(screen: Screen, program: str, place: Path) -> None:
    running = subprocess.Popen(
        [program, "blur", "--source", "photo.png", "--model", "bright.tflite", "--threads", "1", "--keep-in", "kept",
         "--background", "blur", "--background", "red"],
        cwd=place, env=screen.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        screen.until(lambda seen: (seen[:360, :480].min(axis=2) > 250).sum() > 15_000, "the person")
        blurred = screen.pixels()
        assert stripes(blurred) < 6, "the wall is blurred"

        screen.press("b")
        screen.until(lambda seen: bool((seen[20:60, 20:200, 2] > 240).all()), "a red background")
        screen.press("c")
        screen.until(lambda seen: stripes(seen) > 10 and bool((seen[20:60, 300:460, 2] > 240).all()), "before, after")
        screen.press("m")
        screen.until(lambda seen: not seen[20:60, 20:460].any(), "a black mask")
        screen.press("m")
        screen.until(lambda seen: bool((seen[20:60, 20:460, 2] > 240).all()), "the red background again")
        screen.press("h")
        screen.until(lambda seen: bool(40 < np.median(seen[60:200, 60:100, 2]) < 80), "the help's dark panel on red")
        screen.press("h")
        screen.until(lambda seen: bool((seen[60:200, 60:100, 2] > 240).all()), "no help any more")
        screen.press("s")
        until_there(place / "kept", ".png")
        screen.press("r")
        until_there(place / "kept", ".unfinished.mp4")
        screen.do("sleep", "1.0")
        screen.press("r")
        until_there(place / "kept", ".mp4", apart_from=".unfinished.mp4")
        screen.press("q")
        _, said = running.communicate(timeout=WAIT_S)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 0, said
    assert "Qt" not in said and "Traceback" not in said
    snapshot, video = sorted((place / "kept").iterdir(), key=lambda path: path.suffix, reverse=True)
    assert f"snapshot kept/{snapshot.name}" in said and f"recording kept/{video.name}" in said
    assert (read_image(snapshot)[20:60, 20:200] == (255, 0, 0)).all(), "no help, no words: the clean picture"
    with open_source(str(video)) as source:
        assert sum(1 for _ in source) >= 5


def test_dragging_moves_the_border_and_escape_ends_the_program(screen: Screen, program: str, place: Path) -> None:
    running = subprocess.Popen(
        [program, "blur", "--source", "photo.png", "--model", "bright.tflite", "--threads", "1", "--background", "red"],
        cwd=place, env=screen.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        screen.until(lambda seen: bool((seen[20:60, 20:200, 2] > 240).all()), "a red background")
        screen.press("c")
        screen.until(lambda seen: stripes(seen) > 10, "before and after")
        screen.do("mousemove", "240", "300", "mousedown", "1", "mousemove", "60", "300", "mousemove", "48", "300")
        screen.until(lambda seen: bool((seen[20:60, 70:200, 2] > 240).all()), "the border at the left")
        screen.do("mouseup", "1")
        screen.press("Escape")
        _, said = running.communicate(timeout=WAIT_S)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 0, said


def stripes(seen: np.ndarray) -> float:
    """How striped the wall is, left of the middle: the deviation along a row."""
    return float(seen[20:60, 20:200].astype(float).std(axis=1).mean())


def until_there(folder: Path, suffix: str, *, apart_from: str = "/") -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not any(one.name.endswith(suffix) and not one.name.endswith(apart_from) for one in folder.iterdir()):
        assert time.monotonic() < deadline_s, f"no {suffix} in {sorted(folder.iterdir())}"
        time.sleep(0.05)
